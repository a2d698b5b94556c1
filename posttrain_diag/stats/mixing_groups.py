"""Laws of a few groups of problems, each a normal law of logit p with a width of its own, beside a beta law or alone.

A heap of near-equal problems within a spread, or a mass of impossible problems beside hard and easy ones, is no smooth
law (`mixing_prior`), nor one of equally wide components (`mixing_components`).
Suffixes: `S` posterior draws, `J` grid points, `D` parameters, `K` groups, `M` all parts: groups, zeros, beta core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit

from posttrain_diag.stats.counts import FloatArray
from posttrain_diag.stats.law_prior import BETA
from posttrain_diag.stats.mixing_prior import Likelihood

_POSITION = (-2.0, 3.0)
"""Mean and sd of a group's position, in logit(p)."""
_HEAP_WIDTH = (float(np.log(0.3)), 0.8)
"""Mean and sd of the log width of a heap beside a beta core."""
_GROUP_WIDTH = (0.0, 0.8)
"""The same where groups make up the whole law."""
_HEAP_SHARE = -1.0
"""Mean log share of a heap, the core's being 0."""
_ZERO_SHARE = (-1.5, 1.5)
"""Mean and sd of the log share of the mass at 0."""
_FINEST = 0.4
"""Smallest width, in grid steps."""
_WIDEST = 4.0
"""Largest log width that is told apart: beyond, a search that runs away would overflow."""
_WINDOW = (-8.0, 4.0)
"""Where the search for a heap begins, in logit(p)."""
_LLOYD_STEPS = 8


