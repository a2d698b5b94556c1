r"""Where a completion gives a Python value: the first of these that it holds counts.

    [ANSWER][4, 6][/ANSWER]   <answer>...</answer>   \boxed{...}
    Answer: [4, 6]            assert f([1, 2, 3]) == [4, 6]     f([1, 2, 3]) returns `[4, 6]`     the last of them
    [4, 6]                    on a line or in a fence of its own: the first line, else the last
    The output is [4, 6].     the last such statement, else the last value of the last line

A call with other arguments than those that are asked about says nothing; "[4, 6] or [6, 4]" is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from posttrain_diag.tasks.verifiers.python_values import (
    GLUED,
    NotALiteral,
    arguments_of,
    bracketed,
    is_value,
    literal_at,
    literals_in,
    same_value,
    value_of,
)
from posttrain_diag.tasks.verifiers.reading.marks import find_marks

Extent = tuple[int, int]
"""Where a value stands in a text, as (start, end)."""
MAX_CALLS = 60
"""Most calls of the function that are looked at, from the end."""

_IS = (
    r"(?:==|=>|->|→|⇒|≡|=|:|is|are|was|would be|will be|must be|should be|equals|returns|will return|would return|"
    r"should return|evaluates to|gives|yields|produces|outputs?|prints?|results in|becomes)"
)
_SUBJECT = (
    r"(?:output|result|return(?:ed)? value|value returned|returned|value|expression|function|call|code|program|snippet|"
    r"it|this|we get|you get|we have)"
)
_OF = r"(?:(?:of|for)\b[^\n:=]{0,60}?)?[\s*_`]{0,4}(?:therefore|thus|then|so|also)?"
_SAYS = re.compile(
    rf"\b{_SUBJECT}\s*{_OF}\s*{_IS}(?=[\s*_`:'\"\[({{])|"
    r"\b(?:returns|(?:will|would|should|to) return|evaluates to|outputs|prints|we get|you get|results in)(?=[\s:`*])",
    re.IGNORECASE,
)
_RELATION = re.compile(rf"[\s`*)]*(?:will\s|would\s|should\s)?{_IS}(?=[\s`*:'\"\[({{\d-])", re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*(?:```+|~~~+)[ \t]*\w*[ \t]*\n(.*?)(?:^[ \t]*(?:```+|~~~+)|\Z)", re.MULTILINE | re.DOTALL)
_DECORATION = re.compile(r"(?:[\s*:=]|`+(?:python|py)?(?:\n)?|_(?=[\s*`'\"\[({]))*")
_UNOPENED = re.compile(r"\[/ANSWER\]|</answer>", re.IGNORECASE)
_OPENING = re.compile(r"\[ANSWER\]|<answer>", re.IGNORECASE)
_OPERATOR = re.compile(
    r"[ \t`]*(?:\*\*|//|[+*/%<>&|]|==?(?=[ \t`]*\S)|-[ \t]*(?=[\d(])|(?:and|or|in|if)\b(?=[ \t]+[\d'\"\[(]))"
)
_EQUALS = re.compile(r"(?:==?|→|->|=>|\bwhich is|\bthat is|\bi\.e\.,?|\bis)[ \t`*]*")
_CLAUSE = re.compile(r"[ \t`*]*(?:[,;.–—][ \t`*]+|\b(?:because|since|as)\b|#|\()[ \t]*(?=[A-Za-z])")
_DENIED = re.compile(r"(?:\b(?:not|never|isn't|instead of|rather than|than)|!=|≠)[\s`*]*$")
_DOUBT = re.compile(
    r"(?:^|[.!?\n])\s*(?:(?:oh|hm+|but|ah|no|oops)[,. ]+)?"
    r"(?:wait|hold on|actually|no[,.]|oops|sorry|correction)\b[ ,:.!]*",
    re.IGNORECASE,
)
_OR = re.compile(r"[\s`*]*,?\s*(?:or|oder|ou)\s+(?:maybe\s+|possibly\s+|perhaps\s+)?[`*]*")
AROUND = " \t\r:*_`"
END = " \t\r\n.;,`*!"


@dataclass(frozen=True)
class Said:
    """What a completion gives as its answer."""

    literal: str | None
    """The value in Python's spelling; None where there is none."""
    plain: tuple[str, ...] = ()
    """Texts that stand where an answer should stand, likeliest first."""


