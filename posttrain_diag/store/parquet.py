"""The store for many millions of rollouts: Parquet shards, and a short log of what is in no shard yet.

    rollouts.parquet/   shard-000000.parquet ...   sorted by identity, zstd
                        log.sqlite                 batches since the last shard (Arrow record batches), scores

A batch is durable when it is in the log. A full log becomes a shard: the shard appears under its name whole, then one
transaction empties the log and counts up. A crash in between leaves a shard of the number that the log would write
next; whoever opens the store next sees that and repeats the transaction, so nothing is lost and nothing stands twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from posttrain_diag.errors import StoreError
from posttrain_diag.store import shards
from posttrain_diag.store.base import Span, StoredTokens, VerdictOf
from posttrain_diag.store.columns import (
    COLUMNS,
    FRAME_COLUMNS,
    IDENTITY,
    arrow_schema,
    frame_of,
    record_batch,
    values_of,
)
from posttrain_diag.store.scores import SCORES_SCHEMA, ScoreTable, check_version, connect, transaction
from posttrain_diag.types import Rollout

LOG_VERSION = 1

SHARD_ROWS = 100_000
"""Rows after which the log becomes a shard."""
SHARD_BYTES = 128 * 2**20
"""Bytes after which the log becomes a shard however few rows they are, because a shard is made in memory."""

_LOG_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (id INTEGER PRIMARY KEY, rows INTEGER NOT NULL, arrow BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS next_shard (number INTEGER NOT NULL);
"""


