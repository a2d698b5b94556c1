"""One decoding step for a batch, by the model's cache or without it.

`CachedDecode` prefills each prompt once and copies its cache to the prompt's rows; `PlainDecode` recomputes
everything at every step and is right for any causal model. `hf_check` decides at load which one holds.

Shapes: `P` prompts, `B` rows, `L` positions, `T` new positions, `V` vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class CausalLM:
    """A transformers model behind one forward call, whatever its architecture's argument names."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model = model
        self.device = device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_keep = "logits_to_keep" in accepted
        self._cache_name = next((n for n in ("past_key_values", "cache_params") if n in accepted), None)

    @property
    def has_cache(self) -> bool:
        """Whether the architecture takes a transformers `Cache` at all."""
        return self._cache_name is not None

    def new_cache(self) -> Any:
        """An empty cache of the layer kinds this architecture uses."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def logits(
        self,
        ids_BT: torch.Tensor,
        *,
        mask_BL: torch.Tensor | None = None,
        positions_BT: torch.Tensor | None = None,
        cache: Any = None,
        last_only: bool = False,
    ) -> torch.Tensor:
        """Raw logits, shape (B, T, V), or (B, 1, V) with `last_only`.

        Args:
            ids_BT: new token ids, shape (B, T).
            mask_BL: 1 for real positions, 0 for padding, cached positions included; None = no padding.
            positions_BT: position of each new token; None lets the model count.
            cache: extended in place; None computes without any.
            last_only: only the last position's logits are needed.
        """
        import torch

        arguments: dict[str, Any] = {"input_ids": ids_BT, "use_cache": cache is not None}
        if mask_BL is not None:
            arguments["attention_mask"] = mask_BL
        if positions_BT is not None and self._takes_positions:
            arguments["position_ids"] = positions_BT
        if cache is not None and self._cache_name is not None:
            arguments[self._cache_name] = cache
        if last_only and self._takes_keep:
            arguments["logits_to_keep"] = 1
        with torch.inference_mode():
            logits: torch.Tensor = self.model(**arguments).logits
        return logits[:, -1:] if last_only else logits


class Decode(Protocol):
    """The state of one batch being decoded."""

    def start(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Take in the prompts; one row each. Returns next-token logits, shape (P, V)."""
        ...

    def select(self, rows: torch.Tensor) -> None:
        """Make the rows `rows` (indices, repeats allowed) of the current state the new state."""
        ...

    def step(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """Append one token to every row. Returns next-token logits, shape (B, V)."""
        ...


class CachedDecode:
    """Left-padded prefill, then one position a step through the model's cache."""

    def __init__(self, lm: CausalLM, pad_id: int = 0) -> None:
        self._lm = lm
        self._pad_id = pad_id
        self._cache: Any = lm.new_cache()
        self._mask_BL: torch.Tensor | None = None
        self._next_B: torch.Tensor | None = None

    @property
    def cache(self) -> Any:
        """The transformers cache, for measuring its size."""
        return self._cache

    def start(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """See `Decode.start`."""
        import torch

        longest = max(len(ids) for ids in prompts)
        rows = [[self._pad_id] * (longest - len(ids)) + list(ids) for ids in prompts]
        ids_PL = torch.tensor(rows, device=self._lm.device)
        lengths_P = torch.tensor([len(ids) for ids in prompts], device=self._lm.device)
        columns_L = torch.arange(longest, device=self._lm.device)
        offset_P1 = longest - lengths_P[:, None]
        if any(len(ids) < longest for ids in prompts):
            self._mask_BL = (columns_L[None] >= offset_P1).long()
        positions_PL = (columns_L[None] - offset_P1).clamp(min=0)
        self._next_B = lengths_P
        logits = self._lm.logits(
            ids_PL, mask_BL=self._mask_BL, positions_BT=positions_PL, cache=self._cache, last_only=True
        )
        return logits[:, -1]

    def select(self, rows: torch.Tensor) -> None:
        """See `Decode.select`."""
        import torch

        with torch.inference_mode():
            self._cache.reorder_cache(rows)
        if self._mask_BL is not None:
            self._mask_BL = self._mask_BL[rows]
        if self._next_B is not None:
            self._next_B = self._next_B[rows]

    def step(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """See `Decode.step`."""
        return self.extend(tokens_B[:, None], None)[:, -1]

    def extend(self, tokens_BT: torch.Tensor, valid_BT: torch.Tensor | None) -> torch.Tensor:
        """Append T tokens to every row at once.

        Args:
            tokens_BT: token ids, shape (B, T), padded on the right.
            valid_BT: 1 for tokens, 0 for padding; None = no padding. Nothing can be appended after padding.

        Returns:
            Logits after each token, shape (B, T, V).
        """
        import torch

        if self._next_B is None:
            raise RuntimeError("extend() before start()")
        width = tokens_BT.shape[1]
        positions_BT = self._next_B[:, None] + torch.arange(width, device=tokens_BT.device)
        if self._mask_BL is None and valid_BT is not None:
            past = int(self._next_B[0])  # no left padding: every prompt has this length
            self._mask_BL = torch.ones(len(tokens_BT), past, dtype=torch.long, device=tokens_BT.device)
        if self._mask_BL is not None:
            new_BT = torch.ones_like(tokens_BT) if valid_BT is None else valid_BT
            self._mask_BL = torch.cat((self._mask_BL, new_BT), 1)
        self._next_B = self._next_B + width
        return self._lm.logits(tokens_BT, mask_BL=self._mask_BL, positions_BT=positions_BT, cache=self._cache)


class PlainDecode:
    """No cache: every step is a forward pass over the whole sequences, which must have one length."""

    def __init__(self, lm: CausalLM) -> None:
        self._lm = lm
        self._ids_BL: torch.Tensor | None = None

    def start(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """See `Decode.start`."""
        import torch

        self._ids_BL = torch.tensor([list(ids) for ids in prompts], device=self._lm.device)
        return self._lm.logits(self._ids_BL, last_only=True)[:, -1]

    def select(self, rows: torch.Tensor) -> None:
        """See `Decode.select`."""
        if self._ids_BL is not None:
            self._ids_BL = self._ids_BL[rows]

    def step(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """See `Decode.step`."""
        import torch

        if self._ids_BL is None:
            raise RuntimeError("step() before start()")
        self._ids_BL = torch.cat((self._ids_BL, tokens_B[:, None]), 1)
        return self._lm.logits(self._ids_BL, last_only=True)[:, -1]
