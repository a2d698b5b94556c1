"""The rollout store: one SQLite file, every rollout durable as it finishes.

Identity of a draw = (model_sha, prompt_sha, sampling_sha, sample_idx). The primary key makes a second copy
of a draw impossible; `missing` tells a resumed run exactly which draws are still owed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.errors import StoreError
from posttrain_diag.types import Judgement, Rollout, Verdict

SCHEMA_VERSION = 2
"""2 added policy_logprob and proposal_logprob; a store of version 1 is brought up when it is opened."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rollouts (
    model_sha TEXT NOT NULL, prompt_sha TEXT NOT NULL, sampling_sha TEXT NOT NULL, sample_idx INTEGER NOT NULL,
    problem_id TEXT NOT NULL, arm TEXT NOT NULL, seed INTEGER NOT NULL, response_prefix TEXT NOT NULL,
    text TEXT NOT NULL, token_ids BLOB NOT NULL, token_logprobs BLOB NOT NULL, n_tokens INTEGER NOT NULL,
    logprob REAL NOT NULL, finish_reason TEXT NOT NULL, verdict TEXT NOT NULL, strict INTEGER NOT NULL,
    lenient INTEGER NOT NULL,
    extracted TEXT, score REAL, error TEXT, engine TEXT NOT NULL, verifier_sha TEXT NOT NULL,
    policy_logprob REAL, proposal_logprob REAL,
    PRIMARY KEY (model_sha, prompt_sha, sampling_sha, sample_idx)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    model_sha TEXT NOT NULL, prompt_sha TEXT NOT NULL, completion_sha TEXT NOT NULL,
    problem_id TEXT NOT NULL, kind TEXT NOT NULL, token_texts TEXT NOT NULL, token_ids BLOB NOT NULL,
    logprobs BLOB NOT NULL, ranks BLOB NOT NULL, entropies BLOB NOT NULL,
    PRIMARY KEY (model_sha, prompt_sha, completion_sha, kind)
) WITHOUT ROWID;
"""

_FRAME_COLUMNS = (
    "problem_id, arm, sample_idx, seed, response_prefix, text, n_tokens, logprob, finish_reason, verdict, "
    "strict, lenient, extracted, score, error, verifier_sha, prompt_sha, sampling_sha, policy_logprob, "
    "proposal_logprob"
)


@dataclass(frozen=True)
class ScoreRow:
    """Teacher-forced scores of one completion, as stored. Arrays have shape (T,)."""

    problem_id: str
    kind: str
    """What was scored, e.g. "demo:0"."""
    model_sha: str
    prompt_sha: str
    completion_sha: str
    token_texts: tuple[str, ...]
    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    ranks: NDArray[np.int32]
    entropies: NDArray[np.float32]


def _clean(text: str) -> str:
    """SQLite stores UTF-8: lone surrogates are written as their escapes, never dropped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def verdict_of(judgement: Judgement, finish_reason: str) -> Verdict:
    """One verdict per rollout: n = passed + failed + truncated + errored.

    A verifier that failed is an error whatever was drawn; a draw cut at the token cap is truncated even if
    the text so far would pass, because the policy had not stopped.
    """
    if judgement.error is not None or finish_reason == "error":
        return "error"
    if finish_reason == "length":
        return "truncated"
    return "pass" if judgement.strict else "fail"


