"""The `literal` verifier: which Python value a completion gives, and whether it is the right one."""

from __future__ import annotations

import os

import pytest

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks import check_verifier, load_tasks, verify
from posttrain_diag.tasks.verifiers.python_values import NotALiteral, same_value, value_of
from posttrain_diag.types import Problem
from tasks.conftest import Write, problem


def asked(code: str, given: str, output: str) -> Problem:
    """What a call returns, asked for as CRUXEval does."""
    return problem({"type": "literal"}, output, prompt=f"{code}\n\nassert f({given}) ==")


REVERSED = asked("def f(s):\n    return s[::-1] + '!'", "'cba'", "'abc!'")
DOUBLED = asked("def f(xs):\n    return [x * 2 for x in xs if x > 1]", "[1, 2, 3]", "[4, 6]")
LONGER = asked("def f(a, b):\n    return len(a) > b", "'tree', 5", "False")
PAIR = asked("def f(a, b):\n    return a, b", "1, 'x'", "(1, 'x')")
COUNTED = asked("def f(s):\n    return {c: s.count(c) for c in s}", "'aab'", "{'a': 2, 'b': 1}")
HALF = asked("def f(n):\n    return n / 2", "7", "3.5")
TWICE = asked("def f(n):\n    return n * 2", "9", "18")
MISSING = asked("def f(n):\n    d = {}\n    return d.get(n)", "9", "None")
STRIPPED = asked("def f(s):\n    return s.strip()", "'  '", "''")
AS_SET = asked("def f(xs):\n    return set(xs)", "[1, 2, 2]", "{1, 2}")
AS_TEXT = asked("def f(n):\n    return str(n)", "12", "'12'")
HALF_OF_8 = asked("def f(n):\n    return n / 2", "8", "4.0")
NESTED = asked("def f(xs):\n    return [list(xs), tuple(xs)]", "[1]", "[[1], (1,)]")
WITH_NEWLINE = asked("def f(s):\n    return s + '\\n'", "'a'", "'a\\n'")
QUOTED = asked("def f(s):\n    return s", '"it\'s"', '"it\'s"')
TAGGED = problem(
    {"type": "literal"},
    "[4, 6]",
    prompt="Complete the assertion with the output. Provide the full assertion in [ANSWER] and [/ANSWER] tags.\n\n"
    "[PYTHON]\ndef f(n):\n    return n\nassert f(17) == ??\n[/PYTHON]\n[ANSWER]\nassert f(17) == 17\n[/ANSWER]\n\n"
    "[PYTHON]\ndef f(xs):\n    return [x * 2 for x in xs if x > 1]\nassert f([1, 2, 3]) == ??\n[/PYTHON]\n[ANSWER]",
)

