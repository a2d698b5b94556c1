"""Laws made of a few narrow groups of problems: mixtures of normal laws of logit p with one common width.

Smooth laws (`mixing_prior`) cannot see problems that are heaped on one p, nor a lower tail that simply ends. These can:
at the smallest width a component sits within about a grid cell.
Suffixes: `S` posterior draws, `R` unique rows, `J` grid points, `D` parameters, `K` components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posttrain_diag.stats.counts import FloatArray
from posttrain_diag.stats.mixing_prior import Likelihood

_LOWEST = (-4.0, 3.0)
"""Mean and sd of the lowest position's prior, in logit(p)."""
_GAP = (float(np.log(2.5)), 0.8)
"""Mean and sd of the prior of the log gaps between positions."""
_WIDTH = (float(np.log(0.3)), 1.0)
_SHARE_SD = 1.5
_BACKGROUND = (-3.0, 1.5)
"""Mean and sd of the prior of the background's log share, beside components whose mean is 0."""
_BACKGROUND_SPAN = (-14.0, 5.0)
_BACKGROUND_ZERO = 0.2
_WIDEST = 4.0
"""Largest log width and log gap that is told apart: beyond, a search that runs away would overflow."""
_FINEST = 0.4
"""Smallest width, in grid steps: a component glides between cells instead of jumping."""
_LLOYD_STEPS = 8


