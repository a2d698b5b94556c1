from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from posttrain_diag.recommend.duration import stage_seconds, with_times
from posttrain_diag.store import RunDir
from posttrain_diag.store.speed import LEAST_TOKENS, keep_speed, stored_speed


def proposal(**cost: Any) -> Mapping[str, Any]:
    return {"stage": "sft", "cost": {"tokens": 100_000, "flops": None, "time_s": None, **cost}}


def test_a_trained_token_takes_as_long_as_three_drawn_ones_and_a_little_more() -> None:
    assert stage_seconds(100_000, 10_000) == pytest.approx(37.5)
    (timed,) = with_times([proposal()], 10_000)
    assert timed["cost"] == {"tokens": 100_000, "flops": None, "time_s": pytest.approx(37.5)}


@pytest.mark.parametrize(("cost", "speed"), [({"tokens": None}, 10.0), ({}, None)])
def test_what_is_not_known_stays_unknown(cost: dict[str, Any], speed: float | None) -> None:
    given = proposal(**cost)
    (timed,) = with_times([given], speed)
    assert timed["cost"]["time_s"] is None
    assert given["cost"]["time_s"] is None


def test_a_measured_time_is_kept() -> None:
    assert with_times([proposal(time_s=5.0)], 10.0)[0]["cost"]["time_s"] == 5.0


def test_speed_is_of_this_device_and_survives_a_rerun_that_draws_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run", create=True)
    assert stored_speed(run) is None
    keep_speed(run, "hf", "cpu", LEAST_TOKENS, 2.0)
    keep_speed(run, "hf", "cpu", 0, 0.0)
    assert stored_speed(run) == pytest.approx(LEAST_TOKENS / 2)
    keep_speed(run, "openai", "cpu", 10 * LEAST_TOKENS, 1.0)
    assert stored_speed(run) == pytest.approx(LEAST_TOKENS / 2), "a server's speed is not this device's"
