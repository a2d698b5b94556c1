"""Intervals for shares and for means of bounded values over problems; none collapses at 0, at 1 or at P = 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import FloatArray


def check_level(level: float) -> float:
    """Return the coverage level unchanged, once it is known to be a probability.

    Raises:
        StatsError: the level is not strictly between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise StatsError(f"level is {level}: give a coverage strictly between 0 and 1, such as 0.9")
    return level


def clopper_pearson(c: ArrayLike, n: ArrayLike, level: float = 0.9) -> tuple[FloatArray, FloatArray]:
    """Exact interval of a binomial probability.

    Args:
        c: successes, any shape.
        n: trials, same shape; n = 0 gives [0, 1].
        level: nominal coverage; the true one is never below it.

    Returns:
        Lower and upper ends, each of the broadcast shape.

    References:
        Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404.
    """
    tail = (1.0 - check_level(level)) / 2.0
    c_, n_ = np.broadcast_arrays(np.asarray(c, dtype=np.float64), np.asarray(n, dtype=np.float64))
    low = np.where(c_ > 0, betaincinv(np.maximum(c_, 1.0), n_ - c_ + 1.0, tail), 0.0)
    high = np.where(c_ < n_, betaincinv(c_ + 1.0, np.maximum(n_ - c_, 1.0), 1.0 - tail), 1.0)
    return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)


def wilson(share: float, n: float, level: float = 0.9) -> tuple[float, float]:
    """Wilson score interval of a share out of n (n may be an effective, fractional number).

    References:
        Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    z = float(ndtri(0.5 + check_level(level) / 2.0))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if share <= 0.0 else max(0.0, centre - half)
    high = 1.0 if share >= 1.0 else min(1.0, centre + half)
    return float(low), float(high)


def mean_interval(values_P: FloatArray, level: float = 0.9) -> tuple[float, float]:
    """Interval over problems for the mean of values in [0, 1].

    A Wilson interval at the effective number of problems P·m(1-m)/s². The variance s² holds one pseudo-problem
    of the largest possible variance m(1-m), so that a single problem, all zeros and all ones get honest widths.

    Args:
        values_P: one value in [0, 1] per problem, shape (P,), P >= 1.
        level: nominal coverage.

    Returns:
        Lower and upper end.

    References:
        Miller 2024, arXiv:2411.00640 (uncertainty over questions); Wilson 1927.
    """
    n = len(values_P)
    mean = float(np.clip(values_P.mean(), 0.0, 1.0))
    most = mean * (1.0 - mean)
    spread = float(((values_P - mean) ** 2).sum())
    n_effective = float(n) if most <= 0.0 else n * most / ((spread + most) / n)
    return wilson(mean, n_effective, level)
