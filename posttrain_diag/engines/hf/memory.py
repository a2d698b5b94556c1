"""How many rows fit: free memory, what a row costs, and which errors mean that it did not fit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_USABLE = 0.5
"""Share of the free memory a batch may plan with: caches are copied while they grow."""


_HOST_BATCH, _HOST_SHARE = 2 << 30, 0.1
"""On the CPU a batch plans with 2 GiB, or a tenth of the free memory if that is more: larger ones cost page faults and
other people's memory, and are no faster."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out (CUDA's own type, Python's, or torch's CPU allocator)."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on `device`."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    return min(_host_available(), _cgroup_available())


def _host_available() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 << 30


def _cgroup_available() -> int:
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
        return max(0, int(text) - int(used.read_text()))
    return 1 << 62


@dataclass(frozen=True)
class RowCost:
    """Bytes that decoding one row takes."""

    kv_bytes_per_token: float
    activation_bytes_per_token: float
    logits_bytes: float
    """Bytes of one position's logits, with the copies that sampling makes of them."""

    @staticmethod
    def of(config: Any, kv_bytes_per_token: float, vocab_size: int, element_size: int) -> RowCost:
        """The cost of a row for a model with this transformers config.

        Args:
            config: the model's (text) config; its layer widths are read.
            kv_bytes_per_token: bytes that the cache holds for one position of one row.
            vocab_size: width of the logits.
            element_size: bytes of one number in the model's precision.
        """
        hidden = int(getattr(config, "hidden_size", 0) or 1024)
        inner = int(getattr(config, "intermediate_size", 0) or 4 * hidden)
        activation = (8 * hidden + 3 * inner) * element_size
        return RowCost(kv_bytes_per_token, float(activation), float(vocab_size * (element_size + 16)))

    def decode(self, length: int, max_new_tokens: int) -> float:
        """Bytes of one row from prefill to its last token."""
        return self.kv_bytes_per_token * (length + max_new_tokens) + self.logits_bytes

    def prefill(self, length: int) -> float:
        """Bytes of one prompt while it is prefilled."""
        return (self.kv_bytes_per_token + self.activation_bytes_per_token) * length

    def score(self, length: int) -> float:
        """Bytes of one completion's positions, all of whose logits are held at once."""
        return (self.kv_bytes_per_token + self.activation_bytes_per_token + self.logits_bytes) * length


def usable_bytes(device: torch.device) -> float:
    """Bytes one batch may plan with."""
    free = free_bytes(device)
    if device.type == "cpu":
        return min(_USABLE * free, max(_HOST_BATCH, _HOST_SHARE * free))
    return _USABLE * free
