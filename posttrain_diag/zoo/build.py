"""Trains zoo models on a CPU, about 4 minutes for a pre-trained one.

A finished model is a plain Hugging Face directory plus `build.json`, which says how it was made. Models are written
to a temporary directory and renamed; a rerun keeps what is finished.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from posttrain_diag.errors import UsageError
from posttrain_diag.zoo.model import load_model, new_model, one_thread
from posttrain_diag.zoo.paths import BUILD_FILE, shipped_models
from posttrain_diag.zoo.recipes import RECIPES, Recipe
from posttrain_diag.zoo.training import TrainingProgress, train
from posttrain_diag.zoo.vocabulary import BOS_ID, EOS_ID, PAD_ID

_VERSION = 1
"""Version of the recipes; it goes up when the same recipe would give other weights."""


def build(
    names: Sequence[str],
    out_dir: str | Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    progress: TrainingProgress | None = None,
) -> dict[str, Path]:
    """Train zoo models on this machine's CPU.

    A parent that was not asked for is taken from `out_dir`, else from the shipped models, else it is built too.

    Args:
        names: models to build, of `RECIPES`.
        out_dir: each model lands in `out_dir/NAME`; a finished one made the same way is kept.
        seed: seeds weights and examples; the same seed gives the same weights on the same machine.
        steps: training steps of every model; None: as its recipe says.
        progress: called as progress(model name, steps done, steps in all, loss in nats per token).

    Returns:
        Directory of each name asked for.

    Raises:
        UsageError: a name is unknown, `steps` < 1, or `out_dir/NAME` exists and is not a zoo model.
    """
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise UsageError(f"unknown zoo models {unknown}; models that can be built: {', '.join(RECIPES)}")
    if steps is not None and steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}; leave it out for the recipes' own")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    available = {**shipped_models(), **{n: out / n for n in RECIPES if (out / n / BUILD_FILE).exists()}}
    for name in _to_build(names, available):
        recipe = RECIPES[name]
        if steps is not None:
            recipe = replace(recipe, schedule=replace(recipe.schedule, steps=steps))
        start = None if recipe.parent is None else available[recipe.parent]
        available[name] = _build_one(recipe, start, out / name, seed=seed, progress=progress)
    return {name: out / name for name in names}


def _to_build(names: Sequence[str], available: Mapping[str, Path]) -> list[str]:
    """The models asked for and the ancestors that do not exist yet, parents first."""
    needed = set(names)
    for name in reversed(tuple(RECIPES)):
        parent = RECIPES[name].parent
        if name in needed and parent and parent not in available:
            needed.add(parent)
    return [name for name in RECIPES if name in needed]


def _build_one(
    recipe: Recipe, parent: Path | None, target: Path, *, seed: int, progress: TrainingProgress | None
) -> Path:
    made = _how(recipe, parent, seed)
    if target.exists():
        if not (target / BUILD_FILE).exists():
            raise UsageError(
                f"{target} exists and is not a zoo model (no {BUILD_FILE}); remove it or choose another directory"
            )
        if json.loads((target / BUILD_FILE).read_text()) == made:
            return target
    with one_thread():
        vocabulary = recipe.world.vocabulary
        if parent is None:
            model = new_model(seed, vocabulary, recipe.architecture or recipe.world.architecture)
        else:
            model = load_model(parent, vocabulary)
        train(
            model,
            recipe.examples(),
            recipe.schedule,
            vocabulary,
            seed=seed,
            chat=recipe.chat,
            name=recipe.name,
            progress=progress,
        )
    _save(model, recipe, made, target)
    return target


def _how(recipe: Recipe, parent: Path | None, seed: int) -> dict[str, Any]:
    """Everything that decides the weights, in the form in which build.json holds it."""
    ancestor: Any = None
    if parent is not None and (parent / BUILD_FILE).exists():
        ancestor = json.loads((parent / BUILD_FILE).read_text())
    return {
        "version": _VERSION,
        "name": recipe.name,
        "seed": seed,
        "schedule": asdict(recipe.schedule),
        "parent": ancestor,
    }


def _save(model: Any, recipe: Recipe, made: Mapping[str, Any], target: Path) -> None:
    """Write the model's directory under a temporary name, then rename."""
    import torch
    from transformers import GenerationConfig

    model.to(getattr(torch, recipe.dtype))
    model.generation_config = GenerationConfig(bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=PAD_ID)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fresh = scratch / "new"
        model.save_pretrained(fresh)
        recipe.world.vocabulary.tokenizer(chat=recipe.chat).save_pretrained(fresh)
        (fresh / BUILD_FILE).write_text(json.dumps(made, indent=1) + "\n")
        if target.exists():
            target.rename(scratch / "old")
        fresh.rename(target)
    finally:
        shutil.rmtree(scratch)
