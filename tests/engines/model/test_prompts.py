from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.tiny_models import CHAT_TEMPLATE, make_model, make_tokenizer, write_model
from posttrain_diag.engines.contract import Prompt, SampleRequest
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.errors import EngineError, UsageError
from posttrain_diag.types import SamplingParams

BOS, EOS = 1, 2


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    number = itertools.count()

    def get(chat: str | None = None, bos: bool = True, eos: bool = True, add_bos: bool = False,
            add_eos: bool = False, **settings: Any) -> Any:  # fmt: skip
        tokenizer = make_tokenizer(bos=bos, eos=eos, add_bos=add_bos, add_eos=add_eos)
        tokenizer.chat_template = chat
        path = tmp_path / str(next(number))
        write_model(path, make_model("llama"), tokenizer)
        return load_hf_engine(str(path), device="cpu", **settings)

    return get


def shown(engine: Any, prompt: Prompt) -> str:
    return "".join(engine._codec.token_text(i) for i in engine.prompt_ids(prompt))


def test_a_base_model_takes_the_prompt_as_it_is(load: Callable[..., Any]) -> None:
    engine = load()
    assert shown(engine, Prompt(text="ab: 1")) == "ab: 1"
    assert engine.info.chat_template_sha is None and engine.info.notices == ()


def test_a_plain_template_is_declared_and_hashed(load: Callable[..., Any]) -> None:
    engine = load(template="q: {prompt}\na:")
    assert shown(engine, Prompt(text="1+2")) == "q: 1+2\na:"
    assert engine.info.chat_template_sha is not None
    with pytest.raises(UsageError, match=r"has no \{prompt\}"):
        load(template="q:")


def test_chat_models_use_their_template_with_one_bos(load: Callable[..., Any]) -> None:
    engine = load(chat=CHAT_TEMPLATE, add_bos=True)
    assert shown(engine, Prompt(text="1+2")) == "<s>u:1+2\na:"
    turns = ({"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"})
    assert shown(engine, Prompt(messages=turns)) == "<s>u:1\na:2\nu:3\na:"
    assert engine.info.chat_template_sha is not None and engine.info.notices == ()
    begun = ({"role": "user", "content": "1"}, {"role": "assistant", "content": "2+"})
    assert shown(engine, Prompt(messages=begun)) == "<s>u:1\na:2+"


def test_a_template_that_doubles_bos_is_repaired_with_a_notice(load: Callable[..., Any]) -> None:
    engine = load(chat="{{ bos_token }}" + CHAT_TEMPLATE)
    assert shown(engine, Prompt(text="1")) == "<s>u:1\na:"
    assert any("doubled BOS" in notice for notice in engine.info.notices)


def test_the_chat_template_can_be_switched_off(load: Callable[..., Any]) -> None:
    engine = load(chat=CHAT_TEMPLATE, add_bos=True, use_chat_template=False)
    assert shown(engine, Prompt(text="1+2")) == "<s>1+2"
    assert engine.info.chat_template_sha is None
    with pytest.raises(UsageError, match="no chat template"):
        load(use_chat_template=True)


def test_system_prompt(load: Callable[..., Any]) -> None:
    engine = load(chat=CHAT_TEMPLATE, system_prompt="be")
    assert shown(engine, Prompt(text="1")) == "<s>s:be\nu:1\na:"
    own = ({"role": "system", "content": "own"}, {"role": "user", "content": "1"})
    assert shown(engine, Prompt(messages=own)) == "<s>s:own\nu:1\na:"
    sha = engine.info.chat_template_sha
    assert load(chat=CHAT_TEMPLATE, system_prompt="no").info.chat_template_sha != sha
    plain = load(system_prompt="be")
    assert shown(plain, Prompt(text="1")) == "be\n\n1"
    assert any("system prompt" in notice for notice in plain.info.notices)


def test_messages_without_a_chat_template_are_written_out_with_a_notice(load: Callable[..., Any]) -> None:
    engine = load()
    ids = engine.prompt_ids(Prompt(messages=({"role": "user", "content": "1"},)))
    assert ids == engine.response_ids("User: 1\nAssistant:")
    assert any("'Assistant:'" in notice for notice in engine.info.notices)


def test_an_appended_eos_is_removed_with_a_notice(load: Callable[..., Any]) -> None:
    engine = load(add_bos=True, add_eos=True)
    assert shown(engine, Prompt(text="12")) == "<s>12"
    assert engine.prompt_ids(Prompt(text="")) == (BOS,)
    assert any("EOS" in notice for notice in engine.info.notices)
    assert engine.prompt_ids(Prompt(text="12</s>"))[-1] == EOS, "an EOS that the prompt itself has stays"


