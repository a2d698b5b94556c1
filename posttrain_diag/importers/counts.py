"""Counts from a file: CSV, TSV (also .gz, .bz2, .xz) or Parquet with one row per problem, validated as a whole.

    problem_id,n,c[,truncated,errored][,replicate][,bits]
    HumanEval/0,100,65
    HumanEval/1,100,2

n counts every draw: n = passed (c) + failed + truncated + errored. `bits` is the outcome of each draw in the order
drawn ("0100..."). `replicate` tells apart several rows of one problem. Rows are never kept as objects: a million of
them cost a few lists.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import lzma
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd

from posttrain_diag.errors import TaskError, UsageError

COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "problem_id": ("problem_id", "task_id", "id", "prompt_sha12", "question_id", "problem"),
    "n": ("n", "n_samples", "num_samples", "total", "samples"),
    "c": ("c", "correct", "passed", "n_correct", "num_correct"),
    "truncated": ("truncated",),
    "errored": ("errored", "errors"),
    "replicate": ("replicate",),
    "bits": ("bits",),
}
"""For each field the accepted column names; the first one that is found is read."""
REQUIRED = ("problem_id", "n", "c")
MOST = 2**31
"""More draws of one problem than this are taken for a mistake in the file."""
_OPEN: Mapping[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_UNREADABLE = (csv.Error, UnicodeDecodeError, OSError, EOFError, lzma.LZMAError, zlib.error)
_FIRST = ("", "0", "None")
"""Names of replicates that keep the problem's id as it is."""
_SHOWN = 3
BadRow = tuple[int, str, str]
"""What is wrong with a row: (line, field, problem)."""


@dataclass(frozen=True)
class CountsTable:
    """The counts of every problem of a file."""

    source: str
    counts: pd.DataFrame
    """Indexed by problem id in the order of the file; columns drawn, c, failed, truncated, errored, n (whole numbers;
    n = drawn - errored is what rates are taken over)."""
    outcomes: tuple[str, ...] | None
    """The outcomes of each problem in the order drawn, as "0" and "1"; None where the file does not say."""
    sha: str
    """Hash of the counts: the same counts in another file format have the same hash."""
    columns: Mapping[str, str]
    """The column that each field was read from."""
    notes: tuple[str, ...]


@dataclass
class _Columns:
    """What was read so far, column by column, and what is wrong with it."""

    ids: list[str] = field(default_factory=list[str])
    drawn: list[int] = field(default_factory=list[int])
    c: list[int] = field(default_factory=list[int])
    truncated: list[int] = field(default_factory=list[int])
    errored: list[int] = field(default_factory=list[int])
    bits: list[str] = field(default_factory=list[str])
    lines: dict[str, int] = field(default_factory=dict[str, int])
    bad: list[BadRow] = field(default_factory=list[BadRow])
    rows: int = 0
    replicates: int = 0


def read_counts(source: str, *, mapping: Mapping[str, str] | None = None) -> CountsTable:
    """Read and check a counts file.

    Args:
        source: .csv, .tsv (also .gz, .bz2, .xz) or .parquet file.
        mapping: field -> column where the names are others than `COLUMN_NAMES`, e.g. {"c": "solved"}.

    Raises:
        TaskError: the file cannot be read, lacks a column, or has bad rows; `rows` lists every one of them.
        UsageError: `mapping` names an unknown field or column.
    """
    path = Path(source).expanduser()
    read = _Columns()
    with ExitStack() as stack:
        header, rows = (_parquet if path.suffix.lower() == ".parquet" else _csv)(path, stack)
        names = [name.strip() for name in header]
        columns = _find_columns(names, mapping or {}, source)
        position = {key: names.index(column) for key, column in columns.items()}
        try:
            for line, cells in rows:
                read.rows += 1
                if len(cells) == len(names):
                    _read_row(read, line, cells, position, columns)
                else:
                    read.bad.append((line, "", f"expected {len(names)} cells as in the header, got {len(cells)}"))
        except _UNREADABLE as error:
            raise TaskError(f"{source}: cannot be read as UTF-8 CSV after {read.rows} rows: {error}") from error
    if read.bad:
        raise _refusal(source, read)
    if read.rows == 0:
        raise TaskError(f"{source} holds no rows: expected one row per problem with problem_id, n, c")
    unread = [name for name in names if name not in columns.values()]
    notes = (f"columns that were not read: {', '.join(unread)}",) if unread else ()
    if read.replicates:
        notes += (f"{read.replicates} of {read.rows} rows are replicates and count as problems of their own (ID#N)",)
    counts = _frame(read)
    if int(counts["n"].max()) == 0:
        raise TaskError(f"{source}: no draw has a verdict (n - errored is 0 in every row), so nothing can be estimated")
    return CountsTable(
        source=source,
        counts=counts,
        outcomes=tuple(read.bits) if "bits" in columns else None,
        sha=_sha(counts),
        columns=columns,
        notes=notes,
    )


