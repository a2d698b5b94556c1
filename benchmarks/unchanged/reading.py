"""Reads what a command left behind as plain values that can be compared one by one.

JSON and YAML become what they hold, tables rows by their key, weights tensors, everything else its lines. What says only when,
where, how fast or with which packages it was made is replaced by a placeholder of its type; it must be there all the same.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

Table = dict[str, Any]

VARYING: Mapping[str, str] = {
    "versions": "packages may be others",
    "created": "when it was made",
    "time": "of an event",
    "changed": "when a file was written",
    "cpu_s": "seconds",
    "wall_s": "seconds",
    "time_s": "seconds, or a forecast from the speed of this run",
    "room": "free memory",
}
"""Keys whose values may differ, and why."""
LEFT_OUT = (".lock", "-wal", "-shm")
"""Ends of the names of files that hold no results."""
TABLES_LEFT_OUT = {"batches"}
"""Of the parquet store's log: which draws lie in one batch is a matter of time. Its draws are compared as they are exported."""
OF_TWO_COMMANDS = {"events.jsonl"}
"""What a second command in the same folder adds to: not compared where a recording was made over another."""
AS_TEXT = "exported"
"""The folder whose rows are compared as they are written: other programs read them."""
KEYS = (("model_sha", "prompt_sha", "sampling_sha", "sample_idx"), ("problem_id", "arm", "sample_idx"), ("id",))
"""What names a row of a table; rows of others go by number."""
SECONDS_SHOWN = re.compile(r"(?<=\btime )[\d.,]+ (?:s|min|h|days)\b|(?<=<dt>time</dt><dd>)[\d.,]+ (?:s|min|h|days)\b")
"""How long a stage would take, reckoned from the speed of this run: the reports' `time_s`."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?( UTC|Z|[+-]\d\d:\d\d)?")


@dataclass(frozen=True)
class Tensor:
    """One tensor of a weights file, bit for bit."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Lines:
    """A text."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Places:
    """Directories whose names differ between recordings and machines."""

    work: str
    checkout: str
    prefix: str

    def cleaned(self, text: str) -> str:
        """A text without them: of a path in a checkout the last part stays, for files move within the package."""
        text = text.replace(self.work, "<work>").replace(self.prefix, "<python>")
        text = re.sub(re.escape(self.checkout) + r"(?:/[\w.+-]+)*/([\w.+-]+)", r"<checkout>/\1", text)
        return SECONDS_SHOWN.sub("<seconds>", MOMENT.sub("<moment>", text))


def files_of(folder: Path, made: tuple[str, ...]) -> dict[str, Path]:
    """The files at or below what a command makes, by their path in the folder."""
    return {str(path.relative_to(folder)): path for name in made for path in _files(folder / name)}


def _files(path: Path) -> Iterator[Path]:
    """The files at or below a path, in order."""
    if path.is_dir():
        for child in sorted(path.iterdir()):
            yield from _files(child)
    elif path.exists() and not path.name.endswith(LEFT_OUT):
        yield path


def read(path: Path, places: Places) -> Any:
    """A file's values."""
    reader = READERS.get(path.suffix)
    if reader is not None and not (path.suffix == ".jsonl" and AS_TEXT in path.parts):
        return plain(reader(path), places)
    return text_of(path.read_bytes(), places)


def text_of(data: bytes, places: Places) -> Any:
    """The lines of a text, or what identifies bytes that are none."""
    try:
        return Lines(tuple(places.cleaned(data.decode("utf-8")).splitlines()))
    except UnicodeDecodeError:
        return f"{len(data)} bytes, SHA-256 {sha256(data).hexdigest()}"


def printed(path: Path, places: Places) -> Any:
    """What a command printed: JSON as its values, else lines."""
    text = path.read_text(encoding="utf-8")
    try:
        return plain(json.loads(text), places)
    except json.JSONDecodeError:
        return text_of(text.encode(), places)


def plain(value: Any, places: Places) -> Any:
    """Values without what may vary."""
    if isinstance(value, dict):
        return {
            places.cleaned(str(key)): placeholder(item) if key in VARYING else plain(item, places)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(item, places) for item in value]
    return places.cleaned(value) if isinstance(value, str) else value


def placeholder(value: Any) -> Any:
    """What stands for a value that may vary: its kind, so that one that is there is told from one that is not."""
    if value is None:
        return None
    return "<number>" if isinstance(value, int | float) else f"<{type(value).__name__}>"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _json_lines(path: Path) -> Any:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _rows(columns: Table, rows: list[Table], keys: tuple[str, ...]) -> Table:
    """A table by key of the row, or by number where there is none or it names several."""
    names = [" ".join(str(row[key])[:12] for key in keys) for row in rows] if keys else []
    if len(set(names)) < len(rows):
        names = [str(i) for i in range(len(rows))]
    return {"columns": columns, "rows": dict(zip(names, rows, strict=True))}


def _sqlite(path: Path) -> Table:
    log = path.with_name(f"{path.name}-wal")
    way = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"  # which leaves no files beside it
    with closing(sqlite3.connect(f"file:{path}?{way}", uri=True)) as db:
        db.row_factory = sqlite3.Row
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table' ORDER BY 1")]
        return {name: _sqlite_table(db, name) for name in names if name not in TABLES_LEFT_OUT}


def _sqlite_table(db: sqlite3.Connection, name: str) -> Table:
    info = db.execute(f"PRAGMA table_info({name})").fetchall()
    keys = tuple(row["name"] for row in sorted(info, key=lambda row: row["pk"]) if row["pk"])
    order = f" ORDER BY {', '.join(keys)}" if keys else ""
    rows = [
        {column: value.hex() if isinstance(value, bytes) else value for column, value in dict(row).items()}
        for row in db.execute(f"SELECT * FROM {name}{order}")
    ]
    return _rows({row["name"]: row["type"] for row in info}, rows, keys)


def _parquet(path: Path) -> Table:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read()
    keys = next((keys for keys in KEYS if set(keys) <= set(table.column_names)), ())
    return _rows({field.name: str(field.type) for field in table.schema}, table.to_pylist(), keys)


def _safetensors(path: Path) -> dict[str, Tensor]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: Tensor(entry["dtype"], tuple(entry["shape"]), data[slice(*(start + at for at in entry["data_offsets"]))])
        for name, entry in sorted(header.items())
    }


READERS: Mapping[str, Callable[[Path], Any]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".yaml": _yaml,
    ".sqlite": _sqlite,
    ".parquet": _parquet,
    ".safetensors": _safetensors,
}
