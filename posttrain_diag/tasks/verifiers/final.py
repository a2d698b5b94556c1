"""Is a text right by any fair reading? More forgiving than every verifier: it asks whether a verifier is to be trusted.

    canonical   one spelling: fold, wrapping off, numbers by value         "**1,000.0**" = "1000", "1/2" = "0.5"
    quantity    a text that is one number, with its unit                   "7 apples" = "7", "$7.00" = "7"
    finals      what a completion may have meant as its answer: the whole, the marked answer, the last line, what
                follows the last separator, and the last number of running text

It never decides a verdict. Coincidences (the last number of a wrong answer) are expected: compare the rate with that
of other problems' answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from posttrain_diag.tasks.verifiers.numbers import iter_numbers
from posttrain_diag.tasks.verifiers.text import MAX_CHARS, fold, peel, readings

ANSWER_CHARS = 400
"""Longer pieces are work and no answer; the last number is looked for in as many characters."""
MAX_UNIT_WORDS = 3
"""More words beside a number than this are a sentence, not a unit."""
RUNNING_WORDS = 3
"""From this many words on a text is running text, whose last number may be its answer."""
_SEPARATOR = re.compile(r"\||####|=>|->|→|=|:|\n")
_ARTICLE = re.compile(r"^(?:the|an?)\s+(?=\w)")
_UNIT = re.compile(r"[a-z°µ]+(?:[/ .^-]?[a-z0-9°]+)*\.?")
_LEAD = re.compile(r"(?:[a-z]\s*=|=|about|approximately|≈|~)?\s*[$€£¥₹]?\s*")


@dataclass(frozen=True)
class Quantity:
    """A number and what it counts."""

    value: Fraction
    percent: bool
    unit: str
    """The unit, folded and without a plural s; empty for a bare number."""


@dataclass(frozen=True)
class FairAnswer:
    """One reading of a text as an answer."""

    core: str
    bracket: str | None
    quantity: Quantity | None


@dataclass(frozen=True)
class Finals:
    """The readings of what a completion may have meant as its final answer."""

    answers: tuple[FairAnswer, ...]
    last_number: Fraction | None
    """The last number of running text."""


def canonical(text: str) -> str:
    """One spelling for texts that differ in case, wrapping, a leading article and the spelling of numbers."""
    core = _ARTICLE.sub("", peel(text).core)
    parts: list[str] = []
    end = 0
    for number in iter_numbers(core):
        if number.value is None:
            continue
        parts += [core[end : number.start], str(number.value), "%" if number.percent else ""]
        end = number.end
    return "".join([*parts, core[end:]])


def quantity(text: str) -> Quantity | None:
    """The quantity that a short text is; None where it is anything else."""
    if len(text) > 200:
        return None
    core = peel(text).core
    numbers = list(iter_numbers(core))
    if len(numbers) != 1 or numbers[0].value is None:
        return None
    number = numbers[0]
    before, after = core[: number.start], core[number.end :]
    if _LEAD.fullmatch(before) is None:
        return None
    unit = after.strip()
    if unit and (_UNIT.fullmatch(unit) is None or len(unit.split()) > MAX_UNIT_WORDS):
        return None
    if len(unit) == 1 and after == unit and unit.isalpha():
        return None  # "7x" is a term, not seven of something
    assert number.value is not None
    return Quantity(number.value, number.percent, _singular(unit.rstrip(".")))


def _singular(unit: str) -> str:
    return unit.removesuffix("s") if len(unit) > 2 else unit


@lru_cache(8192)
def answer(text: str) -> FairAnswer:
    """Read a text that is an answer and nothing else."""
    return FairAnswer(canonical(text), peel(text).bracket, quantity(text))


def same_answer(a: FairAnswer, b: FairAnswer) -> bool:
    """Whether two answers are the same by a fair reading; units may be missing on one side, brackets too."""
    if a.bracket is not None and b.bracket is not None and a.bracket != b.bracket:
        return False
    if a.core == b.core:
        return bool(a.core)
    if a.quantity is None or b.quantity is None:
        return False
    units = (a.quantity.unit, b.quantity.unit)
    if all(units) and units[0] != units[1]:
        return False
    x, y = a.quantity, b.quantity
    if x.value == y.value:
        return True
    if x.percent == y.percent:
        return False
    percent, plain = (x.value, y.value) if x.percent else (y.value, x.value)
    return percent / 100 == plain


def stated(completion: str) -> tuple[FairAnswer, ...]:
    """What a completion states as its answer: its whole text, and the answer that it marks."""
    texts = (piece.strip() for piece in readings(completion[-MAX_CHARS:].strip()))
    return tuple(dict.fromkeys(answer(piece) for piece in texts if 0 < len(piece) <= ANSWER_CHARS))


def finals(completion: str) -> Finals:
    """What a completion may have meant as its final answer."""
    text = completion[-MAX_CHARS:].strip()
    lines = [line for line in text.splitlines() if line.strip()]
    ends = (piece.strip() for line in lines[-1:] for piece in (line, _SEPARATOR.split(line)[-1]))
    answers = dict.fromkeys((*stated(text), *(answer(piece) for piece in ends if 0 < len(piece) <= ANSWER_CHARS)))
    folded = fold(text[-ANSWER_CHARS:])
    last = list(iter_numbers(folded))[-1:] if len(folded.split()) >= RUNNING_WORDS else []
    lone = [number.value for number in last if not folded[number.end :][:1].isalpha()]
    return Finals(tuple(answers), lone[0] if lone else None)


def gives(found: Finals, wanted: FairAnswer) -> bool:
    """Whether one of the readings of a completion is the wanted answer."""
    if any(same_answer(reading, wanted) for reading in found.answers):
        return True
    if wanted.quantity is None or wanted.bracket is not None or found.last_number is None:
        return False
    return found.last_number == wanted.quantity.value


def mentions(completion: str, wanted: str) -> bool:
    """Whether an answer stands in a completion as a thing of its own: as a number, or not inside a short word."""
    target = quantity(wanted)
    text = fold(completion)
    if target is not None:
        return any(number.value == target.value for number in iter_numbers(text))
    core = peel(wanted).core
    if len(core) > 3:
        return core in text
    return re.search(rf"(?<!\w){re.escape(core)}(?!\w)", text) is not None
