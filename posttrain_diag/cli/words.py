"""Estimates as the terminal shows them: value, interval, and what they rest on beyond a measurement."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Estimate = Mapping[str, Any]
"""As in diagnosis.json."""


def share_text(share: float, *, digits: int = 1, sign: str = "%") -> str:
    """A probability in percent; what is not quite 0 or 1 never reads as if it were."""
    shown = f"{100 * share:.{digits}f}"
    edge = 10.0**-digits
    if share < 1 and float(shown) == 100:
        return f">{100 - edge:.{digits}f}{sign}"
    if share > 0 and float(shown) == 0:
        return f"<{edge:.{digits}f}{sign}"
    return f"{100 * share:.0f}{sign}" if share in (0, 1) else shown + sign


def share_interval(estimate: Estimate) -> str:
    """[11.9, 14.6] in percent; empty where there is none, or where it is the value itself."""
    ends = (estimate["low"], estimate["high"])
    if None in ends or estimate["value"] is None:
        return ""
    low, high = (share_text(end, sign="") for end in ends)
    return "" if low == high == share_text(estimate["value"], sign="") else f"[{low}, {high}]"


def points_text(estimate: Estimate) -> str:
    """A change of a probability: +84 points [+82, +87]; undefined is said with its reason."""
    if estimate["value"] is None:
        return undefined(estimate)
    text = f"{points(estimate['value'])} points"
    if estimate["low"] is not None and estimate["high"] is not None:
        text += f" [{points(estimate['low'])}, {points(estimate['high'])}]"
    return text


def points(share: float) -> str:
    """Percentage points with their sign; one digit below 10."""
    digits = 0 if abs(share) >= 0.0995 else 1
    return f"{round(100 * share, digits) + 0.0:+.{digits}f}"


def undefined(estimate: Estimate | None) -> str:
    """What is said in place of a number."""
    reason = estimate.get("reason") if estimate else None
    return f"undefined ({reason})" if reason else "undefined"


def label_text(estimate: Estimate) -> str:
    """What an estimate rests on, unless it was measured; bounds that need no fitted law beside it."""
    label = "" if estimate["label"] in ("measured", "undefined") else str(estimate["label"])
    if estimate.get("bounds"):
        least, most = (share_text(end) for end in estimate["bounds"])
        label = f"{label} ({least} to {most} without a fitted law)".strip()
    return label


def tokens_text(tokens: float | None) -> str:
    """About how many tokens."""
    if tokens is None:
        return "cost unknown"
    for size, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if tokens >= size:
            return f"about {tokens / size:.3g}{suffix} tokens"
    return f"about {tokens:.0f} tokens"


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph."""
    return [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip()) if part]


def shared_sentences(texts: Sequence[str]) -> tuple[list[str], dict[str, list[int]]]:
    """What is said once instead of repeatedly.

    Returns:
        The texts without the sentences that several of them hold, and those sentences with the texts' indices.
    """
    holders: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        for sentence in dict.fromkeys(sentences(text)):
            holders.setdefault(sentence, []).append(index)
    shared = {sentence: found for sentence, found in holders.items() if len(found) > 1}
    own = [" ".join(s for s in sentences(text) if s not in shared) for text in texts]
    return own, shared
