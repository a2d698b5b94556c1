"""`diag run` as a user runs it: a real model, real training as small as it comes, errors, --json and --dry-run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posttrain_diag.cli.app import app
from posttrain_diag.errors import DiagError
from posttrain_diag.tasks import write_tasks
from posttrain_diag.zoo import problems

SMALL = (
    "steps=30", "batch_size=64", "warmup_steps=0", "watch_every=15", "watch_problems=8", "watch_rollouts=4", "eval_problems=12",
    "eval_rollouts=16", "device=cpu",
)  # fmt: skip


def diag(*args: str) -> Any:
    result = CliRunner().invoke(app, ["run", *args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def small(*more: str) -> list[str]:
    return [part for pair in (*SMALL, *more) for part in ("--set", pair)]


def test_a_real_run_gains_on_problems_that_it_never_saw(tmp_path: Path) -> None:
    tasks, train, out = tmp_path / "tasks.jsonl", tmp_path / "train.jsonl", tmp_path / "run"
    write_tasks(problems("S", 12), tasks)
    write_tasks(problems("S", 60, split="training"), train)
    command = [
        "zoo:base", "--tasks", str(tasks), "--train-tasks", str(train), "--out", str(out), "--rollouts", "16",
        "--target", "0.3", "--max-stages", "2", *small("learning_rate=5e-4"),
    ]  # fmt: skip
    found = diag(*command, "--json", "--quiet")
    result = json.loads(found.stdout)
    assert result == json.loads((out / "result.json").read_text())
    assert result["rounds"][0]["outcome"] == "kept"
    assert result["end"] == "target"
    assert result["after"]["pass@1"]["value"] > 0.3 > result["before"]["pass@1"]["value"]
    assert (out / "checkpoint" / "model.safetensors").exists()
    assert Path(result["after"]["report"]).exists()
    comparison = result["rounds"][0]["comparison"]
    assert (comparison["role"], comparison["forecast"]["stage"]) == ("reshaping", result["rounds"][0]["stage"])
    checks = json.loads(Path(comparison["path"]).read_text())["checks"]
    assert [
        check for check in checks if check["severity"] != "note"
    ] == []  # the stage was found, and what it trained on
    tokens = result["rounds"][0]["tokens"]
    assert all(tokens[name] > 0 for name in ("analysis", "generated", "trained", "watched", "measured"))
    assert tokens["total"] + result["tokens"]["start"]["total"] == result["tokens"]["total"]
    shown = diag(*command)
    assert "has ended already" in shown.stderr
    assert "kept" in shown.stdout
    assert f"model: {out}/checkpoint" in shown.stdout


def test_a_stage_by_hand_is_the_same_stage(tmp_path: Path) -> None:
    """The commands in result.json are `diag` commands that the command line takes."""
    from posttrain_diag.autopilot.commands import analyze_command, train_command
    from posttrain_diag.settings.analysis import make_config
    from posttrain_diag.stages.prepare import TrainRequest

    config = make_config(
        model="m", tasks="t", out=tmp_path / "o", teacher=("a", "b"), mapping={"prompt": "q"}, chat_template=False, allow_code=True,
        rollouts=7,
    )  # fmt: skip
    assert analyze_command(config) == (
        f"diag analyze m --tasks t --out {tmp_path}/o --no-chat-template --map prompt=q --allow-code --teacher a "
        "--teacher b --rollouts 7"
    )
    request = TrainRequest(
        run=Path("r"), stage="preference", train_tasks="t t", settings={"replay": 0.75, "loss": "ipo"}
    )
    told = "diag train r --stage preference --train-tasks 't t' --set replay=0.75 --set loss=ipo"
    assert train_command(request) == told


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [
        "zoo:base",
        "--tasks",
        "builtin:zoo/S",
        "--retain",
        "builtin:zoo/mastered",
        "--out",
        str(out),
        "--dry-run",
    ]
    found = json.loads(diag(*command, "--json").stdout)
    assert found["train"] + found["held_out"] == 100
    assert found["analysis"]["rollouts"] == 64 * found["held_out"]
    shown = diag(*command).stdout
    assert "at most 6 stages, target pass@1 95%" in shown
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "MODEL is missing"),
        (["zoo:base"], "--tasks is missing"),
        (["zoo:nothing", "--tasks", "builtin:zoo/S"], "there is no zoo model 'zoo:nothing'"),
        (["zoo:base", "--tasks", "builtin:zoo/S", "--temperature", "0"], "--temperature: got 0.0"),
        (["zoo:base", "--tasks", "builtin:zoo/S", "--set", "stepz=3"], "unknown stage setting 'stepz'"),
        (
            ["zoo:base", "--tasks", "builtin:zoo/S", "--set", "target=logits"],
            "no stage that this run can choose reads it",
        ),
        (["zoo:base", "--tasks", "builtin:zoo/S", "--sibling", "zoo:base"], "is the model itself"),
        (["zoo:base", "--tasks", "builtin:zoo/S", "--keep", "2"], "--keep: got 2.0"),
    ],
)
def test_errors_are_one_line(args: list[str], text: str, tmp_path: Path) -> None:
    with pytest.raises(DiagError) as caught:
        CliRunner().invoke(app, ["run", *args, "--out", str(tmp_path / "o")], catch_exceptions=False)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "o").exists()


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DiagError, match="is one process"):
        CliRunner().invoke(app, ["run", "zoo:base", "--tasks", "builtin:zoo/S"], catch_exceptions=False)
