"""The pages a run leaves: a comparison's page never lies where the run's own page does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from posttrain_diag.analysis.analyze import Analysis
from posttrain_diag.autopilot.run import AutopilotRun
from posttrain_diag.autopilot.steps import compare_runs
from posttrain_diag.types import Problem

from .fake_world import World


def problem(name: str) -> Problem:
    return Problem(name, prompt=f"{name}?", messages=None, answer="a", verifier={"type": "exact"})


@pytest.mark.parametrize("number", [0, 1])
def test_a_comparison_within_an_unfinished_run(
    number: int, run_analysis: Callable[..., Analysis], tmp_path: Path
) -> None:
    rows = [problem(f"p{i}") for i in range(6)]
    for name, share in (("one", 0.2), ("two", 0.9)):
        run_analysis(lambda _, share=share: {"a": share, "b": 1 - share}, rows, rollouts=16, out=tmp_path / name)
    out = tmp_path / "auto"
    out.mkdir()
    (out / "state.json").write_text("{}")
    run = SimpleNamespace(out=out, folder=lambda number: out / "rounds" / f"{number:02d}-rft")
    path = AutopilotRun.comparison(run, number)  # pyright: ignore[reportArgumentType]
    compare_runs(tmp_path / "one", tmp_path / "two", path, 0)
    assert path.exists()
    assert "pass@1 rose" in path.with_name("report.html").read_text(encoding="utf-8")
    assert not (out / "report.html").exists()


def test_the_page_of_a_run_names_its_stages(tmp_path: Path) -> None:
    world = World(tmp_path)
    result = world.run(retain=world.retain)
    page = (world.out / "report.html").read_text(encoding="utf-8")
    for one in result["rounds"]:
        assert one["stage"] in page
        assert one["outcome"] in page