@dataclass(frozen=True)
class Call:
    """The call that a prompt asks about."""

    name: str
    arguments: str


def without_echo(text: str, prompt: str) -> str:
    """What follows the prompt, where a completion repeats it."""
    before, echo, after = text.rpartition(prompt.strip()) if prompt.strip() else ("", "", text)
    return after if echo else before + after


def value_said(text: str, call: Call | None) -> Said | None:
    """The value that a text gives; None where it gives none, or two."""
    closing = _UNOPENED.search(text)
    if closing is not None and _OPENING.search(text[: closing.start()]) is None:
        text = text[: closing.start()]  # the tag opened in the prompt
    said = _said(text, call)
    doubts = list(_DOUBT.finditer(text))
    later = _said(text[doubts[-1].end() :], call) if doubts else None
    return later if later is not None and _replaces(later, said) else said


def _replaces(later: Said, said: Said | None) -> bool:
    """Whether what is said after a doubt is another answer, and no step of checking it: a value of the same type."""
    if later.literal is None:
        return False
    if said is None or said.literal is None:
        return True
    return type(value_of(later.literal)) is type(value_of(said.literal))


def _said(text: str, call: Call | None) -> Said | None:
    plain: list[str] = []
    for tier in (_tagged, _stated, _alone, _mentioned):
        places = sorted(tier(text, call, plain))
        if places:
            start, end = places[-1]
            return None if _hedged(text, start, end) else Said(text[start:end])
    whole = text.strip()
    fences = [match[1].strip() for match in _FENCE.finditer(text)]
    candidates = [*reversed(plain), *reversed(fences), *([whole] if "\n" not in whole else [])]
    return Said(None, tuple(c for c in candidates if c)) if whole else None


def _tagged(text: str, call: Call | None, plain: list[str]) -> Iterator[Extent]:
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


def _stated(text: str, call: Call | None, plain: list[str]) -> Iterator[Extent]:
    """Values that are called the answer, or the value of the call."""
    for mark in find_marks(text):
        if mark.kind not in ("phrase", "hash"):
            continue
        start = text.find(mark.text, mark.start) if mark.text else mark.end
        inner = list(_equalities(mark.text, call))
        place = (start + inner[-1][0], start + inner[-1][1]) if inner else _value_after(text, start)
        if place is not None:
            yield place
        else:
            plain.append(mark.text.strip(AROUND))
    yield from _equalities(text, call)


def _equalities(text: str, call: Call | None) -> Iterator[Extent]:
    """Values of the call in `assert f(x) == value` or `f(x) returns value`; calls with other arguments are left out."""
    name = re.escape(call.name) if call is not None else r"[A-Za-z_]\w*"
    head = r"" if call is not None else r"\bassert\s+"
    for match in list(re.finditer(rf"{head}(?<![\w.]){name}\(", text))[-MAX_CALLS:]:
        end = bracketed(text, match.end() - 1)
        if end is None or (call is not None and _other_arguments(text[match.end() : end - 1], call)):
            continue
        relation = _RELATION.match(text, end)
        place = _value_after(text, relation.end()) if relation is not None else None
        if place is not None:
            yield place


def _alone(text: str, call: Call | None, plain: list[str]) -> Iterator[Extent]:
    """Values on a line or in a fence of their own: the first line where it is one, unless the last line is one too."""
    stripped = text.strip(" \t\r\n`*")
    if is_value(stripped):
        start = text.find(stripped)
        yield start, start + len(stripped)
        return
    found: list[Extent] = []
    for match in _FENCE.finditer(text):
        inner = match[1].strip()
        if is_value(inner):
            found.append((match.start(1) + match[1].find(inner), match.start(1) + match[1].find(inner) + len(inner)))
    at = 0
    lines: list[tuple[int, int, bool]] = []
    for line in text.split("\n"):
        core = line.strip(" \t\r`*").removesuffix(".").rstrip("`* ")
        if line.strip():
            start = at + line.find(core)
            lines.append((start, start + len(core), is_value(core)))
        at += len(line) + 1
    if lines and lines[-1][2]:
        found.append(lines[-1][:2])
    elif lines and lines[0][2]:
        found = [lines[0][:2]]
    elif not found:
        found = [line[:2] for line in lines if line[2]]
    if not found and lines:
        first = literal_at(text, lines[0][0])
        if first is not None and is_value(first[0]) and _CLAUSE.match(text, first[1]) is not None:
            found = [(lines[0][0], first[1])]
    yield from found


