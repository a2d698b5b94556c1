"""`diag compare`: two runs on the same problems, and what the stage between them really did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.terminal import echo_json

Before = Annotated[Path, typer.Argument(metavar="RUN_A", help="Run directory of the earlier model.")]
After = Annotated[Path, typer.Argument(metavar="RUN_B", help="Run directory of the later model, same tasks.")]
Stage = Annotated[
    str | None,
    typer.Option(
        help="Stage between them. Default: the one of RUN_A/stages whose checkpoint RUN_B analysed.",
        autocompletion=completion.stages,
    ),
]
Retention = Annotated[
    tuple[Path, Path] | None,
    typer.Option("--retained", metavar="RUN RUN", help="Runs of both models on tasks that were to be kept."),
]
Budget = Annotated[int | None, typer.Option(help="B of the support threshold 1/B. Default: that of RUN_A.")]
Seed = Annotated[int, typer.Option(help="Seed of resamples and posterior draws.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the results. Default: RUN_B/comparison-NAME_OF_A.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print comparison.json on stdout.")]


def compare(
    before: Before,
    after: After,
    stage: Stage = None,
    retained: Retention = None,
    rollout_budget: Budget = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs on the same problems: what changed beyond noise, what it is made of, the role really played."""
    from posttrain_reports import write_comparison_report

    from posttrain_diag.analysis.report_data import stored_comparison
    from posttrain_diag.compare import compare_runs, default_folder, write_comparison

    found = compare_runs(before, after, stage=stage, retention=retained, rollout_budget=rollout_budget, seed=seed)
    folder = out or default_folder(before, after)
    data = write_comparison(found, folder)
    write_comparison_report(stored_comparison(folder), folder, ("svg",))
    if as_json:
        echo_json(data)
    else:
        from posttrain_diag.cli.comparison_view import print_comparison

        print_comparison(data, folder)
