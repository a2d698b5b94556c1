"""The grid of the stage benchmarks: situations of the zoo x stages x what the user has, as `diag train` runs them.

A situation is a model with a task set; a variant is a stage with settings, nearly always its defaults; a flavour is what
the user has less of than everything. `stages` shows the full flavour as a table, `regret` asks which stage
pays in each situation and setting; both read the same records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from posttrain_diag.stages import StageInputs
from posttrain_diag.tasks.problems.split import take_watched
from posttrain_diag.types import Pair, Problem
from posttrain_diag.zoo import WORLDS, World, family, family_of, mastered_problems, problems, resolve_model

Flavour = Literal["full", "16 demos", "300 demos"]
TRAIN, TAUGHT, HELD_OUT, WATCHED, RETAINED = 300, 2000, 64, 32, 100
"""Training problems; those where something new is taught, which takes many; held-out and watched problems; retained ones
per mastered family, half of which may be replayed."""
FEW_DEMOS = 16
"""Problems with a demonstration in the flavour of that name; that of 300 shows what new skills need."""
SMALL_BUDGET = 120_000
"""Generated and trained tokens of the setting with little compute: read off the looks of whole runs."""
NEW = {"F", "F15", "T", "U"}
"""Parts whose answers the model does not draw."""
GIVEN = {"sft", "filter", "distill-offline", "distill-onpolicy", "interleaved", "sft-model-aware"}
"""Stages to which responses are given; what is new needs many of them."""


@dataclass(frozen=True)
class Situation:
    """A model with the tasks that it fails on."""

    name: str
    model: str
    families: tuple[str, ...]
    teachers: tuple[str, ...]
    siblings: tuple[str, ...] = ()
    in_table: bool = True
    """Part of the table of stages; the others join it for the question which stage pays."""

    @property
    def world(self) -> World:
        """Its families' world."""
        return next(world for world in WORLDS.values() if family(self.families[0]) in world.families)

    @property
    def new(self) -> bool:
        """Whether something is to be taught that the model never draws."""
        return any(name.rpartition("-")[2] in NEW for name in self.families)


_TEACHER = ("zoo:teacher",)
SITUATIONS: Mapping[str, Situation] = {
    s.name: s
    for s in (
        *(Situation(name, "zoo:base", (name,), _TEACHER) for name in ("S", "N", "H", "G", "F")),
        Situation("F15", "zoo:frontier", ("F15",), _TEACHER),
        *(Situation(name, "zoo:base", (name,), _TEACHER) for name in ("T", "U")),
        # ckA solves T and never U; ckB solves U and has lost all else
        Situation("pair", "zoo:ckA", ("T", "U"), ("zoo:ckA", "zoo:ckB"), ("zoo:ckB",)),
        Situation("S+T", "zoo:base", ("S", "T"), _TEACHER, in_table=False),
        Situation("sums-S", "zoo:sums", ("sums-S",), (), in_table=False),
        Situation("sums-F", "zoo:sums", ("sums-F",), (), in_table=False),
        Situation("sums-T", "zoo:sums", ("sums-T",), ("zoo:sums-ckA",), in_table=False),
        Situation("stories-G", "zoo:stories", ("stories-G",), (), in_table=False),
    )
}


@dataclass(frozen=True)
class Variant:
    """A stage with the settings that make one row of the table."""

    name: str
    stage: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    only: tuple[str, ...] = ()
    """Situations it is run on; empty: all."""
    retained: int = RETAINED
    """Tasks to retain per mastered family."""


_FEW_DRAWS = {"own_rollouts": 4, "keep_per_problem": 1}
"""Teachers that solve nearly everything need few draws."""
STAGES: tuple[Variant, ...] = (
    Variant("sft", "sft"),
    Variant("grpo", "grpo"),
    Variant("guided-rl", "guided-rl"),
    Variant("rft", "rft"),
    Variant("distill-onpolicy", "distill-onpolicy"),
    Variant("distill-offline", "distill-offline", _FEW_DRAWS),
    Variant("sft-model-aware", "sft-model-aware"),
    Variant("preference", "preference"),
    Variant("online-preference", "online-preference", {"rounds": 3}),
    Variant("interleaved", "interleaved"),
    Variant("search-transfer", "search-transfer"),
    Variant("process-rl", "process-rl"),
    Variant("rloo", "rloo"),
    Variant("filter", "filter"),
    Variant("replay", "replay"),
    Variant("merge", "merge", only=("pair",)),
)
"""Every stage of the catalogue, as `diag train` runs it."""
OTHERS: tuple[Variant, ...] = (
    Variant("sft, more to retain", "sft", only=("T",), retained=150),
    # uniting the pair takes more than the defaults: the skill that the student lacks is in a third of the rows
    Variant(
        "distill-offline, longer",
        "distill-offline",
        {**_FEW_DRAWS, "replay": 0.3, "steps": 900, "learning_rate": 3e-3},
        ("pair",),
    ),
    Variant("sft without replay", "sft", {"replay": 0.0}, ("S", "G", "T", "F15")),
    Variant("grpo without replay", "grpo", {"replay": 0.0}, ("S", "G")),
    Variant("guided-rl without replay", "guided-rl", {"replay": 0.0}, ("F15",)),
    Variant("preference without replay", "preference", {"replay": 0.0}, ("S", "N")),
    Variant("distill-onpolicy without replay", "distill-onpolicy", {"replay": 0.0}, ("S", "F15")),
    Variant("distill-offline, logits", "distill-offline", {**_FEW_DRAWS, "target": "logits"}, ("S", "T")),
    Variant("sft-model-aware, dft", "sft-model-aware", {"demo_style": "probability-weighted"}, ("S", "T")),
    Variant("rft, 3 rounds", "rft", {"rounds": 3}, ("N", "H")),
)
"""The same stages with other settings, where they tell something."""
VARIANTS = (*STAGES, *OTHERS)


