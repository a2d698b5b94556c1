"""Do two runs gain and lose more support than two draws of one model would?

Every problem's p is drawn from its posterior after the rollouts of both runs together, as if one model had made them;
both runs are then redrawn from it with the numbers of rollouts that each really had. What such pairs of runs seem to
gain and lose is the noise level. (Posteriors after the first run alone gave as few false alarms with equal n, more with
unequal n, and less power.)
Suffixes: `P` problems, `R` distinct (n, c) rows of a redrawn run, `J` grid points, `B` resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posttrain_diag.stats.counts import Counts, FloatArray
from posttrain_diag.stats.functionals import PGrid, below
from posttrain_diag.stats.mixing_law import MixingLaw, fit_mixing_law

RESAMPLES = 400
_CELLS = 2_000_000_000
"""Problems x grid points x resamples, within 100 to 400 resamples."""
_BLOCK = 4_000_000


@dataclass(frozen=True)
class NullScores:
    """The score (expanded, shrunk) of two runs, and of resampled pairs of runs between which nothing changed."""

    observed: tuple[float, float]
    null_B2: FloatArray
    """Scores of the resampled pairs, in which nothing changed, shape (B, 2)."""

    @property
    def p_values(self) -> tuple[float, float]:
        """One-sided p-values of both scores: how probable so high a score is when nothing changed."""
        as_high_B2 = self.null_B2 >= np.asarray(self.observed) - 1e-9
        expanded, shrunk = (1 + as_high_B2.sum(axis=0)) / (1 + len(self.null_B2))
        return float(expanded), float(shrunk)


def null_resample(before: Counts, after: Counts, eps: float, *, seed: int) -> NullScores:
    """Compare what two runs seem to have gained and lost with what two draws of one model do.

    The score is the number of problems expected to have crossed eps under one fixed prior for observed and resampled
    pairs alike: with even chances a problem's p is the same in both runs or drawn twice from the common law.

    Args:
        before: counts of the first run.
        after: counts of the second run, same problems, same order.
        eps: support threshold.
        seed: seeds the resamples.

    Returns:
        The observed score and those of the resampled pairs.
    """
    rng = np.random.default_rng([seed, 4])
    law = fit_mixing_law(Counts(before.n_P + after.n_P, before.c_P + after.c_P), seed=seed)
    score = _Score(law, eps)
    resamples = int(np.clip(_CELLS // (len(before) * len(law.grid.p_J)), 100, RESAMPLES))
    block = int(np.clip(_BLOCK // len(before), 1, resamples))
    null: list[tuple[float, float]] = []
    while len(null) < resamples:
        for p_P in law.sample_p(min(block, resamples - len(null)), rng):
            first, second = (Counts(run.n_P, rng.binomial(run.n_P, p_P)) for run in (before, after))
            null.append(score.of(first, second))
    return NullScores(score.of(before, after), np.asarray(null))


class _Score:
    """Computes how many problems are expected to have crossed eps upwards and downwards, under the fixed prior."""

    def __init__(self, law: MixingLaw, eps: float) -> None:
        self.grid: PGrid = law.grid
        self.law_J = law.law_SJ.mean(axis=0)
        self.below_J = law.grid.evaluate(below(eps))

    def of(self, before: Counts, after: Counts) -> tuple[float, float]:
        """Expected numbers of problems that crossed eps upwards and downwards between these two runs."""
        own_RJ, then_RJ = (self._weighted(counts) for counts in (before, after))
        own, then = own_RJ.sum(axis=1)[before.table.row_P], then_RJ.sum(axis=1)[after.table.row_P]
        own_below = (own_RJ @ self.below_J)[before.table.row_P]
        then_below = (then_RJ @ self.below_J)[after.table.row_P]
        total = own * then + self._same(own_RJ, then_RJ, before, after)
        up = own_below * (then - then_below) / total
        down = (own - own_below) * then_below / total
        return float(up.sum()), float(down.sum())

    def _weighted(self, counts: Counts) -> FloatArray:
        """Likelihood x law of each row, shape (R, J); rows scaled by their largest likelihood."""
        log_RJ = self.grid.log_likelihood(counts.table.n_R.astype(np.float64), counts.table.c_R.astype(np.float64))
        return np.exp(log_RJ - log_RJ.max(axis=1, keepdims=True)) * self.law_J

    def _same(self, own_RJ: FloatArray, then_RJ: FloatArray, before: Counts, after: Counts) -> FloatArray:
        """Likelihood that one p made both counts of a problem, shape (P,)."""
        width = len(after.table.n_R)
        key, row_P = np.unique(before.table.row_P * width + after.table.row_P, return_inverse=True)
        scaled_RJ = then_RJ / np.maximum(self.law_J, 1e-300)
        first, second = own_RJ[key // width], scaled_RJ[key % width]
        return np.einsum("rj,rj->r", first, second)[row_P.reshape(-1)]
