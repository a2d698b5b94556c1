"""The default store: one SQLite file, a batch of rollouts per transaction.

The primary key makes a second copy of a draw impossible; `missing` tells a resumed run which draws are still owed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from posttrain_diag.errors import StoreError
from posttrain_diag.store.base import TALLIED, ScoreRow, Span, StoredTokens, VerdictOf, verdict_of
from posttrain_diag.store.columns import (
    COLUMNS,
    FRAME_COLUMNS,
    IDENTITY,
    NULLABLE,
    clean_or_none,
    frame_of,
    frame_schema,
    values_of,
)
from posttrain_diag.store.scores import SCORES_SCHEMA, ScoreTable, check_version, connect, transaction
from posttrain_diag.types import Rollout

__all__ = ["SCHEMA_VERSION", "RolloutStore", "ScoreRow", "verdict_of"]

SCHEMA_VERSION = 3
"""Version of the file's tables; a store of an older version is brought up when it is opened.

Version 2 added policy_logprob and proposal_logprob; version 3 lets logprob and token_logprobs be absent and puts texts
last."""

FETCHED = 20_000
"""How many rows are fetched at a time while reading."""
PIECE = 64
"""How many prompts are judged again in one transaction."""

_SQL_TYPES = {
    "string": "TEXT",
    "int64": "INTEGER",
    "bool": "INTEGER",
    "double": "REAL",
    "int32s": "BLOB",
    "float32s": "BLOB",
}
_ROLLOUTS = (
    "CREATE TABLE {table} ("
    + ", ".join(f"{n} {_SQL_TYPES[kind]}{'' if n in NULLABLE else ' NOT NULL'}" for n, kind in COLUMNS.items())
    + f", PRIMARY KEY ({', '.join(IDENTITY)})) WITHOUT ROWID"
)
_NAMES = ", ".join(COLUMNS)
_INSERT = f"INSERT OR IGNORE INTO rollouts ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"
_OF_SPANS = (
    "FROM temp.span AS s CROSS JOIN rollouts AS r ON r.model_sha=? AND r.prompt_sha=s.prompt_sha "
    "AND r.sampling_sha=s.sampling_sha AND r.sample_idx>=s.start AND r.sample_idx<s.stop"
)
_VERDICTS = {"c": "pass", "failed": "fail", "truncated": "truncated", "errored": "error"}
_TALLY = (
    "SELECT r.problem_id, r.arm, r.verifier_sha, "
    + "".join(f"sum(r.verdict='{verdict}'), " for verdict in _VERDICTS.values())
    + f"sum(r.lenient AND r.verdict IN ('pass','fail')), sum(r.n_tokens) {_OF_SPANS} GROUP BY 1, 2, 3"
)
_FRAME = f"SELECT {', '.join('r.' + name for name in FRAME_COLUMNS)} {_OF_SPANS}"


class RolloutStore(ScoreTable):
    """Rollouts and scores of one run directory in one SQLite file; its methods do what `store.base.Store` says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = connect(path)
            version = check_version(self._db, path, SCHEMA_VERSION)
            if version < SCHEMA_VERSION:
                self._bring_up()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: not a rollout store ({error}); move it away or choose another --out") from error

    def _bring_up(self) -> None:
        """Make the tables of a new file, or bring an older version to this one, in one transaction."""
        have = {str(row[1]) for row in self._db.execute("PRAGMA table_info(rollouts)")}
        with transaction(self._db, self.path):
            self._db.execute(SCORES_SCHEMA)
            self._db.execute(_ROLLOUTS.format(table="brought_up"))
            if have:
                kept = ", ".join(name for name in COLUMNS if name in have)
                self._db.execute(f"INSERT INTO brought_up ({kept}) SELECT {kept} FROM rollouts")
                self._db.execute("DROP TABLE rollouts")
            self._db.execute("ALTER TABLE brought_up RENAME TO rollouts")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def add(self, rollout: Rollout) -> bool:
        """Store one rollout; False when exactly this draw is already there."""
        return self.add_many([rollout]) == 1

    def add_many(self, rollouts: Sequence[Rollout]) -> int:
        """Store rollouts in one transaction; returns how many were new.

        Raises:
            StoreError: they cannot be written.
        """
        before = self._db.total_changes
        with transaction(self._db, self.path):
            self._db.executemany(_INSERT, [values_of(rollout) for rollout in rollouts])
        return self._db.total_changes - before

    def missing(self, model_sha: str, prompt_sha: str, sampling_sha: str, n: int) -> tuple[int, ...]:
        """Sample indices below n that were not drawn yet, ascending.

        Args:
            model_sha: the model that draws.
            prompt_sha: the prompt.
            sampling_sha: the sampling law.
            n: how many draws there should be.
        """
        rows = self._db.execute(
            "SELECT sample_idx FROM rollouts WHERE model_sha=? AND prompt_sha=? AND sampling_sha=? AND sample_idx<?",
            (model_sha, prompt_sha, sampling_sha, n),
        )
        have = {int(row[0]) for row in rows}
        return tuple(i for i in range(n) if i not in have)

    def models(self) -> list[str]:
        """The model_sha of every model of which anything is stored, sorted."""
        return [str(row[0]) for row in self._db.execute("SELECT DISTINCT model_sha FROM rollouts ORDER BY 1")]

    def spans(self, model_sha: str, problem_ids: Collection[str] | None = None) -> list[Span]:
        """A span without an end for each prompt and sampling law that is stored, or only for those of some problems."""
        query, values = "SELECT DISTINCT prompt_sha, sampling_sha FROM rollouts WHERE model_sha=?", [model_sha]
        if problem_ids is not None:
            query += " AND problem_id IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(sorted(problem_ids)))
        return [Span(str(row[0]), str(row[1])) for row in self._db.execute(query, values)]

    def _select(self, spans: Iterable[Span]) -> None:
        """Fill the temporary table that queries about spans join with."""
        self._db.execute("DROP TABLE IF EXISTS temp.span")
        self._db.execute("CREATE TEMP TABLE span (prompt_sha TEXT, sampling_sha TEXT, start INTEGER, stop INTEGER)")
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO temp.span VALUES (?,?,?,?)", [(s.prompt_sha, s.sampling_sha, s.start, s.stop) for s in spans]
        )
        self._db.execute("COMMIT")

    def tallies(self, model_sha: str, spans: Iterable[Span]) -> pd.DataFrame:
        """Exact counts per problem, arm and verifier."""
        self._select(spans)
        columns = ["problem_id", "arm", "verifier_sha", *TALLIED]
        return pd.DataFrame(self._db.execute(_TALLY, (model_sha,)).fetchall(), columns=columns)

    def rows(self, model_sha: str, spans: Iterable[Span]) -> pd.DataFrame:
        """The rollouts of some spans, ordered by problem, arm, sample index."""
        import pyarrow as pa

        self._select(spans)
        cursor, schema = self._db.execute(_FRAME, (model_sha,)), frame_schema()
        tables: list[Any] = []
        while found := cursor.fetchmany(FETCHED):
            arrays = [
                pa.array([*map(bool, values)] if field.type == pa.bool_() else values, field.type)
                for values, field in zip(zip(*found, strict=True), schema, strict=True)
            ]
            tables.append(pa.Table.from_arrays(arrays, schema=schema))
        return frame_of(tables)

    def frame(self, model_sha: str) -> pd.DataFrame:
        """All rollouts of a model, in the form in which `rows` gives them."""
        return self.rows(model_sha, self.spans(model_sha))

    def token_rows(self, model_sha: str, spans: Iterable[Span]) -> Iterator[StoredTokens]:
        """Token ids and log-probabilities of the rollouts of some spans."""
        self._select(spans)
        query = f"SELECT r.prompt_sha, r.sampling_sha, r.sample_idx, r.token_ids, r.token_logprobs {_OF_SPANS}"
        for prompt_sha, sampling_sha, index, ids, logprobs in self._db.execute(query, (model_sha,)):
            given = None if logprobs is None else np.frombuffer(logprobs, np.float32)
            yield StoredTokens(prompt_sha, sampling_sha, int(index), np.frombuffer(ids, np.int32), given)

    def rejudge(self, model_sha: str, spans: Iterable[Span], shas: Mapping[str, str], judge: VerdictOf) -> int:
        """Judge again what another verifier than today's judged, prompt by prompt; returns how many rollouts that were.

        Args:
            model_sha: the model that drew.
            spans: the draws in question.
            shas: today's verifier_sha by problem id.
            judge: gives the new verdict.
        """
        self._select(spans)
        self._db.execute("DROP TABLE IF EXISTS temp.today")
        self._db.execute("CREATE TEMP TABLE today (problem_id TEXT PRIMARY KEY, verifier_sha TEXT)")
        self._db.executemany("INSERT INTO temp.today VALUES (?,?)", shas.items())
        stale: Sequence[tuple[Any, ...]] = self._db.execute(
            f"SELECT s.prompt_sha, s.sampling_sha, s.start, s.stop, t.problem_id, t.verifier_sha, count(*) {_OF_SPANS} "
            "JOIN temp.today AS t ON t.problem_id=r.problem_id AND t.verifier_sha<>r.verifier_sha "
            "GROUP BY s.rowid, t.problem_id",
            (model_sha,),
        ).fetchall()
        for first in range(0, len(stale), PIECE):
            with transaction(self._db, self.path):
                for *span, problem_id, sha, _ in stale[first : first + PIECE]:
                    self._rejudge_span(model_sha, span, (problem_id, sha), judge)
        return sum(int(row[6]) for row in stale)

    def _rejudge_span(self, model_sha: str, span: Sequence[Any], today: tuple[str, str], judge: VerdictOf) -> None:
        where = "model_sha=? AND prompt_sha=? AND sampling_sha=? AND sample_idx"
        rows = self._db.execute(
            f"SELECT sample_idx, text, finish_reason FROM rollouts WHERE {where}>=? AND sample_idx<? "
            "AND problem_id=? AND verifier_sha<>?",
            (model_sha, *span, *today),
        ).fetchall()
        updates: list[tuple[Any, ...]] = []
        for index, text, finish_reason in rows:
            verdict, judged = judge(today[0], text, finish_reason)
            extracted, error = clean_or_none(judged.extracted), clean_or_none(judged.error)
            new = (verdict, judged.strict, judged.lenient, extracted, judged.score, error, today[1])
            updates.append((*new, model_sha, *span[:2], index))
        self._db.executemany(
            "UPDATE rollouts SET verdict=?, strict=?, lenient=?, extracted=?, score=?, error=?, verifier_sha=? "
            f"WHERE {where}=?",
            updates,
        )
