"""`python -m benchmarks [NAME ...]`: run benchmarks; without names, all of them.

Each writes benchmarks/NAME/results.md and results.json with date, machine and command.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHES = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}


def main() -> int:
    """Run the named benchmarks, each in its own process; the exit code counts failures."""
    names = [name for name in sys.argv[1:] if not name.startswith("-")] or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.stderr.write(f"benchmarks: unknown {', '.join(unknown)}; there are {', '.join(BENCHES)}\n")
        return 2
    flags = [flag for flag in sys.argv[1:] if flag.startswith("-")]
    return sum(
        subprocess.run([sys.executable, str(BENCHES[name]), *flags], check=False).returncode != 0 for name in names
    )


if __name__ == "__main__":
    sys.exit(main())
