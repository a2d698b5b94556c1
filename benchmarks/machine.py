"""Where and when a benchmark ran, for the head of its results."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any


def cpu_model() -> str:
    """The CPU's name as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def command_line(start: str) -> str:
    """The command with its arguments; paths are shortened to their last part, so that results name no directory."""

    def short(arg: str) -> str:
        flag, separator, value = arg.partition("=")
        return f"{flag}={Path(value).name}" if separator else Path(arg).name if "/" in arg else arg

    return " ".join([start, *(shlex.quote(short(arg)) for arg in sys.argv[1:])])


def head(command: str) -> dict[str, Any]:
    """The date, the machine and the command, for the head of results."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "command": command,
    }


def write(name: str, title: str, data: dict[str, Any], lines: list[str]) -> Path:
    """Write results.json and results.md of one benchmark.

    Args:
        name: name of the benchmark's folder.
        title: heading of the Markdown file.
        data: contents of the JSON file.
        lines: lines of the Markdown file below the heading.

    Returns:
        The path of the Markdown file.
    """
    folder = Path(__file__).parent / name
    folder.mkdir(exist_ok=True)
    where = head(command_line(f"python -m benchmarks {name}"))
    (folder / "results.json").write_text(json.dumps({**where, **data}, indent=1) + "\n")
    facts = f"{where['date']}, {where['cpu']}, {where['cores']} cores (load {where['load_1min']}), `{where['command']}`"
    path = folder / "results.md"
    path.write_text("\n".join([f"# {title}", "", facts, "", *lines]) + "\n")
    return path
