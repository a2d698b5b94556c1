r"""Which number does a text answer with?

    7 + 5 = 12. This is a simple case of adding 7 and 5.       12: a remark that only names what was given
    **Answer:** 18 dollars per day (9 eggs at $2 each)         18: the head of what is marked
    7 + 5 = 11. Wait, that is wrong: 7 + 5 = 12.               12: the correction
    There are 42 seats. Check: 7 rows x 6 seats = 42           42: a check gives no answer of its own

Marked answers come first, then the last sentence that answers (number_in_sentence.py says with which number).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from posttrain_diag.tasks.verifiers.numbers import western_digits
from posttrain_diag.tasks.verifiers.reading.marks import Mark, after_mark
from posttrain_diag.tasks.verifiers.reading.number_in_sentence import (
    EQUALS,
    LATEX_TEXT,
    UNDECIDED,
    Found,
    Quantity,
    Undecided,
    in_sentence,
    joined_by_or,
    may_hold_number,
    numbers_of,
)
from posttrain_diag.tasks.verifiers.reading.question import Question
from posttrain_diag.tasks.verifiers.reading.sentences import (
    REMARKS,
    after_correction,
    concludes,
    second_thought,
    sentences,
)
from posttrain_diag.tasks.verifiers.reading.units import converted

_LIST_LABEL = re.compile(r"^[ \t]*(?:\*\*)?(\d{1,2})[.):](?:\*\*)?\s+(?=\S)", re.MULTILINE)
_ROW_CHARS = 10_000
_BETWEEN = re.compile(r"\s*(?:,\s+|;\s*)(?:(?:and|or|und|oder|et|ou|y|o)\s+)?")
_VERIFIES = re.compile(
    r"""^\W{0,4}(?:(?:let(?:'s|\sus|\sme)|to|we\scan|i(?:'ll|\swill)|now|and|as\sa|quick|a|sanity|double)[\s-]+)*
    (?:verif\w+|double-?check\w*|check(?:ing)?\s*(?::|this|that|the\s(?:answer|result|work|math)|our|my|it\b|,|-|$)|proof\b|
    explanation\b|explication\b|probe\b|vérif\w+|comprob\w+|verifica\b|проверк\w+|検算|验证)""",
    re.IGNORECASE | re.VERBOSE,
)
_SUPPOSES = re.compile(r"^\W*if\b[^,]*,.*\b(?:will|would|had)\b", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]*\d[^*\n]*)\*\*")
_LABELLED = re.compile(r"^\s*(?:[A-Za-z]+\s+)+\d|:\s*$|^\s*\d+[.)]")
"""Headings: **Step 2**, **2 friends:**, **1.**"""
MAX_BOLD_WORDS = 4
_RESTATES = re.compile(
    r"^\W*(?:(?:yes|right|correct|ok|okay|so|no|it(?:'s| is))\b[\s,:]*)*[$€£]?-?[\d.,]+\W*$", re.IGNORECASE
)
"""A number alone settles a check."""


def read_number(text: str, marks: Sequence[Mark], question: Question) -> Quantity | None:
    """The number that a final part answers with; None where it gives none, or several.

    Args:
        text: the final part of a completion.
        marks: the answers it marks, left to right.
        question: what was asked.
    """
    if _only_numbers(text):
        return None
    found = _from_marks(text, marks, question) if marks else None
    if found is None:
        found = _from_sentences(text, question)
    return found if isinstance(found, Quantity) else None


def _only_numbers(text: str) -> bool:
    """Whether a text is nothing but several different numbers in a row: as good as no answer."""
    if len(text) > _ROW_CHARS or "\n" in text.strip():
        return False
    numbers = list(numbers_of(text))
    if len({number.value for number in numbers}) < 2:
        return False
    if text[: numbers[0].start].strip() or text[numbers[-1].end :].strip(" .\n"):
        return False
    pairs = pairwise(numbers)
    return all(_BETWEEN.fullmatch(text[one.end : other.start]) for one, other in pairs)


def _from_marks(text: str, marks: Sequence[Mark], question: Question) -> Found:
    last = marks[-1]
    if not last.closed and last.kind == "boxed":
        return UNDECIDED
    rest, corrected = after_correction(after_mark(text, last), answered=True)
    again = rest if corrected else second_thought(rest)
    if again is not None:
        found = _from_sentences(again, question)
        if found is not None or (corrected and not again.strip()):
            return found or UNDECIDED
    for i in range(len(marks) - 1, -1, -1):
        mark = marks[i]
        inner = any(other.start < mark.end for other in marks[i + 1 :])
        found = None if inner else _marked(mark, question)
        if found is not None:
            return UNDECIDED if i and _other_before(text, marks[i - 1], mark, found, question) else found
        if mark.kind in ("boxed", "tag") and mark.text.strip() and not inner:
            return UNDECIDED  # what is marked is no number
    return None


def _other_before(text: str, before: Mark, mark: Mark, found: Found, question: Question) -> bool:
    """Whether another answer is marked right before this one, joined by `or`."""
    if not joined_by_or(text[before.end : mark.start]):
        return False
    earlier = _marked(before, question)
    return isinstance(earlier, Quantity) and isinstance(found, Quantity) and earlier.value != found.value


def _marked(mark: Mark, question: Question) -> Found:
    if mark.kind in ("boxed", "tag"):
        return in_sentence(LATEX_TEXT.sub(r" \1 ", mark.text).strip(), question, head=True, whole=True)
    for sentence in sentences(mark.text)[:2]:
        found = in_sentence(sentence.text, question, head=True)
        if found is not None:
            return None if sentence.asks else found
        if mark.kind == "hash":
            break
    return None


def _from_sentences(text: str, question: Question) -> Found:
    """The last sentence that answers, or the first one that does where those after it only remark, check or restate."""
    text, _ = after_correction(text)
    bold = _bold(text, question)
    parts = [part.text for part in sentences(_without_labels(text)) if not part.asks]
    first = next((i for i, part in enumerate(parts) if may_hold_number(part)), 0)
    check = next((i for i in range(first + 1, len(parts)) if _VERIFIES.match(parts[i])), len(parts))
    for i in range(len(parts) - 1, first, -1):
        settles = (i > check and _RESTATES.match(parts[i]) is not None) or concludes(parts[i])
        supposes = bool(_SUPPOSES.match(parts[i])) and "=" not in parts[i] and any(map(concludes, parts[:i]))
        if not settles and (i >= check or supposes or REMARKS.match(parts[i])):
            continue
        if bold is not None and (not settles or f"**{bold}**" in parts[i]):
            break  # what follows an answer in bold is a remark
        found = in_sentence(parts[i], question)
        if found is None or (not settles and _only_given(parts[i], question) and _answered(parts[first:i], question)):
            continue
        return _in_asked_unit(found, parts[first:i], question)
    if bold is not None:
        return in_sentence(bold, question, head=True, whole=True)
    return in_sentence(parts[first], question) if parts else None


def _bold(text: str, question: Question) -> str | None:
    """The last text in bold that is a number with its unit, and nothing else."""
    for bold in reversed(_BOLD.findall(text)):
        found = in_sentence(bold, question, head=True, whole=True) if len(bold.split()) <= MAX_BOLD_WORDS else None
        if isinstance(found, Quantity) and not _LABELLED.search(bold):
            return bold
    return None


def _in_asked_unit(found: Quantity | Undecided, parts: Sequence[str], question: Question) -> Quantity | Undecided:
    """What an earlier sentence gives in the unit that is asked for, where the last one gives the same in another."""
    if not isinstance(found, Quantity) or found.measure is None or question.measure is None:
        return found
    if found.value is None or found.measure.same(question.measure):
        return found
    for part in reversed(parts):
        earlier = in_sentence(part, question)
        if isinstance(earlier, Quantity) and earlier.measure is not None and earlier.measure.same(question.measure):
            again = converted(found.value, found.measure, question.measure)
            near = again is not None and earlier.value is not None and abs(again - earlier.value) <= 0.01 * abs(again)
            return earlier if near else found
    return found


def _answered(parts: Sequence[str], question: Question) -> bool:
    """Whether one of the sentences gives a number."""
    return any(isinstance(in_sentence(part, question), Quantity) for part in parts)


def _only_given(text: str, question: Question) -> bool:
    """Whether a sentence names only numbers that the question gave, and works nothing out."""
    if EQUALS.search(text):
        return False
    values = [number.value for number in numbers_of(western_digits(text))]
    return bool(question.numbers) and all(value in question.numbers for value in values)


def _without_labels(text: str) -> str:
    """The text without the numbers of a numbered list: 1. ... 2. ..."""
    labels = list(_LIST_LABEL.finditer(text))
    if len(labels) < 2 or [int(label[1]) for label in labels[:2]] != [1, 2]:
        return text
    return _LIST_LABEL.sub("", text)