RIGHT: list[tuple[Problem, str]] = [
    (REVERSED, "'abc!'"),
    (REVERSED, '"abc!"\n'),
    (REVERSED, "'abc!'  # reversed"),
    (REVERSED, "'abc!'."),
    (REVERSED, "`'abc!'`"),
    (REVERSED, "**'abc!'**"),
    (REVERSED, "The output is 'abc!'."),
    (REVERSED, 'The function returns "abc!".'),
    (REVERSED, "f('cba') returns 'abc!'"),
    (REVERSED, "f('cba') == 'abc!'"),
    (REVERSED, "`f('cba')` returns `'abc!'`."),
    (REVERSED, "assert f('cba') == 'abc!'\n"),
    (REVERSED, "```python\nassert f('cba') == 'abc!'\n```"),
    (REVERSED, "[ANSWER]'abc!'[/ANSWER]"),
    (REVERSED, "[ANSWER]\nassert f('cba') == 'abc!'\n[/ANSWER]"),
    (REVERSED, "[ANSWER] 'abc!'"),
    (REVERSED, "The string 'cba' reversed is 'abc'. Adding '!' gives 'abc!'."),
    (REVERSED, "Step 1: s[::-1] is 'abc'\nStep 2: add '!'\n\n'abc!'"),
    (REVERSED, "s = 'cba'\ns[::-1] = 'abc'\n'abc' + '!' = 'abc!'"),
    (REVERSED, "Let's see. `s[::-1]` → `'abc'`, then `+ '!'` → `'abc!'`.\n\nSo the answer is `'abc!'`."),
    (REVERSED, "Answer: abc!"),
    (REVERSED, "abc!"),
    (REVERSED, "The output is: abc!"),
    (REVERSED, "```\nabc!\n```"),
    (REVERSED, "'abc!'\n\nassert f('xy') == 'yx!'"),
    (REVERSED, "'abc!'\n\ndef g(s):\n    return s.upper()\n\nassert g('q') == 'Q'"),
    (REVERSED, "'abc' + '!'"),
    (REVERSED, "“abc!”"),
    (REVERSED, "Output:\n'abc!'"),
    (REVERSED, "The result will be:\n```python\n'abc!'\n```\nbecause of the slice."),
    (REVERSED, "<think>'cba!'</think>'abc!'"),
    (REVERSED, "It prints `abc!`"),
    (REVERSED, "The returned value is **'abc!'**."),
    (REVERSED, "\\boxed{'abc!'}"),
    (REVERSED, "<answer>'abc!'</answer>"),
    (REVERSED, "First I thought 'cba!', but the slice reverses it, so the correct output is 'abc!'."),
    (DOUBLED, "[4, 6]"),
    (DOUBLED, "[4,6]"),
    (DOUBLED, "[ 4, 6 ]"),
    (DOUBLED, "[\n    4,\n    6,\n]"),
    (DOUBLED, "[4.0, 6.0]"),
    (DOUBLED, "The list [1, 2, 3] is filtered to [2, 3], and doubling gives [4, 6]."),
    (DOUBLED, "[4, 6]\n\nExplanation: 2 * 2 = 4 and 3 * 2 = 6. The 1 is dropped."),
    (DOUBLED, "Answer: [4, 6]\n\nThe comprehension keeps [2, 3] of [1, 2, 3]."),
    (DOUBLED, "The output of f([1, 2, 3]) is [4, 6]."),
    (DOUBLED, "The result of calling `f([1, 2, 3])` is `[4, 6]`."),
    (DOUBLED, "So, f([1,2,3]) = [4,6]."),
    (DOUBLED, "Therefore the function returns:\n\n[4, 6]"),
    (DOUBLED, "Running it:\n>>> f([1, 2, 3])\n[4, 6]"),
    (DOUBLED, "1. x = 1: skipped\n2. x = 2: 4\n3. x = 3: 6\n\nThe final list is [4, 6]."),
    (DOUBLED, "The correct completion is `assert f([1, 2, 3]) == [4, 6]`."),
    (DOUBLED, "list is [4, 6]"),
    (DOUBLED, "print(f([1, 2, 3]))  # [4, 6]"),
    (DOUBLED, "The answer is:\n\n```\n[4, 6]\n```"),
    (DOUBLED, "**Output:** `[4, 6]`"),
    (DOUBLED, "It will return [2, 4, 6]. Wait, only x > 1 counts. So [4, 6]."),
    (DOUBLED, "f([1, 2, 3]) == [2, 4, 6]. No, actually: [4, 6]"),
    (DOUBLED, "[4, 6] is the output."),
    (DOUBLED, "- x = 2 → 4\n- x = 3 → 6\nResult: [4, 6]"),
    (DOUBLED, "The function filters elements above 1: [2, 3]. Then it doubles them: [4, 6]."),
    (REVERSED, "[THOUGHT]\n'cba' is reversed.\n[/THOUGHT]\n[ANSWER]\nassert f('cba') == 'abc!'\n[/ANSWER]"),
    (DOUBLED, "Wait, 1 is not greater than 1. So [2, 4, 6] is wrong. The answer is [4, 6]."),
    (LONGER, "False"),
    (LONGER, "false"),
    (LONGER, "The output is False."),
    (LONGER, "len('tree') is 4, and 4 > 5 is False."),
    (LONGER, "False, because 4 is not greater than 5."),
    (LONGER, "assert f('tree', 5) == False"),
    (LONGER, "assert f('tree', 5) is False"),
    (LONGER, "It returns `False`."),
    (LONGER, "**False**"),
    (PAIR, "(1, 'x')"),
    (PAIR, "1, 'x'"),
    (PAIR, "(1,'x',)"),
    (PAIR, "The function returns the tuple (1, 'x')."),
    (COUNTED, "{'b': 1, 'a': 2}"),
    (COUNTED, '{"a": 2, "b": 1}'),
    (COUNTED, "dict is {'a': 2, 'b': 1}"),
    (COUNTED, "The output is:\n{\n  'a': 2,\n  'b': 1\n}"),
    (COUNTED, "Result: {'a': 2, 'b': 1}"),
    (HALF, "3.5"),
    (HALF, "7 / 2 = 3.5"),
    (HALF, "The answer is 3.5."),
    (HALF, "3.50"),
    (TWICE, "18"),
    (TWICE, "9 * 2 = 18"),
    (TWICE, "18.0"),
    (TWICE, "f(9) = 9 * 2 = 18"),
    (TWICE, "f(9) returns 9 * 2, which is 18."),
    (TWICE, "= 18"),
    (TWICE, "== 18"),
    (TWICE, " 18\nassert f(10) == 20\nassert f(1) == 2"),
    (MISSING, "None"),
    (MISSING, "none"),
    (MISSING, "It returns None."),
    (STRIPPED, "''"),
    (STRIPPED, '""'),
    (STRIPPED, "The output is ''."),
    (STRIPPED, "An empty string: ''"),
    (AS_SET, "{2, 1}"),
    (AS_SET, "set([1, 2])"),
    (AS_SET, "{1, 2, 2}"),
    (AS_TEXT, "'12'"),
    (AS_TEXT, '"12"'),
    (HALF_OF_8, "4.0"),
    (HALF_OF_8, "4"),
    (HALF_OF_8, "4."),
    (NESTED, "[[1], (1,)]"),
    (WITH_NEWLINE, "'a\\n'"),
    (WITH_NEWLINE, '"a\\n"'),
    (QUOTED, '"it\'s"'),
    (QUOTED, "'it\\'s'"),
    (QUOTED, 'The output is "it\'s".'),
    (QUOTED, "it's"),
    (TAGGED, "[4, 6]\n[/ANSWER]"),
    (TAGGED, "assert f([1, 2, 3]) == [4, 6]\n[/ANSWER]"),
    (
        TAGGED,
        "\nassert f([1, 2, 3]) == [4, 6]\n[/ANSWER]\n\n[PYTHON]\ndef f(s):\n    return s\nassert f('a') == ??\n[/PYTHON]\n[ANSWER]\nassert f('a') == 'a'\n[/ANSWER]",
    ),
    (TAGGED, "Only 2 and 3 are greater than 1.\n[ANSWER]assert f([1, 2, 3]) == [4, 6][/ANSWER]"),
]

