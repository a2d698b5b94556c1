"""`python -m benchmarks [NAME ...] [FLAGS]`: run benchmarks; without names, all but the engines' hours. Flags go to each.

Each writes benchmarks/NAME/results.md and results.json with date, machine and command.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHES = {
    name: HERE / f"bench_{name}.py"
    for name in (
        "main_job",
        "diagnosis",
        "few_samples",
        "stats",
        "zoo_stats",
        "deep_support",
        "compare",
        "store",
        "report",
        "engines",
        "ray",
        "stages",
        "outcomes",
        "regret",
        "autopilot",
        "stages_checks",
    )
}
BY_NAME_ONLY = {"engines", "report", "ray", "stages", "stages_checks", "outcomes", "regret", "autopilot"}
"""Need other environments, a browser or hours: `make bench-engines`, `make bench-stages`."""


def main() -> int:
    """Run the named benchmarks, each in its own process; the exit code counts failures."""
    first_flag = next((i for i, arg in enumerate(sys.argv) if i and arg.startswith("-")), len(sys.argv))
    names, flags = sys.argv[1:first_flag] or [n for n in BENCHES if n not in BY_NAME_ONLY], sys.argv[first_flag:]
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.stderr.write(f"benchmarks: unknown {', '.join(unknown)}; there are {', '.join(BENCHES)}\n")
        return 2
    return sum(
        subprocess.run([sys.executable, str(BENCHES[name]), *flags], check=False).returncode != 0 for name in names
    )


if __name__ == "__main__":
    sys.exit(main())
