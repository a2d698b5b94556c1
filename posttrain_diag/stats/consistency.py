"""How steadily a policy solves its problems: G-pass@k(tau), mG-pass@k and Bayes@N, read off the counts.

Suffixes: `P` problems, `J` numbers of passes among k rollouts.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, gammaln, ndtri

from posttrain_diag.errors import NotEnoughRollouts, StatsError
from posttrain_diag.stats.counts import Counts, FloatArray
from posttrain_diag.stats.functionals import Functional
from posttrain_diag.stats.intervals import check_level
from posttrain_diag.stats.pass_at_k import over_problems
from posttrain_diag.types import Estimate

_ROUNDING = 1e-9
"""Taken off tau * k before it is rounded up, so that .7 * 10 asks for 7 passes and not for 8."""


def _passes_needed(k: int, tau: float) -> int:
    """Least number of passes among k that counts as steady: ceil(tau * k), at least 1.

    Raises:
        StatsError: k < 1, or tau outside (0, 1].
    """
    if k < 1:
        raise StatsError(f"k is {k}: give a number of rollouts >= 1")
    if not 0.0 < tau <= 1.0:
        raise StatsError(f"tau is {tau}: give a share of passes above 0, at most 1")
    return max(1, ceil(tau * k - _ROUNDING))


def _at_least(counts: Counts, k: int) -> FloatArray:
    """Probability that at least j of k rollouts drawn without replacement pass, for j = 0..k, shape (P, k+1)."""
    if k < 1:
        raise StatsError(f"k is {k}: give a number of rollouts >= 1")
    short_P = counts.n_P < k
    if short_P.any():
        raise NotEnoughRollouts(
            f"k = {k} needs at least {k} rollouts of every problem; {int(short_P.sum())} of {len(counts)} have fewer "
            f"({counts.names(short_P)}): draw more or lower k"
        )
    j_J = np.arange(k + 1)
    c_P, fail_P = counts.c_P[:, None], (counts.n_P - counts.c_P)[:, None]
    possible_PJ = (j_J <= c_P) & (k - j_J <= fail_P)
    j_PJ = np.where(possible_PJ, j_J, np.minimum(c_P, k))
    rest_PJ = np.where(possible_PJ, k - j_J, np.minimum(fail_P, k))

    def log_choose(n: NDArray[Any], m: NDArray[Any]) -> FloatArray:
        return np.asarray(gammaln(n + 1.0) - gammaln(m + 1.0) - gammaln(n - m + 1.0), dtype=np.float64)

    total_P = log_choose(counts.n_P[:, None], np.full((1, 1), k))
    log_PJ = log_choose(c_P, j_PJ) + log_choose(fail_P, rest_PJ) - total_P
    mass_PJ = np.where(possible_PJ, np.exp(log_PJ), 0.0)
    return np.clip(np.cumsum(mass_PJ[:, ::-1], axis=1)[:, ::-1], 0.0, 1.0)


def g_pass_at_k(counts: Counts, k: int, tau: float, *, level: float = 0.9) -> Estimate:
    """Probability that at least ceil(tau * k) of k rollouts pass, unbiased, mean over problems.

    Args:
        counts: rollouts of every problem, drawn in a number that does not depend on the outcomes.
        k: rollouts drawn.
        tau: share of them that must pass; tau = 1 is pass^k, tau -> 0 is pass@k.
        level: nominal coverage of the interval over problems.

    Returns:
        Probability in [0, 1]; undefined, with the reason, where some n < k.

    References:
        Liu et al. 2024, arXiv:2412.13147 (G-Pass@k), eq. 3.
    """
    needed = _passes_needed(k, tau)
    try:
        return over_problems(_at_least(counts, k)[:, needed], level)
    except NotEnoughRollouts as error:
        return Estimate.undefined(str(error), level)


def mg_pass_at_k(counts: Counts, k: int, *, level: float = 0.9) -> Estimate:
    """G-pass@k averaged over tau from .5 to 1: (2/k) times its sum over i = ceil(k/2) + 1 .. k passes.

    Args:
        counts: rollouts of every problem, drawn in a number that does not depend on the outcomes.
        k: rollouts drawn.
        level: nominal coverage of the interval over problems.

    Returns:
        A number in [0, 1]; undefined, with the reason, where some n < k.

    References:
        Liu et al. 2024, arXiv:2412.13147 (mG-Pass@k).
    """
    try:
        return over_problems(np.clip(2.0 / k * _at_least(counts, k)[:, ceil(k / 2) + 1 :].sum(axis=1), 0, 1), level)
    except NotEnoughRollouts as error:
        return Estimate.undefined(str(error), level)


def g_pass(k: int, tau: float) -> Functional:
    """The functional h(p) = P(at least ceil(tau * k) of k rollouts pass); its mean is G-pass@k(tau)."""
    needed = _passes_needed(k, tau)
    return Functional(f"G-pass@{k}({tau:g})", lambda p: np.asarray(bdtrc(needed - 1, k, p), dtype=np.float64), float(k))


def mg_pass(k: int) -> Functional:
    """The functional whose mean is mG-pass@k."""
    least = ceil(k / 2) + 1

    def of(p: FloatArray) -> FloatArray:
        total = np.zeros_like(p)
        for i in range(least, k + 1):
            total = total + bdtrc(i - 1, k, p)
        return 2.0 / k * total

    return Functional(f"mG-pass@{k}", of, float(k))


def bayes_at_n(counts: Counts, *, level: float = 0.9) -> Estimate:
    """Bayes@N: posterior mean mu of pass@1 under a uniform prior of every problem's p.

    Args:
        counts: rollouts of every problem; n may differ.
        level: credible level of the interval mu +- z sigma, about these problems.

    Returns:
        mu, with sigma in the reason.

    References:
        Hariri et al. 2025, arXiv:2510.04265 ("Don't pass@k"), the binary case.
    """
    z = float(ndtri(0.5 + check_level(level) / 2.0))
    mean_P = (counts.c_P + 1.0) / (counts.n_P + 2.0)
    mu = float(mean_P.mean())
    sigma = float(np.sqrt((mean_P * (1.0 - mean_P) / (counts.n_P + 3.0)).sum()) / len(counts))
    low, high = max(0.0, mu - z * sigma), min(1.0, mu + z * sigma)
    return Estimate(mu, low, high, level, len(counts), "measured", f"sigma {sigma:.4f}; uniform prior of each problem")
