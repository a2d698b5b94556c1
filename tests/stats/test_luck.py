"""Luck within the problem, on simulated draws whose true share of lucky passes is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from posttrain_diag.errors import StatsError
from posttrain_diag.exchange import rates_by_own_answers
from posttrain_diag.stats import (
    Counts,
    chance_floor,
    fit_mixing_law,
    known_rate,
    luck_share,
    rate_by_answer_set,
    rate_by_own_answers,
)

P, N = 40, 64
Law = tuple[list[str], np.ndarray]
"""What is guessed at a problem, and how often; the gold is the first that `golds` says."""


def knowledge(shape_P: np.ndarray, hit_P: np.ndarray, share: float) -> np.ndarray:
    """Knowledge of each problem, scaled so that this share of the passes is luck."""
    low, high = 0.0, 1.0 / shape_P.max()
    for _ in range(60):
        middle = (low + high) / 2
        k_P = shape_P * middle
        lucky = ((1 - k_P) * hit_P).sum()
        low, high = (middle, high) if lucky / (k_P.sum() + lucky) > share else (low, middle)
    return shape_P * low


def simulated(guesses: Sequence[Law], golds: Sequence[str], share: float, rng: np.random.Generator) -> list[list[str]]:
    hit_P = np.array([w[names.index(a)] if a in names else 0.0 for (names, w), a in zip(guesses, golds, strict=True)])
    shape_P = rng.uniform(0.75, 1.0, P)
    k_P = knowledge(shape_P, hit_P, share) if hit_P.any() else 0.6 * shape_P
    lucky = float(((1 - k_P) * hit_P).sum())
    assert lucky / (k_P.sum() + lucky) == pytest.approx(share if hit_P.any() else 0.0, abs=0.02)
    return [
        [gold if rng.random() < k else str(rng.choice(names, p=w)) for _ in range(N)]
        for (names, w), gold, k in zip(guesses, golds, k_P, strict=True)
    ]


def measured(texts: Sequence[Sequence[str]], golds: Sequence[str]) -> tuple[float, float, float]:
    """Share of luck by the estimator, by the permutation alone, and the pass rate that is knowledge."""
    n_P, c_P = np.full(P, N), np.array([row.count(gold) for row, gold in zip(texts, golds, strict=True)])
    passes = np.array([[row[:16].count(gold) for gold in golds] for row in texts])
    apart = np.array([[one != other for other in golds] for one in golds])
    by_set = rate_by_answer_set(passes * apart, np.full(P, 16), apart)
    wrong = [Counter(t for t in row if t != gold) for row, gold in zip(texts, golds, strict=True)]
    own = np.array([rate_by_own_answers([*found.values()], N) for found in wrong])
    counts = Counts(n_P, c_P)
    p_P, rate_P = fit_mixing_law(counts, seed=0).posterior_mean(), np.maximum(by_set, own)
    floor = chance_floor(np.full(P, 16), passes, seed=0).floor.value
    p = c_P.sum() / n_P.sum()
    assert floor is not None
    share = luck_share(counts, p_P, rate_P, seed=0)
    assert share.value is not None and share.low is not None and share.high is not None
    assert share.low <= share.value <= share.high
    known = known_rate(counts, p_P, rate_P, seed=0).value
    assert known is not None
    return share.value, 1 - max(0.0, (p - floor) / (1 - floor)) / p, known


def options(rng: np.random.Generator) -> tuple[list[Law], list[str]]:
    return [(list("ABCD"), np.ones(4) / 4)] * P, rng.choice(list("ABCD"), P).tolist()


def mostly_yes(rng: np.random.Generator) -> tuple[list[Law], list[str]]:
    return [(["yes", "no"], np.array([0.8, 0.2]))] * P, (["yes", "no"] * (P // 2))


def small_numbers(rng: np.random.Generator) -> tuple[list[Law], list[str]]:
    names, weights = [str(i) for i in range(12)], np.arange(12, 0, -1) / 78
    return [(names, weights)] * P, rng.choice(names, P, p=weights).tolist()


def own_values(rng: np.random.Generator) -> tuple[list[Law], list[str]]:
    """Each problem has guesses of its own, of which its gold is one: other problems' draws never pass here."""
    laws: list[Law] = []
    for i in range(P):
        size = int(rng.integers(6, 11))
        laws.append(([f"{i}-{j}" for j in range(size)], rng.dirichlet(np.full(size, 6.0))))
    return laws, [f"{i}-0" for i in range(P)]


