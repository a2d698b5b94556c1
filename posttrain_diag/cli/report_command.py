"""`diag report`: render a run's report again, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from posttrain_diag.cli.terminal import echo, echo_json


def report(
    run: Annotated[Path, typer.Argument(help="Run directory, or the folder of a comparison.")],
    png: Annotated[bool, typer.Option("--png", help="Also write the figures as PNG, for papers and slides.")] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the path of the report.")] = False,
) -> None:
    """Render report.html, report.md and the figures of a run again from what is stored."""
    from posttrain_diag.analysis.report_data import rerender

    path = rerender(run, png=png)
    if as_json:
        echo_json({"report": str(path)})
    else:
        echo(path)
    if open_browser:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
