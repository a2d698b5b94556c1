"""The fast decoding path: rows live in slots, each at its own step; what a prompt's rows share is kept once.

    admit(slots, prompts)  a new row in each slot: its prompt's prefix (prefilled once), no positions of its own yet
    step(tokens)           one position for every row, in one forward pass
    drop(running)          finished rows leave, rows from the end take their slots

Shapes: `B` rows, `C` slots, `T` positions of a slot, `H` key/value heads, `D` head dimension, `V` vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.engines.hf.attention import PromptGroups, attend, reading, with_prefix
from posttrain_diag.engines.hf.prefill import Prefilled, Prefiller

if TYPE_CHECKING:
    import torch

    from posttrain_diag.engines.hf.forward import CausalLM


class SlotCache:
    """Own positions of every row, and the prefixes its rows share; a transformers cache and a `SharedPrefix` in one."""

    def __init__(self, capacity: int, length: int, device: torch.device) -> None:
        self._capacity, self._length = capacity, length
        self._device = device
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self.prefix: dict[int, Prefilled] = {}
        self._layer = 0

    def begin(self, prompt_B: NDArray[np.int64], own_B: NDArray[np.int64], groups: PromptGroups | None) -> PromptGroups:
        """Prepare one decoding step.

        Args:
            prompt_B: index of each row's prompt, shape (B,).
            own_B: how many positions of its own each row has already, shape (B,).
            groups: which rows share a prompt, where that is known from the step before.

        Returns:
            Which rows share a prompt.
        """
        import torch

        self._groups = groups or PromptGroups.of(prompt_B, self._device)
        self._n_rows, self._width = len(own_B), int(own_B.max()) + 1
        own = torch.from_numpy(own_B).to(self._device)
        self._at_B = torch.arange(self._n_rows, device=self._device) * self._length + own
        late = torch.arange(self._width, device=self._device)[None] > own[:, None]
        self._mask = torch.zeros(late.shape, dtype=torch.float32, device=self._device).masked_fill_(late, -torch.inf)
        self._mask_as: dict[torch.dtype, torch.Tensor] = {}
        return self._groups

    def update(self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Write one position of every row.

        Args:
            key: keys of the new positions, shape (B, H, 1, D).
            value: values of the new positions, shape (B, H, 1, D).
            layer_idx: number of the layer that calls.
            *_: further arguments of transformers' cache interface, not used.
            **__: further arguments of transformers' cache interface, not used.

        Returns:
            Keys and values of all own positions, shape (B, H, W, D) each.
        """
        import torch

        self._layer = layer_idx
        while len(self._keys) <= layer_idx:
            # Zeros, not empty memory: masked positions are multiplied by 0, which garbage may survive as NaN.
            size = (self._capacity, self._length, key.shape[1], key.shape[3])
            self._keys.append(torch.zeros(size, dtype=key.dtype, device=key.device))
            self._values.append(torch.zeros((*size[:3], value.shape[3]), dtype=value.dtype, device=value.device))
        out: list[torch.Tensor] = []
        for store, new in ((self._keys[layer_idx], key), (self._values[layer_idx], value)):
            flat = new.transpose(1, 2).reshape(self._n_rows, -1)
            store.view(self._capacity * self._length, -1).index_copy_(0, self._at_B, flat)
            out.append(store[: self._n_rows, : self._width].transpose(1, 2))
        return tuple(out)

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """Attention of one new position per row, as `SharedPrefix.attend` describes.

        Args:
            query: queries of the new positions, shape (B, H * G, 1, D).
            key: keys of the own positions, shape (B, H, W, D).
            value: values of the own positions, shape (B, H, W, D).
            scale: factor of the products of queries and keys.

        Returns:
            The attention's output, shape (B, 1, H * G, D).
        """
        n_rows, n_query, _, dim = query.shape
        heads = key.shape[1]
        grouped = query.reshape(n_rows, heads, n_query // heads, dim)
        if query.dtype not in self._mask_as:
            self._mask_as[query.dtype] = self._mask.to(query.dtype)[:, None, None]
        own = attend(grouped, key, value, scale, mask=self._mask_as[query.dtype])
        prefix = [self.prefix[prompt].layers[self._layer] for prompt, _, _ in self._groups.runs]
        return with_prefix(own, grouped, self._groups, prefix, scale).reshape(n_rows, 1, n_query, dim)

    @property
    def bytes_per_position(self) -> float:
        """Bytes that the cache holds for one position of one row."""
        return sum(store[0, 0].nbytes for store in (*self._keys, *self._values))

    def move(self, sources: NDArray[np.intp], targets: NDArray[np.intp], width: int) -> None:
        """Copy the first `width` positions of rows into other slots.

        Args:
            sources: slots to copy from, shape (rows moved,).
            targets: slots to copy to, shape (rows moved,).
            width: positions to copy.
        """
        import torch

        source, target = (torch.from_numpy(index).to(self._device) for index in (sources, targets))
        with torch.inference_mode():
            for store in (*self._keys, *self._values):
                store[target, :width] = store[source, :width]

    def get_seq_length(self, *_: Any) -> int:
        """Always 0 towards transformers: rows have no length in common, positions are given with every pass."""
        return 0


class SlotDecode:
    """A `Decode` whose rows come and go at any step."""

    refills = True
    drop_share = 0.0

    def __init__(self, lm: CausalLM, prefiller: Prefiller, capacity: int, max_new_tokens: int) -> None:
        import torch

        self._lm = lm
        self._prefiller = prefiller
        self._cache = SlotCache(capacity, max_new_tokens, lm.device)
        self._groups: PromptGroups | None = None
        self._prompt_B = np.zeros(0, np.int64)
        self._own_B = np.zeros(0, np.int64)
        self._length_B = np.zeros(0, np.int64)
        # A mask of four dimensions is passed on as it is: none is built, and the attention reads the slots' own.
        self._no_mask = torch.zeros(1, 1, 1, 1, device=lm.device)
        self._using: Counter[int] = Counter()
        self._ahead: dict[int, Prefilled] = {}

    def admit(self, slots: Sequence[int], prompts: Sequence[int]) -> torch.Tensor:
        """Put new rows into `slots` (finished ones, or the next after the last); returns their logits, shape (B, V)."""
        import torch

        known = self._cache.prefix
        for slot in slots:
            if slot < len(self._prompt_B):
                self._release(int(self._prompt_B[slot]))
        distinct = [p for p in dict.fromkeys(prompts) if p not in known]
        for index in distinct:
            if index in self._ahead:
                known[index] = self._ahead.pop(index)
        fresh = self._prefiller([p for p in distinct if p not in known])
        for index, prefilled in fresh.items():
            (known if index in distinct else self._ahead)[index] = prefilled
        self._using.update(prompts)
        size = max([len(self._prompt_B), *(slot + 1 for slot in slots)])
        at = np.asarray(slots)
        for name, values in (
            ("_prompt_B", np.asarray(prompts)),
            ("_own_B", np.zeros(len(slots), np.int64)),
            ("_length_B", np.asarray([len(known[p].ids) for p in prompts])),
        ):
            array = np.zeros(size, np.int64)
            array[: len(getattr(self, name))] = getattr(self, name)
            array[at] = values
            setattr(self, name, array)
        self._groups = None
        rows: list[torch.Tensor] = [known[p].logits_V for p in prompts]
        return torch.stack(rows)

    def step(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """Append one token (`tokens_B`, shape (B,)) to every row; returns next-token logits, shape (B, V)."""
        import torch

        self._groups = self._cache.begin(self._prompt_B, self._own_B, self._groups)
        positions = torch.from_numpy(self._length_B + self._own_B).to(self._lm.device)
        with reading(self._cache):
            logits = self._lm.logits(
                tokens_B[:, None], mask_BL=self._no_mask, positions_BT=positions[:, None], cache=self._cache
            )
        self._own_B = self._own_B + 1
        return logits[:, -1]

    def drop(self, running_B: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Let finished rows go, as `Decode.drop` describes; rows from the end take the freed slots.

        `running_B` has shape (B,).
        """
        for row in np.flatnonzero(~running_B):
            self._release(int(self._prompt_B[row]))
        left = int(running_B.sum())
        order = np.arange(left)
        holes = np.flatnonzero(~running_B[:left])
        movers = left + np.flatnonzero(running_B[left:])
        if len(holes):
            self._cache.move(movers, holes, int(self._own_B[movers].max()))
            order[holes] = movers
        self._prompt_B, self._own_B, self._length_B = (
            array[order] for array in (self._prompt_B, self._own_B, self._length_B)
        )
        self._groups = None
        return order

    def _release(self, prompt: int) -> None:
        self._using[prompt] -= 1
        if self._using[prompt] == 0:
            del self._using[prompt]
            self._cache.prefix.pop(prompt)

    @property
    def bytes_per_position(self) -> float:
        """Bytes that the cache holds for one position of one row."""
        return self._cache.bytes_per_position


class ScoreCache:
    """A cache for scoring completions after prompts that all of them read; completions are not stored in it."""

    def __init__(self, prefix: Sequence[Prefilled], of_row_B: NDArray[np.int64], device: torch.device) -> None:
        import torch

        self._prefix = prefix
        self._groups = PromptGroups.of(of_row_B, device)
        lengths = np.asarray([len(one.ids) for one in prefix])
        self._length_B = torch.from_numpy(lengths[of_row_B]).to(device)
        self._no_mask = torch.zeros(1, 1, 1, 1, device=device)
        self._layer = 0

    def logits(self, lm: CausalLM, ids_BT: torch.Tensor) -> torch.Tensor:
        """Logits after each of T tokens, shape (B, T, V), for tokens `ids_BT` of shape (B, T), padded on the right."""
        import torch

        positions_BT = self._length_B[:, None] + torch.arange(ids_BT.shape[1], device=ids_BT.device)
        with reading(self):
            return lm.logits(ids_BT, mask_BL=self._no_mask, positions_BT=positions_BT, cache=self)

    def update(self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Keep nothing and hand the new positions back; only the layer is remembered, for `attend`.

        Args:
            key: keys of the completions, shape (B, H, T, D).
            value: values of the completions, shape (B, H, T, D).
            layer_idx: number of the layer that calls.
            *_: further arguments of transformers' cache interface, not used.
            **__: further arguments of transformers' cache interface, not used.

        Returns:
            `key` and `value` as they came.
        """
        self._layer = layer_idx
        return key, value

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """Attention of whole completions over their prompts and themselves, as `SharedPrefix.attend` describes.

        Args:
            query: queries of the completions, shape (B, H * G, T, D).
            key: keys of the completions, shape (B, H, T, D).
            value: values of the completions, shape (B, H, T, D).
            scale: factor of the products of queries and keys.

        Returns:
            The attention's output, shape (B, T, H * G, D).
        """
        n_rows, n_query, width, dim = query.shape
        heads = key.shape[1]
        group = n_query // heads
        own_key, own_value = (key, value) if group == 1 else (_repeated(key, group), _repeated(value, group))
        out, lse = attend(query, own_key, own_value, scale, causal=True)
        shape = (n_rows, heads, group * width)
        own = out.reshape(*shape, dim), lse.reshape(shape)
        prefix = [self._prefix[prompt].layers[self._layer] for prompt, _, _ in self._groups.runs]
        whole = with_prefix(own, query.reshape(*shape, dim), self._groups, prefix, scale)
        return whole.view(n_rows, n_query, width, dim).transpose(1, 2)

    def get_seq_length(self, *_: Any) -> int:
        """Always 0 towards transformers: rows have no length in common, positions are given with every pass."""
        return 0


def _repeated(states: torch.Tensor, times: int) -> torch.Tensor:
    return states.repeat_interleave(times, dim=1)
