"""Records of runs that take hours: a file each while they are made, one file of lines in the repository when done.

A benchmark that stops goes on from the files in its work directory; on another machine `--resume` puts the records of
the repository there first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from posttrain_diag.store import write_atomic

Record = dict[str, Any]


def keep(record: Record, path: Path) -> None:
    """Write one record, whole or not at all."""
    write_atomic(path, json.dumps(record))


def publish(work: Path, file: Path) -> None:
    """Write the records of a work directory into one file, a line each; records in it that the directory lacks stay."""
    found = _published(file) | {path.name: json.loads(path.read_text()) for path in work.glob("*.json")}
    lines = [json.dumps({"file": name, **record}) for name, record in sorted(found.items())]
    file.write_text("".join(f"{line}\n" for line in lines))


def restore(file: Path, work: Path) -> int:
    """Write the records that the file holds and the work directory lacks; returns how many."""
    lacking = {name: record for name, record in _published(file).items() if not (work / name).exists()}
    for name, record in lacking.items():
        keep(record, work / name)
    return len(lacking)


def _published(file: Path) -> dict[str, Record]:
    records = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {record.pop("file"): record for record in records}
