"""Weights that a trainer cuts into pieces: whether this launch does so, and how the pieces become whole again.

FSDP and DeepSpeed are set up by `accelerate launch`; a stage only reads what came out of it. Everything here that
yields weights is a collective: all processes take part, or all wait for ever.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.stage import StageConfig

if TYPE_CHECKING:
    import torch


def launch_config(name: str) -> Path:
    """The file that `accelerate launch --config_file` takes for a way of spreading a stage over GPUs.

    Raises:
        UsageError: there is no file for that way.
    """
    folder = Path(str(files("posttrain_diag") / "data" / "accelerate"))
    found = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if name not in found:
        raise UsageError(f"there is no launch configuration {name!r}; there are: {', '.join(found)}")
    return found[name]


def launched_sharded() -> str | None:
    """How the launcher told accelerate to shard the weights: "FSDP", "DeepSpeed", or None where they stay whole."""
    for name, variable in (("FSDP", "ACCELERATE_USE_FSDP"), ("DeepSpeed", "ACCELERATE_USE_DEEPSPEED")):
        if os.environ.get(variable, "false").lower() == "true":
            return name
    return None


def check_launch(config: StageConfig) -> None:
    """Refuse what sharded weights cannot do, and have every process load them whole.

    Raises:
        UsageError: an adapter is to be trained, or FSDP is not version 2.
    """
    sharded = launched_sharded()
    if sharded is None:
        return
    if config.lora_rank:
        raise UsageError(
            f"lora_rank {config.lora_rank} with {sharded}: each process keeps whole weights to sample from, and an "
            "adapter has next to no optimizer state to cut up; launch it with ddp.yaml (diag stages --launch ddp)"
        )
    if sharded == "FSDP" and os.environ.get("FSDP_VERSION", "1") != "2":
        raise UsageError(
            "FSDP version 1 is on its way out of transformers, and stages do not take it: set fsdp_version: 2 in the "
            "accelerate config, or launch it with fsdp2.yaml (diag stages --launch fsdp2)"
        )
    from accelerate.utils import disable_fsdp_ram_efficient_loading

    disable_fsdp_ram_efficient_loading()  # teachers and references would be empty on all processes but one


def is_sharded(trainer: Any) -> bool:
    """Whether a trainer holds its weights in another form than the model that it was given."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def gathered(trainer: Any, names: Container[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and whole value of each weight as it is now, one after the other: only one at a time is held twice.

    Args:
        trainer: the trainer whose weights are sharded, between two of its optimizer steps.
        names: which weights, by their names in the bare model; the same on all processes.

    Yields:
        Values of the shapes in the bare model. With DeepSpeed they are the float32 weights that its optimizer keeps,
        not the rounded ones that it computes with.
    """
    if trainer.is_deepspeed_enabled:
        from deepspeed.utils import safe_get_full_fp32_param  # pyright: ignore[reportMissingImports]

        for name, parameter in trainer.model_wrapped.module.named_parameters():
            if name in names:
                yield name, safe_get_full_fp32_param(parameter)
        return
    from accelerate.utils import fsdp2_canonicalize_names

    shards = (
        trainer.model_wrapped.state_dict()
    )  # unlike parameters(): cut up, whatever the last forward pass left whole
    for name, shard in fsdp2_canonicalize_names(shards).items():
        if name in names:
            yield name, shard.full_tensor()
