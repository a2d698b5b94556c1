"""What k rollouts give, read off the counts with no model: pass@k, pass^k, maj@k, cover@tau.

Each is unbiased for k <= n under a fixed number of rollouts, and undefined beyond; `MixingLaw` forecasts there.
Suffixes: `P` problems.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from posttrain_diag.errors import NotEnoughRollouts, StatsError
from posttrain_diag.stats.counts import Counts, FloatArray, IntArray
from posttrain_diag.stats.intervals import mean_interval
from posttrain_diag.types import Estimate


def _log_choose(n: IntArray, k: IntArray | int) -> FloatArray:
    return np.asarray(gammaln(n + 1.0) - gammaln(np.asarray(k) + 1.0) - gammaln(n - k + 1.0), dtype=np.float64)


def _check_k(counts: Counts, k: int) -> None:
    if k < 1:
        raise StatsError(f"k is {k}: give a number of rollouts >= 1")
    short_P = counts.n_P < k
    if short_P.any():
        raise NotEnoughRollouts(
            f"k = {k} needs at least {k} rollouts of every problem; {int(short_P.sum())} of {len(counts)} have fewer "
            f"({counts.names(short_P)}): draw more, lower k, or use the forecast of fit_mixing_law"
        )


def pass_at_k_per_problem(counts: Counts, k: int) -> FloatArray:
    """Probability that at least one of k rollouts passes, unbiased for each problem.

    Args:
        counts: n >= k rollouts of every problem.
        k: rollouts drawn.

    Returns:
        1 - C(n-c, k) / C(n, k), shape (P,).

    Raises:
        NotEnoughRollouts: some n < k.

    References:
        Chen et al. 2021, arXiv:2107.03374, eq. 1.
    """
    _check_k(counts, k)
    n_P, fail_P = counts.n_P, counts.n_P - counts.c_P
    possible_P = fail_P >= k
    none_P = np.exp(_log_choose(np.where(possible_P, fail_P, k), k) - _log_choose(n_P, k))
    return np.where(possible_P, np.where(counts.c_P == 0, 0.0, 1.0 - none_P), 1.0)


def pass_hat_k_per_problem(counts: Counts, k: int) -> FloatArray:
    """Probability that all of k rollouts pass (pass^k), unbiased: C(c, k) / C(n, k), shape (P,).

    Raises:
        NotEnoughRollouts: some n < k.

    References:
        Yao et al. 2024, arXiv:2406.12045 (tau-bench).
    """
    _check_k(counts, k)
    possible_P = counts.c_P >= k
    all_P = np.exp(_log_choose(np.where(possible_P, counts.c_P, k), k) - _log_choose(counts.n_P, k))
    return np.where(possible_P, np.where(counts.c_P == counts.n_P, 1.0, all_P), 0.0)


def over_problems(values_P: FloatArray, level: float) -> Estimate:
    """The mean of one measured value per problem, shape (P,), with its interval over problems."""
    low, high = mean_interval(values_P, level)
    return Estimate(float(values_P.mean()), low, high, level, len(values_P), "measured")


def pass_at_k(counts: Counts, k: int, *, level: float = 0.9) -> Estimate:
    """Mean unbiased pass@k over problems, with its interval over problems.

    Args:
        counts: rollouts of every problem, drawn in a number that does not depend on the outcomes.
        k: rollouts drawn.
        level: nominal coverage of the interval.

    Returns:
        Probability in [0, 1]; undefined, with the reason, where some n < k.

    References:
        Chen et al. 2021, arXiv:2107.03374, eq. 1.
    """
    try:
        return over_problems(pass_at_k_per_problem(counts, k), level)
    except NotEnoughRollouts as error:
        return Estimate.undefined(str(error), level)


def pass_hat_k(counts: Counts, k: int, *, level: float = 0.9) -> Estimate:
    """Mean unbiased pass^k (all of k rollouts pass) over problems; undefined where some n < k."""
    try:
        return over_problems(pass_hat_k_per_problem(counts, k), level)
    except NotEnoughRollouts as error:
        return Estimate.undefined(str(error), level)


def _binomial_mass(count: IntArray, n: int, p: float) -> FloatArray:
    """Binomial probabilities of the counts (scipy.stats would double the import time)."""
    log_mass = _log_choose(np.full(len(count), n), count) + xlogy(count, p) + xlog1py(n - count, -p)
    return np.asarray(np.exp(log_mass), dtype=np.float64)


def _win_probability(drawn: int, rivals: Sequence[int], right: int, k: int) -> float:
    """Probability that one answer is the most frequent of k draws without replacement, ties split evenly.

    A tie with t rivals is worth 1/(1+t) = integral over [0, 1] of u^t, which Gauss-Legendre nodes give exactly.
    Counts are weighted as binomials with rate k/drawn, so that nothing overflows; the common factor cancels.
    """
    if k == drawn:  # the one subset is all draws
        most = max(rivals, default=0)
        return 0.0 if most > right else 1.0 / (1 + sum(rival == right for rival in rivals))
    rate = k / drawn
    nodes, weights = np.polynomial.legendre.leggauss(len(rivals) // 2 + 1)
    u_Q, weight_Q = (nodes + 1.0) / 2.0, weights / 2.0
    total = 0.0
    masses: dict[tuple[int, int], FloatArray] = {}
    for top in range(1, min(right, k) + 1):
        poly_QK = np.zeros((len(u_Q), k - top + 1))
        poly_QK[:, 0] = 1.0
        for rival in rivals:
            most = min(rival, top, k - top)
            mass = masses.get((most, rival))
            if mass is None:
                mass = masses[most, rival] = _binomial_mass(np.arange(most + 1), rival, rate)
            new_QK = np.zeros_like(poly_QK)
            for count in range(most + 1):
                weight = mass[count] * u_Q[:, None] if count == top else mass[count]
                new_QK[:, count:] += weight * poly_QK[:, : poly_QK.shape[1] - count]
            poly_QK = new_QK
        total += float(_binomial_mass(np.asarray([top]), right, rate)[0]) * float(weight_Q @ poly_QK[:, k - top])
    return total / float(_binomial_mass(np.asarray([k]), drawn, rate)[0])


def maj_at_k(
    answers: Sequence[Mapping[str, int]], correct: Sequence[Collection[str]], k: int, *, level: float = 0.9
) -> Estimate:
    """Probability that the most frequent of k sampled answers is right, exact over all k-subsets.

    Args:
        answers: for each problem, how often each final answer was drawn. A rollout without an answer should
            count under a name of its own, or be left out.
        correct: for each problem, the answers that are right.
        k: votes, without replacement from the rollouts drawn; ties are split evenly.
        level: nominal coverage of the interval over problems.

    Returns:
        Mean over problems; undefined where a problem has fewer than k answers.

    Raises:
        StatsError: no problems, or lists of unequal length.

    References:
        Wang et al. 2022, arXiv:2203.11171 (self-consistency).
    """
    if len(answers) != len(correct) or not answers:
        raise StatsError(f"answers has {len(answers)} problems, correct has {len(correct)}: give one of each, >= 1")
    if k < 1:
        raise StatsError(f"k is {k}: give a number of votes >= 1")
    values: list[float] = []
    for row, (drawn, right) in enumerate(zip(answers, correct, strict=True)):
        n = sum(drawn.values())
        if n < k:
            return Estimate.undefined(f"row {row} has {n} answers, fewer than k = {k} votes", level)
        values.append(
            sum(
                _win_probability(n, [m for name, m in drawn.items() if name != answer and m > 0], drawn[answer], k)
                for answer in right
                if drawn.get(answer, 0) > 0
            )
        )
    return over_problems(np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0), level)
