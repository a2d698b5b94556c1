"""`diag train`: from a request, or from the plan of a run, to the inputs of a stage and its result.

RUN ──► plan's first stage that can run ──┐
                                          ├──► StageInputs ──► stages.train_stage ──► StageResult
--model --stage --tasks [--train-tasks] ──┘
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from posttrain_diag.errors import UsageError
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.settings.analysis import load_config
from posttrain_diag.settings.stage import make_stage_config, said_settings
from posttrain_diag.settings.tasks import TaskSettings
from posttrain_diag.stages import (
    STAGES,
    Measured,
    StageConfig,
    StageInputs,
    StageResult,
    train_stage,
)
from posttrain_diag.stages.catalogue import refuse_unread, stage_record
from posttrain_diag.store import RunDir
from posttrain_diag.tasks import load_problems, load_tasks
from posttrain_diag.tasks.problems.split import divide
from posttrain_diag.types import Problem


@dataclass(frozen=True)
class TrainRequest:
    """What the user asked for; None stands for a run's own value."""

    run: Path | None = None
    stage: str | None = None
    model: str | None = None
    tasks: str | None = None
    train_tasks: str | None = None
    retain: str | None = None
    demos: str | None = None
    teachers: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()
    out: Path | None = None
    config_file: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Stage settings given one by one; they win over those in the settings file."""
    mapping: Mapping[str, str] = field(default_factory=dict[str, str])
    verifier: str | None = None
    allow_code: bool = False


@dataclass(frozen=True)
class Prepared:
    """A stage ready to be run."""

    stage: str
    inputs: StageInputs
    config: StageConfig
    out: Path
    run: RunDir | None
    notes: tuple[str, ...]
    """Choices that were made for the user, as lines to show."""


def prepare(request: TrainRequest) -> Prepared:
    """Read everything a stage needs; loads no model.

    Raises:
        DiagError: something is missing or cannot be read, there is no such stage, or it does not read a setting that
            was given for it; the message says what to give.
    """
    if request.stage is not None:
        stage_record(request.stage)
    return _of_run(request) if request.run is not None else _of_model(request)


def train(
    prepared: Prepared,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    before: Measured | None = None,
) -> StageResult:
    """Run a prepared stage; the same call goes on where a killed one stopped.

    Args:
        prepared: what `prepare` returned.
        progress: shown while rollouts are drawn.
        say: told a line of text now and then.
        before: the model as another stage measured it on these held-out problems under these settings; see
            `train_stage`.
    """
    run, writes = prepared.run, os.environ.get("RANK", "0") == "0"  # before accelerate is asked
    with run.locked() if run is not None and writes else nullcontext():
        if run is not None and writes:
            run.event("train", stage=prepared.stage, out=str(prepared.out))
        result = train_stage(
            prepared.stage,
            prepared.inputs,
            prepared.config,
            prepared.out,
            store=None if run is None else run.store,
            before=before,
            progress=progress,
            say=say,
        )
        if run is not None and writes:
            run.event("trained", stage=prepared.stage, checkpoint=result.checkpoint, stopped=result.stopped)
        return result


def _of_model(request: TrainRequest) -> Prepared:
    stage, model, tasks, out = request.stage, request.model, request.tasks, request.out
    given = {"--model": model, "--stage": stage, "--tasks": tasks, "--out": out}
    missing = [flag for flag, value in given.items() if value is None]
    if stage is None or model is None or tasks is None or out is None:
        raise UsageError(
            f"{' and '.join(missing)} missing: diag train RUN [--stage NAME], or "
            "diag train --model M --stage NAME --tasks FILE --out DIR"
        )
    config = _config_of(stage, request, {})
    everything = _tasks(tasks, request)
    inputs, notes = _inputs(directory_of(model), everything, config, request)
    return Prepared(stage, inputs, config, out, None, notes)


def _of_run(request: TrainRequest) -> Prepared:
    assert request.run is not None
    run = RunDir(request.run)
    analyzed = load_config(run.config_path)
    model = request.model or analyzed.model
    stage = request.stage or planned_stage(run)
    sampling: dict[str, Any] = run.read_json("run.json")["sampling"]
    defaults = {
        "max_new_tokens": sampling["max_new_tokens"],
        "temperature": sampling["temperature"],
        "seed": sampling["seed"],
        "stop": sampling.get("stop", ()),
        "template": analyzed.template,
        "chat_template": analyzed.chat_template,
        "system_prompt": analyzed.system_prompt,
        "device": analyzed.device,
        "trust_remote_code": analyzed.trust_remote_code,
    }
    if sampling["temperature"] == 0:
        raise UsageError(f"{request.run}: was sampled at temperature 0, and training needs draws that differ")
    config = _config_of(stage, request, defaults)
    asked = replace(
        request, mapping=request.mapping or analyzed.mapping, verifier=request.verifier or analyzed.verifier
    )
    everything = (
        load_tasks(str(run.path / "tasks.jsonl"), allow_code=True).problems
        if request.tasks is None
        else _tasks(request.tasks, asked)
    )
    asked = replace(
        asked,
        teachers=request.teachers or analyzed.teacher,
        retain=request.retain or analyzed.retain,
        train_tasks=request.train_tasks or (analyzed.train_tasks if request.tasks is None else None),
    )
    inputs, notes = _inputs(directory_of(model), everything, config, asked)
    out = request.out or _stage_folder(run.path, stage)
    return Prepared(stage, inputs, config, out, run if model == analyzed.model else None, notes)


def _config_of(stage: str, request: TrainRequest, defaults: Mapping[str, Any]) -> StageConfig:
    """The settings of a stage: a run's own values, and on top what was given for it, which it must read."""
    said = said_settings(request.config_file, request.settings)
    refuse_unread(stage, said)
    return make_stage_config(**{**defaults, **said})


