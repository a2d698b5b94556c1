r"""The `literal` verifier: is the Python value that a completion gives the right one (CRUXEval)?

    {"type": "literal"}                                        answer "[4, 6]": the value of a call is asked for
    {"type": "literal", "code": "def f(x): ...", "output": "[4, 6]"}   answer "[2, 3]": arguments are asked for; any that
                                                               give the output are right, so the code is run with them

Values are compared, not texts: `[4,6]` is `[4, 6]`, "abc" is 'abc', 1.0 is 1; True is not 1 and a tuple is no list
(python_values.py). The value is read where a completion gives it, first what is there of

    [ANSWER][4, 6][/ANSWER]   <answer>...</answer>   \boxed{...}
    Answer: [4, 6]            assert f([1, 2, 3]) == [4, 6]     f([1, 2, 3]) returns `[4, 6]`     the last of them
    [4, 6]                    on a line or in a fence of its own: the first line, else the last
    The output is [4, 6].     the last such statement, else the last value of the last line

Substance also takes a text without its quotes and `true` for True; strict wants Python's spelling.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.python_values import (
    NotALiteral,
    arguments_of,
    bracketed,
    literal_at,
    literals_in,
    same_value,
    value_of,
)
from posttrain_diag.tasks.verifiers.reading import final_part
from posttrain_diag.tasks.verifiers.reading.marks import find_marks
from posttrain_diag.tasks.verifiers.sandbox import run_program
from posttrain_diag.types import Judgement, Problem

KEYS = frozenset({"code", "output", "entry_point", "timeout_s"})
TIMEOUT_S = 10.0
MAX_CHARS = 20_000
"""Of longer completions the end is read."""
MAX_CALLS = 60
"""Calls of the function that are looked at, from the end."""

_IS = (
    r"(?:==|=>|->|→|⇒|≡|=|:|is|are|was|would be|will be|must be|should be|equals|returns|will return|would return|"
    r"should return|evaluates to|gives|yields|produces|outputs?|prints?|results in|becomes)"
)
_SAYS = re.compile(
    rf"\b(?:output|result|return(?:ed)? value|value returned|returned|value|expression|function|call|code|program|snippet|it|this|we get|you get|we have)"
    rf"\s*(?:of\b[^\n:=]{{0,60}}?|for\b[^\n:=]{{0,60}}?)?[\s*_`]{{0,4}}(?:therefore|thus|then|so|also)?\s*{_IS}(?=[\s*_`:'\"\[({{])|\b(?:returns|(?:will|would|should|to) return|evaluates to|outputs|prints|we get|you get|results in)(?=[\s:`*])",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^[ \t]*(?:```+|~~~+)[ \t]*\w*[ \t]*\n(.*?)(?:^[ \t]*(?:```+|~~~+)|\Z)", re.MULTILINE | re.DOTALL)
_DECORATION = re.compile(r"(?:[\s*:=]|`+(?:python|py)?(?:\n)?|_(?=[\s*`'\"\[({]))*")
_UNOPENED = re.compile(r"\[/ANSWER\]|</answer>", re.IGNORECASE)
_OPENING = re.compile(r"\[ANSWER\]|<answer>", re.IGNORECASE)
_OPERATOR = re.compile(r"[ \t`]*(?:\*\*|//|[+*/%<>&|]|==?(?=[ \t`]*\S)|-[ \t]*(?=[\d(])|(?:and|or|in|if)\b(?=[ \t]+[\d'\"\[(]))")
_EQUALS = re.compile(r"(?:==?|→|->|=>|\bwhich is|\bthat is|\bi\.e\.,?|\bis)[ \t`*]*")
_CLAUSE = re.compile(r"[ \t`*]*(?:[,;.–—][ \t`*]+|\b(?:because|since|as)\b|#|\()[ \t]*(?=[A-Za-z])")
_DENIED = re.compile(r"(?:\b(?:not|never|isn't|instead of|rather than|than)|!=|≠)[\s`*]*$")
_OR = re.compile(r"[\s`*]*,?\s*(?:or|oder|ou)\s+(?:maybe\s+|possibly\s+|perhaps\s+)?[`*]*")
_GLUED = re.compile(r"[\w'\"(\[{\]}]|\.[^\W\d]")
"""What goes on right behind a literal, so that it is none: `[]x`, `'a'.upper()`."""
_AROUND = " \t\r:*_`"
_END = " \t\r\n.;,`*!"
_WORDS = {"true": True, "false": False, "null": None, "none": None}


@dataclass(frozen=True)
class _Said:
    """What a completion gives as its answer."""

    literal: str | None
    """Python's spelling of a value; None where there is none."""
    plain: tuple[str, ...] = ()
    """What stands where an answer should stand, likeliest first."""


