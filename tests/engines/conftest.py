"""Engines on tiny random models; everything here needs torch and transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from .tiny_models import make_model, make_tokenizer, write_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """shape -> directory of a random model of that shape (made once)."""
    from posttrain_diag.engines.hf.load import quiet

    made: dict[str, Path] = {}

    def get(shape: str) -> Path:
        if shape not in made:
            with quiet():
                made[shape] = write_model(tmp_path_factory.mktemp(shape), make_model(shape), make_tokenizer())
        return made[shape]

    return get


@pytest.fixture(scope="session")
def engine(model_dir: Callable[[str], Path]) -> Callable[..., Any]:
    """shape -> loaded engine (made once per shape)."""
    from posttrain_diag.engines.hf.engine import load_hf_engine

    made: dict[str, Any] = {}

    def get(shape: str) -> Any:
        if shape not in made:
            made[shape] = load_hf_engine(str(model_dir(shape)), device="cpu")
        return made[shape]

    return get


@pytest.fixture(scope="session")
def plain_logprobs() -> Callable[[Any, Sequence[int], Sequence[int]], Any]:
    """The reference: log-probabilities (T, V) of the model's own forward pass at each completion position."""
    import torch

    def get(model: Any, prompt: Sequence[int], completion: Sequence[int]) -> np.ndarray:
        ids = torch.tensor([[*prompt, *completion]])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0].double()
        law = logits.log_softmax(-1).numpy()
        return law[len(prompt) - 1 : len(prompt) - 1 + len(completion) + 1]

    return get
