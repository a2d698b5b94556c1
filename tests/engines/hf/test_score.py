from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.tiny_models import edit_json, make_model, make_tokenizer, write_model
from posttrain_diag.engines.contract import Prompt, SampleRequest, Score, ScoreRequest
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.errors import EngineError, ModelError
from posttrain_diag.types import SamplingParams

CASES = [
    ("a", "1"),
    ("a", "12 34"),
    ("ab: 1+2=", "3"),
    ("ab: 1+2=", "not a number at all"),
    ("ab: 1+2=", ""),
    ("the sum of 12 and 34 ?", "46"),
]


def requests(append_stop: bool = True) -> list[ScoreRequest]:
    return [
        ScoreRequest(f"{i}", Prompt(text=prompt), completion=completion, append_stop=append_stop)
        for i, (prompt, completion) in enumerate(CASES)
    ]


def by_key(scores: Any) -> dict[str, Score]:
    return {score.key: score for score in scores}


@pytest.mark.parametrize("rows", [1, 3, None])
@pytest.mark.parametrize("shape", ["llama", "gpt2", "neox", "gemma2", "mistral_window", "bloom", "mamba"])
def test_scores_equal_the_plain_forward(
    shape: str, rows: int | None, model_dir: Callable[[str], Path], plain_logprobs: Callable[..., Any]
) -> None:
    loaded = load_hf_engine(str(model_dir(shape)), device="cpu", batch_rows=rows)
    scores = by_key(loaded.score(requests()))
    assert len(scores) == len(CASES)
    for key, (prompt, completion) in enumerate(CASES):
        score, ids = scores[str(key)], loaded.response_ids(completion)
        law = plain_logprobs(loaded._lm.model, loaded.prompt_ids(Prompt(text=prompt)), ids)
        assert score.token_ids == (*ids, 2)
        assert score.token_texts == (*completion, "</s>")
        expected = law[np.arange(len(ids) + 1), score.token_ids]
        assert np.abs(score.logprob_T - expected).max() < 1e-4
        assert np.abs(score.entropy_T + (np.exp(law) * law).sum(1)).max() < 1e-4
        assert score.rank_T.tolist() == [(row > row[t]).sum() for row, t in zip(law, score.token_ids, strict=True)]
        assert (score.logprob_T.dtype, score.rank_T.dtype) == (np.float32, np.int32)


def test_stop_position_sums_the_mass_of_all_stop_tokens(tmp_path: Path, plain_logprobs: Callable[..., Any]) -> None:
    write_model(tmp_path, make_model("llama"), make_tokenizer())
    edit_json(tmp_path / "generation_config.json", eos_token_id=[10, 11])
    loaded = load_hf_engine(str(tmp_path), device="cpu")
    prompt, ids = Prompt(text="ab:"), loaded.response_ids("12")
    [score] = loaded.score([ScoreRequest("k", prompt, completion="12")])
    law = plain_logprobs(loaded._lm.model, loaded.prompt_ids(prompt), ids)[-1]
    stops = law[[2, 10, 11]]
    assert score.logprob_T[-1] == pytest.approx(np.log(np.exp(stops).sum()), abs=1e-4)
    assert score.rank_T[-1] == (law > stops.max()).sum()
    [already] = loaded.score([ScoreRequest("k", prompt, completion_ids=(*ids, 11))])
    assert already.token_ids == (*ids, 11), "a completion that ends with a stop token gets no second one"
    assert already.logprob_T[-1] == pytest.approx(score.logprob_T[-1], abs=1e-5)
    [plain] = loaded.score([ScoreRequest("k", prompt, completion_ids=(*ids, 11), append_stop=False)])
    assert plain.logprob_T[-1] == pytest.approx(law[11], abs=1e-4)


def test_without_append_stop_nothing_is_added(engine: Callable[[str], Any]) -> None:
    scores = by_key(engine("llama").score(requests(append_stop=False)))
    assert [len(scores[str(i)].token_ids) for i in range(len(CASES))] == [len(c) for _, c in CASES]
    assert scores["4"].logprob_T.shape == (0,)


def test_draws_score_as_they_were_drawn(engine: Callable[[str], Any]) -> None:
    loaded, params = engine("qwen2"), SamplingParams(max_new_tokens=12, temperature=1.5)
    prefix = loaded.response_ids("12")
    prompt = Prompt(text="ab:", response_prefix_ids=prefix)
    draws = list(loaded.sample([SampleRequest("k", prompt, tuple(range(20)), tuple(range(20)))], params))
    asked = [ScoreRequest(str(d.sample_idx), prompt, completion_ids=d.token_ids, append_stop=False) for d in draws]
    scores = by_key(loaded.score(asked))
    for draw in draws:
        assert np.allclose(scores[str(draw.sample_idx)].logprob_T, draw.token_logprobs, atol=1e-4)


def test_requests_that_cannot_be_scored(engine: Callable[[str], Any]) -> None:
    loaded = engine("llama")
    with pytest.raises(EngineError, match=r"'k': prompt \(1\) and completion \(100\) have 101 tokens.*context of 96"):
        loaded.score([ScoreRequest("k", Prompt(text="a"), completion="b" * 100)])
    with pytest.raises(EngineError, match="exactly one of completion and completion_ids"):
        loaded.score([ScoreRequest("k", Prompt(text="a"))])
    with pytest.raises(ModelError, match="token id 999 is outside the model's"):
        loaded.score([ScoreRequest("k", Prompt(text="a"), completion_ids=(999,))])
    fits = "b" * 95
    [score] = loaded.score([ScoreRequest("k", Prompt(text="a"), completion=fits)])
    assert len(score.token_ids) == 96


def test_out_of_memory_halves_the_batch(model_dir: Callable[[str], Path], engine: Callable[[str], Any]) -> None:
    expected = by_key(engine("llama").score(requests()))
    loaded = load_hf_engine(str(model_dir("llama")), device="cpu")
    inner = loaded._lm.model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if kwargs["input_ids"].shape[0] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(*args, **kwargs)

    loaded._lm.model.forward = forward
    scores = by_key(loaded.score(requests()))
    assert scores.keys() == expected.keys()
    for key, score in scores.items():
        assert np.allclose(score.logprob_T, expected[key].logprob_T, atol=1e-5)
