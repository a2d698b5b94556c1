"""What ends a draw: eos fields, the turn end of chat templates as the field writes them, stop texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.tiny_models import edit_json, make_config, make_model, make_tokenizer, write_model
from posttrain_diag.engines.contract import Prompt, SampleRequest
from posttrain_diag.engines.hf.engine import HFEngine, load_hf_engine
from posttrain_diag.engines.model.front import open_front
from posttrain_diag.engines.model.stops import cut_at_stop, turn_end
from posttrain_diag.types import SamplingParams

END, HEADER, USER, OTHER = "<|im_end|>", "<|im_start|>", "<|user|>", "<|endoftext|>"
ADDED = (END, HEADER, USER, OTHER)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
PHI_3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}"
)
GLM_4 = "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% endfor %}"
BARE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
PARTS = (
    "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
)
ALPACA = "{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] + '\n### end\n\n' }}{% endfor %}"
QUOTED = "{% for m in messages %}{{ '\"' + m['content'] + '\"' }}{% endfor %}"
FIRST_ONLY = (
    "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}{{ messages[0]['content'] }}"
)


def tokenizer_of(template: str | None, **settings: Any) -> Any:
    tokenizer = make_tokenizer(**settings)
    tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED)})
    tokenizer.chat_template = template
    return tokenizer


def id_of(text: str) -> int:
    return int(tokenizer_of(None).convert_tokens_to_ids(text))


@pytest.mark.parametrize(
    ("template", "declared", "text"),
    [
        (CHATML, (), END),
        (LLAMA_2, (), "</s>"),
        (PHI_3, (), END),
        (GLM_4, (USER,), USER),
        (GLM_4, (), None),  # the next turn's header ends a turn only where an eos field says so
        (BARE, (), None),
        (PARTS, (), END),
        (FIRST_ONLY, (), None),
        (None, (), None),
    ],
    ids=("chatml", "llama-2", "phi-3", "glm-4", "glm-4 undeclared", "line break", "parts", "refusing", "base model"),
)
def test_the_turn_end_is_what_the_template_writes_after_the_assistant(
    template: str | None, declared: tuple[str, ...], text: str | None
) -> None:
    tokenizer = tokenizer_of(template)
    found = turn_end(tokenizer, [id_of(one) for one in declared])
    assert (found and found.text) == text
    assert text is None or (found is not None and found.token_id == id_of(text))


def test_a_turn_end_that_is_no_token_is_a_text_unless_it_is_too_short() -> None:
    found = turn_end(tokenizer_of(ALPACA))
    assert found is not None and (found.text, found.token_id) == ("### end", None)
    chatml = make_tokenizer()
    chatml.chat_template = CHATML  # no vocabulary entry for its markers
    found = turn_end(chatml)
    assert found is not None and (found.text, found.token_id) == (END, None)
    assert turn_end(tokenizer_of(QUOTED)) is None


def chat_model(path: Path, template: str | None, eos: Any, tokenizer_eos: str | None = "</s>") -> Path:
    """A random model whose files name these eos tokens."""
    tokenizer = tokenizer_of(template, eos=tokenizer_eos is not None)
    if tokenizer_eos is not None:
        tokenizer.eos_token = tokenizer_eos
    config = make_config("llama")
    config.vocab_size = len(tokenizer)
    write_model(path, make_model("llama", config=config), tokenizer)
    edit_json(path / "generation_config.json", eos_token_id=eos)
    return path


def load(path: Path, **settings: Any) -> HFEngine:
    return load_hf_engine(str(path), device="cpu", **settings)


def test_the_turn_end_comes_first_whatever_its_number(tmp_path: Path) -> None:
    engine = load(chat_model(tmp_path, CHATML, [2, id_of(END)]))
    assert engine.info.stop_token_ids == (id_of(END), 2)
    assert (engine.info.undeclared_stops, engine.info.warnings) == ((), ())
    plain = load(tmp_path, use_chat_template=False)
    assert plain.info.stop_token_ids == (2, id_of(END)), "without the template the tokenizer's own eos ends a response"


def test_a_turn_end_in_no_eos_field_stops_draws_and_is_told(tmp_path: Path) -> None:
    engine = load(chat_model(tmp_path, CHATML, id_of(OTHER), OTHER))
    end = id_of(END)
    assert engine.info.stop_token_ids == (end, id_of(OTHER)) and engine.info.undeclared_stops == (END,)
    [warning] = engine.info.warnings
    assert f"ends a turn with '{END}' (token {end}), which no eos field names" in warning
    assert "add it to eos_token_id in generation_config.json" in warning
    params = SamplingParams(max_new_tokens=60)
    asked = SampleRequest("q", Prompt(text="ab"), tuple(range(60)), tuple(range(60)))
    ended = {draw.token_ids[-1] for draw in engine.sample([asked], params) if draw.finish_reason == "stop"}
    assert ended == {end, id_of(OTHER)}
    front = open_front(str(tmp_path))
    told = front.info(engine="vllm", dtype="float32", device="cpu", lacks={})
    assert (told.stop_token_ids, told.undeclared_stops, told.warnings) == (
        engine.info.stop_token_ids,
        engine.info.undeclared_stops,
        engine.info.warnings,
    )


def test_a_turn_end_that_is_text_stops_draws_where_the_template_is_in_use(tmp_path: Path) -> None:
    path = chat_model(tmp_path, ALPACA.replace("### end", "abc"), 2)
    engine = load(path)
    assert engine.info.stop_texts == engine.info.undeclared_stops == ("abc",)
    assert "no token of this tokenizer" in engine.info.warnings[0]
    plain = load(path, use_chat_template=False)
    assert plain.info.stop_texts == plain.info.undeclared_stops == plain.info.warnings == ()


def test_a_model_without_any_eos_is_told(tmp_path: Path) -> None:
    engine = load(chat_model(tmp_path, BARE, None, None))
    assert engine.info.stop_token_ids == ()
    assert "the model has no stop token" in engine.info.warnings[0] and "--stop TEXT" in engine.info.warnings[0]
    again = load(chat_model(tmp_path / "named", CHATML, None, None))
    assert again.info.stop_token_ids == (id_of(END),), "the template's turn end is a stop token all the same"


def test_a_turn_end_that_the_model_has_no_row_for_is_left_out(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(CHATML)
    write_model(tmp_path, make_model("llama"), tokenizer)  # its vocabulary ends before the added tokens
    assert open_front(str(tmp_path)).stop_ids == (2,)


def test_base_models_end_with_the_tokenizers_eos_then_with_the_first_that_the_files_name(tmp_path: Path) -> None:
    assert load(chat_model(tmp_path / "a", None, [10, 3], "</s>")).info.stop_token_ids == (2, 3, 10)
    assert load(chat_model(tmp_path / "b", None, [10, 3], None)).info.stop_token_ids == (10, 3)


def test_a_stop_text_that_is_a_special_token_is_a_stop_token(tmp_path: Path) -> None:
    engine = load(chat_model(tmp_path, None, 2))
    stops = engine.stops(SamplingParams(stop=(USER, "ab")))
    assert (stops.ids, stops.texts) == ((2, id_of(USER)), ("ab",))


def test_a_text_is_cut_before_the_first_of_its_stops() -> None:
    assert cut_at_stop("one two three", ("three", "two")) == "one "
    assert cut_at_stop("one", ("two",)) is None and cut_at_stop("one", ()) is None
    assert cut_at_stop("two", ("two",)) == ""