@dataclass(frozen=True)
class Groups:
    """Laws of K groups; the prior is normal on the core's log a and log b, positions, log widths and log shares."""

    name: str
    n_groups: int
    core: bool
    """Whether a beta law lies beneath the groups."""
    atom: bool
    """Whether some problems may have p = 0."""
    weight: float
    """Prior probability of the family in intervals and in point values."""
    slack: float = 0.4
    """How far, in logit(p), the place of a group beside a threshold stays open."""
    share_weight: float = 0.0
    """Prior probability of the family in shares below a threshold: 0, as for `mixing_components.Components`."""
    continues: bool = False
    """Groups search for their own mode and do not begin at that of the family before."""

    @property
    def point_weight(self) -> float:
        """Prior probability of the family in point values."""
        return self.weight

    @property
    def _first(self) -> int:
        """The number of parameters of the core."""
        return 2 if self.core else 0

    @property
    def n_parameters(self) -> int:
        """The number D of parameters: the core's two, K positions, K log widths, K log shares, that of the zeros."""
        return self._first + 3 * self.n_groups + int(self.atom)

    def _prior(self, core: tuple[float, float], group: tuple[float, float, float], zero: float) -> FloatArray:
        ends = [zero] if self.atom else []
        return np.array([*(core if self.core else ()), *np.repeat(group, self.n_groups), *ends], dtype=np.float64)

    @property
    def centre_D(self) -> FloatArray:
        """Means of the normal prior on the parameters, shape (D,)."""
        width = _HEAP_WIDTH if self.core else _GROUP_WIDTH
        share = _HEAP_SHARE if self.core else 0.0
        return self._prior(BETA.mean, (_POSITION[0], width[0], share), _ZERO_SHARE[0])

    @property
    def scale_D(self) -> FloatArray:
        """Standard deviations of the normal prior on the parameters, shape (D,)."""
        width = _HEAP_WIDTH if self.core else _GROUP_WIDTH
        return self._prior(BETA.sd, (_POSITION[1], width[1], 1.0), _ZERO_SHARE[1])

    def _blocks(self, theta_SD: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Positions (S, K), log widths (S, K) and log shares, zeros last (S, K or K+1)."""
        first, k = self._first, self.n_groups
        return theta_SD[:, first : first + k], theta_SD[:, first + k : first + 2 * k], theta_SD[:, first + 2 * k :]

    def _parts(self, theta_SD: FloatArray, data: Likelihood) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Core masses (S, J-1), group masses (S, K, J-1), shares of all parts (S, M) and widths (S, K)."""
        at_SK, log_width_SK, log_share_SM = self._blocks(theta_SD)
        x_J = data.grid.logit_J
        width_SK = np.sqrt(np.exp(2.0 * np.clip(log_width_SK, -10.0, _WIDEST)) + (_FINEST * data.grid.step) ** 2)
        square_SKJ = ((x_J - at_SK[:, :, None]) / width_SK[:, :, None]) ** 2
        mass_SKJ = np.exp(-0.5 * (square_SKJ - square_SKJ.min(axis=2, keepdims=True)))
        mass_SKJ /= mass_SKJ.sum(axis=2, keepdims=True)
        core_SJ = np.zeros((len(theta_SD), len(x_J)))
        if self.core:
            log_SJ = np.exp(theta_SD[:, :1]) * log_expit(x_J) + np.exp(theta_SD[:, 1:2]) * log_expit(-x_J)
            core_SJ = np.exp(log_SJ - log_SJ.max(axis=1, keepdims=True))
            core_SJ /= core_SJ.sum(axis=1, keepdims=True)
            log_share_SM = np.concatenate([log_share_SM, np.zeros((len(theta_SD), 1))], axis=1)
        share_SM = np.exp(log_share_SM - log_share_SM.max(axis=1, keepdims=True))
        return core_SJ, mass_SKJ, share_SM / share_SM.sum(axis=1, keepdims=True), width_SK

    def laws(self, theta_SD: FloatArray, data: Likelihood) -> FloatArray:
        """Grid masses of the laws with these parameters, shape (S, J)."""
        k = self.n_groups
        core_SJ, mass_SKJ, share_SM, _ = self._parts(theta_SD, data)
        body_SJ = np.einsum("sk,skj->sj", share_SM[:, :k], mass_SKJ)
        if self.core:
            body_SJ = body_SJ + share_SM[:, -1:] * core_SJ
        zero_S = share_SM[:, k : k + 1] if self.atom else np.zeros((len(theta_SD), 1))
        return np.concatenate([zero_S, body_SJ], axis=1)

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
        k, x_J = self.n_groups, data.grid.logit_J
        core_SJ, mass_SKJ, share_SM, width_SK = self._parts(theta_D[None, :], data)
        core_J, mass_KJ, share_M, width_K = core_SJ[0], mass_SKJ[0], share_SM[0], width_SK[0]
        at_K, log_width_K = (block[0] for block in self._blocks(theta_D[None, :])[:2])
        ratio_J = response_J / np.maximum(law_J, 1e-290)
        grad: list[FloatArray] = []
        if self.core:
            part_J = share_M[-1] * core_J * ratio_J[1:]
            score_J = part_J - part_J.sum() * core_J
            slopes = [np.exp(theta_D[0]) * log_expit(x_J), np.exp(theta_D[1]) * log_expit(-x_J)]
            grad.append(np.stack(slopes) @ score_J)
        part_KJ = share_M[:k, None] * mass_KJ * ratio_J[1:]
        size_K = part_KJ.sum(axis=1)
        off_KJ = x_J - at_K[:, None]
        tilt_KJ = part_KJ - size_K[:, None] * mass_KJ
        free_K = (log_width_K > -10.0) & (log_width_K < _WIDEST)
        grad.append((tilt_KJ * off_KJ).sum(axis=1) / width_K**2)
        width_slope_K = np.exp(2.0 * np.clip(log_width_K, -10.0, _WIDEST)) / width_K**4
        grad.append(np.where(free_K, (tilt_KJ * off_KJ**2).sum(axis=1) * width_slope_K, 0.0))
        size_M = np.append(size_K, share_M[k] * ratio_J[0]) if self.atom else size_K
        grad.append(size_M - share_M[: len(size_M)] * response_J.sum())
        return np.concatenate(grad)

    def start_D(self, data: Likelihood) -> FloatArray:
        """Where the search for the mode begins, shape (D,), read off the non-parametric maximum-likelihood law."""
        theta_D = self.centre_D.copy()
        first, k = self._first, self.n_groups
        x_J, law_J = data.grid.logit_J, data.nonparametric_J[1:]
        if self.core:
            theta_D[first : first + k] = _heaps(x_J, law_J, k, data.grid.step)
            return theta_D
        at_K, sd_K, share_K = _clusters(x_J, law_J, k)
        log_share_K = np.log(np.maximum(share_K, 0.02))
        theta_D[: 3 * k] = np.concatenate([at_K, np.log(np.clip(sd_K, 0.3, 3.0)), log_share_K - log_share_K.mean()])
        return theta_D


def _heaps(x_J: FloatArray, law_J: FloatArray, k: int, step: float) -> FloatArray:
    """Places of the k heaviest windows of width 1 in logit(p), shape (K,)."""
    left_J = np.where((x_J > _WINDOW[0]) & (x_J < _WINDOW[1]), law_J, 0.0)
    window = np.ones(max(3, round(1.0 / step)))
    found: list[float] = []
    for _ in range(k):
        found.append(float(x_J[np.convolve(left_J, window, "same").argmax()]))
        left_J = np.where(np.abs(x_J - found[-1]) < 1.2, 0.0, left_J)
    return np.array(found)


def _clusters(x_J: FloatArray, law_J: FloatArray, k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means, standard deviations and shares of k clusters of the law by k-means, each of shape (K,)."""
    mass_J = np.where(x_J > -9.0, law_J, 0.0) + 1e-9
    mass_J /= mass_J.sum()
    starts = np.searchsorted(np.cumsum(mass_J), (np.arange(k) + 0.5) / k)
    at_K = x_J[np.minimum(starts, len(x_J) - 1)] + 0.1 * np.arange(k)
    near_J, share_K = np.zeros(len(x_J), dtype=np.int64), np.full(k, 1.0 / k)
    for _ in range(_LLOYD_STEPS):
        near_J = np.abs(x_J[:, None] - at_K).argmin(axis=1)
        share_K = np.bincount(near_J, mass_J, k).astype(np.float64)
        mean_K = np.bincount(near_J, mass_J * x_J, k) / np.maximum(share_K, 1e-12)
        at_K = np.where(share_K > 1e-6, mean_K, at_K)
    square_K = np.bincount(near_J, mass_J * (x_J - at_K[near_J]) ** 2, k) / np.maximum(share_K, 1e-12)
    return at_K, np.sqrt(square_K), share_K
