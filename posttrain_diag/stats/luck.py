"""How many passes are luck, estimated within each problem: how often would a wrong answer have hit its gold?

A draw knows the answer, or it guesses: p_i = k_i + (1 - k_i) G_i(a_i), where G_i is the law of this problem's guesses
and a_i its gold. The second term is luck. Judging the draws of other problems against this gold (a permutation over
problems, `stats.chance`) tests well whether there is any knowledge, for without any the golds can be exchanged. It is a
bad estimate of luck where there is some: where golds repeat, right answers of other problems pass too, and their
knowledge is counted as this problem's luck; and draws of other problems say nothing of what would be guessed here.

Only answers that were wrong where they were given are guesses. Two estimates of G_i(a_i)(1 - k_i) rest on them:

- By the answer set: how often draws of problems with another gold gave this problem's gold, wrongly. Golds being spread
  over the problems without regard to k, this has the right mean whatever the guesses prefer (four options, yes far more
  often than no, small numbers), and right answers cannot enter.
- By the problem's own answers: if the gold were no more than one more of the guesses, it would come up as often as they
  do. Two wrong draws that agree measure that, also where hardly any value comes twice. A wrong way of reasoning repeats
  its answer as well, and is no guess: at least three wrong answers must have been given, and no more luck is taken than
  their median brings, which a few favourites do not move.

The larger of the two counts, for each sees guesses that the other cannot.

Suffixes: `P` problems; `PP` draws of the row problem judged by the column problem.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import BoolArray, Counts, FloatArray, IntArray
from posttrain_diag.types import Estimate

FEWEST_WRONG = 3
"""Different wrong answers of a problem below which they show no set that is guessed from."""
RESAMPLES = 400


def rate_by_answer_set(hits_PP: IntArray, judged_P: IntArray, apart_PP: BoolArray) -> FloatArray:
    """How often draws of problems with another gold give a problem's gold.

    Args:
        hits_PP: draws of the row problem that fail there and would pass on the column problem, shape (P, P).
        judged_P: draws of each problem that were judged by the others, shape (P,).
        apart_PP: the row problem's gold does not pass on the column problem, shape (P, P).

    Returns:
        Lucky passes per draw, shape (P,); 0 where all other problems have the same gold, which then tell nothing.
    """
    asked_P = judged_P @ apart_PP
    return np.where(asked_P > 0, (hits_PP * apart_PP).sum(axis=0) / np.maximum(asked_P, 1), 0.0)


def rate_by_own_answers(wrong: Sequence[int], draws: int) -> float:
    """How often a guess at one problem would hit, if its gold were one more of the guesses.

    Args:
        wrong: how often each different wrong answer was given.
        draws: draws of the problem, passes included.
    """
    if len(wrong) < FEWEST_WRONG:
        return 0.0
    guesses = np.asarray(wrong)
    total = int(guesses.sum())
    agreeing = float((guesses * (guesses - 1)).sum()) / max(total - 1, 1)  # expected lucky passes among the draws
    return min(agreeing, float(np.median(guesses))) / draws


def luck_share(counts: Counts, p_P: FloatArray, lucky_P: FloatArray, *, seed: int, level: float = 0.9) -> Estimate:
    """Share of the passes that luck explains.

    Args:
        counts: finished draws and passes of each problem.
        p_P: success probability of each problem, shrunk: c/n of a few draws would make the cap at p depend on noise.
        lucky_P: lucky passes per draw, shape (P,).
        seed: seeds the resamples of problems.
        level: nominal coverage of the interval over problems.

    Returns:
        A share in [0, 1]; undefined without a pass.

    Raises:
        StatsError: the arrays have other lengths than the counts.
    """
    if counts.n_passed == 0:
        return Estimate.undefined("no draw passed, so none passed by luck", level)
    luck_P = counts.c_P * _shares(counts, p_P, lucky_P)
    picks_BP = np.random.default_rng(seed).integers(0, len(counts), (RESAMPLES, len(counts)))
    shares_B = luck_P[picks_BP].sum(axis=1) / np.maximum(counts.c_P[picks_BP].sum(axis=1), 1)
    return _estimate(float(luck_P.sum() / counts.n_passed), shares_B, len(counts), level)


def known_rate(counts: Counts, p_P: FloatArray, lucky_P: FloatArray, *, seed: int, level: float = 0.9) -> Estimate:
    """Mean pass rate that luck does not explain: 0 is guessing, 1 is perfect. Arguments as of `luck_share`."""
    known_P = counts.c_P / np.maximum(counts.n_P, 1) * (1.0 - _shares(counts, p_P, lucky_P))
    picks_BP = np.random.default_rng(seed).integers(0, len(counts), (RESAMPLES, len(counts)))
    return _estimate(float(known_P.mean()), known_P[picks_BP].mean(axis=1), len(counts), level)


def _shares(counts: Counts, p_P: FloatArray, lucky_P: FloatArray) -> FloatArray:
    """Share of each problem's passes that luck explains, shape (P,)."""
    if not len(counts) == len(p_P) == len(lucky_P):
        raise StatsError(f"{len(counts)} counts, {len(p_P)} p and {len(lucky_P)} rates: give one of each per problem")
    return np.minimum(1.0, lucky_P / np.maximum(p_P, 1e-12))


def _estimate(value: float, values_B: FloatArray, n: int, level: float) -> Estimate:
    low, high = np.quantile(values_B, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, min(float(low), value), max(float(high), value), level, n, "estimated")
