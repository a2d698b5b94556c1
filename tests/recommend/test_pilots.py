"""Pilots: who is tried and who goes on; short runs on the shipped model, their bill, and going on after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stages.zoo_stage import TINY, zoo_inputs

from posttrain_diag.autopilot.bill import pilot_tokens
from posttrain_diag.errors import StoreError
from posttrain_diag.recommend.forecast import DRAWS, Forecast
from posttrain_diag.recommend.pilots import RUNGS, Attempt, PilotRun, attempts, run_pilots
from posttrain_diag.stages import StageConfig, make_stage_config


def forecast(stage: str, gains: list[float]) -> Forecast:
    """Each gain is as likely; draws of two stages are independent."""
    rng = np.random.default_rng(sum(map(ord, stage)))
    return Forecast(stage, 0.1, 0.1 + rng.choice(gains, DRAWS), np.zeros(DRAWS), 100.0, (), 0.9)


def played(won: dict[str, tuple[float, float]], seen: list[tuple[str, int]]) -> Attempt:
    def attempt(stage: str, rung: int) -> PilotRun:
        seen.append((stage, rung))
        return PilotRun(stage, rung, 10, 0.1, 0.1 + won[stage][rung], 0.0, 1000)

    return attempt


OPEN = {name: forecast(name, [0.0, 0.4, 0.8]) for name in ("a", "b", "c", "d")}


def test_the_better_half_goes_on_and_the_forecasts_follow_what_was_reached() -> None:
    seen: list[tuple[str, int]] = []
    won = {"a": (0.0, 0.0), "b": (0.1, 0.0), "c": (0.12, 0.6), "d": (0.0, 0.0)}
    found = run_pilots(OPEN, tuple(OPEN), played(won, seen))
    assert sorted(seen[:4]) == [(name, 0) for name in "abcd"]
    assert sorted(seen[4:]) == [("b", 1), ("c", 1)]
    assert found.tokens == 6000
    assert max(found.forecasts, key=lambda name: found.forecasts[name].utility) == "c"
    assert sorted(found.last) == ["b", "c"]
    assert found.forecasts["c"].utility > 0.7 and found.forecasts["a"].utility < 0.25


def test_stages_that_cannot_run_and_sure_ones_are_not_tried() -> None:
    seen: list[tuple[str, int]] = []
    one = run_pilots(OPEN, ["a"], played({}, seen))
    assert one.reason.startswith("nothing to try: only a") and one.forecasts is OPEN
    alike = {name: forecast(name, [0.5, 0.51, 0.52]) for name in "ab"}
    assert "would be worth 0.0" in run_pilots(alike, "ab", played({}, seen)).reason
    sure = run_pilots({**OPEN, "e": forecast("e", [0.95])}, [*OPEN, "e"], played({}, seen))
    assert sure.reason.startswith("nothing to try: only e")
    assert run_pilots({"a": forecast("a", [-0.1])}, ["a"], played({}, seen)).reason.startswith("nothing to try: no ")
    assert seen == []


def test_what_is_learned_late_is_not_given_up() -> None:
    """Family T of the zoo by SFT: 0 at 12% of the steps, .2 at 36%, .97 in the end."""
    prior = {name: forecast(name, [0.0, 0.97]) for name in "abc"}
    found = run_pilots(prior, "abc", played(dict.fromkeys("abc", (0.0, 0.204)), []))
    assert len(found.last) == 2 and all(found.forecasts[name].utility > 0.6 for name in found.last)


CONFIG = make_stage_config(**{**TINY, "steps": 50, "max_new_tokens": 24, "own_rollouts": 2})


def config_of(_stage: str) -> StageConfig:
    return CONFIG


def test_runs_share_a_measurement_go_on_where_they_stopped_and_agree_with_the_bill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = zoo_inputs(n=16)
    attempt = attempts(inputs, config_of, tmp_path)
    first, second = attempt("sft", 0), attempt("preference" if inputs.train[0].pairs else "rft", 0)
    assert first.steps == round(RUNGS[0] * 50) == second.steps
    assert first.before == second.before and first.tokens > second.tokens
    folders = [tmp_path / f"0-{run.stage}" for run in (first, second)]
    befores, splits = (
        [json.loads((f / name).read_text()) for f in folders] for name in ("before.json", "problems.json")
    )
    assert befores[0]["tokens"] > 0 == befores[1]["tokens"] and befores[0]["counts"] == befores[1]["counts"]
    for split in splits:
        assert len(split["held_out"]) == 4 and not set(split["held_out"]) & set(split["train"])
        assert not set(split["held_out"]) & {problem.id for problem in inputs.held_out}
    assert pilot_tokens(tmp_path).total == first.tokens + second.tokens

    for name in ("result.json", "after.json"):  # as a kill in the middle of the second leaves it
        (folders[1] / name).unlink()
    assert attempts(inputs, config_of, tmp_path)(second.stage, 0) == second
    monkeypatch.setattr("posttrain_diag.stages.run.load_policy", lambda *_: pytest.fail("a whole run was begun again"))
    assert [attempts(inputs, config_of, tmp_path)(run.stage, 0) for run in (first, second)] == [first, second]


def test_a_run_with_nothing_to_learn_from_is_refused_and_paid_for(tmp_path: Path) -> None:
    inputs = zoo_inputs("T", n=16)
    run = attempts(inputs, config_of, tmp_path)("rft", 0)
    assert "pass" in run.refused and run.tokens > 0
    assert pilot_tokens(tmp_path).total == run.tokens


def test_a_folder_of_other_pilots_is_no_refusal(tmp_path: Path) -> None:
    inputs = zoo_inputs(n=16)
    attempts(inputs, config_of, tmp_path)("sft", 0)
    with pytest.raises(StoreError, match="another train"):
        attempts(replace(inputs, train=inputs.train[1:]), config_of, tmp_path)("sft", 0)
