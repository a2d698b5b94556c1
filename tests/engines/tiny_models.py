"""Tiny random models of many shapes, each a real Hugging Face directory with a character tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 :=+?\nUA"
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
VOCAB = len(SPECIAL) + len(ALPHABET)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


def make_tokenizer(*, bos: bool = True, eos: bool = True, add_bos: bool = False, add_eos: bool = False) -> Any:
    """A character tokenizer; `add_bos` / `add_eos`: its post-processor adds them to every text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {token: i for i, token in enumerate([*SPECIAL, *ALPHABET])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    if add_bos or add_eos:
        core.post_processor = processors.TemplateProcessing(
            single=("<s> " if add_bos else "") + "$A" + (" </s>" if add_eos else ""),
            special_tokens=[("<s>", 1), ("</s>", 2)],
        )
    names = {"pad_token": "<pad>", "unk_token": "<unk>"}
    names |= {"bos_token": "<s>"} if bos else {}
    names |= {"eos_token": "</s>"} if eos else {}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)


def make_config(shape: str) -> Any:
    import transformers as tf

    ids = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    llama = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 96,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        **ids,
    }
    gpt = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 96, "initializer_range": 0.3, **ids}
    mamba = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "initializer_range": 0.3, **ids}
    heads = {"head_dim": 8}
    built: dict[str, Callable[[], Any]] = {
        "llama": lambda: tf.LlamaConfig(**llama),
        "qwen2": lambda: tf.Qwen2Config(**llama),
        "qwen3": lambda: tf.Qwen3Config(**llama, **heads),
        "gpt2": lambda: tf.GPT2Config(**gpt),
        "neox": lambda: tf.GPTNeoXConfig(**{k: v for k, v in llama.items() if k != "num_key_value_heads"}),
        "gemma": lambda: tf.GemmaConfig(**llama, **heads),
        "gemma2": lambda: tf.Gemma2Config(**llama, **heads, query_pre_attn_scalar=8, sliding_window=8),
        "mistral": lambda: tf.MistralConfig(**llama, sliding_window=None),
        "mistral_window": lambda: tf.MistralConfig(**llama, sliding_window=8),
        "phi": lambda: tf.PhiConfig(**llama),
        "bloom": lambda: tf.BloomConfig(hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3, **ids),
        "mamba": lambda: tf.MambaConfig(**mamba),
    }
    return built[shape]()


def make_model(shape: str, seed: int = 0, config: Any = None) -> Any:
    """A random model; the global torch state is put back."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config or make_config(shape))
    return model.eval()


def write_model(path: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file; None removes a key."""
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
