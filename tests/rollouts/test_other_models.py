"""Other models beside the policy: what they are asked, what the verdict makes of it, and that nothing is drawn twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
from fake_engine import FakeEngine, Killed, Law, make_problems
from posttrain_probes.synthetic import make_evidence

from posttrain_diag.analysis.analyze import Analysis
from posttrain_diag.analysis.report_data import stored_report
from posttrain_diag.errors import UsageError
from posttrain_diag.evidence import MAIN
from posttrain_diag.rollouts.other_models import open_problems
from posttrain_diag.store import RunDir
from posttrain_diag.types import Problem

Run = Callable[..., Analysis]
N = 24
ASKED = 16


def word(i: int) -> str:
    return "".join("abcdefghij"[(i * 7 + j * j + i // 10) % 10] for j in range(6))


def law_of(p: Callable[[int], float]) -> Law:
    """Problem i is solved with probability p(i), else one wrong word is said."""

    def law(prompt: str) -> Mapping[str, float]:
        i = int(prompt[1:-1])
        return {word(i): p(i), "z" + word(i + 1): 1 - p(i)}

    return law


def always(p: float) -> Law:
    return law_of(lambda _: p)


def teacher(p: float = 0.99, name: str = "teacher", die_after: int | None = None) -> FakeEngine:
    return FakeEngine(always(p), name=name, die_after=die_after)


@pytest.fixture
def problems() -> list[Problem]:
    return make_problems(N, word)


@pytest.mark.parametrize("store", ["sqlite", "parquet"])
def test_what_only_another_model_solves_is_consolidation(
    run_analysis: Run, problems: list[Problem], tmp_path: Path, store: str
) -> None:
    other = teacher()
    found = run_analysis(always(0.0), problems, teachers=[other], store=store)
    assert found.diagnosis.bottleneck == "consolidation" and found.diagnosis.confidence > 0.8
    assert other.drawn == N * ASKED and other.scored == 0 and other.closed
    assert found.json["samples"]["teacher_rollouts"] == {"teacher": N * ASKED}
    assert found.json["shares"]["consolidation"]["value"] > 0.9
    assert any("solved by another model" in reason for reason in found.json["reasons"])
    table = pd.read_parquet(tmp_path / "run" / "problems.parquet")
    assert (table["other_best"] == "teacher").all() and (table["posterior_consolidation"] > 0.9).all()
    assert set(found.evidence.rollouts["problem_id"]) == {p.id for p in problems}
    assert found.evidence.main["c"].sum() == 0  # the teacher's passes are not the policy's


def test_without_another_model_nothing_changes(run_analysis: Run, problems: list[Problem], tmp_path: Path) -> None:
    found = run_analysis(always(0.0), problems)
    assert found.diagnosis.bottleneck == "support"
    assert "consolidation" not in found.json["shares"] and "teacher_rollouts" not in found.json["samples"]
    assert "posterior_consolidation" not in found.diagnosis.per_problem
    reason = found.json["estimates"]["solved_elsewhere_share"]
    assert reason["value"] is None and "--teacher" in reason["reason"]


def test_headroom_on_own_rollouts_stays_reshaping(run_analysis: Run, problems: list[Problem]) -> None:
    found = run_analysis(always(0.12), problems, teachers=[teacher()])
    assert found.diagnosis.bottleneck == "reshaping" and found.diagnosis.confidence > 0.8
    assert found.json["estimates"]["solved_elsewhere_share"]["value"] is None


def test_what_is_mastered_is_asked_of_nobody(run_analysis: Run, problems: list[Problem]) -> None:
    other = teacher()
    half = run_analysis(law_of(lambda i: float(i % 2)), problems, teachers=[other])
    assert other.drawn == N // 2 * ASKED
    assert half.diagnosis.per_problem["other_solves"].notna().sum() == N // 2
    idle = teacher(name="idle")
    done = run_analysis(always(1.0), problems, teachers=[idle], out=half.run.path.parent / "done")
    assert (done.diagnosis.bottleneck, idle.drawn) == ("saturated", 0)
    assert "asked nothing" in done.json["estimates"]["solved_elsewhere_share"]["reason"]


def test_only_the_surely_mastered_is_asked_of_nobody() -> None:
    """All are likelier mastered than not; only where that is surer than .95 is nothing left to ask."""
    evidence = make_evidence([(64, 64)] * 10 + [(16, 15), (16, 14), (16, 13), (32, 28), (32, 27)] + [(64, 8)] * 10)
    mastered_P = evidence.law.class_posterior(evidence.settings.eps, evidence.settings.mastery)[:, 2]
    between = [f"p{i}" for i in range(10, 15) if 0.5 < mastered_P[i] < 0.95]
    assert len(between) == 4 and mastered_P[10] > 0.95
    assert open_problems(evidence) == between + [f"p{i}" for i in range(15, 25)]


def test_the_best_of_several_counts(run_analysis: Run, problems: list[Problem]) -> None:
    """Each teacher solves its half; together they solve all, and each problem names its own."""
    even = FakeEngine(law_of(lambda i: 0.99 * (i % 2 == 0)), name="even")
    odd = FakeEngine(law_of(lambda i: 0.99 * (i % 2)), name="odd")
    found = run_analysis(always(0.0), problems, teachers=[even, odd])
    assert found.diagnosis.bottleneck == "consolidation"
    assert found.diagnosis.per_problem["other_best"].tolist() == ["even", "odd"] * (N // 2)
    estimates = found.json["estimates"]
    assert estimates["teacher_pass@1[odd]"]["value"] == pytest.approx(0.5, abs=0.05)
    assert estimates["best_of_models_pass@1"]["value"] > 0.9


def test_a_teacher_that_solves_nothing_is_no_teacher(run_analysis: Run, problems: list[Problem]) -> None:
    found = run_analysis(always(0.0), problems, teachers=[teacher(p=0.0)])
    assert found.diagnosis.bottleneck == "support"
    assert "distill-offline" not in [proposal.stage for proposal in found.plan.proposals]
    assert "solve 0%" in found.plan.rejected["distill-offline"]


def test_an_interrupted_comparison_goes_on_without_loss_or_repeat(
    run_analysis: Run, problems: list[Problem], tmp_path: Path
) -> None:
    dying = teacher(die_after=100)
    with pytest.raises(Killed):
        run_analysis(always(0.0), problems, teachers=[dying], rollouts=16)
    assert dying.closed
    engine, other = FakeEngine(always(0.0)), teacher()
    resumed = run_analysis(always(0.0), problems, engine=engine, teachers=[other], rollouts=16)
    assert (engine.drawn, other.drawn) == (0, N * ASKED - 100)
    whole = run_analysis(always(0.0), problems, teachers=[teacher()], out=tmp_path / "whole", rollouts=16)
    pd.testing.assert_frame_equal(resumed.evidence.teachers["teacher"], whole.evidence.teachers["teacher"])


def test_another_teacher_joins_and_more_effort_tops_up(run_analysis: Run, problems: list[Problem]) -> None:
    settings = {"rollouts": 16}
    run_analysis(always(0.0), problems, teachers=[teacher()], **settings)
    engine, first, second = FakeEngine(always(0.0)), teacher(), teacher(name="second")
    run_analysis(always(0.0), problems, engine=engine, teachers=[first, second], **settings)
    assert (engine.drawn, first.drawn, second.drawn) == (0, 0, N * ASKED)
    more = teacher()
    found = run_analysis(always(0.0), problems, teachers=[more], effort="thorough", **settings)
    assert more.drawn == N * ASKED  # 32 in all
    assert (found.evidence.teacher_table("teacher")["drawn"] == 2 * ASKED).all()


def test_corrected_golds_judge_the_teachers_draws_again(run_analysis: Run, problems: list[Problem]) -> None:
    wrong = make_problems(N, lambda _: "nothing")
    assert run_analysis(always(0.0), wrong, teachers=[teacher()]).json["shares"]["consolidation"]["value"] < 0.05
    other = teacher()
    found = run_analysis(always(0.0), problems, teachers=[other])
    assert (found.diagnosis.bottleneck, other.drawn) == ("consolidation", 0)


def test_the_policy_is_let_go_before_a_teacher_is_loaded(
    run_analysis: Run, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, other = FakeEngine(always(0.0)), teacher()
    seen: list[bool] = []
    inner = other.sample
    monkeypatch.setattr(other, "sample", lambda *a: (seen.append(engine.closed), inner(*a))[1])
    run_analysis(always(0.0), problems, engine=engine, teachers=[other], rollouts=16)
    assert seen == [True]


def test_the_model_itself_is_no_teacher(run_analysis: Run, problems: list[Problem], tmp_path: Path) -> None:
    engine = FakeEngine(always(0.0))
    with pytest.raises(UsageError, match=r"--teacher fake: is the same model as fake"):
        run_analysis(always(0.0), problems, engine=engine, teacher=("fake",))
    assert engine.drawn == 0 and not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="same model as t"):
        run_analysis(always(0.0), problems, engine=engine, teacher=("t", "t"))
    with pytest.raises(UsageError, match="there is no zoo model"):
        run_analysis(always(0.0), problems, engine=engine, teacher=("zoo:nobody",))
    assert engine.drawn == 0


def test_a_copy_of_the_model_is_no_teacher(run_analysis: Run, problems: list[Problem]) -> None:
    copy = teacher(name="copy")
    object.__setattr__(copy.info, "model_sha", "fake-model")
    with pytest.raises(UsageError, match="--teacher copy: is the same model as fake"):
        run_analysis(always(0.0), problems, teachers=[copy], rollouts=16)
    assert copy.drawn == 0 and copy.closed


def test_the_report_renders_again_and_shows_the_share(
    run_analysis: Run, problems: list[Problem], tmp_path: Path
) -> None:
    made = run_analysis(always(0.0), problems, teachers=[teacher()])
    data = stored_report(RunDir(tmp_path / "run"))
    assert data.diagnosis["bottleneck"] == "consolidation"
    assert data.rollouts == made.evidence.drawn  # the policy's own
    assert all(row["verdict"] != "pass" for row in data.transcripts if row["arm"] == MAIN)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Solved by another model" in page
    assert json.loads((tmp_path / "run" / "diagnosis.json").read_text()) == json.loads(json.dumps(made.json))
