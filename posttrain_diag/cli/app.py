"""The `diag` command: sub-commands, and the one place where an error becomes text."""

from __future__ import annotations

import os
import sys

import typer

from posttrain_diag import __version__
from posttrain_diag.cli import (
    analyze_command,
    catalogue_commands,
    compare_command,
    export_command,
    import_command,
    recommend_command,
    report_command,
    run_command,
    tasks_commands,
    train_command,
    view_command,
    zoo_commands,
)
from posttrain_diag.cli.completion import colons_joined
from posttrain_diag.cli.terminal import echo, one_line, say, tolerate_encodings
from posttrain_diag.errors import DiagError, TaskError

MAX_ROWS_SHOWN = 20

app = typer.Typer(
    name="diag",
    help="Say which bottleneck holds a language model back on your tasks, and which post-training stage pays next.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("analyze")(analyze_command.analyze)
app.command("recommend")(recommend_command.recommend)
app.command("train")(train_command.train)
app.command("compare")(compare_command.compare)
app.command("run")(run_command.run)
app.command("export")(export_command.export)
app.command("report")(report_command.report)
app.command("view")(view_command.view)
app.add_typer(tasks_commands.app, name="tasks")
app.add_typer(import_command.app, name="import")
app.add_typer(zoo_commands.app, name="zoo")
app.command("stages")(catalogue_commands.stages)
app.command("probes")(catalogue_commands.probes)
app.command("doctor")(catalogue_commands.doctor)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """Say which bottleneck holds a language model back on your tasks, and which post-training stage pays next."""
    if show:
        echo(f"diag {__version__}")
        raise typer.Exit


def main() -> None:
    """Run `diag`; a user's error is one line on stderr and exit code 2 (a traceback with DIAG_DEBUG=1)."""
    tolerate_encodings()
    try:
        with colons_joined(os.environ):
            app(prog_name="diag")
    except DiagError as error:
        if os.environ.get("DIAG_DEBUG") == "1":
            raise
        sys.stderr.write(error_text(error))
        sys.exit(2)
    except KeyboardInterrupt:
        say("")
        say("diag: interrupted; what was drawn is stored, the same command goes on from there")
        sys.exit(130)


def error_text(error: DiagError) -> str:
    """The error as a user reads it: one line, then the bad rows of a tasks file."""
    lines = [f"diag: {error}"]
    if isinstance(error, TaskError):
        lines += [f"  line {line}, {field}: {what}" for line, field, what in error.rows[:MAX_ROWS_SHOWN]]
        if len(error.rows) > MAX_ROWS_SHOWN:
            lines.append(f"  ... and {len(error.rows) - MAX_ROWS_SHOWN} more")
    return "".join(one_line(line) + "\n" for line in lines)