WRONG: list[tuple[Problem, str]] = [
    (REVERSED, "'cba!'"),
    (REVERSED, "abc"),
    (REVERSED, "'Abc!'"),
    (REVERSED, "' abc!'"),
    (REVERSED, "The output is 'abc'."),
    (REVERSED, "'abc!' or 'cba!'"),
    (REVERSED, "It is either 'abc!' or 'cba!'."),
    (REVERSED, "The output is not 'abc!'."),
    (REVERSED, "<think>\n'abc!'"),
    (REVERSED, "<think>'abc!'</think>'cba!'"),
    (REVERSED, "Answer: 'cba!'\n\nNot 'abc!'."),
    (REVERSED, "['abc!']"),
    (REVERSED, "f('cba')"),
    (REVERSED, "s[::-1] + '!'"),
    (REVERSED, ""),
    (REVERSED, "I cannot run code."),
    (REVERSED, "assert f('abc!') == 'cba!'"),
    (REVERSED, "'abc!'[::-1]"),
    (REVERSED, "'abc!'.upper()"),
    (REVERSED, "assert f('cba') != 'abc!'"),
    (DOUBLED, "[2, 4, 6]"),
    (DOUBLED, "[6, 4]"),
    (DOUBLED, "(4, 6)"),
    (DOUBLED, "4, 6"),
    (DOUBLED, "{4, 6}"),
    (DOUBLED, "[4, 6"),
    (DOUBLED, "[4, 6]]"),
    (DOUBLED, "[[4, 6]]"),
    (DOUBLED, "['4', '6']"),
    (DOUBLED, "[True, 6]"),
    (DOUBLED, "[2, 3]\n\nthen doubled"),
    (DOUBLED, "Answer: [4]"),
    (DOUBLED, "The list [4, 6] would be the result if 1 were dropped, but the answer is [2, 4, 6]."),
    (DOUBLED, "It returns a list."),
    (DOUBLED, "[4, 6] or [2, 4, 6]"),
    (DOUBLED, "assert f([1, 2, 3]) == [4, 6, 8]"),
    (DOUBLED, "[x * 2 for x in [2, 3]]"),
    (LONGER, "True"),
    (LONGER, "0"),
    (LONGER, "'False'"),
    (LONGER, "None"),
    (LONGER, "True or False"),
    (LONGER, "It depends."),
    (LONGER, "assert f('tree', 5) == True"),
    (LONGER, "len('tree') > 5"),
    (LONGER, "It is False if a is short, so here the answer is True."),
    (PAIR, "[1, 'x']"),
    (PAIR, "(1, x)"),
    (PAIR, "('x', 1)"),
    (COUNTED, "{'a': 2}"),
    (COUNTED, "{'a': 1, 'b': 1}"),
    (COUNTED, "{'a', 'b'}"),
    (HALF, "3"),
    (HALF, "'3.5'"),
    (TWICE, "'18'"),
    (TWICE, "9"),
    (TWICE, "81"),
    (TWICE, "0"),
    (TWICE, "18 or 81"),
    (MISSING, "'None'"),
    (MISSING, "False"),
    (MISSING, "{}"),
    (MISSING, ""),
    (STRIPPED, "' '"),
    (STRIPPED, ""),
    (STRIPPED, "None"),
    (AS_SET, "[1, 2]"),
    (AS_SET, "{1}"),
    (AS_TEXT, "12"),
    (AS_TEXT, "The output is 12."),
    (HALF_OF_8, "4.5"),
    (NESTED, "[[1], [1]]"),
    (NESTED, "[(1,), (1,)]"),
    (WITH_NEWLINE, "'a'"),
    (WITH_NEWLINE, "'a\\\\n'"),
    (WITH_NEWLINE, "a"),
    (QUOTED, "'its'"),
    (TAGGED, "[2, 4, 6]\n[/ANSWER]"),
]


