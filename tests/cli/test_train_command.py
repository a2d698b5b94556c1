"""`diag train` as a user runs it: inputs, errors, the plan of a run, the same command again, SIGKILL, two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from posttrain_diag.cli.app import app, error_text
from posttrain_diag.errors import DiagError
from posttrain_diag.recommend.replan import inputs_and_configs
from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.stages.prepare import TrainRequest, planned_stage, prepare
from posttrain_diag.tasks import write_tasks
from posttrain_diag.zoo import problems

SMALL = ("batch_size=16", "watch_problems=4", "watch_rollouts=2", "eval_problems=4", "eval_rollouts=4", "watch_every=2")


def diag(*args: str) -> Any:
    """Run in this process; returns the JSON it prints."""
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def small(*more: str) -> list[str]:
    """Settings that make a stage a matter of a second."""
    return [part for pair in (*SMALL, *more) for part in ("--set", pair)]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    write_tasks(problems("S", 20), path)
    return path


def said(request: TrainRequest) -> str:
    with pytest.raises(DiagError) as caught:
        prepare(request)
    return error_text(caught.value)


def test_what_is_missing_is_named(tasks: Path, tmp_path: Path) -> None:
    assert "--model and --tasks and --out missing" in said(TrainRequest(stage="sft"))
    request = TrainRequest(stage="sft", model="zoo:base", tasks=str(tasks), out=tmp_path / "out")
    three = tmp_path / "three.jsonl"
    write_tasks(problems("S", 3), three)
    assert "--train-tasks" in said(TrainRequest(**{**vars(request), "tasks": str(three)}))
    assert "unknown stage setting 'stepz'" in said(TrainRequest(**{**vars(request), "settings": {"stepz": 3}}))
    assert "holds only problems of --tasks" in said(TrainRequest(**{**vars(request), "train_tasks": str(tasks)}))


def test_the_sets_are_disjoint_and_retained_ids_are_told_apart(tasks: Path, tmp_path: Path) -> None:
    request = TrainRequest(
        stage="grpo", model="zoo:base", tasks=str(tasks), retain=str(tasks), out=tmp_path / "o", settings={"seed": 3}
    )
    inputs = prepare(request).inputs
    sets = [{p.id for p in part} for part in (inputs.train, inputs.watched, inputs.held_out, inputs.retain)]
    assert [len(part) for part in sets] == [9, 2, 9, 20]  # each is held out with chance .3
    assert len(set().union(*sets)) == 40
    other = prepare(TrainRequest(**{**vars(request), "settings": {"seed": 4}})).inputs
    assert {p.id for p in other.held_out} != sets[2]
    assert prepare(request).inputs == inputs


def test_a_stage_without_what_it_needs_says_which_are_possible(tmp_path: Path) -> None:
    from dataclasses import replace

    bare = tmp_path / "bare.jsonl"
    write_tasks([replace(row, demos=()) for row in problems("S", 12)], bare)
    command = ["train", "--model", "zoo:base", "--stage", "sft", "--tasks", str(bare), "--out", str(tmp_path / "out")]
    with pytest.raises(DiagError, match=r"sft needs demonstrations: .*possible with what is there: .*grpo"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DiagError, match=r"there is no stage 'grop' \(did you mean 'grpo'\?\); stages: .*grpo"):
        CliRunner().invoke(app, [*command[:4], "grop", *command[5:]], catch_exceptions=False)
    with pytest.raises(DiagError, match="tasks to retain"):
        CliRunner().invoke(app, [*command[:4], "grpo", *command[5:], "--replay", "0.2"], catch_exceptions=False)


def test_settings_and_stages_that_do_not_go_together_are_refused_before_tasks_are_read(
    tasks: Path, tmp_path: Path
) -> None:
    request = TrainRequest(stage="sft", model="zoo:base", tasks="no-such-file.jsonl", out=tmp_path / "out")

    def refused(stage: str, settings: dict[str, Any], **more: Any) -> str:
        return said(TrainRequest(**{**vars(request), "stage": stage, "settings": settings, **more}))

    told = "diag: stage sft does not read loss; stages that do: preference, online-preference\n"
    assert refused("sft", {"loss": "orpo"}) == told
    (tmp_path / "own.yaml").write_text("loss: orpo\nsteps: 3\n")
    assert refused("sft", {}, config_file=tmp_path / "own.yaml") == told
    assert "stage merge does not read lora_rank; stages that do: all others" in refused("merge", {"lora_rank": 4})
    assert "stage grpo does not read own_rollouts; " in refused("grpo", {"own_rollouts": 8})
    assert "there is no stage 'grpoo' (did you mean 'grpo'?); " in refused("grpoo", {"stepz": 1})
    assert "unknown stage setting 'stepz' (did you mean 'steps'?); " in refused("sft", {"stepz": 1, "loss": "orpo"})
    asked = {"loss": "orpo", "beta": 0.2}
    found = prepare(TrainRequest(**{**vars(request), "stage": "preference", "tasks": str(tasks), "settings": asked}))
    assert found.config.model_dump(include=set(asked)) == asked


def test_the_plan_counts_the_demonstrations_that_training_gets(tmp_path: Path) -> None:
    """Demonstrations on the last rows alone: they are counted where they are trained on, not by place in the file."""
    from dataclasses import replace

    tasks, run = tmp_path / "tasks.jsonl", tmp_path / "run"
    write_tasks([replace(row, demos=row.demos if i >= 28 else ()) for i, row in enumerate(problems("S", 40))], tasks)
    diag("analyze", "zoo:base", "--tasks", str(tasks), "--rollouts", "4", "--out", str(run), "--json", "--quiet")
    request = TrainRequest(run=run, stage="sft")
    taught = sum(bool(problem.demos) for problem in prepare(request).inputs.train)
    assert json.loads((run / "facts.json").read_text())["resources"]["demos"] == taught > 0
    plan = json.loads((run / "diagnosis.json").read_text())["plan"]
    ready = [step["stage"] for step in plan if not step["needs"]]
    assert any("demos" in stage_record(stage).needs for stage in ready)
    for stage in ready:
        assert prepare(TrainRequest(run=run, stage=stage)).inputs.missing(stage) == ()


def test_a_run_is_trained_by_its_plan_and_the_same_command_does_it_once(tasks: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    diag("analyze", "zoo:base", "--tasks", str(tasks), "--rollouts", "16", "--out", str(run), "--json", "--quiet")
    from posttrain_diag.store import RunDir

    stage = planned_stage(RunDir(run))
    assert stage == json.loads((run / "diagnosis.json").read_text())["plan"][0]["stage"]
    command = ["train", str(run), "--steps", "2", "--json", "--quiet", *small()]
    result = diag(*command)
    folder = run / "stages" / f"01-{stage}"
    assert result["steps"] == 2
    assert Path(result["checkpoint"]) == folder / "checkpoint"
    assert (folder / "checkpoint" / "model.safetensors").exists()
    assert not (folder / "rollouts.sqlite").exists()  # draws of the run itself would be used
    kinds = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert kinds[-2:] == ["train", "trained"]
    made = (folder / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    again = diag(*command, "--stage", stage, "--out", str(folder))
    assert again == result
    assert (folder / "checkpoint" / "model.safetensors").stat().st_mtime_ns == made
    with pytest.raises(DiagError, match="no such file"):
        prepare(TrainRequest(run=run, config_file=tmp_path / "nowhere.yaml"))
    with pytest.raises(DiagError, match=r"^stage merge does not read steps; "):
        prepare(TrainRequest(run=run, stage="merge", settings={"steps": 2}))
    merged = prepare(TrainRequest(run=run, stage="merge", settings={"merge": "soup"}))  # what a run gives is no error
    assert (merged.config.merge, merged.config.max_new_tokens) == ("soup", result_cap(run))
    pilots_get_what_each_stage_reads(run)
    (tmp_path / "stage.yaml").write_text("seed: 5\nweight_decay: 0.1\n")
    told = prepare(TrainRequest(run=run, config_file=tmp_path / "stage.yaml", settings={"weight_decay": 0.2})).config
    assert (told.seed, told.weight_decay, told.max_new_tokens) == (5, 0.2, result_cap(run))
    changed = ["train", str(run), "--steps", "3", "--json", "--quiet", *small(), "--out", str(folder)]
    with pytest.raises(DiagError, match="another config"):
        CliRunner().invoke(app, changed, catch_exceptions=False)


def result_cap(run: Path) -> int:
    return json.loads((run / "run.json").read_text())["sampling"]["max_new_tokens"]


def pilots_get_what_each_stage_reads(run: Path) -> None:
    given = {"loss": "orpo", "rounds": 2, "seed": 3, "budget_tokens": 100, "watch_problems": 2}
    inputs, config_of = inputs_and_configs(run, TrainRequest(run=run, settings=given))
    assert len(inputs.watched) == 2
    read = {stage: config_of(stage).model_dump(include=set(given)) for stage in ("sft", "rft", "preference", "merge")}
    unread = {"loss": "sigmoid+sft", "rounds": 1}
    assert read["sft"] == {**given, **unread}
    assert read["rft"] == {**given, "loss": "sigmoid+sft"}
    assert read["preference"] == {**given, "rounds": 1}
    assert read["merge"] == {**given, **unread, "budget_tokens": None}
    assert all(config_of(stage).max_new_tokens == result_cap(run) for stage in read)


def test_training_tasks_are_read_as_the_analysis_read_its_own(tmp_path: Path) -> None:
    for name, start in (("tasks", 0), ("train", 4)):
        rows = [{"asked": f"{i}=", "key": str(i), "text": f"x{i}"} for i in range(start, start + 8)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run, train = tmp_path / "run", str(tmp_path / "train.jsonl")
    diag(
        "analyze", "zoo:base", "--tasks", str(tmp_path / "tasks.jsonl"), "--map", "prompt=asked", "--map",
        "answer=key", "--verifier", "exact", "--rollouts", "2", "--out", str(run), "--json", "--quiet",
    )  # fmt: skip
    found = prepare(TrainRequest(run=run, stage="grpo", train_tasks=train)).inputs
    assert sorted(p.prompt or "" for p in (*found.train, *found.watched)) == sorted(f"{i}=" for i in range(8, 12))
    assert {p.verifier["type"] for p in found.train} == {"exact"}
    flags = TrainRequest(
        run=run, stage="grpo", train_tasks=train, mapping={"prompt": "text", "answer": "key"}, verifier="numeric"
    )
    told = prepare(flags).inputs.train
    assert {(p.prompt or "")[0] for p in told} == {"x"} and {p.verifier["type"] for p in told} == {"numeric"}


def test_dry_run_loads_nothing(tasks: Path, tmp_path: Path) -> None:
    found = diag(
        "train", "--model", "no/such-model", "--stage", "grpo", "--tasks", str(tasks), "--out", str(tmp_path / "out"),
        "--dry-run", "--json", "--set", "kl=0.05",
    )  # fmt: skip
    assert (found["train"], found["watched"], found["held_out"]) == (12, 3, 5)
    assert found["config"]["kl"] == 0.05
    assert not (tmp_path / "out").exists()


COMMAND = (
    "train", "--model", "zoo:base", "--stage", "grpo", "--tasks", "builtin:zoo/S", "--steps", "12", "--json", "--quiet",
)  # fmt: skip


def start(out: Path, *launcher: str, more: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "-m", "posttrain_diag", *COMMAND, "--out", str(out), *small(), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [2, 8])
def test_a_killed_stage_goes_on_to_the_same_weights(tmp_path: Path, kill_at: int) -> None:
    whole = finish(start(tmp_path / "whole"))
    process = start(tmp_path / "killed")
    marker = tmp_path / "killed" / "phases" / "grpo" / "trainer" / f"checkpoint-{kill_at}" / "stage_state.json"
    while not marker.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    again = finish(start(tmp_path / "killed"))
    for key in ("steps", "best_step", "generated_tokens", "trained_tokens", "rollouts", "after"):
        assert again[key] == whole[key], key
    one, other = (load_file(Path(r["checkpoint"]) / "model.safetensors") for r in (whole, again))
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.slow
def test_two_processes_reach_what_one_reaches(tmp_path: Path) -> None:
    settings = ("batch_size=64", "eval_rollouts=32", "eval_problems=24", "replay=0")
    more = ("--steps", "30", *(part for pair in settings for part in ("--set", pair)))
    one = finish(start(tmp_path / "one", more=more))
    two = finish(start(tmp_path / "two", "-m", "torch.distributed.run", "--nproc_per_node", "2", more=more))
    assert one["rollouts"] == two["rollouts"] == 30 * 64
    reached = [r["after"]["estimates"]["pass@1"] for r in (one, two)]
    assert one["before"] == two["before"]
    assert min(r["value"] for r in reached) > one["before"]["estimates"]["pass@1"]["high"]
    assert reached[0]["low"] < reached[1]["high"]
    assert reached[1]["low"] < reached[0]["high"]
