"""Estimates in words: value, interval, what they rest on, and why there is no value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from posttrain_diag.wording.numbers import (
    UNDEFINED,
    alone,
    finite,
    nominal,
    percent,
    percent_between,
    percent_with,
    plain,
    points_between,
    points_with,
    signed_points,
)


class Estimated(Protocol):
    """An object with the attributes of `types.Estimate`."""

    @property
    def value(self) -> float | None:
        """The number; None where it is undefined."""
        ...

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        ...

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        ...

    @property
    def label(self) -> str:
        """What the number rests on, or "undefined"."""
        ...

    @property
    def reason(self) -> str:
        """Why there is no number, or what a model-dependent one assumes."""
        ...

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Bounds that need no fitted law, where there are some."""
        ...


EstimateLike = Mapping[str, Any] | Estimated
"""An estimate, or the same in JSON form: {"value", "low", "high", "label", "reason", "bounds", ...}, where null is
undefined."""


def _get(block: EstimateLike | None, key: str) -> Any:
    return block.get(key) if isinstance(block, Mapping) else getattr(block, key, None)


def is_bound(block: EstimateLike | None) -> bool:
    """Whether an estimate is an upper limit because no draw passed: it reads "at most X", whatever its value."""
    return _get(block, "label") == "bound" and finite(_get(block, "high")) is not None


def bound_certainty(block: EstimateLike | None) -> str:
    """The probability with which an upper limit holds, in brackets: (95%) for the end of a 90% interval."""
    level = finite(_get(block, "level"))
    return "" if level is None else f"({nominal((1.0 + level) / 2.0)})"


def bound_text(block: EstimateLike | None, name: str = "pass@1") -> str:
    """An upper limit in words, at most 6.3% (95%), in the unit that the name of its estimate asks for."""
    high = finite(_get(block, "high"))
    return UNDEFINED if high is None else f"at most {quantity(name, high)} {bound_certainty(block)}".rstrip()


def ends(block: EstimateLike | None) -> tuple[float | None, float | None, float | None]:
    """Value, low and high of an estimate; None for what is absent or no finite number."""
    value, low, high = (finite(_get(block, key)) for key in ("value", "low", "high"))
    return (None if _get(block, "label") == "undefined" else value), low, high


def undefined(block: EstimateLike | None) -> str:
    """The text in place of a number: an em dash, and the reason where there is one."""
    reason = _get(block, "reason")
    return f"{UNDEFINED} ({reason})" if reason else UNDEFINED


def share_text(block: EstimateLike | None) -> str:
    """A share with its interval, 12.8% [11.7, 14.0]; an em dash with the reason where it is undefined.

    An upper limit reads as one: at most 6.3% (95%).
    """
    if is_bound(block):
        return bound_text(block)
    value, low, high = ends(block)
    return undefined(block) if value is None else percent_with(value, low, high)


def points_text(block: EstimateLike | None) -> str:
    """A change of a share with its interval, +84.3 points [+82.1, +87.0]; undefined as in `share_text`."""
    value, low, high = ends(block)
    return undefined(block) if value is None else points_with(value, low, high)


def points_column(block: EstimateLike | None) -> str:
    """A change with its interval, for a column whose head says that these are points: +84.3 [+82.1, +87.0]."""
    value, low, high = ends(block)
    return undefined(block) if value is None else f"{signed_points(value)} {points_between(value, low, high)}".rstrip()


def share_alone(block: EstimateLike | None) -> str:
    """A share without its interval; a zero reads as the bound that its interval gives, an undefined one as a dash."""
    if is_bound(block):
        return f"≤{percent(finite(_get(block, 'high')) or 0.0)}"
    value, _, high = ends(block)
    return UNDEFINED if value is None else alone(value, high)


def change_text(before: EstimateLike | None, after: EstimateLike | None) -> str:
    """A share on two sides, each with its interval: 13.9% [11.5, 16.7] → 96.5% [94.8, 97.7]."""
    return f"{share_text(before)} → {share_text(after)}"


def change_alone(before: EstimateLike | None, after: EstimateLike | None) -> str:
    """A share on two sides without intervals: 13.9% → 96.5%."""
    return f"{share_alone(before)} → {share_alone(after)}"


def share_ends(block: EstimateLike) -> str:
    """The interval of a share without the value; empty where there is none, and for an upper limit."""
    if is_bound(block):
        return ""
    return percent_between(*ends(block))


def points_ends(block: EstimateLike) -> str:
    """The interval of a change without the value; empty where there is none."""
    return points_between(*ends(block))


def number_text(block: EstimateLike) -> str:
    """A number of no special unit with its interval: 12.3 [9.1, 15]; undefined as in `share_text`."""
    value, low, high = ends(block)
    if value is None:
        return undefined(block)
    shown = [plain(end) for end in (value, low, high) if end is not None]
    return shown[0] if len(shown) < 3 or shown == shown[:1] * 3 else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def label_text(block: EstimateLike) -> str:
    """What an estimate rests on, unless it was measured, with bounds that need no fitted law beside it."""
    label = str(_get(block, "label") or "")
    label = "" if label in ("measured", "undefined") else label
    if is_bound(block):
        label = str(_get(block, "reason") or "")
    if bounds := _get(block, "bounds"):
        least, most = (percent(end, sign="") for end in bounds)
        label = f"{label} ([{least}, {most}] without a fitted law)".strip()
    return label


_SHARE_NAME = re.compile(
    r"^(mixed|cover|share|rate|truncat|strict|lenient|guess|chance|certified|extract|duplicate|solved|success"
    r"|(true|permuted|neutral)@)|(pass[@^]|maj@|bayes@|_share|_rate|share_of|_prob(ability)?|coverage|accuracy)",
)
_COUNT_NAME = re.compile(r"(expected_successes|logprob|nats|count|tokens|length|rank|depth|_n$|modes|p_value|nll)")


def is_share(name: str, value: float | None = None) -> bool:
    """Whether an estimate of this name is a probability, to be shown as a percentage; a part in [..] is ignored."""
    name = name.partition("[")[0]
    if _COUNT_NAME.search(name):
        return False
    return _SHARE_NAME.search(name) is not None and (value is None or -1 <= value <= 1)


def quantity(name: str, value: float) -> str:
    """A value in the unit that the name of its estimate asks for."""
    return percent(value) if is_share(name, value) else plain(value)


def quantity_ends(name: str, block: EstimateLike) -> str:
    """The interval of an estimate in the unit that its name asks for; empty where there is none, and for a limit."""
    if is_bound(block):
        return ""
    value, low, high = ends(block)
    if value is None or low is None or high is None:
        return ""
    if all(is_share(name, end) for end in (value, low, high)):
        return percent_between(value, low, high)
    shown = [plain(end) for end in (value, low, high)]
    return "" if shown == shown[:1] * 3 else f"[{shown[1]}, {shown[2]}]"
