"""Every figure of the statistical core that needs no engine: are its estimates and intervals right, and what do they cost?

`python -m benchmarks stats [--quick]`. Sections: table (simulated laws), law_prior (learned from published figures),
pass_at_k_forecasts (rivals on real counts and laws), replay (real counts), classes, allocation, deep support, time. Each writes benchmarks/stats/<section>.md and .json with date, machine and command.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.machine import command_line, cpu_model
from benchmarks.stats import cases, forecasts, law_prior

OUT = Path(__file__).parent


def machine() -> dict[str, Any]:
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "threads_used": 1, "load_at_end": round(os.getloadavg()[0], 1)}


def shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write(section: cases.Table) -> None:
    """One Markdown and one JSON file per section."""
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    command = command_line("python -m benchmarks stats")
    lines = [f"# {section.title}", "", f"{date}; {machine()}; `{command}`", ""]
    lines += ["| " + " | ".join(section.columns) + " |", "|" + "---|" * len(section.columns)]
    lines += ["| " + " | ".join(shown(v) for v in row) + " |" for row in section.rows]
    lines += ["", *section.notes]
    (OUT / f"{section.name}.md").write_text("\n".join(lines).rstrip() + "\n")
    payload = {
        "date": date,
        "machine": machine(),
        "command": command,
        "columns": section.columns,
        "rows": section.rows,
        "notes": section.notes,
    }
    (OUT / f"{section.name}.json").write_text(json.dumps(payload, indent=1) + "\n")
    print("\n".join(lines), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer cells")
    parser.add_argument("--seeds", type=int, default=4, help="seeds per cell of the table")
    parser.add_argument("--only", nargs="*", help="sections to run")
    parser.add_argument("--reference", type=Path, help="path of stats_reference.py, a rival")
    parser.add_argument("--counts", type=Path, help="folder of real counts for the replay")
    parser.add_argument("--before", type=Path, help="checkout of an earlier version, a rival of pass_at_k_forecasts")
    parser.add_argument("--repeats", type=int, default=12, help="subsamples per real set in pass_at_k_forecasts")
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed gives other subsamples in pass_at_k_forecasts"
    )
    parser.add_argument("--one-timing", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_timing:
        cases.time_once(arguments.one_timing)
        return
    sections: dict[str, Callable[[], list[cases.Table]]] = {
        "table": lambda: cases.simulated_table(
            1 if arguments.quick else arguments.seeds, arguments.quick, arguments.reference
        ),
        "law_prior": law_prior.section,
        "pass_at_k_forecasts": lambda: forecasts.forecasts(
            arguments.counts, arguments.before, 4 if arguments.quick else arguments.repeats, arguments.seed
        ),
        "replay": lambda: cases.replay(arguments.counts, arguments.quick),
        "classes": lambda: cases.class_calibration(1 if arguments.quick else 3),
        "allocation": lambda: cases.allocation(1 if arguments.quick else 3),
        "deep_support": lambda: cases.deep_support_toy(30 if arguments.quick else 100),
        "time": lambda: cases.timing(100_000 if arguments.quick else 1_000_000),
    }
    for name, run in sections.items():
        if arguments.only and name not in arguments.only:
            continue
        for table in run():
            write(table)


if __name__ == "__main__":
    main()
