"""A session on a shipped zoo model, without the measurements before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain_diag.engines.contract import Prompt, ScoreRequest
from posttrain_diag.stages import StageInputs, make_stage_config
from posttrain_diag.stages.policy.policy import load_policy
from posttrain_diag.stages.session.session import Session
from posttrain_diag.types import Problem, SamplingParams
from posttrain_diag.zoo import resolve_model

QUICK = {"batch_size": 16, "warmup_steps": 0, "watch_every": 50, "learning_rate": 3e-4}


def open_session(
    folder: Path,
    train: tuple[Problem, ...],
    *,
    model: str = "base",
    watched: tuple[Problem, ...] = (),
    siblings: tuple[str, ...] = (),
    retain: tuple[Problem, ...] = (),
    default_replay: float = 0.0,
    **settings: Any,
) -> Session:
    config = make_stage_config(**{**QUICK, **settings})
    inputs = StageInputs(str(resolve_model(f"zoo:{model}")), train, watched, (), retain, (), siblings)
    policy = load_policy(inputs.model, config)
    params = SamplingParams(1.0, max_new_tokens=24, seed=config.seed)
    steps, rate = config.steps or 2, config.learning_rate or 1e-3
    more = {"steps": steps, "learning_rate": rate, "default_replay": default_replay}
    session = Session(inputs, config, policy, params, folder, **more)
    session.watcher.begin()
    return session


def log_likelihood(session: Session, problem: Problem, response_ids: tuple[int, ...]) -> float:
    """Of a response under the policy as it is now, in nats."""
    session.policy.sync()
    prompt = Prompt(problem.prompt, problem.messages)
    request = ScoreRequest("", prompt, completion_ids=response_ids, append_stop=False)
    (score,) = session.policy.engine.score([request])
    return float(score.logprob_T.sum())
