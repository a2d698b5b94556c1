"""The `json` verifier: which JSON value a completion gives, and whether it is the right one."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks import check_verifier, load_tasks, verify
from posttrain_diag.tasks.verifiers.json_schema import check_schema, fits
from posttrain_diag.tasks.verifiers.json_value import keys_only, looks_like_json
from posttrain_diag.types import Problem
from tasks.conftest import Write, problem


def asked(prompt: str, answer: str) -> Problem:
    """A problem whose answer is JSON."""
    return problem({"type": "json"}, answer, prompt=prompt)


CITY = asked(
    'What is the capital of Italy? Reply only with a JSON object of the form {"city": "TEXT"}.', '{"city": "Rome"}'
)
RESULT = asked('What is 4 + 5? Reply only with a JSON object of the form {"result": NUMBER}.', '{"result": 9}')
BOOK = asked(
    'A book of 320 pages is named Tides. Reply only with JSON: {"title": "TEXT", "pages": NUMBER}.',
    '{"title": "Tides", "pages": 320}',
)
FREE = asked("What is the capital of Italy? Answer in JSON with the key city.", '{"city": "Rome"}')
PRIMES = asked("List the first three primes as a JSON array. Output only JSON.", "[2, 3, 5]")
CALL = asked(
    'Call the weather tool for Paris in celsius. Tools: {"name": "get_weather", "parameters": {"city": "string", "unit": "string"}}',
    '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}',
)
PRIME = asked('Is 7 prime? Answer with JSON only: {"prime": true or false}', '{"prime": true}')
NAME = asked('Return JSON only, like {"middle_name": null}. Person: Ada Lovelace.', '{"first": "Ada", "middle": null}')
PEOPLE = asked(
    "Extract as JSON only: Tom is 5 and Ann is 7.", '{"people": [{"name": "Tom", "age": 5}, {"name": "Ann", "age": 7}]}'
)
FENCED = asked(
    "What is the capital of Italy? Reply only with a JSON object in a ```json code block.", '{"city": "Rome"}'
)
HALF = asked('Half of 5? JSON only {"half": NUMBER}', '{"half": 2.5}')

# task, completion, whether it keeps the form
RIGHT: list[tuple[Problem, str, bool]] = [
    (CITY, '{"city": "Rome"}', True),
    (CITY, '{"city":"Rome"}\n', True),
    (CITY, '{\n  "city": "Rome"\n}', True),
    (CITY, '\n\n{ "city" : "Rome" }', True),
    (CITY, '```json\n{"city": "Rome"}\n```', False),
    (CITY, 'Sure! {"city": "Rome"}', False),
    (CITY, '{"city": "Rome"}\nRome is the capital.', False),
    (CITY, "{'city': 'Rome'}", False),
    (CITY, '{city: "Rome"}', False),
    (CITY, '{"city": "Rome",}', False),
    (CITY, '{"city": "rome"}', False),
    (CITY, '{"City": "Rome"}', False),
    (CITY, '{"city": "Rome", "country": "Italy"}', False),
    (CITY, '{"capital": "Rome"}', False),
    (CITY, '{"answer": {"city": "Rome"}}', False),
    (CITY, '[{"city": "Rome"}]', False),
    (CITY, '{"city": "Rome"', False),
    (CITY, "{“city”: “Rome”}", False),
    (CITY, 'The answer is {"city": "Rome"}.', False),
    (CITY, "Rome", False),
    (CITY, "It is Rome.", False),
    (CITY, "city: Rome", False),
    (CITY, '"{\\"city\\": \\"Rome\\"}"', False),
    (CITY, '{"city": "Rome"} // the capital', False),
    (CITY, '{{"city": "Rome"}}', False),
    (CITY, '**{"city": "Rome"}**', False),
    (CITY, '`{"city": "Rome"}`', False),
    (CITY, '<think>{"city": "Milan"}?</think>{"city": "Rome"}', True),
    (CITY, '{"city": "Rome"}<|im_end|>', True),
    (CITY, 'The form is {"city": "TEXT"}, so: {"city": "Rome"}', False),
    (CITY, '{"city": "Milan"}\n\nWait, that is wrong. The capital is Rome:\n\n{"city": "Rome"}', False),
    (CITY, 'First an example for France: {"city": "Paris"}. For Italy: {"city": "Rome"}', False),
    (CITY, '{"city": "Rome"}\n{"city": "Rome"}', False),
    (CITY, '{"city": " Rome "}', False),
    (CITY, '{"city": "Rome"}\n\nI hope this helps! Use {} for empty objects.', False),
    (CITY, 'json\n{"city": "Rome"}', False),
    (CITY, '{"city": ["Rome"]}', False),
    (CITY, '{"city": "Rome, Italy"}', False),
    (CITY, '{"city": "Rome"}\n\nFor example, for France it would be {"city": "Paris"}.', False),
    (RESULT, '{"result": "nine"}', False),
    (RESULT, '{"result": 9}', True),
    (RESULT, '{"result": 9.0}', True),
    (RESULT, '{"result": "9"}', False),
    (RESULT, '{"answer": 9}', False),
    (RESULT, "4 + 5 = 9", False),
    (RESULT, "The result is 9.", False),
    (RESULT, '{ "result": 9 } is the answer', False),
    (BOOK, '{"pages": 320, "title": "Tides"}', True),
    (BOOK, '{"title": "Tides", "pages": "320"}', False),
    (BOOK, '{"title": "TIDES", "pages": 320}', False),
    (BOOK, "{'title': 'Tides', 'pages': 320}", False),
    (BOOK, '```json\n{\n  "title": "Tides",\n  "pages": 320\n}\n```\nDone.', False),
    (FREE, '{"city": "Rome"}', True),
    (FREE, '```json\n{"city": "Rome"}\n```', True),
    (FREE, 'Here you are:\n{"city": "Rome"}', True),
    (FREE, "Rome", False),
    (FREE, "{'city': 'Rome'}", False),
    (PRIMES, "[2, 3, 5]", True),
    (PRIMES, "[2,3,5]", True),
    (PRIMES, '{"primes": [2, 3, 5]}', False),
    (PRIMES, "The primes: [2, 3, 5]", False),
    (PRIMES, '["2", "3", "5"]', False),
    (CALL, '{"name": "get_weather", "arguments": {"unit": "celsius", "city": "Paris"}}', True),
    (
        CALL,
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}\n</tool_call>',
        True,
    ),
    (PRIME, '{"prime": true}', True),
    (PRIME, '{"prime": "true"}', False),
    (PRIME, "{'prime': True}", False),
    (PRIME, "Yes, 7 is prime.", False),
    (PRIME, '{"is_prime": true}', False),
    (NAME, '{"first": "Ada", "middle": null}', True),
    (NAME, "{'first': 'Ada', 'middle': None}", False),
    (PEOPLE, '{"people":[{"age":5,"name":"Tom"},{"age":7,"name":"Ann"}]}', True),
    (PEOPLE, '[{"name": "Tom", "age": 5}, {"name": "Ann", "age": 7}]', False),
    (FENCED, '```json\n{"city": "Rome"}\n```', True),
    (FENCED, 'Here:\n```json\n{"city": "Rome"}\n```', False),
    (HALF, '{"half": 2.50}', True),
    (HALF, '{"half": 25e-1}', True),
    (HALF, "2.5", False),
]

WRONG: list[tuple[Problem, str]] = [
    (CITY, '{"city": "Milan"}'),
    (CITY, '{"city": "TEXT"}'),
    (CITY, '{"city": "Rome"} or {"city": "Milan"}'),
    (CITY, '{"city": "Milan"} or {"city": "Rome"}'),
    (CITY, '{"city": "Milan"}\n{"city": "Rome"}'),
    (CITY, '{"city": "Rome"}\n{"city": "Milan"}'),
    (CITY, '{"city": ""}'),
    (CITY, '{"city": null}'),
    (CITY, "{}"),
    (CITY, ""),
    (CITY, '{"city": "Ro'),
    (CITY, '{"city": "Romeo, Italy"}'),
    (CITY, '{"city": "Milan"}. For example, {"city": "Rome"} would be another.'),
    (CITY, '{"city": "not Rome"}'),
    (CITY, '{"country": "Rome", "city": "Milan"}'),
    (CITY, '<think>{"city": "Rome"}</think>'),
    (CITY, '<think>{"city": "Rome"}'),
    (CITY, '{"city": "Rome"}\n\nActually it is\n\n{"city": "Turin"}'),
    (CITY, "I cannot answer."),
    (CITY, "The capital is Milan, not Rome."),
    (CITY, '{"city": "Romeo"}'),
    (CITY, '{"capital": "Milan"}'),
    (CITY, '{"city": ["Rome", "Milan"]}'),
    (CITY, "The capital is Rome or Milan."),
    (RESULT, '{"result": 10}'),
    (RESULT, '{"result": 4, 5}'),
    (RESULT, '{"result": true}'),
    (RESULT, '{"result": [9, 10]}'),
    (RESULT, '{"result": "4 + 5"}'),
    (RESULT, "4 + 5 = 10"),
    (RESULT, '{"result": 99}'),
    (RESULT, '{"result": NUMBER}'),
    (RESULT, '{"result": -9}'),
    (BOOK, '{"title": "Tides"}'),
    (BOOK, '{"title": "Tides", "pages": 32}'),
    (BOOK, '{"title": "Tide", "pages": 320}'),
    (BOOK, '{"title": 320, "pages": "Tides"}'),
    (BOOK, "The book is named Tides."),
    (FREE, '{"city": "Bari"}'),
    (PRIMES, "[2, 5, 3]"),
    (PRIMES, "[1, 2, 3]"),
    (PRIMES, "[2, 3]"),
    (PRIMES, "[2, 3, 5, 7]"),
    (CALL, '{"name": "get_weather", "arguments": {"city": "Paris"}}'),
    (CALL, '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "kelvin"}}'),
    (CALL, '{"name": "weather", "arguments": {"city": "Paris", "unit": "celsius"}}'),
    (PRIME, '{"prime": false}'),
    (PRIME, '{"prime": 1}'),
    (PRIME, "No."),
    (PRIME, '{"prime": true or false}'),
    (NAME, '{"first": "Ada"}'),
    (NAME, '{"first": "Ada", "middle": "King"}'),
    (PEOPLE, '{"people":[{"age":7,"name":"Tom"},{"age":5,"name":"Ann"}]}'),
    (PEOPLE, '{"people":[{"age":5,"name":"Tom"}]}'),
    (HALF, '{"half": 2}'),
    (HALF, '{"half": NaN}'),
]


@pytest.mark.parametrize(("task", "completion", "strict"), RIGHT)
def test_right_values_are_found(task: Problem, completion: str, strict: bool):
    judgement = verify(completion, task)
    assert (judgement.lenient, judgement.strict, judgement.error) == (True, strict, None)


@pytest.mark.parametrize(("task", "completion"), WRONG)
def test_wrong_values_are_not_taken(task: Problem, completion: str):
    judgement = verify(completion, task)
    assert (judgement.strict, judgement.lenient, judgement.error) == (False, False, None)


def test_equal_values_are_told_in_one_spelling():
    texts = ('{"title": "Tides", "pages": 320}', 'Sure: {"pages":320,"title":"Tides"}')
    assert {verify(text, BOOK).extracted for text in texts} == {'{"pages": 320, "title": "Tides"}'}


@pytest.mark.parametrize(
    ("gold", "prompt", "json"),
    [
        ('{"city": "Rome"}', "Which city?", True),
        ('[{"a": 1}]', "Which?", True),
        ("[2, 3]", "List the primes as JSON.", True),
        ('["red", "blue"]', "Which colors?", True),
        ("[2, 3]", "List the primes.", False),
        ("[0, 1]", "On which interval is it positive?", False),
        ("{1, 2}", "Which set?", False),
        ("{}", "Which?", False),
        ("Rome", "Answer in JSON.", False),
        ("3", "Answer in JSON.", False),
        ("{'city': 'Rome'}", "Answer in JSON.", False),
    ],
)
def test_which_golds_are_json(gold: str, prompt: str, json: bool):
    assert looks_like_json(gold, prompt) is json


def test_rows_whose_gold_is_an_object_are_compared_as_json(jsonl: Write):
    (loaded,) = load_tasks(jsonl({"prompt": "Which city?", "answer": '{"city": "Rome"}'})).problems
    assert loaded.verifier == {"type": "json"}
    assert verify('{"city":"Rome"}', loaded).strict


@pytest.mark.parametrize(
    ("spec", "answer", "says"),
    [
        ({}, "Rome", ["JSON", "'Rome'", "exact"]),
        ({}, None, ["no answer", "'schema'"]),
        ({"schema": {"type": "text"}}, None, ["unknown type 'text'"]),
        ({"schema": {"properties": {"a": {"minimun": 1}}}}, None, ["unknown keyword 'minimun'", "schema.properties.a"]),
        ({"schema": {"$ref": "http://example.org/x"}}, None, ["#/..."]),
        ({"schema": {"pattern": "("}}, None, ["pattern '('"]),
        ({"schema": 3}, None, ["is an object", "int"]),
    ],
)
def test_unusable_verifiers(spec: dict[str, Any], answer: str | None, says: list[str]):
    with pytest.raises(VerifierError) as caught:
        check_verifier(problem({"type": "json", **spec}, answer))
    assert all(part in str(caught.value) for part in says), caught.value


PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "population": {"type": "integer", "minimum": 0}},
    "required": ["city", "population"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("completion", "strict", "lenient"),
    [
        ('{"city": "Rome", "population": 2800000}', True, True),
        ('Here: {"city": "Rome", "population": 2800000}', False, True),
        ("{'city': 'Rome', 'population': 1}", False, True),
        ('{"city": "Rome"}', False, False),
        ('{"city": "Rome", "population": "many"}', False, False),
        ('{"city": "", "population": 1}', False, False),
        ('{"city": "Rome", "population": 1, "x": 2}', False, False),
        ("Rome", False, False),
    ],
)
def test_a_schema_without_an_answer(completion: str, strict: bool, lenient: bool):
    task = problem({"type": "json", "schema": PLACE}, prompt="Describe a city. JSON only.")
    judgement = verify(completion, task)
    assert (judgement.strict, judgement.lenient) == (strict, lenient)


def test_a_schema_beside_an_answer_is_part_of_the_form():
    task = problem({"type": "json", "schema": PLACE}, '{"city": "Rome"}', prompt="JSON only.")
    assert not verify('{"city": "Rome"}', task).strict
    assert verify('{"city": "Rome"}', task).lenient


@pytest.mark.parametrize(
    ("value", "schema", "fit"),
    [
        (1, {"type": "integer"}, True),
        (1.0, {"type": "integer"}, True),
        (1.5, {"type": "integer"}, False),
        (True, {"type": "integer"}, False),
        (True, {"enum": [1]}, False),
        (None, {"type": ["string", "null"]}, True),
        ("ab", {"pattern": "^a", "maxLength": 2}, True),
        ("ba", {"pattern": "^a"}, False),
        (3, {"exclusiveMaximum": 3}, False),
        (0.3, {"multipleOf": 0.1}, True),
        ([1, 1], {"uniqueItems": True}, False),
        ([1, "a"], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, True),
        ([1, 2], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, False),
        ([1], {"contains": {"const": 2}}, False),
        ([1, 2], {"minItems": 3}, False),
        ({"a": 1}, {"patternProperties": {"^a": {"type": "string"}}}, False),
        ({"b": 1}, {"additionalProperties": {"type": "string"}}, False),
        ({"a": 1}, {"maxProperties": 0}, False),
        (1, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, True),
        (1, {"oneOf": [{"type": "number"}, {"type": "integer"}]}, False),
        (1, {"allOf": [{"minimum": 0}, {"maximum": 0}]}, False),
        (1, {"not": {"type": "integer"}}, False),
        ({"x": {"n": 1}}, {"properties": {"x": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"required": ["n"]}}}, True),
        ({"x": {}}, {"properties": {"x": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"required": ["n"]}}}, False),
        (1, {"$ref": "#/$defs/Missing"}, False),
        (1, {"$ref": "#"}, False),
        (1, True, True),
        (1, False, False),
    ],
)
def test_values_fit_their_schema(value: Any, schema: Any, fit: bool):
    check_schema(schema)
    assert fits(value, schema) is fit


def test_what_a_completion_says_can_be_read_without_the_gold():
    assert keys_only('{"a": [1, {"b": "x"}], "c": null}', "?") == '{"a": ["?", {"b": "?"}], "c": "?"}'


@pytest.mark.parametrize(
    "text",
    ["{" * 50_000, "[" * 50_000, '{"a":' * 20_000, '{"a":1}' * 10_000, '{"city": "x' * 5_000, "{'a':'b' " * 10_000],
)
def test_hostile_text_is_read_to_its_end(text: str):
    assert not verify(text, CITY).lenient
