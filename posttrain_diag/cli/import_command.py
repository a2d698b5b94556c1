"""`diag import`: evidence that others measured, through the same diagnosis and report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.analyze_command import AllowCode, AsJson, Budget, Level, Mastery, Quiet, Seed, parse_mapping
from posttrain_diag.cli.terminal import echo_json
from posttrain_diag.errors import UsageError

app = typer.Typer(help="Diagnose from evidence that was measured elsewhere.", no_args_is_help=True)

ASSUMED_CAP = 256
"""Token cap that is assumed for imported counts, which do not say at which length their draws were cut."""


@app.callback()
def group() -> None:
    """Diagnose from evidence that was measured elsewhere."""


@app.command("counts")
def counts(
    file: Annotated[str, typer.Argument(help="CSV, TSV (also .gz, .bz2, .xz) or Parquet with problem_id, n, c.")],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Tasks file, matched by id, for prompts and demonstrations.", autocompletion=completion.tasks
        ),
    ] = None,
    k: Annotated[str, typer.Option(help="Further k whose pass@k is wanted, e.g. 1,16,400.")] = "",
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN, e.g. --map c=solved; also n, problem_id, bits.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="At which the draws were made, if known.")] = None,
    rollout_budget: Budget = 256,
    mastery: Mastery = 0.8,
    level: Level = 0.9,
    seed: Seed = 0,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Diagnose from passes per problem alone: the whole statistical part of diagnosis and report."""
    from posttrain_diag.analysis.counts import analyze_counts
    from posttrain_diag.cli.progress import make_progress
    from posttrain_diag.evidence import Settings
    from posttrain_diag.importers import read_counts
    from posttrain_diag.settings.analysis import VerdictSettings
    from posttrain_diag.settings.block import build
    from posttrain_diag.settings.sampling import SamplingSettings
    from posttrain_diag.tasks import load_tasks

    ks = parse_ks(k)
    verdict = build(VerdictSettings, {"rollout_budget": rollout_budget, "mastery": mastery, "level": level})
    drawn = build(SamplingSettings, {"seed": seed, "temperature": 1.0 if temperature is None else temperature})
    if verdict.eps >= verdict.mastery:
        raise UsageError(f"--rollout-budget {rollout_budget}: 1/B must lie below --mastery {mastery:g}")
    with make_progress(quiet=quiet) as progress:
        progress.phase("load", file)
        table = read_counts(file, mapping=parse_mapping(mapping))
        known = None if tasks is None else load_tasks(tasks, allow_code=allow_code)
        command = shlex.join(["diag", *sys.argv[1:]])
        settings = Settings(drawn.sampling(ASSUMED_CAP), rollout_budget, mastery, level, ks=ks)
        analysis = analyze_counts(
            table, out, settings, tasks=known, temperature=temperature, progress=progress, command=command
        )
    if as_json:
        echo_json(analysis.json)
    else:
        from posttrain_diag.cli.verdict import print_verdict

        print_verdict(analysis.json, analysis.run.path)


def parse_ks(text: str) -> tuple[int, ...]:
    """Read the numbers that --k names, e.g. 1,16,400.

    Raises:
        UsageError: an entry is not a whole number >= 1.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    bad = [entry for entry in entries if not entry.isdecimal() or not 1 <= int(entry) <= 10**9]
    if bad:
        raise UsageError(f"--k {text!r}: {bad[0]!r} is no number of draws; give whole numbers from 1 on, e.g. 1,16,400")
    return tuple(sorted({int(entry) for entry in entries}))
