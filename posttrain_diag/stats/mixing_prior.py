"""Families of mixing laws and their posterior given counts, by importance sampling around the mode.

A law puts mass z on p = 0 and spreads the rest with log-density (in logit p)

    a log p + b log(1-p) + sum_m beta_m RBF_m(logit p)

so that a beta law is the smooth core, its lower tail a power law, and the spline bends it where data say so.
Suffixes: `S` posterior draws, `R` unique rows, `J` grid points, `D` parameters, `M` spline centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, gammaln, log_expit, logsumexp

from posttrain_diag.stats.counts import FloatArray
from posttrain_diag.stats.functionals import PGrid

_CENTRES_M = np.arange(-13.5, 5.1, 1.5)
_WIDTH = 1.5
_TINY = 1e-290
_EM_STEPS = 100
_FREEDOM = 7.0
"""Degrees of freedom of the t proposal."""


class LawFamily(Protocol):
    """A family of laws with a normal prior on its parameters, as the sampler sees it."""

    @property
    def name(self) -> str:
        """The name that tells this family from the others."""
        ...

    @property
    def weight(self) -> float:
        """Prior probability of the family in intervals."""
        ...

    @property
    def point_weight(self) -> float:
        """Prior probability of the family in point values."""
        ...

    @property
    def share_weight(self) -> float:
        """Prior probability of the family in shares below a threshold."""
        ...

    @property
    def slack(self) -> float:
        """How far, in logit(p), the place of a problem beside a threshold stays open."""
        ...

    @property
    def continues(self) -> bool:
        """Whether the search for the mode begins at that of the family before."""
        ...

    @property
    def n_parameters(self) -> int:
        """The number D of parameters."""
        ...

    @property
    def centre_D(self) -> FloatArray:
        """Means of the normal prior on the parameters, shape (D,)."""
        ...

    @property
    def scale_D(self) -> FloatArray:
        """Standard deviations of the normal prior on the parameters, shape (D,)."""
        ...

    def laws(self, theta_SD: FloatArray, data: Likelihood) -> FloatArray:
        """Grid masses of the laws with these parameters, shape (S, J)."""
        ...

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
        ...

    def start_D(self, data: Likelihood) -> FloatArray:
        """Parameters at which the search for the mode begins, shape (D,)."""
        ...


@dataclass(frozen=True)
class SmoothFamily:
    """Laws with a smooth core and a spline: the prior is normal on (log a, log b, logit z) and spline coefficients."""

    name: str
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    spline_sd: float
    """0 switches the spline off."""
    atom: bool
    """False fixes z = 0."""
    weight: float
    """Prior probability of the family in intervals."""
    point_weight: float
    """Prior probability of the family in point values."""
    core: Literal["beta", "normal"] = "beta"
    """Smooth core: a beta law of p (a, b as above), or a normal law of logit p with mean and log sd in their place."""

    slack: float = 0.06
    """How far, in logit(p), the place of a problem beside a threshold stays open."""

    @property
    def share_weight(self) -> float:
        """Prior probability of the family in shares below a threshold."""
        return self.point_weight

    @property
    def continues(self) -> bool:
        """Whether the search for the mode begins at that of the family before."""
        return self.core == "beta"

    def core_log_density(self, theta_SD: FloatArray, x_J: FloatArray) -> FloatArray:
        """Log density of the core at each grid point, up to a constant.

        Args:
            theta_SD: parameters of several laws, shape (S, D).
            x_J: grid points in logit p, shape (J,).

        Returns:
            Log densities in logit p, shape (S, J).
        """
        if self.core == "beta":
            return np.exp(theta_SD[:, :1]) * log_expit(x_J) + np.exp(theta_SD[:, 1:2]) * log_expit(-x_J)
        return -0.5 * ((x_J - theta_SD[:, :1]) / np.exp(theta_SD[:, 1:2])) ** 2

    def core_gradient(self, theta_D: FloatArray, x_J: FloatArray) -> FloatArray:
        """Derivatives of the core's log density in its two parameters, shape (2, J)."""
        if self.core == "beta":
            return np.stack([np.exp(theta_D[0]) * log_expit(x_J), np.exp(theta_D[1]) * log_expit(-x_J)])
        z_J = (x_J - theta_D[0]) / np.exp(theta_D[1])
        return np.stack([z_J / np.exp(theta_D[1]), z_J**2])

    def laws(self, theta_SD: FloatArray, data: Likelihood) -> FloatArray:
        """Grid masses of the laws with these parameters, shape (S, J)."""
        log_SJ = self.core_log_density(theta_SD, data.grid.logit_J)
        if self.spline_sd > 0:
            log_SJ = log_SJ + theta_SD[:, self.n_core :] @ data.basis_MJ
        log_SJ -= log_SJ.max(axis=1, keepdims=True)
        body_SJ = np.exp(log_SJ)
        body_SJ /= body_SJ.sum(axis=1, keepdims=True)
        atom_S = expit(theta_SD[:, 2:3]) if self.atom else np.zeros((len(theta_SD), 1))
        return np.concatenate([atom_S, (1.0 - atom_S) * body_SJ], axis=1)

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
        body_J = response_J[1:]
        score_J = body_J - body_J.sum() * law_J[1:] / max(1.0 - law_J[0], _TINY)
        grad_D = np.empty(self.n_parameters)
        grad_D[:2] = self.core_gradient(theta_D, data.grid.logit_J) @ score_J
        if self.atom:
            grad_D[2] = response_J[0] - data.weight_R.sum() * law_J[0]
        if self.spline_sd > 0:
            grad_D[self.n_core :] = data.basis_MJ @ score_J
        return grad_D

    def start_D(self, data: Likelihood) -> FloatArray:
        """Parameters at which the search for the mode begins, shape (D,): the prior means, whatever the data."""
        del data
        return self.centre_D

    @property
    def n_core(self) -> int:
        """The number of core parameters: log a, log b and, with an atom, logit z."""
        return 3 if self.atom else 2

    @property
    def n_parameters(self) -> int:
        """The number D of parameters, core and spline together."""
        return self.n_core + (len(_CENTRES_M) if self.spline_sd > 0 else 0)

    @property
    def centre_D(self) -> FloatArray:
        """Means of the normal prior on the parameters, shape (D,)."""
        out = np.zeros(self.n_parameters)
        out[: self.n_core] = self.mean[: self.n_core]
        return out

    @property
    def scale_D(self) -> FloatArray:
        """Standard deviations of the normal prior on the parameters, shape (D,)."""
        out = np.full(self.n_parameters, self.spline_sd)
        out[: self.n_core] = self.sd[: self.n_core]
        return out


