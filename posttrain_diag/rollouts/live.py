"""Judged draws of the policy as it is now: for RL rewards, for watching and for measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.engines.contract import Draw, Engine, Prompt, SampleRequest
from posttrain_diag.rollouts.collect import Judgements, draw_seed
from posttrain_diag.stats import Counts
from posttrain_diag.store.base import verdict_of
from posttrain_diag.types import Problem, SamplingParams, Verdict


@dataclass(frozen=True)
class Judged:
    """One draw with its verdict."""

    problem_id: str
    prompt_ids: tuple[int, ...]
    """What the model was conditioned on, a hint included."""
    token_ids: tuple[int, ...]
    """What was drawn, the stop token included where one was drawn."""
    token_logprobs: tuple[float, ...] | None
    text: str
    """The whole response, the hint included."""
    verdict: Verdict
    lenient: bool
    score: float | None

    @property
    def passed(self) -> bool:
        """Strictly right, and finished."""
        return self.verdict == "pass"


def read_judged(row: Mapping[str, Any]) -> Judged:
    """A draw from its JSON form."""
    lists = ("prompt_ids", "token_ids", "token_logprobs")
    values: dict[str, Any] = {**row, **{key: tuple(row[key]) for key in lists if row[key] is not None}}
    return Judged(**values)


@dataclass(frozen=True)
class Judge:
    """Turns token ids of responses into verdicts."""

    engine: Engine
    judgements: Judgements

    @staticmethod
    def of(engine: Engine, problems: Sequence[Problem]) -> Judge:
        """A judge of these problems' responses."""
        return Judge(engine, Judgements({problem.id: problem for problem in problems}))

    def verdict(
        self, problem_id: str, hint: Sequence[int], token_ids: Sequence[int]
    ) -> tuple[str, Verdict, bool, float | None]:
        """Text, verdict, lenient reading and partial credit of a response.

        Args:
            problem_id: of the problem.
            hint: response tokens that were given.
            token_ids: response tokens that were drawn; a draw without a stop token at its end was cut off.
        """
        stops = set(self.engine.info.stop_token_ids)
        finished = bool(token_ids) and token_ids[-1] in stops
        text = self.engine.decode([*hint, *(token for token in token_ids if token not in stops)])
        judged = self.judgements(problem_id, text)
        return text, verdict_of(judged, "stop" if finished else "length"), judged.lenient, judged.score


def sample_judged(
    engine: Engine,
    judge: Judge,
    problems: Sequence[Problem],
    n: int,
    params: SamplingParams,
    *,
    seed_text: str,
    hints: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, list[Judged]]:
    """Draw n times for each problem; the draws by problem id, in the order of their index.

    Args:
        engine: of the policy as it is now.
        judge: of these problems.
        problems: ids are unique.
        n: draws per problem.
        params: the sampling law; its seed enters every draw's.
        seed_text: with the seed, the problem's id and the draw's index it fixes each draw.
        hints: response tokens given to a problem, by its id.
    """
    given = hints or {}
    states = [State(problem, given.get(problem.id, ()), f"{seed_text}|{problem.id}") for problem in problems]
    found = sample_from(engine, judge, states, n, params)
    return {state.problem.id: draws for state, draws in zip(states, found, strict=True)}


@dataclass(frozen=True)
class State:
    """Where draws begin: a problem and the response so far."""

    problem: Problem
    prefix_ids: tuple[int, ...]
    """Shorter than the cap on new tokens."""
    seed_text: str
    """With the seed and a draw's index it fixes the draw."""

    @property
    def prompt(self) -> Prompt:
        """What the model is conditioned on."""
        return Prompt(self.problem.prompt, self.problem.messages, self.prefix_ids)


def sample_from(
    engine: Engine, judge: Judge, states: Sequence[State], n: int, params: SamplingParams
) -> list[list[Judged]]:
    """Draw n times from each state; by state and index; the cap on new tokens holds for prefix and draw together."""
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
    out: list[list[Judged]] = []
    for state, drawn in zip(states, found, strict=True):
        prompt_ids = engine.prompt_ids(state.prompt)
        cap = params.max_new_tokens - len(state.prefix_ids)
        out.append([_judged(judge, state, prompt_ids, draw, cap) for _, draw in sorted(drawn.items())])
    return out


def _calls(engine: Engine, states: Sequence[State], cap: int) -> list[tuple[list[int], int]]:
    """(states drawn from together, cap of that call): all at once, or by length of prefix where context is short."""
    by_length: dict[int, list[int]] = {}
    for i, state in enumerate(states):
        by_length.setdefault(len(state.prefix_ids), []).append(i)
    context = engine.info.context_length
    if len(by_length) > 1 and context is not None:
        widest = max(len(engine.prompt_ids(state.prompt)) for state in states)
        if widest + cap - min(by_length) > context:
            return [(members, cap - length) for length, members in by_length.items()]
    return [(list(range(len(states))), cap - min(by_length))] if states else []


def _judged(judge: Judge, state: State, prompt_ids: tuple[int, ...], draw: Draw, cap: int) -> Judged:
    ids = draw.token_ids[:cap]
    logprobs = None if draw.token_logprobs is None else draw.token_logprobs[: len(ids)]
    verdict = judge.verdict(state.problem.id, state.prefix_ids, ids)
    return Judged(state.problem.id, prompt_ids, ids, logprobs, *verdict)


def counts_of(judged: Mapping[str, Sequence[Judged]]) -> Counts:
    """Draws and passes per problem."""
    n_P = np.array([len(draws) for draws in judged.values()], dtype=np.int64)
    c_P = np.array([sum(draw.passed for draw in draws) for draws in judged.values()], dtype=np.int64)
    return Counts(n_P, c_P)


def truncated_share(judged: Mapping[str, Sequence[Judged]]) -> float:
    """Share of draws cut off at the token cap."""
    flags = [draw.verdict == "truncated" for draws in judged.values() for draw in draws]
    return float(np.mean(flags)) if flags else 0.0


def passed_P(judged: Mapping[str, Sequence[Judged]]) -> NDArray[np.float64]:
    """Share of passing draws per problem, shape (P,)."""
    counts = counts_of(judged)
    return counts.c_P / counts.n_P
