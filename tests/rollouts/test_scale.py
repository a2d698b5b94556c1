"""What holds runs of any size: batches, exact counts beside a sample, kinds of store, stores of older versions."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_engine import FakeEngine, Killed, make_problems
from store_rows import rollout, rows

from posttrain_diag.analysis.analyze import Analysis
from posttrain_diag.analysis.report_data import stored_comparison, stored_report
from posttrain_diag.errors import StoreError
from posttrain_diag.evidence import tally
from posttrain_diag.rollouts import batch as batch_module
from posttrain_diag.rollouts import stored
from posttrain_diag.rollouts.batch import Batch
from posttrain_diag.store import ParquetStore, RolloutStore, RunDir, Span
from posttrain_diag.types import Rollout

Run = Callable[..., Analysis]
N = 24


def word(i: int) -> str:
    return "".join("abcdefghij"[(i * 7 + j * j + i // 10) % 10] for j in range(6))


def law(prompt: str) -> Mapping[str, float]:
    i = int(prompt[1:-1])
    return {word(i): (i % 5) / 5, "z" + word(i + 1): 1 - (i % 5) / 5}


def test_only_what_is_durable_is_reported(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path / "s")
    told: list[tuple[int, int]] = []

    def stored(count: int, tokens: int) -> None:
        told.append((len(store.frame("m")), tokens))
        assert sum(c for c, _ in told[-1:]) >= count

    with Batch(store, stored) as batch:
        for one in rows(2, 4):
            batch.add(one)
        assert told == [], "not a transaction per rollout"
        deadline = time.monotonic() + 5
        while not told and time.monotonic() < deadline:
            time.sleep(0.02)
        assert told == [(8, 12)], "an engine that needs long for its next draw leaves nothing in hand"
        batch.add(rollout(5, 5))
    assert told[-1] == (9, 1) and threading.active_count() < 20
    store.close()


def test_what_is_in_hand_is_written_when_the_engine_fails(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path / "s")
    with pytest.raises(Killed), Batch(store, lambda *_: None) as batch:
        batch.add(rollout(0, 0))
        raise Killed
    assert len(store.frame("m")) == 1
    store.close()


def test_a_store_that_cannot_be_written_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RolloutStore(tmp_path / "s")

    def full(_: Sequence[Rollout]) -> int:
        raise StoreError("full")

    monkeypatch.setattr(store, "add_many", full)
    monkeypatch.setattr(batch_module, "MOST_S", 0.01)
    with pytest.raises(StoreError, match="full"), Batch(store, lambda *_: None) as batch:
        for index in range(1000):
            batch.add(rollout(0, index))
            time.sleep(0.01)
    assert index < 900, "the error is met while drawing, not at the end"
    store.close()


def test_a_small_run_is_the_same_in_either_store(run_analysis: Run, tmp_path: Path) -> None:
    settings = {"allocation": "adaptive", "rollouts": 16}
    with pytest.raises(Killed):
        run_analysis(law, make_problems(N, word), engine=FakeEngine(law, die_after=200), store="parquet", **settings)
    one = run_analysis(law, make_problems(N, word), store="parquet", **settings)
    two = run_analysis(law, make_problems(N, word), out=tmp_path / "other", **settings)
    pd.testing.assert_frame_equal(one.evidence.rollouts, two.evidence.rollouts)
    strip = lambda data: {**data, "plan": [{**p, "command": ""} for p in data["plan"]]}  # noqa: E731
    assert strip(one.json) == strip(two.json)
    assert one.run.rollouts_path.name == "rollouts.parquet" and not (one.run.path / "rollouts.sqlite").exists()
    report = stored_report(RunDir(one.run.path))
    assert len(report.transcripts) == report.rollouts == one.evidence.drawn


@pytest.mark.parametrize("store", ["sqlite", "parquet"])
def test_a_report_reads_no_more_than_it_can_show(
    store: str, run_analysis: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 24 problems the page can hold 6 at most: no other problem is built, and no other rollout leaves the store."""
    from posttrain_reports import render_html, selection

    from posttrain_diag.compare import compare_runs, write_comparison
    from posttrain_diag.tasks.problems import write as tasks_write

    run = run_analysis(law, make_problems(N, word), rollouts=8, store=store).run
    whole = stored_report(RunDir(run.path))
    monkeypatch.setattr(selection, "MAX_ROWS", 6)
    ids = selection.candidate_ids(whole.problems)
    assert 4 <= len(ids) <= 6
    built: list[str] = []
    from_row = tasks_write.from_row
    monkeypatch.setattr(tasks_write, "from_row", lambda row: built.append(row["id"]) or from_row(row))
    read: list[int] = []
    for kind in (ParquetStore, RolloutStore):
        rows_of = kind.rows
        monkeypatch.setattr(
            kind, "rows", lambda *asked, rows_of=rows_of: read.append(len(found := rows_of(*asked))) or found
        )
    data = stored_report(RunDir(run.path))
    assert built == ids
    assert data.rollouts == whole.rollouts == len(whole.transcripts)
    told = lambda made: [(t["problem_id"], t["arm"], t["sample_idx"], t["text"]) for t in made.transcripts]  # noqa: E731
    assert told(data) == [one for one in told(whole) if one[0] in ids]
    assert read == [len(data.transcripts)]
    assert f"{len(ids)} of {N} problems" in render_html(data)

    built.clear()
    write_comparison(compare_runs(run.path, run.path), tmp_path / "same")
    pair = stored_comparison(tmp_path / "same")
    wanted = selection.candidate_ids(pair.problems)
    assert 4 <= len(wanted) <= 6 and built == wanted
    assert all({t["problem_id"] for t in side} == set(wanted) for side in pair.transcripts.values())


