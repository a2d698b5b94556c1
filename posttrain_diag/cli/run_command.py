"""`diag run`: the autopilot from flags, and what it did in a short table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posttrain_diag.cli import analyze_command as common
from posttrain_diag.cli import completion
from posttrain_diag.cli.terminal import echo, echo_json, print_line, print_table, say, say_nothing
from posttrain_diag.cli.train_command import Retain, Tasks, TrainTasks, parse_settings
from posttrain_diag.errors import UsageError
from posttrain_diag.wording.estimates import change_alone, change_text
from posttrain_diag.wording.numbers import UNDEFINED, count, nominal, token_count

if TYPE_CHECKING:
    from posttrain_diag.autopilot import AutopilotConfig

Teacher = Annotated[
    list[str] | None,
    typer.Option(
        help="Model to compare with and to learn from (repeatable: routed by problem).",
        autocompletion=completion.models,
    ),
]
Sibling = Annotated[
    list[str] | None, typer.Option(help="Checkpoint to merge with (repeatable).", autocompletion=completion.models)
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/auto-MODEL-TASKS-HASH.")]
Target = Annotated[float, typer.Option(help="pass@1 on the held-out problems at which the run ends.")]
Keep = Annotated[float, typer.Option(help="A stage is rolled back when less than this share of retention is left.")]
Budget = Annotated[int | None, typer.Option("--budget-tokens", help="Tokens of the whole run, measuring included.")]
MaxStages = Annotated[int, typer.Option(help="Stages to run at most, kept or not.")]
Pilot = Annotated[bool, typer.Option("--pilot", help="Choose each stage by short runs of the best ones.")]
Config = Annotated[Path | None, typer.Option(help="YAML file of stage settings, for every stage.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any stage setting, e.g. --set learning_rate=1e-5.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print result.json on stdout; everything else on stderr.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the inputs, print what the first analysis would cost.")]


def run(
    model: common.Model = None,
    tasks: Tasks = None,
    train_tasks: TrainTasks = None,
    demos: common.Demos = None,
    teacher: Teacher = None,
    sibling: Sibling = None,
    retain: Retain = None,
    out: Out = None,
    target: Target = 0.95,
    keep: Keep = 0.95,
    budget_tokens: Budget = None,
    max_stages: MaxStages = 6,
    pilot: Pilot = False,
    config: Config = None,
    settings: Set = None,
    effort: common.Effort = "standard",
    rollouts: common.Rollouts = None,
    rollout_budget: common.Budget = 256,
    max_new_tokens: common.MaxTokens = None,
    temperature: common.Temperature = 1.0,
    stop: common.Stop = None,
    seed: common.Seed = 0,
    mapping: common.Mapping = None,
    verifier: common.Verifier = None,
    allow_code: common.AllowCode = False,
    template: common.Template = None,
    chat_template: common.ChatTemplate = None,
    system_prompt: common.SystemPrompt = None,
    device: common.Device = None,
    trust_remote_code: common.Trust = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    quiet: common.Quiet = False,
) -> None:
    """Diagnose, train, measure, keep or roll back, again, until the target, the budget, or nothing left to gain."""
    from posttrain_diag.autopilot import Steps, autopilot, make_autopilot_config
    from posttrain_diag.cli.progress import make_progress

    if model is None or tasks is None:
        missing = "MODEL" if model is None else "--tasks"
        raise UsageError(
            f"{missing} is missing: diag run MODEL --tasks FILE (try: diag run zoo:base --tasks builtin:zoo/S)"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("diag run is one process; launch the stages it names with `accelerate launch ... diag train`")
    asked = make_autopilot_config(
        config_file=config,
        settings=parse_settings(settings),
        model=model,
        tasks=tasks,
        train_tasks=train_tasks,
        demos=demos,
        teacher=tuple(teacher or ()),
        sibling=tuple(sibling or ()),
        retain=retain,
        target=target,
        keep=keep,
        budget_tokens=budget_tokens,
        max_stages=max_stages,
        pilot=pilot,
        effort=effort,
        rollouts=rollouts,
        rollout_budget=rollout_budget,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        stop=common.parse_stops(stop),
        seed=seed,
        mapping=common.parse_mapping(mapping),
        verifier=verifier,
        allow_code=allow_code,
        template=template,
        chat_template=chat_template,
        system_prompt=system_prompt,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    folder = out or common.named_out(model, tasks, asked.identity, prefix="auto-")
    if dry_run:
        show_cost(asked, folder, as_json, quiet=quiet)
        return
    steps = Steps(progress=lambda: make_progress(quiet=quiet), say=say_nothing if quiet else say)
    result = autopilot(asked, folder, steps)
    if as_json:
        echo_json(result)
    else:
        show_result(result, folder)


def show_cost(config: AutopilotConfig, out: Path, as_json: bool, *, quiet: bool) -> None:
    """Print what would be trained and measured on, and what the first analysis would cost, after a few pilot draws."""
    from posttrain_diag.autopilot import first_cost
    from posttrain_diag.cli.progress import make_progress

    with make_progress(quiet=quiet) as progress:
        problems, cost = first_cost(config, progress)
    sizes = {"train": len(problems.train), "held_out": len(problems.held_out), "retained": len(problems.retain)}
    if as_json:
        analysis = {"rollouts": cost.rollouts, "most_tokens": cost.most_tokens, "tokens": cost.tokens}
        data = {**sizes, "analysis": analysis, "out": str(out), "config": config.model_dump(mode="json")}
        echo_json(data)
        return
    echo(f"{config.model}: " + ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in sizes.items()))
    for note in problems.notes:
        echo(f"  {note}")
    echo(f"the first analysis: at most {count(cost.rollouts)} rollouts; each stage is analysed again")
    for line in common.cost_lines(cost):
        echo(f"  {line}")
    budget = "no limit" if config.budget_tokens is None else f"{token_count(config.budget_tokens)} tokens"
    echo(f"budget: {budget}, at most {config.max_stages} stages, target pass@1 {nominal(config.target)}")
    echo(f"folder: {out}")


NAMES = ("round", "stage", "pass@1", "retention", "tokens", "outcome")


def show_result(result: Mapping[str, Any], out: Path) -> None:
    """Print the rounds as a table, and where everything lies."""
    rows = [("0", "(start)", "", "", token_count(result["tokens"]["start"]["total"]), "")]
    rows += [
        (
            str(one["number"]),
            one["stage"],
            _change(one, "pass@1"),
            _change(one, "retention"),
            token_count(one["tokens"]["total"]),
            one["outcome"],
        )
        for one in result["rounds"]
    ]
    print_table(NAMES, rows, right=("round", "tokens"))
    before, after = result["before"]["pass@1"], result["after"]["pass@1"]
    print_line(f"held-out pass@1 {change_text(before, after)}, {token_count(result['tokens']['total'])} tokens in all")
    print_line(f"ended: {result['reason']}")
    kept = "" if result["kept"] else "  (the start: nothing was kept)"
    print_line(f"model: {result['checkpoint']}{kept}", whole=True)
    page = out / "report.html"
    pages = (result["after"]["report"], result["before"]["report"])
    print_line(f"report: {page if page.exists() else pages[0] or pages[1]}", whole=True)
    print_line(f"everything: {out / 'result.json'}", whole=True)
    print_line(f"decisions: {out / 'events.jsonl'}", whole=True)


def _change(one: Mapping[str, Any], name: str) -> str:
    if one["before"] is None or one["before"][name] is None:
        return UNDEFINED
    return change_alone(one["before"][name], one["after"][name])