_MEAN = (float(np.log(0.4)), float(np.log(2.0)), -2.6)
_SD = (1.0, 1.2, 1.8)
_WIDE_MEAN = (0.0, 1.0, -2.6)
_WIDE_SD = (1.5, 1.5, 1.8)
_SPLINES = (0.5, 1.0, 4.0)
_NORMAL_MEAN = (-2.0, 0.5, -2.6)
_NORMAL_SD = (3.0, 1.0, 1.8)
FAMILIES = (
    SmoothFamily("beta", _WIDE_MEAN, _WIDE_SD, 0.0, False, 0.1, 0.58),
    *(SmoothFamily(f"spline {sd:g}", _MEAN, _SD, sd, False, 0.7 / 6, 0.06) for sd in _SPLINES),
    *(SmoothFamily(f"zeros + spline {sd:g}", _MEAN, _SD, sd, True, 0.7 / 6, 0.06) for sd in _SPLINES),
    SmoothFamily("normal", _NORMAL_MEAN, _NORMAL_SD, 0.0, False, 0.12, 0.04, "normal"),
    SmoothFamily("zeros + normal", _NORMAL_MEAN, _NORMAL_SD, 0.0, True, 0.08, 0.02, "normal"),
)
"""Over half of the weight has no mass at 0: benchmarks without impossible problems are common, and no data within
reach tell a mass at 0 from a tail just below 1/n. The normal cores allow light tails and problems that are all alike.
The beta family forecasts real benchmarks best while its own intervals collapse, so it leads the points and hardly
narrows the intervals (benchmarks/stats/NOTES.md)."""


@dataclass(frozen=True)
class FamilyPosterior:
    """Importance-weighted posterior draws of the laws of one family."""

    family: LawFamily
    law_SJ: FloatArray
    """Grid masses of each law."""
    log_weight_S: FloatArray
    """Log importance weights; their log-mean-exp is the log evidence."""
    evidence_SR: FloatArray
    """Marginal likelihood of each unique row under each law."""
    mode_D: FloatArray

    @property
    def weight_S(self) -> FloatArray:
        """Importance weights that sum to 1, shape (S,)."""
        return np.exp(self.log_weight_S - logsumexp(self.log_weight_S))

    @property
    def log_evidence(self) -> float:
        """Log marginal likelihood of the coarsened data."""
        return float(logsumexp(self.log_weight_S) - np.log(len(self.log_weight_S)))


@dataclass(frozen=True)
class Likelihood:
    """The counts in the form that the fit of a law reads: likelihoods on the grid and coarsened weights."""

    grid: PGrid
    value_RJ: FloatArray
    """Likelihood of each row on the grid, scaled to maximum 1 per row."""
    weight_R: FloatArray
    """Problems per row, coarsened."""
    basis_MJ: FloatArray
    """Spline basis on the grid without the atom, shape (M, J-1)."""

    @staticmethod
    def build(grid: PGrid, n_R: FloatArray, c_R: FloatArray, weight_R: FloatArray) -> Likelihood:
        """Evaluate the likelihood of unique count rows on the grid.

        Args:
            grid: the grid of success probabilities.
            n_R: rollouts of each row, shape (R,).
            c_R: passing rollouts of each row, shape (R,).
            weight_R: problems per row after coarsening, shape (R,).

        Returns:
            The likelihood with the spline basis of the grid beside it.
        """
        log_RJ = grid.log_likelihood(n_R, c_R)
        value_RJ = np.exp(log_RJ - log_RJ.max(axis=1, keepdims=True))
        basis_MJ = np.exp(-0.5 * ((grid.logit_J[None, :] - _CENTRES_M[:, None]) / _WIDTH) ** 2)
        return Likelihood(grid, value_RJ, weight_R, basis_MJ)

    @cached_property
    def nonparametric_J(self) -> FloatArray:
        """Maximum-likelihood law on the grid without any shape, by EM, shape (J,)."""
        law_J = np.full(self.value_RJ.shape[1], 1.0 / self.value_RJ.shape[1])
        share_R = self.weight_R / self.weight_R.sum()
        for _ in range(_EM_STEPS):
            law_J = law_J * ((share_R / np.maximum(self.value_RJ @ law_J, _TINY)) @ self.value_RJ)
        return law_J