def test_a_bos_written_in_the_prompt_is_not_doubled(load: Callable[..., Any]) -> None:
    engine = load(add_bos=True)
    assert engine.info.notices == ()
    assert shown(engine, Prompt(text="<s>12")) == "<s>12"
    assert any("doubled BOS" in notice for notice in engine.info.notices)


def test_several_bos_in_the_prompt_become_one(load: Callable[..., Any]) -> None:
    engine = load(add_bos=True)
    assert shown(engine, Prompt(text="<s><s>12")) == "<s>12"
    assert not any("does not begin" in notice for notice in engine.info.notices)


@pytest.mark.parametrize("settings", [{"chat": CHAT_TEMPLATE}, {"template": "q: {prompt}"}])
def test_a_bos_that_ends_up_inside_the_prompt_is_said(load: Callable[..., Any], settings: dict[str, Any]) -> None:
    engine = load(add_bos=True, **settings)
    engine.prompt_ids(Prompt(text="12"))
    assert engine.info.notices == ()
    engine.prompt_ids(Prompt(text="<s>12"))
    assert any("BOS token that does not begin" in notice for notice in engine.info.notices)


def test_a_template_that_writes_bos_before_every_turn_is_no_fault(load: Callable[..., Any]) -> None:
    engine = load(chat="{% for m in messages %}{{ bos_token + m['content'] }}{% endfor %}", add_bos=True)
    turns = ({"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"})
    assert shown(engine, Prompt(messages=turns)) == "<s>1<s>2<s>3"
    assert engine.info.notices == ()


def test_the_other_rendering_of_a_prompt(load: Callable[..., Any]) -> None:
    for settings, used in (({}, "chat"), ({"use_chat_template": False}, "plain"), ({"template": "q{prompt}"}, "plain")):
        engine = load(chat=CHAT_TEMPLATE, add_bos=True, **settings)
        plain = "<s>q1" if "template" in settings else "<s>1"
        assert engine.info.renderings == (("chat", "plain") if used == "chat" else ("plain", "chat"))
        assert shown(engine, Prompt(text="1")) == ("<s>u:1\na:" if used == "chat" else plain)
        assert shown(engine, Prompt(text="1", rendering="chat")) == "<s>u:1\na:"
        assert shown(engine, Prompt(text="1", rendering="plain")) == plain
        assert engine.info.notices == ()
    turns = ({"role": "user", "content": "1"},)
    engine = load(chat=CHAT_TEMPLATE)
    engine.prompt_ids(Prompt(messages=turns, rendering="plain"))
    assert engine.info.notices == (), "a rendering that is only tried tells nothing of the run's prompts"
    base = load()
    assert base.info.renderings == ("plain",)
    with pytest.raises(EngineError, match="tokenizer has none"):
        base.prompt_ids(Prompt(text="1", rendering="chat"))


def test_an_empty_prompt_needs_a_bos(load: Callable[..., Any]) -> None:
    params = SamplingParams(max_new_tokens=2)
    empty = SampleRequest("empty one", Prompt(text=""), (0,), (1,))
    engine = load()
    assert engine.prompt_ids(Prompt(text="")) == (BOS,)
    assert len(list(engine.sample([empty], params))) == 1
    with pytest.raises(EngineError, match=r"'empty one'.*empty.*no BOS"):
        load(bos=False).sample([empty], params)


def test_the_template_may_refuse_messages(load: Callable[..., Any]) -> None:
    engine = load(
        chat="{{ raise_exception('System role not supported') }}", use_chat_template=None, template="{prompt}"
    )
    assert shown(engine, Prompt(text="1")) == "1"
    strict = CHAT_TEMPLATE + "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    engine = load(chat=strict)
    messages = ({"role": "system", "content": "be"}, {"role": "user", "content": "1"})
    with pytest.raises(EngineError, match=r"'k'.*refuses the messages \(no system\)"):
        engine.sample([SampleRequest("k", Prompt(messages=messages), (0,), (1,))], SamplingParams(max_new_tokens=2))
    with pytest.raises(EngineError, match="exactly one of text and messages"):
        engine.prompt_ids(Prompt(text="a", messages=messages))


def test_saved_truncation_of_the_tokenizer_does_not_cut_prompts(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer._tokenizer.enable_truncation(4)
    write_model(tmp_path, make_model("llama"), tokenizer)
    engine = load_hf_engine(str(tmp_path), device="cpu")
    assert len(engine.prompt_ids(Prompt(text="abcdefgh"))) == 8
    assert len(engine.response_ids("abcdefgh")) == 8
