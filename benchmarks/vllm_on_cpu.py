"""What real vLLM on a CPU needs: a zoo model with attention heads twice as wide, and an environment for its process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path


def widen_heads(source: Path, target: Path) -> Path:
    """Copy a Llama-shaped model with head size d as one with head size 2d and the same law.

    Rotary frequencies of size 2d hold those of size d at every second place, so dimension i of each half goes to 2i;
    the rest is zero. Scores are divided by sqrt(2d) instead of sqrt(d), so queries are scaled by sqrt(2).
    """
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    config = json.loads((source / "config.json").read_text())
    size = config["head_dim"]
    half = size // 2
    places = torch.tensor([2 * i for i in range(half)] + [2 * i + size for i in range(half)])
    weights = load_file(source / "model.safetensors")
    for name, value in weights.items():
        if not name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")):
            continue
        columns = name.endswith("o_proj.weight")
        rows = value.T if columns else value
        heads = rows.shape[0] // size
        wide = torch.zeros(heads, 2 * size, rows.shape[1], dtype=value.dtype)
        wide[:, places] = rows.reshape(heads, size, -1)
        if name.endswith("q_proj.weight"):
            wide *= 2**0.5
        wide = wide.reshape(heads * 2 * size, -1)
        weights[name] = (wide.T if columns else wide).contiguous()
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps({**config, "head_dim": 2 * size}))
    return target


def environment() -> dict[str, str]:
    """The environment of a process with vLLM: one thread, bound to no core, a small cache, and none of our paths."""
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | own | {"VLLM_NO_USAGE_STATS": "1"}


def train_command(python: str, stage: str, model: Path, tasks: str, out: Path, settings: Sequence[str]) -> list[str]:
    """The command `diag train` for a Python that has vLLM and posttrain-diag[train].

    Its result is the JSON at the end of stdout.

    Args:
        python: the interpreter.
        stage: name of the stage.
        model: directory of the model.
        tasks: the tasks to train on and to be measured on.
        out: folder of the stage.
        settings: stage settings, as KEY=VALUE.
    """
    return [
        python, "-m", "posttrain_diag", "train", "--model", str(model), "--stage", stage, "--json", "--quiet",
        "--tasks", tasks, "--teacher", "zoo:teacher", "--out", str(out),
        *(part for setting in settings for part in ("--set", setting)),
    ]  # fmt: skip
