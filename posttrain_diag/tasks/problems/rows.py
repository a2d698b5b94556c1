"""From a source to raw rows: files (JSONL, JSON, CSV, Parquet, compressed or not), HF data sets, shipped tasks.

A row is a dict with the line it stands on. Cells are returned as they are; `layouts.py` decides what they mean.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import importlib
import importlib.util
import io
import json
import lzma
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, cast

from posttrain_diag.errors import MissingExtra, TaskError, UsageError

BUILTIN = "builtin:zoo/"
_COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+)?")
_MAX_CELL = 1 << 30
BadRow = tuple[int, str, str]
"""(line, field, problem)."""


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


def read_table(source: str, limit: int | None = None) -> RawTable:
    """Read the raw rows of a source, at most `limit` of them.

    Raises:
        TaskError: the source does not exist, cannot be decoded, or is of no known kind.
        UsageError: an unknown builtin.
        MissingExtra: a HF data set without the package `datasets`.
    """
    path = _builtin(source) if source.startswith("builtin:") else Path(source).expanduser()
    if path.is_dir():
        return _read_hf(source, limit)
    if not path.exists():
        if _HUB_NAME.fullmatch(source) and not _format_of(path):
            return _read_hf(source, limit)
        raise TaskError(
            f"no tasks file {source!r}: give a .jsonl, .json, .csv or .parquet file, a HF data set (owner/name), or "
            f"{BUILTIN}NAME"
        )
    kind = _format_of(path)
    if not kind:
        raise TaskError(
            f"{source}: unknown kind of file {path.suffix or path.name!r}: accepted are "
            f"{', '.join(_READERS)}, also with {', '.join(_COMPRESSED)}"
        )
    data = _bytes_of(path)
    entries = _READERS[kind](data, source)
    rows, bad = _split(islice(entries, limit))
    return RawTable(path.name, rows, bad, path.parent)


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, or (CSV) an empty text."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def builtin_names() -> tuple[str, ...]:
    """Names of the shipped tasks."""
    folder = Path(str(files("posttrain_diag") / "data" / "zoo" / "tasks"))
    return tuple(sorted(path.stem for path in folder.glob("*.jsonl")))


def _builtin(source: str) -> Path:
    name = source.removeprefix(BUILTIN)
    known = builtin_names()
    if not source.startswith(BUILTIN) or name not in known:
        listed = ", ".join(BUILTIN + n for n in known) or "none (this installation ships no tasks)"
        raise UsageError(f"unknown builtin tasks {source!r}: accepted are {listed}")
    return Path(str(files("posttrain_diag") / "data" / "zoo" / "tasks" / f"{name}.jsonl"))


def _format_of(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in _READERS else ""


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        unpack = _COMPRESSED.get(path.suffix.lower())
        return unpack(data) if unpack else data
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise TaskError(f"cannot read {path}: {error}") from error


def _split(entries: Iterator[Row | BadRow]) -> tuple[tuple[Row, ...], tuple[BadRow, ...]]:
    rows: list[Row] = []
    bad: list[BadRow] = []
    for entry in entries:
        if isinstance(entry, Row):
            rows.append(entry)
        else:
            bad.append(entry)
    return tuple(rows), tuple(bad)


def _read_jsonl(data: bytes, source: str) -> Iterator[Row | BadRow]:
    for line, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            value = json.loads(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield line, "", f"expected UTF-8 text, got the byte 0x{raw[error.start]:02x} at position {error.start}"
        except (json.JSONDecodeError, RecursionError) as error:
            yield line, "", f"expected one JSON object per line, got {_cut(raw)}: {error}"
        else:
            yield _as_row(value, line)


def _read_json(data: bytes, source: str) -> Iterator[Row | BadRow]:
    text = _text(data, source)
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "; one object per line is JSONL: name the file .jsonl" if error.msg == "Extra data" else ""
        raise TaskError(
            f"{source}: invalid JSON at line {error.lineno}: {error.msg}{hint}", ((error.lineno, "", error.msg),)
        ) from error
    if isinstance(value, dict):
        lists = [v for v in cast("dict[str, Any]", value).values() if isinstance(v, list)]
        value = lists[0] if len(lists) == 1 else value
    if not isinstance(value, list):
        raise TaskError(f"{source}: expected a JSON list of objects (or an object that holds one), got {_cut(text)}")
    for number, item in enumerate(cast("list[Any]", value), start=1):
        yield _as_row(item, number)


def _read_csv(data: bytes, source: str) -> Iterator[Row | BadRow]:
    text = _text(data, source)
    previous_limit = csv.field_size_limit(_MAX_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise TaskError(f"{source}: the header names {', '.join(map(repr, repeated))} more than once")
        start = reader.line_num + 1
        for cells in reader:
            if not cells:
                pass
            elif len(cells) != len(header):
                yield start, "", f"expected {len(header)} cells ({', '.join(header)}), got {len(cells)}"
            else:
                # pandas writes a missing value as "" or, on request, "nan".
                yield Row(
                    start, {k: None if v in {"", "nan", "NaN"} else v for k, v in zip(header, cells, strict=True)}
                )
            start = reader.line_num + 1
    except csv.Error as error:
        raise TaskError(f"{source}: invalid CSV: {error}") from error
    finally:
        csv.field_size_limit(previous_limit)


def _read_parquet(data: bytes, source: str) -> Iterator[Row | BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise TaskError(f"{source}: not a readable Parquet file: {error}") from error
    number = 0
    for batch in table.to_batches(max_chunksize=1024):
        for cells in batch.to_pylist():
            number += 1
            yield Row(number, cast("dict[str, Any]", cells))


_READERS: dict[str, Callable[[bytes, str], Iterator[Row | BadRow]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _read_hf(source: str, limit: int | None) -> RawTable:
    """Rows of a HF data set: a directory or "owner/name", with ":split" where it has several."""
    if importlib.util.find_spec("datasets") is None:
        raise MissingExtra("datasets", "train", f"reading the HF data set {source!r}")
    datasets: Any = importlib.import_module("datasets")
    is_dir = Path(source).is_dir()
    name, _, split = (source, "", "") if is_dir else source.partition(":")
    saved = is_dir and any((Path(name) / marker).exists() for marker in ("state.json", "dataset_dict.json"))
    try:
        data: Any = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    except (OSError, ValueError) as error:
        raise TaskError(f"cannot load the HF data set {name!r}: {error}") from error
    if isinstance(data, dict):
        splits = [str(key) for key in cast("dict[str, Any]", data)]
        chosen = split or (splits[0] if len(splits) == 1 else "test")
        if chosen not in splits:
            raise TaskError(f"{name!r} has the splits {', '.join(splits)}: name one, as in {name}:{splits[0]}")
        data = cast("dict[str, Any]", data)[chosen]
    rows = tuple(Row(i, dict(cells)) for i, cells in enumerate(islice(data, limit), start=1))
    return RawTable(name, rows, (), None)


def _as_row(value: Any, line: int) -> Row | BadRow:
    if not isinstance(value, dict):
        return line, "", f"expected a JSON object, got {_cut(json.dumps(value))}"
    return Row(line, cast("dict[str, Any]", value))


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problem = f"expected UTF-8 text, got the byte 0x{data[error.start]:02x}"
        raise TaskError(f"{source}:{line}: {problem}; save the file as UTF-8", ((line, "", problem),)) from error


def _cut(text: str | bytes) -> str:
    shown = repr(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    return shown if len(shown) <= 60 else shown[:57] + "..."
