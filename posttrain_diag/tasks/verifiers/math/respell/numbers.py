"""Rules that re-spell numbers: fractions, mixed numbers, decimals, thousands, powers of ten."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import gcd

_INT = re.compile(r"-?\d+")
_GROUPED = re.compile(r"-?\d{1,3}(?:(?:,\\!\s*|\{,\}|,)\d{3})+")
_DECIMAL = re.compile(r"(-?)(\d*)\.(\d+)")
_FRACTION = re.compile(r"(-?)\s*\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_MIXED = re.compile(r"(-?)(\d+)\s*\\[dt]?frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))")
_POWER_OF_TEN = re.compile(r"(\d+(?:\.\d+)?)\s*\\times\s*10\^\{?(-?\d+)\}?")


def _fraction_sizes(gold: str) -> Iterator[str]:
    if "frac" in gold:
        plain = re.sub(r"\\[dt]frac", r"\\frac", gold)
        yield from (plain, plain.replace("\\frac", "\\dfrac"), plain.replace("\\frac", "\\tfrac"))


def _fraction_braces(gold: str) -> Iterator[str]:
    match = _FRACTION.fullmatch(gold)
    if match:
        sign, top, bottom = _parts(match)
        yield f"{sign}\\frac{{{top}}}{{{bottom}}}"
        if len(top) == len(bottom) == 1:
            yield f"{sign}\\frac{top}{bottom}"
            yield f"{sign}\\frac {top} {bottom}"


def _slash(gold: str) -> Iterator[str]:
    match = _FRACTION.fullmatch(gold)
    if match:
        sign, top, bottom = _parts(match)
        yield f"{sign}{top}/{bottom}"
        yield f"{sign}{top} / {bottom}"


def _minus_in_fraction(gold: str) -> Iterator[str]:
    match = _FRACTION.fullmatch(gold)
    if match and match[1] == "-":
        _, top, bottom = _parts(match)
        yield f"\\frac{{-{top}}}{{{bottom}}}"


def _unreduced(gold: str) -> Iterator[str]:
    match = _FRACTION.fullmatch(gold)
    if match:
        sign, top, bottom = _parts(match)
        yield f"{sign}\\frac{{{2 * int(top)}}}{{{2 * int(bottom)}}}"


def _mixed_number(gold: str) -> Iterator[str]:
    match = _FRACTION.fullmatch(gold)
    if match:
        sign, top, bottom = _parts(match)
        whole, rest = divmod(int(top), int(bottom))
        if whole and rest and gcd(rest, int(bottom)) == 1:
            yield f"{sign}{whole}\\frac{{{rest}}}{{{bottom}}}"
            yield f"{sign}{whole} {rest}/{bottom}"
            yield (
                f"{sign}{whole}\\tfrac{rest}{bottom}"
                if rest < 10 > int(bottom)
                else f"{sign}{whole} \\frac{{{rest}}}{{{bottom}}}"
            )
    mixed = _MIXED.fullmatch(gold)
    if mixed:
        whole, top, bottom = int(mixed[2]), int(mixed[3] or mixed[4]), int(mixed[5] or mixed[6])
        yield f"{mixed[1]}\\frac{{{whole * bottom + top}}}{{{bottom}}}"
        yield f"{mixed[1]}{whole} {top}/{bottom}"


def _as_decimal(gold: str) -> Iterator[str]:
    value = _rational(gold)
    if value is None or value.denominator == 1:
        return
    places = next((n for n in range(1, 7) if (value * 10**n).denominator == 1), None)
    if places is not None and "frac" in gold:
        yield f"{float(value):.{places}f}"


def _zeros(gold: str) -> Iterator[str]:
    match = _DECIMAL.fullmatch(gold)
    if match:
        sign, whole, decimals = match.groups()
        yield f"{sign}{whole or '0'}.{decimals}0"
        yield f"{sign}{whole or '0'}.{decimals}"
        if whole in ("0", ""):
            yield f"{sign}.{decimals}"
    elif _INT.fullmatch(gold) and len(gold) < 4:
        yield f"{gold}.0"


def _decimal_as_fraction(gold: str) -> Iterator[str]:
    match = _DECIMAL.fullmatch(gold)
    if match and len(match[3]) <= 4:
        value = abs(Fraction(f"{match[2] or '0'}.{match[3]}"))
        yield f"{match[1]}\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _thousands(gold: str) -> Iterator[str]:
    if not (
        _GROUPED.fullmatch(gold) or (_INT.fullmatch(gold) and len(gold.lstrip("-")) >= 4 and gold.lstrip("-")[0] != "0")
    ):
        return
    sign, digits = "-" * gold.startswith("-"), re.sub(r"\D", "", gold)
    grouped = f"{int(digits):,}"
    yield from (sign + digits, sign + grouped, sign + grouped.replace(",", "{,}"), sign + grouped.replace(",", "\\,"))


def _scientific(gold: str) -> Iterator[str]:
    match = _POWER_OF_TEN.fullmatch(gold)
    if match:
        yield f"{match[1]} \\cdot 10^{{{match[2]}}}"
        yield f"{match[1]}e{match[2]}" if not match[2].startswith("-") else f"{match[1]}*10^({match[2]})"
    zeros = re.fullmatch(r"([1-9]\d?)(0{3,})", gold)
    if zeros:
        yield f"{zeros[1]} \\times 10^{{{len(zeros[2])}}}"


def _rational(gold: str) -> Fraction | None:
    match = _FRACTION.fullmatch(gold)
    if match:
        sign, top, bottom = _parts(match)
        return Fraction(int(sign + top), int(bottom))
    mixed = _MIXED.fullmatch(gold)
    if mixed:
        value = int(mixed[2]) + Fraction(int(mixed[3] or mixed[4]), int(mixed[5] or mixed[6]))
        return -value if mixed[1] else value
    return None


def _parts(match: re.Match[str]) -> tuple[str, str, str]:
    """Sign, numerator and denominator of a fraction of whole numbers."""
    top = match[2] or match[3]
    sign = "-" if (match[1] == "-") != top.startswith("-") else ""
    return sign, top.lstrip("-"), match[4] or match[5]


RULES: dict[str, Callable[[str], Iterator[str]]] = {
    "size of the fraction": _fraction_sizes,
    "braces of the fraction": _fraction_braces,
    "slash": _slash,
    "minus in the fraction": _minus_in_fraction,
    "unreduced fraction": _unreduced,
    "mixed number": _mixed_number,
    "decimal of a fraction": _as_decimal,
    "fraction of a decimal": _decimal_as_fraction,
    "zeros of a decimal": _zeros,
    "thousands": _thousands,
    "power of ten": _scientific,
}
"""Each kind of spelling with the rule that makes it."""
