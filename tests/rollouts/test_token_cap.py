"""The token cap that nobody set: from demonstrations, else from pilot draws; what those cost and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fake_engine import FakeEngine, make_problems

from posttrain_diag.engines.contract import Draw, SampleRequest
from posttrain_diag.errors import UsageError
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.token_cap import PILOT_DRAWS, TokenCap, token_cap
from posttrain_diag.types import Problem, SamplingParams

NUMERIC = {"verifier": {"type": "numeric"}}


class Watched(FakeEngine):
    """Keeps (cap, draws) of each call, and every (problem, index, seed, cap)."""

    def __init__(self, law: Any, **values: Any) -> None:
        super().__init__(law, **values)
        self.calls: list[tuple[int, int]] = []
        self.asked: list[tuple[str, int, int, int]] = []

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        cap = params.max_new_tokens
        self.calls.append((cap, sum(len(request.sample_indices) for request in requests)))
        for r in requests:
            self.asked += [(r.key, i, seed, cap) for i, seed in zip(r.sample_indices, r.seeds, strict=True)]
        yield from super().sample(requests, params)


def saying(*lengths: int) -> Any:
    """Problem i answers with that many characters (the lengths take turns); a draw has one token more, its end."""

    def law(prompt: str) -> Mapping[str, float]:
        return {("x" * lengths[int(prompt[1:-1]) % len(lengths)]): 1.0}

    return law


def bare(n: int = 32, **values: Any) -> list[Problem]:
    """Problems whose references are bare answers."""
    return make_problems(n, str, **{**NUMERIC, "demos": (), **values})


def cap_for(engine: FakeEngine, problems: Sequence[Problem], **values: Any) -> TokenCap:
    return token_cap(engine, problems, SamplingParams(seed=3), Progress(), **values)


def test_bare_answers_leave_the_cap_to_the_lengths_of_pilot_draws() -> None:
    """16 draws over 16 problems; 99 tokens, and half as much again is 148.5: rounded up to 160."""
    engine = Watched(saying(98))
    found = cap_for(engine, bare())
    assert found.tokens == 160
    assert found.said == "token cap 160: 16 of 16 pilot draws ended, 95% of them within 99 tokens"
    assert engine.calls == [(256, PILOT_DRAWS)]
    assert sorted(key for key, *_ in engine.asked) == sorted(f"p{i}" for i in range(0, 32, 2))


def test_short_answers_have_room_for_a_little_and_for_their_references() -> None:
    assert cap_for(Watched(saying(1)), bare()).tokens == 32
    assert cap_for(Watched(saying(1)), make_problems(32, lambda i: "7" * 99, **NUMERIC, demos=())).tokens == 100


@pytest.mark.parametrize(
    ("demo", "answer", "verifier", "decides"),
    [
        ("3 + 4 = 7 #### 7", "7", "numeric", True),
        ("7", "7", "numeric", False),
        ("abcde", "abcde", "exact", True),
        (" 7\n", "7", "numeric", False),
    ],
    ids=["trace", "bare", "all that may be said", "white space"],
)
def test_a_demonstration_decides_where_it_shows_how_long_a_response_is(
    demo: str, answer: str, verifier: str, decides: bool
) -> None:
    engine = Watched(saying(98))
    problems = make_problems(20, lambda i: answer, verifier={"type": verifier}, demos=(demo,))
    found = cap_for(engine, problems)
    assert (found.pilot is None, engine.drawn == 0) == (decides, decides)
    assert found.tokens == (max(32, 4 * (len(demo) + 1)) if decides else 160)


def test_cut_draws_are_made_again_with_their_seeds_and_more_room() -> None:
    """A quarter of the draws need 301 tokens, a quarter 2,001: first 8 are made again, then 4."""
    engine = Watched(saying(9, 300, 9, 2000), context=20_000)
    problems = bare(64)
    short = [p for p in problems if int(p.id[1:]) % 4 == 0]
    long = [p for p in problems if int(p.id[1:]) % 4 == 1][:4]
    longest = [p for p in problems if int(p.id[1:]) % 4 == 3][:4]
    found = cap_for(engine, [*short[:8], *long, *longest])
    assert engine.calls == [(256, 16), (1024, 8), (4096, 4)]
    seeds = {(key, i, seed) for key, i, seed, _ in engine.asked}
    assert len(seeds) == PILOT_DRAWS
    assert found.tokens == 3008  # 1.5 x 2,001, rounded up
    assert found.pilot is not None
    assert found.pilot.tokens == 8 * 10 + 8 * 256 + 4 * 301 + 4 * 1024 + 4 * 2001
    assert found.pilot.mean_length(1000) == (8 * 10 + 4 * 301 + 4 * 1000) / 16


def test_one_draw_that_does_not_end_is_left_cut() -> None:
    engine = Watched(saying(5000, *[98] * 15))
    found = cap_for(engine, bare(16))
    assert engine.calls == [(256, 16)]
    assert found.said == "token cap 160: 15 of 16 pilot draws ended, 95% of them within 99 tokens"


def test_draws_that_do_not_end_leave_the_default_and_a_plain_line() -> None:
    engine = Watched(saying(9000), context=20_000)
    found = cap_for(engine, bare())
    assert found.tokens == 256
    assert engine.calls == [(256, 16), (1024, 16), (4096, 16)]
    assert found.said.startswith("token cap 256: only 0 of 16 pilot draws ended within 4096 tokens")
    assert "--max-new-tokens" in found.said


def test_pilot_draws_and_their_cap_stay_within_the_context() -> None:
    """Prompts of up to 4 characters leave 296 of 300 tokens; 281 x 1.5 would be more."""
    engine = Watched(saying(280), context=300)
    found = cap_for(engine, bare())
    assert engine.calls == [(256, 16), (296, 16)]
    assert found.tokens == 296
    wide = [replace(bare(1)[0], id="wide", prompt="q" * 100 + ":")]
    assert cap_for(Watched(saying(180), context=300), bare(), prompted=[*bare(), *wide]).tokens == 199


def test_few_problems_are_drawn_several_times() -> None:
    engine = Watched(saying(9))
    cap_for(engine, bare(3))
    assert engine.calls == [(256, 16)]
    assert len({seed for _, _, seed, _ in engine.asked}) == 16


class Blind(Watched):
    """A server: no tokenizer; it tells how many tokens its draws have, or does not."""

    def __init__(self, law: Any, *, tells: bool = True, **values: Any) -> None:
        super().__init__(law, **values)
        self.info = replace(self.info, lacks={"tokens": "give --tokenizer"})
        self._tells = tells

    def prompt_ids(self, prompt: Any) -> tuple[int, ...]:
        raise AssertionError("there is no tokenizer")

    def response_ids(self, completion: str) -> tuple[int, ...]:
        raise AssertionError("there is no tokenizer")

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        for draw in super().sample(requests, params):
            yield replace(draw, token_ids=(), token_count=len(draw.token_ids) if self._tells else 0)


def test_an_engine_without_tokens_takes_the_counts_of_its_draws() -> None:
    assert cap_for(Blind(saying(98)), bare()).tokens == 160
    with pytest.raises(UsageError, match=r"cannot count the references' tokens.*give --max-new-tokens"):
        cap_for(Blind(saying(98), tells=False), bare())


def test_a_context_that_no_one_can_measure_is_not_overrun() -> None:
    """A token is at least a byte: 4 bytes of prompt and 512 unseen ones leave 184 of 700; 100 leave nothing."""
    engine = Blind(saying(9000), context=700)
    assert cap_for(engine, bare()).tokens == 184
    assert engine.calls == [(184, 16)]
    unknown = Blind(saying(9000), context=None)
    cap_for(unknown, bare())
    assert [cap for cap, _ in unknown.calls] == [256, 1024]
    with pytest.raises(UsageError, match="give --max-new-tokens"):
        cap_for(Blind(saying(9), context=100), bare())