def test_another_kind_of_store_is_refused(tmp_path: Path) -> None:
    run, identity = RunDir(tmp_path / "run", create=True), {"model_sha": "m", "sampling": {}}
    assert not run.claim({**identity, "store": "parquet"})
    with pytest.raises(StoreError, match=r"kind parquet, now asked for sqlite; go on with --store parquet"):
        run.claim({**identity, "store": "sqlite"})
    assert run.claim({**identity, "store": "parquet"}) and isinstance(run.store(), ParquetStore)
    (run.path / "run.json").write_text(json.dumps(identity))  # as an older version wrote it
    assert run.claim({**identity, "store": "sqlite"}) and isinstance(run.store(), RolloutStore)
    (run.path / "run.json").write_text(json.dumps({**identity, "store": "tape"}))
    with pytest.raises(StoreError, match=r"kind 'tape', this version knows sqlite, parquet"):
        run.store()


def test_counts_are_exact_where_only_a_sample_is_read(
    run_analysis: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_analysis(law, make_problems(N, word), rollouts=16, out=tmp_path / "whole")
    monkeypatch.setattr(stored.first_draws, "__defaults__", (130,))
    part = run_analysis(law, make_problems(N, word), rollouts=16, store="parquet")
    main = part.evidence.arm("main")
    assert len(main) < len(whole.evidence.arm("main")) == N * 16
    assert main.groupby("problem_id")["sample_idx"].max().nunique() == 1, "the choice looks at no outcome"
    pd.testing.assert_frame_equal(part.evidence.main, whole.evidence.main)
    assert part.evidence.drawn == whole.evidence.drawn == part.json["samples"]["rollouts_all_arms"]
    for name in ("pass@1", "pass@16", "coverage", "lenient_pass@1", "mixed_groups@8"):
        assert part.json["estimates"][name] == whole.json["estimates"][name], name
    assert part.json["shares"] == whole.json["shares"] and part.json["samples"] == whole.json["samples"]
    assert part.json["plan"][0]["cost"] == whole.json["plan"][0]["cost"]
    assert any("rest on the first" in note for note in part.json["notes"])
    assert not any("rest on the first" in note for note in whole.json["notes"])
    votes = [name for name in part.json["estimates"] if name.startswith("maj@")]
    assert votes != ["maj@16"] and part.json["estimates"][votes[0]]["value"] is not None


def test_the_largest_sample_that_fits() -> None:
    tallies = pd.DataFrame({"c": [3, 10, 200], "failed": [0, 0, 55], "truncated": 0, "errored": 0})
    for most in (3, 4, 9, 10, 16, 30, 100, 267):
        first = stored.first_draws(tallies, most)
        size = lambda k: np.minimum([3, 10, 255], k).sum()  # noqa: E731
        assert size(first) <= most < size(first + 1)
    assert stored.first_draws(tallies, 268) > 255
    assert stored.first_draws(tallies, 1) == 1, "one draw of each in any case"


def test_rounds_do_not_count_again_what_they_counted(run_analysis: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    count = RolloutStore.tallies

    def counted(store: RolloutStore, model_sha: str, spans: Any) -> pd.DataFrame:
        found = count(store, model_sha, spans)
        seen.append(int(found[["c", "failed", "truncated", "errored"]].to_numpy().sum()))
        return found

    monkeypatch.setattr(RolloutStore, "tallies", counted)
    found = run_analysis(law, make_problems(N, word), allocation="adaptive", rollouts=32)
    drawn = int(found.evidence.main["drawn"].sum())
    *rounds, last = [n for n in seen if n <= drawn]
    assert len(rounds) >= 3 and sum(rounds) <= drawn and last == drawn


def test_engines_that_tell_no_likelihoods(run_analysis: Run, tmp_path: Path) -> None:
    class Server(FakeEngine):
        def sample(self, requests: Any, params: Any) -> Any:
            from dataclasses import replace

            for draw in super().sample(requests, params):
                yield replace(draw, token_ids=(), token_logprobs=None, token_count=len(draw.token_ids))

    engine = Server(law)
    engine.info = type(engine.info)(
        **{**engine.info.__dict__, "lacks": dict.fromkeys(("tilts", "prefixes", "logprobs"), "")}
    )
    found = run_analysis(law, make_problems(8, word), engine=engine, rollouts=8)
    assert not found.diagnosis.failures
    rows_ = found.evidence.rollouts
    assert rows_["logprob"].isna().all() and rows_["n_tokens"].min() >= 7
    assert found.diagnosis.per_problem["typicality_z"].isna().all()
    assert '"logprob":null' in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("version", [1, 2])
def test_stores_of_older_versions_are_brought_up(tmp_path: Path, version: int) -> None:
    columns = (
        "model_sha TEXT NOT NULL, prompt_sha TEXT NOT NULL, sampling_sha TEXT NOT NULL, sample_idx INTEGER NOT NULL, "
        "problem_id TEXT NOT NULL, arm TEXT NOT NULL, seed INTEGER NOT NULL, response_prefix TEXT NOT NULL, "
        "text TEXT NOT NULL, token_ids BLOB NOT NULL, token_logprobs BLOB NOT NULL, n_tokens INTEGER NOT NULL, "
        "logprob REAL NOT NULL, finish_reason TEXT NOT NULL, verdict TEXT NOT NULL, strict INTEGER NOT NULL, "
        "lenient INTEGER NOT NULL, extracted TEXT, score REAL, error TEXT, engine TEXT NOT NULL, "
        "verifier_sha TEXT NOT NULL" + (", policy_logprob REAL, proposal_logprob REAL" if version == 2 else "")
    )
    values = ["m", "q", "s", 4, "p0", "main", 17, "", "old", np.int32([5, 6]).tobytes(), b"\0" * 8, 2, -1.5, "stop"]
    values += ["pass", 1, 1, "x", None, None, "e", "v", *([-2.5, None] if version == 2 else [])]
    with sqlite3.connect(tmp_path / "s") as db:
        key = "PRIMARY KEY (model_sha, prompt_sha, sampling_sha, sample_idx)"
        db.execute(f"CREATE TABLE rollouts ({columns}, {key}) WITHOUT ROWID")
        db.execute(f"INSERT INTO rollouts VALUES ({','.join('?' * len(values))})", values)
        db.execute(f"PRAGMA user_version={version}")
    db.close()
    for _ in range(2):
        store = RolloutStore(tmp_path / "s")
        (row,) = store.frame("m").to_dict("records")
        assert (row["text"], row["logprob"], row["extracted"], row["n_tokens"]) == ("old", -1.5, "x", 2)
        assert np.isnan(row["policy_logprob"]) if version == 1 else row["policy_logprob"] == -2.5
        assert [(r.sample_idx, r.ids_T.tolist()) for r in store.token_rows("m", [Span("q", "s")])] == [(4, [5, 6])]
        store.close()
    store = RolloutStore(tmp_path / "s")
    assert store.missing("m", "q", "s", 5) == (0, 1, 2, 3)
    assert store.add(rollout(0, 0, prompt_sha="q", token_logprobs=None))
    assert len(store.frame("m")) == 2 and store.scores("m") == []
    store.close()


def test_a_tally_of_rows_is_the_store_s(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path / "s")
    store.add_many(rows(4, 11))
    counted = store.tallies("m", store.spans("m")).drop(columns="verifier_sha").sort_values("problem_id")
    pd.testing.assert_frame_equal(tally(store.frame("m")), counted.reset_index(drop=True), check_dtype=False)
    store.close()
