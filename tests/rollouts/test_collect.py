"""Collect: what is asked of the engine at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, make_problems

from posttrain_diag.evidence import MAIN, DrawSpec
from posttrain_diag.rollouts import collect
from posttrain_diag.rollouts.collect import Collector
from posttrain_diag.rollouts.identity import draw_seed
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.store import RolloutStore
from posttrain_diag.types import SamplingParams


def test_a_call_asks_for_a_bounded_number_of_draws_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, asked = FakeEngine(lambda prompt: {"a": 0.5, "b": 0.5}), []
    inner = engine.sample

    def sample(requests: Any, params: Any) -> Any:
        asked.append([len(request.sample_indices) for request in requests])
        return inner(requests, params)

    monkeypatch.setattr(engine, "sample", sample)
    monkeypatch.setattr(collect, "DRAWS_PER_CALL", 10)
    problems = {problem.id: problem for problem in make_problems(5, lambda _: "a")}
    store = RolloutStore(tmp_path / "s.sqlite")
    collector = Collector(engine, store, problems, SamplingParams(max_new_tokens=4))
    sizes = [4, 4, 4, 25, 1]
    collector.draw(collector.owed(DrawSpec(key, MAIN, n) for key, n in zip(problems, sizes, strict=True)), Progress())
    assert asked == [[4, 4], [4], [25], [1]]
    counts = store.frame("fake-model").groupby("problem_id").size()
    assert counts.tolist() == sizes


def test_the_cap_holds_for_a_given_prefix_and_the_draw_together(tmp_path: Path) -> None:
    engine = FakeEngine(lambda prompt: {"abcdefgh": 1.0})
    problems = {problem.id: problem for problem in make_problems(4, lambda _: "abcdefgh")}
    store = RolloutStore(tmp_path / "s.sqlite")
    collector = Collector(engine, store, problems, SamplingParams(max_new_tokens=6))
    prefix = engine.response_ids("abcdefg")
    specs = [
        DrawSpec("p0", MAIN, 2),
        DrawSpec("p1", "begun", 2, response_prefix_ids=prefix[:4]),
        DrawSpec("p2", "long", 2, response_prefix_ids=prefix),
        DrawSpec("p3", "own cap", 2, response_prefix_ids=prefix[:4], max_new_tokens=5),
    ]
    collector.draw(collector.owed(specs), Progress())
    found = store.frame("fake-model").set_index("problem_id").sort_index()
    assert found["n_tokens"].groupby(level=0).unique().map(list).tolist() == [[6], [2], [1], [5]]
    texts = found["text"].groupby(level=0).first().tolist()
    assert texts == ["abcdef", "abcdef", "abcdefgh", "abcdefgh"]  # the prefix is part of the judged text
    assert found["verdict"].groupby(level=0).first().tolist() == ["truncated", "truncated", "truncated", "pass"]


def test_the_seed_of_a_draw_is_fixed_by_seed_prompt_and_index_alone() -> None:
    """Stored runs are gone on with only while these numbers stay."""
    assert draw_seed(0, "a", 0) == 267995152960769567
    assert draw_seed(0, "a", 1) == 4112135826493837569
    assert draw_seed(1, "a", 0) == 8836211038528561059
    assert draw_seed(0, "b", 0) == 6383607447234869706
    seeds = {draw_seed(seed, name, i) for seed in range(4) for name in "abcd" for i in range(64)}
    assert len(seeds) == 4 * 4 * 64 and min(seeds) >= 0 and 2**62 < max(seeds) < 2**63


def test_a_draw_has_its_own_seed_however_many_are_asked_for(tmp_path: Path) -> None:
    problems = {problem.id: problem for problem in make_problems(2, lambda _: "a")}

    def drawn(name: str, seed: int, *counts: int) -> dict[tuple[str, int], int]:
        store = RolloutStore(tmp_path / name)
        collector = Collector(FakeEngine(lambda _: {"a": 0.5, "b": 0.5}), store, problems, SamplingParams(seed=seed))
        for n in counts:
            collector.draw(collector.owed(DrawSpec(key, MAIN, n) for key in problems), Progress())
        rows = store.frame("fake-model")
        return dict(zip(zip(rows["problem_id"], rows["sample_idx"], strict=True), rows["seed"], strict=True))

    at_once, in_steps, other = drawn("a", 0, 8), drawn("b", 0, 3, 8), drawn("c", 1, 8)
    assert at_once == in_steps and len(set(at_once.values())) == 16
    assert not set(at_once.values()) & set(other.values())
