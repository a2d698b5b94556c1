"""Turns untrusted text and possibly undefined numbers into words that are safe and honest to show."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

NOT_ESTIMATED = "not estimated"
"""What a reader sees in place of a number that does not exist."""

_LAST_WORDS = 0.3
"""Share of a clipped text's length kept from its end: final answers sit there."""

# Characters that change how *other* text is displayed, or that have no glyph: C0 and C1 controls, bidi marks,
# embeddings, overrides and isolates, zero-width spaces, line separators, surrogates, tag characters,
# non-characters. ZWJ and ZWNJ stay: emoji and Indic scripts need them.
_HIDDEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


def _spell_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the Unicode picture of the control, e.g. ␛ for ESC
    if code == 0x7F:
        return "␡"
    return f"⟦U+{code:04X}⟧"


def visible(text: str) -> str:
    """The same text with every hidden character spelled out, so that it cannot alter the page around it.

    Newlines and tabs stay. The result can always be encoded as UTF-8.
    """
    return _HIDDEN.sub(_spell_out, text.replace("\r\n", "\n"))


def clip(text: str, limit: int) -> str:
    """At most about `limit` characters: the beginning and the end, and how many were left out between."""
    if len(text) <= limit:
        return visible(text)
    tail = int(limit * _LAST_WORDS)
    head = limit - tail
    left_out = len(text) - head - tail
    end = text[len(text) - tail :]
    return f"{visible(text[:head])} […{left_out:,} characters left out…] {visible(end)}"


def finite(value: object) -> float | None:
    """The number, or None for everything that is not a finite number (null, NaN, infinity, text, bool)."""
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # any numpy or Python number; the rest raises
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_mapping(value: object) -> Mapping[str, Any]:
    """The mapping, or an empty one for anything else (an optional block that is absent or null)."""
    return value if isinstance(value, Mapping) else {}


def plain(value: float) -> str:
    """Three significant digits, thousands separated, no exponent for everyday sizes."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        return f"{value:.2e}"
    if size >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    """A probability as a percentage that never rounds a non-zero value to 0% nor a value below 1 to 100%."""
    points = 100 * share
    size = abs(points)
    if size in {0, 100}:
        return f"{points:.0f}%"
    if size < 1e-3:
        return "<0.001%" if points > 0 else ">−0.001%"
    if 99.9 < size < 100:
        return ">99.9%" if points > 0 else "<−99.9%"
    if 99 < size < 100:
        return f"{math.floor(points * 10) / 10:.3g}%"
    digits = 0 if size >= 10 else 1
    return f"{points:.{digits}f}%" if size >= 1 else f"{points:.2g}%"


def class_percent(share: float) -> str:
    """A class share: posterior means that differ from 0% or 100% by less than .1% say just that."""
    if 0 < share < 1e-3:
        return "<0.1%"
    if 1 - 1e-3 < share < 1:
        return ">99.9%"
    return percent(share)


def signed_points(share: float) -> str:
    """A change of a probability in percentage points, with its sign."""
    points = 100 * share
    digits = 0 if abs(points) >= 10 or points == 0 else 1
    return f"{points:+.{digits}f}".replace("-", "−") if round(points, digits) != 0 else "0"


def ends_words(block: Mapping[str, Any], *, points: bool = False) -> str:
    """The interval of an estimate block in percent, or in points of change; empty where it has none."""
    low, high = finite(block.get("low")), finite(block.get("high"))
    if low is None or high is None:
        return ""
    return f"[{signed_points(low)}, {signed_points(high)}]" if points else f"[{percent(low)}, {percent(high)}]"


def gain_words(block: Mapping[str, Any]) -> str:
    """A change in percentage points with its interval."""
    value = finite(block.get("value"))
    return (
        NOT_ESTIMATED if value is None else f"{signed_points(value)} points {ends_words(block, points=True)}".rstrip()
    )


_SHARE_NAME = re.compile(
    r"^(mixed|cover|share|rate|truncat|strict|lenient|guess|chance|certified|extract|duplicate|solved|success"
    r"|(true|permuted|neutral)@)|(pass[@^]|maj@|_share|_rate|share_of|_prob(ability)?|coverage|accuracy)",
)
_COUNT_NAME = re.compile(r"(expected_successes|logprob|nats|count|tokens|length|rank|depth|_n$|modes|p_value|nll)")


def is_share(name: str, value: float | None = None) -> bool:
    """Whether an estimate of this name is a probability, to be shown as a percentage; what [..] names is no part."""
    name = name.partition("[")[0]
    if _COUNT_NAME.search(name):
        return False
    return _SHARE_NAME.search(name) is not None and (value is None or -1 <= value <= 1)


def quantity(name: str, value: float) -> str:
    """A value in the unit its name asks for."""
    return percent(value) if is_share(name, value) else plain(value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Wall-clock time in the unit a person would use."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    for unit, size, limit in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < limit:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds / 86400)} days"


def big_count(value: float) -> str:
    """A count of tokens or rollouts, abbreviated above 10,000."""
    for size, suffix in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1e3 if suffix == ' k' else size):.3g}{suffix}"
    return f"{value:,.0f}"


_POWER_DIGITS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_digits(exponent: int) -> str:
    """An exponent in superscript digits."""
    return str(exponent).translate(_POWER_DIGITS)


def power_of_ten(value: float) -> str:
    """Scientific notation as print has it: 3.4·10¹⁵."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    return f"{value / 10**exponent:.2g}·10{power_digits(exponent)}"
