"""Deep support: success probabilities far below 1/n, from rollouts of a hinted proposal. At least, never absence.

Rollouts come from the mixture delta·pi + (1-delta)·q, with pi the policy and q the policy with a hint in context (or
an SFT copy). Every rollout is weighted by pi / mixture <= 1/delta, so the weighted successes average to p.
Suffix: `T` rollouts in the order drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, ndtri

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import FloatArray
from posttrain_diag.stats.intervals import clopper_pearson
from posttrain_diag.types import Estimate

_BETS = np.concatenate([np.geomspace(1e-3, 0.5, 24), [0.75, 0.9, 0.97]])
MIN_EFFECTIVE = 20.0
"""Effective successful rollouts below which no estimate is given."""
MAX_SHARE = 0.2
"""Largest share of the total weight that one rollout may carry."""
_DISAGREEMENT = 0.001
"""Two-sided level at which plain rollouts contradict the weighted ones."""


@dataclass(frozen=True)
class WeightHealth:
    """Whether the importance-weighted successes can be trusted, and the figures that decide it."""

    effective: float
    """(sum w)^2 / sum w^2 over successful rollouts."""
    largest_share: float
    """Largest single weight over the sum."""
    n_success: int
    """Successful rollouts of the proposal."""
    problems: tuple[str, ...]
    """What is wrong; empty means healthy."""


def importance_terms(
    logprob_policy: ArrayLike, logprob_proposal: ArrayLike, success: ArrayLike, *, delta: float
) -> FloatArray:
    """Log of 1{success}·pi(y) / (delta·pi(y) + (1-delta)·q(y)) for each rollout.

    Args:
        logprob_policy: log pi(y|x) of the whole rollout under the declared sampling law, nats, shape (T,).
        logprob_proposal: log q(y|x), nats, shape (T,).
        success: whether the rollout passes, shape (T,).
        delta: share of rollouts drawn from the policy itself, in [0, 1); 0 leaves the terms unbounded.

    Returns:
        Natural logs, -inf where the rollout failed, shape (T,).

    Raises:
        StatsError: unequal shapes, NaN, or delta outside [0, 1).
    """
    pi_T = np.asarray(logprob_policy, dtype=np.float64)
    q_T = np.asarray(logprob_proposal, dtype=np.float64)
    won_T = np.asarray(success, dtype=np.bool_)
    if not (pi_T.shape == q_T.shape == won_T.shape) or pi_T.ndim != 1 or len(pi_T) == 0:
        raise StatsError(
            f"log-probabilities and successes have shapes {pi_T.shape}, {q_T.shape}, {won_T.shape}: "
            "one entry per rollout is needed in each, at least one rollout"
        )
    if np.isnan(pi_T).any() or np.isnan(q_T).any() or (pi_T > 1e-6).any() or (q_T > 1e-6).any():
        raise StatsError("log-probabilities hold NaN or positive numbers: give log pi(y|x) <= 0 in nats")
    if not 0.0 <= delta < 1.0:
        raise StatsError(f"delta is {delta}: give the share of rollouts drawn from the policy, in [0, 1)")
    log_delta = np.log(delta) if delta > 0 else -np.inf
    with np.errstate(invalid="ignore"):
        log_mix_T = np.logaddexp(log_delta + pi_T, np.log1p(-delta) + q_T)
        log_term_T = pi_T - log_mix_T
    possible_T = won_T & np.isfinite(pi_T)
    if (possible_T & ~np.isfinite(log_mix_T)).any():
        raise StatsError(
            "a successful rollout has probability 0 under the proposal that drew it: check its log-probabilities"
        )
    return np.where(possible_T, log_term_T, -np.inf)


def betting_lower_bound(log_term_T: FloatArray, alpha: float = 0.05) -> float:
    """Lower confidence bound for the mean of independent non-negative terms, valid at any stopping time.

    For each candidate mean m a gambler bets on terms above m; the candidates that let wealth grow to 1/alpha
    are rejected. Bounded terms are not needed.

    Args:
        log_term_T: natural logs of the terms, shape (T,).
        alpha: probability that the bound exceeds the mean.

    Returns:
        The bound; 0 when every term is 0.

    Raises:
        StatsError: alpha is not strictly between 0 and 1.

    References:
        Waudby-Smith and Ramdas 2024, arXiv:2010.09686.
    """
    if not 0.0 < alpha < 1.0:
        raise StatsError(f"alpha is {alpha}: give a probability strictly between 0 and 1")
    if not np.isfinite(log_term_T).any():
        return 0.0
    log_mean = float(logsumexp(log_term_T)) - np.log(len(log_term_T))

    def log_wealth(log_m: float) -> float:
        ratio_T = np.exp(np.minimum(log_term_T - log_m, 700.0))
        return float(logsumexp(np.log1p(_BETS[:, None] * (ratio_T[None, :] - 1.0)).sum(axis=1))) - np.log(len(_BETS))

    low, high = log_mean - 60.0, log_mean
    target = -np.log(alpha)
    if log_wealth(low) <= target:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if log_wealth(middle) > target else (low, middle)
    return float(np.exp(low))


def weight_health(log_term_T: FloatArray, plain_counts: tuple[int, int] | None = None) -> WeightHealth:
    """Check the weighted successes: effective number, largest share, agreement with plain rollouts.

    Args:
        log_term_T: natural logs of the terms as `importance_terms` returns them, shape (T,).
        plain_counts: (n, c) of unhinted rollouts of the same problem, if any.

    Returns:
        The figures, and what is wrong in words; nothing is wrong where the weights are healthy.
    """
    finite_T = log_term_T[np.isfinite(log_term_T)]
    if len(finite_T) == 0:
        return WeightHealth(0.0, 1.0, 0, ("no rollout of the proposal passed",))
    total = float(logsumexp(finite_T))
    effective = float(np.exp(2 * total - logsumexp(2 * finite_T)))
    largest = float(np.exp(finite_T.max() - total))
    problems: list[str] = []
    if effective < MIN_EFFECTIVE:
        problems.append(f"effective successes {effective:.1f} < {MIN_EFFECTIVE:g}")
    if largest >= MAX_SHARE:
        problems.append(f"one rollout carries {largest:.0%} of the weight (>= {MAX_SHARE:.0%})")
    if plain_counts is not None and plain_counts[0] > 0:
        n, c = plain_counts
        low, high = clopper_pearson(c, n, 1.0 - _DISAGREEMENT)
        terms_T = np.exp(log_term_T)
        spread = float(ndtri(1 - _DISAGREEMENT / 2)) * float(terms_T.std()) / np.sqrt(len(terms_T))
        mean = float(terms_T.mean())
        if mean - spread > float(high) or mean + spread < float(low):
            problems.append(f"weighted estimate {mean:.2g} contradicts {c} passes in {n} plain rollouts")
    return WeightHealth(effective, largest, len(finite_T), tuple(problems))


def deep_support(
    logprob_policy: ArrayLike,
    logprob_proposal: ArrayLike,
    success: ArrayLike,
    *,
    delta: float,
    plain_counts: tuple[int, int] | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """How probable success is at least, for a problem that plain rollouts hardly ever solve.

    Args:
        logprob_policy: log pi(y|x) of each rollout, nats, shape (T,).
        logprob_proposal: log q(y|x) of each rollout, nats, shape (T,).
        success: whether each rollout passes, shape (T,).
        delta: share of rollouts that were drawn from the policy itself.
        plain_counts: (n, c) of unhinted rollouts of the problem, for the agreement check.
        alpha: probability that the lower bound is too high.

    Returns:
        `value` the weighted mean, `low` the anytime-valid bound, `high` 1: the figure certifies support and never
        its absence. Undefined, with the reason, where the weights are unhealthy.
    """
    log_term_T = importance_terms(logprob_policy, logprob_proposal, success, delta=delta)
    level = 1.0 - alpha
    health = weight_health(log_term_T, plain_counts)
    if health.problems:
        return Estimate.undefined("no estimate: " + "; ".join(health.problems), level)
    low = betting_lower_bound(log_term_T, alpha)
    value = float(np.exp(logsumexp(log_term_T) - np.log(len(log_term_T))))
    return Estimate(
        value,
        min(low, value),
        1.0,
        level,
        len(log_term_T),
        "estimated",
        "lower bound: the proposal may miss other ways to succeed, so p is at least `low`",
    )
