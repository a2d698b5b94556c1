"""Groups of problems that respond to treatments or do not: what the counts of many problems say of each."""

from __future__ import annotations

import numpy as np
import pytest

from posttrain_diag.errors import StatsError
from posttrain_diag.stats import fit_response_groups
from posttrain_diag.stats.functionals import PGrid

EPS = 1 / 256
NEVER, OFTEN = (0, 0, 0, 0), (0, 1, 6, 9)


def test_problems_that_never_respond_beside_some_that_do_are_null() -> None:
    """Trap: 0 of 5,120 prefixed passes on 64 problems was called a reach of .255, because seven others respond."""
    found = fit_response_groups(np.full((71, 4), 20), np.array([OFTEN] * 7 + [NEVER] * 64), EPS)
    assert found.response_P[7:].max() < 0.06
    assert found.response_P[:7].min() > 0.99
    assert np.quantile(found.response_SP.mean(axis=1), 0.05) >= 7 / 71 - 1e-9


def test_each_problem_keeps_what_its_own_counts_say() -> None:
    """Passes among null problems, and plenty of failures among responding ones, are not overruled by the others."""
    c_PA = np.array([NEVER] * 40 + [(0, 0, 0, 8)])
    assert fit_response_groups(np.full((41, 4), 20), c_PA, EPS).response_P[-1] > 0.99
    n_PA, c_PA = np.full((41, 4), 20), np.array([OFTEN] * 40 + [NEVER])
    n_PA[-1] = 2000
    assert fit_response_groups(n_PA, c_PA, EPS).response_P[-1] < 0.05


def test_problems_that_respond_now_and_then_are_not_called_null() -> None:
    """Every second problem passes once in 60: those that did not cannot be told from them."""
    c_PA = np.array([(0, 0, 0, 1), NEVER] * 20)
    found = fit_response_groups(np.full((40, 4), 60), c_PA, EPS).response_P
    assert found[0] > 0.8 and found[1] > 0.3


def test_few_draws_without_success_leave_it_open_for_all_problems_together() -> None:
    share_S = fit_response_groups(np.ones((30, 4), np.int64), np.zeros((30, 4), np.int64), EPS).response_SP.mean(axis=1)
    assert 0.05 < share_S.mean() < 0.5 and share_S.std() > 2 * np.sqrt(share_S.mean() / 30)


def test_labels_help_where_they_divide_the_groups() -> None:
    """Two of eight pass in the first half, none does in the second: alike but for their label."""
    c_PA = np.array([(0, 0, 0, 2), NEVER] * 10 + [NEVER] * 20)
    n_PA = np.full((40, 4), 8)
    alone = fit_response_groups(n_PA, c_PA, EPS).response_P
    labelled = fit_response_groups(n_PA, c_PA, EPS, labels=["a"] * 20 + ["b"] * 20).response_P
    assert labelled[-1] < 0.7 * alone[-1]
    assert labelled[1] > labelled[-1]


def test_the_law_after_a_treatment_is_that_of_the_groups() -> None:
    found = fit_response_groups(np.full((40, 2), 40), np.array([(0, 20)] * 10 + [(0, 0)] * 30), EPS)
    grid = PGrid.for_rollouts(1)
    law_SJ = found.laws(1, grid)
    assert law_SJ.sum(axis=1) == pytest.approx(np.ones(len(law_SJ)))
    assert (law_SJ @ grid.p_J).mean() == pytest.approx(0.125, abs=0.04)


def test_the_same_counts_and_seed_give_the_same_groups() -> None:
    n_PA, c_PA = np.full((9, 4), 8), np.array([OFTEN] * 4 + [NEVER] * 5) // 2
    one, two = (fit_response_groups(n_PA, c_PA, EPS, labels="aaaabbbbb", seed=3).response_SP for _ in range(2))
    assert np.array_equal(one, two)


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(StatsError, match="problems x treatments"):
        fit_response_groups(np.ones((3, 4), np.int64), np.ones((3, 2), np.int64), EPS)
    with pytest.raises(StatsError, match="eps is 0"):
        fit_response_groups(np.ones((3, 4), np.int64), np.ones((3, 4), np.int64), 0.0)
