"""Questions about a success probability p, as functions on [0, 1], and the grid on which mixing laws live.

A functional h turns "pass@k", "share below eps" or "mixed groups" into one mean over problems of h(p).
Suffix `J`: grid points, an atom at p = 0 first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import FloatArray, IntArray

LOGIT_LOW = -18.4
"""Below p = 1e-8 a problem is at the atom."""
LOGIT_HIGH = 9.2
_STEP = 0.25
_SUBPOINTS = 8


@dataclass(frozen=True)
class Functional:
    """A quantity h(p), a function of one problem's success probability, whose mean over the problems is asked for."""

    name: str
    of: Callable[[FloatArray], FloatArray]
    """h, applied to an array of probabilities."""
    depth: float
    """Rollouts per problem that would measure it without a model: k for pass@k, 1/eps for a share below eps."""
    threshold: float | None = None
    """Set for indicators [p < threshold]: grid cells that it cuts are split exactly."""


def solve_rate() -> Functional:
    """The functional h(p) = p, whose mean over the problems is pass@1."""
    return Functional("pass@1", lambda p: p, 1.0)


def pass_at(k: float) -> Functional:
    """The functional h(p) = 1 - (1-p)^k: at least one of k rollouts passes; its mean is pass@k.

    Raises:
        StatsError: k < 1.
    """
    if k < 1:
        raise StatsError(f"k is {k}: give a number of rollouts >= 1")
    return Functional(f"pass@{k:g}", lambda p: -np.expm1(k * np.log1p(-np.minimum(p, 1.0 - 1e-15))), float(k))


def pass_hat(k: float) -> Functional:
    """The functional h(p) = p^k: all of k rollouts pass; its mean is pass^k.

    Raises:
        StatsError: k < 1.
    """
    if k < 1:
        raise StatsError(f"k is {k}: give a number of rollouts >= 1")
    return Functional(f"pass^{k:g}", lambda p: p**k, float(k))


def below(eps: float) -> Functional:
    """The functional h(p) = 1 where p < eps, else 0; its mean is the share of problems below eps.

    Raises:
        StatsError: eps is not strictly between 0 and 1.
    """
    if not 0.0 < eps < 1.0:
        raise StatsError(f"eps is {eps}: give a probability strictly between 0 and 1")
    return Functional(f"share below {eps:g}", lambda p: (p < eps).astype(np.float64), 1.0 / eps, eps)


def mixed_group(group: int) -> Functional:
    """The functional h(p) = 1 - p^G - (1-p)^G: a group of G rollouts holds both a pass and a fail.

    Raises:
        StatsError: a group of fewer than 2 rollouts.
    """
    if group < 2:
        raise StatsError(f"group size is {group}: a group can only be mixed with at least 2 rollouts")
    return Functional(
        f"mixed groups@{group}",
        lambda p: np.maximum(0.0, -np.expm1(group * np.log1p(-np.minimum(p, 1.0 - 1e-15))) - p**group),
        float(group),
    )


@dataclass(frozen=True)
class PGrid:
    """The grid on which mixing laws live: cells of equal width in logit(p), plus an atom at p = 0."""

    logit_J: FloatArray
    """Cell centres without the atom, shape (J-1,)."""
    p_J: FloatArray
    """0, then the centres as probabilities, shape (J,)."""
    edges: FloatArray
    """Cell edges in logit, shape (J,)."""
    step: float

    @staticmethod
    def for_rollouts(n_max: int) -> PGrid:
        """A grid fine enough for likelihoods of n_max rollouts: their narrowest width in logit is 2/sqrt(n)."""
        step = _STEP / max(1, int(np.ceil(np.sqrt(min(n_max, 40_000) / 256.0))))
        centres = np.arange(LOGIT_LOW, LOGIT_HIGH + step / 2, step)
        edges = np.concatenate([centres - step / 2, [centres[-1] + step / 2]])
        return PGrid(centres, np.concatenate([[0.0], expit(centres)]), edges, step)

    def evaluate(self, functional: Functional) -> FloatArray:
        """The functional averaged over each cell, shape (J,)."""
        if functional.threshold is not None:
            cut = float(logit(functional.threshold))
            inside = np.clip((cut - self.edges[:-1]) / self.step, 0.0, 1.0)
            return np.concatenate([[1.0], inside])
        at_zero = functional.of(np.zeros(1))
        offsets = (np.arange(_SUBPOINTS) + 0.5) / _SUBPOINTS - 0.5
        points = expit(self.logit_J[:, None] + self.step * offsets[None, :])
        return np.concatenate([at_zero, functional.of(points).mean(axis=1)])

    def log_likelihood(self, n_R: FloatArray, c_R: FloatArray) -> FloatArray:
        """Logarithm of p^c (1-p)^(n-c) on the grid, shape (R, J), for rows n and c of shape (R,).

        The value is -inf where the atom at p = 0 meets c > 0.
        """
        log_p = -np.log1p(np.exp(-self.logit_J))
        log_q = -np.log1p(np.exp(self.logit_J))
        atom_R = np.where(c_R > 0, -np.inf, 0.0)
        return np.concatenate([atom_R[:, None], c_R[:, None] * log_p + (n_R - c_R)[:, None] * log_q], axis=1)

    def quantiles(self, mass_RJ: FloatArray, q: float) -> FloatArray:
        """Quantile of p for each row of cell masses, linear in logit within a cell.

        Args:
            mass_RJ: cell masses per row, shape (R, J).
            q: order of the quantile, in [0, 1].

        Returns:
            Probabilities, shape (R,).
        """
        cumulative_RJ = np.cumsum(mass_RJ, axis=1)
        cumulative_RJ /= np.maximum(cumulative_RJ[:, -1:], 1e-300)
        cell_R = np.minimum((cumulative_RJ < q).sum(axis=1), mass_RJ.shape[1] - 1)
        rows = np.arange(len(mass_RJ))
        start_R = np.where(cell_R > 0, cumulative_RJ[rows, np.maximum(cell_R - 1, 0)], 0.0)
        width_R = np.maximum(cumulative_RJ[rows, cell_R] - start_R, 1e-300)
        inside_R = np.clip((q - start_R) / width_R, 0.0, 1.0)
        at_R = self.edges[np.maximum(cell_R - 1, 0)] + inside_R * self.step
        return np.where(cell_R == 0, 0.0, expit(at_R))

    def scatter(self, cell: IntArray, rng: np.random.Generator) -> FloatArray:
        """Probabilities drawn uniformly in logit within the given cells, shape (S, P); cell 0 is the atom."""
        out = np.empty(cell.shape)
        for row, found in zip(out, cell, strict=True):  # by rows: whole arrays of draws x problems would be five
            at = self.edges[np.maximum(found - 1, 0)] + rng.random(found.shape) * self.step
            row[:] = np.where(found == 0, 0.0, expit(at))
        return out
