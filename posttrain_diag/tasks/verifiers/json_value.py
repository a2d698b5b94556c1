r"""The `json` verifier: does a completion give the right JSON value?

    {"type": "json"}                                 answer {"city": "Rome"}
    {"type": "json", "schema": {"type": "object"}}   fits the schema; and is the answer, where there is one

Values are compared, not texts: spacing, the order of keys and 1.0 for 1 do not matter, upper and lower case does.

Substance is the value in whatever spelling: in a fence, with prose around, pretty-printed, as a Python dict, with a
comma too much, with more keys than asked for, "9" for 9, or stated in a sentence where there is no JSON at all. Of
several objects the last with the keys that are asked for counts. Strict wants JSON that is equal by value; where the
prompt asks for JSON only, it wants one JSON value and nothing around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.guard import LIMIT_S, PatternTimeout, time_limit
from posttrain_diag.tasks.verifiers.json_schema import check_schema, fits, same_json
from posttrain_diag.tasks.verifiers.read_json import FENCE_MARK, MAX_CHARS, Found, loads, values_in, without_objects
from posttrain_diag.tasks.verifiers.reading import FinalPart, final_part
from posttrain_diag.tasks.verifiers.stated import states
from posttrain_diag.tasks.verifiers.text import same_leniently
from posttrain_diag.types import Judgement, Problem

KEYS = frozenset({"schema"})
MAX_STATED = 4
"""Most values of an answer that may be stated in prose instead."""
MAX_SENTENCE = 80
"""Most characters of a text in an object that may say more than the word that was asked for."""
_EXAMPLE = re.compile(
    r"\b(?:for example|for instance|e\.g\.|example|such as)\b[^.!?\n{}]*[:,]?\s*(?:```\w*\s*)?$", re.IGNORECASE
)
"""Matches what introduces an object that is no answer."""
_NEAR = r"\W+(?:[\w'-]+\W+){0,6}?"
_ONLY = re.compile(
    rf"\b(?:only|just|solely|exclusively|nothing (?:else )?(?:but|than)|purely|bare|raw|single)\b{_NEAR}JSON\b|"
    rf"\bJSON\b{_NEAR}(?:only|alone|nothing else|nothing more)\b|"
    r"\b(?:no|without(?: any)?|not (?:include|add|write|give)(?: any)?)\s+"
    r"(?:other |additional |extra |further |surrounding )?"
    r"(?:text|prose|words?|explanations?|commentary|markdown|code fences?|formatting|output)\b|\bnothing else\b",
    re.IGNORECASE,
)
_IN_FENCE = re.compile(r"\b(?:in|within|inside|as)\b[^.\n]{0,30}(?:```|code block|fence)", re.IGNORECASE)
_WHOLE_FENCE = re.compile(r"\s*```+[ \t]*\w*[ \t]*\n(.*?)\n[ \t]*```+\s*", re.DOTALL)
_OR = re.compile(r"(?:or|oder|ou|or maybe|or possibly)?", re.IGNORECASE)


def looks_like_json(gold: str, prompt: str = "") -> bool:
    """Whether a gold answer is to be compared as JSON.

    Objects are, and so are arrays that hold texts or objects; `[2, 3]` may be a list, a point or an interval, and is
    JSON where the prompt speaks of it.
    """
    text = gold.strip()
    if not text.startswith(("{", "[")):
        return False
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if isinstance(value, dict) or not value:
        return bool(cast("dict[str, Any]", value))
    return "json" in prompt.casefold() or any(isinstance(item, (str, dict)) for item in cast("list[Any]", value))


def verifier(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that compares JSON values.

    Raises:
        VerifierError: the schema cannot be used.
    """
    schema = spec.get("schema")
    if "schema" in spec:
        check_schema(schema)

    def judge(completion: str, problem: Problem) -> Judgement:
        part, gold = final_part(completion), _gold(problem)
        if "schema" in spec:
            try:
                with time_limit():
                    return _judge(part, problem.prompt_text, gold, schema)
            except PatternTimeout:
                error = f"a pattern of the JSON schema took more than {LIMIT_S:g} s on one completion: simplify it"
                return Judgement(False, False, None, error=error)
        return _judge(part, problem.prompt_text, gold, None)

    return judge


def check_answer(problem: Problem) -> None:
    """Make sure that a problem's answer is JSON.

    Raises:
        VerifierError: it is not, or there is neither an answer nor a schema.
    """
    _gold(problem)


def keys_only(answer: str, foil: str) -> str:
    """A JSON answer with every value replaced, so that a completion is read by the keys and without the gold values."""

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(inner) for key, inner in cast("dict[str, Any]", value).items()}
        return [replaced(inner) for inner in cast("list[Any]", value)] if isinstance(value, list) else foil

    return json.dumps(replaced(json.loads(answer)))


_NO_GOLD: Any = object()


def _gold(problem: Problem) -> Any:
    if problem.answer is None or not problem.answer.strip():
        if "schema" in problem.verifier:
            return _NO_GOLD
        raise VerifierError(f"problem {problem.id!r} has no answer and its json verifier no 'schema': give one of them")
    try:
        return json.loads(problem.answer)
    except (ValueError, RecursionError) as error:
        raise VerifierError(
            f"a json verifier needs an answer that is JSON, got {problem.answer[:60]!r} ({error}): correct the answer "
            'or use the verifier {"type": "exact"}'
        ) from error


