"""What training rows end with: the turn end of a chat model, whatever ended the draws that they are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines.tiny_models import edit_json, make_config, make_model, make_tokenizer, write_model
from fake_engine import STOP, FakeEngine, make_problems
from store_rows import judged

from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.errors import UsageError
from posttrain_diag.stages import make_stage_config
from posttrain_diag.stages.data.own import own_rows
from posttrain_diag.stages.data.rollouts import Rollouts
from posttrain_diag.stages.data.rows import TokenPair, TokenRow, content_ids, demo_rows, end_ids, taught_ids, text_pairs
from posttrain_diag.stages.data.teaching import token_gap
from posttrain_diag.stages.recipes.online_preference import mine_pairs
from posttrain_diag.stages.recipes.sft_model_aware import _whole
from posttrain_diag.stages.run import SettledCap, sampling_of
from posttrain_diag.stages.trainers.vllm import vllm_arguments
from posttrain_diag.types import Pair, Rollout
from stages.zoo_stage import zoo_inputs, zoo_session

TURN_END = "<|im_end|>"
CHATML = (
    "{% for m in messages %}{{ m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
)


def chat_model(path: Path, *, as_token: bool = True) -> Path:
    """A random model with `</s>` (2) as its only eos and the turn end as its last token, or as a text of several."""
    tokenizer = make_tokenizer()
    if as_token:
        tokenizer.add_special_tokens({"additional_special_tokens": [TURN_END]})
    tokenizer.chat_template = CHATML if as_token else CHATML.replace(TURN_END, "=end=")
    config = make_config("llama")
    config.vocab_size = len(tokenizer)
    write_model(path, make_model("llama", config=config), tokenizer)
    edit_json(path / "generation_config.json", eos_token_id=2)
    return path


def test_rows_of_demonstrations_and_pairs_end_with_the_turn_end(tmp_path: Path) -> None:
    engine = load_hf_engine(str(chat_model(tmp_path)), device="cpu")
    end = engine.info.vocab_size - 1
    problems = make_problems(2, lambda i: "ab"[i], pairs=(Pair("a", "b"),))
    assert [row.response_ids for row in demo_rows(engine, problems)] == [(4, end), (5, end)]
    assert {(p.chosen_ids, p.rejected_ids) for p in text_pairs(engine, problems)} == {((4, end), (5, end))}
    plain = load_hf_engine(str(tmp_path), device="cpu", use_chat_template=False)
    assert [row.response_ids for row in demo_rows(plain, problems)] == [(4, 2), (5, 2)]


def test_rows_end_with_a_turn_end_that_is_text(tmp_path: Path) -> None:
    engine = load_hf_engine(str(chat_model(tmp_path, as_token=False)), device="cpu")
    [row] = demo_rows(engine, make_problems(1, lambda _: "a"))
    assert row.response_ids == (4, *engine.response_ids("=end=")) and len(row.response_ids) == 6


def test_a_model_that_cannot_end_is_refused() -> None:
    with pytest.raises(UsageError, match="the model has no stop token"):
        end_ids(FakeEngine(lambda _: {}, stops=False))


def fake(**info: Any) -> FakeEngine:
    engine = FakeEngine(lambda _: {})
    engine.info = replace(engine.info, **info)
    return engine


def draw(text: str, *ids: int, **values: Any) -> Rollout:
    return replace(judged("p", ids, "pass", text=text), **values)


def test_draws_are_taught_to_end_where_responses_end() -> None:
    ab, engine = tuple(map(ord, "ab")), fake(stop_token_ids=(STOP, 7), stop_tokens=("<end>", "<other>"))
    assert taught_ids(engine, draw("ab", *ab, STOP)) == (*ab, STOP)
    assert taught_ids(engine, draw("ab", *ab, 7)) == (*ab, STOP), "ended with another stop token"
    assert taught_ids(engine, draw("ab", *map(ord, "ab\n\nQ"))) == (*ab, STOP), "ended at the stop text \\n\\n"
    assert taught_ids(engine, draw("", *map(ord, "\n\n"))) == (STOP,)
    assert taught_ids(engine, draw("xyab", *ab, *map(ord, "##"), response_prefix="xy")) == (*ab, STOP)
    assert taught_ids(engine, draw("ab", *ab, finish_reason="length")) == ab, "it did not end"
    text_end = fake(stop_texts=("##",))
    assert taught_ids(text_end, draw("ab", *ab, STOP)) == taught_ids(text_end, draw("ab", *map(ord, "ab##")))
    assert taught_ids(text_end, draw("ab", *ab, STOP)) == (*ab, *map(ord, "##"))


def test_a_stop_text_that_begins_within_a_token_leaves_what_stands_before_it(tmp_path: Path) -> None:
    engine = fake()
    engine.decode = lambda ids: "".join({1: "a", 2: "b\n", 3: "\n"}[i] for i in ids)  # pyright: ignore[reportAttributeAccessIssue]
    assert content_ids(engine, draw("ab", 1, 2, 3)) == tuple(map(ord, "ab"))


def test_a_teacher_must_know_the_end_of_the_students_responses() -> None:
    student, teacher = fake(stop_token_ids=(7, STOP), stop_tokens=("<turn>", "<end>")), fake()
    assert token_gap(student, teacher, ()) == "it does not stop at the student's stop token '<turn>' (id 7)"
    assert token_gap(fake(), student, ()) is None
    text = fake(stop_texts=("##",))
    assert token_gap(text, text, ()) is None
    assert "student's stop token '##'" in (token_gap(text, teacher, ()) or "")


def test_a_stage_draws_under_its_stop_texts(tmp_path: Path) -> None:
    session = zoo_session(tmp_path, zoo_inputs())
    params = sampling_of(make_stage_config(stop=("|",)), SettledCap(9))
    assert (params.stop, params.max_new_tokens) == (("|",), 9)
    session.params = params
    rollouts, engine = Rollouts(session), session.policy.engine
    key = next(iter(session.problems))
    ids = engine.response_ids("X|A")
    found = rollouts.judged(key, ids)  # as vLLM drew it within the trainer
    assert (found.text, found.finish_reason, found.token_ids) == ("X", "stop", ids)
    assert rollouts.judged(key, engine.response_ids("XA")).finish_reason == "length"
    drawn = [one for own in session.own_draws(session.inputs.train[:2], 8).values() for one in own]
    cut = [one for one in drawn if one.token_ids[-1] == ids[1]]
    assert cut and not any("|" in one.text for one in drawn)
    assert all(one.finish_reason == "stop" and one.text == engine.decode(one.token_ids[:-1]) for one in cut)
    session.config = make_stage_config(use_vllm=True)
    asked = vllm_arguments(session)["generation_kwargs"]
    assert asked == {"stop_token_ids": list(engine.info.stop_token_ids), "stop": ["|"]}


def test_stages_that_learn_from_own_draws_teach_one_end(tmp_path: Path) -> None:
    engine, ab, xy = fake(stop_token_ids=(STOP, 7)), tuple(map(ord, "ab")), tuple(map(ord, "xy"))
    right = [draw("ab", *ab, 7), draw("ab", *map(ord, "ab##")), draw("ab", *ab, STOP)]
    wrong = [replace(draw("xy", *xy, 7), verdict="fail", strict=False)]
    assert own_rows(engine, {"p": right}, 4) == {"p": [TokenRow("p", (1,), (*ab, STOP))]}
    assert mine_pairs(engine, {"p": [*right, *wrong]}, 4, seed_text="") == [
        TokenPair("p", (1,), (*ab, STOP), (*xy, STOP))
    ]
    hinted = replace(draw("xyab", *ab, 7, response_prefix="xy"), prompt_ids=(1, *xy))
    assert _whole(engine, hinted, xy) == TokenRow("p", (1,), (*xy, *ab, STOP))
