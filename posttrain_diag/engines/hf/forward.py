"""One forward call for every architecture, and decoding by the model's own cache or without any.

`CachedDecode` prefills each prompt once and copies its cache to the prompt's rows; `PlainDecode` recomputes
everything at every step and is right for any causal model. The fast path is `slots.SlotDecode`. The self-check in
`check` decides at load which one holds.

Shapes: `P` prompts, `B` rows, `L` positions, `T` new positions, `V` vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

CACHE_ARGUMENTS = ("past_key_values", "cache", "cache_params")
"""Names under which forward takes a transformers `Cache`; "cache" since transformers 5.24, the others before."""


def cache_argument(model: Any) -> str | None:
    """The argument of a model's forward that takes a transformers `Cache`; None where no known name is among them."""
    accepted = inspect.signature(model.forward).parameters
    return next((name for name in CACHE_ARGUMENTS if name in accepted), None)


def tolerance_nats(dtype: torch.dtype, values: torch.Tensor, roundings: int) -> float:
    """How far two ways to compute the same may lie apart: 1e-4, or so many roundings of the largest finite value."""
    import torch

    return max(1e-4, roundings * torch.finfo(dtype).eps * float(values[torch.isfinite(values)].abs().max()))


class CausalLM:
    """A transformers model behind one forward call, whatever its architecture's argument names."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model = model
        self.device = device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_keep = "logits_to_keep" in accepted
        self._cache_name = cache_argument(model)

    @property
    def has_cache(self) -> bool:
        """Whether a transformers `Cache` can be handed to the architecture."""
        return self._cache_name is not None

    def returned_cache(self, ids_BT: torch.Tensor) -> str | None:
        """Name under which a forward pass returns a transformers `Cache`; None: it returns none.

        Args:
            ids_BT: token ids to run it on, shape (B, T).
        """
        import torch
        from transformers import Cache

        with torch.inference_mode():
            output = self.model(input_ids=ids_BT, use_cache=True)
        return next((name for name, value in output.items() if isinstance(value, Cache)), None)

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
        keep: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Raw logits, shape (B, T, V), or (B, 1, V) with `last_only`, or (B, K, V) with K columns to `keep`.

        Args:
            ids_BT: new token ids, shape (B, T).
            mask_BL: 1 for real positions, 0 for padding, cached positions included; None = no padding.
            positions_BT: position of each new token; None lets the model count.
            cache: extended in place; None computes without any.
            last_only: only the last position's logits are needed.
            keep: only these columns' logits are needed, shape (K,).
        """
        import torch

        arguments: dict[str, Any] = {"input_ids": ids_BT, "use_cache": cache is not None}
        if mask_BL is not None:
            arguments["attention_mask"] = mask_BL
        if positions_BT is not None and self._takes_positions:
            arguments["position_ids"] = positions_BT
        if cache is not None and self._cache_name is not None:
            arguments[self._cache_name] = cache
        if self._takes_keep and (last_only or keep is not None):
            arguments["logits_to_keep"] = 1 if keep is None else keep
        with torch.inference_mode():
            logits: torch.Tensor = self.model(**arguments).logits
            if keep is not None and not self._takes_keep:
                logits = logits[:, keep]
        return logits[:, -1:] if last_only else logits


