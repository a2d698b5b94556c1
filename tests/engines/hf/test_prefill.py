"""Prompts are prefilled once, continued from a prompt that begins alike, and give what a fresh prefill gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from posttrain_diag.engines.hf.prefill import Prefiller, common_length, prefill_order


def ladder(head: int, body: int, seed: int) -> list[tuple[int, ...]]:
    """A prompt, its continuations by 1/4, 1/2, 3/4 of a trace, and one with another trace."""
    rng = random.Random(seed)
    prompt = tuple(rng.randrange(4, 40) for _ in range(head))
    trace, other = (tuple(rng.randrange(4, 40) for _ in range(body)) for _ in range(2))
    shares = [trace[: body * k // 4] for k in range(4)]
    return [(*prompt, *share) for share in shares] + [(*prompt, *other)]


PROMPTS = [*ladder(12, 16, 0), *ladder(30, 8, 1), (5,), (5, 6), (7,) * 3]


def fresh(lm: Any, ids: tuple[int, ...]) -> Any:
    cache = lm.new_cache()
    logits = lm.logits(torch.tensor([ids]), cache=cache)[0, -1]
    return logits, [(layer.keys, layer.values) for layer in cache.layers]


@pytest.mark.parametrize("shape", ["llama", "gpt2", "neox"])
@pytest.mark.parametrize("at_once", [1, 3, len(PROMPTS)])
def test_every_prompt_equals_a_fresh_prefill(shape: str, at_once: int, engine: Callable[[str], Any]) -> None:
    lm = engine(shape)._lm
    order = prefill_order(PROMPTS)
    assert sorted(order) == list(range(len(PROMPTS)))
    prefiller, found = Prefiller(lm, PROMPTS, order), {}
    for a in range(0, len(order), at_once):
        found |= prefiller([i for i in order[a : a + at_once] if i not in found])
    assert found.keys() == set(order)
    for index, prefilled in found.items():
        logits, layers = fresh(lm, PROMPTS[index])
        assert prefilled.ids == PROMPTS[index]
        assert torch.allclose(prefilled.logits_V, logits, atol=1e-4)
        for ours, theirs in zip(prefilled.layers, layers, strict=True):
            assert ours[0].shape == theirs[0].shape
            assert torch.allclose(ours[0], theirs[0], atol=1e-4)
            assert torch.allclose(ours[1], theirs[1], atol=1e-4)


def test_a_ladder_costs_its_longest_prompts_only(engine: Callable[[str], Any]) -> None:
    prompts = ladder(12, 16, 0)
    order = prefill_order(prompts)
    prefiller = Prefiller(engine("llama")._lm, prompts, order)
    prefiller(order)
    shared = common_length(prompts[3], prompts[4])
    # the trace's continuations are views of the longest; the other trace goes on from where it parts, or one before
    assert prefiller.tokens - (len(prompts[3]) + len(prompts[4]) - shared) in (0, 1)


def test_neighbours_begin_alike_and_long_families_come_first() -> None:
    order = prefill_order(PROMPTS)
    families = [order.index(i) for i in range(5)], [order.index(i) for i in range(5, 10)]
    assert sorted(families[1]) == list(range(5))
    assert sorted(families[0]) == list(range(5, 10))
