"""From class posteriors to a verdict: dominance, abstention, the instrument's gate, the plan that follows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from plans import plan_of
from posttrain_probes import BUILTIN
from posttrain_probes.prefix_ladder import SHARES, arm_name
from posttrain_probes.synthetic import frame_of, make_evidence, make_problem, rollout_row

from posttrain_diag.diagnose import diagnose, diagnosis_json
from posttrain_diag.diagnose.bottleneck import label_probabilities
from posttrain_diag.evidence import Evidence, tally
from posttrain_diag.stages.catalogue import CATALOGUE
from posttrain_diag.types import CLASSES, Diagnosis, Estimate


def verdict(evidence: Evidence) -> Diagnosis:
    return diagnose(evidence, [probe.measure(evidence) for probe in BUILTIN])


def shares(**values: float) -> np.ndarray:
    return np.tile([values.get(name, 0.0) for name in CLASSES], (500, 1))


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({"support": 1.0}, "support"),
        ({"mastered": 0.5, "guided": 0.5}, "guided"),
        ({"mastered": 0.97, "support": 0.03}, "saturated"),
        ({"reshaping": 0.5, "support": 0.5}, "mixed"),
        ({"reshaping": 0.75, "support": 0.25}, "reshaping"),
    ],
)
def test_labels(given: dict[str, float], label: str) -> None:
    found = label_probabilities(shares(**given), 100, seed=0)
    assert max(found, key=lambda name: found[name]) == label
    assert sum(found.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(("elsewhere", "label"), [(0.9, "consolidation"), (0.5, "mixed"), (0.1, "support")])
def test_consolidation_competes_with_the_classes(elsewhere: float, label: str) -> None:
    draws = np.column_stack([shares(support=1.0 - elsewhere), np.full(500, elsewhere)])
    found = label_probabilities(draws, 100, seed=0)
    assert max(found, key=lambda name: found[name]) == label
    assert "consolidation" not in label_probabilities(shares(support=1.0), 100, seed=0)


def solved_elsewhere(ids: range, n: int = 16) -> dict[str, pd.DataFrame]:
    """Tallies of a model "t" that always solves the problems `ids` and was asked nothing else."""
    return {"t": tally(frame_of([rollout_row(f"p{i}", j, verdict="pass") for i in ids for j in range(n)]))}


def test_only_what_own_rollouts_do_not_reach_is_consolidation() -> None:
    """p0..p9 in reach, p10..p19 right in substance and wrong in format, p20..p29 neither; another model solves all."""
    extra = [rollout_row(f"p{i}", j, lenient=True) for i in range(10, 20) for j in range(256)]
    counts = [(256, 30)] * 10 + [(0, 0)] * 10 + [(256, 0)] * 10
    found = verdict(make_evidence(counts, extra=extra, teachers=solved_elsewhere(range(30))))
    posterior = found.per_problem["posterior_consolidation"].to_numpy()
    assert posterior[:20].max() < 0.05 and posterior[20:].min() > 0.9
    within = found.per_problem["posterior_guided"] + found.per_problem["posterior_support"]
    assert (posterior <= within + 1e-9).all()
    share = found.shares["consolidation"]
    assert share.value is not None and share.low is not None and share.high is not None
    assert share.low <= share.value <= share.high and share.value == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize(("right", "share"), [(20, "format"), (0, "support")])
def test_what_is_right_in_substance_now_and_then_is_in_support(right: int, share: str) -> None:
    """No draw keeps the form; 20 of 64 give the right answer, less than half of the failures, or none does."""
    extra = [rollout_row(f"p{i}", 100 + j, lenient=True) for i in range(30) for j in range(right)]
    found = verdict(make_evidence([(64 - right, 0)] * 30, extra=extra))
    assert found.bottleneck == share
    assert found.shares[share].value == pytest.approx(1, abs=0.05)


def test_a_comparison_leaves_the_classes_as_they_are() -> None:
    counts = [(64, 0)] * 20 + [(64, 20)] * 10
    alone, beside = (verdict(make_evidence(counts, teachers=t)) for t in ({}, solved_elsewhere(range(30))))
    assert {name: share for name, share in beside.shares.items() if name != "consolidation"} == dict(alone.shares)
    assert (alone.per_problem["class"] == beside.per_problem["class"]).all()


def test_consolidation_plan_takes_the_given_teacher() -> None:
    evidence = make_evidence([(256, 0)] * 30, teachers=solved_elsewhere(range(27)))
    plan = plan_of(verdict(evidence), evidence, retained=True)
    first = plan.proposals[0]
    assert first.stage == "distill-offline" and first.role == "consolidation" and not first.needs
    gain = first.expected_gain
    assert gain.value is not None and 0.5 < gain.value <= 0.9, "nine tenths are solved elsewhere"
    assert set(plan.rejected) | {p.stage for p in plan.proposals} == {card.name for card in CATALOGUE}


def test_support_without_a_teacher_asks_for_one() -> None:
    problems = {f"p{i}": make_problem(i) for i in range(40)}
    evidence = make_evidence([(256, 0)] * 40, problems=problems)
    plan = plan_of(verdict(evidence), evidence, demos=0)
    assert all(proposal.needs for proposal in plan.proposals), "nothing can run"
    needs = {proposal.stage: " ".join(proposal.needs) for proposal in plan.proposals}
    assert "--teacher" in needs["distill-offline"] and "--demos" in needs["sft"]


def test_three_problems_that_agree_are_no_certainty() -> None:
    few, many = (label_probabilities(shares(support=1.0), n, seed=0)["support"] for n in (3, 60))
    assert few < 0.9
    assert many > 0.99


def test_too_few_draws_abstain() -> None:
    """4 zeros per problem say p < 53%: nothing between guided, support and reshaping is decided."""
    found = verdict(make_evidence([(4, 0)] * 4))
    assert found.bottleneck == "undetermined"
    assert {a.bottleneck for a in found.alternatives} >= {"support", "reshaping"}
    assert plan_of(found, make_evidence([(4, 0)] * 4)).proposals == ()


def test_no_rollouts_is_undetermined_not_a_crash() -> None:
    found = verdict(make_evidence([(0, 0)] * 3))
    assert found.bottleneck == "undetermined"
    assert all(share.value is None for share in found.shares.values())


def test_errored_draws_are_not_failures() -> None:
    extra = [rollout_row(f"p{i}", 1000 + j, verdict="error", error="x") for i in range(20) for j in range(3)]
    found = verdict(make_evidence([(64, 63)] * 20, extra=extra))
    assert found.shares["mastered"].value is not None and found.shares["mastered"].value > 0.95
    assert (found.per_problem["n"] == 64).all() and (found.per_problem["errored"] == 3).all()


def test_a_broken_instrument_is_the_verdict_and_no_stage_follows() -> None:
    problems = {f"p{i}": make_problem(i, demos=("not it",)) for i in range(30)}
    evidence = make_evidence([(64, 0)] * 30, problems=problems, references=dict.fromkeys(problems, ("not it",)))
    found = verdict(evidence)
    assert (found.bottleneck, found.instrument.status) == ("instrument", "broken")
    assert found.confidence > 0.9
    assert plan_of(found, evidence).proposals == ()


def test_reshaping_plan_without_retained_tasks_starts_with_rl() -> None:
    """Without replay demonstrations cost other tasks more than reward does."""
    evidence = make_evidence([(64, 8)] * 30)
    found = verdict(evidence)
    plan = plan_of(found, evidence)
    assert found.bottleneck == "reshaping"
    first = plan.proposals[0]
    own = {"grpo", "rloo", "rft", "search-transfer", "process-rl", "online-preference"}
    assert {p.stage for p in plan.proposals[:2]} <= own and first.role == "reshaping"
    assert (
        first.expected_gain.label == "model-dependent" and first.command == f"diag train runs/x --stage {first.stage}"
    )
    assert set(plan.rejected) | {p.stage for p in plan.proposals} == {card.name for card in CATALOGUE}


def test_json_has_the_contract_and_no_nan() -> None:
    evidence = make_evidence([(64, 8)] * 10)
    found = verdict(evidence)
    data = diagnosis_json(found, plan_of(found, evidence), evidence, tasks={"source": "x", "sha": "y"})
    text = json.dumps(data, allow_nan=False)
    assert {
        "schema",
        "model",
        "tasks",
        "sampling",
        "settings",
        "instrument",
        "bottleneck",
        "confidence",
        "alternatives",
        "shares",
        "estimates",
        "plan",
        "samples",
        "versions",
    } <= set(json.loads(text))
    assert {"pass@1", "pass@16", "pass@256", "coverage", "expected_successes", "mixed_groups@8"} <= set(
        data["estimates"]
    )
    assert data["samples"]["rollouts"] == 640


def test_shares_bracket_their_value() -> None:
    found = verdict(make_evidence([(64, 0)] * 30 + [(64, 30)] * 30 + [(64, 64)] * 30))
    for share in found.shares.values():
        assert share.value is not None and share.low is not None and share.high is not None
        assert 0 <= share.low <= share.value <= share.high <= 1
    assert found.bottleneck == "mixed"


def test_every_probe_speaks_in_the_json_also_one_the_package_does_not_know() -> None:
    evidence = make_evidence([(64, 8)] * 10)
    found = [probe.measure(evidence) for probe in BUILTIN]
    foreign = replace(found[-1], probe="somebody_elses", summary={"their_number": Estimate(0.5, 0.4, 0.6)})
    estimates = diagnose(evidence, [*found, foreign]).estimates
    assert estimates["their_number"].value == 0.5
    assert {name for m in found for name in m.summary} - set(estimates) == {"strict_pass@1"}


def test_problems_that_no_prefix_helps_are_support_whatever_prefixes_do_for_others() -> None:
    """Trap: 64 of 160 problems are out of reach, seven are reached by a prefix; the share was .24 [.07, .31]."""
    succeeded = dict(zip(SHARES, (0, 1, 6, 9), strict=True))
    extra = [
        rollout_row(f"p{i}", j, arm=arm_name("true", share), verdict="pass" if i < 7 and j < passed else "fail")
        for i in range(71)
        for share, passed in succeeded.items()
        for j in range(20)
    ]
    found = verdict(make_evidence([(16, 0)] * 71 + [(16, 14)] * 89, extra=extra))
    share = found.shares["support"]
    assert share.value is not None and share.low is not None and share.high is not None
    assert share.value == pytest.approx(0.4, abs=0.03) and share.low <= 0.4 <= share.high + 1e-9
    table = found.per_problem.set_index("id")
    null = table.loc[[f"p{i}" for i in range(7, 71)]]
    assert null["reach"].max() < 0.06 and (null["class"] == "support").mean() > 0.9
    assert (table["class"].iloc[:7] == "guided").all()
