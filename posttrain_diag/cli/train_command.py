"""`diag train`: run a stage of a plan, or any stage on any model, and say what it did."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.analyze_command import Stop, parse_mapping, parse_stops
from posttrain_diag.cli.terminal import echo, echo_json, say, say_nothing
from posttrain_diag.errors import UsageError, nearest
from posttrain_diag.stages.catalogue import STAGES, stage_record
from posttrain_diag.wording.estimates import change_text
from posttrain_diag.wording.numbers import count, duration, token_count

if TYPE_CHECKING:
    from posttrain_diag.stages import StageResult
    from posttrain_diag.stages.prepare import Prepared

Run = Annotated[Path | None, typer.Argument(help="Run of `diag analyze`: its model, tasks and plan are used.")]
Stage = Annotated[
    str | None,
    typer.Option(
        help=f"{', '.join(STAGES)}; `diag stages` describes them. Default: the first of the plan that can run.",
        autocompletion=completion.stages,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(help="HF directory, PEFT adapter directory, hub id, or zoo:NAME.", autocompletion=completion.models),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        help="Tasks; without --train-tasks 30% of them are held out for measuring.", autocompletion=completion.tasks
    ),
]
TrainTasks = Annotated[
    str | None,
    typer.Option(help="Tasks to train on; then all of --tasks are held out.", autocompletion=completion.tasks),
]
Retain = Annotated[
    str | None,
    typer.Option(help="Tasks whose pass rate should stay; half may be replayed.", autocompletion=completion.tasks),
]
Demos = Annotated[
    str | None,
    typer.Option(help="Tasks file whose demonstrations are merged in by problem id.", autocompletion=completion.tasks),
]
Teacher = Annotated[
    list[str] | None,
    typer.Option(help="Model that gives targets (repeatable: routed by problem).", autocompletion=completion.models),
]
Sibling = Annotated[
    list[str] | None, typer.Option(help="Checkpoint to merge with (repeatable).", autocompletion=completion.models)
]
Out = Annotated[Path | None, typer.Option(help="Folder of the stage. Default with RUN: RUN/stages/NN-STAGE.")]
Steps = Annotated[int | None, typer.Option(help="Optimizer steps. Default: the stage's own.")]
Budget = Annotated[int | None, typer.Option("--budget-tokens", help="Stop after so many generated and trained tokens.")]
Replay = Annotated[float | None, typer.Option(help="Share of retained tasks in every batch; needs --retain.")]
Lora = Annotated[int | None, typer.Option("--lora-rank", help="Train a LoRA adapter of this rank; 0: all weights.")]
Seed = Annotated[int | None, typer.Option(help="Seed of data order, draws and adapters.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... Default: cuda when there is one.")]
Config = Annotated[Path | None, typer.Option(help="YAML file of stage settings.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any stage setting, e.g. --set learning_rate=1e-5.")]
Mapping = Annotated[list[str] | None, typer.Option("--map", help="FIELD=COLUMN, e.g. --map prompt=question.")]
Verifier = Annotated[str | None, typer.Option(help="path.py:function or package.module:function.")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Run verifier code that the tasks file names.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print result.json on stdout; everything else on stderr.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the inputs and print the settings; train nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def train(
    run: Run = None,
    stage: Stage = None,
    model: Model = None,
    tasks: Tasks = None,
    train_tasks: TrainTasks = None,
    retain: Retain = None,
    demos: Demos = None,
    teacher: Teacher = None,
    sibling: Sibling = None,
    out: Out = None,
    steps: Steps = None,
    budget_tokens: Budget = None,
    replay: Replay = None,
    lora_rank: Lora = None,
    stop: Stop = None,
    seed: Seed = None,
    device: Device = None,
    config: Config = None,
    settings: Set = None,
    mapping: Mapping = None,
    verifier: Verifier = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Run a post-training stage, watch it, keep its best checkpoint and measure it on held-out problems.

    Several GPUs: accelerate launch -m posttrain_diag train ...
    """
    refuse_names(run, stage)
    from posttrain_diag.cli.progress import make_progress
    from posttrain_diag.stages.prepare import TrainRequest, prepare, result_json
    from posttrain_diag.stages.prepare import train as run_stage

    flags = {
        "steps": steps,
        "budget_tokens": budget_tokens,
        "replay": replay,
        "lora_rank": lora_rank,
        "stop": parse_stops(stop) or None,
        "seed": seed,
        "device": device,
    }
    chosen = {**parse_settings(settings), **{key: value for key, value in flags.items() if value is not None}}
    prepared = prepare(
        TrainRequest(
            run=run,
            stage=stage,
            model=model,
            tasks=tasks,
            train_tasks=train_tasks,
            retain=retain,
            demos=demos,
            teachers=tuple(teacher or ()),
            siblings=tuple(sibling or ()),
            out=out,
            config_file=config,
            settings=chosen,
            mapping=parse_mapping(mapping),
            verifier=verifier,
            allow_code=allow_code,
        )
    )
    if dry_run:
        show_prepared(prepared, as_json)
        return
    main = os.environ.get("RANK", "0") == "0"
    tell = say_nothing if quiet or not main else say
    for note in prepared.notes:
        tell(note)
    with make_progress(quiet=quiet or not main) as progress:
        progress.phase("train", prepared.stage)
        result = run_stage(prepared, progress, tell)
    if not main:
        return
    if as_json:
        echo_json(result_json(result))
    else:
        show_result(result)