class RolloutStore:
    """Rollouts and scores of one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # autocommit: a row is on disk when add() returns, so kill -9 loses nothing that was reported
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA busy_timeout=10000")
            self._db.executescript(_SCHEMA)
            self._check_version()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: not a rollout store ({error}); move it away or choose another --out") from error

    def _check_version(self) -> None:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version < SCHEMA_VERSION:
            self._migrate()
        elif version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: written by store version {version}, this is version {SCHEMA_VERSION}; "
                "use the posttrain-diag that wrote it or choose another --out"
            )

    def _migrate(self) -> None:
        """Bring a new file or one of version 1 to this version, at once or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        have = {str(row[1]) for row in self._db.execute("PRAGMA table_info(rollouts)")}
        for column in ("policy_logprob", "proposal_logprob"):
            if column not in have:
                self._db.execute(f"ALTER TABLE rollouts ADD COLUMN {column} REAL")
        self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, rollout: Rollout, strict: bool) -> bool:
        """Store one rollout; returns False when exactly this draw is already there.

        Args:
            rollout: the judged draw.
            strict: the strict reading of its text, kept beside the verdict (a truncated text can read right).
        """
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO rollouts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                rollout.model_sha,
                rollout.prompt_sha,
                rollout.sampling_sha,
                rollout.sample_idx,
                rollout.problem_id,
                rollout.arm,
                rollout.seed,
                _clean(rollout.response_prefix),
                _clean(rollout.text),
                np.asarray(rollout.token_ids, np.int32).tobytes(),
                np.asarray(rollout.token_logprobs, np.float32).tobytes(),
                rollout.n_tokens,
                rollout.logprob,
                rollout.finish_reason,
                rollout.verdict,
                int(strict),
                int(rollout.lenient),
                None if rollout.extracted is None else _clean(rollout.extracted),
                rollout.score,
                None if rollout.error is None else _clean(rollout.error),
                rollout.engine,
                rollout.verifier_sha,
                rollout.policy_logprob,
                rollout.proposal_logprob,
            ),
        )
        return cursor.rowcount == 1

    def missing(self, model_sha: str, prompt_sha: str, sampling_sha: str, n: int) -> tuple[int, ...]:
        """Sample indices below n that were not drawn yet, ascending."""
        rows = self._db.execute(
            "SELECT sample_idx FROM rollouts WHERE model_sha=? AND prompt_sha=? AND sampling_sha=? AND sample_idx<?",
            (model_sha, prompt_sha, sampling_sha, n),
        )
        have = {int(row[0]) for row in rows}
        return tuple(i for i in range(n) if i not in have)

    def frame(self, model_sha: str) -> pd.DataFrame:
        """All rollouts of a model, one row each, ordered by problem, arm, sample index; token arrays left out."""
        query = (
            f"SELECT {_FRAME_COLUMNS} FROM rollouts WHERE model_sha=? "
            "ORDER BY problem_id, arm, sampling_sha, sample_idx"
        )
        frame = pd.read_sql_query(query, self._db, params=(model_sha,))
        frame["strict"] = frame["strict"].astype(bool)
        frame["lenient"] = frame["lenient"].astype(bool)
        return frame

    def tokens(self, model_sha: str, prompt_sha: str, sampling_sha: str) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """(sample_idx, token ids) of one prompt's draws."""
        rows = self._db.execute(
            "SELECT sample_idx, token_ids FROM rollouts WHERE model_sha=? AND prompt_sha=? AND sampling_sha=?",
            (model_sha, prompt_sha, sampling_sha),
        )
        for index, blob in rows:
            yield int(index), np.frombuffer(blob, np.int32)

    def rejudge(self, updates: Iterable[tuple[Verdict, Judgement, str, tuple[str, str, str, int]]]) -> None:
        """Replace verdicts after a verifier changed: (verdict, judgement, verifier_sha, identity) each."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "UPDATE rollouts SET verdict=?, strict=?, lenient=?, extracted=?, score=?, error=?, verifier_sha=? "
            "WHERE model_sha=? AND prompt_sha=? AND sampling_sha=? AND sample_idx=?",
            [
                (
                    verdict,
                    int(judged.strict),
                    int(judged.lenient),
                    None if judged.extracted is None else _clean(judged.extracted),
                    judged.score,
                    None if judged.error is None else _clean(judged.error),
                    sha,
                    *identity,
                )
                for verdict, judged, sha, identity in updates
            ],
        )
        self._db.execute("COMMIT")

    def add_score(self, row: ScoreRow) -> None:
        """Store one scored completion (idempotent)."""
        self._db.execute(
            "INSERT OR IGNORE INTO scores VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                row.model_sha,
                row.prompt_sha,
                row.completion_sha,
                row.problem_id,
                row.kind,
                json.dumps([_clean(text) for text in row.token_texts]),
                row.token_ids.astype(np.int32).tobytes(),
                row.logprobs.astype(np.float32).tobytes(),
                row.ranks.astype(np.int32).tobytes(),
                row.entropies.astype(np.float32).tobytes(),
            ),
        )

    def has_score(self, model_sha: str, prompt_sha: str, completion_sha: str, kind: str) -> bool:
        """Was this completion scored already?"""
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