@dataclass(frozen=True)
class _Call:
    """The call that a prompt asks about."""

    name: str
    arguments: str


def verifier(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """A verifier that compares Python values; with `code` and `output` it looks for arguments that give the output.

    Raises:
        VerifierError: a key is missing or has the wrong type.
    """
    for key in ("code", "output", "entry_point"):
        if spec.get(key) is not None and not isinstance(spec[key], str):
            raise VerifierError(f"a literal verifier's {key!r} is a text, got {type(spec[key]).__name__}")
    timeout_s = spec.get("timeout_s", TIMEOUT_S)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 600:
        raise VerifierError(f"a literal verifier's 'timeout_s' is seconds in (0, 600], got {timeout_s!r}")
    code, output = spec.get("code"), spec.get("output")
    if (code is None) is not (output is None):
        raise VerifierError("a literal verifier that looks for arguments needs both 'code' and 'output' (Python source)")
    if code is not None and output is not None:
        return _arguments_verifier(code, output, _function_name(code, spec.get("entry_point")), timeout_s)
    return _value_verifier


def _value_verifier(completion: str, problem: Problem) -> Judgement:
    gold = (problem.answer or "").strip()
    prompt = problem.prompt_text
    said = _value_said(_without_echo(_text(completion), prompt), _asked_call(prompt))
    if said is None:
        return Judgement(False, False, None)
    if said.literal is not None:
        same = _same(said.literal, gold)
        return Judgement(same, same, said.literal)
    lenient = any(_same_plainly(plain, gold) for plain in said.plain)
    return Judgement(False, lenient, next(iter(said.plain), None))


def _same(found: str, gold: str) -> bool:
    try:
        wanted = value_of(gold)
    except NotALiteral:
        return _dump(found) == _dump(gold)
    try:
        return same_value(value_of(found), wanted)
    except NotALiteral:
        return False


def _dump(text: str) -> str:
    """An expression without the differences of its spelling, for golds that are no literals: `deque([1])`."""
    try:
        return ast.dump(ast.parse(text.strip(), mode="eval"))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return " ".join(text.split())


def _same_plainly(plain: str, gold: str) -> bool:
    """Whether a text without quotes is the text that was asked for, or `true` the value."""
    try:
        wanted = value_of(gold)
    except NotALiteral:
        return _dump(plain) == _dump(gold)
    if isinstance(wanted, str):
        return bool(wanted.strip()) and wanted in (plain, plain.removesuffix("."), plain.rstrip(_AROUND + "."))
    word = plain.strip(_END).casefold()
    return word in _WORDS and same_value(_WORDS[word], wanted)


def _text(completion: str) -> str:
    return final_part(completion).text[-MAX_CHARS:]


def _without_echo(text: str, prompt: str) -> str:
    """What follows the prompt, where a completion repeats it."""
    before, echo, after = text.rpartition(prompt.strip()) if prompt.strip() else ("", "", text)
    return after if echo else before + after


def _value_said(text: str, call: _Call | None) -> _Said | None:
    """The value that a text gives; None where it gives none, or two."""
    closing = _UNOPENED.search(text)
    if closing is not None and _OPENING.search(text[: closing.start()]) is None:
        text = text[: closing.start()]  # the tag opened in the prompt
    plain: list[str] = []
    for tier in (_tagged, _stated, _alone, _mentioned):
        places = sorted(tier(text, call, plain))
        if places:
            start, end = places[-1]
            return None if _hedged(text, start, end) else _Said(text[start:end])
    whole = text.strip()
    fences = [match[1].strip() for match in _FENCE.finditer(text)]
    candidates = [*reversed(plain), *reversed(fences), *([whole] if "\n" not in whole else [])]
    return _Said(None, tuple(c for c in candidates if c)) if whole else None


def _tagged(text: str, call: _Call | None, plain: list[str]) -> Iterator[tuple[int, int]]:
    """Values in an answer's tags or box."""
    for mark in find_marks(text):
        if mark.kind not in ("tag", "boxed"):
            continue
        start = text.find(mark.text, mark.start)
        content = mark.text
        inner = [*_equalities(content, call), *_alone(content, call, []), *_mentioned(content, call, [])]
        if inner:
            yield start + inner[0][0], start + inner[0][1]
        else:
            plain.append(content.strip())


def _stated(text: str, call: _Call | None, plain: list[str]) -> Iterator[tuple[int, int]]:
    """Values that are called the answer, or the value of the call."""
    for mark in find_marks(text):
        if mark.kind not in ("phrase", "hash"):
            continue
        start = mark.end - len(mark.text) if text[mark.end - len(mark.text) : mark.end] == mark.text else mark.start
        start = text.find(mark.text, mark.start) if mark.text and start == mark.start else start
        inner = list(_equalities(mark.text, call))
        place = (start + inner[-1][0], start + inner[-1][1]) if inner else _value_after(text, start)
        if place is not None:
            yield place
        else:
            plain.append(mark.text.strip(_AROUND))
    yield from _equalities(text, call)


def _equalities(text: str, call: _Call | None) -> Iterator[tuple[int, int]]:
    """Values of the call in `assert f(x) == value`, `f(x) returns value`; calls with other arguments are not asked."""
    name = re.escape(call.name) if call is not None else r"[A-Za-z_]\w*"
    head = r"" if call is not None else r"\bassert\s+"
    for match in list(re.finditer(rf"{head}(?<![\w.]){name}\(", text))[-MAX_CALLS:]:
        end = bracketed(text, match.end() - 1)
        if end is None or (call is not None and _other_arguments(text[match.end() : end - 1], call)):
            continue
        relation = re.compile(rf"[\s`*)]*(?:will\s|would\s|should\s)?{_IS}(?=[\s`*:'\"\[({{\d-])", re.IGNORECASE).match(text, end)
        place = _value_after(text, relation.end()) if relation is not None else None
        if place is not None:
            yield place


def _alone(text: str, call: _Call | None, plain: list[str]) -> Iterator[tuple[int, int]]:
    """Values on a line or in a fence of their own: the first line where it is one, unless the last line is one too."""
    stripped = text.strip(" \t\r\n`*")
    if _is_value(stripped):
        start = text.find(stripped)
        yield start, start + len(stripped)
        return
    found: list[tuple[int, int]] = []
    for match in _FENCE.finditer(text):
        inner = match[1].strip()
        if _is_value(inner):
            found.append((match.start(1) + match[1].find(inner), match.start(1) + match[1].find(inner) + len(inner)))
    at = 0
    lines: list[tuple[int, int, bool]] = []
    for line in text.split("\n"):
        core = line.strip(" \t\r`*").removesuffix(".").rstrip("`* ")
        if line.strip():
            start = at + line.find(core)
            lines.append((start, start + len(core), _is_value(core)))
        at += len(line) + 1
    if lines and lines[-1][2]:
        found.append(lines[-1][:2])
    elif lines and lines[0][2]:
        found = [lines[0][:2]]
    elif not found:
        found = [line[:2] for line in lines if line[2]]
    if not found and lines:
        first = literal_at(text, lines[0][0])
        if first is not None and _is_value(first[0]) and _CLAUSE.match(text, first[1]) is not None:
            found = [(lines[0][0], first[1])]
    yield from found


def _mentioned(text: str, call: _Call | None, plain: list[str]) -> Iterator[tuple[int, int]]:
    """The last value that is said to be the output, else the last one of the last line."""
    stated = [place for match in _SAYS.finditer(text) if (place := _value_after(text, match.end())) is not None]
    if stated:
        yield stated[-1]
        return
    plain += [text[match.end() :].split("\n", 1)[0].strip(_AROUND) for match in _SAYS.finditer(text)][-3:]
    start = text.rstrip().rfind("\n") + 1
    for _, begin, end in literals_in(text[start:]):
        if _DENIED.search(text[start : start + begin]) is None:
            yield start + begin, start + end


def _value_after(text: str, start: int) -> tuple[int, int] | None:
    """Where the value stands that begins at a place, behind white space and decoration."""
    decoration = _DECORATION.match(text, start)
    start = decoration.end() if decoration else start
    line_end = text.find("\n", start)
    rest = text[start : line_end if line_end >= 0 else len(text)].rstrip(_END)
    if _is_value(rest):
        return start, start + len(rest)
    found = literal_at(text, start)
    if found is None or not _is_value(found[0]) or _GLUED.match(text, found[1]) is not None:
        return None
    if _OPERATOR.match(text, found[1]) is None:
        return start, found[1]
    # It begins a calculation: "9 * 2 = 18", "9 * 2, which is 18".
    line = text[found[1] : line_end if line_end >= 0 else len(text)]
    ends = [match.end() for match in _EQUALS.finditer(line)]
    return _value_after(text, found[1] + ends[-1]) if ends else None


def _hedged(text: str, start: int, end: int) -> bool:
    """Whether another value is offered beside this one: "[4, 6] or [6, 4]"."""
    after = _OR.match(text, end)
    if after is not None and _value_after(text, after.end()) is not None:
        return True
    line = text[max(0, text.rfind("\n", 0, start)) : start]
    return re.search(r"(?:[\])}'\"\d]|True|False|None)[`*]*,?\s+(?:or|oder|ou)\s+[`*]*$", line) is not None


def _is_value(text: str) -> bool:
    try:
        value_of(text)
    except NotALiteral:
        return False
    return True


def _asked_call(prompt: str) -> _Call | None:
    """The call that a prompt asks about: the last one of a function that it defines."""
    names = re.findall(r"\bdef\s+(\w+)\s*\(", prompt)
    for name in dict.fromkeys(reversed(names)):
        calls = [m for m in re.finditer(rf"(?<!def )(?<![\w.]){re.escape(name)}\(", prompt)]
        for match in reversed(calls):
            end = bracketed(prompt, match.end() - 1)
            if end is not None and "?" not in prompt[match.end() : end - 1]:
                return _Call(name, prompt[match.end() : end - 1])
    return _Call(names[-1], "") if names else None


def _other_arguments(arguments: str, call: _Call) -> bool:
    """Whether a call is surely another one than the one that is asked about."""
    if not call.arguments.strip():
        return False
    try:
        return not same_value(_as_values(arguments), _as_values(call.arguments))
    except NotALiteral:
        return False


def _as_values(arguments: str) -> list[Any]:
    positional, named = arguments_of(arguments)
    return [*positional, *(value for _, value in sorted(named.items()))]


def _arguments_verifier(code: str, output: str, name: str, timeout_s: float) -> Callable[[str, Problem], Judgement]:
    """A verifier of arguments: right are those of the answer, and all for which the code returns the output."""

    def judge(completion: str, problem: Problem) -> Judgement:
        said = _arguments_said(_text(completion), name)
        if said is None:
            return Judgement(False, False, None)
        positional, named = arguments_of(said)
        try:
            right = same_value(_as_values(said), _as_values(problem.answer or "..."))
        except NotALiteral:
            right = False
        if right:
            return Judgement(True, True, said)
        run = run_program(_CALL.format(code=code, name=name, args=positional, named=named, output=output), timeout_s=timeout_s)
        if run.error is not None:
            return Judgement(False, False, None, error=run.error)
        return Judgement(run.passed, run.passed, said)

    return judge


_CALL = """{code}

_args, _named = {args!r}, {named!r}
_wanted = {output}
try:
    _got = {name}(*_args, **_named)
except TypeError:
    if len(_args) != 1 or not isinstance(_args[0], tuple):
        raise
    _got = {name}(*_args[0])
assert _got == _wanted and isinstance(_got, bool) is isinstance(_wanted, bool)
"""


def _arguments_said(text: str, name: str) -> str | None:
    """The arguments that a text gives: of the last call in it, else the value it gives."""
    places = [(mark.start, mark.text) for mark in find_marks(text) if mark.kind in ("tag", "boxed")]
    for content in ([places[-1][1]] if places else []) + [text]:
        calls = list(re.finditer(rf"(?<!def )(?<![\w.]){re.escape(name)}\(", content))
        for match in reversed(calls[-MAX_CALLS:]):
            end = bracketed(content, match.end() - 1)
            if end is not None and _are_arguments(content[match.end() : end - 1]):
                return content[match.end() : end - 1]
        if _are_arguments(content.strip(_END)):
            return content.strip(_END)
    for mark in reversed(list(find_marks(text))):
        if _are_arguments(mark.text.strip(_END)):
            return mark.text.strip(_END)
    stated = re.findall(r"\b(?:inputs?|arguments?)\b[^\n:=]{0,40}?(?:is|are|:|=)[ \t*`]*([^\n]+)", text, re.IGNORECASE)
    for found in reversed(stated):
        if _are_arguments(found.strip(_END)):
            return found.strip(_END)
    said = _value_said(text, None)
    return said.literal if said is not None and said.literal is not None and _are_arguments(said.literal) else None


def _are_arguments(text: str) -> bool:
    try:
        positional, named = arguments_of(text)
    except NotALiteral:
        return False
    return bool(positional or named)


def _function_name(code: str, given: str | None) -> str:
    if given is not None:
        if not given.isidentifier():
            raise VerifierError(f"a literal verifier's 'entry_point' is a function name, got {given!r}")
        return given
    names = re.findall(r"^def\s+(\w+)\s*\(", code, re.MULTILINE)
    if not names:
        raise VerifierError("a literal verifier's 'code' defines no function: give it, or name its 'entry_point'")
    return "f" if "f" in names else names[-1]
