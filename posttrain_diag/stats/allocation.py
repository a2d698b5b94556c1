"""Where the next rollouts go.

Pure functions of the counts and class posteriors: valid under optional stopping, because the posterior is.
Suffixes: `P` problems, `K` classes.
"""

from __future__ import annotations

import numpy as np

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import Counts, FloatArray, IntArray

FIRST_BLOCK = 4
"""Rollouts of every problem in the first round."""
RESOLVED = 0.95
"""A problem is resolved when one class has at least this posterior."""


def _check(class_posterior_PK: FloatArray, problems: int, budget: int) -> None:
    if class_posterior_PK.ndim != 2 or len(class_posterior_PK) != problems:
        raise StatsError(f"class posterior has shape {class_posterior_PK.shape}: give ({problems}, classes)")
    if not np.isfinite(class_posterior_PK).all() or np.abs(class_posterior_PK.sum(axis=1) - 1.0).max() > 1e-6:
        raise StatsError("class posterior rows must be probabilities that sum to 1")
    if budget < 0:
        raise StatsError(f"budget is {budget}: give a number of rollouts >= 0")


def _fill(order: IntArray, block_P: IntArray, budget: int, out_P: IntArray) -> int:
    """Write blocks into `out_P` in the given order until the budget ends; returns the rollouts left."""
    wanted = block_P[order]
    before = np.concatenate([[0], np.cumsum(wanted)[:-1]])
    out_P[order] += np.clip(budget - before, 0, wanted)
    return max(0, budget - int(wanted.sum()))


def next_blocks(
    counts: Counts,
    class_posterior_PK: FloatArray,
    budget: int,
    *,
    resolved: float = RESOLVED,
    zero_reserve: int = 0,
    max_rollouts: int | None = None,
) -> IntArray:
    """How many further rollouts each problem gets in the next round.

    Unresolved problems get a block that doubles their rollouts, those with the largest chance of a wrong class per
    rollout already spent first. Refit and call again until it returns zeros.

    Args:
        counts: rollouts so far (n = 0 is allowed: the problem gets a first block).
        class_posterior_PK: class probabilities, shape (P, K), rows sum to 1.
        budget: rollouts left, all problems together.
        resolved: posterior from which a problem gets no more.
        zero_reserve: part of `budget` kept for problems that never passed, resolved or not; give about a quarter of
            the whole budget when pass@k at large k is asked for. It is spent once nothing else asks for rollouts.
        max_rollouts: most rollouts a problem may have in the end.

    Returns:
        Rollouts to draw now, shape (P,), summing to at most `budget`; all zero means done.

    Raises:
        StatsError: shapes that do not match, a negative budget, a reserve above the budget.
    """
    n_P = counts.n_P
    _check(class_posterior_PK, len(counts), budget)
    if not 0 <= zero_reserve <= budget:
        raise StatsError(f"zero_reserve is {zero_reserve} of a budget of {budget}: give 0 <= reserve <= budget")
    block_P = np.where(n_P == 0, FIRST_BLOCK, np.maximum(n_P, 2))
    if max_rollouts is not None:
        block_P = np.minimum(block_P, np.maximum(max_rollouts - n_P, 0))
    error_P = 1.0 - class_posterior_PK.max(axis=1)
    open_P = ((error_P > 1.0 - resolved) | (n_P == 0)) & (block_P > 0)
    urgency_P = np.where(n_P == 0, np.inf, error_P / np.maximum(n_P, 1))
    order = np.flatnonzero(open_P)
    order = order[np.argsort(-urgency_P[order], kind="stable")]
    out_P = np.zeros(len(counts), dtype=np.int64)
    left = _fill(order, block_P, budget - zero_reserve, out_P) if len(order) else 0
    if len(order) == 0 and zero_reserve > 0:
        left = zero_reserve
        zeros = np.flatnonzero((counts.c_P == 0) & (block_P > 0))
        zeros = zeros[np.argsort(n_P[zeros], kind="stable")]
        if len(zeros):
            _fill(zeros, block_P, left, out_P)
    return out_P
