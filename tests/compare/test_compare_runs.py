"""`diag compare` on run directories: a written-down law end to end, imported counts, and every control."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_engine import FakeEngine, make_problems
from typer.testing import CliRunner

from posttrain_diag.analysis import analyze as analyze_module
from posttrain_diag.analysis.analyze import analyze
from posttrain_diag.analysis.counts import analyze_counts
from posttrain_diag.cli.app import app
from posttrain_diag.compare import compare_runs, comparison_json
from posttrain_diag.compare.runs import find_stage, matched, read_side, settings_checks
from posttrain_diag.compare.types import Check
from posttrain_diag.errors import DiagError, StoreError, UsageError
from posttrain_diag.evidence import Settings
from posttrain_diag.importers import read_counts
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.tasks import write_tasks
from posttrain_diag.types import SamplingParams

SETTINGS = Settings(SamplingParams(), rollout_budget=64)
N = 24


def answer(i: int) -> str:
    return f"answer {i} of {N}"


def rates(*by_third: float) -> Callable[[str], Mapping[str, float]]:
    """Problem i is solved with the rate of i mod 3."""

    def law(prompt: str) -> Mapping[str, float]:
        i = int(prompt[1:-1])
        return {answer(i): by_third[i % 3], f"wrong {i}": 1 - by_third[i % 3]}

    return law


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """40 problems of which the even ones go from 0/64 to 32/64; the others stay at 20/64."""
    folder = tmp_path_factory.mktemp("counted")
    for name, solved in (("a", 0), ("b", 32)):
        rows = [f"p{i},64,{20 if i % 2 else solved}" for i in range(40)]
        (folder / f"{name}.csv").write_text("\n".join(["problem_id,n,c", *rows]))
        analyze_counts(read_counts(str(folder / f"{name}.csv")), folder / name, SETTINGS)
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models on the same tasks: a third of the problems goes from never to .5, a third from .3 to .35."""
    folder = tmp_path_factory.mktemp("runs")
    write_tasks(make_problems(N, answer), folder / "tasks.jsonl")
    for name, law in (("a", rates(0.0, 0.3, 0.9)), ("b", rates(0.5, 0.35, 0.9))):
        with pytest.MonkeyPatch.context() as patch:
            engine = FakeEngine(law, name=name)
            patch.setattr(analyze_module, "load_engine", lambda _, engine=engine: engine)
            config = make_config(
                model=name, tasks=str(folder / "tasks.jsonl"), out=folder / name, rollouts=32, allocation="uniform",
                rollout_budget=32, seed=ord(name),
            )  # fmt: skip
            analyze(config)
    return folder / "a", folder / "b"


