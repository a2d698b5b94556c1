"""Stop texts on the hf engine: a draw is what it would have been without them, cut where the first one is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.tiny_models import make_config, make_model, write_model
from posttrain_diag.engines.contract import Draw, Prompt, SampleRequest, Tilt
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.engines.hf.stop_texts import StopTexts
from posttrain_diag.errors import UsageError
from posttrain_diag.types import SamplingParams

PIECES = ["a", "b", "c", " ", ":", "ab", "bc", "c:", "a b", " a", "::", "cab"]
STOPS = ("bca", ": a", "::")


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose tokens are pieces of several letters, so that a stop text ends within tokens."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocab = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", *PIECES])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    config = make_config("llama")
    config.vocab_size = len(vocab)
    return write_model(tmp_path_factory.mktemp("pieces"), make_model("llama", config=config), tokenizer)


def drawn(engine: Any, params: SamplingParams, n: int = 150, **prompt: Any) -> dict[int, Draw]:
    request = SampleRequest("q", Prompt(text="a", **prompt), tuple(range(n)), tuple(range(900, 900 + n)))
    return {draw.sample_idx: draw for draw in engine.sample([request], params)}


def expected(engine: Any, free: Draw, stops: tuple[str, ...], prefix: tuple[int, ...] = ()) -> tuple[Any, ...]:
    """(tokens, text, finish reason) of a draw made without stop texts, cut by the definition: token after token."""
    for size in range(1, len(free.token_ids) + 1):
        ids = free.token_ids[:size]
        if ids[-1] == 2:
            break
        text = engine.decode((*prefix, *ids))[len(engine.decode(prefix)) :]
        if any(stop in text for stop in stops):
            return ids, text[: min(text.find(stop) for stop in stops if stop in text)], "stop"
    return free.token_ids, free.text, free.finish_reason


@pytest.mark.parametrize("prefix", [(), (7, 8)])
def test_draws_end_at_the_first_stop_text_and_are_else_the_same(pieces: Path, prefix: tuple[int, ...]) -> None:
    engine = load_hf_engine(str(pieces), device="cpu")
    free = drawn(engine, SamplingParams(max_new_tokens=40), response_prefix_ids=prefix)
    found = drawn(engine, SamplingParams(max_new_tokens=40, stop=STOPS), response_prefix_ids=prefix)
    cut = 0
    for index, draw in found.items():
        ids, text, finish = expected(engine, free[index], STOPS, prefix)
        assert (draw.token_ids, draw.text, draw.finish_reason) == (ids, text, finish)
        assert draw.n_tokens == len(ids) == len(draw.token_logprobs or ()) == len(draw.token_policy_logprobs or ())
        assert draw.token_logprobs == pytest.approx((free[index].token_logprobs or ())[: len(ids)], abs=1e-5)
        assert draw.stop_text == (finish == "stop" and ids[-1] != 2)
        cut += draw.stop_text
    assert 30 < cut < len(found)
    assert not any(stop in draw.text for draw in found.values() for stop in STOPS)


def test_a_stop_text_at_the_token_cap_is_an_end(pieces: Path) -> None:
    engine = load_hf_engine(str(pieces), device="cpu")
    free = drawn(engine, SamplingParams(max_new_tokens=40))
    index, ids = next(
        (i, ids) for i, d in free.items() if (ids := expected(engine, d, ("::",))[0]) != d.token_ids and len(ids) > 3
    )
    capped = drawn(engine, SamplingParams(max_new_tokens=len(ids), stop=("::",)))[index]
    assert (capped.token_ids, capped.finish_reason) == (ids, "stop")
    shorter = drawn(engine, SamplingParams(max_new_tokens=len(ids) - 1, stop=("::",)))[index]
    assert (shorter.token_ids, shorter.finish_reason) == (ids[:-1], "length")


def test_a_tilted_draw_ends_at_a_stop_text_too(pieces: Path) -> None:
    engine = load_hf_engine(str(pieces), device="cpu")
    demo = tuple(4 + PIECES.index(piece) for piece in ("ab", "c", ":", " a", "b", "b"))  # "abc: abb"
    request = SampleRequest("q", Prompt(text="a"), tuple(range(50)), tuple(range(50)), tilt=Tilt(demo, 0.999))
    found = [d for d in engine.sample([request], SamplingParams(max_new_tokens=20, stop=(": a",))) if d.stop_text]
    assert any(draw.text == "abc" and draw.token_ids == demo[:4] for draw in found)
    assert all(draw.proposal_logprob is not None for draw in found)


def test_an_empty_stop_text_is_refused(engine: Callable[[str], Any]) -> None:
    with pytest.raises(UsageError, match="a stop text is empty"):
        list(drawn(engine("llama"), SamplingParams(stop=("",))))


def test_a_letter_in_several_tokens_completes_a_stop_text() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from posttrain_diag.engines.model.prompts import PromptCodec

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core = Tokenizer(models.BPE({letter: i for i, letter in enumerate(sorted(alphabet))}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    codec = PromptCodec(tokenizer, template=None, use_chat_template=None, system_prompt=None)
    texts = StopTexts(codec, ("né",))
    ids = codec.response_ids("son né")
    assert len(ids) == 7
    complete = [texts.may_end_with(ids[k]) and texts.stands_in(ids[: k + 1][-texts.window :]) for k in range(len(ids))]
    assert complete == [False] * 6 + [True]
    assert not texts.may_end_with(codec.response_ids("s")[0])
