"""The JSON values in a text: objects and arrays, and what is nearly one."""

from __future__ import annotations

import ast
import json
import re
from typing import Any, cast

from posttrain_diag.tasks.verifiers.python_values import bracketed

MAX_CHARS = 100_000
MAX_SCANNED = 500_000
"""Most characters that are looked at in search of the ends of objects: this bounds the work on hostile text."""
MAX_UNREPAIRED = 50
"""Most pieces in brackets that are looked at closer because they are no JSON."""
FENCE_MARK = re.compile(r"^[ \t]*(?:```+|~~~+)[ \t]*\w*[ \t]*$", re.MULTILINE)
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


class Found:
    """A JSON value in a text."""

    def __init__(self, value: Any, start: int, end: int, *, exact: bool) -> None:
        self.value, self.start, self.end = value, start, end
        self.exact = exact
        """It is JSON as it stands, without repairs."""


def values_in(text: str) -> list[Found]:
    """The objects and arrays in a text, left to right."""
    found: list[Found] = []
    whole = loads(text.strip())
    if isinstance(whole, (tuple,)) and not isinstance(whole[0], (dict, list)):
        inner = loads(whole[0]) if isinstance(whole[0], str) else None
        return [Found(inner[0], 0, len(text), exact=False)] if inner is not None else []
    end, left, unrepaired = 0, MAX_SCANNED, 0
    for match in _OPENING.finditer(text):
        start = match.start()
        if start < end or left <= 0:
            continue
        try:
            value, end = _DECODER.raw_decode(text, start)
            found.append(Found(value, start, end, exact=True))
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
            found.append(Found(value, start, closed, exact=False))
            end = closed
    return found or _unclosed(text)


def _unclosed(text: str) -> list[Found]:
    """The object at the end of a text that ends with a whole value but lacks its last brackets."""
    start = text.find("{")
    if start < 0:
        return []
    for closing in ("}", "]}", "}}"):
        loaded = loads(text[start:].rstrip(" \t\r\n`,") + closing)
        if loaded is not None:
            return [Found(loaded[0], start, len(text), exact=False)]
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
        loaded = loads(text)
        value = None if loaded is None else loaded[0]
    return cast("Any", value) if isinstance(value, (dict, list)) else None


def loads(text: str) -> tuple[Any] | None:
    """The value, as a tuple of one, of a text that is JSON and nothing else; None for any other text."""
    try:
        return (json.loads(text, parse_constant=_refuse),)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def without_objects(text: str) -> str:
    """A text without its objects, closed or cut, and without the marks of fences."""
    kept: list[str] = []
    start = text.find("{")
    while start >= 0:
        kept.append(text[:start])
        end = bracketed(text, start)
        text = text[end:] if end is not None else ""
        start = text.find("{")
    return FENCE_MARK.sub("", "".join([*kept, text]))
