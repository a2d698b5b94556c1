"""The sampling benchmark on a GPU: hf engine beside `generate` on a model of Qwen2-0.5B's sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.engines import report
from benchmarks.engines.driver import Contestant, Machine, Raw, Team, Worker
from benchmarks.engines.models import SHAPES, make_model, make_work


def gpu(
    work: Path, threads: int, raw_of: Callable[..., Raw], *, quick: bool, device: str = "cuda", shape_name: str = "0.5b"
) -> dict[str, Any]:
    """64 draws of 64 prompts; wall-seconds, for a GPU's work is not CPU time.

    Args:
        work: where models and logs go.
        threads: of the host.
        raw_of: makes the file of timings.
        quick: 8 prompts, 16 draws, one round.
        device: where to run.
        shape_name: a key of `benchmarks.engines.models.SHAPES`.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return {"not_run": "no GPU here"}
    n_prompts, n_draws, repeats = (8, 16, 1) if quick else (64, 64, 3)
    shape = SHAPES[shape_name]
    made = make_work(shape, n_prompts, n_draws)
    model = str(make_model(shape, work / "models"))
    spec = {"name": shape.name, "model": model, "dtype": shape.dtype, "work": {**asdict(made), "completions": []}}
    team_machine = Machine(threads, None, None, device)
    everyone = [
        Contestant("hf engine", "ours"),
        Contestant("generate", "generate", rows=n_draws),
        Contestant("generate, 4 prompts a call", "generate", {"prompts_per_call": 4}, rows=4 * n_draws),
        Contestant("generate, 16 prompts a call", "generate", {"prompts_per_call": 16}, rows=16 * n_draws),
        Contestant("generate, shared prefill", "generate", {"shared_prefill": True}, rows=n_draws),
    ]
    options = {"gib": 4 if device == "cuda" else 0.25, "matmul": 8192 if device == "cuda" else 1024, "products": []}
    worker = Worker(Contestant("limits", "limits", options), team_machine, {"name": "gpu"}, work)
    limits = {k: v for k, v in worker.order("measure").items() if k == "bandwidth" or k.startswith("peak_")}
    limits.pop("peak_bytes", None)
    worker.close()
    raw = raw_of("gpu", prompts=n_prompts, draws=n_draws, shape=shape.name, device=device)
    with Team(team_machine, spec, work, raw) as team:
        for repeat in range(repeats):
            for one in everyone:
                team.run(one, "sample", (list(range(n_prompts)), n_draws, 1000 + repeat), repeat=repeat)
    table = report.sampling_table(raw, shape, made, everyone, everyone, limits, n_draws, clock="wall_s")
    raw.done()
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return {"limits": limits, "models": {shape.name: table}, "device": name, "rows": report.kept_rows(raw)}


def lines(part: dict[str, Any]) -> list[str]:
    """The part's section of results.md."""
    title = f"Sampling on a GPU ({part['device']})" if "device" in part else "Sampling on a GPU"
    return report.part_lines(title, part, "mean_length")
