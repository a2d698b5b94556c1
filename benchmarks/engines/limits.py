"""What this machine can do at most with the same threads: memory reads, and matrix products, large and of a model's sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def features() -> str:
    """What of the CPU decides the speed of matrix products, and its largest cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "features unknown"
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")
    cache = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    last = f", L3 {cache.read_text().strip()}" if cache.exists() else ""
    return ", ".join(flag for flag in wanted if flag in flags) + last


class Limits:
    """Measured with torch, best of several tries: a limit is what the machine reaches undisturbed."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.options, self.device = spec["options"], spec["device"]

    def measure(self) -> dict[str, Any]:
        """Bytes and floating-point operations per second."""
        out: dict[str, Any] = {"bandwidth": self._bandwidth()}
        size = self.options["matmul"]
        for dtype in ("float32", "bfloat16"):
            out[f"peak_{dtype}"] = self._rate(dtype, size, size, size)
        for name, dtype, rows, inner, outer in self.options["products"]:
            out[name] = self._rate(dtype, rows, inner, outer)
        return out

    def _best(self, work: Callable[[], Any], tries: int) -> float:
        import torch

        times: list[float] = []
        for _ in range(tries):
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            if self.device != "cpu":
                torch.cuda.synchronize()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            # On a busy machine the wall clock also counts the time of others.
            times.append(min(wall, cpu / torch.get_num_threads()) if self.device == "cpu" else wall)
        return min(times)

    def _bandwidth(self) -> float:
        import torch

        n = int(self.options["gib"] * 2**30) // 4
        source, target = torch.ones(n, device=self.device), torch.empty(n, device=self.device)
        read = 4 * n / self._best(source.sum, 4)
        copied = 8 * n / self._best(lambda: target.copy_(source), 4)
        return max(read, copied)

    def _rate(self, dtype: str, rows: int, inner: int, outer: int) -> float:
        import torch

        kind = getattr(torch, dtype)
        a, b = (torch.ones(*shape, dtype=kind, device=self.device) for shape in ((rows, inner), (outer, inner)))
        linear: Callable[[], Any] = lambda: torch.nn.functional.linear(a, b)  # noqa: E731
        once = self._best(linear, 2)
        repeats = max(1, round(0.05 / once))
        return 2.0 * rows * inner * outer * repeats / self._best(lambda: [linear() for _ in range(repeats)], 5)


def workload_seconds(
    shape: Any, lengths: Sequence[int], draws: Sequence[tuple[int, int, int]], rows: int, limits: dict[str, float]
) -> dict[str, float]:
    """Seconds a perfect engine needs for a sampling job: every weight and key read once per step, nothing computed twice.

    Args:
        shape: `benchmarks.engines.models.Shape`.
        lengths: prompt tokens, per prompt.
        draws: per prompt: draws, sum of their lengths T, sum of T².
        rows: rows decoded together.
        limits: what `Limits.measure` found.

    Returns:
        flops, bytes, and the seconds either would take alone.
    """
    per_token = 2.0 * (shape.n_body + shape.n_head)
    attention = 4.0 * shape.layers * shape.hidden
    flops = moved = steps = 0.0
    for length, (n, total, squares) in zip(lengths, draws, strict=True):
        decoded = total - n  # the first token of a draw comes from the prefill
        own = (squares - total) / 2  # sum over decode steps of the draw's own tokens seen so far
        flops += 2.0 * shape.n_body * length + 2.0 * shape.n_head + attention * length * length / 2
        flops += per_token * decoded + attention * (decoded * length + own)
        moved += shape.kv_bytes * (length + own)
        moved += shape.kv_bytes * length * decoded / min(rows, n)  # prefix keys: once per step and prompt
        steps += decoded / rows
    weights = (shape.n_body + shape.n_head) * shape.element_size
    moved += weights * (steps + 1)
    return {
        "flops": flops,
        "bytes": moved,
        "flop_s": flops / limits[f"peak_{shape.dtype}"],
        "byte_s": moved / limits["bandwidth"],
    }


def scoring_seconds(
    shape: Any, lengths: Sequence[int], completions: Sequence[Sequence[int]], limits: dict[str, float]
) -> dict[str, float]:
    """Seconds a perfect engine needs for a scoring job, each prompt computed once; arguments as in `workload_seconds`."""
    attention = 4.0 * shape.layers * shape.hidden
    flops = 0.0
    for length, own in zip(lengths, completions, strict=True):
        flops += 2.0 * shape.n_body * length + attention * length * length / 2
        for t in own:
            flops += 2.0 * shape.n_body * (t - 1) + 2.0 * shape.n_head * t
            flops += attention * ((t - 1) * length + (t - 1) * t / 2)
    moved = float((shape.n_body + shape.n_head) * shape.element_size)
    return {
        "flops": flops,
        "bytes": moved,
        "flop_s": flops / limits[f"peak_{shape.dtype}"],
        "byte_s": moved / limits["bandwidth"],
    }


CONTESTANTS: dict[str, Callable[[dict[str, Any]], Any]] = {"limits": Limits}
