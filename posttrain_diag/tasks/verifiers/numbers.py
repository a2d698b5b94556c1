r"""Numbers in text: where they are, what they are worth, and whether two of them are the same number.

Understood: `1,319`  `$1,319.50`  `-$3`  `50%`  `3/4`  `2 1/2`  `\frac{3}{4}`  `.5`  `1e-3`  `1.5 x 10^{-3}`  `18.`
A minus belongs to a number only where it cannot be a subtraction: `16-3` holds 16 and 3, `= -3` holds -3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 400
"""Longer numbers are compared as text: their value would cost more than it could tell."""

_CURRENCY = r"(?:\\?[$€£¥₹]\s?)"
_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![\w)\]}}])[-+−]{_CURRENCY}?)?
    (?:
        \\[dt]?frac\s?\{{(?P<latex_num>[-−]?[0-9]+)\}}\s?\{{(?P<latex_den>[0-9]+)\}}
      | \\[dt]?frac(?P<short_num>[0-9])(?P<short_den>[0-9])
      | (?P<mixed_whole>[0-9]+)[ ](?P<mixed_num>[0-9]+)/(?P<mixed_den>[0-9]+)(?![0-9/])
      | (?P<num>{_INTEGER})\s?/\s?(?P<den>{_INTEGER})
      | (?P<decimal>{_INTEGER}(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)
        (?: [eE](?P<exp>[-+]?[0-9]+)(?!\w)
          | \s?(?:×|\\times|\\cdot|x|\*)\s?10(?:\^|\*\*)\{{?(?P<power>[-+−]?[0-9]+)\}}? )?
    )
    (?P<percent>\s?\\?%)?
    """,
    re.VERBOSE,
)
_LONE_PREFIX = re.compile(rf"^\s*{_CURRENCY}?")
_LONE_SUFFIX = re.compile(r"[\s.$]*$")


@dataclass(frozen=True)
class Number:
    """A number as it stands in a text."""

    text: str
    value: Fraction | None
    """None when it has no value that can be compared: a zero denominator, or more than `MAX_DIGITS` digits."""
    percent: bool
    start: int
    end: int


def iter_numbers(text: str) -> Iterator[Number]:
    """All numbers of a text, left to right."""
    for match in _NUMBER.finditer(text):
        whole = match["mixed_whole"]
        if whole is not None and not _is_proper(match["mixed_num"], match["mixed_den"]):
            # "5 7/2" is the number 5 and the number 7/2, not five and a half-odd.
            start, sign = match.start(), match["sign"] or ""
            middle = match.end("mixed_whole")
            yield Number(text[start:middle], _signed(sign, _fraction(whole)), False, start, middle)
            value = _fraction(match["mixed_num"], match["mixed_den"])
            start = match.start("mixed_num")
            yield Number(text[start : match.end()], value, bool(match["percent"]), start, match.end())
            continue
        yield Number(match[0].strip(), _value(match), bool(match["percent"]), match.start(), match.end())


def lone_number(text: str) -> Number | None:
    """The number a text consists of (currency, percent sign and a trailing dot aside), else None."""
    if len(text) > 4 * MAX_DIGITS:
        return None
    prefix, suffix = _LONE_PREFIX.search(text), _LONE_SUFFIX.search(text)
    start, end = prefix.end() if prefix else 0, suffix.start() if suffix else len(text)
    found = _NUMBER.match(text, start)
    if found is None or found.end() < end:
        return None
    numbers = list(iter_numbers(text[start : found.end()]))
    return numbers[0] if len(numbers) == 1 else None


def same_number(a: Number, b: Number, *, lenient: bool = False) -> bool:
    """Whether two numbers are equal as rationals.

    A percent sign is a unit that may be left out (`50%` equals `50`); the lenient reading also takes `50%` for `0.5`.
    """
    if a.value is None or b.value is None:
        return a.text == b.text
    if a.value == b.value:
        return True
    if lenient and a.percent != b.percent:
        percent, plain = (a.value, b.value) if a.percent else (b.value, a.value)
        return percent / 100 == plain
    return False


def _value(match: re.Match[str]) -> Fraction | None:
    sign = match["sign"] or ""
    if match["latex_num"] is not None:
        return _signed(sign, _fraction(match["latex_num"], match["latex_den"]))
    if match["short_num"] is not None:
        return _signed(sign, _fraction(match["short_num"], match["short_den"]))
    if match["mixed_whole"] is not None:
        whole, part = _fraction(match["mixed_whole"]), _fraction(match["mixed_num"], match["mixed_den"])
        return None if whole is None or part is None else _signed(sign, whole + part)
    if match["num"] is not None:
        return _signed(sign, _fraction(match["num"], match["den"]))
    value = _fraction(match["decimal"])
    exponent = (match["exp"] or match["power"] or "0").replace("−", "-")
    if value is None or len(exponent) > 5 or abs(int(exponent)) > MAX_DIGITS:
        return None
    power = int(exponent)
    return _signed(sign, value * Fraction(10) ** power if power else value)


def _fraction(numerator: str, denominator: str = "1") -> Fraction | None:
    if len(numerator) > MAX_DIGITS or len(denominator) > MAX_DIGITS:
        return None
    top = Fraction(numerator.replace(",", "").replace("−", "-"))
    if denominator == "1":
        return top
    bottom = Fraction(denominator.replace(",", ""))
    return None if bottom == 0 else top / bottom


def _signed(sign: str, value: Fraction | None) -> Fraction | None:
    return -value if value is not None and sign[:1] in ("-", "−") else value


def _is_proper(numerator: str, denominator: str) -> bool:
    if len(numerator) > MAX_DIGITS or len(denominator) > MAX_DIGITS:
        return False
    return int(numerator) < int(denominator)
