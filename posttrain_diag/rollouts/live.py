"""Judged draws of the policy as it is now: for RL rewards, for watching a stage and for measuring it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.engines.contract import Draw, Engine, Prompt, SampleRequest
from posttrain_diag.rollouts.identity import draw_seed, sampling_sha
from posttrain_diag.rollouts.judge import Asked, Judge
from posttrain_diag.stats import Counts
from posttrain_diag.types import Problem, Rollout, SamplingParams

LIVE = "live"
"""Arm of rollouts that a stage draws from weights that exist for one step; they are never stored."""


def sample_judged(
    engine: Engine,
    judge: Judge,
    problems: Sequence[Problem],
    n: int,
    params: SamplingParams,
    *,
    seed_text: str,
    hints: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, list[Rollout]]:
    """Draw n times for each problem and judge the draws.

    Args:
        engine: the policy as it is now.
        judge: judges completions of these problems.
        problems: what to draw for; ids are unique.
        n: draws per problem.
        params: the sampling law; its seed enters every draw's.
        seed_text: with the seed, the problem's id and the draw's index it fixes each draw.
        hints: response tokens given to a problem, by its id.

    Returns:
        The rollouts by problem id, in the order of their index.
    """
    given = hints or {}
    states = [Start(problem, given.get(problem.id, ()), f"{seed_text}|{problem.id}") for problem in problems]
    found = sample_from(engine, judge, states, n, params)
    return {state.problem.id: draws for state, draws in zip(states, found, strict=True)}


@dataclass(frozen=True)
class Start:
    """Where draws begin: a problem, and the response so far."""

    problem: Problem
    prefix_ids: tuple[int, ...]
    """Token ids of the response so far; shorter than the cap on new tokens."""
    seed_text: str
    """With the seed and a draw's index this fixes the draw."""

    @property
    def prompt(self) -> Prompt:
        """What the model is conditioned on."""
        return Prompt(self.problem.prompt, self.problem.messages, self.prefix_ids)


def sample_from(
    engine: Engine, judge: Judge, states: Sequence[Start], n: int, params: SamplingParams
) -> list[list[Rollout]]:
    """Draw n times from each start and judge the draws.

    The cap on new tokens holds for the prefix and the draw together.

    Args:
        engine: the policy as it is now.
        judge: judges completions of these problems.
        states: where the draws begin.
        n: draws per start.
        params: the sampling law; its seed enters every draw's.

    Returns:
        The rollouts of each start, in the order of their index.
    """
    found: list[dict[int, Draw]] = [{} for _ in states]
    for members, cap in _calls(engine, states, params.max_new_tokens):
        requests = [
            SampleRequest(
                key=f"{i}:{states[i].problem.id}",
                prompt=states[i].prompt,
                sample_indices=tuple(range(n)),
                seeds=tuple(draw_seed(params.seed, states[i].seed_text, j) for j in range(n)),
            )
            for i in members
        ]
        for draw in engine.sample(requests, replace(params, max_new_tokens=cap)):
            found[int(draw.key.partition(":")[0])][draw.sample_idx] = draw
    law = sampling_sha(params)
    out: list[list[Rollout]] = []
    for state, drawn in zip(states, found, strict=True):
        cap = params.max_new_tokens - len(state.prefix_ids)
        asked = Asked(state.problem.id, state.seed_text, law, LIVE, state.prefix_ids, engine.prompt_ids(state.prompt))
        out.append([judge.rollout(engine, asked, _within(draw, cap, engine)) for _, draw in sorted(drawn.items())])
    return out


def _calls(engine: Engine, states: Sequence[Start], cap: int) -> list[tuple[list[int], int]]:
    """Split starts into calls of the engine: all at once, or by length of prefix where the context is short.

    Returns:
        For each call the starts that are drawn from together, and the cap on its new tokens.
    """
    by_length: dict[int, list[int]] = {}
    for i, state in enumerate(states):
        by_length.setdefault(len(state.prefix_ids), []).append(i)
    context = engine.info.context_length
    if len(by_length) > 1 and context is not None:
        widest = max(len(engine.prompt_ids(state.prompt)) for state in states)
        if widest + cap - min(by_length) > context:
            return [(members, cap - length) for length, members in by_length.items()]
    return [(list(range(len(states))), cap - min(by_length))] if states else []


def _within(draw: Draw, cap: int, engine: Engine) -> Draw:
    """The draw as it would be under this cap; starts with different caps are drawn in one call."""
    if len(draw.token_ids) <= cap:
        return draw
    ids = draw.token_ids[:cap]
    logprobs = None if draw.token_logprobs is None else draw.token_logprobs[:cap]
    return replace(
        draw,
        text=engine.decode(ids),
        token_ids=ids,
        token_logprobs=logprobs,
        finish_reason="length",
        token_policy_logprobs=None,
        stop_text=False,
    )


def counts_of(judged: Mapping[str, Sequence[Rollout]]) -> Counts:
    """Draws and passes of each problem."""
    n_P = np.array([len(draws) for draws in judged.values()], dtype=np.int64)
    c_P = np.array([sum(draw.passed for draw in draws) for draws in judged.values()], dtype=np.int64)
    return Counts(n_P, c_P)


def truncated_share(judged: Mapping[str, Sequence[Rollout]]) -> float:
    """Share of the draws that were cut off at the token cap."""
    flags = [draw.verdict == "truncated" for draws in judged.values() for draw in draws]
    return float(np.mean(flags)) if flags else 0.0


def passed_P(judged: Mapping[str, Sequence[Rollout]]) -> NDArray[np.float64]:
    """Share of passing draws per problem, shape (P,)."""
    counts = counts_of(judged)
    return counts.c_P / counts.n_P
