"""The zoo's own training loop: next-token cross-entropy on the response, plain torch, one thread is enough."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posttrain_diag.zoo.vocabulary import EOS_ID, PAD_ID, Vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Example = tuple[str, str]
"""A (prompt, response) pair; the stop token is added in training."""
ExampleSource = Callable[[random.Random], Example]
TrainingProgress = Callable[[str, int, int, float], None]
"""Called as progress(model name, steps done, steps in all, loss in nats per token)."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    batch_size: int = 192
    learning_rate: float = 4e-3
    """Peak learning rate, after a linear warm-up; from there it decays to 0."""
    warmup_steps: int = 100
    decay_power: float = 1.0
    """Power of the decay: 1 is linear; 2 is quadratic, whose long tail averages the noise of drawn responses."""
    weight_decay: float = 0.01


def train(
    model: PreTrainedModel,
    draw: ExampleSource,
    schedule: Schedule,
    vocabulary: Vocabulary,
    *,
    seed: int,
    chat: bool = False,
    name: str = "model",
    progress: TrainingProgress | None = None,
) -> float:
    """Train `model` in place on examples from `draw`.

    Args:
        model: a causal language model.
        draw: gives one example per call; its only source of randomness is the generator passed to it.
        schedule: steps, batch size and learning rate.
        vocabulary: the model's vocabulary.
        seed: seeds the examples drawn.
        chat: whether prompts stand in the chat template.
        name: name of the model, for `progress`.
        progress: called every 20 steps and at the end.

    Returns:
        The last batch's loss, nats per response token.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    model.train()
    loss_value = float("nan")
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(schedule, step)
        ids, targets = collate([draw(rng) for _ in range(schedule.batch_size)], vocabulary, chat=chat)
        logits = model(input_ids=ids, attention_mask=(ids != PAD_ID).long()).logits[:, :-1]
        loss = cross_entropy(logits.reshape(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        done = step + 1
        if progress and (done % 20 == 0 or done == schedule.steps):
            loss_value = float(loss.detach())
            progress(name, done, schedule.steps, loss_value)
    model.eval()
    return loss_value


def _learning_rate(schedule: Schedule, step: int) -> float:
    rise = min(1.0, (step + 1) / max(1, schedule.warmup_steps))
    return schedule.learning_rate * rise * (1 - step / schedule.steps) ** schedule.decay_power


def collate(
    examples: Sequence[Example], vocabulary: Vocabulary, *, chat: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids, shape (B, T), and next-token targets, shape (B, T-1), -100 outside the responses."""
    import torch

    rows = [
        (vocabulary.prompt_ids(prompt, chat=chat), [*vocabulary.encode(response), EOS_ID])
        for prompt, response in examples
    ]
    width = max(len(prompt) + len(response) for prompt, response in rows)
    ids = torch.full((len(rows), width), PAD_ID, dtype=torch.long)
    targets = torch.full((len(rows), width - 1), -100, dtype=torch.long)
    for i, (prompt, response) in enumerate(rows):
        stop = len(prompt) + len(response)
        ids[i, :stop] = torch.tensor(prompt + response)
        targets[i, len(prompt) - 1 : stop - 1] = torch.tensor(response)
    return ids, targets
