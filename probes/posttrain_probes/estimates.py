"""Shares and means with their intervals, as `Estimate`s."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from posttrain_diag.evidence import Evidence
from posttrain_diag.stats import clopper_pearson
from posttrain_diag.types import Estimate, Measurement


def share_estimate(count: int, total: int, *, level: float) -> Estimate:
    """A share with its exact (Clopper-Pearson) interval; undefined for a total of 0."""
    if total == 0:
        return Estimate.undefined("nothing to count", level)
    low, high = clopper_pearson(count, total, level)
    return Estimate(count / total, float(low), float(high), level, total, "measured")


def mean_estimate(values: NDArray[np.float64], *, level: float) -> Estimate:
    """The mean of some values with its Student interval, which is undefined for fewer than two values.

    Args:
        values: the values, shape (N,).
        level: nominal coverage.
    """
    if len(values) == 0:
        return Estimate.undefined("no values", level)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, None, None, level, 1, "measured", "one value has no interval")
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(mean, mean - half, mean + half, level, len(values), "measured")


def not_in_counts(probe: str, question: str, name: str, why: str, evidence: Evidence) -> Measurement:
    """The measurement of a probe when only counts were imported: its estimate `name` is undefined, and it says why.

    Args:
        probe: name of the probe.
        question: the probe's question.
        name: the estimate that does not exist.
        why: what counts lack.
        evidence: gives the level and the problems.
    """
    reason = f"not measured: {why}, and only counts were imported"
    undefined = Estimate.undefined(reason, evidence.settings.level)
    return Measurement(probe, question, pd.DataFrame(index=list(evidence.ids)), {name: undefined}, notes=(reason,))