def planned_stage(run: RunDir) -> str:
    """The first stage of a run's plan that needs nothing more and that `diag train` can run.

    Raises:
        UsageError: there is none; the message says what is missing.
    """
    plan = run.read_json("diagnosis.json")["plan"]
    for proposal in plan:
        if proposal["stage"] in STAGES and not proposal["needs"]:
            return str(proposal["stage"])
    if not plan:
        raise UsageError(
            f"{run.path}: the diagnosis proposes no stage (see its reasons with `diag report`); name one with --stage"
        )
    lacking = "; ".join(f"{p['stage']} needs {', '.join(p['needs'])}" for p in plan if p["needs"])
    raise UsageError(f"{run.path}: no stage of the plan can run as it is: {lacking}; or name another with --stage")


def _stage_folder(run: Path, stage: str) -> Path:
    """The folder of a stage within its run: the unfinished one, else the next number."""
    known = sorted((run / "stages").glob("[0-9][0-9]-*"))
    for path in known:
        if path.name[3:] == stage and not (path / "result.json").exists():
            return path
    return run / "stages" / f"{len(known) + 1:02d}-{stage}"


def directory_of(model: str) -> str:
    """The directory or hub id of a model: `zoo:NAME` becomes its directory, any other name stays as it is."""
    from posttrain_diag.zoo import resolve_model

    return str(resolve_model(model)) if model.startswith("zoo:") else model


def _tasks(source: str, request: TrainRequest) -> tuple[Problem, ...]:
    settings = TaskSettings(
        tasks=source,
        demos=request.demos,
        mapping=dict(request.mapping),
        verifier=request.verifier,
        allow_code=request.allow_code,
    )
    return load_problems(settings).problems


def _inputs(
    model: str, tasks: tuple[Problem, ...], config: StageConfig, request: TrainRequest
) -> tuple[StageInputs, tuple[str, ...]]:
    """Divide what was given into problems to train on, to watch and to hold out; also returns notes for the user."""
    given = None if request.train_tasks is None else _tasks(request.train_tasks, replace(request, demos=None))
    split = divide(tasks, given, watched=config.watch_problems, seed=config.seed)
    retain = () if request.retain is None else load_tasks(request.retain, allow_code=request.allow_code).problems
    taken = {problem.id for problem in (*split.train, *split.watched, *split.held_out)}
    retain = tuple(replace(p, id=f"retain:{p.id}") if p.id in taken else p for p in retain)
    teachers = tuple(directory_of(name) for name in request.teachers)
    siblings = tuple(directory_of(name) for name in request.siblings)
    return StageInputs(model, split.train, split.watched, split.held_out, retain, teachers, siblings), split.notes


def result_json(result: StageResult) -> dict[str, Any]:
    """The result of a stage in the form in which `result.json` holds it."""
    return json.loads((Path(result.checkpoint).parent / "result.json").read_text())
