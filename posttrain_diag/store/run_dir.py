"""A run directory: fixed file names, atomic writes, an event log and a lock against a second writer."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from posttrain_diag.errors import StoreError
from posttrain_diag.store.base import Store
from posttrain_diag.store.parquet import ParquetStore
from posttrain_diag.store.rollouts import RolloutStore

if TYPE_CHECKING:
    import pandas as pd

STORES: dict[str, tuple[str, Callable[[Path], Store]]] = {
    "sqlite": ("rollouts.sqlite", RolloutStore),
    "parquet": ("rollouts.parquet", ParquetStore),
}
"""For each kind of store its name in the run directory, and what opens it."""

FIXED_SETTINGS = ("model_sha", "sampling")
"""Settings that may not change within one run directory. More rollouts, another eps, corrected golds or verifiers may.
"""


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that it appears whole or not at all.

    It is written under a temporary name beside it, flushed to disk, then renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # noqa: PTH101 - mkstemp gives a name, 0600 would hide the run from colleagues
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def lock_folder(folder: Path) -> IO[str]:
    """Become the only writer of a folder until the handle is closed or the process ends, however it ends.

    Raises:
        StoreError: another process is the writer.
    """
    handle = (folder / ".lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise StoreError(
            f"{folder}: another process is writing to this run; wait for it or choose another --out"
        ) from error
    return handle


class RunDir:
    """The files of one run under their fixed names, with a lock against a second writer."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise StoreError(f"{path}: is a file; --out must name a directory")
        if create:
            if path.is_dir() and any(path.iterdir()) and not (path / "run.json").exists():
                raise StoreError(f"{path}: not empty and not a run directory; choose another --out")
            path.mkdir(parents=True, exist_ok=True)
        elif not (path / "run.json").exists():
            raise StoreError(f"{path}: not a run directory (no run.json); `diag analyze` makes one with --out")
        self._lock: IO[str] | None = None

    @property
    def store_kind(self) -> str:
        """The kind of store this run keeps its rollouts in.

        Raises:
            StoreError: run.json names a kind that this version does not know.
        """
        kind = str(self.read_json("run.json").get("store", "sqlite"))
        if kind not in STORES:
            raise StoreError(
                f"{self.path}: its rollouts are in a store of kind {kind!r}, this version knows {', '.join(STORES)}; "
                "use the posttrain-diag that wrote it or choose another --out"
            )
        return kind

    @property
    def rollouts_path(self) -> Path:
        """Path of the rollout store: a file (sqlite) or a directory (parquet)."""
        return self.path / STORES[self.store_kind][0]

    @property
    def config_path(self) -> Path:
        """Path of config.yaml, the settings that the user gave."""
        return self.path / "config.yaml"

    @property
    def diagnosis_path(self) -> Path:
        """Path of diagnosis.json, the machine-readable verdict."""
        return self.path / "diagnosis.json"

    @property
    def problems_path(self) -> Path:
        """Path of problems.parquet, the per-problem table."""
        return self.path / "problems.parquet"

    def store(self) -> Store:
        """Open the rollout store, of the kind that run.json records.

        Raises:
            StoreError: it is damaged, or of a newer version.
        """
        name, opened = STORES[self.store_kind]
        return opened(self.path / name)

    def lock(self) -> None:
        """Become the only writer of this run; the lock is released when the process ends, however it ends.

        Raises:
            StoreError: another process is writing to this run.
        """
        self._lock = lock_folder(self.path)

    def unlock(self) -> None:
        """Give up the lock, so that another process may write."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @contextmanager
    def locked(self) -> Generator[RunDir]:
        """While the context lasts, be the only writer of this run.

        Raises:
            StoreError: another process is writing to this run.
        """
        self.lock()
        try:
            yield self
        finally:
            self.unlock()

    def claim(self, identity: Mapping[str, Any]) -> bool:
        """Bind the directory to a model and a sampling law; returns True when this continues an earlier run.

        Raises:
            StoreError: the directory belongs to a run of another model or sampling law, or keeps its rollouts in
                another kind of store.
        """
        path = self.path / "run.json"
        if not path.exists():
            self.write_json("run.json", {"schema": 1, **identity})
            return False
        known = self.read_json("run.json")
        for key in FIXED_SETTINGS:
            if known.get(key) != identity.get(key):
                raise StoreError(
                    f"{self.path}: this run was made with {key}={known.get(key)!r}, "
                    f"now asked for {identity.get(key)!r}; "
                    "choose another --out (nothing here was changed)"
                )
        asked, kind = identity.get("store", "sqlite"), self.store_kind
        if asked != kind:
            raise StoreError(
                f"{self.path}: this run keeps its rollouts in a store of kind {kind}, now asked for {asked}; "
                f"go on with --store {kind} or choose another --out (nothing here was changed)"
            )
        return True

    def event(self, kind: str, **data: Any) -> None:
        """Append one line to events.jsonl."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now, "event": kind, **data}, default=str) + "\n")

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically.

        Raises:
            ValueError: the value holds NaN or an infinity, which is a bug of the caller.
        """
        write_atomic(self.path / name, json.dumps(value, indent=1, allow_nan=False, default=str) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the run's JSON files.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise StoreError(f"{path}: missing; run `diag analyze` with --out {self.path} to (re)make it") from error
        except json.JSONDecodeError as error:
            raise StoreError(f"{path}: damaged ({error}); move it away and rerun the same command") from error

    def read_problems(self) -> pd.DataFrame:
        """The per-problem table; it is read as bytes, for pyarrow knows no path whose name is not UTF-8.

        Raises:
            StoreError: it is missing or damaged.
        """
        import io

        import pandas as pd
        import pyarrow

        path = self.problems_path
        try:
            return pd.read_parquet(io.BytesIO(path.read_bytes()))
        except (OSError, pyarrow.ArrowException) as error:
            raise StoreError(f"{path}: cannot be read ({error}); rerun the command that made {self.path}") from error

    def write_parquet(self, name: str, frame: pd.DataFrame) -> None:
        """Write a Parquet file atomically."""
        import io

        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        write_atomic(self.path / name, buffer.getvalue())
