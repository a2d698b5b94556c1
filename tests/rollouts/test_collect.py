"""Collect: what is asked of the engine at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, make_problems

from posttrain_diag.evidence import MAIN, DrawSpec
from posttrain_diag.rollouts import collect
from posttrain_diag.rollouts.collect import Collector, Progress
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