@pytest.mark.parametrize(("task", "completion"), RIGHT)
def test_right_values_are_found(task: Problem, completion: str):
    judgement = verify(completion, task)
    assert (judgement.lenient, judgement.error) == (True, None)


@pytest.mark.parametrize(("task", "completion"), WRONG)
def test_wrong_values_are_not_taken(task: Problem, completion: str):
    judgement = verify(completion, task)
    assert (judgement.strict, judgement.lenient, judgement.error) == (False, False, None)


@pytest.mark.parametrize(
    ("task", "completion", "strict"),
    [
        (REVERSED, "'abc!'", True),
        (REVERSED, 'The output is "abc!".', True),
        (REVERSED, "assert f('cba') == 'abc!'", True),
        (REVERSED, "abc!", False),
        (LONGER, "false", False),
        (DOUBLED, "[4,6]", True),
    ],
)
def test_strict_wants_the_spelling_of_python(task: Problem, completion: str, strict: bool):
    assert verify(completion, task).strict is strict


def test_what_was_compared_is_told():
    assert verify("The output is [4, 6].", DOUBLED).extracted == "[4, 6]"
    assert verify("Answer: abc!", REVERSED).extracted == "abc!"
    assert verify("I cannot say.", REVERSED).lenient is False


REVERSE = "def f(s):\n    return s[::-1] + '!'"
ADD = "def f(a, b):\n    return a + b"
LENGTH = "def f(xs):\n    return len(xs)"


def inputs(code: str, output: str, answer: str) -> Problem:
    """Which arguments make a call return a value."""
    spec = {"type": "literal", "code": code, "output": output}
    return problem(spec, answer, prompt=f"{code}\n\nassert f(??) == {output}")


OF_KEYS = inputs("def f(d):\n    return list(d)", "['a', 'b']", "{'a': 1, 'b': 2}")
OF_NOTHING = inputs("def f(xs=()):\n    return len(xs)", "0", "[]")
OF_REVERSE, OF_ADD, OF_LENGTH = (
    inputs(REVERSE, "'abc!'", "'cba'"),
    inputs(ADD, "7", "3, 4"),
    inputs(LENGTH, "2", "[1, 2]"),
)