SHARED = [(world, share) for world in (options, mostly_yes, small_numbers) for share in (0.1, 0.3, 0.6)]


@pytest.mark.parametrize(("world", "share"), [*SHARED, (own_values, 0.1), (own_values, 0.3)])
def test_the_true_share_of_luck_is_found(world: Callable[..., Any], share: float) -> None:
    rng = np.random.default_rng(3)
    found = measured(simulated(*(made := world(rng)), share, rng), made[1])[0]
    assert found == pytest.approx(share, abs=0.08)


def test_luck_among_a_problems_own_values_is_found_where_a_permutation_sees_none() -> None:
    """Most of it: the bound by the median takes off a sixth."""
    rng = np.random.default_rng(3)
    laws, golds = own_values(rng)
    share, by_permutation, _ = measured(simulated(laws, golds, 0.6, rng), golds)
    assert 0.45 <= share <= 0.65 and by_permutation == 0.0


def test_repeated_golds_are_not_luck() -> None:
    """Most problems have the gold 1, and a tenth of the passes is luck; a permutation calls half of them luck."""
    rng = np.random.default_rng(5)
    golds = ["1" if i % 8 else str(i) for i in range(P)]
    laws: list[Law] = [([str(i) for i in range(10)], np.full(10, 0.1))] * P
    share, by_permutation, known = measured(simulated(laws, golds, 0.1, rng), golds)
    assert share == pytest.approx(0.1, abs=0.04) and by_permutation > 0.45
    texts = simulated(laws, golds, 0.1, rng)
    passed = np.mean([row.count(gold) / N for row, gold in zip(texts, golds, strict=True)])
    assert known == pytest.approx(0.9 * passed, abs=0.05)


@pytest.mark.parametrize("favourites", [0.0, 0.8])
def test_wrong_ways_of_reasoning_are_not_luck(favourites: float) -> None:
    """No guess ever hits: what is not known is one of two wrong results per problem, or any number at all."""
    rng = np.random.default_rng(7)
    laws: list[Law] = []
    for i in range(P):
        rest = np.full(60, (1 - favourites) / 60)
        laws.append(([f"{i}-{j}" for j in range(1, 63)], np.array([favourites * 0.55, favourites * 0.45, *rest])))
    golds = [f"{i}-0" for i in range(P)]
    assert measured(simulated(laws, golds, 0.0, rng), golds)[0] < 0.08


def test_what_cannot_be_told_is_no_luck() -> None:
    assert rate_by_own_answers([], 8) == 0.0 and rate_by_own_answers([4, 4], 8) == 0.0
    same = np.zeros((3, 3), bool)
    assert rate_by_answer_set(np.full((3, 3), 4), np.full(3, 8), same).tolist() == [0.0] * 3
    assert luck_share(Counts([4, 4], [0, 0]), np.zeros(2), np.ones(2), seed=0).value is None
    with pytest.raises(StatsError, match="2 counts, 1 p"):
        luck_share(Counts([4, 4], [1, 0]), np.zeros(1), np.ones(2), seed=0)


def test_answers_in_another_form_are_no_guesses() -> None:
    """The right answer without its form is no wrong answer, and a wrong one without it would not have passed."""
    draws = (
        [("pass", True, "12")] * 2 + [("fail", True, "12")] * 18 + [("fail", False, str(n)) for n in range(3, 9)] * 10
    )
    rows = pd.DataFrame(draws, columns=["verdict", "lenient", "extracted"]).assign(problem_id="a")
    bare = rows.assign(lenient=False).query("extracted != '12' or verdict == 'pass'")
    (rate,), (strict_task,) = rates_by_own_answers(rows, ["a"]), rates_by_own_answers(bare, ["a"])
    assert 0 < rate < 0.15 * strict_task, (rate, strict_task)
