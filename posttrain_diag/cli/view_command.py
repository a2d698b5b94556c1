"""`diag view`: an index of all runs below a folder, in the browser of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from posttrain_diag.cli.terminal import echo, echo_json, print_line

Runs = Annotated[Path, typer.Argument(metavar="RUNS_DIR", help="Folder that holds run directories, at any depth.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")]
Open = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the index as JSON instead of serving it.")]


def view(runs: Runs = Path("runs"), port: Port = 8642, open_browser: Open = False, as_json: AsJson = False) -> None:
    """Serve an index of analyses, comparisons and autopilot runs on 127.0.0.1, read-only, until Ctrl-C."""
    from dataclasses import asdict

    from posttrain_diag.store.run_index import RunIndex

    index = RunIndex(runs)
    if as_json:
        echo_json([asdict(entry) for entry in index.entries()])
        return
    from posttrain_diag.cli.serve import RunServer

    with RunServer(index, port) as server:
        print_line(f"{len(index.entries())} runs in {runs}", whole=True)
        print_line(server.url, whole=True)
        print_line("Ctrl-C ends it")
        if open_browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            echo("ended")
