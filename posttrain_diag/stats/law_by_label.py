"""The mixing law of problems with labels: one for all, or one for each label where the counts say that they differ.

Which of the two is chosen by their evidence. A law of its own for each label pays for every parameter, so labels that
tell nothing of p change nothing.
Suffixes: `P` problems, `R` unique rows of a part, `J` cells of the grid, `S` draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import Counts, FloatArray
from posttrain_diag.stats.functionals import PGrid
from posttrain_diag.stats.mixing_law import MixingLaw, fit_mixing_law, power_of

IntArray = NDArray[np.int64]

FEWEST = 5
"""Problems that a label must have, and its complement, to get a law of its own."""
MOST_LABELS = 12
"""With more labels than this all problems share one law."""
MARGIN = 1.0
"""By how much, in nats, the laws by label must explain the counts better."""


@dataclass(frozen=True, eq=False)
class LawByLabel:
    """Laws of disjoint parts of the problems, read as one law of all."""

    parts: tuple[MixingLaw, ...]
    place_P: tuple[IntArray, ...]
    """The places of each part's problems among all."""

    @staticmethod
    def of(law: MixingLaw) -> LawByLabel:
        """One law for all."""
        return LawByLabel((law,), (np.arange(len(law.counts)),))

    @property
    def grid(self) -> PGrid:
        """The grid that all parts have in common."""
        return self.parts[0].grid

    @cached_property
    def row_P(self) -> IntArray:
        """The row of `share_posterior_RJ` of each problem, shape (P,)."""
        out_P = np.zeros(sum(map(len, self.place_P)), np.int64)
        first = 0
        for part, place in zip(self.parts, self.place_P, strict=True):
            out_P[place] = first + part.counts.table.row_P
            first += len(part.counts.table.n_R)
        return out_P

    @cached_property
    def share_posterior_RJ(self) -> FloatArray:
        """Posterior cell masses of p for each row of each part, shape (R, J)."""
        return np.concatenate([part.share_posterior_RJ for part in self.parts])

    def class_posterior(self, eps: float, mastery: float) -> FloatArray:
        """Posterior of p < eps, eps <= p < mastery and p >= mastery for each problem, shape (P, 3).

        Args:
            eps: 1 / (rollouts per problem the on-policy stage can afford).
            mastery: success probability from which a problem counts as mastered.
        """
        out_P3 = np.empty((len(self.row_P), 3))
        for part, place in zip(self.parts, self.place_P, strict=True):
            out_P3[place] = part.class_posterior(eps, mastery)
        return out_P3

    def sample_p(self, n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Joint posterior draws of every problem's success probability, shape (n_draws, P)."""
        out_SP = np.empty((n_draws, len(self.row_P)))
        for part, place in zip(self.parts, self.place_P, strict=True):
            out_SP[:, place] = part.sample_p(n_draws, rng)
        return out_SP


def law_by_label(whole: MixingLaw, labels: Sequence[str]) -> LawByLabel:
    """Divide the problems of a law by their labels where their counts ask for it.

    Args:
        whole: the law of all problems.
        labels: a label for each of them.

    Raises:
        StatsError: not one label for each problem.
    """
    counts = whole.counts
    if len(labels) != len(counts):
        raise StatsError(f"{len(labels)} labels for {len(counts)} problems: give one for each")
    together = LawByLabel.of(whole)
    names, label_P = np.unique(np.asarray(labels), return_inverse=True)
    sizes = np.bincount(label_P.reshape(-1), minlength=len(names))
    if not 2 <= len(names) <= MOST_LABELS or sizes.min() < FEWEST:
        return together
    power = power_of(counts)
    places = tuple(np.flatnonzero(label_P.reshape(-1) == label) for label in range(len(names)))
    parts = tuple(
        fit_mixing_law(
            Counts(counts.n_P[place], counts.c_P[place]), seed=whole.seed + 1 + label, grid=whole.grid, power=power
        )
        for label, place in enumerate(places)
    )
    better = sum(part.log_evidence for part in parts) > whole.log_evidence + MARGIN
    return LawByLabel(parts, places) if better else together
