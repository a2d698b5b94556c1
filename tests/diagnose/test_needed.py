"""What an undetermined verdict asks for: about the right number, the right kind, and nothing where it is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plans import plan_of
from posttrain_probes import BUILTIN, golds
from posttrain_probes.prefix_ladder import SHARES, arm_name, reach_draws
from posttrain_probes.synthetic import frame_of, make_evidence, make_problem, rollout_row
from posttrain_reports import ReportData, view

from posttrain_diag.cli.verdict import print_verdict
from posttrain_diag.diagnose import diagnose, diagnosis_json
from posttrain_diag.diagnose.bottleneck import NAMED, label_probabilities
from posttrain_diag.diagnose.classes import class_posterior
from posttrain_diag.evidence import Evidence, Settings
from posttrain_diag.types import CLASSES, Diagnosis, SamplingParams


def verdict(evidence: Evidence) -> Diagnosis:
    return diagnose(evidence, [probe.measure(evidence) for probe in BUILTIN])


def counts(n: int, passed: Sequence[int]) -> Evidence:
    """Counts of any size without their rows: n draws of each problem."""
    ids = [f"p{i}" for i in range(len(passed))]
    table = pd.DataFrame({"problem_id": ids, "arm": "main", "c": passed})
    table = table.assign(failed=n - table["c"], truncated=0, errored=0, lenient=table["c"], tokens=n)
    problems = {key: make_problem(i) for i, key in enumerate(ids)}
    return Evidence(problems, frame_of([]), (), Settings(SamplingParams(max_new_tokens=8)), None, tallies=table)


def ladder(problems: int, n: int, passed: int) -> list[dict[str, object]]:
    return [
        rollout_row(f"p{i}", j, arm=arm_name("true", share), verdict="pass" if j < passed else "fail")
        for i in range(problems)
        for share in SHARES
        for j in range(n)
    ]


def test_a_named_verdict_needs_nothing() -> None:
    assert verdict(make_evidence([(64, 8)] * 20)).needed is None
    assert verdict(make_evidence([(0, 0)] * 3)).needed is None


def test_the_number_is_about_right_for_problems_out_of_reach() -> None:
    """0 of 2 on 8 problems, p = 0 in truth: four times the rollouts asked for decide, a quarter of them do not."""
    found = diagnose(counts(2, [0] * 8), [])
    assert found.bottleneck == "undetermined" and found.needed is not None
    rollouts = found.needed.rollouts_per_problem
    assert rollouts is not None and found.needed.problems == 8
    assert found.needed.more_rollouts == 8 * (rollouts - 2)
    assert diagnose(counts(4 * rollouts, [0] * 8), []).bottleneck == "support"
    assert diagnose(counts(max(1, rollouts // 4), [0] * 8), []).bottleneck == "undetermined"


def test_the_predicted_probability_is_that_of_simulated_runs() -> None:
    """p from the posterior itself, counts drawn, laws refitted: named about as often as the forecast says."""
    evidence = counts(2, [0] * 8)
    needed = diagnose(evidence, []).needed
    assert needed is not None and needed.rollouts_per_problem is not None
    rng = np.random.default_rng(5)
    p_SP = evidence.law.sample_p(400, rng)[rng.permutation(400)[:16]]
    named = 0
    for p_P in p_SP:
        run = counts(needed.rollouts_per_problem, rng.binomial(needed.rollouts_per_problem, p_P).tolist())
        found = label_probabilities(class_posterior(run, {}).shares_SC, len(p_P), seed=0)
        named += max(found.values()) >= NAMED
    named /= len(p_SP)
    assert abs(named - needed.probability) < 0.3
    assert sum(needed.expected.values()) == pytest.approx(1.0)


def test_two_kinds_of_problems_and_too_few_of_them_ask_for_problems() -> None:
    """p is known well; whether a third or half of the family is out of reach, 3 problems cannot tell."""
    found = diagnose(counts(2000, [0, 0, 300]), [])
    assert found.bottleneck == "undetermined" and found.needed is not None
    assert found.needed.problems is not None and found.needed.problems >= 6
    assert "problems would not decide" in found.needed.reason


def test_what_counts_cannot_tell_no_number_of_them_tells() -> None:
    evidence = make_evidence([], problems={f"p{i}": make_problem(i) for i in range(40)})
    table = pd.DataFrame({"drawn": 512, "n": 512, "c": 0, "failed": 512, "truncated": 0, "errored": 0},
                         index=pd.Index([f"p{i}" for i in range(40)], name="id"))  # fmt: skip
    imported = Evidence(evidence.problems, evidence.rollouts, (), evidence.settings, None, counts=table,
                        unrecorded=("lenient",))  # fmt: skip
    found = verdict(imported)
    assert found.bottleneck == "undetermined" and found.needed is not None
    assert found.needed.rollouts_per_problem is None
    assert "diag analyze" in found.needed.reason


def test_the_number_is_in_reasons_json_and_plan() -> None:
    evidence = make_evidence([(2, 0)] * 8)
    found = verdict(evidence)
    assert found.needed is not None and found.reasons[0] == found.needed.reason
    plan = plan_of(found, evidence)
    assert all(found.needed.reason in why for why in plan.rejected.values())
    data = json.loads(json.dumps(diagnosis_json(found, plan, evidence, tasks={"source": "x", "sha": "y"})))
    assert data["needed"]["rollouts_per_problem"] == found.needed.rollouts_per_problem
    assert f"--rollouts {found.needed.rollouts_per_problem}" in data["needed"]["reason"]


def test_what_is_unsure_about_a_law_moves_all_problems_together() -> None:
    """Few ladder draws leave open whether prefixes help at all: a question of all problems, not of half of them."""
    evidence = make_evidence([(256, 0)] * 30, extra=ladder(30, 1, 0))
    share_S = reach_draws(evidence, 1000).mean(axis=1)
    assert share_S.std() > 2 * np.sqrt(share_S.mean() * (1 - share_S.mean()) / 30)
    measurements = {m.probe: m for m in (probe.measure(evidence) for probe in BUILTIN)}
    guided_S = class_posterior(evidence, measurements).shares_SC[:, CLASSES.index("guided")]
    assert guided_S.std() == pytest.approx(share_S.std(), abs=0.05)


def test_one_failure_each_that_is_no_format_failure_pools() -> None:
    """100 failures of which none passes leniently leave no room for a format bottleneck, one draw each or not."""
    found = verdict(make_evidence([(1, 0)] * 100))
    share = found.shares["format"].value
    assert share is not None and share < 0.03


def test_one_draw_of_each_problem_betrays_no_wrong_golds() -> None:
    """With n = 1 every solved problem has c/n = 1: that is how they were chosen, not how solvable they are."""
    n_P, c_P = np.full(3, 1.0), np.ones(3)
    assert golds.rate_given_success(n_P, c_P).max() == 0.0
    assert golds.rate_given_success(np.array([64.0]), np.array([8.0]))[0] == pytest.approx(8 / 64, rel=0.01)
    assert golds.rate_given_success(np.array([4.0]), np.array([4.0]))[0] == pytest.approx(1.0)


def test_terminal_and_report_show_it_once_beside_the_verdict(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    evidence = make_evidence([(2, 0)] * 8)
    found = verdict(evidence)
    assert found.needed is not None
    data = diagnosis_json(found, plan_of(found, evidence), evidence, tasks={"source": "x", "sha": "y"})
    print_verdict(data, tmp_path)
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert told.count(f"--rollouts {found.needed.rollouts_per_problem}") == 1
    shown = view.verdict(ReportData(data, found.per_problem, [], [], [], "", ""))
    assert shown.next_step == found.needed.reason and found.needed.reason not in shown.reasons