@pytest.mark.skipif(os.name != "posix", reason="the sandbox needs POSIX")
@pytest.mark.parametrize(
    ("task", "completion", "right"),
    [
        (OF_REVERSE, "'cba'", True),
        (OF_REVERSE, "f('cba')", True),
        (OF_REVERSE, "assert f(\"cba\") == 'abc!'", True),
        (OF_REVERSE, "[ANSWER]assert f('cba') == 'abc!'[/ANSWER]", True),
        (OF_REVERSE, "The input is 'cba'.", True),
        (OF_REVERSE, "s = 'cba'", True),
        (OF_REVERSE, "'abc'", False),
        (OF_REVERSE, "assert f('abc') == 'abc!'", False),
        (OF_REVERSE, "cab", False),
        (OF_REVERSE, "", False),
        (OF_REVERSE, "<think>'cba'", False),
        (OF_REVERSE, "f(open('x').read())", False),
        (OF_ADD, "3, 4", True),
        (OF_ADD, "f(1, 6)", True),
        (OF_ADD, "assert f(a=0, b=7) == 7", True),
        (OF_ADD, "(2, 5)", True),
        (OF_ADD, "We need a + b = 7, so for example `f(2, 5)`.", True),
        (OF_ADD, "3, 3", False),
        (OF_ADD, "7", False),
        (OF_LENGTH, "[5, 6]", True),
        (OF_LENGTH, "f([0] * 2)", True),
        (OF_LENGTH, "f(2)", False),
        (OF_KEYS, "f({'a': 1, 'b': 2})", True),
        (OF_KEYS, "f({'a': 2, 'b': 3})", True),
        (OF_KEYS, "f({'b': 2, 'a': 1})", False),
        (OF_NOTHING, "f()", True),
        (OF_NOTHING, "f([])", True),
    ],
)
def test_any_arguments_that_give_the_output_are_right(task: Problem, completion: str, right: bool):
    judgement = verify(completion, task)
    assert (judgement.strict, judgement.lenient, judgement.error) == (right, right, None)


def test_arguments_need_consent_to_run_code(jsonl: Write):
    row = {"prompt": "f(??) == 2", "answer": "[1, 2]", "verifier": {"type": "literal", "code": LENGTH, "output": "2"}}
    with pytest.raises(VerifierError, match="--allow-code"):
        load_tasks(jsonl(row))
    assert load_tasks(jsonl(row), allow_code=True).problems[0].verifier["output"] == "2"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"code": LENGTH}, ["both 'code' and 'output'"]),
        ({"code": "x = 1", "output": "1"}, ["defines no function", "entry_point"]),
        ({"code": LENGTH, "output": 2}, ["'output' is a text", "int"]),
        ({"code": LENGTH, "output": "2", "entry_point": "a b"}, ["function name"]),
        ({"code": LENGTH, "output": "2", "timeout_s": True}, ["timeout_s"]),
    ],
)
def test_unusable_verifiers(spec: dict[str, object], says: list[str]):
    with pytest.raises(VerifierError) as caught:
        check_verifier(problem({"type": "literal", **spec}, "1"))
    assert all(part in str(caught.value) for part in says), caught.value


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("1", "1.0", True), ("1", "True", False), ("[1]", "(1,)", False), ("[[1]]", "[(1,)]", False), ("'a'", '"a"', True),
        ("{1, 2}", "{2, 1}", True), ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}", True), ("{1: 2}", "{True: 2}", False),
        ("nan", "nan", True), ("[0] * 3", "[0, 0, 0]", True), ("'a' + 'b'", "'ab'", True), ("set()", "set([])", True),
        ("b'a'", "'a'", False), ("-1", "- 1", True), ("1e3", "1000", True), ("None", "0", False), ("'1'", "1", False),
    ],
)  # fmt: skip
def test_values_are_the_same(a: str, b: str, same: bool):
    assert same_value(value_of(a), value_of(b)) is same
    assert same_value(value_of(b), value_of(a)) is same


@pytest.mark.parametrize(
    "text",
    ["", "f(1)", "x", "[x for x in y]", "__import__('os')", "'a' * 10**9", "[0] * 10**9", "1 if 1 else 2", "[1", "-" * 50_000 + "1",
     "(" * 5_000, "1" + "+1" * 9_000],
)  # fmt: skip
def test_what_is_no_literal(text: str):
    with pytest.raises(NotALiteral):
        value_of(text)


@pytest.mark.parametrize(
    "text", ["[" * 40_000, "'" * 40_000, "f(" * 20_000, "assert f(1) == [" * 3_000, "is " * 15_000, "(1, " * 10_000]
)
def test_hostile_text_is_read_to_its_end(text: str):
    assert not verify(text, DOUBLED).lenient