def _negative_log_posterior(theta_D: FloatArray, family: LawFamily, data: Likelihood) -> tuple[float, FloatArray]:
    """Value and gradient of the coarsened negative log posterior at `theta_D`; both arrays have shape (D,)."""
    w_J = family.laws(theta_D[None, :], data)[0]
    f_R = np.maximum(data.value_RJ @ w_J, _TINY)
    response_J = w_J * ((data.weight_R / f_R) @ data.value_RJ)
    u_D = (theta_D - family.centre_D) / family.scale_D
    grad_D = family.pull_back(theta_D, w_J, response_J, data) - u_D / family.scale_D
    return -float(data.weight_R @ np.log(f_R) - 0.5 * u_D @ u_D), -grad_D


def _proposal_covariance(mode_D: FloatArray, family: LawFamily, data: Likelihood) -> FloatArray:
    """Inverse Hessian at the mode, with curvatures floored near the prior's."""
    step = 1e-3
    hessian = np.stack(
        [
            (
                _negative_log_posterior(mode_D + step * e, family, data)[1]
                - _negative_log_posterior(mode_D - step * e, family, data)[1]
            )
            / (2 * step)
            for e in np.eye(len(mode_D))
        ]
    )
    scale_D = family.scale_D
    values, vectors = np.linalg.eigh(scale_D[:, None] * (hessian + hessian.T) / 2 * scale_D)
    root = scale_D[:, None] * vectors
    return (root / np.maximum(values, 0.7)) @ root.T


def _t_draws(
    mean_D: FloatArray, covariance: FloatArray, size: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draws of a multivariate t and their log densities."""
    d = len(mean_D)
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    values = np.maximum(values, 1e-8)
    t_SD = rng.standard_normal((size, d)) / np.sqrt(rng.chisquare(_FREEDOM, size) / _FREEDOM)[:, None]
    log_density_S = (
        gammaln((_FREEDOM + d) / 2)
        - gammaln(_FREEDOM / 2)
        - 0.5 * d * np.log(_FREEDOM * np.pi)
        - 0.5 * np.log(values).sum()
        - 0.5 * (_FREEDOM + d) * np.log1p((t_SD**2).sum(axis=1) / _FREEDOM)
    )
    return mean_D + t_SD @ (vectors * np.sqrt(values)).T, log_density_S


def sample_family(
    family: LawFamily, data: Likelihood, start_D: FloatArray, size: int, rng: np.random.Generator
) -> FamilyPosterior:
    """Weighted posterior draws of the laws of one family.

    Args:
        family: the family of laws with its prior.
        data: the coarsened likelihood.
        start_D: where the search for the mode begins, shape (D,).
        size: the number S of draws.
        rng: source of randomness.

    Returns:
        The draws with their importance weights.
    """
    fit = minimize(
        _negative_log_posterior,
        start_D,
        args=(family, data),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-2, "maxiter": 150},
    )
    mode_D = np.asarray(fit.x, dtype=np.float64)
    mean_D, covariance = mode_D, _proposal_covariance(mode_D, family, data)
    constant = -0.5 * family.n_parameters * np.log(2 * np.pi) - np.log(family.scale_D).sum()
    law_SJ, evidence_SR, log_weight_S = np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0)
    for final in (False, True):
        theta_SD, log_q_S = _t_draws(mean_D, covariance, size, rng)
        law_SJ = family.laws(theta_SD, data)
        evidence_SR = np.maximum(law_SJ @ data.value_RJ.T, _TINY)
        log_f_S = np.log(evidence_SR) @ data.weight_R
        u_SD = (theta_SD - family.centre_D) / family.scale_D
        log_weight_S = log_f_S - 0.5 * (u_SD**2).sum(axis=1) + constant - log_q_S
        cap = logsumexp(log_weight_S) - 0.5 * np.log(size)
        log_weight_S = np.minimum(log_weight_S, cap)  # truncated importance sampling: no draw rules alone
        if not final:
            w_S = np.exp(log_weight_S - logsumexp(log_weight_S))
            mean_D = w_S @ theta_SD
            centred_SD = theta_SD - mean_D
            covariance = 0.8 * (centred_SD * w_S[:, None]).T @ centred_SD + 0.3 * covariance
    return FamilyPosterior(family, law_SJ, log_weight_S, evidence_SR, mode_D)
