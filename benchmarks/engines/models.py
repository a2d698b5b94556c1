"""Models, prompts and completions of the engine benchmark: made here, the same every time, plain Hugging Face files.

The models are Llama shapes with random weights. Dimension 0 of the residual stream is a constant that no layer writes to; the
head's stop row reads that dimension alone, and the other rows do not read it. So the stop token's logit is nearly the
same everywhere, lengths are geometric, and the same checkpoint does so in every engine.
"""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BOS, EOS = 0, 1, 2
MAX_NEW = 64
MEAN_LENGTH = 20.0
"""Wanted mean length of a draw cut at MAX_NEW, the stop token included."""
RECIPE = 2
"""Raise it when weights are made differently: models on disk are then made anew."""


@dataclass(frozen=True)
class Shape:
    """A Llama-shaped model."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocab: int
    dtype: str
    context: int = 512

    @property
    def head_dim(self) -> int:
        """Dimensions of one attention head."""
        return self.hidden // self.heads

    @property
    def element_size(self) -> int:
        """Bytes of one weight."""
        return 4 if self.dtype == "float32" else 2

    @property
    def n_body(self) -> int:
        """Weights of the layers."""
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * self.kv_heads * self.head_dim
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def n_head(self) -> int:
        """Weights of the output head (the input embedding is as large and is only looked up)."""
        return self.vocab * self.hidden

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.element_size

    def describe(self) -> str:
        """The shape in words."""
        return (
            f"hidden {self.hidden}, {self.layers} layers, {self.heads} heads / {self.kv_heads} key-value heads, inner "
            f"{self.inner}, vocabulary {self.vocab:,}, {(self.n_body + 2 * self.n_head) / 1e6:.1f}M parameters "
            f"(embedding and head {self.n_head / 1e6:.1f}M each), {self.dtype}"
        )


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("150m", 768, 12, 12, 4, 3072, 32000, "bfloat16"),
        Shape("150m-fp32", 768, 12, 12, 4, 3072, 32000, "float32"),
        Shape("tiny", 128, 4, 4, 2, 512, 4096, "float32"),
        Shape("small", 256, 4, 4, 2, 768, 8192, "bfloat16"),
        Shape("0.5b", 896, 24, 14, 2, 4864, 151936, "bfloat16"),
    )
}
"""`small` stands in for `150m` in --quick; `0.5b` has the sizes of Qwen2-0.5B and is for a GPU."""


def words(n: int) -> list[str]:
    """The first `n` made-up words: two, then three syllables."""
    syllables = [c + v for c in "bcdfghjklmnprstvz" for v in "aeiou"]
    made = itertools.chain(itertools.product(syllables, repeat=2), itertools.product(syllables, repeat=3))
    return ["".join(parts) for parts in itertools.islice(made, n)]


def make_tokenizer(vocab: int) -> Any:
    """One token per word, words apart by a space; nothing is added to a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    table = {token: i for i, token in enumerate([*SPECIAL, *words(vocab - len(SPECIAL))])}
    core = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def make_model(shape: Shape, folder: Path) -> Path:
    """Write the model and its tokenizer under `folder` unless they are there; returns the directory."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    path = folder / shape.name
    made = path / "made.json"
    wanted = {"shape": asdict(shape), "recipe": RECIPE}
    if made.exists() and wanted.items() <= json.loads(made.read_text()).items():
        return path
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        dtype=shape.dtype,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
        _constant_dimension(model, shape)
        model = model.to(getattr(torch, shape.dtype))
        stop_weight, mean_length = _calibrate(model, shape)
    model.generation_config = GenerationConfig(eos_token_id=EOS, pad_token_id=PAD)
    model.save_pretrained(path)
    make_tokenizer(shape.vocab).save_pretrained(path)
    made.write_text(json.dumps({**wanted, "stop_weight": stop_weight, "calibrated_mean_length": mean_length}))
    return path


def _constant_dimension(model: Any, shape: Shape) -> None:
    """Random weights whose residual stream carries a constant in dimension 0."""
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    embedding.normal_(std=1.0)
    embedding[:, 0] = 2.0
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight *= 0.4  # or the stream's size, and with it the lengths, would follow the context
        layer.self_attn.o_proj.weight[0] = 0.0
        layer.mlp.down_proj.weight[0] = 0.0
    head.normal_(std=2.0 / shape.hidden**0.5)
    head[:, 0] = 0.0
    head[: len(SPECIAL)] = 0.0
    head[: len(SPECIAL), 0] = -1000.0  # never drawn; the stop row is set by `_calibrate`


def _calibrate(model: Any, shape: Shape) -> tuple[float, float]:
    """Set the stop row so that draws are MEAN_LENGTH long; returns its weight and the mean length it gives."""
    import torch

    rng = torch.Generator().manual_seed(1)
    ids = torch.randint(len(SPECIAL), shape.vocab, (6, 320 + MAX_NEW), generator=rng)
    with torch.inference_mode():
        states = model.model(input_ids=ids).last_hidden_state
        hidden = torch.cat([states[:, after : after + MAX_NEW] for after in (24, 88, 320)])
        others = model.lm_head(hidden).float().logsumexp(-1)
    constant = hidden[..., 0].float()

    def mean_length(weight: float) -> float:
        going_on = 1.0 - torch.sigmoid(weight * constant - others)
        return float(1.0 + going_on[:, :-1].cumprod(-1).sum(-1).mean())

    low, high = 0.0, 50.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_length(middle) > MEAN_LENGTH else (low, middle)
    model.lm_head.weight[EOS, 0] = low
    weight = float(model.lm_head.weight[EOS, 0])
    return weight, mean_length(weight)


@dataclass(frozen=True)
class Work:
    """What every contestant is given."""

    prompts: list[list[int]]
    texts: list[str]
    completions: list[list[list[int]]]
    """Per prompt: completions to score, each ending with the stop token unless it is MAX_NEW long."""

    def spread(self, n: int) -> list[int]:
        """`n` prompts whose lengths cover the whole range: for contestants too slow for all of them."""
        by_length = sorted(range(len(self.prompts)), key=lambda i: len(self.prompts[i]))
        n = min(n, len(by_length))
        return [by_length[int((i + 0.5) * len(by_length) / n)] for i in range(n)]


def make_work(shape: Shape, n_prompts: int, n_draws: int) -> Work:
    """Prompts of 24 to 320 tokens (evenly on a log scale) and completions of the lengths that draws have."""
    rng = random.Random(2)
    vocabulary = [*SPECIAL, *words(shape.vocab - len(SPECIAL))]
    lengths = [round(24 * (320 / 24) ** (i / max(1, n_prompts - 1))) for i in range(n_prompts)]
    rng.shuffle(lengths)
    prompts = [[rng.randrange(len(SPECIAL), shape.vocab) for _ in range(length)] for length in lengths]

    def completion() -> list[int]:
        ids: list[int] = []
        while len(ids) < MAX_NEW:
            if rng.random() < 0.0475:  # the hazard whose mean length, cut at 64, is 20
                return [*ids, EOS]
            ids.append(rng.randrange(len(SPECIAL), shape.vocab))
        return ids

    completions = [[completion() for _ in range(n_draws)] for _ in prompts]
    return Work(prompts, [" ".join(vocabulary[i] for i in ids) for ids in prompts], completions)