def _csv(path: Path, stack: ExitStack) -> tuple[list[str], Iterator[tuple[int, Sequence[Any]]]]:
    """The header and (line, cells) of a delimited text file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    opener = _OPEN.get(suffixes[-1]) if suffixes else None
    kind = (suffixes[-2:-1] if opener else suffixes[-1:]) or [""]
    if kind[0] not in (".csv", ".tsv"):
        raise TaskError(
            f"{path}: unknown kind of counts file; accepted are .csv and .tsv (also with {', '.join(_OPEN)}) and "
            ".parquet, with the columns problem_id, n, c"
        )
    try:
        binary: IO[bytes] = stack.enter_context(opener(path, "rb") if opener else path.open("rb"))
        text = stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8-sig", newline=""))
        reader = csv.reader(text, delimiter="\t" if kind[0] == ".tsv" else ",")
        header = next(reader, None)
    except FileNotFoundError as error:
        raise TaskError(f"no counts file {str(path)!r}: give a .csv, .tsv or .parquet file") from error
    except _UNREADABLE as error:
        raise TaskError(f"{path}: cannot be read: {error}") from error
    if not header:
        raise TaskError(f"{path} is empty: expected a header line with problem_id, n, c and one row per problem")

    return header, ((reader.line_num, cells) for cells in reader if cells)


def _parquet(path: Path, stack: ExitStack) -> tuple[list[str], Iterator[tuple[int, Sequence[Any]]]]:
    """The header and (row number, cells) of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = stack.enter_context(pq.ParquetFile(path))
    except FileNotFoundError as error:
        raise TaskError(f"no counts file {str(path)!r}: give a .csv, .tsv or .parquet file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise TaskError(f"{path}: cannot be read as Parquet: {error}") from error

    def rows() -> Iterator[tuple[int, Sequence[Any]]]:
        number = 0
        for batch in file.iter_batches():
            for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield number, cells

    return list(file.schema_arrow.names), rows()


def _find_columns(names: Sequence[str], mapping: Mapping[str, str], source: str) -> dict[str, str]:
    """Which column holds which field."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise TaskError(f"{source}: the header names {', '.join(repeated)} more than once: give every column one name")
    for key, column in mapping.items():
        if key not in COLUMN_NAMES:
            raise UsageError(f"--map {key}={column}: unknown field {key!r}: accepted are {', '.join(COLUMN_NAMES)}")
        if column not in names:
            raise UsageError(f"--map {key}={column}: {source} has no column {column!r}; it has {', '.join(names)}")
    by_name = {name.lower(): name for name in reversed(names)}
    columns = dict(mapping)
    for key, accepted in COLUMN_NAMES.items():
        found = next((by_name[name] for name in accepted if name in by_name), None)
        if key not in columns and found is not None and found not in mapping.values():
            columns[key] = found
    missing = [key for key in REQUIRED if key not in columns]
    if missing:
        accepted = "; ".join(f"{key}: {', '.join(COLUMN_NAMES[key])}" for key in missing)
        raise TaskError(
            f"{source}: no column for {', '.join(missing)} among {', '.join(names) or 'none'}; accepted are "
            f"{accepted}; or name yours with --map {missing[0]}=COLUMN"
        )
    return columns


def _read_row(
    read: _Columns, line: int, cells: Sequence[Any], position: Mapping[str, int], columns: Mapping[str, str]
) -> None:
    """Add one row, or what is wrong with it."""
    before = len(read.bad)
    values: dict[str, int] = {}
    for key in ("n", "c", "truncated", "errored"):
        if key in position:
            number = _whole(cells[position[key]])
            if isinstance(number, str):
                read.bad.append((line, columns[key], number))
            else:
                values[key] = number
    key = _identity(cells, position)
    if not key:
        read.bad.append((line, columns["problem_id"], "expected a problem id, got an empty cell"))
    elif key in read.lines:
        read.bad.append(
            (line, columns["problem_id"], f"{key[:80]!r} stands on line {read.lines[key]} already: one row per problem")
        )
    bits = "" if "bits" not in position else str(cells[position["bits"]] or "").strip()
    if len(read.bad) == before:
        read.bad.extend(
            (line, columns[name], what) for name, what in _identity_faults(values, bits, "bits" in position)
        )
    if len(read.bad) > before:
        return
    read.lines[key] = line
    read.replicates += "replicate" in position and str(cells[position["replicate"]]).strip() not in _FIRST
    read.ids.append(key)
    read.drawn.append(values["n"])
    read.c.append(values["c"])
    read.truncated.append(values.get("truncated", 0))
    read.errored.append(values.get("errored", 0))
    if "bits" in position:
        read.bits.append(bits)


def _identity(cells: Sequence[Any], position: Mapping[str, int]) -> str:
    """The id of a row's problem; a later replicate of the same problem counts as a problem of its own."""
    given = cells[position["problem_id"]]
    key = "" if given is None or (isinstance(given, float) and math.isnan(given)) else str(given).strip()
    if key and "replicate" in position:
        replicate = str(cells[position["replicate"]]).strip()
        return key if replicate in _FIRST else f"{key}#{replicate}"
    return key


def _identity_faults(values: Mapping[str, int], bits: str, has_bits: bool) -> Iterator[tuple[str, str]]:
    """Yield what contradicts n = passed + failed + truncated + errored, or the outcomes, as (field, problem)."""
    n, c = values["n"], values["c"]
    cut, errored = values.get("truncated", 0), values.get("errored", 0)
    if c > n:
        yield "c", f"c = {c} exceeds n = {n}: 0 <= c <= n is needed"
    elif c + cut + errored > n:
        yield "n", f"c + truncated + errored = {c} + {cut} + {errored} exceeds n = {n}: n counts every draw"
    if has_bits:
        if bits.strip("01"):
            yield "bits", f"expected only 0 and 1, got {bits[:40]!r}"
        elif len(bits) != n or bits.count("1") != c:
            yield "bits", f"{len(bits)} outcomes with {bits.count('1')} passes contradict n = {n}, c = {c}"


def _whole(value: Any) -> int | str:
    """A whole number in [0, MOST], or a text that says what is wrong with the value."""
    try:
        number = int(value) if isinstance(value, str | int) and value != "" else None
    except ValueError:
        number = None
    if number is None:
        try:
            real = float("nan") if value is None or value == "" else float(value)
        except (TypeError, ValueError):
            return f"expected a whole number >= 0, got {str(value)[:40]!r}"
        if math.isnan(real):
            return f"expected a whole number >= 0, got {'an empty cell' if value in (None, '') else 'NaN'}"
        if not real.is_integer():  # an infinity is no integer either
            return f"expected a whole number >= 0, got {str(value)[:40]}"
        number = int(real)
    if number < 0:
        return f"expected a whole number >= 0, got {number}"
    return number if number <= MOST else f"{number} draws of one problem cannot be meant: at most {MOST}"


def _frame(read: _Columns) -> pd.DataFrame:
    values = {name: np.asarray(getattr(read, name), np.int64) for name in ("drawn", "c", "truncated", "errored")}
    table = pd.DataFrame(values, index=pd.Index(read.ids, name="id", dtype=object))
    table["failed"] = table["drawn"] - table["c"] - table["truncated"] - table["errored"]
    table["n"] = table["drawn"] - table["errored"]
    return table[["drawn", "c", "failed", "truncated", "errored", "n"]]


def _sha(counts: pd.DataFrame) -> str:
    digest = hashlib.sha256("\n".join(cast("list[str]", counts.index.tolist())).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(counts[["drawn", "c", "truncated", "errored"]].to_numpy(np.int64)).tobytes())
    return digest.hexdigest()


def _refusal(source: str, read: _Columns) -> TaskError:
    n_bad = len({line for line, _, _ in read.bad})
    listed = "; ".join(f"line {line}{', ' + name if name else ''}: {what}" for line, name, what in read.bad[:_SHOWN])
    more = f"; and {len(read.bad) - _SHOWN} more" if len(read.bad) > _SHOWN else ""
    return TaskError(f"{source}: {n_bad} of {read.rows} rows cannot be used: {listed}{more}", tuple(read.bad))
