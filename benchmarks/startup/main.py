"""What does the command line cost before it does anything?

CPU-seconds (user and system) of `diag --help`, of the help of a sub-command and of its completion, beside a Python that
imports typer and rich alone. Rounds alternate; the first one fills the bytecode caches and is not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from statistics import median

from benchmarks.machine import write

LIMIT_S = 0.25
"""CPU time that `diag --help` may take."""
COMMANDS = {
    "import typer, rich": (sys.executable, "-c", "import typer, rich.console, rich.table"),
    "diag --help": (sys.executable, "-m", "posttrain_diag", "--help"),
    "diag train --help": (sys.executable, "-m", "posttrain_diag", "train", "--help"),
    "diag --version": (sys.executable, "-m", "posttrain_diag", "--version"),
}


def cpu_s(command: tuple[str, ...]) -> float:
    """CPU time of one process, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "100"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure, write the results; the exit code is 1 where `diag --help` takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(rounds + 1):
        for name, command in COMMANDS.items():
            spent = cpu_s(command)
            if turn:
                times[name].append(spent)
    lines = ["| process | CPU-s, median | least | most |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {median(spent):.3f} | {min(spent):.3f} | {max(spent):.3f} |" for name, spent in times.items()
    ]
    lines += ["", f"Asked: `diag --help` in at most {LIMIT_S} CPU-s."]
    print(write("startup", "What the command line costs before it does anything", {"cpu_s": times}, lines))
    return int(median(times["diag --help"]) > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
