"""Two runs on the same problems: is the difference real?

Suffixes: `P` problems, `U` clusters (problems that share a source), `B` resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import Counts, FloatArray, IntArray
from posttrain_diag.stats.intervals import check_level
from posttrain_diag.stats.pass_at_k import pass_at_k_per_problem
from posttrain_diag.types import Estimate

_RESAMPLES = 4000
_EXACT_CLUSTERS = 12
"""Up to this many clusters every sign pattern is tried."""


@dataclass(frozen=True)
class PairedComparison:
    """The mean change from run A to run B (B minus A), with its p-value."""

    difference: Estimate
    """Mean over problems of value_B - value_A."""
    p_value: float
    """Two-sided sign-flip p-value: probability of so large a mean if A and B were exchangeable per cluster."""
    n_better: int
    n_worse: int
    n_clusters: int


def _cluster_codes(clusters: Sequence[Hashable] | None, problems: int) -> IntArray:
    if clusters is None:
        return np.arange(problems)
    if len(clusters) != problems:
        raise StatsError(f"clusters has {len(clusters)} entries for {problems} problems: give one per problem")
    first: dict[Hashable, int] = {}
    return np.asarray([first.setdefault(name, len(first)) for name in clusters], dtype=np.int64)


def _sign_flip_p(sum_U: FloatArray, rng: np.random.Generator) -> float:
    """Two-sided p-value of |sum| under random signs of the clusters' sums; exact for few clusters."""
    observed = abs(float(sum_U.sum())) - 1e-12 * max(1.0, float(np.abs(sum_U).sum()))
    if len(sum_U) <= _EXACT_CLUSTERS:
        patterns = np.arange(2 ** len(sum_U))[:, None] >> np.arange(len(sum_U)) & 1
        return float((np.abs((2 * patterns - 1) @ sum_U) >= observed).mean())
    hits, done = 0, 0
    block = max(1, min(_RESAMPLES, 4_000_000 // len(sum_U)))
    while done < _RESAMPLES:
        size = min(block, _RESAMPLES - done)
        signs = 2.0 * rng.integers(0, 2, (size, len(sum_U))) - 1.0
        hits += int((np.abs(signs @ sum_U) >= observed).sum())
        done += size
    return (1 + hits) / (1 + _RESAMPLES)


def _bootstrap_means(sum_U: FloatArray, size_U: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Means of resampled clusters, shape (B,)."""
    clusters = len(sum_U)
    out = np.empty(_RESAMPLES)
    block = max(1, 4_000_000 // clusters)
    for start in range(0, _RESAMPLES, block):
        pick = rng.integers(0, clusters, (min(block, _RESAMPLES - start), clusters))
        out[start : start + len(pick)] = sum_U[pick].sum(axis=1) / size_U[pick].sum(axis=1)
    return out


def paired_difference(
    values_a: ArrayLike,
    values_b: ArrayLike,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.9,
) -> PairedComparison:
    """Mean change from run A to run B over the same problems, with a paired (clustered) bootstrap.

    Args:
        values_a: one value per problem in run A, shape (P,), P >= 2.
        values_b: the same problems, same order, in run B.
        seed: seeds the resamples.
        clusters: source of each problem; problems of one source are resampled and sign-flipped together.
        level: nominal coverage.

    Returns:
        B - A. The interval is the bootstrap percentile one, widened by sqrt(U/(U-1)) for U clusters; undefined
        interval-free answers are given for a single cluster.

    Raises:
        StatsError: unequal lengths, NaN, or fewer than 2 problems.

    References:
        Miller 2024, arXiv:2411.00640 (paired and clustered evaluation errors).
    """
    a_P, b_P = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a_P.shape != b_P.shape or a_P.ndim != 1 or len(a_P) == 0:
        raise StatsError(f"runs have shapes {a_P.shape} and {b_P.shape}: give the same problems in the same order")
    if not (np.isfinite(a_P).all() and np.isfinite(b_P).all()):
        raise StatsError("values hold NaN or infinite entries: leave problems without a value out of both runs")
    tail = (1.0 - check_level(level)) / 2.0
    delta_P = b_P - a_P
    code_P = _cluster_codes(clusters, len(delta_P))
    sum_U = np.bincount(code_P, delta_P).astype(np.float64)
    size_U = np.bincount(code_P).astype(np.float64)
    better, worse = int((delta_P > 0).sum()), int((delta_P < 0).sum())
    mean = float(delta_P.mean())
    if len(sum_U) < 2:
        difference = Estimate.undefined(f"{len(sum_U)} cluster: a difference {mean:+.3f} has no interval", level)
        return PairedComparison(difference, 1.0, better, worse, len(sum_U))
    rng = np.random.default_rng(seed)
    means_B = _bootstrap_means(sum_U, size_U, rng)
    means_B = mean + (means_B - mean) * np.sqrt(len(sum_U) / (len(sum_U) - 1))
    low, high = np.quantile(means_B, [tail, 1.0 - tail])
    difference = Estimate(mean, min(float(low), mean), max(float(high), mean), level, len(delta_P), "measured")
    return PairedComparison(difference, _sign_flip_p(sum_U, rng), better, worse, len(sum_U))


def compare_pass_at_k(
    a: Counts,
    b: Counts,
    k: int = 1,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.9,
) -> PairedComparison:
    """Change of unbiased pass@k from run A to run B.

    Args:
        a: counts of run A.
        b: counts of run B, the same problems in the same order.
        k: draws per problem; every n must be >= k.
        seed: seeds the resamples.
        clusters: source of each problem; problems of one source are resampled and sign-flipped together.
        level: nominal coverage.

    Returns:
        B - A, with an interval and a p-value over the problems.

    Raises:
        StatsError: different numbers of problems, or different ids.
        NotEnoughRollouts: some n < k in either run.
    """
    if len(a) != len(b) or (a.ids is not None and b.ids is not None and a.ids != b.ids):
        raise StatsError(f"runs hold {len(a)} and {len(b)} problems or different ids: give the same ones in one order")
    return paired_difference(
        pass_at_k_per_problem(a, k), pass_at_k_per_problem(b, k), seed=seed, clusters=clusters, level=level
    )
