"""Each prompt's keys and values, computed once: batched, and continued from a prompt that begins alike.

Prefixes of a correct trace (the ladder), branches of one trace, a few-shot header: prompts that share at least half of
their tokens with the prompt before them in sorted order are computed from where they part, and a prompt that another
one continues is a view of it.

Shapes: `P` prompts, `S` prompt positions, `H` heads, `D` head dimension, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from posttrain_diag.engines.hf.forward import CausalLM

_BATCH_PROMPTS, _BATCH_TOKENS = 8, 2048
"""Most prompts and padded tokens of one prefill: the logits of a batch are kept at every prompt's last position."""


@dataclass(frozen=True)
class Prefilled:
    """A prompt that the model has read: what draws of this prompt start from."""

    ids: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Keys and values per layer, shape (1, H, S, D)."""
    logits_V: torch.Tensor
    """Logits of the token after the prompt, shape (V,)."""

    def shortened(self, ids: tuple[int, ...], logits_V: torch.Tensor) -> Prefilled:
        """The beginning `ids` of this prompt, as views of its keys and values.

        `logits_V`, shape (V,), are the logits of the token after that beginning.
        """
        layers = tuple((key[:, :, : len(ids)], value[:, :, : len(ids)]) for key, value in self.layers)
        return Prefilled(ids, layers, logits_V)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens two prompts share."""
    size = min(len(a), len(b))
    return next((i for i in range(size) if a[i] != b[i]), size)


def alike(ids: Sequence[int], before: Sequence[int]) -> bool:
    """Whether a prompt is better continued from the one before it than computed afresh."""
    return 2 * common_length(ids, before) >= len(ids)


def prefill_order(prompts: Sequence[tuple[int, ...]]) -> list[int]:
    """Indices of distinct prompts, so that prompts that begin alike are neighbours and long families come first."""
    by_text = sorted(range(len(prompts)), key=lambda i: prompts[i])
    families: list[list[int]] = []
    for i in by_text:
        if families and alike(prompts[i], prompts[families[-1][-1]]):
            families[-1].append(i)
        else:
            families.append([i])
    families.sort(key=lambda family: -max(len(prompts[i]) for i in family))
    return [i for family in families for i in family]


class Prefiller:
    """Prefills prompts of a list in the order of `prefill_order`; remembers the last one."""

    def __init__(self, lm: CausalLM, prompts: Sequence[tuple[int, ...]], order: Sequence[int]) -> None:
        self._lm = lm
        self._prompts = prompts
        self._rank = {prompt: rank for rank, prompt in enumerate(order)}
        self._order = order
        self._last: Prefilled | None = None
        self.tokens = 0
        """Prompt tokens computed so far (padding not counted)."""

    def __call__(self, wanted: Sequence[int]) -> dict[int, Prefilled]:
        """Prefill the prompts `wanted`, and the longer prompts that some of them are views of.

        Args:
            wanted: indices of the prompts, neighbours in the order of `prefill_order`.

        Returns:
            The prefilled prompts by index.
        """
        found: dict[int, Prefilled] = {}
        batch: list[int] = []
        for index in wanted:
            if index in found:
                continue
            before = self._prompts[batch[-1]] if batch else self._last.ids if self._last else ()
            if alike(self._prompts[index], before) or self._continued(index):
                found |= self._together(batch)
                batch = []
                found |= self._chain(index)
                continue
            widest = max(len(self._prompts[i]) for i in (*batch, index))
            if len(batch) == _BATCH_PROMPTS or (len(batch) + 1) * widest > _BATCH_TOKENS:
                found |= self._together(batch)
                batch = []
            batch.append(index)
        return found | self._together(batch)

    def _continued(self, index: int) -> list[int]:
        """Later prompts that begin with this one, each beginning with the one before it."""
        out: list[int] = []
        ids = self._prompts[index]
        for later in self._order[self._rank[index] + 1 :]:
            longer = self._prompts[later]
            if len(longer) > 2 * len(ids) or longer[: len(ids)] != ids:
                break
            out.append(later)
            ids = longer
        return out

    def _chain(self, index: int) -> dict[int, Prefilled]:
        """Prefill one prompt together with those that continue it, from where it parts from the last prompt."""
        chain = [index, *self._continued(index)]
        ids = self._prompts[chain[-1]]
        last = self._last
        start = 0 if last is None else min(common_length(ids, last.ids), len(self._prompts[index]) - 1)
        if last is None or not alike(ids, last.ids):
            start = 0
        cache = self._lm.new_cache()
        if start and last is not None:
            for layer, (key, value) in enumerate(last.layers):
                cache.update(key[:, :, :start], value[:, :, :start], layer)
        ends = [len(self._prompts[i]) - 1 - start for i in chain]
        logits = self._logits([ids[start:]], ends, start, cache)
        longest = Prefilled(ids, tuple((layer.keys, layer.values) for layer in cache.layers), logits[0, -1])
        self._last = longest
        self.tokens += len(ids) - start
        return {i: longest.shortened(self._prompts[i], logits[0, at]) for at, i in enumerate(chain)}

    def _together(self, batch: Sequence[int]) -> dict[int, Prefilled]:
        """Prefill prompts that share little, padded on the right: in a causal model padding cannot reach back."""
        if not batch:
            return {}
        rows = [self._prompts[i] for i in batch]
        widest = max(map(len, rows))
        cache = self._lm.new_cache()
        ends = sorted({len(row) - 1 for row in rows})
        padded = [[*row, *[0] * (widest - len(row))] for row in rows]
        logits = self._logits(padded, ends, 0, cache)
        out: dict[int, Prefilled] = {}
        for at, (index, row) in enumerate(zip(batch, rows, strict=True)):
            layers = tuple(
                (
                    layer.keys[at : at + 1, :, : len(row)].contiguous(),
                    layer.values[at : at + 1, :, : len(row)].contiguous(),
                )
                for layer in cache.layers
            )
            out[index] = Prefilled(row, layers, logits[at, ends.index(len(row) - 1)].clone())
        self._last = out[batch[-1]]
        self.tokens += sum(map(len, rows))
        return out

    def _logits(self, rows: Sequence[Sequence[int]], ends: Sequence[int], start: int, cache: object) -> torch.Tensor:
        """Logits at the columns `ends` of rows that begin at position `start`, shape (P, len(ends), V)."""
        import torch

        device = self._lm.device
        ids = torch.tensor([list(row) for row in rows], device=device)
        positions = torch.arange(start, start + ids.shape[1], device=device).expand(len(rows), -1)
        keep = torch.tensor(list(ends), device=device)
        return self._lm.logits(ids, positions_BT=positions, cache=cache, keep=keep)
