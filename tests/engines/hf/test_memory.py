from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain_diag.engines.contract import Prompt, SampleRequest, ScoreRequest
from posttrain_diag.engines.hf import engine as hf
from posttrain_diag.engines.hf.memory import RowCost, free_bytes, is_out_of_memory
from posttrain_diag.errors import ModelError
from posttrain_diag.types import SamplingParams


def test_which_errors_mean_that_memory_ran_out() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_free_memory_is_between_nothing_and_a_lot() -> None:
    assert 1 << 20 < free_bytes(torch.device("cpu")) < 1 << 50


def test_cache_size_is_measured(engine: Callable[[str], Any]) -> None:
    # 2 layers x (key + value) x 2 heads x 8 values x 4 bytes
    assert engine("llama").paths.kv_bytes_per_token == 2 * 2 * 2 * 8 * 4


def test_rows_grow_with_the_budget_and_never_below_one(
    monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]
) -> None:
    engine = hf.load_hf_engine(str(model_dir("llama")), device="cpu")
    seen: list[int] = []
    inner = engine._lm.model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["input_ids"].shape[0])
        return inner(*args, **kwargs)

    engine._lm.model.forward = forward
    params = SamplingParams(max_new_tokens=4)
    request = SampleRequest("k", Prompt(text="ab:"), tuple(range(64)), tuple(range(64)))
    scored = [ScoreRequest(str(i), Prompt(text="ab:"), completion="12") for i in range(64)]
    per_row = engine._cost.decode(0, 4)  # the prompt's own cache is read by all its rows
    largest: list[tuple[int, int]] = []
    for budget in (0.0, engine._cost.prefill(3) + 10.5 * per_row, 1e12):
        monkeypatch.setattr(hf, "usable_bytes", lambda device, budget=budget: budget)
        seen.clear()
        assert len(list(engine.sample([request], params))) == 64
        sampled = max(seen)
        seen.clear()
        assert len(list(engine.score(scored))) == 64
        largest.append((sampled, max(seen)))
    assert [rows for rows, _ in largest[:2]] == [1, 10]
    assert 56 < largest[2][0] <= 64, "all rows but those that stop at their first token"
    assert largest[0][1] == 1 and largest[2][1] == 64


def test_cost_of_a_row_counts_cache_activations_and_logits() -> None:
    class Config:
        hidden_size, intermediate_size = 10, 20

    cost = RowCost.of(Config(), kv_bytes_per_token=100.0, vocab_size=50, element_size=2)
    assert cost.decode(3, 4) == 100 * 7 + 50 * 18
    assert cost.prefill(3) == 3 * (100 + (80 + 60) * 2)


def test_a_model_that_does_not_fit_is_a_model_error(
    monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]
) -> None:
    def too_large(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    for name in ("load", "check_paths"):
        with monkeypatch.context() as patch, pytest.raises(ModelError, match="does not fit into memory"):
            patch.setattr(hf, name, too_large)
            hf.load_hf_engine(str(model_dir("llama")), device="cpu")
