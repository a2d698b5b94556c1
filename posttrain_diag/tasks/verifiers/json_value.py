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

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.guard import LIMIT_S, PatternTimeout, time_limit
from posttrain_diag.tasks.verifiers.json_schema import check_schema, fits, same_json
from posttrain_diag.tasks.verifiers.python_values import bracketed
from posttrain_diag.tasks.verifiers.reading import FinalPart, final_part
from posttrain_diag.tasks.verifiers.stated import states
from posttrain_diag.tasks.verifiers.text import same_leniently
from posttrain_diag.types import Judgement, Problem

KEYS = frozenset({"schema"})
MAX_CHARS = 100_000
MAX_SCANNED = 500_000
"""Characters that are looked at in search of the ends of objects: bounds the work on hostile text."""
MAX_UNREPAIRED = 50
"""Pieces in brackets that are looked at closer because they are no JSON."""
MAX_STATED = 4
"""Values of an answer that may be stated in prose instead."""
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
_FENCE_MARK = re.compile(r"^[ \t]*(?:```+|~~~+)[ \t]*\w*[ \t]*$", re.MULTILINE)
_WHOLE_FENCE = re.compile(r"\s*```+[ \t]*\w*[ \t]*\n(.*?)\n[ \t]*```+\s*", re.DOTALL)
_OR = re.compile(r"(?:or|oder|ou|or maybe|or possibly)?", re.IGNORECASE)
_REPAIRS = (
    (re.compile(r"//[^\n\"]*$", re.MULTILINE), ""),
    (re.compile(r",\s*([}\]])"), r"\1"),
    (re.compile(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)"), r'\1"\2"\3'),
    (re.compile(r"(?<=[:\[,\s])True\b"), "true"),
    (re.compile(r"(?<=[:\[,\s])False\b"), "false"),
    (re.compile(r"(?<=[:\[,\s])None\b"), "null"),
)
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'"})
_DECODER = json.JSONDecoder(strict=False)
_OPENING = re.compile(r"[{\[]")


class _Found:
    """A JSON value in a text."""

    def __init__(self, value: Any, start: int, end: int, *, exact: bool) -> None:
        self.value, self.start, self.end = value, start, end
        self.exact = exact
        """It is JSON as it stands, without repairs."""


def looks_like_json(gold: str, prompt: str = "") -> bool:
    """Whether a gold answer is to be compared as JSON: it is an object, or an array where the prompt speaks of JSON."""
    text = gold.strip()
    if not text.startswith(("{", "[")):
        return False
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if isinstance(value, dict):
        return bool(cast("dict[str, Any]", value))
    nested = any(isinstance(item, (dict, list)) for item in cast("list[Any]", value))
    return "json" in prompt.casefold() or (nested and any(isinstance(item, dict) for item in cast("list[Any]", value)))


def verifier(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """A verifier that compares JSON values.

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
    """Whether a problem's answer is JSON.

    Raises:
        VerifierError: it is not, or there is neither an answer nor a schema.
    """
    _gold(problem)


def keys_only(answer: str, foil: str) -> str:
    """A JSON answer with every value replaced: what a completion says is read by the keys, without the gold values."""

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
    lenient = _same_leniently(chosen.value, gold)
    strict = lenient and fitting and chosen.exact and same_json(chosen.value, gold) and _keeps_form(text, prompt)
    return Judgement(strict, lenient, shown)


def _keeps_form(text: str, prompt: str) -> bool:
    """Whether JSON is all there is, where the prompt asks for JSON only."""
    if _ONLY.search(prompt) is None:
        return True
    if _IN_FENCE.search(prompt) is not None and (fenced := _WHOLE_FENCE.fullmatch(text)) is not None:
        text = fenced[1]
    return _loads(text.strip()) is not None


def _chosen(text: str, prompt: str, gold: Any) -> _Found | None:
    """The value that a text gives as its answer: the last of the form of the gold one; None without, or with two."""
    asked = _squeezed(prompt)
    found = [each for each in _values(text) if not _echoed(text[each.start : each.end], asked, each.value, gold)]
    alike = [(each, part) for each in found if (part := _like(each.value, gold)) is not None]
    if not alike:
        return None
    each, part = alike[-1]
    if len(alike) > 1 and not same_json(alike[-2][1], part):
        between = _FENCE_MARK.sub("", text[alike[-2][0].end : each.start]).strip(" \t\r\n,;")
        if _OR.fullmatch(between) is not None:
            return None
    return _Found(part, each.start, each.end, exact=each.exact and part is each.value)


def _like(value: Any, gold: Any) -> Any:
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
            if len(given) == len(golds) and all(map(_same_leniently, given, golds)):
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


def _values(text: str) -> list[_Found]:
    """The objects and arrays of a text, left to right."""
    found: list[_Found] = []
    whole = _loads(text.strip())
    if isinstance(whole, (tuple,)) and not isinstance(whole[0], (dict, list)):
        inner = _loads(whole[0]) if isinstance(whole[0], str) else None
        return [_Found(inner[0], 0, len(text), exact=False)] if inner is not None else []
    end, left, unrepaired = 0, MAX_SCANNED, 0
    for match in _OPENING.finditer(text):
        start = match.start()
        if start < end or left <= 0:
            continue
        try:
            value, end = _DECODER.raw_decode(text, start)
            found.append(_Found(value, start, end, exact=True))
            continue
        except json.JSONDecodeError as error:
            left -= error.pos - start
        except (ValueError, RecursionError):
            left -= MAX_CHARS
        closed = bracketed(text, start, MAX_CHARS)
        left -= (closed or len(text)) - start
        if closed is None or unrepaired >= MAX_UNREPAIRED:
            continue
        value = _repaired(text[start:closed])
        unrepaired += value is None
        if value is not None:
            found.append(_Found(value, start, closed, exact=False))
            end = closed
    return found or _unclosed(text)


def _unclosed(text: str) -> list[_Found]:
    """An object that ends with a whole value but lacks its last brackets."""
    start = text.find("{")
    if start < 0:
        return []
    for closing in ("}", "]}", "}}"):
        loaded = _loads(text[start:].rstrip(" \t\r\n`,") + closing)
        if loaded is not None:
            return [_Found(loaded[0], start, len(text), exact=False)]
    return []


def _repaired(text: str) -> Any:
    """The value of what is nearly JSON (a Python dict, a comma too much, keys without quotes); None for all else."""
    text = text.translate(_QUOTES)
    try:
        value: Any = ast.literal_eval(text)
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        for pattern, replacement in _REPAIRS:
            text = pattern.sub(replacement, text)
        loaded = _loads(text)
        value = None if loaded is None else loaded[0]
    return cast("Any", value) if isinstance(value, (dict, list)) else None


def _loads(text: str) -> tuple[Any] | None:
    """(value,) of a text that is JSON and nothing else."""
    try:
        return (json.loads(text, parse_constant=_refuse),)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _echoed(raw: str, asked: str, value: Any, gold: Any) -> bool:
    """Whether a value only repeats the form that the prompt gives, as {"city": "TEXT"}."""
    return _squeezed(raw) in asked and not (gold is not _NO_GOLD and same_json(value, gold))


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _same_leniently(found: Any, gold: Any) -> bool:
    """Whether two values say the same: more keys, other spelling of keys and texts, and "9" for 9 are forgiven."""
    if isinstance(gold, dict):
        if not isinstance(found, dict):
            return False
        given = {_key(key): value for key, value in cast("dict[str, Any]", found).items()}
        wanted = cast("dict[str, Any]", gold)
        return all(_key(key) in given and _same_leniently(given[_key(key)], wanted[key]) for key in wanted)
    if isinstance(gold, list):
        wanted_items, items = cast("list[Any]", gold), cast("list[Any]", found if isinstance(found, list) else [found])
        return len(items) == len(wanted_items) and all(map(_same_leniently, items, wanted_items))
    if isinstance(found, (dict, list)):
        items = cast("list[Any]", found)
        return isinstance(found, list) and len(items) == 1 and _same_leniently(items[0], gold)
    if found is None or gold is None or isinstance(found, bool) or isinstance(gold, bool):
        return _word(found) == _word(gold)
    return same_json(found, gold) or same_leniently(_word(found), _word(gold))


def _key(key: Any) -> str:
    return "".join(char for char in str(key).casefold() if char.isalnum())


def _word(value: Any) -> str:
    return value.strip().casefold() if isinstance(value, str) else json.dumps(value)


def _stated(part: FinalPart, prompt: str, gold: Any) -> bool:
    """Whether the prose of a text states every value of the object that was asked for."""
    leaves = [leaf for leaf in _parts(gold) if not isinstance(leaf, (dict, list))]
    if not 0 < len(leaves) <= MAX_STATED:
        return False
    prose = FinalPart(_without_objects(part.text[-MAX_CHARS:]), part.open_thought)
    return all(states(prose, prompt, leaf) for leaf in leaves)


def _without_objects(text: str) -> str:
    """A text without its objects, closed or cut, and without the marks of fences."""
    kept: list[str] = []
    start = text.find("{")
    while start >= 0:
        kept.append(text[:start])
        end = bracketed(text, start)
        text = text[end:] if end is not None else ""
        start = text.find("{")
    return _FENCE_MARK.sub("", "".join([*kept, text]))
