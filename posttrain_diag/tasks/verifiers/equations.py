"""Equations of plain arithmetic in running text, and whether they hold.

    3 + 4 = 7      $12.50 × 4 = $50      12 apples - 5 apples = 7 apples      <<48/2=24>>

Only what can be read without doubt counts: numbers with + - * / and one number after the equals sign. Beside a
bracket, a power, a variable or another unit an expression is left out rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 15
MAX_TERMS = 12
_NUMBER = r"(?:\\?[$€£¥₹]\s?)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
_UNIT = r"(?:\s?[A-Za-z°]{2,20})?"
_OP = r"\s*(?:[-+*×·÷/−–]|\\times|\\cdot|\\div|x(?=\s?[\d$]))\s*"
_EQUATION = re.compile(
    rf"(?P<left>[-−]?{_NUMBER}{_UNIT}(?:{_OP}{_NUMBER}{_UNIT}){{1,{MAX_TERMS}}})\s*=\s*"
    rf"(?P<right>[-−]?{_NUMBER})(?P<unit>{_UNIT})(?P<more>{_OP}{_NUMBER}|\s*[(^!%²³\\{{[]|\.?\d)?"
)
_TERM = re.compile(rf"(?P<op>{_OP})?(?P<number>{_NUMBER})(?P<unit>{_UNIT})")
_NOT_BEFORE = re.compile(r"(?:[\w.,)\]}^!%√²³~]|[-+*×·÷/−–]|\\(?:times|cdot|div))\Z")
_OPERATOR_WORD = re.compile(r"(?:^|\W)(?:[A-Za-z]|times|plus|minus|of|by|over|half|per|mod|modulo)\Z", re.IGNORECASE)
_SCALES = frozenset(
    {"dozen", "pair", "couple", "score", "gross", "half", "hundred", "thousand", "million", "billion", "trillion"}
    | {"percent", "percentage", "mod", "modulo"}
)


@dataclass(frozen=True)
class Equation:
    """An equation as it stands in a text."""

    text: str
    holds: bool


def equations(text: str) -> Iterator[Equation]:
    """The equations of a text that can be read without doubt, left to right."""
    at = 0
    while (match := _EQUATION.search(text, at)) is not None:
        at = match.start("right")  # what follows "=" may begin the next equation
        if not _begins_here(text, match.start()) or not _plain_end(match):
            continue
        terms = list(_TERM.finditer(match["left"].lstrip("-−")))
        if not _one_unit(terms, match["unit"].strip().casefold()):
            continue
        holds = _holds(match, terms)
        if holds is not None:
            yield Equation(match[0].strip(), holds)


def _begins_here(text: str, start: int) -> bool:
    """Whether nothing before the match belongs to the expression."""
    before = text[max(0, start - 20) : start]
    if before and (before[-1].isalnum() or before[-1] in "._"):
        return False
    before = before.rstrip(" \t")
    if before.endswith(". ") or before.endswith("\n") or not before:
        return True
    if before[-1] in ".,":
        return len(before) < 2 or not text[start - 1].isdigit()
    if before[-1].isalpha():
        return text[start] not in "-−" and _OPERATOR_WORD.search(before) is None
    return _NOT_BEFORE.search(before) is None


def _plain_end(match: re.Match[str]) -> bool:
    """Whether the right side is one number: nothing is multiplied, raised or divided further."""
    return match["more"] is None


def _one_unit(terms: list[re.Match[str]], right: str) -> bool:
    """Whether units, where given, cannot change the numbers."""
    units = [match["unit"].strip().casefold() for match in terms]
    named = {_singular(unit) for unit in (*units, right) if unit}
    if named & _SCALES:
        return False
    products = all((match["op"] or "*").strip() not in ("-", "+", "−", "–") for match in terms)
    divided = any((match["op"] or "").strip() in ("/", "÷", "\\div") for match in terms)
    if products and not divided:
        return not right or not any(units) or _singular(right) in {_singular(unit) for unit in units if unit}
    return len(named) <= 1


def _singular(unit: str) -> str:
    return unit.removesuffix("s") if len(unit) > 2 and unit != "gross" else unit


def _holds(match: re.Match[str], terms: list[re.Match[str]]) -> bool | None:
    """Whether left and right are equal, as exact numbers or as rounded ones; None where that cannot be said."""
    values = [_value(term["number"]) for term in terms]
    right = _value(match["right"])
    if right is None or any(value is None for value in values):
        return None
    known = [value for value in values if value is not None]
    if match["left"][:1] in "-−":
        known[0] = -known[0]
    left = _evaluate(known, [(term["op"] or "").strip() for term in terms[1:]])
    if left is None:
        return None
    if left == right:
        return True
    digits = _decimals(match["right"])
    divides = any((term["op"] or "").strip() in ("/", "÷", "\\div") for term in terms[1:])
    unit = Fraction(1, 10**digits)
    rounded = divides or (left / unit).denominator != 1
    # a quotient is often cut rather than rounded, and carried on from rounded numbers
    return rounded and abs(left - right) < (unit if divides else unit / 2 + unit / 1000)


def _value(number: str) -> Fraction | None:
    sign = -1 if number[:1] in "-−" else 1
    digits = re.sub(r"[^\d.]", "", number)
    return None if len(digits) > MAX_DIGITS else sign * Fraction(digits)


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _evaluate(values: list[Fraction], operators: list[str]) -> Fraction | None:
    """The value of an expression, products before sums, left to right; None for a division by zero."""
    total, product, sign = Fraction(0), values[0], 1
    for operator, value in zip(operators, values[1:], strict=True):
        if operator in ("+", "-", "−", "–"):
            total, product, sign = total + sign * product, value, 1 if operator == "+" else -1
        elif operator in ("/", "÷", "\\div"):
            if value == 0:
                return None
            product /= value
        else:
            product *= value
    return total + sign * product
