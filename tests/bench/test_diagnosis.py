"""The diagnosis benchmark: its arithmetic, and the subset of its cases that every change must pass."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from benchmarks.diagnosis import baselines, score
from benchmarks.diagnosis.main import all_cases
from benchmarks.diagnosis.run import run_case

QUICK = [case for case in all_cases() if case.quick]


@pytest.mark.parametrize("case", QUICK, ids=[case.name for case in QUICK])
def test_the_subset_is_diagnosed_rightly(case, tmp_path):
    import torch

    torch.set_num_threads(1)
    record = run_case(case, 0, tmp_path)
    assert record["verdict"] in case.accepted or (not case.accepted and record["verdict"] == record["truth"]), record
    if case.kind == "few":
        return
    assert record["confidence"] > 0.8, record
    if record["confusion"]:
        scores = score.class_scores([record])
        agreed = sum(n for key, n in record["confusion"].items() if len(set(key.split(">"))) == 1)
        wrong = sum(n for key, n in record["confusion"].items() if len({*key.split(">"), "unresolved"}) == 3)
        assert wrong <= 0.02 * scores.problems, record["confusion"]
        assert agreed >= 0.6 * scores.problems, record["confusion"]
        assert scores.unresolved <= 0.4, record["confusion"]


def test_a_case_that_was_run_is_not_run_again(tmp_path):
    case = next(case for case in QUICK if case.kind == "bottleneck")
    slug = "".join(c if c.isalnum() else "-" for c in case.name)
    folder = tmp_path / "cases" / f"{slug}-0"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"verdict": "kept"}')
    assert run_case(case, 0, tmp_path) == {"verdict": "kept"}


def record(verdict, accepted, confidence=0.9, kind="bottleneck", **more):
    probabilities = {verdict: confidence} if verdict != "undetermined" else {}
    return {
        "case": "c", "seed": 0, "verdict": verdict, "accepted": accepted, "confidence": confidence, "kind": kind,
        "probabilities": probabilities, "truth": accepted[0], "confusion": {}, **more,
    }  # fmt: skip


def test_calibration_error_by_hand():
    runs = [record("support", ["support"], 0.9)] * 3 + [record("support", ["reshaping"], 0.9)]
    assert score.calibration(runs).error == pytest.approx(abs(0.9 - 0.75))
    runs += [
        record("undetermined", ["undetermined"], 0.5, "few", **{"probabilities": {"guided": 0.55}, "truth": "guided"})
    ]
    assert score.calibration(runs).error == pytest.approx(0.8 * 0.15 + 0.2 * 0.45)


def test_class_scores_leave_unresolved_and_unclear_problems_out():
    counts = {
        "support>support": 8,
        "support>guided": 2,
        "guided>guided": 10,
        "guided>unresolved": 5,
        "unclear>support": 3,
    }
    found = score.class_scores([record("support", ["support"], **{"confusion": counts})])
    assert found.f1["support"] == pytest.approx(2 * 8 / (8 + 10))
    assert found.f1["guided"] == pytest.approx(2 * 10 / (12 + 10))
    assert math.isnan(found.f1["format"])
    assert found.unresolved == pytest.approx(5 / 25)
    assert found.unclear == 3


def test_only_confident_support_or_reshaping_verdicts_on_traps_count():
    runs = [
        record("support", ["instrument"], 0.81, "trap"),
        record("support", ["instrument"], 0.79, "trap"),
        record("format", ["instrument"], 0.99, "trap"),
        record("support", ["support"], 0.99),
    ]
    assert score.confident_traps(runs) == runs[:1]


def test_rules_read_counts_and_best_threshold_is_never_worse():
    problems = pd.DataFrame({"n": [10, 10, 10, 10], "c": [0, 0, 5, 10]})
    seen = baselines.seen(problems, 2.0)
    assert seen.pass_1 == pytest.approx(15 / 40)
    assert seen.band == pytest.approx(1 / 4)
    assert seen.zero_groups == pytest.approx((1 + 1 + 0 + 0) / 4)  # 5 failures cannot fill a group of 8
    assert seen.pass_k == pytest.approx(1 / 2)
    assert [rule.verdict(seen) for rule in baselines.RULES] == [
        "reshaping", "support", "reshaping", "support", "reshaping",
    ]  # fmt: skip
    cases = [seen, baselines.Seen(0.01, 0.02, 0.0, 0.5, 0.99)]
    for row in baselines.compare(cases, [["reshaping"], ["support"]]):
        assert row["best_accuracy"] >= row["accuracy"]
        assert row["best_accuracy"] == (1.0 if "nat" not in row["rule"] else 0.5)