def edited(run: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a run whose diagnosis.json says something else."""
    shutil.copytree(run, to)
    data = json.loads((to / "diagnosis.json").read_text())
    change(data)
    (to / "diagnosis.json").write_text(json.dumps(data))
    return to


def recounted(run: Path, to: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """A copy of a run whose problems.parquet says something else."""
    shutil.copytree(run, to)
    change(pd.read_parquet(to / "problems.parquet")).to_parquet(to / "problems.parquet")
    return to


def kinds(checks: Iterable[Check], severity: str) -> set[str]:
    return {check.kind for check in checks if check.severity == severity}


def test_imported_counts(counted: tuple[Path, Path]) -> None:
    found = compare_runs(*counted)
    assert found.role == "expansion" and found.comparable and found.rollout_budget == 64
    assert found.support.expanded.value == pytest.approx(20, abs=1)
    assert kinds(found.checks, "note") == {"counts", "sampling"}
    assert {*found.problems("gained")["id"]} == {f"p{i}" for i in range(0, 40, 2)}
    assert len(found.problems("kept")) == 20 and found.problems("lost").empty


def test_attrition_is_said_where_its_null_is_exceeded(counted: tuple[Path, Path]) -> None:
    """Half of the problems fall from 32/64 to 0/64: that is a role of its own, on every surface."""
    found = compare_runs(*counted[::-1])
    assert found.null_shrunk.exceeds and found.role == "attrition" and found.support_lost
    assert "support of about 20 problems was lost, more than noise" in found.reason
    assert comparison_json(found)["support_lost"] is True
    assert not compare_runs(*counted).support_lost


def test_a_gain_does_not_hide_that_support_was_lost(tmp_path: Path) -> None:
    """Ten problems that were solved at 16/64 never pass any more, while thirty go from 10/64 to 60/64."""
    for name, many, few in (("a", 10, 16), ("b", 60, 0)):
        rows = [f"p{i},64,{many if i % 4 else few}" for i in range(40)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["problem_id,n,c", *rows]))
        analyze_counts(read_counts(str(tmp_path / f"{name}.csv")), tmp_path / name, SETTINGS)
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert found.role == "reshaping" and "support of about 10 problems was lost" in found.reason
    shown = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")])
    assert shown.exit_code == 0 and "reshaping with attrition" in shown.output
    for page in ("report.html", "report.md"):
        assert "Reshaping with attrition" in (tmp_path / "c" / page).read_text()


def test_only_shared_and_measured_problems_are_compared(counted: tuple[Path, Path], tmp_path: Path) -> None:
    def fewer(table: pd.DataFrame) -> pd.DataFrame:
        table = table[table["id"] != "p39"].iloc[::-1].set_index("id")
        table.loc["p1", ["n", "c"]] = 0  # every draw erred
        return table.reset_index()

    before, after = read_side(counted[0]), read_side(recounted(counted[1], tmp_path / "fewer", fewer))
    one, other, checks = matched(before, after)
    assert [*one.table.index] == [*other.table.index] == ["p0", *(f"p{i}" for i in range(2, 39))]
    assert [check.problems for check in checks] == [("p39",), ("p1",)]
    assert kinds(checks, "warning") == {"problems"}
    renamed = recounted(counted[1], tmp_path / "x", lambda t: t.assign(id="x" + t["id"]))
    with pytest.raises(UsageError, match="share 0 problems"):
        matched(before, read_side(renamed))
    with pytest.raises(StoreError, match="not a run directory"):
        read_side(tmp_path / "nowhere")
    (renamed / "problems.parquet").write_text("no parquet")
    with pytest.raises(StoreError, match=r"problems.parquet: cannot be read"):
        read_side(renamed)


def test_end_to_end(runs: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = runs
    out = tmp_path / "out"
    printed = CliRunner().invoke(
        app, ["compare", str(before), str(after), "--json", "--out", str(out)], catch_exceptions=False
    )
    data = json.loads(printed.stdout)
    assert data == json.loads((out / "comparison.json").read_text())
    assert (data["schema"], data["role"], data["comparable"], data["checks"]) == (1, "expansion", True, [])
    assert data["support"]["expanded"]["value"] == pytest.approx(8, abs=1)
    assert {row["id"] for row in data["problems"]["gained"]} == {f"p{i}" for i in range(0, N, 3)}
    parts = {name: found["value"] for name, found in data["decomposition"].items() if isinstance(found, dict)}
    total = parts["reshaping"] + parts["expansion"] - parts["attrition"] + parts["outside"]
    assert total == pytest.approx(parts["change"], abs=1e-12)
    table = pd.read_parquet(out / "comparison.parquet")
    assert len(table) == N and {"id", "n_before", "c_after", "expanded", "fate", "change"} <= {*table}
    assert data["forecast"] is None


@pytest.fixture
def staged(runs: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The first run with a finished stage that it planned, the second one as the analysis of its checkpoint."""
    gain = {"value": 0.2, "low": 0.0, "high": 0.4, "level": 0.9, "n": 5, "label": "estimated", "reason": ""}
    plan = [{"stage": "sft", "role": "expansion", "expected_gain": gain}]
    before = edited(runs[0], tmp_path / "before", lambda found: found.update(plan=plan))
    stage = before / "stages" / "01-sft"
    after = edited(runs[1], tmp_path / "after", lambda found: found["model"].update(model=str(stage / "checkpoint")))
    (stage / "checkpoint").mkdir(parents=True)
    kept = {"value": 0.9, "low": 0.88, "high": 0.92, "level": 0.9, "n": 40}
    ends = {"before": {"retention": kept}, "after": {"retention": {**kept, "value": 0.7, "low": 0.67, "high": 0.73}}}
    (stage / "result.json").write_text(json.dumps({"stage": "sft", "checkpoint": "elsewhere/checkpoint", **ends}))
    split = {"train": [f"p{i}" for i in range(9)], "watched": ["p9"], "held_out": [f"p{i}" for i in range(10, N)]}
    (stage / "problems.json").write_text(json.dumps(split))
    return before, after


def test_forecast_and_held_out_problems_of_the_stage_between(staged: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(app, ["compare", *map(str, staged)], catch_exceptions=False)
    assert result.exit_code == 0 and "more than noise" in result.output and ": as foreseen" in result.output
    data = json.loads((staged[1] / "comparison-before" / "comparison.json").read_text())
    assert data["problems"]["n"] == N - 10 and [check["kind"] for check in data["checks"]] == ["training"]
    assert (data["forecast"]["stage"], data["forecast"]["agrees"], data["forecast"]["within"]) == ("sft", True, True)
    parts = data["decomposition"]
    assert parts["forgetting"]["value"] == pytest.approx(0.2)
    assert parts["net"] == pytest.approx(parts["change"]["value"] - 0.2)


def test_which_stage_led_from_one_run_to_the_other(staged: tuple[Path, Path], runs: tuple[Path, Path]) -> None:
    before, after, other = (read_side(path) for path in (*staged, runs[1]))
    found, named = find_stage(before, after, None), find_stage(before, other, "sft")
    assert found is not None and found.led_here and found.trained == {f"p{i}" for i in range(10)}
    assert named is not None and not named.led_here
    assert find_stage(before, other, None) is None
    with pytest.raises(UsageError, match="neither run nor planned it; known there: sft"):
        find_stage(before, after, "gradient-ascent")
    one, _, checks = matched(before, after, frozenset(f"p{i}" for i in range(N - 1)))
    assert len(one.table) == N and kinds(checks, "error") == {"training"}


@pytest.mark.parametrize(
    ("kind", "severity", "change"),
    [
        ("template", "error", lambda d: d["model"].update(chat_template_sha="f" * 64)),
        ("engine", "warning", lambda d: d["model"].update(engine="vllm")),
        ("sampling", "error", lambda d: d["sampling"].update(temperature=0.7)),
        ("sampling", "error", lambda d: d["sampling"].update(stop=["\n\n"])),
        ("cap", "warning", lambda d: d["sampling"].update(max_new_tokens=512)),
        ("instrument", "error", lambda d: d["instrument"].update(status="broken")),
        ("instrument", "warning", lambda d: d["instrument"].update(status="suspect")),
        ("budget", "note", lambda d: d["settings"].update(rollout_budget=8)),
        ("draws", "warning", lambda d: (d["model"].update(model_sha="a-model"), d["sampling"].update(seed=97))),
        ("draws", "note", lambda d: d["model"].update(model_sha="a-model")),
    ],
)
def test_controls(runs: tuple[Path, Path], tmp_path: Path, kind: str, severity: str, change: Any) -> None:
    before, after = read_side(runs[0]), read_side(edited(runs[1], tmp_path / "run", change))
    assert settings_checks(before, read_side(runs[1])) == []
    assert [(check.kind, check.severity) for check in settings_checks(before, after)] == [(kind, severity)]


def test_a_cap_that_cuts_draws_is_an_error_and_no_role_is_concluded(runs: tuple[Path, Path], tmp_path: Path) -> None:
    longer = edited(runs[1], tmp_path / "longer", lambda d: d["sampling"].update(max_new_tokens=512))
    cut = recounted(longer, tmp_path / "cut", lambda table: table.assign(truncated=8))
    found = compare_runs(runs[0], cut)
    assert kinds(found.checks, "error") == {"cap"} and not found.comparable and found.role == "undetermined"


def test_other_prompts_and_verifiers_are_no_shared_problems(runs: tuple[Path, Path], tmp_path: Path) -> None:
    after = edited(runs[1], tmp_path / "after", lambda _: None)
    problems = make_problems(N, answer)
    vars(problems[0])["prompt"] = "another prompt"
    vars(problems[1])["answer"] = "another answer"
    write_tasks(problems, after / "tasks.jsonl")
    one, _, checks = matched(read_side(runs[0]), read_side(after))
    assert [(check.kind, check.problems) for check in checks] == [("prompts", ("p0",)), ("verifier", ("p1",))]
    assert kinds(checks, "warning") == {"prompts", "verifier"} and len(one.table) == N - 2
    for problem in problems:
        vars(problem)["prompt"] = f"so what is {problem.prompt}"
    write_tasks(problems, after / "tasks.jsonl")
    with pytest.raises(UsageError, match="have other prompts"):
        compare_runs(runs[0], after)


def test_a_run_with_itself_and_retained_runs(runs: tuple[Path, Path], counted: tuple[Path, Path]) -> None:
    found = compare_runs(runs[0], runs[0], retention=counted)
    assert (found.role, found.decomposition.change.value) == ("consolidation", 0.0)
    assert kinds(found.checks, "warning") == {"draws"} and "retained counts" in kinds(found.checks, "note")
    assert found.decomposition.forgetting is not None
    assert found.decomposition.forgetting.value == pytest.approx(-0.25)
    assert not found.null_expanded.exceeds and not found.null_shrunk.exceeds
    assert json.dumps(comparison_json(found), allow_nan=False)


def test_prompts_under_several_ids_are_one_cluster(runs: tuple[Path, Path], tmp_path: Path) -> None:
    copies = [edited(run, tmp_path / run.name, lambda _: None) for run in runs]
    problems = make_problems(N, answer)
    for groups in (3, 1):
        for problem in problems:
            vars(problem)["prompt"] = f"q{int(problem.id[1:]) % groups}"
        for run in copies:
            write_tasks(problems, run / "tasks.jsonl")
        if groups == 3:
            assert compare_runs(*copies).pass_at_k[0].p_value >= 0.25  # three clusters: at best 2 of 8 sign patterns
        else:
            with pytest.raises(UsageError, match="share one prompt alone"):
                compare_runs(*copies)


def test_bad_arguments(counted: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 rollouts"):
        compare_runs(*counted, rollout_budget=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(DiagError, match="name a directory"):
        args = ["compare", *map(str, counted), "--out", str(tmp_path / "file"), "--rollout-budget", "8"]
        CliRunner().invoke(app, args, catch_exceptions=False)