class Decode(Protocol):
    """The state of the rows being decoded. Prompts are named by their index in the list the state was made with."""

    refills: bool
    """Whether rows may be admitted while others are being decoded."""
    drop_share: float
    """Finished rows are worth dropping when they are this share of all."""

    def admit(self, slots: Sequence[int], prompts: Sequence[int]) -> torch.Tensor:
        """Put a new row of a prompt into each slot; returns next-token logits of these rows, shape (B, V)."""
        ...

    def step(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """Append one token (`tokens_B`, shape (B,)) to every row; returns next-token logits, shape (B, V)."""
        ...

    def drop(self, running_B: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Let finished rows go.

        Args:
            running_B: True for the rows that stay, shape (B,).

        Returns:
            The old index of each row that is left, in the new order of the rows, shape (rows left,).
        """
        ...


class CachedDecode:
    """Decoding by the model's own cache: left-padded prefill, then one position a step."""

    refills = False
    drop_share = 1 / 8
    """Finished rows are worth dropping when they are this share of all; high, since dropping copies the cache."""

    def __init__(self, lm: CausalLM, prompts: Sequence[Sequence[int]] = (), pad_id: int = 0) -> None:
        self._lm = lm
        self._prompts = prompts
        self._pad_id = pad_id
        self._cache: Any = lm.new_cache()
        self._mask_BL: torch.Tensor | None = None
        self._next_B: torch.Tensor | None = None

    def admit(self, slots: Sequence[int], prompts: Sequence[int]) -> torch.Tensor:
        """Take in all rows at once, as `Decode.admit` does for some; returns next-token logits, shape (B, V)."""
        import torch

        del slots
        distinct = list(dict.fromkeys(prompts))
        logits_PV = self.start([self._prompts[i] for i in distinct])
        rows_B = torch.tensor([distinct.index(i) for i in prompts], device=self._lm.device)
        if len(prompts) > len(distinct):
            self.select(rows_B)
        return logits_PV[rows_B]

    def drop(self, running_B: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Let finished rows go, as `Decode.drop` describes; `running_B` has shape (B,)."""
        import torch

        kept = np.flatnonzero(running_B)
        self.select(torch.from_numpy(kept).to(self._lm.device))
        return kept

    @property
    def cache(self) -> Any:
        """The transformers cache, for measuring its size."""
        return self._cache

    def start(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Take in the prompts, one row each; returns next-token logits, shape (P, V)."""
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
        """Make the rows `rows` (indices of the current rows, repeats allowed, shape (B,)) the new state."""
        import torch

        with torch.inference_mode():
            self._cache.reorder_cache(rows)
        if self._mask_BL is not None:
            self._mask_BL = self._mask_BL[rows]
        if self._next_B is not None:
            self._next_B = self._next_B[rows]

    def step(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """Append one token (`tokens_B`, shape (B,)) to every row; returns next-token logits, shape (B, V)."""
        return self.extend(tokens_B[:, None], None)[:, -1]

    def extend(self, tokens_BT: torch.Tensor, valid_BT: torch.Tensor | None) -> torch.Tensor:
        """Append T tokens to every row at once.

        Args:
            tokens_BT: token ids, shape (B, T), padded on the right.
            valid_BT: 1 for tokens, 0 for padding; None = no padding. Nothing can be appended after padding.

        Returns:
            Logits after each token, shape (B, T, V).

        Raises:
            RuntimeError: no prompts were taken in before.
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
    """Decoding without a cache: every step is a forward pass over the whole sequences, which must have one length."""

    refills = False
    drop_share = 0.0

    def __init__(self, lm: CausalLM, prompts: Sequence[Sequence[int]]) -> None:
        self._lm = lm
        self._prompts = prompts
        self._ids_BL: torch.Tensor | None = None

    def admit(self, slots: Sequence[int], prompts: Sequence[int]) -> torch.Tensor:
        """Take in all rows at once, as `Decode.admit` does for some; returns next-token logits, shape (B, V)."""
        import torch

        del slots
        self._ids_BL = torch.tensor([list(self._prompts[i]) for i in prompts], device=self._lm.device)
        return self._lm.logits(self._ids_BL, last_only=True)[:, -1]

    def drop(self, running_B: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Let finished rows go, as `Decode.drop` describes; `running_B` has shape (B,)."""
        import torch

        kept = np.flatnonzero(running_B)
        if self._ids_BL is not None:
            self._ids_BL = self._ids_BL[torch.from_numpy(kept).to(self._lm.device)]
        return kept

    def step(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """Append one token (`tokens_B`, shape (B,)) to every row; returns next-token logits, shape (B, V).

        Raises:
            RuntimeError: no prompts were taken in before.
        """
        import torch

        if self._ids_BL is None:
            raise RuntimeError("step() before admit()")
        self._ids_BL = torch.cat((self._ids_BL, tokens_B[:, None]), 1)
        return self._lm.logits(self._ids_BL, last_only=True)[:, -1]
