"""Adaptive rounds: the budget goes where classes are open, sampling stops when the verdict is settled, resume is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_engine import FakeEngine, Killed, make_problems

from posttrain_diag.analysis.allocate import affordable_level
from posttrain_diag.analysis.analyze import Analysis

Run = Callable[..., Analysis]
N = 24


def word(i: int) -> str:
    return "".join("abcdefghij"[(i * 7 + j * j + i // 10) % 10] for j in range(6))


def law_of(p: Callable[[int], float]) -> Callable[[str], Mapping[str, float]]:
    def law(prompt: str) -> Mapping[str, float]:
        i = int(prompt[1:-1])
        return {word(i): p(i), "z" + word(i + 1): 1 - p(i)}

    return law


def drawn(analysis: Analysis) -> pd.Series:
    return analysis.evidence.main["drawn"]


@pytest.mark.parametrize(
    ("p", "verdict", "share"), [(0.99, "saturated", 0.3), (0.15, "reshaping", 0.6), (0.0, "support", 0.8)]
)
def test_clear_cases_cost_a_fraction_of_the_budget(run_analysis: Run, p: float, verdict: str, share: float) -> None:
    found = run_analysis(law_of(lambda _: p), make_problems(N, word), allocation="adaptive", rollouts=64)
    assert found.diagnosis.bottleneck == verdict
    assert drawn(found).sum() < share * 64 * N
    assert drawn(found).min() >= 8


def test_draws_go_to_open_problems(run_analysis: Run) -> None:
    """Half the problems sit at the mastery line, the others are certain: the former get most of the draws."""
    near, sure = range(0, N, 2), range(1, N, 2)
    law = law_of(lambda i: 0.8 if i % 2 == 0 else 0.999)
    found = run_analysis(law, make_problems(N, word), allocation="adaptive", rollouts=48)
    n_P = drawn(found).to_numpy()
    assert np.mean(n_P[list(near)]) > 2 * np.mean(n_P[list(sure)])
    assert n_P.sum() <= 48 * N


@pytest.mark.parametrize(("p", "least"), [(0.5, 32), (0.1, 40)])
def test_zeros_beside_weakly_solved_problems_get_enough_draws_to_tell_them_apart(
    run_analysis: Run, p: float, least: int
) -> None:
    law = law_of(lambda i: p if i % 2 == 0 else 0.0)
    found = run_analysis(law, make_problems(N, word), allocation="adaptive", rollouts=64)
    assert least <= drawn(found).min() <= 64
    assert drawn(found).sum() <= 64 * N
    assert p != 0.5 or drawn(found).min() == 32


def test_budget_is_kept_when_nothing_settles(run_analysis: Run) -> None:
    found = run_analysis(law_of(lambda _: 0.8), make_problems(N, word), allocation="adaptive", rollouts=20)
    assert drawn(found).sum() <= 20 * N


def test_an_interrupted_run_goes_through_the_same_rounds(run_analysis: Run, tmp_path: Path) -> None:
    law = law_of(lambda i: i / N)
    problems = make_problems(N, word)
    settings = {"allocation": "adaptive", "rollouts": 32}
    whole = run_analysis(law, problems, out=tmp_path / "whole", **settings)
    for die_after in (10, 60, 200):
        with pytest.raises(Killed):
            run_analysis(law, problems, engine=FakeEngine(law, die_after=die_after), **settings)
    again = run_analysis(law, problems, **settings)
    columns = ["problem_id", "arm", "sample_idx", "text", "verdict"]
    pd.testing.assert_frame_equal(again.evidence.rollouts[columns], whole.evidence.rollouts[columns])


def test_tiny_budgets_are_spent_alike(run_analysis: Run) -> None:
    found = run_analysis(law_of(lambda _: 0.5), make_problems(N, word), allocation="adaptive", rollouts=3)
    assert (drawn(found) == 3).all()


def test_stopped_draws_use_the_law_not_the_raw_rate(run_analysis: Run) -> None:
    law = law_of(lambda i: 0.8 if i % 2 else 0.05)
    found = run_analysis(law, make_problems(N, word), allocation="adaptive", rollouts=32)
    estimate = found.diagnosis.estimates["pass@1"]
    assert drawn(found).nunique() > 1
    assert estimate.value == pytest.approx(found.evidence.law.pass_at_k(1).value)
    assert estimate.low is not None and estimate.high is not None and estimate.low - 0.03 < 0.425 < estimate.high


def test_raising_all_problems_to_a_level_keeps_the_budget() -> None:
    """Against trying every level."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        n_P, budget, wanted = rng.integers(0, 50, rng.integers(1, 9)), int(rng.integers(0, 300)), int(rng.integers(80))
        fits = [level for level in range(wanted + 1) if np.maximum(n_P, level).sum() <= budget]
        raised_P = np.maximum(n_P, affordable_level(n_P, budget, wanted))
        np.testing.assert_array_equal(raised_P, np.maximum(n_P, max(fits, default=0)))
