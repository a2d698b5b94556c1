from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from engines.tiny_models import edit_json, make_config, make_model, make_tokenizer, write_model
from posttrain_diag.engines.contract import Draw, Prompt, SampleRequest, ScoreRequest, Tilt
from posttrain_diag.engines.hf import check as hf_check
from posttrain_diag.engines.hf import slots as hf_slots
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.engines.hf.load import quiet
from posttrain_diag.errors import EngineError, ModelError, UsageError
from posttrain_diag.types import SamplingParams

SHAPES = ["llama", "qwen2", "qwen3", "gpt2", "neox", "gemma", "gemma2", "mistral", "mistral_window", "phi", "bloom"]
PROMPTS = ["a", "ab: 1+2=", "the sum of 12 and 34 ?", "no", "ponmlkjihgfedcba"]
GREEDY = SamplingParams(temperature=0.0, max_new_tokens=12)


def request(text: str, n: int, key: str = "", start: int = 0, **prompt: Any) -> SampleRequest:
    indices = tuple(range(start, start + n))
    seeds = tuple(1_000_003 * i + len(text) for i in indices)
    return SampleRequest(key or text, Prompt(text=text, **prompt), indices, seeds)


def by_identity(draws: Any) -> dict[tuple[str, int], Draw]:
    out: dict[tuple[str, int], Draw] = {}
    for draw in draws:
        assert (draw.key, draw.sample_idx) not in out, "drawn twice"
        out[draw.key, draw.sample_idx] = draw
    return out


def same_draws(a: dict[tuple[str, int], Draw], b: dict[tuple[str, int], Draw]) -> None:
    assert a.keys() == b.keys()
    for key, draw in a.items():
        other = b[key]
        assert (draw.token_ids, draw.text, draw.finish_reason) == (other.token_ids, other.text, other.finish_reason)
        assert np.allclose(draw.token_logprobs, other.token_logprobs, atol=1e-4)


@pytest.mark.parametrize("shape", [*SHAPES, "mamba"])
def test_greedy_equals_generate(shape: str, engine: Callable[[str], Any]) -> None:
    loaded = engine(shape)
    draws = by_identity(loaded.sample([request(p, 2) for p in PROMPTS], GREEDY))
    for prompt in PROMPTS:
        ids = torch.tensor([loaded.prompt_ids(Prompt(text=prompt))])
        with quiet():
            whole = loaded._lm.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=0
            )
        expected = whole[0, ids.shape[1] :].tolist()
        for index in (0, 1):
            assert list(draws[prompt, index].token_ids) == expected


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in ("gemma2", "bloom")])
def test_common_architectures_take_the_fast_path(shape: str, engine: Callable[[str], Any]) -> None:
    assert (engine(shape).paths.decode, engine(shape).paths.score) == ("slots", "slots")
    assert engine(shape).info.notices == ()


@pytest.mark.parametrize("shape", ["gemma2", "bloom"])
def test_architectures_with_other_attention_say_that_they_are_slower(shape: str, engine: Callable[[str], Any]) -> None:
    assert (engine(shape).paths.decode, engine(shape).paths.score) == ("shared", "shared")
    assert [notice for notice in engine(shape).info.notices if "slots" in notice]


