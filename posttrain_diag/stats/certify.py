"""Certificates that p < eps: e-values that stay valid whenever sampling stops, and e-BH across problems."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, xlog1py, xlogy

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import BoolArray, Counts, FloatArray
from posttrain_diag.types import Estimate

_DIVISORS = (3.0, 10.0, 100.0)
"""The alternatives are p = eps/3, eps/10 and eps/100, a third of the bet on each."""


def log_e_below(counts: Counts, eps: float) -> FloatArray:
    """Evidence that p < eps for each problem: log of an e-value against p >= eps.

    A mixture of likelihood ratios: under any p >= eps it is a supermartingale in the rollouts, so it may be read
    after any number of them, chosen in any way that looks only at the past.

    Args:
        counts: rollouts so far; n may depend on the outcomes.
        eps: probability strictly between 0 and 1.

    Returns:
        Natural log of the e-value, shape (P,); e >= 1/alpha rejects p >= eps at level alpha.

    Raises:
        StatsError: eps is not strictly between 0 and 1.

    References:
        Ramdas et al. 2022, arXiv:2210.01948 (e-processes).
    """
    if not 0.0 < eps < 1.0:
        raise StatsError(f"eps is {eps}: give a probability strictly between 0 and 1")
    alternative_A = eps / np.asarray(_DIVISORS)
    c_AP = counts.c_P[None, :].astype(np.float64)
    fail_AP = (counts.n_P - counts.c_P)[None, :].astype(np.float64)
    log_ratio_AP = xlogy(c_AP, alternative_A[:, None] / eps) + fail_AP * (
        xlog1py(1.0, -alternative_A[:, None]) - np.log1p(-eps)
    )
    return np.asarray(logsumexp(log_ratio_AP, axis=0) - np.log(len(_DIVISORS)), dtype=np.float64)


def e_bh(log_e_P: FloatArray, fdr: float = 0.1) -> BoolArray:
    """Which hypotheses to reject so that the expected share of false rejections stays below `fdr`.

    Valid for e-values that depend on each other in any way.

    Args:
        log_e_P: natural logs of the e-values, shape (P,).
        fdr: false discovery rate.

    Returns:
        Rejections, shape (P,).

    Raises:
        StatsError: fdr is not strictly between 0 and 1, no e-values, or NaN among them.

    References:
        Wang and Ramdas 2022, arXiv:2009.02824.
    """
    if not 0.0 < fdr < 1.0:
        raise StatsError(f"fdr is {fdr}: give a rate strictly between 0 and 1")
    n = len(log_e_P)
    if n == 0 or np.isnan(log_e_P).any():
        raise StatsError(
            f"e-BH got {n} e-values, {int(np.isnan(log_e_P).sum())} of them NaN: give one number per problem"
        )
    sorted_P = np.sort(log_e_P)[::-1]
    passing = np.flatnonzero(np.log(np.arange(1, n + 1)) + sorted_P >= np.log(n / fdr))
    if len(passing) == 0:
        return np.zeros(n, dtype=np.bool_)
    return log_e_P >= sorted_P[passing[-1]]


def certified_below(counts: Counts, eps: float, fdr: float = 0.1) -> BoolArray:
    """Problems certified to have p < eps, at most a share `fdr` of them wrongly in expectation.

    When nearly all problems never pass, about 3.3/eps rollouts of each suffice.

    Args:
        counts: rollouts so far; n may depend on the outcomes.
        eps: probability strictly between 0 and 1.
        fdr: expected share of wrong certificates that is accepted.

    Returns:
        True for each certified problem, shape (P,).
    """
    return e_bh(log_e_below(counts, eps), fdr)


def certified_share(counts: Counts, eps: float, fdr: float = 0.1) -> Estimate:
    """Share of the problems that are certified to have p < eps: a lower bound on the true share, so `high` is 1."""
    share = float(certified_below(counts, eps, fdr).mean())
    return Estimate(
        share,
        share * (1.0 - fdr),
        1.0,
        1.0 - fdr,
        len(counts),
        "measured",
        f"certified p < {eps:g} at false discovery rate {fdr:g}; absence of a certificate says nothing",
    )
