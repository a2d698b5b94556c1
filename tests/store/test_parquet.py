"""The Parquet store: shards and log say the same as SQLite, and no crash loses or doubles a draw."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from store_rows import rows

from posttrain_diag.errors import StoreError
from posttrain_diag.store import ParquetStore, RolloutStore, Span, shards
from posttrain_diag.store.base import TALLIED
from posttrain_diag.types import Judgement


class Crash(BaseException):
    """What a kill looks like from inside."""


def identities(store: ParquetStore) -> list[tuple[str, int]]:
    frame = store.frame("m")
    return sorted(zip(frame["prompt_sha"], frame["sample_idx"], strict=True))


def by_key(tallies: pd.DataFrame) -> dict[tuple[str, ...], list[int]]:
    return {
        (row.problem_id, row.arm, row.verifier_sha): [int(getattr(row, name)) for name in TALLIED]
        for row in tallies.itertuples()
    }


def test_both_stores_say_the_same(tmp_path: Path) -> None:
    sqlite, parquet = RolloutStore(tmp_path / "a"), ParquetStore(tmp_path / "b", shard_rows=40)
    told = rows(7, 13)
    unknown = [replace(r, sample_idx=50, token_ids=(), token_logprobs=None, token_count=9) for r in told[:7]]
    other = [replace(r, arm="longer", sampling_sha="t", extracted=None) for r in told[:20]]
    shuffled = [*told, *unknown, *other]
    random.Random(0).shuffle(shuffled)
    for store in (sqlite, parquet):
        for first in range(0, len(shuffled), 9):
            store.add_many(shuffled[first : first + 9])
    assert len(list((tmp_path / "b").glob("shard-*.parquet"))) == 2, "shards and log are both read"
    reopened = ParquetStore(tmp_path / "b", shard_rows=40)
    some = [Span("q1", "s", 3, 9), Span("q2", "t"), Span("q5", "s", 0, 1), Span("nothing", "s")]
    for store in (parquet, reopened):
        pd.testing.assert_frame_equal(store.frame("m"), sqlite.frame("m"))
        pd.testing.assert_frame_equal(store.rows("m", some), sqlite.rows("m", some))
        for spans in (some, store.spans("m")):
            assert by_key(store.tallies("m", spans)) == by_key(sqlite.tallies("m", spans))
        key = lambda span: (span.prompt_sha, span.sampling_sha)  # noqa: E731
        assert sorted(map(key, store.spans("m", {"p2", "p6"}))) == [("q2", "s"), ("q2", "t"), ("q6", "s"), ("q6", "t")]
        assert sorted(map(key, sqlite.spans("m", {"p2", "p6"}))) == [("q2", "s"), ("q2", "t"), ("q6", "s"), ("q6", "t")]
        assert store.spans("m", {"p99"}) == sqlite.spans("m", ()) == store.spans("other", {"p2"}) == []
        assert store.missing("m", "q3", "s", 52) == sqlite.missing("m", "q3", "s", 52) == (*range(13, 50), 51)
        span = [Span("q1", "s")]
        drawn, wanted = ({(r.sample_idx, *r.ids_T.tolist()) for r in s.token_rows("m", span)} for s in (store, sqlite))
        assert drawn == wanted
    frame = parquet.rows("m", [Span("q1", "s", 50)])
    assert frame["logprob"].isna().all() and frame["n_tokens"].tolist() == [9]
    for store in (sqlite, parquet, reopened):
        store.close()


def test_judging_again_rewrites_shards_and_log(tmp_path: Path) -> None:
    stores = RolloutStore(tmp_path / "a"), ParquetStore(tmp_path / "b", shard_rows=40)
    found: list[pd.DataFrame] = []
    for store in stores:
        store.add_many(rows(5, 9))
        store.add_many(rows(5, 12, start=9))
        judge = lambda key, text, _: ("pass", Judgement(True, True, f"{key}: {text}"))  # noqa: E731
        spans = [Span(f"q{i}", "s", stop=11) for i in range(4)]
        assert store.rejudge("m", spans, {"p0": "v2", "p1": "v", "p2": "v2"}, judge) == 22
        assert store.rejudge("m", spans, {"p0": "v2", "p1": "v", "p2": "v2"}, judge) == 0
        found.append(store.frame("m"))
        store.close()
    pd.testing.assert_frame_equal(*found)
    new = found[1][found[1]["verifier_sha"] == "v2"]
    assert len(new) == 22 and set(new["verdict"]) == {"pass"} and new["extracted"].str.startswith("p").all()
    reopened = ParquetStore(tmp_path / "b")
    pd.testing.assert_frame_equal(reopened.frame("m"), found[1])
    reopened.close()


POINTS = ("before the shard", "temporary written", "shard in place", "log half emptied")


def crash_at(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise Crash

    def write_and_die(path: Path, table: object) -> None:
        write_shard(path, table)
        raise Crash

    write_shard = shards.write_shard
    if point == "before the shard":
        monkeypatch.setattr(shards, "write_shard", die)
    elif point == "temporary written":
        monkeypatch.setattr(shards, "sync", die)
    elif point == "shard in place":
        monkeypatch.setattr(shards, "write_shard", write_and_die)
    else:
        monkeypatch.setattr(ParquetStore, "_empty_log", half_emptied)


def half_emptied(store: ParquetStore, _: int) -> None:
    db: sqlite3.Connection = store._db  # pyright: ignore
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM batches")
    raise Crash


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_in_compaction_loses_and_doubles_nothing(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = rows(6, 10)
    store = ParquetStore(tmp_path / "s", shard_rows=25)
    store.add_many(told[:30])
    with monkeypatch.context() as patch:
        crash_at(point, patch)
        with pytest.raises(Crash):
            store.add_many(told[30:60])
        store.close()
    for _ in range(2):  # the first opening finishes the compaction, the second finds nothing to do
        again = ParquetStore(tmp_path / "s", shard_rows=25)
        assert identities(again) == sorted((r.prompt_sha, r.sample_idx) for r in told)
        assert all(again.missing("m", f"q{p}", "s", 10) == () for p in range(6))
        assert again.add_many(told) == 0
        again.close()


def test_random_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many short lives: each adds some batches, and dies at some point of a compaction or in between."""
    rng = random.Random(1)
    told = rows(5, 60)
    position = 0
    for life in range(25):
        store = ParquetStore(tmp_path / "s", shard_rows=rng.randint(10, 50))
        expected = sorted((r.prompt_sha, r.sample_idx) for r in told[:position])
        assert identities(store) == expected, life
        with monkeypatch.context() as patch:
            for step in range(rng.randint(1, 4)):
                if step == 1 and rng.random() < 0.7:
                    crash_at(rng.choice(POINTS), patch)
                size = rng.randint(1, 9)
                overlap = told[max(0, position - 3) : position + size]
                position = min(len(told), position + size)  # a batch is in the log before a compaction can fail
                try:
                    store.add_many(overlap)
                except Crash:
                    break
        store.close()
    assert position > 100


