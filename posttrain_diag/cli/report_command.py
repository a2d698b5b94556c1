"""`diag report`: render a run's report again, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Render report.html, report.md and the figures of a run again from what is stored."""
    from posttrain_reports import write_report

    from posttrain_diag.analyze import stored_report
    from posttrain_diag.store import RunDir

    path = write_report(stored_report(RunDir(run)), run)
    typer.echo(str(path))
    if open_browser:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
