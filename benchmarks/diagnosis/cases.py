"""The cases of the diagnosis benchmark whose bottleneck is known: families, mixtures, consolidation pairs, little data.

A case is built from a seed: its problems are drawn afresh (seed 0: the shipped tasks), its draws have the seed's law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain_diag.tasks import write_tasks
from posttrain_diag.types import Problem
from posttrain_diag.zoo import WORLDS, World, list_models
from posttrain_diag.zoo.problems import mix, problems

Kind = Literal["bottleneck", "mixture", "consolidation", "style", "trap", "few"]
PROBLEMS = 40


@dataclass(frozen=True)
class Inputs:
    """What one run of `diag analyze` gets."""

    model: str
    tasks: Path
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further settings of `AnalyzeConfig`."""


@dataclass(frozen=True)
class Case:
    """One situation a practitioner may be in."""

    name: str
    kind: Kind
    build: Callable[[Path, int], Inputs]
    """(scratch directory, seed) -> inputs."""
    accepted: tuple[str, ...] = ()
    """Verdicts that are right; empty: what the exact success probabilities of the problems say."""
    quick: bool = False
    """Part of the subset that CI runs."""


def saved(rows: tuple[Problem, ...] | list[Problem], work: Path) -> Path:
    """Problems as a tasks file in the scratch directory."""
    work.mkdir(parents=True, exist_ok=True)
    write_tasks(rows, work / "tasks.jsonl")
    return work / "tasks.jsonl"


def name_in(world: World, letter: str) -> str:
    """What plays a part in a world: S or ckA in strings, sums-S or sums-ckA in sums; `+`: the first mastered family."""
    if letter == "+":
        return world.mastered[0]
    return letter if world.name == "strings" else f"{world.name}-{letter}"


def drawn(name: str, seed: int, n: int = PROBLEMS) -> tuple[Problem, ...]:
    """Held-out problems of a family."""
    return problems(name, n, seed=seed)


def pretrained() -> Iterator[tuple[str, World, tuple[str, ...]]]:
    """(model, world, families) of every model that was pre-trained on families with a bottleneck."""
    for world in WORLDS.values():
        own: dict[str, list[str]] = {}
        for fam in world.families:
            own.setdefault(fam.model, []).append(fam.name)
        for model, names in own.items():
            yield model, world, tuple(names)
    stories = WORLDS["stories"]
    yield "stories-chat", stories, tuple(fam.name for fam in stories.families)


def _mixed(percent: Mapping[str, int], seed: int) -> tuple[Problem, ...]:
    return mix({name: round(PROBLEMS * share / 100) for name, share in percent.items()}, seed=seed)


def _family_case(model: str, name: str, quick: bool = False) -> Case:
    def build(work: Path, seed: int) -> Inputs:
        return Inputs(f"zoo:{model}", saved(drawn(name, seed), work))

    return Case(f"{model}: {name}", "bottleneck", build, quick=quick)


MIXTURES: tuple[Mapping[str, int], ...] = (
    {"S": 50, "T": 50},
    {"S": 80, "T": 20},
    {"T": 60, "+": 40},
    {"+": 95, "T": 5},
    {"G": 30, "+": 70},
    {"S": 40, "T": 30, "F": 30},
    {"F": 75, "N": 25},
    {"G": 50, "T": 50},
)
"""Shares of families by part, in percent; `+` is the world's first mastered family."""


def _mixture_case(model: str, world: World, shares: Mapping[str, int], quick: bool = False) -> Case:
    named = {name_in(world, part): n for part, n in shares.items()}

    def build(work: Path, seed: int) -> Inputs:
        return Inputs(f"zoo:{model}", saved(_mixed(named, seed), work))

    title = " ".join(f"{n}% {name}" for name, n in named.items())
    return Case(f"{model}: {title}", "mixture", build, quick=quick)