def _mentioned(text: str, call: Call | None, plain: list[str]) -> Iterator[Extent]:
    """The last value that is said to be the output, else the last one of the last line."""
    stated = [place for match in _SAYS.finditer(text) if (place := _value_after(text, match.end())) is not None]
    if stated:
        yield stated[-1]
        return
    plain += [text[match.end() :].split("\n", 1)[0].strip(AROUND) for match in _SAYS.finditer(text)][-3:]
    start = text.rstrip().rfind("\n") + 1
    for _, begin, end in literals_in(text[start:]):
        if _DENIED.search(text[start : start + begin]) is None:
            yield start + begin, start + end


def _value_after(text: str, start: int) -> Extent | None:
    """Where the value stands that begins at a place, behind white space and decoration."""
    decoration = _DECORATION.match(text, start)
    start = decoration.end() if decoration else start
    line_end = text.find("\n", start)
    rest = text[start : line_end if line_end >= 0 else len(text)].rstrip(END)
    if is_value(rest):
        return start, start + len(rest)
    found = literal_at(text, start)
    if found is None or not is_value(found[0]) or GLUED.match(text, found[1]) is not None:
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


def asked_call(prompt: str) -> Call | None:
    """The call that a prompt asks about: the last one of a function that it defines."""
    names = re.findall(r"\bdef\s+(\w+)\s*\(", prompt)
    for name in dict.fromkeys(reversed(names)):
        calls = list(re.finditer(rf"(?<!def )(?<![\w.]){re.escape(name)}\(", prompt))
        for match in reversed(calls):
            end = bracketed(prompt, match.end() - 1)
            if end is not None and "?" not in prompt[match.end() : end - 1]:
                return Call(name, prompt[match.end() : end - 1])
    return Call(names[-1], "") if names else None


def _other_arguments(arguments: str, call: Call) -> bool:
    """Whether a call is surely another one than the one that is asked about."""
    if not call.arguments.strip():
        return False
    try:
        return not same_value(as_values(arguments), as_values(call.arguments))
    except NotALiteral:
        return False


def as_values(arguments: str) -> list[Any]:
    """The values of a call's arguments, the named ones last, by name.

    Raises:
        NotALiteral: they are no literals.
    """
    positional, named = arguments_of(arguments)
    return [*positional, *(value for _, value in sorted(named.items()))]


def arguments_said(text: str, name: str) -> str | None:
    """The arguments that a text gives: those of its last call, else the value that it gives."""
    tagged = [mark.text for mark in find_marks(text) if mark.kind in ("tag", "boxed")]
    for content in (*tagged[-1:], text):
        calls = list(re.finditer(rf"(?<!def )(?<![\w.]){re.escape(name)}\(", content))
        for match in reversed(calls[-MAX_CALLS:]):
            end = bracketed(content, match.end() - 1)
            if end is not None and _are_arguments(content[match.end() : end - 1], none=True):
                return content[match.end() : end - 1]
        if _are_arguments(content.strip(END)):
            return content.strip(END)
    for mark in reversed(list(find_marks(text))):
        if _are_arguments(mark.text.strip(END)):
            return mark.text.strip(END)
    stated = re.findall(r"\b(?:inputs?|arguments?)\b[^\n:=]{0,40}?(?:is|are|:|=)[ \t*`]*([^\n]+)", text, re.IGNORECASE)
    for found in reversed(stated):
        if _are_arguments(found.strip(END)):
            return found.strip(END)
    said = value_said(text, None)
    return said.literal if said is not None and said.literal is not None and _are_arguments(said.literal) else None


def _are_arguments(text: str, *, none: bool = False) -> bool:
    """Whether a text is the arguments of a call; with `none` also of a call without any."""
    try:
        positional, named = arguments_of(text)
    except NotALiteral:
        return False
    return none or bool(positional or named)
