"""Stages on the shipped zoo models, as small as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain_diag.stages import StageInputs, make_stage_config
from posttrain_diag.stages.policy.policy import Policy, load_policy
from posttrain_diag.stages.session.session import Session
from posttrain_diag.types import Problem, SamplingParams
from posttrain_diag.zoo import mastered_problems, problems, resolve_model

TINY = {
    "steps": 4,
    "batch_size": 16,
    "warmup_steps": 0,
    "watch_every": 2,
    "watch_rollouts": 2,
    "eval_problems": 4,
    "eval_rollouts": 4,
    "own_rollouts": 8,
    "device": "cpu",
}


def zoo_inputs(
    family: str = "S", n: int = 16, *, model: str = "base", retain: int = 0, train: tuple[Problem, ...] | None = None
) -> StageInputs:
    """`n` training problems, 4 watched, 4 held out; `retain` problems of each mastered family."""
    found = problems(family, n + 4, split="training")
    return StageInputs(
        str(resolve_model(f"zoo:{model}")),
        found[:n] if train is None else train,
        found[n:],
        problems(family, 4),
        mastered_problems(per_family=retain) if retain else (),
    )


def zoo_policy(model: str = "base", **settings: Any) -> Policy:
    """A policy on a shipped model."""
    return load_policy(str(resolve_model(f"zoo:{model}")), make_stage_config(device="cpu", **settings))


def zoo_session(folder: Path, inputs: StageInputs, *, cap: int = 24, **settings: Any) -> Session:
    """A session without the measurements around a stage."""
    folder.mkdir(parents=True, exist_ok=True)
    config = make_stage_config(**{**TINY, **settings})
    policy = load_policy(inputs.model, config)
    params = SamplingParams(1.0, max_new_tokens=cap, seed=config.seed)
    return Session(inputs, config, policy, params, folder, steps=config.steps or 4, learning_rate=1e-3)
