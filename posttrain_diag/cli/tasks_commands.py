"""`diag tasks`: look at a tasks file before spending anything on it."""

from __future__ import annotations

from typing import Annotated

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.analyze_command import AllowCode, Limit, Mapping, Verifier, parse_mapping
from posttrain_diag.cli.terminal import echo_json

app = typer.Typer(help="Work with tasks files.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Work with tasks files."""


@app.command("check")
def check(
    file: Annotated[
        str,
        typer.Argument(
            help="JSONL, JSON, CSV, Parquet, HF data set, or builtin:zoo/FAMILY.", autocompletion=completion.tasks
        ),
    ],
    mapping: Mapping = None,
    verifier: Verifier = None,
    allow_code: AllowCode = False,
    limit: Limit = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Validate a tasks file: every row, every gold against its verifier, and a few examples."""
    from dataclasses import asdict

    from posttrain_diag.cli.tasks_view import print_check
    from posttrain_diag.tasks import check_tasks, load_tasks

    tasks = load_tasks(
        file, mapping=parse_mapping(mapping) or None, verifier=verifier, limit=limit, allow_code=allow_code
    )
    found = check_tasks(tasks)
    if as_json:
        echo_json(asdict(found))
    else:
        print_check(found)
