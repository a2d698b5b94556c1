"""SQLite under a store: opening, transactions, and the table of scored completions that every kind of store keeps."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from posttrain_diag.errors import StoreError
from posttrain_diag.store.base import ScoreRow
from posttrain_diag.store.columns import clean

SCORES_SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
    model_sha TEXT NOT NULL, prompt_sha TEXT NOT NULL, completion_sha TEXT NOT NULL,
    problem_id TEXT NOT NULL, kind TEXT NOT NULL, token_texts TEXT NOT NULL, token_ids BLOB NOT NULL,
    logprobs BLOB NOT NULL, ranks BLOB NOT NULL, entropies BLOB NOT NULL,
    PRIMARY KEY (model_sha, prompt_sha, completion_sha, kind)
) WITHOUT ROWID;
"""

PAGE_BYTES = 16384
"""Bytes of an SQLite page; it holds several rollouts, so that counting reads past fewer overflow pages."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection in autocommit: what a statement or `transaction` wrote is on disk when it returns.

    The writer of a batch may be another thread than the reader, but never at the same time.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a new file
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA busy_timeout=10000")
    return db


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Generator[None]:
    """While the context is open, write everything or, after an error, nothing.

    Raises:
        StoreError: it cannot be written (a full or failing disk, a lock).
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(
            f"{path}: cannot be written ({error}); make room or mend the disk and rerun the same command: what was "
            "stored before stays"
        ) from error


def check_version(db: sqlite3.Connection, path: Path, accepted: int) -> int:
    """The version that a file was written by; 0 for a new one.

    Raises:
        StoreError: it is newer than `accepted`.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > accepted:
        raise StoreError(
            f"{path}: written by store version {version}, this is version {accepted}; "
            "use the posttrain-diag that wrote it or choose another --out"
        )
    return version


class ScoreTable:
    """The table of scored completions in an SQLite file."""

    _db: sqlite3.Connection

    def add_score(self, row: ScoreRow) -> None:
        """Store one scored completion; storing it again changes nothing."""
        self._db.execute(
            "INSERT OR IGNORE INTO scores VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                row.model_sha,
                row.prompt_sha,
                row.completion_sha,
                row.problem_id,
                row.kind,
                json.dumps([clean(text) for text in row.token_texts]),
                row.token_ids.astype(np.int32).tobytes(),
                row.logprobs.astype(np.float32).tobytes(),
                row.ranks.astype(np.int32).tobytes(),
                row.entropies.astype(np.float32).tobytes(),
            ),
        )

    def has_score(self, model_sha: str, prompt_sha: str, completion_sha: str, kind: str) -> bool:
        """Whether this completion was scored already.

        Args:
            model_sha: the model that scored.
            prompt_sha: the prompt that it follows.
            completion_sha: the completion.
            kind: what was scored, e.g. "demo:0".
        """
        found = self._db.execute(
            "SELECT 1 FROM scores WHERE model_sha=? AND prompt_sha=? AND completion_sha=? AND kind=?",
            (model_sha, prompt_sha, completion_sha, kind),
        ).fetchone()
        return found is not None

    def scores(self, model_sha: str) -> list[ScoreRow]:
        """All scored completions of a model."""
        rows: Sequence[tuple[Any, ...]] = self._db.execute(
            "SELECT problem_id, kind, model_sha, prompt_sha, completion_sha, token_texts, token_ids, logprobs, "
            "ranks, entropies FROM scores WHERE model_sha=? ORDER BY problem_id, kind",
            (model_sha,),
        ).fetchall()
        return [
            ScoreRow(
                *row[:5],
                token_texts=tuple(json.loads(row[5])),
                token_ids=np.frombuffer(row[6], np.int32),
                logprobs=np.frombuffer(row[7], np.float32),
                ranks=np.frombuffer(row[8], np.int32),
                entropies=np.frombuffer(row[9], np.float32),
            )
            for row in rows
        ]

    def close(self) -> None:
        """Close the file; the table cannot be used afterwards."""
        self._db.close()
