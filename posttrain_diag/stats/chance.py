"""How much of the success is guessing: rollouts of one problem scored against the answers of the others.

Suffixes: `P` problems; matrices `PP` hold rollouts of the row problem judged by the answer of the column problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import Counts, FloatArray, IntArray
from posttrain_diag.stats.intervals import check_level
from posttrain_diag.stats.pass_at_k import pass_at_k_per_problem
from posttrain_diag.types import Estimate

PassesAgainst = Callable[[int, int], int]
"""Called with problems (i, j): how many rollouts of problem i pass when judged by the answer of problem j."""


@dataclass(frozen=True)
class ChanceFloor:
    """Success under the true answers, beside success when the answers are permuted over the problems."""

    observed: Estimate
    """pass@k against the right answers."""
    floor: Estimate
    """pass@k against permuted answers; the interval spans the permutations."""
    corrected: Estimate
    """(observed - floor) / (1 - floor): 0 is guessing, 1 is perfect."""
    p_value: float
    """Probability of so many passes if answers were assigned to problems at random."""


def _derangement(size: int, rng: np.random.Generator) -> IntArray:
    """A random permutation without fixed points, by rejection (accepted with probability about 1/e)."""
    identity = np.arange(size)
    while True:
        permuted = rng.permutation(size)
        if not (permuted == identity).any():
            return permuted.astype(np.int64)


def _lookup(passes: ArrayLike | PassesAgainst, n_P: IntArray) -> PassesAgainst:
    """Turn either form of `passes` (a matrix of shape (P, P), or a callable) into a callable."""
    problems = len(n_P)
    if callable(passes):
        seen: dict[tuple[int, int], int] = {}

        def ask(i: int, j: int) -> int:
            if (i, j) not in seen:
                seen[i, j] = int(passes(i, j))
            return seen[i, j]

        return ask
    matrix_PP = np.asarray(passes)
    if matrix_PP.shape != (problems, problems):
        raise StatsError(f"passes has shape {matrix_PP.shape}: give ({problems}, {problems}), rollouts by answers")
    return lambda i, j: int(matrix_PP[i, j])


def chance_floor(
    n: ArrayLike,
    passes: ArrayLike | PassesAgainst,
    k: int = 1,
    *,
    seed: int,
    permutations: int = 200,
    level: float = 0.9,
) -> ChanceFloor:
    """pass@k above what assigning the answers at random would give.

    Args:
        n: rollouts of each problem, shape (P,), P >= 2, all >= k.
        passes: c[i, j], rollouts of problem i that pass against the answer of problem j, shape (P, P); or a
            callable that counts them, asked only for the pairs the permutations need.
        k: rollouts per problem (the coverage is k = n).
        seed: seeds the permutations and the bootstrap.
        permutations: random assignments without fixed points.
        level: nominal coverage of the intervals.

    Returns:
        Observed, floor, corrected and a p-value no smaller than 1/(permutations + 1).

    Raises:
        StatsError: fewer than 2 problems, wrong shape, or counts above n.
        NotEnoughRollouts: some n < k.
    """
    n_P = np.asarray(n, dtype=np.int64)
    problems = len(n_P)
    if problems < 2:
        raise StatsError(f"{problems} problem: permuting answers needs at least 2")
    if permutations < 1:
        raise StatsError(f"permutations is {permutations}: give at least 1, 200 by default")
    tail = (1.0 - check_level(level)) / 2.0
    ask = _lookup(passes, n_P)
    rng = np.random.default_rng(seed)

    def values(answer_P: IntArray) -> FloatArray:
        c_P = [ask(i, j) for i, j in enumerate(answer_P.tolist())]
        return pass_at_k_per_problem(Counts(n_P, c_P), k)

    true_P = values(np.arange(problems))
    null_KP = np.stack([values(_derangement(problems, rng)) for _ in range(permutations)])
    null_K = null_KP.mean(axis=1)
    observed, floor = float(true_P.mean()), float(null_K.mean())
    p_value = (1 + int((null_K >= observed - 1e-12).sum())) / (permutations + 1)
    pick_BP = rng.integers(0, problems, (1000, problems))
    floor_P = null_KP.mean(axis=0)
    boot_B, boot_floor_B = true_P[pick_BP].mean(axis=1), floor_P[pick_BP].mean(axis=1)

    def interval(values_B: FloatArray) -> tuple[float, float]:
        low, high = np.quantile(values_B, [tail, 1.0 - tail])
        return float(low), float(high)

    corrected = Estimate.undefined("permuted answers pass always: the verifier accepts anything", level)
    if floor < 1.0 - 1e-9:
        ratio_B = (boot_B - boot_floor_B) / np.maximum(1.0 - boot_floor_B, 1e-9)
        corrected = Estimate((observed - floor) / (1.0 - floor), *interval(ratio_B), level, problems, "measured")
    return ChanceFloor(
        observed=Estimate(observed, *interval(boot_B), level, problems, "measured"),
        floor=Estimate(floor, *interval(null_K), level, problems, "measured"),
        corrected=corrected,
        p_value=p_value,
    )
