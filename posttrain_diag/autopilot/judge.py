"""Keep a stage's checkpoint or roll it back: is the gain real, is it worth what it cost other tasks?

Both rest on the stage's own measurements: equally many seeded draws per problem before and after, which no adaptive
stopping biases. Suffix: `P` problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.settings.stage import RETENTION_WEIGHT
from posttrain_diag.stages import Measured
from posttrain_diag.stats import paired_difference
from posttrain_diag.types import Estimate


@dataclass(frozen=True)
class Ruling:
    """What a stage did, and whether its checkpoint is kept."""

    keep: bool
    cause: Literal["", "gain", "retention"]
    """The reason for which it is rolled back; "retention": the gain is real, and costs too much elsewhere."""
    reason: str
    gain: Estimate
    """Change of pass@1 on the held-out problems, paired by problem."""
    p_value: float
    retention_lost: float
    """Loss of the retained pass rate since before the stage; 0 where none was lost or nothing is retained."""
    utility: float
    """Gain less half of what was lost."""
    kept_share: Estimate | None
    """Retention after the stage less `keep` times the start's, paired by problem; None where nothing is retained."""


def judge(before: Measured, after: Measured, start: Measured, *, keep: float, seed: int) -> Ruling:
    """Decide whether a stage's checkpoint is kept: whether its gain is real, and worth what it cost other tasks.

    Args:
        before: the model that the stage started from.
        after: the stage's checkpoint.
        start: the model that the run started with.
        keep: share of the start's retention that must remain.
        seed: seeds the resamples.
    """
    ids = [key for key in before.counts if before.counts[key][1] and after.counts[key][1]]
    change = paired_difference(_rates(before.counts, ids), _rates(after.counts, ids), seed=seed)
    gain, lost = change.difference, 0.0
    if before.retention is not None and after.retention is not None:
        lost = max(0.0, (before.retention.value or 0.0) - (after.retention.value or 0.0))
    value, low, high = gain.value or 0.0, gain.low or 0.0, gain.high or 0.0
    utility = value - RETENTION_WEIGHT * lost
    margin = _margin(after, start, keep, seed)
    shown = f"pass@1 {_mean(before)} -> {_mean(after)}, gain {value:+.3f} [{low:+.3f}, {high:+.3f}]"
    if after.retention is not None and before.retention is not None:
        shown += f", retention {before.retention.value:.3f} -> {after.retention.value:.3f}"
    if gain.low is None or gain.low <= 0:
        cause, why = "gain", "the gain is not beyond chance"
    elif margin is not None and margin.value is not None and margin.value < 0:
        cause = "retention"
        why = f"retention fell below {keep:g} of the start's {start.retention.value:.3f}" if start.retention else ""
        if margin.high is not None and margin.high >= 0:
            why += ", more likely than not"
    elif utility <= 0:
        cause, why = "retention", f"half of the {lost:.3f} lost on retained tasks outweighs the gain"
    else:
        cause, why = "", "the gain is real" + (f" and {lost:.3f} was lost elsewhere" if lost else "")
    return Ruling(not cause, cause, f"{why}: {shown}", gain, change.p_value, lost, utility, margin)


def _margin(after: Measured, start: Measured, keep: float, seed: int) -> Estimate | None:
    """Retention after less `keep` times the start's, paired by problem."""
    ids = [key for key in start.retained_counts if start.retained_counts[key][1] and after.retained_counts[key][1]]
    if len(ids) < 2:
        return None
    wanted_P = keep * _rates(start.retained_counts, ids)
    return paired_difference(wanted_P, _rates(after.retained_counts, ids), seed=seed).difference


def _rates(counts: Mapping[str, tuple[int, int]], ids: list[str]) -> NDArray[np.float64]:
    """Pass rates of some problems, shape (P,)."""
    return np.array([counts[key][0] / counts[key][1] for key in ids])


def _mean(measured: Measured) -> str:
    value = measured.estimates["pass@1"].value
    return "undefined" if value is None else f"{value:.3f}"
