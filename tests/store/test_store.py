"""The rollout store and the run directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posttrain_diag.errors import StoreError
from posttrain_diag.store import ParquetStore, RolloutStore, RunDir, ScoreRow, Span, Store, write_atomic
from posttrain_diag.store.base import verdict_of
from posttrain_diag.types import Judgement, Rollout, Verdict

ROLLOUT = Rollout(
    problem_id="p0",
    arm="main",
    sample_idx=3,
    seed=17,
    text="text \ud800 with a lone surrogate\0",
    token_ids=(5, 6, 2),
    token_logprobs=(-0.5, -1.0, -0.25),
    finish_reason="stop",
    verdict="pass",
    strict=True,
    lenient=True,
    extracted="text",
    score=None,
    engine="fake",
    model_sha="m",
    prompt_sha="q",
    sampling_sha="s",
    verifier_sha="v",
)


OPEN: dict[str, Callable[[Path], Store]] = {"sqlite": RolloutStore, "parquet": ParquetStore}


@pytest.fixture(params=["sqlite", "parquet"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    opened = OPEN[request.param](tmp_path / "rollouts")
    yield opened
    opened.close()


def test_a_draw_is_stored_once(store: Store) -> None:
    assert store.add(ROLLOUT)
    assert not store.add(replace(ROLLOUT, text="another"))
    frame = store.frame("m")
    assert len(frame) == 1
    assert frame.loc[0, "text"] == "text \\ud800 with a lone surrogate\0"
    assert frame.loc[0, "n_tokens"] == 3
    assert frame.loc[0, "logprob"] == pytest.approx(-1.75)


def test_missing_lists_what_is_owed(store: Store) -> None:
    for index in (0, 3, 7):
        store.add(replace(ROLLOUT, sample_idx=index))
    assert store.missing("m", "q", "s", 6) == (1, 2, 4, 5)
    assert store.missing("m", "q", "other law", 2) == (0, 1)
    assert store.missing("other model", "q", "s", 1) == (0,)


def test_tokens_come_back_as_they_were(store: Store) -> None:
    store.add(ROLLOUT)
    (row,) = store.token_rows("m", [Span("q", "s")])
    assert (row.prompt_sha, row.sampling_sha, row.sample_idx, row.ids_T.tolist()) == ("q", "s", 3, [5, 6, 2])
    assert row.logprobs_T is not None
    assert row.logprobs_T.tolist() == pytest.approx(list(ROLLOUT.token_logprobs or ()))
    assert not list(store.token_rows("m", [Span("q", "s", 0, 3)])), "spans bound what is read"
    store.add(replace(ROLLOUT, sample_idx=4, token_logprobs=None))
    assert [r.logprobs_T for r in store.token_rows("m", [Span("q", "s", 4)])] == [None]


def test_rejudging_replaces_the_verdict_only(store: Store) -> None:
    store.add(ROLLOUT)
    judged = Judgement(strict=False, lenient=True, extracted="x")
    store.add(replace(ROLLOUT, sample_idx=4, verifier_sha="v2"))
    asked: list[tuple[str, str, str]] = []

    def judge(problem_id: str, text: str, finish_reason: str) -> tuple[Verdict, Judgement]:
        asked.append((problem_id, text, finish_reason))
        return "fail", judged

    assert store.rejudge("m", [Span("q", "s")], {"p0": "v2"}, judge) == 1
    assert asked == [("p0", "text \\ud800 with a lone surrogate\0", "stop")]
    assert store.rejudge("m", [Span("q", "s")], {"p0": "v2"}, judge) == 0
    row = store.frame("m").iloc[0]
    assert (row["verdict"], row["strict"], row["lenient"], row["verifier_sha"]) == ("fail", False, True, "v2")
    assert row["seed"] == 17


def test_scores_round_trip(store: Store) -> None:
    row = ScoreRow(
        "p0",
        "demo:0",
        "m",
        "q",
        "c",
        ("a", "\ud800"),
        np.asarray([1, 2], np.int32),
        np.asarray([-0.5, -2.0], np.float32),
        np.asarray([0, 3], np.int32),
        np.asarray([0.1, 0.2], np.float32),
    )
    store.add_score(row)
    store.add_score(row)
    (back,) = store.scores("m")
    assert back.logprobs.tolist() == row.logprobs.tolist() and back.ranks.tolist() == [0, 3]
    assert store.has_score("m", "q", "c", "demo:0") and not store.has_score("m", "q", "d", "demo:0")


@pytest.mark.parametrize(
    ("judgement", "finish", "verdict"),
    [
        (Judgement(True, True, "a"), "stop", "pass"),
        (Judgement(False, True, "a"), "stop", "fail"),
        (Judgement(True, True, "a"), "length", "truncated"),
        (Judgement(False, False, None, error="boom"), "stop", "error"),
        (Judgement(False, False, None, error="boom"), "length", "error"),
    ],
)
def test_one_verdict_per_rollout(judgement: Judgement, finish: str, verdict: str) -> None:
    assert verdict_of(judgement, finish) == verdict


def test_another_store_version_is_refused(tmp_path: Path) -> None:
    import sqlite3

    RolloutStore(tmp_path / "r.sqlite").close()
    with sqlite3.connect(tmp_path / "r.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="version 99"):
        RolloutStore(tmp_path / "r.sqlite")


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_refuses_nan(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run", create=True)
    with pytest.raises(ValueError, match="Out of range"):
        run.write_json("x.json", {"value": float("nan")})


def test_damaged_json_is_a_clear_error(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run", create=True)
    run.claim({"model_sha": "m", "sampling": {}})
    (tmp_path / "run" / "diagnosis.json").write_text('{"cut')
    with pytest.raises(StoreError, match=r"damaged.*rerun"):
        run.read_json("diagnosis.json")
    with pytest.raises(StoreError, match="missing"):
        run.read_json("measurements.json")


def test_events_are_lines_of_json(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run", create=True)
    run.event("a", x=1)
    run.event("b", path=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["a", "b"]


def test_a_directory_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        RunDir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        RunDir(tmp_path / "file", create=True)