def _judge(part: FinalPart, prompt: str, gold: Any, schema: Any) -> Judgement:
    text = part.text[-MAX_CHARS:]
    chosen = _chosen(text, prompt, gold)
    if chosen is None:
        stated = gold is not _NO_GOLD and _stated(part, prompt, gold)
        return Judgement(False, stated, None)
    shown = json.dumps(chosen.value, ensure_ascii=False, sort_keys=True, default=str)
    fitting = schema is None or fits(chosen.value, schema)
    if gold is _NO_GOLD:
        return Judgement(fitting and chosen.exact and _keeps_form(text, prompt), fitting, shown)
    lenient = _same_leniently(chosen.value, gold, prompt)
    strict = lenient and fitting and chosen.exact and same_json(chosen.value, gold) and _keeps_form(text, prompt)
    return Judgement(strict, lenient, shown)


def _keeps_form(text: str, prompt: str) -> bool:
    """Whether JSON is all there is, where the prompt asks for JSON only."""
    if _ONLY.search(prompt) is None:
        return True
    if _IN_FENCE.search(prompt) is not None and (fenced := _WHOLE_FENCE.fullmatch(text)) is not None:
        text = fenced[1]
    return loads(text.strip()) is not None


def _chosen(text: str, prompt: str, gold: Any) -> Found | None:
    """The value that a text gives as its answer: the last of the form of the gold one; None without, or with two."""
    asked = _squeezed(prompt)
    found = [each for each in values_in(text) if not _echoed(text[each.start : each.end], asked, each.value, gold)]
    found = [each for each in found if _EXAMPLE.search(text[max(0, each.start - 80) : each.start]) is None] or found
    alike = [(each, part) for each in found if (part := _like(each.value, gold, prompt)) is not None]
    if not alike:
        return None
    each, part = alike[-1]
    if len(alike) > 1 and not same_json(alike[-2][1], part):
        between = FENCE_MARK.sub("", text[alike[-2][0].end : each.start]).strip(" \t\r\n,;")
        if _OR.fullmatch(between) is not None:
            return None
    return Found(part, each.start, each.end, exact=each.exact and part is each.value)


def _like(value: Any, gold: Any, prompt: str) -> Any:
    """The part of a value that has the keys that are asked for, itself first; None where there is none.

    An object with other keys but the same values is the answer under other names.
    """
    if gold is _NO_GOLD:
        return value
    if isinstance(gold, dict):
        wanted = {_key(key) for key in cast("dict[str, Any]", gold)}
        for part in _parts(value):
            if isinstance(part, dict) and wanted <= {_key(key) for key in cast("dict[str, Any]", part)}:
                return cast("dict[str, Any]", part)
        if isinstance(value, dict):
            given = list(cast("dict[str, Any]", value).values())
            golds = list(cast("dict[str, Any]", gold).values())
            if len(given) == len(golds) and all(
                _same_leniently(one, other, prompt) for one, other in zip(given, golds, strict=True)
            ):
                return dict(zip(cast("dict[str, Any]", gold), given, strict=True))
        if isinstance(value, list) and len(wanted) == 1 and isinstance(next(iter(gold.values())), list):
            return {next(iter(gold)): value}
        return None
    if isinstance(gold, list):
        if isinstance(value, dict):
            lists = [part for part in cast("dict[str, Any]", value).values() if isinstance(part, list)]
            return cast("list[Any]", lists[0]) if len(lists) == 1 else None
        return cast("list[Any]", value) if isinstance(value, list) else None
    return None


def _parts(value: Any, depth: int = 4) -> Iterator[Any]:
    yield value
    if depth:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for each in cast("list[Any]", inner):
            yield from _parts(each, depth - 1)


def _echoed(raw: str, asked: str, value: Any, gold: Any) -> bool:
    """Whether a value only repeats the form that the prompt gives, as {"city": "TEXT"}."""
    return _squeezed(raw) in asked and not (gold is not _NO_GOLD and same_json(value, gold))


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _same_leniently(found: Any, gold: Any, prompt: str) -> bool:
    """Whether two values say the same: more keys, other spelling of keys and texts, and "9" for 9 are forgiven."""
    if isinstance(gold, dict):
        if not isinstance(found, dict):
            return False
        given = {_key(key): value for key, value in cast("dict[str, Any]", found).items()}
        wanted = cast("dict[str, Any]", gold)
        return all(_key(key) in given and _same_leniently(given[_key(key)], wanted[key], prompt) for key in wanted)
    if isinstance(gold, list):
        wanted_items, items = cast("list[Any]", gold), cast("list[Any]", found if isinstance(found, list) else [found])
        return len(items) == len(wanted_items) and all(
            _same_leniently(item, wanted_item, prompt) for item, wanted_item in zip(items, wanted_items, strict=True)
        )
    if isinstance(found, (dict, list)):
        items = cast("list[Any]", found)
        return isinstance(found, list) and len(items) == 1 and _same_leniently(items[0], gold, prompt)
    if found is None or gold is None or isinstance(found, bool) or isinstance(gold, bool):
        return _word(found) == _word(gold)
    if same_json(found, gold) or same_leniently(_word(found), _word(gold)):
        return True
    # "Rome, Italy" for "Rome", "9 apples" for 9
    short = isinstance(found, str) and len(found) <= MAX_SENTENCE
    return short and states(FinalPart(cast("str", found), open_thought=False), prompt, gold)


def _key(key: Any) -> str:
    return "".join(char for char in str(key).casefold() if char.isalnum())


def _word(value: Any) -> str:
    return value.strip().casefold() if isinstance(value, str) else json.dumps(value)


def _stated(part: FinalPart, prompt: str, gold: Any) -> bool:
    """Whether the prose of a text states every value of the object that was asked for."""
    leaves = [leaf for leaf in _parts(gold) if not isinstance(leaf, (dict, list))]
    if not 0 < len(leaves) <= MAX_STATED:
        return False
    prose = FinalPart(without_objects(part.text[-MAX_CHARS:]), part.open_thought)
    return all(states(prose, prompt, leaf) for leaf in leaves)
