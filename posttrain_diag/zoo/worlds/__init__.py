"""The worlds of the zoo, and their families by name."""

from __future__ import annotations

from collections.abc import Mapping

from posttrain_diag.errors import UsageError
from posttrain_diag.zoo.family import Family, World
from posttrain_diag.zoo.worlds.stories import STORIES
from posttrain_diag.zoo.worlds.strings import STRINGS
from posttrain_diag.zoo.worlds.sums import SUMS

WORLDS: Mapping[str, World] = {world.name: world for world in (STRINGS, SUMS, STORIES)}
FAMILIES: Mapping[str, Family] = {fam.name: fam for world in WORLDS.values() for fam in world.families}
"""Every family of every world by name."""
_WORLD_OF = {fam.name: world for world in WORLDS.values() for fam in world.families}


def family(name: str) -> Family:
    """Look up the family called `name`.

    Raises:
        UsageError: there is no such family.
    """
    if name not in FAMILIES:
        raise UsageError(
            f"there is no zoo family {name!r}; families: {', '.join(FAMILIES)} (tasks: builtin:zoo/FAMILY)"
        )
    return FAMILIES[name]


def world_of(fam: Family) -> World:
    """The world a family belongs to."""
    return _WORLD_OF[fam.name]


def pretraining_families(world: World, model: str) -> tuple[Family, ...]:
    """The families a pre-trained model sees: one per slot, its own where it has one (F15 for `frontier`)."""
    chosen: dict[str, Family] = {}
    for fam in world.families:
        if fam.prompts_of not in chosen or fam.model == model:
            chosen[fam.prompts_of] = fam
    return tuple(chosen.values())


__all__ = ["FAMILIES", "STORIES", "STRINGS", "SUMS", "WORLDS", "family", "pretraining_families", "world_of"]
