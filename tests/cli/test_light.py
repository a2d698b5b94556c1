"""What the command line loads: help and refusals of names need no package beyond typer and rich. Nothing is timed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"pandas", "pyarrow", "numpy", "scipy", "yaml", "matplotlib", "jinja2", "torch", "transformers"}
"""Some releases of typer load pydantic themselves when they parse an option of a command."""
COMMANDS = (
    (), ("analyze",), ("recommend",), ("train",), ("compare",), ("run",), ("export",), ("report",), ("view",),
    ("tasks", "check"), ("import", "counts"), ("zoo",), ("zoo", "truth"), ("stages",), ("probes",), ("doctor",),
)  # fmt: skip


def loaded_by(*args: str, code: int = 0) -> set[str]:
    """Modules that a call of `diag` has loaded when it ends, with `code`."""
    script = (
        f"import sys; sys.argv = ['diag', *{args!r}]\n"
        "from posttrain_diag.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "print('', *sorted(sys.modules), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_help_loads_typer_and_rich_alone() -> None:
    found = loaded_by("--help")
    assert {"typer", "rich", "posttrain_diag.cli.app"} <= found
    assert not found & {*HEAVY, "pydantic"}
    assert not {name for name in found if name.startswith(("posttrain_reports", "posttrain_probes"))}


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_the_help_of_commands_is_light_too(command: tuple[str, ...]) -> None:
    assert not loaded_by(*command, "--help") & HEAVY


def test_the_stages_are_listed_from_the_catalogue_alone() -> None:
    assert not loaded_by("stages", "--json") & HEAVY


@pytest.mark.parametrize("args", [("--stage", "grpoo"), ("grpoo",), ("run", "--stage", "grpoo")], ids=" ".join)
def test_a_stage_that_there_is_not_is_refused_before_anything_is_loaded(args: tuple[str, ...]) -> None:
    found = loaded_by("train", *args, code=2)
    assert not found & {"torch", "transformers", "posttrain_diag.stages.prepare", "posttrain_diag.settings.stage"}