@dataclass(frozen=True)
class Components:
    """Laws of K components; the prior is normal on the lowest position, log gaps, log shares and log width."""

    name: str
    n_components: int
    weight: float
    """Prior probability of the family in intervals."""
    point_weight: float
    """Prior probability of the family in point values."""

    slack: float = 0.4
    """How far, in logit(p), the place of a component beside a threshold stays open."""

    share_weight: float = 0.0
    """Prior probability of the family in shares below a threshold: 0, since where a component sits beside a threshold
    is too uncertain to lead the value."""
    continues: bool = False
    """Components search for their own mode and do not begin at that of the family before."""

    @property
    def n_parameters(self) -> int:
        """The number D of parameters: lowest position, K - 1 log gaps, K log shares (up to a constant), log width."""
        return 2 * self.n_components + 2

    @property
    def centre_D(self) -> FloatArray:
        """Means of the normal prior on the parameters, shape (D,)."""
        k = self.n_components
        return np.concatenate([[_LOWEST[0]], np.full(k - 1, _GAP[0]), np.zeros(k), [_BACKGROUND[0], _WIDTH[0]]])

    @property
    def scale_D(self) -> FloatArray:
        """Standard deviations of the normal prior on the parameters, shape (D,)."""
        k = self.n_components
        return np.concatenate(
            [[_LOWEST[1]], np.full(k - 1, _GAP[1]), np.full(k, _SHARE_SD), [_BACKGROUND[1], _WIDTH[1]]]
        )

    def _positions(self, theta_SD: FloatArray) -> FloatArray:
        """Ascending positions in logit(p), shape (S, K)."""
        gap_SK = np.exp(np.minimum(theta_SD[:, 1 : self.n_components], _WIDEST))
        return np.cumsum(np.concatenate([theta_SD[:, :1], gap_SK], axis=1), axis=1)

    def _parts(self, theta_SD: FloatArray, data: Likelihood) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shares (S, K), component masses on the grid (S, K, J-1) and widths (S,)."""
        k = self.n_components
        width_S = np.sqrt(np.exp(2.0 * np.clip(theta_SD[:, -1], -10.0, _WIDEST)) + (_FINEST * data.grid.step) ** 2)
        z_SKJ = (data.grid.logit_J - self._positions(theta_SD)[:, :, None]) / width_S[:, None, None]
        square_SKJ = z_SKJ**2
        mass_SKJ = np.exp(-0.5 * (square_SKJ - square_SKJ.min(axis=2, keepdims=True)))
        mass_SKJ /= mass_SKJ.sum(axis=2, keepdims=True)
        share_SK = np.exp(theta_SD[:, k : 2 * k + 1] - theta_SD[:, k : 2 * k + 1].max(axis=1, keepdims=True))
        return share_SK / share_SK.sum(axis=1, keepdims=True), mass_SKJ, width_S

    def laws(self, theta_SD: FloatArray, data: Likelihood) -> FloatArray:
        """Grid masses of the laws with these parameters, shape (S, J)."""
        share_SK, mass_SKJ, _ = self._parts(theta_SD, data)
        law_SJ = share_SK[:, -1:] * _background(data)
        law_SJ[:, 1:] += np.einsum("sk,skj->sj", share_SK[:, :-1], mass_SKJ)
        return law_SJ

    def pull_back(self, theta_D: FloatArray, law_J: FloatArray, response_J: FloatArray, data: Likelihood) -> FloatArray:
        """Gradient of the log likelihood in the parameters, from its responsibilities per grid cell.

        Args:
            theta_D: the parameters, shape (D,).
            law_J: cell masses of their law, shape (J,).
            response_J: problems that each cell is responsible for, shape (J,).
            data: the coarsened likelihood.

        Returns:
            The gradient, shape (D,).
        """
        share_SK, mass_SKJ, width_S = self._parts(theta_D[None, :], data)
        mass_KJ, share_K, width = mass_SKJ[0], share_SK[0], float(width_S[0])
        ratio_J = response_J / np.maximum(law_J, 1e-290)
        part_KJ = share_K[:-1, None] * mass_KJ * ratio_J[1:]
        at_K = self._positions(theta_D[None, :])[0]
        off_KJ = data.grid.logit_J - at_K[:, None]
        size_K = part_KJ.sum(axis=1)
        mean_K, square_K = (mass_KJ * off_KJ).sum(axis=1), (mass_KJ * off_KJ**2).sum(axis=1)
        position_K = ((part_KJ * off_KJ).sum(axis=1) - size_K * mean_K) / width**2
        above_K = np.cumsum(position_K[::-1])[::-1]
        spread = float(((part_KJ * off_KJ**2).sum(axis=1) - size_K * square_K).sum())
        return np.concatenate(
            [
                [above_K[0]],
                np.where(theta_D[1 : len(at_K)] < _WIDEST, np.diff(at_K) * above_K[1:], 0.0),
                np.append(size_K, share_K[-1] * (_background(data) @ ratio_J)) - share_K * response_J.sum(),
                [spread / width**4 * np.exp(2.0 * theta_D[-1]) if -10.0 < theta_D[-1] < _WIDEST else 0.0],
            ]
        )

    def start_D(self, data: Likelihood) -> FloatArray:
        """Where the search for the mode begins, shape (D,): k-means of the non-parametric maximum-likelihood law."""
        law_J = data.nonparametric_J
        x_J = np.clip(np.concatenate([[-10.0], data.grid.logit_J]), -10.0, 6.0)
        k = self.n_components
        levels = (np.arange(k) + 0.5) / k
        at_K = x_J[np.minimum(np.searchsorted(np.cumsum(law_J), levels), len(x_J) - 1)] + 0.1 * np.arange(k)
        share_K = np.full(k, 1.0 / k)
        for _ in range(_LLOYD_STEPS):
            near_J = np.abs(x_J[:, None] - at_K[None, :]).argmin(axis=1)
            share_K = np.bincount(near_J, law_J, k)
            mean_K = np.bincount(near_J, law_J * x_J, k) / np.maximum(share_K, 1e-12)
            at_K = np.where(share_K > 1e-6, mean_K, at_K)
        log_share_K = np.log(np.maximum(share_K, 0.01))
        order = np.argsort(at_K)
        return np.concatenate(
            [
                at_K[order][:1],
                np.log(np.maximum(np.diff(at_K[order]), 0.3)),
                (log_share_K - log_share_K.mean())[order],
                [_BACKGROUND[0], _WIDTH[0]],
            ]
        )


def _background(data: Likelihood) -> FloatArray:
    """Masses of the background: some at 0, the rest even in logit(p), shape (J,)."""
    low, high = _BACKGROUND_SPAN
    inside_J = (data.grid.logit_J > low) & (data.grid.logit_J < high)
    return np.concatenate([[_BACKGROUND_ZERO], (1.0 - _BACKGROUND_ZERO) * inside_J / inside_J.sum()])


COMPONENTS = tuple(
    Components(f"{k} components", k, weight, 0.01)
    for k, weight in ((1, 0.1), (2, 0.1), (3, 0.12), (4, 0.16), (5, 0.24))
)
"""More weight on more components, because their evidence pays for every position and share."""
