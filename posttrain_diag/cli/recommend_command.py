"""`diag recommend`: the plan of a run again, with other resources, or after short trials of the best stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from posttrain_diag.cli.terminal import echo_json, say, say_nothing


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
    from posttrain_diag.replan import replan

    said = parse_settings(settings)
    with make_progress(quiet=quiet) as progress:
        data = replan(run, said, pilot=pilot, progress=progress, say=say_nothing if quiet else say)
    if as_json:
        echo_json(data)
    else:
        print_plan(data)


def print_plan(data: Mapping[str, Any]) -> None:
    """A table of the proposals, the reasons of the first, and what speaks against the others."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=False)
    if data["plan"]:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("stage", "pass@1 after", "other tasks", "best", "tokens"):
            table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
        for p in data["plan"]:
            tokens = p["cost"]["tokens"]
            table.add_row(
                p["stage"] + (" *" if p["needs"] else ""),
                _interval(p["expected_after"], "{:.2f}"),
                _interval(p["expected_retention"], "{:+.2f}"),
                "" if p["needs"] else f"{p['chance_best']:.0%}",
                "unknown" if tokens is None else f"{tokens:,}",
            )
        console.print(table)
        for p in data["plan"]:
            console.print(Text(f"\n{p['stage']}: {p['why']}"))
            console.print(Text(p["evidence"], style="dim"))
            for need in p["needs"]:
                console.print(Text(f"* needs {need}", style="yellow"))
            if not p["needs"]:
                console.print(Text(p["command"], style="cyan"))
    else:
        console.print("no stage is proposed")
    if data["not_proposed"]:
        console.print(Text("\nNot proposed", style="bold"))
    by_reason: dict[str, list[str]] = {}
    for name, reason in data["not_proposed"].items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        console.print(Text(f"{', '.join(names)}: {reason}", style="dim"))


def _interval(estimate: Mapping[str, Any], form: str) -> str:
    if estimate["value"] is None:
        return "undefined"
    return f"{form.format(estimate['value'])} [{form.format(estimate['low'])}, {form.format(estimate['high'])}]"
