"""What makes a draw the same draw: old run directories go on, and what changes the law makes other draws."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from fake_engine import STOP, FakeEngine, make_problems

from posttrain_diag.engines.contract import Draw, Prompt
from posttrain_diag.rollouts.identity import prompt_sha, sampling_sha
from posttrain_diag.rollouts.judge import Asked, Judge
from posttrain_diag.types import SamplingParams


def test_stop_texts_change_the_law_and_their_absence_changes_nothing() -> None:
    params = SamplingParams(0.7, 0.9, 20, 64, 3)
    older = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "max_new_tokens": 64, "seed": 3}  # as version 0.1 hashed it
    assert params.identity() == older
    assert sampling_sha(params) == hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()[:16]
    stopped = [replace(params, stop=stop) for stop in (("a", "b"), ("b", "a", "a"), ("a",), ("ab",))]
    assert len({sampling_sha(one) for one in (params, *stopped)}) == 4, (
        "the order of stop texts and repeats say nothing"
    )
    assert json.loads(json.dumps(stopped[0].identity())) == stopped[0].identity(), "run.json is compared with it"


def test_draws_that_now_end_at_a_turn_end_are_not_those_that_ran_past_it() -> None:
    engine, prompt = FakeEngine(lambda _: {}), Prompt(text="q")
    before = prompt_sha(engine, "p", "main", prompt)
    engine.info = replace(engine.info, stop_texts=("### end",), warnings=("told",))
    assert prompt_sha(engine, "p", "main", prompt) == before
    engine.info = replace(engine.info, undeclared_stops=("<|im_end|>",))
    assert prompt_sha(engine, "p", "main", prompt) != before


def test_a_draw_behind_a_prefix_is_judged_up_to_its_stop_text() -> None:
    engine = FakeEngine(lambda _: {})
    [problem] = make_problems(1, lambda _: "abc")
    ids = tuple(map(ord, "bc\n\n"))
    draw = Draw("q", 0, 0, "bc", ids, None, "stop", stop_text=True)
    asked = Asked(problem.id, "", "", prefix_ids=(ord("a"),))
    found = Judge([problem]).rollout(engine, asked, draw)
    assert (found.text, found.response_prefix, found.verdict, found.token_ids) == ("abc", "a", "pass", ids)
    ended = replace(draw, token_ids=(*ids[:2], STOP), stop_text=False)
    assert Judge([problem]).rollout(engine, asked, ended).text == "abc"
