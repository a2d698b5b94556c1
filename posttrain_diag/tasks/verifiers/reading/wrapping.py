"""What surrounds an answer as a whole: a code fence, the prompt repeated before it, a JSON object with one value."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from posttrain_diag.tasks.verifiers.reading.marks import Mark, find_marks

_FENCE = re.compile(r"\A\s*(?:```|~~~)[ \t]*[\w+-]*[ \t]*\n(.*?)\n?[ \t]*(?:```|~~~)\s*\Z", re.DOTALL)
_OBJECT = re.compile(r"\{[^{}]*\}")
_ANSWER_KEYS = (
    "answer",
    "final_answer",
    "finalanswer",
    "final answer",
    "result",
    "solution",
    "output",
    "response",
    "choice",
)
MAX_CHARS = 4000
"""Longer texts are not searched for JSON."""
MIN_ECHO = 12
"""A shorter prompt may be a part of the answer."""


def unwrapped(text: str, prompt: str) -> tuple[str, list[Mark]]:
    """A final part without a fence around it and without the prompt that it repeats, and the answers it marks."""
    text = without_fence(_without_echo(text, prompt))
    return text, list(find_marks(text))


def _without_echo(text: str, prompt: str) -> str:
    """A text without the prompt that it begins with."""
    shown = text.lstrip()
    asked = prompt.strip()
    return shown[len(asked) :] if len(asked) >= MIN_ECHO and shown.startswith(asked) else text


def without_fence(text: str) -> str:
    """What a code fence that holds the whole text encloses; the text itself where there is none."""
    match = _FENCE.match(text) if "```" in text or "~~~" in text else None
    return text if match is None or "```" in match[1] else match[1]


def json_value(text: str) -> str | None:
    """The answer in a JSON object that stands in a text: its answer field, or its only value; None without one.

    A number, a text or a truth value is an answer; lists and objects are none.
    """
    if "{" not in text or len(text) > MAX_CHARS:
        return None
    found = None
    for match in _OBJECT.finditer(text):
        value = _value(match[0])
        found = value if value is not None else found
    return found


def _value(text: str) -> str | None:
    try:
        loaded: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(loaded, dict):
        return None
    fields = cast("dict[str, Any]", loaded)
    named = [value for key, value in fields.items() if key.lower() in _ANSWER_KEYS]
    values = named[-1:] or (list(fields.values()) if len(fields) == 1 else [])
    if not values or not isinstance(values[0], (str, int, float)):
        return None
    return ("yes" if values[0] else "no") if isinstance(values[0], bool) else str(values[0])
