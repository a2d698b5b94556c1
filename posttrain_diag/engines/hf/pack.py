"""Linear layers whose weights are laid out once for the CPU's matrix units.

oneDNN re-orders a plain weight matrix at every product. Large 16-bit layers gain 1.2-1.9x when that is done once
(small ones lose); the ops are private to torch, so that the self-check at load decides, and `unpack` undoes it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_LEAST_VALUES = 1 << 17
"""Weights of a layer below which packing does not pay."""
_ROWS_HINT = 256
"""Rows the layout is made for; any number works."""


def can_pack() -> bool:
    """Whether torch has the ops here, and the CPU the instructions (AVX-512 or like it) that they need."""
    import torch

    ops = torch.ops.mkldnn
    if not hasattr(ops, "_reorder_linear_weight") or not hasattr(ops, "_is_mkldnn_bf16_supported"):
        return False
    return bool(ops._is_mkldnn_bf16_supported())


def pack(model: Any) -> int:
    """Pack the large linear layers of a 16-bit model on the CPU in place; returns how many were packed.

    The plain weights stay, so that a packed layer costs its size again: the caller sees to the memory.
    """
    import torch

    if model.device.type != "cpu" or not can_pack():
        return 0
    packed = 0
    for layer in model.modules():
        if type(layer) is not torch.nn.Linear or layer.weight.numel() < _LEAST_VALUES:
            continue
        if layer.weight.dtype != torch.bfloat16:
            continue
        with torch.inference_mode():
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS_HINT)
        layer.__dict__["forward"] = partial(_forward, weight, layer.bias)
        packed += 1
    return packed


def packed_bytes(model: Any) -> int:
    """Bytes that `pack` would take."""
    import torch

    return sum(
        layer.weight.nbytes
        for layer in model.modules()
        if type(layer) is torch.nn.Linear
        and layer.weight.numel() >= _LEAST_VALUES
        and layer.weight.dtype == torch.bfloat16
    )


def unpack(model: Any) -> None:
    """Give every linear layer its own forward back."""
    import torch

    for layer in model.modules():
        if type(layer) is torch.nn.Linear:
            layer.__dict__.pop("forward", None)


def _forward(weight: torch.Tensor, bias: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