@dataclass(frozen=True)
class Case:
    """One run, but for its seed."""

    variant: Variant
    situation: Situation
    flavour: Flavour = "full"

    @property
    def name(self) -> str:
        """Unique in the grid."""
        extra = "" if self.flavour == "full" else f" ({self.flavour})"
        return f"{self.variant.name} on {self.situation.name}{extra}"


def possible(variant: Variant, situation: Situation) -> bool:
    """Whether the situation holds what the stage needs, and the variant is meant for it."""
    if variant.only and situation.name not in variant.only:
        return False
    return bool(situation.teachers) or not variant.stage.startswith("distill")


def table_cases(variants: tuple[Variant, ...] = VARIANTS) -> Iterator[Case]:
    """The cells of the table of stages."""
    for variant in variants:
        for situation in SITUATIONS.values():
            if situation.in_table and possible(variant, situation):
                yield Case(variant, situation)


def regret_cases() -> Iterator[Case]:
    """What the question which stage pays needs beyond the table: more situations, and fewer demonstrations."""
    for situation in SITUATIONS.values():
        for variant in STAGES:
            if not possible(variant, situation):
                continue
            if not situation.in_table:
                yield Case(variant, situation)
            if variant.stage in {"sft", "sft-model-aware", "guided-rl", "interleaved"}:
                yield Case(variant, situation, "16 demos")
            if variant.stage == "sft" and situation.new:
                yield Case(variant, situation, "300 demos")


def inputs_of(case: Case, seed: int) -> StageInputs:
    """Problems, teachers and siblings of a case. Training and held-out problems never overlap, whatever the seed."""
    situation, names = case.situation, case.situation.families
    many = TAUGHT if case.variant.stage in GIVEN and situation.new and case.flavour == "full" else TRAIN
    train = tuple(row for name in names for row in _training(name, many // len(names), seed))
    if case.flavour == "16 demos":
        kept = {row.id for rows in (_of(train, name) for name in names) for row in rows[: FEW_DEMOS // len(names)]}
        train = tuple(row if row.id in kept else replace(row, demos=(), pairs=()) for row in train)
    elif case.variant.stage == "filter":  # half of the demonstrations are wrong: that is what it is for
        train = tuple(replace(row, demos=(row.pairs[0].rejected,)) if _spoiled(row) else row for row in train)
    train, watched = take_watched(train, WATCHED, seed=seed)
    return StageInputs(
        _directory(situation.model),
        train,
        watched,
        held_out(situation, seed),
        mastered_problems(situation.world, case.variant.retained),
        tuple(_directory(name) for name in situation.teachers),
        tuple(_directory(name) for name in situation.siblings),
    )


def _spoiled(row: Problem) -> bool:
    """Half of the problems, by a hash: every other one would be all of some word lengths."""
    return hashlib.blake2b(row.id.encode(), digest_size=1).digest()[0] % 2 == 1


def held_out(situation: Situation, seed: int) -> tuple[Problem, ...]:
    """The problems that every claim is measured on."""
    names = situation.families
    return tuple(row for name in names for row in problems(name, HELD_OUT // len(names), seed=seed))


def _directory(name: str) -> str:
    return str(resolve_model(name))


def _of(rows: tuple[Problem, ...], name: str) -> list[Problem]:
    return [row for row in rows if family_of(row).name == name]


def _training(name: str, n: int, seed: int) -> tuple[Problem, ...]:
    """Training problems with demonstrations in the family's first style, and a pair: that against a usual failure."""
    rows: list[Problem] = []
    for row in problems(name, n, split="training", seed=seed):
        fam = family(family_of(row).name)
        wrong = fam.wrong[0](fam.word(row.prompt or ""))
        rows.append(replace(row, id=f"train-{row.id}", pairs=(Pair(row.demos[0], wrong),)))
    return tuple(rows)
