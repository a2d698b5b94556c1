"""`diag export`: training rows, pairs, prompts or tables out of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.terminal import echo, echo_json
from posttrain_diag.wording.numbers import count

Run = Annotated[Path, typer.Argument(help="Run directory of `diag analyze`.")]
To = Annotated[
    str,
    typer.Option(
        help="sft, pairs, prompts (JSONL for TRL's trainers) or parquet (all draws, problems).",
        autocompletion=completion.exports,
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="A .jsonl or .parquet file; for parquet a folder. Default: RUN/export/TO.jsonl.")
]
PerProblem = Annotated[int, typer.Option(help="Rows per problem at most.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Only rl-band, repair-format, needs-demonstration, replay or undecided (repeatable).",
        autocompletion=completion.export_sets,
    ),
]
Split = Annotated[str, typer.Option(help="all, or train: without the problems that `diag train` holds out.")]
Form = Annotated[
    str, typer.Option("--format", help="text or conversational. Default auto: as the model was addressed.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def export(
    run: Run,
    to: To,
    out: Out = None,
    per_problem: PerProblem = 4,
    sets: Set = None,
    split: Split = "all",
    form: Form = "auto",
    as_json: AsJson = False,
) -> None:
    """Write what a run recommends as data: SFT rows, preference pairs, RL prompts, or its draws as tables."""
    from posttrain_diag.export import export as write

    found = write(
        run, to, out=out, per_problem=per_problem, sets=sets or (), form=cast("Any", form), split=cast("Any", split)
    )
    if as_json:
        echo_json({"schema": 1, **asdict(found)})
        return
    for name, rows in found.sets.items():
        echo(f"  {name:<20} {count(rows)} rows")
    for reason, problems in found.left_out.items():
        echo(f"  no row: {count(problems)} problems, {reason}")
    for note in found.notes:
        echo(f"  {note}")
    kind = "" if to == "parquet" else f" ({'conversational' if found.conversational else 'text'})"
    echo(f"{count(found.rows)} rows{kind}: {', '.join(map(str, found.paths))}")
