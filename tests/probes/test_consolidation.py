"""The consolidation probe: who solves what, how sure that is, and what the models give together."""

from __future__ import annotations

import pandas as pd
import pytest
from posttrain_probes.consolidation import COLUMNS, measure
from posttrain_probes.synthetic import frame_of, make_evidence, rollout_row

from posttrain_diag.evidence import tally


def drew(passes: dict[int, int], n: int = 16, **values: object) -> pd.DataFrame:
    """Tallies of a model that passed problem i so often in n draws."""
    rows = [
        rollout_row(f"p{i}", j, **{"verdict": "pass" if j < c else "fail", **values})
        for i, c in passes.items()
        for j in range(n)
    ]
    return tally(frame_of(rows))


def test_the_best_model_is_named_and_one_that_was_not_asked_is_not() -> None:
    teachers = {"a": drew({0: 16, 1: 0, 2: 9}), "b": drew({0: 2, 1: 16, 2: 3})}
    found = measure(make_evidence([(64, 0)] * 4, teachers=teachers)).per_problem
    assert found["other_best"].tolist()[:3] == ["a", "b", "a"]
    assert found.loc["p3", list(COLUMNS)].isna().all()
    assert found["other_p_mean"].max() <= 1 and found.loc["p0", "other_solves"] > 0.8 > found.loc["p2", "other_solves"]


def test_two_models_that_may_solve_it_are_surer_than_one() -> None:
    some = drew(dict.fromkeys(range(20), 13))
    one, two = (
        measure(make_evidence([(64, 0)] * 20, teachers=t)).per_problem for t in ({"a": some}, {"a": some, "b": some})
    )
    p = one.loc["p0", "other_solves"]
    assert 0.2 < p < 0.9
    assert two.loc["p0", "other_solves"] == pytest.approx(1 - (1 - p) ** 2)


def test_the_union_is_more_than_each_and_holds_the_bare_policy() -> None:
    """The policy solves p0..p9, a p10..p19, b p20..p29, nobody p30..p39."""
    counts = [(64, 64)] * 10 + [(256, 0)] * 30
    a = drew({i: 16 * (10 <= i < 20) for i in range(40)})
    b = drew({i: 16 * (20 <= i < 30) for i in range(40)})
    summary = measure(make_evidence(counts, teachers={"a": a, "b": b})).summary
    union, share = summary["best_of_models_pass@1"], summary["solved_elsewhere_share"]
    assert union.value == pytest.approx(0.75, abs=0.02) and summary["teacher_pass@1[a]"].value == 0.25
    assert summary["bare_pass@1_compared"].value == pytest.approx(0.25, abs=0.02)
    assert share.value == pytest.approx(2 / 3, abs=0.03) and share.n == 30
    assert share.low is not None and share.high is not None and share.low <= 2 / 3 + 1e-3 and share.high >= 2 / 3 - 1e-3


def test_a_model_that_was_not_judged_on_a_problem_does_not_solve_it() -> None:
    teachers = {"a": drew({0: 16}), "b": drew(dict.fromkeys(range(4), 0))}
    share = measure(make_evidence([(256, 0)] * 4, teachers=teachers)).summary["solved_elsewhere_share"]
    assert share.value == pytest.approx(0.25, abs=0.1)


def test_a_teacher_cut_at_the_token_cap_is_told() -> None:
    cut = drew(dict.fromkeys(range(4), 0), verdict="truncated", finish_reason="length")
    (note,) = measure(make_evidence([(64, 0)] * 4, teachers={"a": cut})).notes
    assert note.startswith("a: 64 of 64 draws were cut at the token cap")


def test_draws_that_nobody_could_judge_say_so() -> None:
    found = measure(make_evidence([(64, 0)] * 4, teachers={"a": drew({0: 0}, verdict="error")}))
    reason = found.summary["solved_elsewhere_share"].reason
    assert "could be judged" in reason and found.notes == (reason,)


def test_a_teacher_on_problems_that_are_all_in_reach_has_no_share() -> None:
    found = measure(make_evidence([(64, 20)] * 20, teachers={"a": drew(dict.fromkeys(range(20), 16))})).summary
    assert found["solved_elsewhere_share"].value is None and "1/256" in found["solved_elsewhere_share"].reason
    assert found["best_of_models_pass@1"].value == pytest.approx(1.0, abs=0.02)
