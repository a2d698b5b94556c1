"""Which list does a text answer with? `2, 3, 5 and 7`, `{2, 3, 5, 7}`, bullets, `[1, 4, 9]`, `(2, 3)`.

Items are compared one by one: numbers by value, words without case and accents. The order counts for what is ordered by
its brackets or by the question; a set, or words after commas, may come in another order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.tasks.verifiers.reading.marks import Mark
from posttrain_diag.tasks.verifiers.reading.read_word import fold_answer, plain
from posttrain_diag.tasks.verifiers.reading.sentences import after_correction

MAX_ITEMS = 100

_BRACKETS = {"[": "]", "(": ")", "{": "}", "\\{": "\\}"}
_GROUP = re.compile(r"\\?\{[^{}]*\\?\}|\[[^\[\]]*\]|\([^()]*\)")
_SEPARATOR = re.compile(
    r"\s*(?:[,;、，]\s*(?:and|&|und|et|y|e|or)?\b\s*|\s+(?:and|&|und|et|y)\s+|\n\s*)\s*", re.IGNORECASE
)
_BULLET = re.compile(r"^[ \t]*(?:[-*•–+]|\(?\d{1,3}[.)])[ \t]+(\S[^\n]*)$", re.MULTILINE)
_LEAD = re.compile(
    r"^.*?(?:\b(?:are|is|be|include|includes|following|sind|sont|son|sono|são)\b\s*:?|:|=)\s*",
    re.IGNORECASE | re.DOTALL,
)
_ORDERED = re.compile(
    r"\b(?:in (?:\w+ )?order|order(?:ed)?|sort(?:ed)?|ascending|descending|increasing|decreasing|alphabetical\w*|sequence|rank\w*|"
    r"first to last|smallest to|largest to|chronological\w*|next \w+ (?:terms|numbers))\b",
    re.IGNORECASE,
)
_FIGURES = re.compile(r"-?\d[\d./]*(?:\s+-?\d[\d./]*)+")
_REMARK = re.compile(r"\s*(?:\(.*\)|[-–—:]\s.*)$", re.DOTALL)


@dataclass(frozen=True)
class Listed:
    """The items of a list."""

    items: tuple[str, ...]
    """Each in one spelling."""
    bracket: str
    """[ or ( where the list has such brackets: then its order counts; else empty."""


@lru_cache(maxsize=4096)
def listed(text: str) -> Listed | None:
    """A text as a list of at least two items; None where it is none."""
    body = text.strip().strip("$").strip().rstrip(".")
    bracket = ""
    for opening, closing in _BRACKETS.items():
        if body.startswith(opening) and body.endswith(closing) and len(body) > len(opening) + len(closing):
            bracket = opening.strip("\\") if opening in "[(" else ""
            body = body[len(opening) : -len(closing)]
            break
    pieces = body.split() if _FIGURES.fullmatch(body) else _SEPARATOR.split(body)
    items = [_item(piece) for piece in pieces if piece and piece.strip()]
    if not 2 <= len(items) <= MAX_ITEMS or any(len(item.split()) > 5 for item in items):
        return None
    return Listed(tuple(items), bracket)


def is_ordered(gold: Listed, prompt: str) -> bool:
    """Whether the order of a gold list counts."""
    return bool(gold.bracket) or _ORDERED.search(prompt) is not None


def read_list(text: str, marks: Sequence[Mark], *, bracket: str) -> Listed | None:
    """The list that a final part answers with.

    Args:
        text: the final part of a completion.
        marks: the answers it marks.
        bracket: of the gold list: a list with another bracket is another thing.
    """
    text, _ = after_correction(text)
    for mark in reversed(marks):
        if mark.start < len(text) and mark.closed:
            found = _in_line(mark.text, bracket)
            if found is not None:
                return found
            following = text[mark.start :].partition("\n")[2] if mark.kind == "phrase" else ""
            return _bullets(following) or _bullets(mark.text)
    whole = _in_line(text.strip(), bracket) if "\n" not in text.strip() else None
    return whole or _bullets(text) or _last_line(text, bracket)


def same_list(found: Listed, gold: Listed, *, ordered: bool) -> bool:
    """Whether two lists hold the same items, in the same order where it counts."""
    if gold.bracket and found.bracket and gold.bracket != found.bracket:
        return False
    if ordered:
        return found.items == gold.items
    return sorted(found.items) == sorted(gold.items)


def _bullets(text: str) -> Listed | None:
    items = [_item(_REMARK.sub("", plain(item))) for item in _BULLET.findall(text)]
    return Listed(tuple(items), "") if 2 <= len(items) <= MAX_ITEMS else None


def _last_line(text: str, bracket: str) -> Listed | None:
    for line in reversed([line for line in text.splitlines() if line.strip()]):
        found = _in_line(line.strip(), bracket)
        if found is not None:
            return found
    return None


def _in_line(text: str, bracket: str) -> Listed | None:
    """A list in a line: in brackets, the whole line, or what follows `are` or a colon."""
    text = text.replace("\\left", "").replace("\\right", "")
    groups = [match[0] for match in _GROUP.finditer(text)]
    if bracket or text.lstrip("$ ")[:1] in "{[\\":
        own = [group for group in groups if not bracket or group.startswith(bracket)] or groups
        if own:
            return listed(own[-1])
    line = plain(text)
    found = listed(line)
    if found is not None and not re.search(r"\b(?:is|are|be)\b|:", line):
        return found
    lead = _LEAD.match(line)
    return listed(line[lead.end() :].split(". ")[0]) if lead else found


@lru_cache(maxsize=8192)
def _item(text: str) -> str:
    core = plain(text).strip(" \t\"'.;*")
    number = lone_number(core)
    if number is not None and number.value is not None:
        return f"{number.value}{'%' if number.percent else ''}"
    return fold_answer(re.sub(r"^(?:and|und|et|y)\s+", "", core, flags=re.IGNORECASE))
