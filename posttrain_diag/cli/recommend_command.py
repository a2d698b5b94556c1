"""`diag recommend`: the plan of a run again, with other resources, or after short trials of the best stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from posttrain_diag.cli.terminal import echo_json, print_line, print_table, say, say_nothing
from posttrain_diag.wording.estimates import points_column, share_text
from posttrain_diag.wording.numbers import UNDEFINED, class_percent, token_count


def recommend(
    run: Annotated[Path, typer.Argument(help="Run directory of `diag analyze`.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="NAME=VALUE: what there is to train with, e.g. --set demos=500 --set teacher=yes --set "
            "budget_tokens=2000000. Names: demos, pairs, verifier, teacher, siblings, retained, budget_tokens.",
        ),
    ] = None,
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Try the best stages in short runs first; their costs are told.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """What every stage is expected to do, at what cost and on what evidence, and why the others rank lower."""
    from posttrain_diag.cli.progress import make_progress
    from posttrain_diag.cli.train_command import parse_settings
    from posttrain_diag.recommend.duration import with_times
    from posttrain_diag.recommend.replan import replan
    from posttrain_diag.store import RunDir
    from posttrain_diag.store.speed import stored_speed

    said = parse_settings(settings)
    with make_progress(quiet=quiet) as progress:
        data = replan(run, said, pilot=pilot, progress=progress, say=say_nothing if quiet else say)
    data["plan"] = with_times(data["plan"], stored_speed(RunDir(run)))
    if as_json:
        echo_json(data)
    else:
        print_plan(data)


def print_plan(data: Mapping[str, Any]) -> None:
    """Print a table of the proposals, the reasons of the first, and what speaks against the others."""
    from posttrain_diag.cli.verdict import print_actions, print_free_steps

    if (pilots := data["pilots"]) is not None:
        print_line(f"{len(pilots['runs'])} pilots, {token_count(pilots['tokens'])} tokens: {pilots['reason']}")
        print_line()
    print_free_steps(data.get("before_training") or ())
    if data["plan"]:
        _print_table(data["plan"])
        print_actions(data["plan"], evidence=True)
    else:
        print_line("no stage is proposed")
    if data["not_proposed"]:
        print_line()
        print_line("Not proposed", "bold")
    by_reason: dict[str, list[str]] = {}
    for name, reason in data["not_proposed"].items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        print_line(f"{', '.join(names)}: {reason}", "dim")


NAMES = ("stage", "pass@1 after", "other tasks, points", "best", "tokens")


def _print_table(plan: Sequence[Mapping[str, Any]]) -> None:
    """Print the figures of the proposals side by side."""
    rows: list[tuple[str, ...]] = []
    for p in plan:
        cost = p["cost"]["tokens"]
        row = (
            p["stage"] + (" *" if p["needs"] else ""),
            share_text(p["expected_after"]),
            points_column(p["expected_retention"]),
            "" if p["needs"] else class_percent(p["chance_best"]),
            UNDEFINED if cost is None else token_count(cost),
        )
        rows.append(row)
    print_table(NAMES, rows, right=NAMES[1:])