def refuse_names(run: Path | None, stage: str | None) -> None:
    """Refuse names that are no run or no stage, before anything is loaded.

    Raises:
        UsageError: there is no such stage, or no such run directory; a stage given in its place is recognised.
    """
    if stage is not None:
        stage_record(stage)
    if run is not None and not run.exists():
        meant = nearest(str(run), STAGES)
        hint = (
            "diag train RUN, RUN being made by `diag analyze`"
            if meant is None
            else f"did you mean the stage {meant!r}? diag train RUN --stage {meant}"
        )
        raise UsageError(f"{run}: there is no such run directory; {hint}")


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Read KEY=VALUE pairs into a dictionary; the values are read as YAML.

    Raises:
        UsageError: a pair without "=", or a value that is no YAML.
    """
    import yaml

    out: dict[str, Any] = {}
    for pair in pairs or []:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"--set {pair!r}: expected KEY=VALUE, e.g. --set learning_rate=1e-5")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {pair!r}: the value is not YAML ({error})") from error
        out[key] = read
    return out


def show_prepared(prepared: Prepared, as_json: bool) -> None:
    """Print what would be trained on what, after the checks that need no model."""
    from posttrain_diag.stages import check_stage

    check_stage(prepared.stage, prepared.inputs, prepared.config)
    inputs = prepared.inputs
    sizes = {
        "train": len(inputs.train),
        "watched": len(inputs.watched),
        "held_out": len(inputs.held_out),
        "retain": len(inputs.retain),
    }
    settings = prepared.config.model_dump(mode="json")
    read = stage_record(prepared.stage).settings
    if as_json:
        data = {"stage": prepared.stage, "model": inputs.model, "out": str(prepared.out), **sizes, "config": settings}
        echo_json(data)
        return
    echo(f"{prepared.stage} on {inputs.model}: " + ", ".join(f"{n} {name}" for name, n in sizes.items()))
    for note in prepared.notes:
        echo(f"  {note}")
    for key, value in settings.items():
        if key in read:
            echo(f"  {key}: {value}")
    echo(f"folder: {prepared.out}")


def show_result(result: StageResult) -> None:
    """Print what the stage did, in a few lines."""
    before, after = result.before.estimates, result.after.estimates
    echo(f"{result.stage}: {result.steps} steps, weights of step {result.best_step}")
    for name, was in before.items():
        echo(f"  {name:<9} {change_text(was, after[name])}   (held out)")
    if result.before.retention is not None and result.after.retention is not None:
        echo(f"  {'retention':<9} {change_text(result.before.retention, result.after.retention)}")
    echo(
        f"  {token_count(result.generated_tokens)} tokens generated, {token_count(result.trained_tokens)} trained, "
        f"{count(result.rollouts)} rollouts, {duration(result.cpu_s)} of CPU time"
    )
    if result.stopped:
        echo(f"  stopped early: {result.stopped}")
    if result.collapse:
        echo("  warning: pass@k fell while pass@1 rose: the policy found fewer solutions than before")
    echo(f"checkpoint: {result.checkpoint}")