class ParquetStore(ScoreTable):
    """Rollouts and scores of one run directory in shards; its methods do what `store.base.Store` says."""

    def __init__(self, path: Path, *, shard_rows: int = SHARD_ROWS) -> None:
        self.path = path
        self._shard_rows = shard_rows
        self._have: dict[tuple[str, ...], int] = {}
        """(model_sha, prompt_sha, sampling_sha) -> stored sample indices as bits."""
        path.mkdir(exist_ok=True)
        self._log = path / "log.sqlite"
        try:
            self._db = connect(self._log)
            if check_version(self._db, self._log, LOG_VERSION) < LOG_VERSION:
                self._make_log()
            self._recover()
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self._log}: not the log of a rollout store ({error}); move it away and rerun the same command: "
                "draws that are in no shard are made again"
            ) from error
        self._rows, self._bytes = self._logged()
        for table in self._tables(IDENTITY):
            for key, bits in shards.bitmaps(table):
                self._have[key] = self._have.get(key, 0) | bits

    def _make_log(self) -> None:
        with transaction(self._db, self._log):
            for statement in (*_LOG_SCHEMA.strip().splitlines(), SCORES_SCHEMA):
                self._db.execute(statement)
            self._db.execute("INSERT INTO next_shard VALUES (?)", (0,))
            self._db.execute(f"PRAGMA user_version={LOG_VERSION}")

    def _logged(self) -> tuple[int, int]:
        """Rows and bytes that the log holds."""
        rows, size = self._db.execute("SELECT sum(rows), sum(length(arrow)) FROM batches").fetchone()
        return int(rows or 0), int(size or 0)

    @property
    def _next(self) -> int:
        """The number of the next shard."""
        return int(self._db.execute("SELECT number FROM next_shard").fetchone()[0])

    def _shard(self, number: int) -> Path:
        return self.path / f"shard-{number:06d}.parquet"

    def _shards(self) -> list[Path]:
        return sorted(self.path.glob("shard-*.parquet"))

    def _recover(self) -> None:
        """Finish a compaction that was cut off between the shard and the log."""
        number = self._next
        if self._shard(number).exists():
            last = max(int(path.stem.removeprefix("shard-")) for path in self._shards())
            self._empty_log(last + 1)

    def _empty_log(self, next_shard: int) -> None:
        with transaction(self._db, self._log):
            self._db.execute("DELETE FROM batches")
            self._db.execute("UPDATE next_shard SET number=?", (next_shard,))

    def add(self, rollout: Rollout) -> bool:
        """Store one rollout; False when exactly this draw is already there."""
        return self.add_many([rollout]) == 1

    def add_many(self, rollouts: Sequence[Rollout]) -> int:
        """Store rollouts as one batch of the log; returns how many were new.

        Raises:
            StoreError: they cannot be written.
        """
        new: list[tuple[Any, ...]] = []
        bits: dict[tuple[str, ...], int] = {}
        for rollout in rollouts:
            key = (rollout.model_sha, rollout.prompt_sha, rollout.sampling_sha)
            bit = 1 << rollout.sample_idx
            if (self._have.get(key, 0) | bits.get(key, 0)) & bit:
                continue
            bits[key] = bits.get(key, 0) | bit
            new.append(values_of(rollout))
        if not new:
            return 0
        blob = memoryview(record_batch(new).serialize())
        with transaction(self._db, self._log):
            self._db.execute("INSERT INTO batches (rows, arrow) VALUES (?,?)", (len(new), blob))
        for key, added in bits.items():
            self._have[key] = self._have.get(key, 0) | added
        self._rows, self._bytes = self._rows + len(new), self._bytes + len(blob)
        if self._rows >= self._shard_rows or self._bytes >= SHARD_BYTES:
            self.compact()
        return len(new)

    def compact(self) -> None:
        """Make a shard of what the log holds, if it holds anything."""
        import pyarrow as pa

        batches = [batch for _, batch in self._batches()]
        if not batches:
            return
        number = self._next
        table = shards.sorted_rows(pa.Table.from_batches(batches))
        del batches
        shards.write_shard(self._shard(number), table)
        self._empty_log(number + 1)
        self._rows = self._bytes = 0
        del table
        pa.default_memory_pool().release_unused()

    def _batches(self) -> Iterator[tuple[int, Any]]:
        """(id, record batch) of the log."""
        import pyarrow as pa

        for number, blob in self._db.execute("SELECT id, arrow FROM batches ORDER BY id"):
            yield int(number), pa.ipc.read_record_batch(pa.py_buffer(blob), arrow_schema())

    def _log_table(self, columns: Iterable[str]) -> Any:
        """Some columns of the log, sorted by identity."""
        import pyarrow as pa

        names = [*columns]
        schema = pa.schema([arrow_schema().field(name) for name in names])
        batches = [batch.select(names) for _, batch in self._batches()]
        return shards.sorted_rows(pa.Table.from_batches(batches, schema))

    def _tables(self, columns: Iterable[str]) -> Iterator[Any]:
        """Some columns of all that is stored, piece by piece, each piece sorted by identity.

        The columns of the identity must be among those asked for.
        """
        names = [*columns]
        for path in self._shards():
            yield from shards.read_groups(path, names)
        if self._rows:
            yield self._log_table(names)

    def missing(self, model_sha: str, prompt_sha: str, sampling_sha: str, n: int) -> tuple[int, ...]:
        """Sample indices below n that were not drawn yet, ascending.

        Args:
            model_sha: the model that draws.
            prompt_sha: the prompt.
            sampling_sha: the sampling law.
            n: how many draws there should be.
        """
        have = self._have.get((model_sha, prompt_sha, sampling_sha), 0)
        full = (1 << n) - 1
        if have & full == full:
            return ()
        return tuple(i for i in range(n) if not have >> i & 1)

    def models(self) -> list[str]:
        """The model_sha of every model of which anything is stored, sorted."""
        return sorted({key[0] for key in self._have})

    def spans(self, model_sha: str, problem_ids: Collection[str] | None = None) -> list[Span]:
        """A span without an end for each prompt and sampling law that is stored, or only for those of some problems."""
        if problem_ids is None:
            return [Span(key[1], key[2]) for key in self._have if key[0] == model_sha]
        ids = frozenset(problem_ids)
        found = {key: None for table in self._tables(shards.NAMED) for key in shards.prompts_of(table, model_sha, ids)}
        return [Span(*key) for key in found]

    def tallies(self, model_sha: str, spans: Iterable[Span]) -> pd.DataFrame:
        """Exact counts per problem, arm and verifier."""
        return shards.tally(self._tables(shards.COUNTED), model_sha, shards.wanted(spans))

    def rows(self, model_sha: str, spans: Iterable[Span]) -> pd.DataFrame:
        """The rollouts of some spans, ordered by problem, arm, sample index."""
        asked = shards.wanted(spans)
        return frame_of(list(self._filtered(model_sha, asked, FRAME_COLUMNS)))

    def _filtered(self, model_sha: str, asked: shards.Wanted, columns: Iterable[str]) -> Iterator[Any]:
        """Some columns of the rows that are asked for."""
        import pyarrow as pa

        names = list(dict.fromkeys((*IDENTITY, *columns)))
        for table in self._tables(names):
            keep_N = shards.chosen(table, model_sha, asked)
            if keep_N.any():
                yield table.filter(pa.array(keep_N))

    def frame(self, model_sha: str) -> pd.DataFrame:
        """All rollouts of a model, in the form in which `rows` gives them."""
        return self.rows(model_sha, self.spans(model_sha))

    def token_rows(self, model_sha: str, spans: Iterable[Span]) -> Iterator[StoredTokens]:
        """Token ids and log-probabilities of the rollouts of some spans."""
        asked = shards.wanted(spans)
        for table in self._filtered(model_sha, asked, ("token_ids", "token_logprobs")):
            for row in table.to_pylist():
                given = row["token_logprobs"]
                yield StoredTokens(
                    row["prompt_sha"],
                    row["sampling_sha"],
                    int(row["sample_idx"]),
                    np.asarray(row["token_ids"], np.int32),
                    None if given is None else np.asarray(given, np.float32),
                )

    def rejudge(self, model_sha: str, spans: Iterable[Span], shas: Mapping[str, str], judge: VerdictOf) -> int:
        """Judge again what another verifier than today's judged; returns how many rollouts that were.

        Each shard is replaced at once.

        Args:
            model_sha: the model that drew.
            spans: the draws in question.
            shas: today's verifier_sha by problem id.
            judge: gives the new verdict.
        """
        import pyarrow as pa

        asked, total = shards.wanted(spans), 0
        look = (*IDENTITY, "problem_id", "verifier_sha")
        for path in self._shards():
            found = [shards.stale(group, model_sha, asked, shas) for group in shards.read_groups(path, look)]
            stale_N = np.concatenate(found)
            if stale_N.any():
                whole = pa.concat_tables(shards.read_groups(path, COLUMNS))
                shards.write_shard(path, shards.rejudged(whole, stale_N, shas, judge))
                total += int(stale_N.sum())
        changed: list[tuple[Any, int]] = []
        for number, batch in self._batches():
            table = pa.Table.from_batches([batch])
            stale_N = shards.stale(table, model_sha, asked, shas)
            if stale_N.any():
                (new,) = shards.rejudged(table, stale_N, shas, judge).combine_chunks().to_batches()
                changed.append((memoryview(new.serialize()), number))
                total += int(stale_N.sum())
        with transaction(self._db, self._log):
            self._db.executemany("UPDATE batches SET arrow=? WHERE id=?", changed)
        return total