WRITER = """
import sys
from pathlib import Path
from store_rows import rows
from posttrain_diag.store import ParquetStore
store = ParquetStore(Path(sys.argv[1]), shard_rows=300)
told = rows(40, 400)
for first in range(0, len(told), 64):
    store.add_many(told[first : first + 64])
    print(first + 64, flush=True)
"""


def test_kill_minus_nine_keeps_what_was_reported(tmp_path: Path) -> None:
    """SIGKILL at several moments; what the writer reported is there, once, and the next life goes on."""
    reported = 0
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    for life in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True, env=env
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(60 * (life + 1))]
        time.sleep(0.003 * life)
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        told = [int(line) for line in (*lines, *rest.split()) if line.strip()]
        assert process.returncode == -signal.SIGKILL, "the kill came too late to mean anything"
        reported = max(reported, told[-1])
        store = ParquetStore(tmp_path / "s")
        found = identities(store)
        store.close()
        assert len(found) == len(set(found)) >= reported
        assert found[: len(found)] == sorted((r.prompt_sha, r.sample_idx) for r in rows(40, 400)[: len(found)])


def test_a_damaged_shard_and_a_full_disk_are_clear_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParquetStore(tmp_path / "s", shard_rows=10)
    store.add_many(rows(2, 4))

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(StoreError, match=r"cannot be written.*rerun"):
            store.add_many(rows(2, 8, start=4))
    assert len(identities(store)) == 16, "the batch was durable before its shard could not be made"
    store.compact()
    store.close()
    (shard,) = (tmp_path / "s").glob("*.parquet")
    shard.write_bytes(b"PAR1 not a shard")
    with pytest.raises(StoreError, match="not a shard"):
        ParquetStore(tmp_path / "s")


def test_a_log_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "log.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="not the log"):
        ParquetStore(tmp_path / "s")
