"""Attention that reads a prompt's keys and values once for all its draws, and each draw's own beside them.

    queries of n draws ──► one product against the prompt they share ──┐
                     └───► one against each draw's own positions ──────┴──► merged by log-sum-exp: exact attention

Plugged in through transformers' `AttentionInterface` under the name `ATTENTION`, so any decoder that uses the interface
works unchanged. While no `SharedPrefix` is active the name behaves as "sdpa". An architecture that asks for more than
plain softmax attention raises, and the self-check at load then chooses a slower path.

Shapes: `B` rows, `H` key/value heads, `G` query heads per key/value head, `T` new positions, `W` own positions, `S`
prompt positions, `D` head dimension.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ATTENTION = "posttrain_diag_shared_prefix"


class SharedPrefix(Protocol):
    """What the attention of one forward pass reads; made and kept by the caller of the model."""

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """Attention of the new positions over the shared prompts and the rows' own positions.

        Keys and values are what the layer's cache returned for this pass.

        Args:
            query: queries of the new positions, shape (B, H * G, T, D).
            key: keys that the layer's cache returned for this pass, shape (B, H, W, D).
            value: values that the layer's cache returned for this pass, shape (B, H, W, D).
            scale: factor of the products of queries and keys.

        Returns:
            The attention's output, shape (B, T, H * G, D).
        """
        ...


_active: ContextVar[SharedPrefix | None] = ContextVar("shared_prefix", default=None)


@contextlib.contextmanager
def reading(prefix: SharedPrefix) -> Generator[None]:
    """While the context is open, forward passes read `prefix` in their attention."""
    token = _active.set(prefix)
    try:
        yield
    finally:
        _active.reset(token)


def plug_in(model: Any) -> bool:
    """Make `model` use this attention; returns False where it does not take "sdpa" attention in the first place."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return False
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)
    return bool(model.config._attn_implementation == ATTENTION)


def unplug(model: Any) -> None:
    """Give `model` its "sdpa" attention back."""
    model.set_attn_implementation("sdpa")


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **more: Any
) -> tuple[Any, None]:
    prefix = _active.get()
    if prefix is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **more)
    for name in ("softcap", "s_aux", "position_bias"):
        if more.get(name) is not None:
            raise NotImplementedError(f"attention with {name}")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return prefix.attend(query, key, value, scale), None


@dataclass(frozen=True)
class PromptGroups:
    """Which rows share a prompt: rows in the order `order_B`, cut into runs of one prompt each."""

    order_B: torch.Tensor | None
    """The rows sorted so that those of one prompt follow each other, shape (B,); None where they do so already."""
    back_B: torch.Tensor | None
    runs: tuple[tuple[int, int, int], ...]
    """The runs, each as (prompt, first row, last row + 1), rows counted in the order of `order_B`."""

    @staticmethod
    def of(prompt_B: NDArray[np.int64], device: torch.device) -> PromptGroups:
        """Group rows by their prompt.

        Args:
            prompt_B: index of each row's prompt, shape (B,).
            device: where the order is kept as a tensor.
        """
        import torch

        order_B = np.argsort(prompt_B, kind="stable")
        sorted_B = prompt_B[order_B]
        starts = np.flatnonzero(np.r_[True, sorted_B[1:] != sorted_B[:-1]]).tolist()
        ends = [*starts[1:], len(sorted_B)]
        runs = tuple((int(sorted_B[a]), a, b) for a, b in zip(starts, ends, strict=True))
        if (order_B[1:] > order_B[:-1]).all():
            return PromptGroups(None, None, runs)
        back_B = np.empty_like(order_B)
        back_B[order_B] = np.arange(len(order_B))
        return PromptGroups(torch.from_numpy(order_B).to(device), torch.from_numpy(back_B).to(device), runs)


def with_prefix(
    own: tuple[torch.Tensor, torch.Tensor],
    query_BHND: torch.Tensor,
    groups: PromptGroups,
    prefix: Sequence[tuple[torch.Tensor, torch.Tensor]],
    scale: float,
) -> torch.Tensor:
    """Combine the attention over each row's own positions with the attention over the prompt it shares.

    Args:
        own: output (B, H, N, D) and log-sum-exp (B, H, N) of the attention over own positions, N = G * T.
        query_BHND: the queries, shape (B, H, N, D).
        groups: which rows share which prompt.
        prefix: for each run of `groups` the keys and values of its prompt, shape (1, H, S, D).
        scale: factor of the products of queries and keys.

    Returns:
        The attention over own positions and prompt together, shape (B, H, N, D).
    """
    import torch

    out_BHND, lse_BHN = own
    n_rows, heads, width, dim = query_BHND.shape
    query = query_BHND if groups.order_B is None else query_BHND.index_select(0, groups.order_B)
    by_head = query.transpose(0, 1)  # (H, B, N, D): the rows of a run are one long query
    shared_HBND = torch.empty(heads, n_rows, width, dim, dtype=query.dtype, device=query.device)
    shared_lse_HBN = torch.empty(heads, n_rows, width, dtype=torch.float32, device=query.device)
    for (_, a, b), (key, value) in zip(groups.runs, prefix, strict=True):
        n = (b - a) * width
        out, lse = attend(by_head[:, a:b].reshape(1, heads, n, dim), key, value, scale)
        shared_HBND[:, a:b] = out[0].view(heads, b - a, width, dim)
        shared_lse_HBN[:, a:b] = lse.reshape(heads, b - a, width)
    shared, shared_lse = shared_HBND.transpose(0, 1), shared_lse_HBN.transpose(0, 1)
    if groups.back_B is not None:
        shared, shared_lse = shared.index_select(0, groups.back_B), shared_lse.index_select(0, groups.back_B)
    weight = torch.sigmoid(shared_lse - lse_BHN)[..., None]
    return torch.lerp(out_BHND.float(), shared.float(), weight).to(query.dtype)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    *,
    mask: torch.Tensor | None = None,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention with its log-sum-exp.

    Args:
        query: queries, shape (B, H, N, D).
        key: keys, shape (B, H, W, D).
        value: values, shape (B, H, W, D).
        scale: factor of the products of queries and keys.
        mask: added to the products, shape (B, 1, 1, W), 0 or -inf.
        causal: position i reads positions up to i only; then N = W.

    Returns:
        Output (B, H, N, D) and log-sum-exp (B, H, N), float32.
    """
    import torch

    if query.device.type == "cpu":
        flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = flash(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
        return out, lse.reshape(out.shape[:3])
    scores = torch.matmul(query, key.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores = scores + mask
    if causal:
        size = scores.shape[-1]
        scores = scores.masked_fill(torch.ones(size, size, dtype=torch.bool, device=scores.device).triu(1), -torch.inf)
    lse = scores.logsumexp(-1)
    return torch.matmul((scores - lse[..., None]).exp().to(value.dtype), value), lse
