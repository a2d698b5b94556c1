"""Bounds on a mean of h(p) that the counts alone imply, without assuming how p is spread: found by linear programs."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog
from scipy.special import bdtr, betaincinv, expit

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import BoolArray, Counts, FloatArray, IntArray
from posttrain_diag.stats.functionals import Functional
from posttrain_diag.stats.intervals import check_level
from posttrain_diag.types import Estimate

_MAX_GROUPS = 12
"""Distinct n that the program can hold."""
_LOGIT_X = np.arange(-18.4, 9.3, 0.1)
_P_X = np.concatenate([[0.0], expit(_LOGIT_X), [1.0]])


def _cuts(n_max: int) -> IntArray:
    """Thresholds on the number of passes c, dense near 0 (0, 1, 2, 3, 4, 6, 8, 12, ...) and below `n_max`."""
    powers = 2 ** np.arange(0, 32, dtype=np.int64)
    cuts = np.unique(np.concatenate([[0], powers, powers[1:] * 3 // 2]))
    return cuts[cuts < n_max]


def _share_limits(successes: int, trials: int, alpha: float) -> tuple[float, float]:
    """Clopper-Pearson limits that also hold when the trials have different probabilities.

    Hoeffding (1956): away from the mean such a count is no more spread than a binomial. One trial is the
    exception on each side, and there the union bound alpha/trials replaces 1 - (1-alpha)^(1/trials).
    """
    tail = alpha / 2.0
    low, high = 0.0, 1.0
    if successes > 0:
        low = tail / trials if successes == 1 else float(betaincinv(successes, trials - successes + 1, tail))
    if successes < trials:
        missing = trials - successes
        high = 1.0 - tail / trials if missing == 1 else float(betaincinv(successes + 1, missing, 1.0 - tail))
    return low, high


def _constraints(counts: Counts, keep_P: BoolArray, alpha: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Linear constraints low <= a·w <= high on weights w, one weight per pair of (distinct n, grid point of p).

    `keep_P` (shape (P,)) selects the problems with rollouts. Returns a, low and high, one row per constraint.
    """
    n_P, c_P = counts.n_P[keep_P], counts.c_P[keep_P]
    distinct = np.unique(n_P)
    cuts = _cuts(int(n_P.max()))
    rows: list[FloatArray] = []
    lows: list[float] = []
    highs: list[float] = []
    for cut in cuts.tolist():
        rows.append(np.concatenate([bdtr(min(cut, n), n, _P_X) for n in distinct.tolist()]))
        low, high = _share_limits(int((c_P <= cut).sum()), len(n_P), alpha / len(cuts))
        lows.append(low)
        highs.append(high)
    return np.stack(rows), np.asarray(lows), np.asarray(highs)


def assumption_free_bounds(counts: Counts, functional: Functional, *, level: float = 0.9) -> Estimate:
    """Lowest and highest mean of h(p) that the counts allow, whatever the mixing law.

    Simultaneous exact limits on the shares of problems with c <= 0, 1, 2, 3, 4, 6, ... confine the law; a linear
    program then finds the extremes of the mean. The bounds hold for the problems at hand (their p need not be alike)
    and for a population they were drawn from. For k much above n the upper bound is necessarily loose.

    Args:
        counts: rollouts drawn in a number that was fixed before the outcomes were seen. After adaptive allocation
            give the counts of the first, uniform block.
        functional: the quantity h.
        level: coverage of the pair of bounds; the true one is at least this, up to the grid of 0.1 in logit(p).

    Returns:
        `low` and `high` with no value; undefined where more than 12 distinct n occur, or where the counts differ less
        between problems than independent draws do.

    Raises:
        StatsError: the level is outside (0, 1), or the solver failed on a program that is feasible by construction.

    References:
        Hoeffding 1956, doi:10.1214/aoms/1177728178; Clopper and Pearson 1934.
    """
    keep_P = counts.n_P > 0
    distinct, group_size = np.unique(counts.n_P[keep_P], return_counts=True)
    if len(distinct) > _MAX_GROUPS:
        return Estimate.undefined(
            f"assumption-free bounds hold for rollout numbers fixed in advance; {len(distinct)} distinct n were given "
            f"(at most {_MAX_GROUPS}): pass the counts of the first uniform block",
            level,
        )
    a, low, high = _constraints(counts, keep_P, 1.0 - check_level(level))
    n_points, n_groups = len(_P_X), len(distinct)
    h = np.tile(np.asarray(functional.of(_P_X), dtype=np.float64), n_groups)
    per_group = np.kron(np.eye(n_groups), np.ones((1, n_points)))
    share = group_size / group_size.sum()
    ends: list[float] = []
    for sign in (1.0, -1.0):
        program = linprog(
            sign * h,
            A_ub=np.concatenate([a, -a]),
            b_ub=np.concatenate([high, -low]) + 1e-9,
            A_eq=per_group,
            b_eq=share,
            bounds=(0.0, 1.0),
            method="highs",
        )
        if program.status == 2:  # infeasible
            return Estimate.undefined(
                "no mixing law fits: the counts differ less between problems than independent draws do", level
            )
        if program.status != 0:
            raise StatsError(
                f"the linear program for {functional.name} ended with {program.message!r}: "
                "it is feasible or infeasible by construction, please report these counts"
            )
        ends.append(float(h @ np.asarray(program.x, dtype=np.float64)))
    unseen = 1.0 - float(keep_P.mean())  # problems without rollouts may have any p
    extremes = np.asarray(functional.of(np.linspace(0.0, 1.0, 1001)), dtype=np.float64)
    lower = ends[0] * (1 - unseen) + unseen * float(extremes.min())
    upper = ends[1] * (1 - unseen) + unseen * float(extremes.max())
    return Estimate(
        None,
        float(np.clip(lower, 0.0, 1.0)),
        float(np.clip(upper, 0.0, 1.0)),
        level,
        len(counts),
        "measured",
        "bounds only: no assumption on how p is spread over problems",
    )
