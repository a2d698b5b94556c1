"""`python -m benchmarks [NAME ...] [FLAGS]`: run benchmarks, each in its own process; every one gets the flags.

Without names, all run except those whose main.py sets BY_NAME_ONLY to the reason why not. `--list` says what there is.
A benchmark is a folder here with a main.py; it writes results.md and results.json there, with date, machine and command.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ORDER = ("main_job", "diagnosis", "few_samples", "stats", "zoo_stats", "deep_support", "compare", "store")
"""The order of those that run without being named; others follow alphabetically."""


@dataclass(frozen=True)
class Benchmark:
    """What the main.py of a benchmark says of itself."""

    name: str
    question: str
    """The first line of its docstring, the question that it answers."""
    by_name_only: str
    """Why it does not run unless it is named; empty where it does."""
    parts: tuple[str, ...] = ()
    """Words that its main.py takes first; such a benchmark is named alone, and gets everything that follows its name.
    """


def find_benchmarks(folder: Path) -> dict[str, Benchmark]:
    """Every folder with a main.py, in the order in which they run; none is imported."""
    names = sorted(path.parent.name for path in folder.glob("*/main.py"))
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return {name: _read(name, folder / name / "main.py") for name in names}


def _read(name: str, main: Path) -> Benchmark:
    tree = ast.parse(main.read_text(encoding="utf-8"))
    said = {ast.unparse(line.targets[0]): line.value for line in tree.body if isinstance(line, ast.Assign)}
    reason, parts = (ast.literal_eval(said[key]) if key in said else None for key in ("BY_NAME_ONLY", "PARTS"))
    question = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Benchmark(name, question, reason or "", parts or ())


def main() -> int:
    """Run the named benchmarks; the exit code counts failures."""
    benchmarks = find_benchmarks(Path(__file__).parent)
    if len(sys.argv) > 1 and (named := benchmarks.get(sys.argv[1])) is not None and named.parts:
        command = [sys.executable, "-m", f"benchmarks.{named.name}.main", *sys.argv[2:]]
        return subprocess.run(command, check=False).returncode
    first_flag = next((i for i, arg in enumerate(sys.argv) if i and arg.startswith("-")), len(sys.argv))
    names, flags = sys.argv[1:first_flag], sys.argv[first_flag:]
    if not names and flags and flags[0] in {"--list", "--help", "-h"}:
        print(__doc__.rstrip() if flags[0] != "--list" else "\n".join(map(_line, benchmarks.values())))
        return 0
    unknown = [name for name in names if name not in benchmarks]
    if unknown:
        sys.stderr.write(f"benchmarks: unknown {', '.join(unknown)}; there are {', '.join(benchmarks)}\n")
        return 2
    asked = names or [one.name for one in benchmarks.values() if not one.by_name_only]
    commands = [[sys.executable, "-m", f"benchmarks.{name}.main", *flags] for name in asked]
    return sum(subprocess.run(command, check=False).returncode != 0 for command in commands)


def _line(benchmark: Benchmark) -> str:
    why = f" [by name only: {benchmark.by_name_only}]" if benchmark.by_name_only else ""
    return f"{benchmark.name:14} {benchmark.question}{why}"


if __name__ == "__main__":
    sys.exit(main())
