"""Rows of a file, one after the other: JSONL, JSON, CSV and TSV, Parquet, each also compressed.

Files are read as a stream and what they unpack to is counted: a small compressed file may hold any amount of text. Past
`MAX_TEXT` bytes a file is refused; with a limit on rows only those rows are read.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from io import BufferedIOBase, BufferedReader, BytesIO
from pathlib import Path
from typing import Any, cast

from posttrain_diag.errors import TaskError
from posttrain_diag.tasks.problems.rows import BadRow, Row

MIB = 1 << 20
MAX_TEXT = 256 * MIB
"""Most bytes of text, unpacked, that one source may hold."""
MAX_WHOLE = 64 * MIB
"""Most bytes of a file that has to be read as a whole: .json, compressed Parquet."""
MAX_ROW = 16 * MIB
"""Most bytes of one row."""
DELIMITERS = ",;\t|"
_SAMPLE_LINES = 20
_BATCH_ROWS = 64
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_UNPACKING = (EOFError, lzma.LZMAError, zlib.error)


def kind_of(path: Path) -> str:
    """The format of a file by its name, ".jsonl" for "a.jsonl.gz"; empty when it is none of ours."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _OPENERS:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in _READERS else ""


def read_file(path: Path, source: str) -> Iterator[Row | BadRow]:
    """The rows of a file and what is wrong with those that cannot be read.

    Args:
        path: the file.
        source: how the user named it, for messages.

    Raises:
        TaskError: the file is of no known kind, cannot be decoded, or holds too much.
    """
    kind = kind_of(path)
    if not kind:
        raise TaskError(
            f"{source}: unknown kind of file {path.suffix or path.name!r}: accepted are "
            f"{', '.join(_READERS)}, also with {', '.join(_OPENERS)}"
        )
    try:
        with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
            yield from _READERS[kind](_Metered(file, source), source)
    except (OSError, *_UNPACKING) as error:
        raise TaskError(f"cannot read {path}: {error}") from error


class _Metered:
    """A binary file that refuses to give more than a file of tasks may hold."""

    def __init__(self, file: BufferedIOBase, source: str) -> None:
        self._file = file
        self._source = source
        self._given = 0

    def line(self) -> bytes:
        """The next line, its end included; at most one byte more than `MAX_ROW` of it."""
        return self._counted(self._file.readline(MAX_ROW + 1))

    def rest_of_line(self) -> None:
        """Skip what is left of a line that was too long."""
        while (piece := self.line()) and not piece.endswith(b"\n"):
            pass

    def whole(self) -> bytes:
        """All bytes that are left of the file.

        Raises:
            TaskError: the file holds more than one that has to be read as a whole may hold.
        """
        data = self._file.read(MAX_WHOLE + 1)
        if len(data) > MAX_WHOLE:
            raise TaskError(
                f"{self._source}: more than {MAX_WHOLE // MIB} MiB that have to be read as a whole: write one row per "
                "line as .jsonl (or .parquet without another compression), which are read row by row"
            )
        return data

    def seekable(self) -> Any:
        """The file itself where it can be read in any order; else a copy of all of it in memory."""
        return self._file if isinstance(self._file, BufferedReader) else BytesIO(self.whole())

    def _counted(self, data: bytes) -> bytes:
        self._given += len(data)
        refuse_more(self._given, self._source)
        return data


def refuse_more(n_bytes: int, source: str) -> None:
    """Stop reading a source that holds too much.

    Raises:
        TaskError: `n_bytes` is more than `MAX_TEXT`.
    """
    if n_bytes > MAX_TEXT:
        raise TaskError(
            f"{source}: more than {MAX_TEXT // MIB} MiB of text (unpacked), too much for one set of tasks: read the "
            "first rows with --limit N, leave columns out that are not read, or split the file"
        )


def _read_jsonl(file: _Metered, source: str) -> Iterator[Row | BadRow]:
    number = 0
    while raw := file.line():
        number += 1
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) > MAX_ROW:
            file.rest_of_line()
            yield number, "", f"expected at most {MAX_ROW // MIB} MiB in one row, got more"
        elif raw.strip():
            yield _json_row(raw.rstrip(b"\r\n"), number)


