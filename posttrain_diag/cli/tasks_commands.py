"""`diag tasks`: look at a tasks file before spending anything on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.analyze_command import AllowCode, Limit, Mapping, Verifier, parse_mapping
from posttrain_diag.cli.terminal import echo, echo_json, live_terminal, print_table, say

TOLD_EVERY_S = 5.0

app = typer.Typer(help="Work with tasks files.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Work with tasks files."""


@app.command("check")
def check(
    file: Annotated[
        str,
        typer.Argument(
            help="JSONL, JSON, CSV, Parquet, a known name (gsm8k; see `diag tasks list`), HF data set, or "
            "builtin:zoo/FAMILY.",
            autocompletion=completion.tasks,
        ),
    ],
    mapping: Mapping = None,
    verifier: Verifier = None,
    allow_code: AllowCode = False,
    limit: Limit = None,
    max_false_positives: Annotated[
        float | None,
        typer.Option(
            help="Share of the problems on which wrong completions of one kind may pass before the exit code is 1. "
            "Default: .05."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Validate a tasks file and measure its verifiers: golds, right answers in other words, wrong answers, attacks.

    The exit code is 1 when a verifier fails, rejects a gold, or passes too many wrong completions.
    """
    from posttrain_diag.errors import UsageError
    from posttrain_diag.tasks import MAX_FALSE_POSITIVES, check_tasks, load_tasks

    most = MAX_FALSE_POSITIVES if max_false_positives is None else max_false_positives
    if not 0 <= most <= 1:
        raise UsageError(f"--max-false-positives is a share from 0 to 1, got {most:g}")
    tasks = load_tasks(
        file, mapping=parse_mapping(mapping) or None, verifier=verifier, limit=limit, allow_code=allow_code
    )
    found = check_tasks(tasks, max_false_positives=most, progress=_told())
    if as_json:
        echo_json(found.to_json())
    else:
        from posttrain_diag.cli.tasks_view import print_check

        print_check(found)
    if not found.ok:
        raise typer.Exit(1)


def _told() -> Callable[[int, int], None]:
    """Make a callback that prints every few seconds how far the check is, where somebody watches."""
    said = time.monotonic()

    def progress(done: int, problems: int) -> None:
        nonlocal said
        if live_terminal() and time.monotonic() - said > TOLD_EVERY_S:
            said = time.monotonic()
            say(f"{done:,} of {problems:,} problems checked")

    return progress


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the tasks that are known by a name, and where on the Hugging Face hub they are."""
    from dataclasses import asdict

    from posttrain_diag.tasks.problems.named import NAMED

    if as_json:
        echo_json({name: asdict(entry) for name, entry in NAMED.items()})
        return
    print_table(("name", "data set", "tasks"), [(name, e.address, e.shown) for name, e in NAMED.items()], right=())
    echo()
    echo("--tasks NAME loads one of them (with the package `datasets`); builtin:zoo/FAMILY needs no network")
