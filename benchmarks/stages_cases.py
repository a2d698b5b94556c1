"""The grid of the stages benchmark: every stage on every bottleneck of the zoo, as a user with everything would run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from posttrain_diag.stages import StageInputs, take_watched
from posttrain_diag.types import Pair, Problem
from posttrain_diag.zoo import family, family_of, mastered_problems, problems, resolve_model

FAMILIES: Mapping[str, str] = {
    "S": "base",
    "N": "base",
    "H": "base",
    "G": "base",
    "F": "base",
    "F15": "frontier",
    "T": "base",
    "U": "base",
    "pair": "ckA",
}
"""Family -> the model whose bottleneck it is; "pair": ckA solves T and never U, ckB solves U and has lost all else."""
TRAIN, TAUGHT, HELD_OUT, WATCHED, RETAINED = 300, 2000, 64, 32, 150
"""Training problems of stages that draw their own rollouts, and of those that are given responses; held-out and watched
problems; retained ones per mastered family, half of which may be replayed."""
GIVEN = {"sft", "filter", "distill-offline", "distill-onpolicy", "interleaved", "preference"}
"""Stages to which responses are given: they cost nothing to make in the zoo, and what is new needs many."""
NEW = {"replay": 0.5, "steps": 400, "learning_rate": 2e-3}
"""What a new skill takes, beside what must be kept (TRAINERS.md, and the zoo's own recipe of ckA)."""
UNITING = {"replay": 0.3, "steps": 900, "learning_rate": 3e-3}
"""What uniting the pair takes: the skill that the student lacks is in a third of the rows."""
FEW_DRAWS = {"own_rollouts": 4, "keep_per_problem": 1}
"""Teachers that solve nearly everything need few draws."""


@dataclass(frozen=True)
class Variant:
    """A stage with the settings that make one row of the table."""

    name: str
    stage: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


VARIANTS: tuple[Variant, ...] = (
    Variant("sft", "sft"),
    Variant("sft + replay", "sft", NEW),
    Variant("sft-model-aware", "sft-model-aware"),
    Variant("sft-model-aware (dft)", "sft-model-aware", {"demos": "probability-weighted"}),
    Variant("filter", "filter"),
    Variant("rft", "rft"),
    Variant("rft, 3 rounds", "rft", {"rounds": 3}),
    Variant("preference", "preference"),
    Variant("online-preference", "online-preference", {"rounds": 3}),
    Variant("grpo", "grpo"),
    Variant("grpo without replay", "grpo", {"replay": 0.0}),
    Variant("rloo", "rloo"),
    Variant("guided-rl", "guided-rl"),
    Variant("guided-rl without replay", "guided-rl", {"replay": 0.0}),
    Variant("process-rl", "process-rl"),
    Variant("interleaved", "interleaved"),
    Variant("distill-offline", "distill-offline", FEW_DRAWS),
    Variant("distill-offline + replay", "distill-offline", {**FEW_DRAWS, **NEW}),
    Variant("consolidation", "distill-offline", {**FEW_DRAWS, **UNITING}),
    Variant("distill-offline (logits)", "distill-offline", {**FEW_DRAWS, "target": "logits"}),
    Variant("distill-onpolicy", "distill-onpolicy"),
    Variant("distill-onpolicy + replay", "distill-onpolicy", {"replay": 0.5}),
    Variant("search-transfer", "search-transfer"),
    Variant("merge", "merge"),
    Variant("replay", "replay"),
)


@dataclass(frozen=True)
class Case:
    """One cell of the table."""

    variant: Variant
    family: str

    @property
    def name(self) -> str:
        """Unique in the grid."""
        return f"{self.variant.name} on {self.family}"


def cases() -> Iterator[Case]:
    """Every cell that has a meaning: merging needs checkpoints of one origin, the others a task set."""
    for variant in VARIANTS:
        for name in FAMILIES:
            if name == "pair" or not (variant.stage == "merge" or variant.name == "consolidation"):
                yield Case(variant, name)


def inputs_of(case: Case, seed: int) -> StageInputs:
    """Problems, teachers and siblings of a cell. Training and held-out problems never overlap, whatever the seed."""
    names = ("T", "U") if case.family == "pair" else (case.family,)
    many = TAUGHT if case.variant.stage in GIVEN else TRAIN
    train = tuple(row for name in names for row in _training(name, many // len(names), seed))
    held_out = tuple(row for name in names for row in problems(name, HELD_OUT // len(names), seed=seed))
    train, watched = take_watched(train, WATCHED, seed=seed)
    model, pair = str(resolve_model(f"zoo:{FAMILIES[case.family]}")), case.family == "pair"
    teachers = ("zoo:ckA", "zoo:ckB") if pair else ("zoo:teacher",)
    siblings = ("zoo:ckB",) if pair else ()
    return StageInputs(
        model,
        train,
        watched,
        held_out,
        mastered_problems(per_family=RETAINED),
        tuple(str(resolve_model(name)) for name in teachers),
        tuple(str(resolve_model(name)) for name in siblings),
    )


def _training(name: str, n: int, seed: int) -> tuple[Problem, ...]:
    """Training problems with demonstrations in the family's first style, and a pair: that against a usual failure."""
    rows: list[Problem] = []
    for row in problems(name, n, split="training", seed=seed):
        fam = family(family_of(row).name)
        wrong = fam.wrong[0](fam.word(row.prompt or ""))
        rows.append(replace(row, id=f"train-{row.id}", pairs=(Pair(row.demos[0], wrong),)))
    return tuple(rows)