def _pair_cases(world: World) -> Iterator[Case]:
    """The pair of a world: ckA solves T, ckB was made from it, solves U and has lost T."""
    first, second = f"zoo:{name_in(world, 'ckA')}", f"zoo:{name_in(world, 'ckB')}"
    t, u, s = (name_in(world, letter) for letter in "TUS")
    origin = f"zoo:{world.families[0].model}"

    def on(model: str, other: str | None, shares: Mapping[str, int]) -> Callable[[Path, int], Inputs]:
        def build(work: Path, seed: int) -> Inputs:
            return Inputs(model, saved(_mixed(shares, seed), work), {"teacher": (other,)} if other else {})

        return build

    def title(model: str, other: str | None, shares: Mapping[str, int]) -> str:
        tasks = " ".join(f"{n}% {name}" for name, n in shares.items())
        return f"{model[4:]}: {tasks}" + (f", beside {other[4:]}" if other else "")

    both: Mapping[str, int] = {t: 60, u: 40}
    rows: tuple[tuple[str, str | None, Mapping[str, int], tuple[str, ...]], ...] = (
        (second, first, {t: 100}, ("consolidation",)),
        (second, first, both, ("consolidation",)),
        (first, second, {u: 100}, ("consolidation",)),
        (origin, first, {t: 100}, ("consolidation",)),
        (origin, first, {s: 100}, ("reshaping",)),
        (second, None, {t: 100}, ()),
        (first, None, {t: 100}, ()),
    )
    for i, (model, other, shares, accepted) in enumerate(rows):
        kind: Kind = "consolidation" if other else "bottleneck"
        yield Case(title(model, other, shares), kind, on(model, other, shares), accepted, quick=i == 0)


def _style_cases(world: World) -> Iterator[Case]:
    """Demonstrations in a style that is not the model's: their likelihood lies, sampling does not."""
    name = name_in(world, "S")

    def build(work: Path, seed: int) -> Inputs:
        rows = problems(name, PROBLEMS, seed=seed, style="direct")
        return Inputs(f"zoo:{world.families[0].model}", saved(rows, work))

    yield Case(f"{name} with demonstrations in a foreign style", "style", build, ("reshaping",))


def _few_cases(world: World) -> Iterator[Case]:
    """Too few problems or too few draws: the right verdict is that there is none yet."""
    model = f"zoo:{world.families[0].model}"

    def build_of(letter: str, n: int, rollouts: int) -> Callable[[Path, int], Inputs]:
        def build(work: Path, seed: int) -> Inputs:
            return Inputs(model, saved(drawn(name_in(world, letter), seed, n), work), {"rollouts": rollouts})

        return build

    for letter, n, rollouts in (("T", 3, 64), ("N", 3, 64), ("T", 20, 2), ("F", 20, 2), ("U", 40, 1), ("N", 12, 2)):
        title = f"{name_in(world, letter)}: {n} problems, {rollouts} rollouts each"
        # passes prove support however few the draws: then reshaping is right too
        right = ("undetermined", "reshaping") if (letter, n) == ("N", 12) else ("undetermined",)
        yield Case(title, "few", build_of(letter, n, rollouts), right, quick=(letter, n) == ("T", 3))


_QUICK = {"base: S", "base: G", "base: R", "frontier: F15", "sums: sums-T", "sums: sums-N", "stories: stories-F"}
_QUICK |= {"stories-chat: stories-S", "stories: stories-H"}


def clean_cases() -> list[Case]:
    """Every case whose instrument is sound."""
    cases: list[Case] = []
    for model, world, names in pretrained():
        cases += [_family_case(model, name, quick=f"{model}: {name}" in _QUICK) for name in names]
        if set(names) >= {name_in(world, letter) for letter in "STFNG"}:
            cases += [
                _mixture_case(model, world, shares, quick=model == "sums" and i == 0)
                for i, shares in enumerate(MIXTURES)
            ]
    for world in WORLDS.values():
        cases += [*_pair_cases(world), *_style_cases(world), *_few_cases(world)]
    return cases


def missing_models() -> list[str]:
    """Zoo models that the cases need and that are not at hand."""
    needed = {model for model, _, _ in pretrained()}
    for world in WORLDS.values():
        needed |= {name_in(world, "ckA"), name_in(world, "ckB")}
    return sorted(needed - {model.name for model in list_models() if model.path})
