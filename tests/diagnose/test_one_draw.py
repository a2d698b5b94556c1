"""With one draw per problem only the mean success is known: no class is told that another spread of p would not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from posttrain_probes import BUILTIN
from posttrain_probes.synthetic import frame_of, make_evidence, make_problem, rollout_row

from posttrain_diag.diagnose import diagnose
from posttrain_diag.evidence import Evidence, Settings
from posttrain_diag.types import Diagnosis, SamplingParams


def verdict(evidence: Evidence) -> Diagnosis:
    return diagnose(evidence, [probe.measure(evidence) for probe in BUILTIN])


def counted(n_P: Sequence[int], c_P: Sequence[int], *, imported: bool) -> Diagnosis:
    """The verdict on counts, imported or with an instrument that is taken as sound."""
    ids = [f"p{i}" for i in range(len(n_P))]
    table = pd.DataFrame({"problem_id": ids, "arm": "main", "c": c_P})
    table = table.assign(failed=np.asarray(n_P) - c_P, truncated=0, errored=0, lenient=table["c"], tokens=1)
    problems = {key: make_problem(i) for i, key in enumerate(ids)}
    evidence = Evidence(problems, frame_of([]), (), Settings(SamplingParams(max_new_tokens=8)), None, tallies=table)
    if not imported:
        return diagnose(evidence, [])
    counts = pd.DataFrame(
        {"drawn": n_P, "c": c_P, "failed": np.asarray(n_P) - c_P, "truncated": 0, "errored": 0, "n": n_P}, index=ids
    )
    return verdict(
        Evidence(problems, frame_of([]), (), evidence.settings, None, counts=counts, unrecorded=("lenient",))
    )


@pytest.mark.parametrize("imported", [True, False])
def test_half_right_with_one_draw_each_is_undetermined(imported: bool) -> None:
    """Today's code called this reshaping, 74%: the fitted law's prior and nothing that was seen."""
    found = counted([1] * 164, [1, 0] * 82, imported=imported)
    assert found.bottleneck == "undetermined"
    assert found.needed is not None and found.needed.rollouts_per_problem == 8
    assert "8 rollouts per problem (1,148 more draws)" in found.needed.reason and "reshaping" not in found.needed.reason
    assert any("With one draw per problem only the mean success is known" in reason for reason in found.reasons)
    assert found.shares["reshaping"].value is None and found.shares["mastered"].value is None
    assert not any(column.startswith("posterior_") for column in found.per_problem)
    assert (found.per_problem["class"] == "unresolved").all()


@pytest.mark.parametrize("passed", [8, 40, 120, 140])
def test_no_mean_in_the_middle_tells_a_class(passed: int) -> None:
    found = counted([1] * 160, [1] * passed + [0] * (160 - passed), imported=False)
    assert found.bottleneck == "undetermined"


def test_a_few_second_draws_do_not_help() -> None:
    n_P = [2] * 20 + [1] * 144
    assert counted(n_P, [1] * 82 + [0] * 82, imported=False).bottleneck == "undetermined"


def test_what_every_law_with_that_mean_says_is_named() -> None:
    assert counted([1] * 400, [1] * 399 + [0], imported=False).bottleneck == "saturated"
    assert counted([1] * 5000, [0] * 5000, imported=False).bottleneck == "support"
    assert counted([1] * 200, [0] * 200, imported=False).bottleneck == "undetermined"  # p may be 1/100 everywhere


def test_right_answers_in_a_wrong_form_are_told_from_one_draw() -> None:
    rows = [rollout_row(f"p{i}", 0, lenient=True) for i in range(80)]
    found = verdict(make_evidence([(0, 0)] * 80, extra=rows))
    assert found.bottleneck == "format", found.reasons


def test_two_draws_of_each_tell_the_spread() -> None:
    """p = .5 everywhere: a quarter of the pairs are 0, half 1, a quarter 2 passes."""
    assert counted([2] * 164, [0] * 41 + [1] * 82 + [2] * 41, imported=False).bottleneck == "reshaping"
