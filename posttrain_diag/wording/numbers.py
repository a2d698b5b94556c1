"""The one way in which a number reads, on the terminal, the pages, their Markdown twins and the lines of `diag train`.

    share       12.8%   0.39%   <0.001%   >99.9%   0%   100%     one decimal; below 1 two significant digits
    interval    12.8% [11.7, 14.0]                               in the unit of the value before it
    change      +84.3 points [+82.1, +87.0]   −0.90 points       percentage points, always with their sign
    tokens      8,432   230 k   1.2 M   1.2 B                    three significant digits from 10,000 on
    duration    0.43 s   1.9 s   45 s   3 min 20 s   35 min   2 h 5 min
    p-value     p = 0.013   p < 0.001
    memory      1.5 GiB
    nats        −12.3 nats   0.043 nats
    counts      13,200                                           exact: they add up
    others      11.3   1,234,567   3.2e-5                        three significant digits
    undefined   —                                                with its reason, where there is room for one

A value never reads as 0% or 100% unless it is. Halves are rounded away from zero, as the browsers' scripts round them:
`reports/posttrain_reports/templates/numbers.js` says the same in a page, and a test holds it to this file.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal

UNDEFINED = "—"
"""What stands in place of a number that does not exist."""
LEAST_SHARE = 1e-5
"""Smaller shares read as "below" this one; a smaller change reads as none."""
LEAST_CLASS_SHARE = 1e-3
"""The least share for problems in a class, which are means of posteriors and not known more finely."""
LEAST_P_VALUE = 1e-3
LEAST_NATS = 1e-3

_MINUS = "−"
_TOKENS_FROM = 10_000
_BEYOND_READING = 1e15
_UNITS = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k"))


def finite(value: object) -> float | None:
    """The number, or None for everything that is not a finite number (null, NaN, infinity, text, bool)."""
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # any numpy or Python number; the rest raises
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _fixed(size: float, decimals: int) -> str:
    return format(Decimal(size).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP), ",f")


def _rounded(size: float, digits: int) -> Decimal:
    """The magnitude rounded to so many significant digits, which stay where they are zeros."""
    found = Context(prec=digits, rounding=ROUND_HALF_UP).create_decimal_from_float(size)
    return found.quantize(Decimal(1).scaleb(found.adjusted() - digits + 1))


def _digits(size: float) -> str:
    """A magnitude with one decimal, or below 1 with two significant digits."""
    if size >= _BEYOND_READING:
        return scientific(size)
    return _fixed(size, 1) if size >= 1 else format(_rounded(size, 2), "f")


def _signed(value: float, text: str, *, plus: bool = False) -> str:
    return f"{_MINUS if value < 0 else '+' if plus else ''}{text}"


def percent(value: float, *, least: float = LEAST_SHARE, sign: str = "%") -> str:
    """A probability or another share as text: 12.8%. What is not quite 0 or 1 never reads as if it were.

    Args:
        value: the share; a negative one is the difference of two.
        least: a share closer to 0 than this reads as being below it.
        sign: follows the number; empty within an interval.
    """
    size = abs(value)
    if size in (0, 1):
        return _signed(value if size else 0.0, f"{100 * size:.0f}{sign}")
    beyond = ("<", ">") if value > 0 else (f">{_MINUS}", f"<{_MINUS}")
    if size < least:
        return f"{beyond[0]}{100 * least:g}{sign}"
    text = _digits(100 * size)
    if size < 1 and text == "100.0":
        return f"{beyond[1]}99.9{sign}"
    return _signed(value, text + sign)


def class_percent(value: float, *, sign: str = "%") -> str:
    """The share of problems in a class, or the probability of a verdict: nothing finer than a tenth of a percent."""
    return percent(value, least=LEAST_CLASS_SHARE, sign=sign)


def signed_points(change: float) -> str:
    """A change of a probability in percentage points with its sign, without the word: +84.3."""
    if abs(change) < LEAST_SHARE:
        return "0"
    return _signed(change, _digits(100 * abs(change)), plus=True)


def percent_between(value: float | None, low: float | None, high: float | None, *, least: float = LEAST_SHARE) -> str:
    """The interval of a share without the value: [11.7, 14.0].

    Args:
        value: the share itself.
        low: the lower end.
        high: the upper end.
        least: a share closer to 0 than this reads as being below it.

    Returns:
        The text; empty where an end is missing, and where both read like the value.
    """
    if low is None or high is None:
        return ""
    ends = [percent(end, least=least, sign="") for end in (low, high)]
    alike = value is not None and ends == [percent(value, least=least, sign="")] * 2
    return "" if alike else f"[{ends[0]}, {ends[1]}]"


def points_between(change: float | None, low: float | None, high: float | None) -> str:
    """The interval of a change without the value: [+82.1, +87.0]; empty as in `percent_between`."""
    if low is None or high is None:
        return ""
    ends = [signed_points(low), signed_points(high)]
    alike = change is not None and ends == [signed_points(change)] * 2
    return "" if alike else f"[{ends[0]}, {ends[1]}]"


def percent_with(value: float, low: float | None, high: float | None) -> str:
    """A share with its interval: 12.8% [11.7, 14.0]."""
    return f"{percent(value)} {percent_between(value, low, high)}".rstrip()


def points_with(change: float, low: float | None, high: float | None) -> str:
    """A change with its interval: +84.3 points [+82.1, +87.0]."""
    return f"{signed_points(change)} points {points_between(change, low, high)}".rstrip()


def alone(value: float, high: float | None) -> str:
    """A share shown without its interval: a zero among n draws reads as a bound, ≤2.3%, where its end is known."""
    return f"≤{percent(high)}" if value == 0 and high is not None and 0 < high < 1 else percent(value)


def nominal(value: float) -> str:
    """A share that was set and not measured, as the level of an interval or a tick of an axis: 90%, 2.5%."""
    return f"{100 * value:.3g}%"


def count(number: float) -> str:
    """A number of things: 13,200. Counts are exact, so that they add up."""
    return f"{number:,.0f}" if abs(number) < _BEYOND_READING else scientific(number)


def token_count(number: float) -> str:
    """A number of tokens, without the word: exact below 10,000, then three significant digits: 230 k, 1.2 M, 1.2 B."""
    rounded = float(_rounded(abs(number), 3))
    if rounded < _TOKENS_FROM:
        return count(number)
    size, unit = next((size, unit) for size, unit in _UNITS if rounded >= size)
    return _signed(number, f"{rounded / size:,.10g}{unit}")


def duration(seconds: float) -> str:
    """A time in the units a person would use: 1.9 s, 45 s, 3 min 20 s, 35 min, 2 h 5 min, 12 h, 3 days 4 h, 12 days."""
    if 0 < seconds < 9.95 and not float(seconds).is_integer():
        return f"{_digits(seconds)} s"
    whole, minutes, hours = (round(max(0.0, seconds) / unit) for unit in (1, 60, 3600))
    if whole < 60:
        return f"{whole} s"
    if minutes < 60:
        return _two_units(*divmod(whole, 60), "min", "s") if whole < 600 else f"{minutes} min"
    if hours < 48:
        return _two_units(*divmod(minutes, 60), "h", "min") if minutes < 600 else f"{hours} h"
    return _two_units(*divmod(hours, 24), "days", "h") if hours < 240 else f"{count(round(hours / 24))} days"


def _two_units(large: int, small: int, large_unit: str, small_unit: str) -> str:
    return f"{large} {large_unit}" + (f" {small} {small_unit}" if small else "")


def memory(size_bytes: float) -> str:
    """An amount of memory or disk: 1.5 GiB."""
    return f"{_digits(size_bytes / 2**30)} GiB"


def p_value(p: float) -> str:
    """A p-value for a table's cell: 0.013, <0.001."""
    return f"<{LEAST_P_VALUE:g}" if p < LEAST_P_VALUE else format(_rounded(p, 2), "f")


def p_test(p: float) -> str:
    """A p-value in a sentence: p = 0.013, p < 0.001."""
    text = p_value(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def nats(value: float) -> str:
    """A log-probability, or a difference of two: −12.3 nats."""
    return "0 nats" if abs(value) < LEAST_NATS else f"{_signed(value, _digits(abs(value)))} nats"


def plain(value: float) -> str:
    """Any other number: three significant digits, thousands separated, no exponent for everyday sizes."""
    size = abs(value)
    if size and (size >= 1e7 or size < 1e-4):
        return scientific(value)
    if size >= 1000 or float(value).is_integer():
        return _signed(value, _fixed(size, 0))
    return _signed(value, f"{_rounded(size, 3).normalize():,f}")


def scientific(value: float) -> str:
    """Very large and very small numbers: 3.4e15, 1e-5."""
    if value == 0:
        return "0"
    if math.isinf(value):  # 100 times a share near the end of the floating-point range
        return _signed(value, "∞")
    mantissa, exponent = f"{_rounded(abs(value), 2):.1e}".split("e")
    return _signed(value, f"{mantissa.removesuffix('.0')}e{int(exponent)}")
