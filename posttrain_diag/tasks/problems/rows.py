"""From a source to raw rows: a file, a data set of the hub by its name, shipped tasks.

A row is a dict with the line it stands on. Cells are returned as they are; `layouts.py` decides what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from posttrain_diag.errors import TaskError, UsageError, did_you_mean

BUILTIN = "builtin:zoo/"
BadRow = tuple[int, str, str]
"""What is wrong with a row: (line, field, problem)."""


@dataclass(frozen=True)
class Row:
    """One raw row and the line (or row number) it stands on, from 1."""

    line: int
    cells: dict[str, Any]


@dataclass(frozen=True)
class RawTable:
    """What a source holds before it is understood."""

    name: str
    """Short name of the source, for `Problem.source`."""
    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...]
    base: Path | None
    """Folder of the file; relative paths in rows start there."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know of the source."""


def read_table(source: str, limit: int | None = None) -> RawTable:
    """Read the raw rows of a source, at most `limit` of them.

    Args:
        source: a file or a data set's directory, a name of `named.NAMED`, "owner/name" of the hub with ":split" or
            ":config:split" where it has several, or `builtin:zoo/NAME`.
        limit: read no more rows than this.

    Raises:
        TaskError: the source does not exist, cannot be decoded, is too large, or is of no known kind.
        UsageError: an unknown builtin.
        MissingExtra: a HF data set without the package `datasets`.
    """
    from posttrain_diag.tasks.problems import formats, hub
    from posttrain_diag.tasks.problems.named import NAMED, named

    path = _builtin(source) if source.startswith("builtin:") else Path(source).expanduser()
    if path.is_dir():
        return _table(source, hub.read_directory(source), limit)
    if path.exists():
        return _table(path.name, formats.read_file(path, source), limit, path.parent)
    known = named(source)
    if known is not None:
        rows = hub.read_hub(known.repository, known.config, known.split, called=source)
        notes = (f"{source} is {known.address} of the hub", *((known.note,) if known.note else ()))
        return _table(source, rows, limit, notes=notes)
    if hub.NAME.fullmatch(source) and not formats.kind_of(path):
        repository, config, split = hub.parts(source)
        return _table(source.partition(":")[0], hub.read_hub(repository, config, split, called=source), limit)
    raise TaskError(
        f"no tasks file {source!r}{did_you_mean(source, NAMED)}: give a .jsonl, .json, .csv or .parquet file, a known "
        f"name (gsm8k, math500, mmlu, ...; `diag tasks list` shows all), a HF data set (owner/name), or {BUILTIN}NAME"
    )


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, or (CSV) an empty text."""
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and math.isnan(value))


def builtin_names() -> tuple[str, ...]:
    """Names of the shipped tasks."""
    folder = Path(str(files("posttrain_diag") / "data" / "zoo" / "tasks"))
    return tuple(sorted(path.stem for path in folder.glob("*.jsonl")))


def _builtin(source: str) -> Path:
    name = source.removeprefix(BUILTIN)
    known = builtin_names()
    if not source.startswith(BUILTIN) or name not in known:
        listed = ", ".join(BUILTIN + n for n in known) or "none (this installation ships no tasks)"
        raise UsageError(f"unknown builtin tasks {source!r}{did_you_mean(name, known)}: accepted are {listed}")
    return Path(str(files("posttrain_diag") / "data" / "zoo" / "tasks" / f"{name}.jsonl"))


def _table(
    name: str,
    entries: Iterable[Row | BadRow],
    limit: int | None,
    base: Path | None = None,
    notes: tuple[str, ...] = (),
) -> RawTable:
    rows: list[Row] = []
    bad: list[BadRow] = []
    for entry in islice(entries, limit):
        if isinstance(entry, Row):
            rows.append(entry)
        else:
            bad.append(entry)
    return RawTable(name, tuple(rows), tuple(bad), base, notes)
