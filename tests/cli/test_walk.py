"""How deep is the way from a command to its number? Frames of our own code at the call, one file for each step."""

from __future__ import annotations

import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import posttrain_probes
import posttrain_reports
import pytest
from typer.testing import CliRunner

import posttrain_diag
from posttrain_diag.cli.app import app

MOST_FRAMES = 7
ROOTS = tuple(
    str(Path(package.__file__ or "").parent) for package in (posttrain_diag, posttrain_probes, posttrain_reports)
)


def own_frames() -> list[str]:
    """Functions of ours that are running, outermost first, each with its file."""
    return [f"{Path(f.filename).name}:{f.name}" for f in traceback.extract_stack() if f.filename.startswith(ROOTS)]


def run(*args: str) -> None:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture
def analyzed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A run, and the frames at the call of the estimator of pass@k."""
    module, seen = import_module("posttrain_probes.pass_at_k"), list[list[str]]()
    real = module.pass_at_k

    def spied(*args: Any, **more: Any) -> Any:
        seen.append(own_frames())
        return real(*args, **more)

    monkeypatch.setattr(module, "pass_at_k", spied)
    run(
        "analyze", "zoo:base", "--tasks", "builtin:zoo/S", "--limit", "8", "--rollouts", "4", "--allocation", "uniform",
        "--out", str(tmp_path / "run"), "--quiet",
    )  # fmt: skip
    return tmp_path / "run", seen[0]


def test_from_the_command_to_the_estimator(analyzed: tuple[Path, list[str]]) -> None:
    frames = analyzed[1]
    assert frames[0].startswith("analyze_command.py") and len(frames) < MOST_FRAMES, frames  # `main` stands above


def test_from_the_command_to_the_trainer(analyzed: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Trainer

    seen: list[list[str]] = []

    def spied(_: Any, **__: Any) -> None:
        seen.append(own_frames())

    monkeypatch.setattr(Trainer, "train", spied)
    small = ("batch_size=16", "watch_problems=2", "watch_rollouts=2", "eval_problems=2", "eval_rollouts=2")
    settings = [part for pair in small for part in ("--set", pair)]
    run("train", str(analyzed[0]), "--stage", "grpo", "--steps", "1", "--quiet", *settings)
    (frames,) = seen
    files = [frame.partition(":")[0] for frame in frames]
    assert len(frames) < MOST_FRAMES and len(set(files)) == len(files), frames
