"""The zoo's architectures, and how its models are made and read."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import ModelError
from posttrain_diag.zoo.family import Architecture
from posttrain_diag.zoo.vocabulary import BOS_ID, EOS_ID, PAD_ID, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def new_model(seed: int, vocabulary: Vocabulary, architecture: Architecture) -> PreTrainedModel:
    """An untrained model: width 64, 3 layers, 4 heads, tied embeddings; about 160,000 parameters."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _MAKE[architecture](vocabulary)


def _sizes(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "vocab_size": len(vocabulary),
        "tie_word_embeddings": True,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "pad_token_id": PAD_ID,
        "initializer_range": 0.05,
    }


def _wide(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        **_sizes(vocabulary),
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": vocabulary.context_length,
    }


def _llama(vocabulary: Vocabulary) -> PreTrainedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_wide(vocabulary), num_key_value_heads=4))


def _qwen3(vocabulary: Vocabulary) -> PreTrainedModel:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**_wide(vocabulary), num_key_value_heads=2, head_dim=16))


def _gpt2(vocabulary: Vocabulary) -> PreTrainedModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            **_sizes(vocabulary),
            n_embd=64,
            n_inner=256,
            n_layer=3,
            n_head=4,
            n_positions=vocabulary.context_length,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )


_MAKE: Mapping[Architecture, Callable[[Vocabulary], PreTrainedModel]] = {
    "llama": _llama,
    "qwen3": _qwen3,
    "gpt2": _gpt2,
}


def load_model(directory: str | Path, vocabulary: Vocabulary) -> Any:
    """A zoo model in float32, ready to evaluate, read without a progress bar.

    Raises:
        ModelError: the model does not have this vocabulary.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(Path(directory), dtype=torch.float32, local_files_only=True)
    finally:
        if shown:
            logging.enable_progress_bar()
    if model.config.vocab_size != len(vocabulary):
        raise ModelError(
            f"{directory} has a vocabulary of {model.config.vocab_size} tokens and is no model of these zoo tasks "
            f"({len(vocabulary)} tokens): exact probabilities are computed for zoo models only, see `diag zoo list`"
        )
    return model.eval()


@contextmanager
def one_thread() -> Generator[None]:
    """While the context is open, torch uses one thread.

    That is as fast at this size, and the sums do not depend on the machine's number of cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