def test_beyond_the_attention_window_the_copying_path_draws(engine: Callable[[str], Any]) -> None:
    loaded = engine("mistral_window")
    assert (loaded.paths.long_decode, loaded.paths.long_score) == ("shared", "shared")
    seen: list[bool] = []
    inner = loaded._lm.logits

    def logits(ids: Any, **kwargs: Any) -> Any:
        seen.append(isinstance(kwargs.get("cache"), hf_slots.SlotCache))
        return inner(ids, **kwargs)

    loaded._lm.logits = logits
    for tokens, expected in ((5, True), (6, False)):  # a window of 8 after a prompt of 3
        seen.clear()
        assert len(list(loaded.sample([request("ab:", 4)], SamplingParams(max_new_tokens=tokens)))) == 4
        assert any(seen) == expected


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "params",
    [SamplingParams(max_new_tokens=14), SamplingParams(1.5, 0.9, 12, 14), SamplingParams(0.7, max_new_tokens=14)],
    ids=str,
)
def test_slots_and_copies_draw_the_same(
    shape: str, params: SamplingParams, model_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [request(p, 9) for p in PROMPTS]
    requests += [replace(requests[2], key="tilted", tilt=Tilt((20, 21, 22, 23, 2), 0.8))]
    slots = by_identity(load_hf_engine(str(model_dir(shape)), device="cpu", batch_rows=16).sample(requests, params))
    monkeypatch.setattr(hf_check, "plug_in", lambda model: False)
    copying = load_hf_engine(str(model_dir(shape)), device="cpu", batch_rows=16)
    assert copying.paths.decode == "shared"
    copies = by_identity(copying.sample(requests, params))
    same_draws(slots, copies)
    for key, draw in slots.items():
        assert np.allclose(draw.token_policy_logprobs, copies[key].token_policy_logprobs, atol=1e-4)
        assert (draw.proposal_logprob is None) == (key[0] != "tilted")


@pytest.mark.parametrize("shape", [*SHAPES, "mamba"])
def test_logprobs_equal_the_plain_forward(
    shape: str, engine: Callable[[str], Any], plain_logprobs: Callable[..., Any]
) -> None:
    loaded = engine(shape)
    params = SamplingParams(temperature=1.3, top_k=20, max_new_tokens=10)
    draws = by_identity(loaded.sample([request(p, 4) for p in PROMPTS], params))
    assert len(draws) == 4 * len(PROMPTS)
    for (key, _), draw in draws.items():
        law = plain_logprobs(loaded._lm.model, loaded.prompt_ids(Prompt(text=key)), draw.token_ids)
        expected = law[np.arange(len(draw.token_ids)), draw.token_ids]
        assert np.abs(np.array(draw.token_logprobs) - expected).max() < 1e-4


@pytest.mark.parametrize("shape", ["llama", "gpt2", "mistral_window", "mamba"])
def test_draws_do_not_depend_on_batches_or_order(shape: str, model_dir: Callable[[str], Path]) -> None:
    requests = [request(p, 16) for p in PROMPTS]
    shuffled = requests.copy()
    random.Random(0).shuffle(shuffled)
    params = SamplingParams(max_new_tokens=16)
    results: list[dict[tuple[str, int], Draw]] = []
    for rows, order in [(None, requests), (1, requests[:2]), (7, requests), (64, shuffled)]:
        loaded = load_hf_engine(str(model_dir(shape)), device="cpu", batch_rows=rows)
        results.append(by_identity(loaded.sample(order, params)))
    few = {key: draw for key, draw in results[0].items() if key in results[1]}
    assert len(few) == 32
    same_draws(results[1], few)
    same_draws(results[2], results[0])
    same_draws(results[3], results[0])
    texts = {draw.text for draw in results[0].values()}
    assert len(texts) > 20, "draws of different seeds must differ"


def test_resume_draws_exactly_what_is_missing(engine: Callable[[str], Any]) -> None:
    loaded, params = engine("llama"), SamplingParams(max_new_tokens=10)
    whole = by_identity(loaded.sample([request(p, 8) for p in PROMPTS], params))
    first = by_identity(loaded.sample([request(p, 4) for p in PROMPTS], params))
    rest = by_identity(loaded.sample([request(p, 4, start=4) for p in PROMPTS], params))
    same_draws(first | rest, whole)


def test_first_tokens_follow_the_exact_law(engine: Callable[[str], Any], plain_logprobs: Callable[..., Any]) -> None:
    loaded, n = engine("llama"), 6000
    draws = loaded.sample([request("ab:", n)], SamplingParams(max_new_tokens=1))
    counts = np.bincount([d.token_ids[0] for d in draws], minlength=loaded.info.vocab_size)
    expected = n * np.exp(plain_logprobs(loaded._lm.model, loaded.prompt_ids(Prompt(text="ab:")), ())[0])
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    assert stats.chisquare(observed, expected * n / expected.sum()).pvalue > 1e-3


def test_short_sequences_follow_the_exact_law(tmp_path: Path, plain_logprobs: Callable[..., Any]) -> None:
    config = make_config("llama")
    config.initializer_range = 0.6  # a peaked law: few sequences hold most of the mass
    path = write_model(tmp_path, make_model("llama", seed=3, config=config), make_tokenizer())
    loaded, n = load_hf_engine(str(path), device="cpu"), 6000
    params = SamplingParams(max_new_tokens=2, temperature=0.7)
    requests = [request("ab:", n), request("longer prompt 1", 50)]
    drawn = [d.token_ids for d in loaded.sample(requests, params) if d.key == "ab:"]
    prompt = loaded.prompt_ids(Prompt(text="ab:"))

    def law_after(done: tuple[int, ...]) -> np.ndarray:
        weights = np.exp(plain_logprobs(loaded._lm.model, prompt, done)[len(done)] / 0.7)
        return weights / weights.sum()

    first = law_after(())
    exact: dict[tuple[int, ...], float] = {}
    for token in range(len(first)):
        if token in loaded.info.stop_token_ids:
            exact[token,] = float(first[token])
            continue
        exact |= {(token, after): float(first[token] * p) for after, p in enumerate(law_after((token,)))}
    assert sum(exact.values()) == pytest.approx(1)
    common = [s for s, p in exact.items() if n * p >= 5]
    observed = [drawn.count(s) for s in common]
    expected = [n * exact[s] for s in common]
    observed.append(n - sum(observed))
    expected.append(n - sum(expected))
    assert len(common) > 10
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_left_padding_changes_nothing(engine: Callable[[str], Any]) -> None:
    loaded, params = engine("llama"), SamplingParams(max_new_tokens=8)
    together = by_identity(loaded.sample([request(p, 2) for p in PROMPTS], params))
    alone = [by_identity(loaded.sample([request(p, 2)], params)) for p in PROMPTS]
    same_draws({k: v for part in alone for k, v in part.items()}, together)


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_stop_set_unites_generation_config_and_tokenizer(shape: str, tmp_path: Path) -> None:
    path = write_model(tmp_path, make_model(shape), make_tokenizer())
    edit_json(path / "generation_config.json", eos_token_id=[10, 11])
    loaded = load_hf_engine(str(path), device="cpu")
    assert loaded.info.stop_token_ids == (2, 10, 11)
    draws = list(loaded.sample([request("ab", 200)], SamplingParams(max_new_tokens=20)))
    ended = {d.token_ids[-1] for d in draws if d.finish_reason == "stop"}
    assert ended == {2, 10, 11}
    for draw in draws:
        assert not set(draw.token_ids[:-1]) & {2, 10, 11}
        if draw.finish_reason == "length":
            assert len(draw.token_ids) == 20
        shown = [i for i in draw.token_ids if i > 3 and i not in (10, 11)]
        assert draw.text == "".join(loaded.decode([i]) for i in shown)


def test_without_a_stop_token_every_draw_runs_to_the_end(tmp_path: Path) -> None:
    path = write_model(tmp_path, make_model("llama"), make_tokenizer(eos=False))
    edit_json(path / "generation_config.json", eos_token_id=None)
    loaded = load_hf_engine(str(path), device="cpu")
    assert loaded.info.stop_token_ids == () and loaded.info.stop_tokens == ()
    assert any("no stop token" in warning for warning in loaded.info.warnings)
    draws = list(loaded.sample([request("ab", 50)], SamplingParams(max_new_tokens=12)))
    assert {(d.finish_reason, len(d.token_ids)) for d in draws} == {("length", 12)}
    [score] = loaded.score([ScoreRequest("s", Prompt(text="ab"), completion="cd")])
    assert score.token_texts == ("c", "d")


def test_response_prefix_is_continued_and_left_out_of_the_text(engine: Callable[[str], Any]) -> None:
    loaded = engine("llama")
    prefix = loaded.response_ids("12")
    prompt = Prompt(text="ab:", response_prefix_ids=prefix)
    assert loaded.prompt_ids(prompt) == (*loaded.prompt_ids(Prompt(text="ab:")), *prefix)
    with_prefix = by_identity(loaded.sample([request("ab:", 3, key="k", response_prefix_ids=prefix)], GREEDY))
    written = by_identity(loaded.sample([request("ab:12", 3, key="k")], GREEDY))
    same_draws(with_prefix, written)


def test_a_prompt_that_leaves_no_room_is_named_before_anything_is_drawn(engine: Callable[[str], Any]) -> None:
    loaded = engine("llama")
    requests = [request("a", 1), request("b" * 90, 1, key="problem 7")]
    with pytest.raises(EngineError, match=r"'problem 7'.* 90 tokens .*is 10,.* context of 96.*--max-new-tokens 6 or"):
        loaded.sample(requests, SamplingParams(max_new_tokens=10))
    with pytest.raises(EngineError, match=r"leaves no room"):
        loaded.sample([request("b" * 96, 1)], SamplingParams(max_new_tokens=1))
    assert len(list(loaded.sample([request("b" * 90, 1)], SamplingParams(max_new_tokens=6)))) == 1


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}, {"max_new_tokens": 0}], ids=str
)
def test_settings_out_of_range(wrong: dict[str, Any], engine: Callable[[str], Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(UsageError, match=rf"{name} must be .* got {value}"):
        engine("llama").sample([request("a", 1)], SamplingParams(**wrong))


def test_one_key_one_request_and_one_seed_per_index(engine: Callable[[str], Any]) -> None:
    with pytest.raises(EngineError, match="'a' appears twice"):
        engine("llama").sample([request("a", 1), request("a", 1)], GREEDY)
    with pytest.raises(EngineError, match="2 sample indices and 1 seeds"):
        engine("llama").sample([SampleRequest("k", Prompt(text="a"), (0, 1), (5,))], GREEDY)


def test_nan_logits_name_the_request(tmp_path: Path) -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[2] = float("nan")  # </s>: no probe at load reads it
    write_model(tmp_path, model, make_tokenizer())
    loaded = load_hf_engine(str(tmp_path), device="cpu")
    bad = SampleRequest("bad one", Prompt(text="a</s>b"), (0, 1), (1, 2))
    with pytest.raises(ModelError, match=r"'bad one'.*draw 0.*NaN or infinite.*float32"):
        list(loaded.sample([request("ok", 1), bad], GREEDY))
    with pytest.raises(ModelError, match=r"'bad one'.*NaN or infinite"):
        list(loaded.score([ScoreRequest("bad one", bad.prompt, completion="ab")]))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")], ids=repr)  # fmt: skip
def test_out_of_memory_halves_the_batch_and_loses_nothing(
    error: BaseException, model_dir: Callable[[str], Path], engine: Callable[[str], Any]
) -> None:
    params, requests = SamplingParams(max_new_tokens=10), [request(p, 16) for p in PROMPTS]
    expected = by_identity(engine("llama").sample(requests, params))
    loaded = load_hf_engine(str(model_dir("llama")), device="cpu", batch_rows=64)
    calls, inner = itertools.count(), loaded._lm.model.forward
    largest: list[int] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        rows = kwargs["input_ids"].shape[0]
        if rows > 9 and next(calls) > 3:  # fails in the middle of a batch, after some draws are out
            raise error
        largest.append(rows)
        return inner(*args, **kwargs)

    loaded._lm.model.forward = forward
    same_draws(by_identity(loaded.sample(requests, params)), expected)
    assert max(largest) == 64 and largest[-1] <= 9


def test_out_of_memory_with_one_row_is_an_error(model_dir: Callable[[str], Path]) -> None:
    loaded = load_hf_engine(str(model_dir("llama")), device="cpu")

    def forward(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    loaded._lm.model.forward = forward
    with pytest.raises(EngineError, match=r"'a'.*does not fit into memory.*--max-new-tokens"):
        list(loaded.sample([request("a", 4)], GREEDY))


def test_other_runtime_errors_are_not_swallowed(model_dir: Callable[[str], Path]) -> None:
    loaded = load_hf_engine(str(model_dir("llama")), device="cpu")

    def forward(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("size mismatch")

    loaded._lm.model.forward = forward
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(loaded.sample([request("a", 4)], GREEDY))


def test_a_closed_engine_says_so(model_dir: Callable[[str], Path]) -> None:
    loaded = load_hf_engine(str(model_dir("llama")), device="cpu")
    loaded.close()
    with pytest.raises(EngineError, match="closed"):
        loaded.sample([request("a", 1)], GREEDY)
