"""How many tokens a draw may have where the user does not say.

Demonstrations show how long a response is: the cap is four times the longest. A bare answer shows nothing of the kind
(a chat model explains itself before it says "12"), so a few pilot draws with much room decide: the cap is what 95% of
those that ended needed, and half as much again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from posttrain_diag.engines.contract import Engine, Prompt, SampleRequest
from posttrain_diag.engines.room import room
from posttrain_diag.errors import UsageError
from posttrain_diag.evidence import PILOT
from posttrain_diag.rollouts.identity import draw_seed, prompt_sha, sampling_sha
from posttrain_diag.rollouts.judge import Asked, Judge
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.tasks import reference_completions
from posttrain_diag.types import Problem, Rollout, SamplingParams

LEAST = 32
DEFAULT = 256
"""The cap where too few pilot draws end for their lengths to say anything."""
MOST_BY_DEMONSTRATIONS = 1024
PILOT_DRAWS = 16
PILOT_CAPS = (256, 1024, 4096)
"""Caps of the pilot draws: those that one of them cuts are drawn again under the next."""
LONGEST_UNKNOWN = 1024
"""The longest of them where a server does not tell its context: it may refuse what is longer."""
LEFT_CUT = 1 / 8
"""No more than this share of the pilot draws is left cut before the longest cap: a single row is slow to draw."""
QUANTILE = 0.95
MARGIN = 1.5
STEP = 32
"""Caps from pilot draws are rounded up to a multiple of this."""


@dataclass(frozen=True)
class Pilot:
    """The draws that decide a token cap."""

    made: tuple[Rollout, ...]
    """All of them, under every cap; the draws of one cap are the first tokens of the same draws under the next."""
    last: tuple[Rollout, ...]
    """Each draw once, as it was under its longest cap."""
    caps: tuple[int, ...]
    """The caps that were tried, ascending."""
    time_s: float
    """Wall time, judging included."""

    @property
    def tokens(self) -> int:
        """Generated for all of them."""
        return sum(draw.n_tokens for draw in self.made)

    @property
    def ended(self) -> list[int]:
        """Lengths of the draws that ended by themselves, in tokens, ascending."""
        return sorted(draw.n_tokens for draw in self.last if draw.finish_reason == "stop")

    def mean_length(self, cap: int) -> float:
        """Tokens that a draw takes in the mean under a cap."""
        return sum(min(cap, draw.n_tokens) for draw in self.last) / len(self.last)


@dataclass(frozen=True)
class TokenCap:
    """The cap of a draw, and what decided it."""

    tokens: int
    said: str = ""
    """That in one line; empty where the user or an earlier run said it."""
    pilot: Pilot | None = None
    """None: nothing was drawn for it."""


def prompts_of(problems: Iterable[Problem]) -> list[Prompt]:
    """What the model is asked."""
    return [_prompt(problem) for problem in problems]


def longest_prompt(engine: Engine, problems: Iterable[Problem]) -> int:
    """Tokens of the longest rendered prompt."""
    return max(len(engine.prompt_ids(prompt)) for prompt in prompts_of(problems))


def token_cap(
    engine: Engine,
    problems: Sequence[Problem],
    params: SamplingParams,
    progress: Progress,
    *,
    prompted: Sequence[Problem] | None = None,
) -> TokenCap:
    """The cap of a draw where the user sets none.

    Args:
        engine: of the model that is drawn from.
        problems: whose references and pilot draws decide.
        params: the sampling law; its own cap is not read.
        progress: told of the pilot draws.
        prompted: every problem whose prompt must leave room for a draw; None: `problems`.

    Raises:
        UsageError: the engine can count neither the references' tokens nor those of its draws.
    """
    left = room(engine, prompts_of(problems if prompted is None else prompted))
    uncounted = engine.info.lacks.get("tokens")
    if uncounted is None and any(shows_length(problem) for problem in problems):
        cap = min(MOST_BY_DEMONSTRATIONS, max(LEAST, 4 * needed_tokens(engine, problems)))
        return TokenCap(_within(cap, left), f"token cap {_within(cap, left)}: four times the longest demonstration")
    if uncounted is not None and left is not None and left < LEAST:
        raise cannot_count(engine, uncounted)
    pilot = pilot_draws(engine, problems, params, pilot_caps(engine, left), progress)
    if uncounted is not None and any(d.text and not d.n_tokens and d.verdict != "error" for d in pilot.last):
        raise cannot_count(engine, uncounted)
    return cap_of_pilot(pilot, needed_tokens(engine, problems), left)


def shows_length(problem: Problem) -> bool:
    """Whether a demonstration shows how long a response is: it is more than the bare answer, or no more may be said."""
    answer = (problem.answer or "").strip()
    exact = problem.verifier.get("type") == "exact"
    return any(exact or len(demo.strip()) > len(answer) for demo in problem.demos)


def needed_tokens(engine: Engine, problems: Iterable[Problem]) -> int:
    """Tokens of the longest reference with its end; without a tokenizer at most as many as it has bytes."""
    texts = (text for problem in problems for text in reference_completions(problem))
    if "tokens" in engine.info.lacks:
        longest = max((len(text.encode("utf-8", "surrogatepass")) for text in texts), default=0)
        return min(MOST_BY_DEMONSTRATIONS, longest + 1)
    return max((len(engine.response_ids(text)) for text in texts), default=0) + 1


def pilot_caps(engine: Engine, left: int | None) -> tuple[int, ...]:
    """The caps of the pilot draws that fit behind the longest prompt, ascending."""
    if left is None:
        return tuple(cap for cap in PILOT_CAPS if "tokens" not in engine.info.lacks or cap <= LONGEST_UNKNOWN)
    return tuple(sorted({_within(cap, left) for cap in PILOT_CAPS}))


def cap_of_pilot(pilot: Pilot, needed: int, left: int | None) -> TokenCap:
    """The cap that the lengths of pilot draws lead to.

    Args:
        pilot: its draws.
        needed: tokens of the longest reference with its end; the cap is no smaller.
        left: new tokens that the context leaves; the cap is no larger.
    """
    n, ended = len(pilot.last), pilot.ended
    if 2 * len(ended) < n:
        cap = _within(max(DEFAULT, needed), left)
        said = (
            f"token cap {cap}: only {len(ended)} of {n} pilot draws ended within {pilot.caps[-1]} tokens, too few to "
            "tell how long a response is; --max-new-tokens sets another"
        )
        return TokenCap(cap, said, pilot)
    within = ended[math.ceil(QUANTILE * len(ended)) - 1]
    cap = _within(max(LEAST, needed, math.ceil(MARGIN * within / STEP) * STEP), left)
    said = (
        f"token cap {cap}: {len(ended)} of {n} pilot draws ended, {round(100 * QUANTILE)}% of them within "
        f"{within} token{'' if within == 1 else 's'}"
    )
    return TokenCap(cap, said, pilot)


def pilot_draws(
    engine: Engine,
    problems: Sequence[Problem],
    params: SamplingParams,
    caps: Sequence[int],
    progress: Progress,
    *,
    draws: int = PILOT_DRAWS,
    what: str = "pilot draws, for the token cap",
) -> Pilot:
    """A few draws over evenly chosen problems; those that a cap cuts are drawn again, with their seeds, under the next.

    Args:
        engine: of the model that is drawn from.
        problems: to choose from, at least one.
        params: the sampling law; its own cap is not read.
        caps: ascending, at least one.
        progress: told of each draw.
        draws: how many, at least one.
        what: what they are for, as progress shows it.
    """
    chosen = Counter(problems[i * len(problems) // draws].id for i in range(draws))
    by_id = {problem.id: problem for problem in problems if problem.id in chosen}
    shas = {key: prompt_sha(engine, key, PILOT, _prompt(by_id[key])) for key in chosen}
    due = {key: tuple(range(n)) for key, n in chosen.items()}
    judge, started = Judge(by_id.values()), time.perf_counter()
    made: list[Rollout] = []
    last: dict[tuple[str, int], Rollout] = {}
    tried: list[int] = []
    progress.phase("sample", what)
    for cap in caps:
        law = replace(params, max_new_tokens=cap)
        progress.plan(draws, draws - sum(map(len, due.values())), cap)
        for draw in engine.sample(_requests(by_id, due, shas, law), law):
            rollout = judge.rollout(engine, Asked(draw.key, shas[draw.key], sampling_sha(law), PILOT), draw)
            made.append(rollout)
            last[draw.key, draw.sample_idx] = rollout
            progress.advance(1, rollout.n_tokens)
        tried.append(cap)
        cut = sorted(key for key, rollout in last.items() if rollout.finish_reason == "length")
        if len(cut) <= LEFT_CUT * len(last):
            break
        due = {key: tuple(i for name, i in cut if name == key) for key in dict(cut)}
    return Pilot(tuple(made), tuple(last.values()), tuple(tried), time.perf_counter() - started)


def _requests(
    problems: Mapping[str, Problem], due: Mapping[str, tuple[int, ...]], shas: Mapping[str, str], law: SamplingParams
) -> list[SampleRequest]:
    return [
        SampleRequest(key, _prompt(problems[key]), indices, tuple(draw_seed(law.seed, shas[key], i) for i in indices))
        for key, indices in due.items()
    ]


def cannot_count(engine: Engine, why: str) -> UsageError:
    """Nothing here can tell how long a response is, or how much room it has."""
    return UsageError(
        f"the {engine.info.engine} engine cannot count the references' tokens ({why}), nor do its draws show how many "
        "a response needs: give --max-new-tokens, e.g. --max-new-tokens 1024"
    )


def _prompt(problem: Problem) -> Prompt:
    return Prompt(problem.prompt, problem.messages)


def _within(cap: int, left: int | None) -> int:
    """As much of a cap as the context leaves; 1 where it leaves nothing, which the engine then refuses by name."""
    return cap if left is None else max(1, min(cap, left))
