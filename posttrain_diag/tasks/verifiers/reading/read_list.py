"""Which list does a text answer with? `2, 3, 5 and 7`, `{2, 3, 5, 7}`, bullets, `[1, 4, 9]`, `(2, 3)`.

Items are compared one by one: numbers by value, words without case and accents. The order counts for what is ordered by
its brackets or by the question; a set, or words after commas, may come in another order.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.tasks.verifiers.reading.marks import Mark
from posttrain_diag.tasks.verifiers.reading.number_words import lone_number_word
from posttrain_diag.tasks.verifiers.reading.question import stem
from posttrain_diag.tasks.verifiers.reading.sentences import HEDGES, after_correction, sentences
from posttrain_diag.tasks.verifiers.reading.word_forms import fold_answer, plain

MAX_ITEMS = 100
MAX_ITEM_WORDS = 5
"""A piece with more words is no item of a list but a part of a sentence."""

_BRACKETS = {"[": "]", "(": ")", "{": "}", "\\{": "\\}"}
_GROUP = re.compile(r"\\?\{[^{}]*\\?\}|\[[^\[\]]*\]|\([^()]*\)")
_SEPARATOR = re.compile(
    r"\s*[,;、，]\s*(?:(?:and|&|und|et|or)\s+)?|\s+(?:and|&|und|et|y|or|oder|ou|\+)\s+|\s*\n\s*|\s+[<>–—-]\s+",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^[ \t]*(?:[-*•–+]|\(?\d{1,3}[.)])[ \t]+(\S[^\n]*)$", re.MULTILINE)
_LEAD = re.compile(
    r"^.*?(?:\b(?:are|is|be|include|includes|following|sind|sont|son|sono|são|it|them)\b\s*:?|:|(?<![a-z]\s)=)\s*",
    re.IGNORECASE | re.DOTALL,
)
_ORDERED = re.compile(
    r"\b(?:in (?:\w+ )?order|order(?:ed)?|sort(?:ed)?|ascending|descending|increasing|decreasing|alphabetical\w*|"
    r"sequence|rank\w*|"
    r"first to last|from \w+ to \w+|smallest to|largest to|chronological\w*|next \w+ (?:terms|numbers))\b",
    re.IGNORECASE,
)
_REMARK = re.compile(r"\s*(?:\(.*\)|[-–—:]\s.*)$", re.DOTALL)
_FIGURES = re.compile(r"-?\d[\d./]*(?:\s+-?\d[\d./]*)+")
_NAMED = re.compile(r"^[a-z](?:_\d)?\s*=\s*(?=\S)", re.IGNORECASE)
_BETWEEN = re.compile(
    r"\s*(?:[,;&+]|\band\b|\bwith\b|\bplus\b|\bund\b|\bet\b|\by\b|\bor\b|\bthe\b|\ban?\b|\s)+\s*", re.IGNORECASE
)
_MORE_BEFORE = re.compile(r"\w+\s*(?:,|\band\b|&|\+)\s*(?:the\s|an?\s)?$", re.IGNORECASE)
_MORE_AFTER = re.compile(
    r"^\s*(?:,\s*(?:and\s+)?|\band\s+|&\s*|\+\s*)(?:the\s|an?\s)?\w+\s*(?:$|[.,;!&]|\band\b)", re.IGNORECASE
)


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
            bracket = opening if opening in ("[", "(") else ""
            body = body[len(opening) : -len(closing)]
            break
    pieces = body.split() if _FIGURES.fullmatch(body) else _SEPARATOR.split(body)
    items = [_item(piece) for piece in pieces if piece and piece.strip()]
    if not 2 <= len(items) <= MAX_ITEMS or any(len(item.split()) > MAX_ITEM_WORDS for item in items):
        return None
    return Listed(tuple(items), bracket)


def is_ordered(gold: Listed, prompt: str) -> bool:
    """Whether the order of a gold list counts."""
    return bool(gold.bracket) or _ORDERED.search(prompt) is not None


def same_list(found: Listed, gold: Listed, *, ordered: bool) -> bool:
    """Whether two lists hold the same items, in the same order where it counts."""
    if gold.bracket and found.bracket and gold.bracket != found.bracket:
        return False
    return found.items == gold.items if ordered else sorted(found.items) == sorted(gold.items)


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
    return whole or _bullets(text) or _lines(text) or _last_line(text, bracket)


def without_words(found: Listed, words: frozenset[str]) -> Listed:
    """A list whose items leave out what the question names: asked for oceans, `Pacific Ocean` is `Pacific`."""
    items = [" ".join(w for w in item.split() if stem(w) not in words) or item for item in found.items]
    return Listed(tuple(items), found.bracket)


def names_list(text: str, gold: Listed, *, ordered: bool) -> bool:
    """Whether the last sentence that names an item of a list names all of them side by side, and no other."""
    for part in reversed(sentences(plain(text))):
        folded = part.text.casefold()
        found = [span for item in gold.items if (span := _span(item, folded)) is not None]
        if found:
            spans = sorted(found)
            complete = len(spans) == len(gold.items) and (not ordered or spans == found)
            return complete and not HEDGES.search(part.text) and _side_by_side(folded, spans)
    return False


def _side_by_side(text: str, spans: Sequence[tuple[int, int]]) -> bool:
    joined = all(_BETWEEN.fullmatch(text[one[1] : two[0]]) for one, two in itertools.pairwise(spans))
    more = _MORE_BEFORE.search(text[: spans[0][0]]) or _MORE_AFTER.match(text[spans[-1][1] :])
    return joined and not more


def _span(item: str, text: str) -> tuple[int, int] | None:
    found = re.search(rf"(?<![\w.-]){re.escape(item)}(?![\w-]|\.\d)", text)
    return None if found is None else found.span()


def _bullets(text: str) -> Listed | None:
    items = [_item(_REMARK.sub("", plain(item))) for item in _BULLET.findall(text)]
    return Listed(tuple(items), "") if 2 <= len(items) <= MAX_ITEMS else None


def _lines(text: str) -> Listed | None:
    """A list with an item on each line, and nothing else."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if len(lines) < 2 or any(len(line.split()) > 3 or line.endswith(":") or "," in line for line in lines):
        return None
    return Listed(tuple(_item(line) for line in lines), "")


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
    core = _NAMED.sub("", plain(text).strip(" \t\"'.;*"))
    number = lone_number(core) or lone_number_word(core)
    if number is not None and number.value is not None:
        return f"{number.value}{'%' if number.percent else ''}"
    return fold_answer(re.sub(r"^(?:and|und|et|y)\s+", "", core, flags=re.IGNORECASE))
