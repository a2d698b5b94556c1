"""The question of the regret benchmark: situations, what the user has, which stages that allows, and what each was worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.records import Record
from benchmarks.stages.cases import FEW_DEMOS, SITUATIONS, SMALL_BUDGET, STAGES, Situation, Variant, possible
from benchmarks.stages.run import within
from posttrain_diag.recommend import Resources
from posttrain_diag.recommend.forecast import RETENTION_WEIGHT
from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.types import Plan

BUDGET = 1_500_000
"""Generated and trained tokens that every stage may spend; what a longer run had reached by then is read off its looks."""
NOTHING = "nothing"
"""Leaving the model as it is: utility 0."""


@dataclass(frozen=True)
class Setting:
    """What the user has."""

    name: str
    demos: bool = True
    few: bool = False
    pairs: bool = True
    verifier: bool = True
    teacher: bool = True
    siblings: bool = True
    small: bool = False

    def resources(self, situation: Situation, demos: int) -> Resources:
        """As `diag recommend` is told; `demos`: training problems with a demonstration where all have one."""
        return Resources(
            demos=(FEW_DEMOS if self.few else demos) if self.demos else 0,
            pairs=268 if self.pairs else 0,
            verifier=self.verifier,
            teacher=self.teacher and bool(situation.teachers),
            siblings=self.siblings and bool(situation.siblings),
            retained=True,
            budget_tokens=SMALL_BUDGET if self.small else None,
        )


SETTINGS: tuple[Setting, ...] = (
    Setting("all resources"),
    Setting("no demonstrations", demos=False, pairs=False),
    Setting("16 demonstrations only", few=True, pairs=False, teacher=False, siblings=False),
    Setting("pairs, no verifier", demos=False, verifier=False, teacher=False, siblings=False),
    Setting("teacher", demos=False, pairs=False, siblings=False),
    Setting("small compute", small=True),
)


@dataclass(frozen=True)
class Question:
    """A situation in a setting."""

    situation: Situation
    setting: Setting

    def admissible(self) -> Iterator[Variant]:
        """The stages that the setting allows, each with what it needs."""
        has = self.setting.resources(self.situation, 1)
        for variant in STAGES:
            if variant.stage == "replay" or (variant.stage == "filter" and self.setting.few):
                continue  # an option of the others; with a few right demonstrations it is sft
            if possible(variant, self.situation) and not stage_record(variant.stage).lacks(has.there):
                yield variant

    def runs_of(self, variant: Variant, records: Sequence[Record]) -> list[Record]:
        """The runs of a stage with what the setting gives it."""
        few = self.setting.few and "demos" in stage_record(variant.stage).needs
        wanted = (variant.name, self.situation.name, "16 demos" if few else "full")
        return [run for run in records if (run["variant"], run["situation"], run["flavour"]) == wanted]


def questions() -> Iterator[Question]:
    """All of them; a teacher's setting only where there is one."""
    for situation in SITUATIONS.values():
        for setting in SETTINGS:
            if setting.name != "teacher" or situation.teachers:
                yield Question(situation, setting)


def utilities(question: Question, records: Sequence[Record]) -> dict[str, float]:
    """Held-out utility of every admissible stage, mean over seeds: gain less half of the retention lost.

    Empty where a stage has not been run yet: an unfinished question is none.
    """
    budget = SMALL_BUDGET if question.setting.small else BUDGET
    out: dict[str, float] = {NOTHING: 0.0}
    for variant in question.admissible():
        runs = question.runs_of(variant, records)
        if not runs:
            return {}
        worth = [utility(run if "refused" in run else within(run, budget)) for run in runs]
        out[variant.stage] = sum(worth) / len(worth)
    return out


def utility(run: Record) -> float:
    """Gain of one run less half of the retention lost; a refused stage changes nothing."""
    if "refused" in run:
        return 0.0
    gain = run["pass@1"][1] - run["pass@1"][0]
    return gain - RETENTION_WEIGHT * max(0.0, run["retention"][0] - run["retention"][1])


def first_of(plan: Plan | None, worth: Mapping[str, float]) -> str:
    """The stage that a plan puts first among those that can run."""
    ready = (p.stage for p in plan.proposals if not p.needs and p.stage in worth) if plan else iter(())
    return next(ready, NOTHING)


def fixed(name: str, pass_1: float, able: Sequence[str]) -> str:
    """What a fixed recipe does where it can; else nothing.

    Args:
        name: of the recipe.
        pass_1: of the model now.
        able: admissible stages.
    """
    band = ("grpo",) if 0.1 <= pass_1 <= 0.7 else ("sft",) if pass_1 < 0.1 else ()
    wanted: Mapping[str, Sequence[str]] = {
        "always SFT": ("sft",),
        "always GRPO": ("grpo",),
        "SFT, then GRPO": ("sft", "grpo"),  # the first of the two that can run; the grid holds single stages
        "RFT": ("rft",),
        "10-70% band": band,
    }
    return next((stage for stage in wanted[name] if stage in able), NOTHING)


RECIPES = ("always SFT", "always GRPO", "SFT, then GRPO", "RFT", "10-70% band")

ALIKE = 0.02
"""A pick agrees with the oracle when its utility is not lower by more: seeds differ by as much."""
OPEN = 0.05
"""There is something to gain in a question whose oracle reaches more."""
Answer = dict[str, Any]
"""One question: "setting", "oracle_utility", and "utilities" by who picks."""


def regret(answers: Sequence[Answer], name: str) -> float:
    """Utility lost against the oracle, as a share of the oracle's, where there is something to gain."""
    rows = [a for a in answers if a["oracle_utility"] > OPEN]
    lost = sum(a["oracle_utility"] - a["utilities"][name] for a in rows)
    return lost / max(1e-9, sum(a["oracle_utility"] for a in rows))


def agreement(answers: Sequence[Answer], name: str) -> float:
    """Share of the questions in which a pick is as good as the oracle's."""
    return float(np.mean([a["utilities"][name] >= a["oracle_utility"] - ALIKE for a in answers]))


def by_setting(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Mean utility of everyone, and of the oracle, in each setting."""
    out: dict[str, dict[str, float]] = {}
    for setting in SETTINGS:
        if rows := [a for a in answers if a["setting"] == setting.name]:
            out[setting.name] = {n: float(np.mean([a["utilities"][n] for a in rows])) for n in rows[0]["utilities"]}
            out[setting.name]["oracle"] = float(np.mean([a["oracle_utility"] for a in rows]))
    return out


def recipe_ahead(answers: Sequence[Answer], name: str) -> float:
    """By how much a fixed recipe is ahead in a setting, at most."""
    return max(max(v[n] for n in RECIPES) - v[name] for v in by_setting(answers).values())