def _json_row(raw: bytes, line: int) -> Row | BadRow:
    try:
        return _as_row(json.loads(raw.decode("utf-8")), line)
    except UnicodeDecodeError as error:
        return line, "", f"expected UTF-8 text, got the byte 0x{raw[error.start]:02x} at position {error.start}"
    except (json.JSONDecodeError, RecursionError) as error:
        return line, "", f"expected one JSON object per line, got {_cut(raw)}: {error}"


def _read_json(file: _Metered, source: str) -> Iterator[Row | BadRow]:
    data = file.whole()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(source, data[: error.start].count(b"\n") + 1, data[error.start]) from error
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "; one object per line is JSONL: name the file .jsonl" if error.msg == "Extra data" else ""
        raise TaskError(
            f"{source}: invalid JSON at line {error.lineno}: {error.msg}{hint}", ((error.lineno, "", error.msg),)
        ) from error
    except RecursionError as error:
        raise TaskError(f"{source}: invalid JSON: nested too deeply to be rows of tasks") from error
    if isinstance(value, dict):
        lists = [v for v in cast("dict[str, Any]", value).values() if isinstance(v, list)]
        value = lists[0] if len(lists) == 1 else value
    if not isinstance(value, list):
        raise TaskError(f"{source}: expected a JSON list of objects (or an object that holds one), got {_cut(text)}")
    for number, item in enumerate(cast("list[Any]", value), start=1):
        yield _as_row(item, number)


def _read_csv(file: _Metered, source: str) -> Iterator[Row | BadRow]:
    yield from _cells(_lines(file, source), source, "")


def _read_tsv(file: _Metered, source: str) -> Iterator[Row | BadRow]:
    yield from _cells(_lines(file, source), source, "\t")


def _lines(file: _Metered, source: str) -> Generator[str]:
    """The lines of a text file, with their ends."""
    number = 0
    while raw := file.line():
        number += 1
        if len(raw) > MAX_ROW:
            raise TaskError(f"{source}:{number}: expected at most {MAX_ROW // MIB} MiB in one line, got more")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(source, number, raw[error.start]) from error


def _cells(lines: Generator[str], source: str, delimiter: str) -> Iterator[Row | BadRow]:
    """Rows of a table of text cells.

    Args:
        lines: the lines of the file.
        source: the source as the user named it, for messages.
        delimiter: what separates cells; empty: found from the first lines.
    """
    sample = [line for line, _ in zip(lines, range(_SAMPLE_LINES), strict=False)]
    previous_limit = csv.field_size_limit(MAX_ROW)
    try:
        reader = csv.reader(
            (line for part in (sample, lines) for line in part), strict=True, delimiter=delimiter or _delimiter(sample)
        )
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


def _delimiter(sample: list[str]) -> str:
    """What separates the cells: the first of `DELIMITERS` under which most lines have as many cells as the header."""
    best, separates = (0.0, 0), ","
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            continue
        whole = rows[:-1] if len(rows) > 2 else rows  # the last one may go on behind the sample
        if not whole or len(whole[0]) < 2:
            continue
        even = sum(len(row) == len(whole[0]) for row in whole) / len(whole)
        if (even, len(whole[0])) > best:
            best, separates = (even, len(whole[0])), delimiter
    return separates


def _read_parquet(file: _Metered, source: str) -> Iterator[Row | BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file.seekable())
        number = n_bytes = 0
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
            n_bytes += batch.nbytes
            refuse_more(n_bytes, source)
            for cells in batch.to_pylist():
                number += 1
                yield Row(number, cast("dict[str, Any]", cells))
    except (pa.ArrowException, OSError) as error:
        raise TaskError(f"{source}: not a readable Parquet file: {error}") from error


_READERS: dict[str, Callable[[_Metered, str], Iterator[Row | BadRow]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}


def _as_row(value: Any, line: int) -> Row | BadRow:
    if not isinstance(value, dict):
        return line, "", f"expected a JSON object, got {_cut(json.dumps(value))}"
    return Row(line, cast("dict[str, Any]", value))


def _not_utf8(source: str, line: int, byte: int) -> TaskError:
    problem = f"expected UTF-8 text, got the byte 0x{byte:02x}"
    return TaskError(f"{source}:{line}: {problem}; save the file as UTF-8", ((line, "", problem),))


def _cut(text: str | bytes) -> str:
    shown = repr(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    return shown if len(shown) <= 60 else shown[:57] + "..."
