"""The zoo's architecture, and how its models are made and read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import ModelError
from posttrain_diag.zoo.vocabulary import BOS_ID, CONTEXT_LENGTH, EOS_ID, PAD_ID, TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def new_model(seed: int) -> PreTrainedModel:
    """An untrained 162k-parameter Llama: width 64, 3 layers, 4 heads, feed-forward 192, tied embeddings."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        initializer_range=0.05,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def load_model(directory: str | Path) -> Any:
    """A zoo model in float32, ready to evaluate, read without a progress bar.

    Raises:
        ModelError: the model does not have the zoo's vocabulary.
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
    if model.config.vocab_size != len(TOKENS):
        raise ModelError(
            f"{directory} has a vocabulary of {model.config.vocab_size} tokens and is no zoo model "
            f"({len(TOKENS)} tokens): exact probabilities are computed for zoo models only, see `diag zoo list`"
        )
    return model.eval()


@contextmanager
def one_thread() -> Generator[None]:
    """One torch thread: as fast at this size, and the sums do not depend on the machine's core count."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
