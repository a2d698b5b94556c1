"""Two success probabilities of the same problems, each with its law: how probable is it that they stand so or so?

Suffixes: `P` problems, `R` unique rows, `J` cells of the first grid, `K` classes of the first probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import FloatArray
from posttrain_diag.stats.functionals import PGrid, below
from posttrain_diag.stats.law_by_label import LawByLabel
from posttrain_diag.stats.mixing_law import MixingLaw

_CELLS = 4_000_000
"""Rows x cells that are held at once."""


def joint_class_posterior(
    law: LawByLabel, other: MixingLaw, needed: Callable[[FloatArray], FloatArray], cuts: Sequence[float]
) -> FloatArray:
    """Posterior that p lies between two cuts while q reaches what this p asks of it.

    Given their laws p and q of a problem are independent: the draws that tell of q are others than those that tell
    of p (for q among the failures, their number is known).

    Args:
        law: of p.
        other: of q, over the same problems in the same order.
        needed: p, shape (J,) -> the least q, shape (J,), each strictly between 0 and 1.
        cuts: rising values of p that part the classes.

    Returns:
        P(cut k-1 <= p < cut k and q >= needed(p)) for each problem and each of the len(cuts) + 1 classes, shape (P, K).

    Raises:
        StatsError: the laws are of different numbers of problems.
    """
    if len(law.row_P) != len(other.counts):
        raise StatsError(f"laws of {len(law.row_P)} and {len(other.counts)} problems: give two laws of the same ones")
    class_KJ = _class_weights(law.grid, cuts)
    reached_RJ = 1.0 - other.share_posterior_RJ @ _share_below(other.grid, needed(law.grid.p_J)).T
    rows, other_rows = law.row_P, other.counts.table.row_P
    pair_P = rows * len(reached_RJ) + other_rows
    pairs, back_P = np.unique(pair_P, return_inverse=True)
    out = np.empty((len(pairs), len(class_KJ)))
    size = max(1, _CELLS // class_KJ.shape[1])
    for start in range(0, len(pairs), size):
        chosen = pairs[start : start + size]
        mass_RJ = law.share_posterior_RJ[chosen // len(reached_RJ)] * reached_RJ[chosen % len(reached_RJ)]
        out[start : start + size] = mass_RJ @ class_KJ.T
    return np.clip(out[back_P.reshape(-1)], 0.0, 1.0)


def _class_weights(grid: PGrid, cuts: Sequence[float]) -> FloatArray:
    """The part of each cell that lies in each class, shape (K, J)."""
    below_CJ = np.stack([grid.evaluate(below(cut)) for cut in cuts])
    none_J, all_J = np.zeros_like(below_CJ[:1]), np.ones_like(below_CJ[:1])
    return np.diff(np.concatenate([none_J, below_CJ, all_J]), axis=0)


def _share_below(grid: PGrid, threshold_J: FloatArray) -> FloatArray:
    """The part of each cell below each threshold, shape (thresholds, cells)."""
    unique, back = np.unique(threshold_J, return_inverse=True)
    return np.stack([grid.evaluate(below(float(value))) for value in unique])[back]
