"""`analyze --sibling`: another checkpoint, drawn from as a teacher is, or read from the run of its own analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, Law, make_problems

from posttrain_diag.analysis import analyze as analyze_module
from posttrain_diag.analysis.analyze import Analysis
from posttrain_diag.analysis.counts import analyze_counts
from posttrain_diag.analysis.estimate import estimate_cost
from posttrain_diag.errors import UsageError
from posttrain_diag.evidence import Settings
from posttrain_diag.importers import read_counts
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.tasks import write_tasks
from posttrain_diag.types import Problem, SamplingParams

Run = Callable[..., Analysis]
N = 24
ASKED = 16


def word(i: int) -> str:
    return "".join("abcdefghij"[(i * 7 + j * j + i // 10) % 10] for j in range(6))


def always(p: float) -> Law:
    def law(prompt: str) -> Mapping[str, float]:
        i = int(prompt[1:-1])
        return {word(i): p, "z" + word(i + 1): 1 - p}

    return law


@pytest.fixture
def problems() -> list[Problem]:
    return make_problems(N, word)


@pytest.fixture
def sibling_run(run_analysis: Run, problems: list[Problem], tmp_path: Path) -> str:
    """The finished run of a checkpoint that solves everything."""
    engine = FakeEngine(always(0.99), name="other")
    run_analysis(always(0.99), problems, engine=engine, out=tmp_path / "other", rollouts=16)
    return str(tmp_path / "other")


def test_a_sibling_model_is_drawn_from_and_can_be_merged_with(run_analysis: Run, problems: list[Problem]) -> None:
    other = FakeEngine(always(0.99), name="other")
    found = run_analysis(always(0.0), problems, teachers=[other], teacher=(), sibling=("other",), rollouts=16)
    assert found.diagnosis.bottleneck == "consolidation" and other.drawn == N * ASKED
    assert "needs another checkpoint" not in found.plan.rejected.get("merge", "")
    alone = run_analysis(always(0.0), problems, rollouts=16)
    assert "needs another checkpoint" in alone.plan.rejected["merge"]


def test_a_siblings_run_is_read_and_nothing_is_drawn_for_it(
    run_analysis: Run, problems: list[Problem], sibling_run: str
) -> None:
    found = run_analysis(always(0.0), problems, sibling=(sibling_run,), rollouts=16)  # the engine "other" is not there
    assert found.diagnosis.bottleneck == "consolidation" and found.json["shares"]["consolidation"]["value"] > 0.9
    assert (found.evidence.teacher_table(sibling_run)["c"] >= 14).all()
    assert found.json["estimates"][f"teacher_pass@1[{sibling_run}]"]["value"] > 0.9


def renamed(problem: Problem) -> dict[str, Any]:
    return {"id": "x" + problem.id}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (renamed, r"1 of these 24 problems are not in it \('xp3'\)"),
        (lambda problem: {"prompt": problem.prompt + " "}, "1 of these 24 problems have another prompt there"),
        (lambda _: {"answer": "something"}, "1 of these 24 problems have another gold or verifier there"),
    ],
)
def test_a_sibling_with_other_tasks_is_refused_before_anything_is_drawn(
    run_analysis: Run,
    problems: list[Problem],
    sibling_run: str,
    change: Callable[[Problem], dict[str, Any]],
    said: str,
) -> None:
    changed = [Problem(**{**vars(p), **change(p)}) if i == 3 else p for i, p in enumerate(problems)]
    engine = FakeEngine(always(0.0))
    with pytest.raises(UsageError, match=said):
        run_analysis(always(0.0), changed, engine=engine, sibling=(sibling_run,), rollouts=16)
    assert engine.drawn == 0


def test_a_sibling_under_another_law_or_with_counts_alone_is_refused(
    run_analysis: Run, problems: list[Problem], sibling_run: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"drawn with temperature 1\.0, this analysis with 0\.7"):
        run_analysis(always(0.0), problems, sibling=(sibling_run,), temperature=0.7, out=tmp_path / "cold")
    (tmp_path / "c.csv").write_text("\n".join(["problem_id,n,c", *(f"p{i},8,4" for i in range(N))]))
    analyze_counts(read_counts(str(tmp_path / "c.csv")), tmp_path / "counted", Settings(SamplingParams()))
    with pytest.raises(UsageError, match="holds imported counts"):
        run_analysis(always(0.0), problems, sibling=(str(tmp_path / "counted"),))
    with pytest.raises(UsageError, match="--sibling fake: is the same model as fake"):
        run_analysis(always(0.0), problems, sibling=("fake",))


def test_a_run_of_the_model_itself_is_no_sibling(run_analysis: Run, problems: list[Problem], tmp_path: Path) -> None:
    run_analysis(always(0.0), problems, out=tmp_path / "first", rollouts=16)
    with pytest.raises(UsageError, match=r"--sibling .*first: is the same model as fake"):
        run_analysis(always(0.0), problems, sibling=(str(tmp_path / "first"),), rollouts=16)


def test_a_dry_run_counts_what_siblings_cost(
    problems: list[Problem], sibling_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tasks(problems, tmp_path / "tasks.jsonl")
    monkeypatch.setattr(analyze_module, "load_engine", lambda _: FakeEngine(always(0.0)))

    def cost(*siblings: str) -> tuple[int, int]:
        config = make_config(model="fake", tasks=str(tmp_path / "tasks.jsonl"), out=tmp_path / "dry", sibling=siblings)
        found = estimate_cost(config)
        return found.teacher_rollouts, found.teacher_tokens

    rollouts, tokens = cost("other", "another")
    assert rollouts == 2 * N * ASKED and tokens >= rollouts
    assert cost("other", sibling_run) == (N * ASKED, tokens // 2)
    assert cost(sibling_run) == (0, 0)
