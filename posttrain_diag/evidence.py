"""The evidence of a run: what was drawn and scored, and under which settings. Probes read it, nothing else.

Everything is recomputed from stored rollouts, so probes, diagnosis and report work without the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from posttrain_diag.config import LADDER_BY_EFFORT, AnalyzeConfig
from posttrain_diag.engines.base import EngineInfo, Tilt
from posttrain_diag.stats import ChanceFloor, Counts, MixingLaw, chance_floor, fit_mixing_law
from posttrain_diag.store import ScoreRow
from posttrain_diag.tasks import verify
from posttrain_diag.types import Problem, SamplingParams

MAIN = "main"
"""The arm of the plain prompt under the declared sampling law."""

NULL_PROBLEMS = 40
"""At most this many problems enter the permutation null, chosen evenly over the tasks file."""
NULL_DRAWS = 16
"""Draws per problem that are judged against other problems' answers."""


@dataclass(frozen=True)
class Settings:
    """The settings that verdicts depend on."""

    sampling: SamplingParams
    rollout_budget: int = 256
    mastery: float = 0.8
    level: float = 0.9
    ladder_rollouts: int = 16
    ks: tuple[int, ...] = ()
    """Further k whose pass@k is asked for."""

    @property
    def eps(self) -> float:
        """Effective-support threshold, 1 / rollout budget."""
        return 1.0 / self.rollout_budget

    @staticmethod
    def of(config: AnalyzeConfig, sampling: SamplingParams) -> Settings:
        """The settings of a config once the token cap is known."""
        return Settings(
            sampling=sampling,
            rollout_budget=config.rollout_budget,
            mastery=config.mastery,
            level=config.level,
            ladder_rollouts=LADDER_BY_EFFORT[config.effort],
        )


@dataclass(frozen=True)
class DrawSpec:
    """Draws a probe asks for: n draws of one problem under a variation of its prompt."""

    problem_id: str
    arm: str
    n: int
    response_prefix_ids: tuple[int, ...] = ()
    max_new_tokens: int | None = None
    """None: the cap of the main arm, less the tokens the prefix already holds."""
    tilt: Tilt | None = None
    """Draw from this proposal; then the rollouts carry policy_logprob and proposal_logprob."""


@dataclass(frozen=True)
class ScoreSpec:
    """A completion a probe wants scored."""

    problem_id: str
    kind: str
    completion: str


@dataclass(frozen=True)
class Needs:
    """What a probe wants measured on the model beyond the main arm."""

    draws: tuple[DrawSpec, ...] = ()
    scores: tuple[ScoreSpec, ...] = ()
    notes: tuple[str, ...] = ()
    """What it would have asked for and cannot, and why."""


@dataclass(frozen=True)
class Evidence:
    """All that is known about one model on one set of tasks."""

    problems: Mapping[str, Problem]
    """By id, in the order of the tasks file."""
    rollouts: pd.DataFrame
    """One row per rollout of any arm: the columns of `RolloutStore.frame`."""
    scores: Sequence[ScoreRow]
    settings: Settings
    model: EngineInfo | None
    """None for imported evidence."""
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Completions that a sound verifier passes, per problem; demos first."""
    notes: tuple[str, ...] = ()
    """What probes would have measured and could not."""
    counts: pd.DataFrame | None = None
    """Set when counts of the main arm are all there is (`diag import counts`): the columns of `table` but `lenient`,
    for nobody read the texts leniently; then `rollouts` is empty."""
    unrecorded: tuple[str, ...] = ()
    """What imported counts do not say, e.g. "truncated", "errored" (then 0 in `counts`), "temperature"."""

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Problem ids in the order of the tasks file; the order of every array with suffix _P."""
        return tuple(self.problems)

    def arm(self, name: str) -> pd.DataFrame:
        """The rollouts of one arm."""
        return self.rollouts[self.rollouts["arm"] == name]

    def arms(self, prefix: str) -> list[str]:
        """Names of the arms that begin with `prefix`, sorted."""
        names: list[str] = self.rollouts["arm"].unique().tolist()
        return sorted(name for name in names if name.startswith(prefix))

    def table(self, arm: str = MAIN) -> pd.DataFrame:
        """Counts per problem of one arm, indexed by problem id, in the order of `ids`.

        Columns: drawn, c (passed), failed, truncated, errored, lenient (lenient passes among finished draws),
        n (drawn - errored: what rates are taken over). drawn = c + failed + truncated + errored.
        """
        if self.counts is not None and arm == MAIN:
            return self.counts
        rows = self.arm(arm)
        counts = pd.crosstab(rows["problem_id"], rows["verdict"]) if len(rows) else pd.DataFrame()
        counts = counts.reindex(index=list(self.ids), columns=["pass", "fail", "truncated", "error"], fill_value=0)
        counts.columns = ["c", "failed", "truncated", "errored"]
        finished = rows[rows["verdict"].isin(["pass", "fail"]) & rows["lenient"]]
        counts["lenient"] = finished.groupby("problem_id").size().reindex(list(self.ids), fill_value=0)
        counts["drawn"] = counts[["c", "failed", "truncated", "errored"]].sum(axis=1)
        counts["n"] = counts["drawn"] - counts["errored"]
        counts.index.name = "id"
        return counts.astype(int)

    @cached_property
    def main(self) -> pd.DataFrame:
        """`table()` of the main arm."""
        return self.table(MAIN)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """Rows of `main` with at least one rollout that counts."""
        return self.main[self.main["n"] > 0]

    @cached_property
    def gold_passes(self) -> Mapping[str, bool]:
        """Do the demonstrations (else the completion built from the gold) pass? Per problem that has one."""
        out: dict[str, bool] = {}
        for key, problem in self.problems.items():
            texts = problem.demos or self.references.get(key, ())
            if texts:
                out[key] = all(verify(text, problem).strict for text in texts)
        return out

    @cached_property
    def chance_ids(self) -> tuple[str, ...]:
        """The problems of the permutation null, chosen evenly; verifiers that run code have no gold to exchange."""
        if self.counts is not None:
            return ()
        ids = [str(key) for key in self.measured.index if self._exchangeable(self.problems[str(key)])]
        finished = set(self.arm(MAIN).query("verdict in ('pass', 'fail')")["problem_id"])
        ids = [key for key in ids if key in finished]
        return tuple(ids[:: max(1, len(ids) // NULL_PROBLEMS)][:NULL_PROBLEMS])

    @staticmethod
    def _exchangeable(problem: Problem) -> bool:
        return problem.answer is not None and problem.verifier.get("type") != "python"

    @cached_property
    def chance(self) -> ChanceFloor | None:
        """pass@1 when answers are exchanged between problems; None with fewer than two problems to exchange."""
        ids = self.chance_ids
        if len(ids) < 2:
            return None
        rows = self.arm(MAIN)
        rows = rows[rows["problem_id"].isin(ids) & rows["verdict"].isin(["pass", "fail"])]
        texts = {str(key): group["text"].iloc[:NULL_DRAWS].value_counts() for key, group in rows.groupby("problem_id")}

        def passes(i: int, j: int) -> int:
            drawn = texts[ids[i]]
            return sum(int(n) for text, n in drawn.items() if verify(str(text), self.problems[ids[j]]).strict)

        sizes = [int(texts[key].sum()) for key in ids]
        return chance_floor(sizes, passes, seed=self.settings.sampling.seed, level=self.settings.level)

    @cached_property
    def law(self) -> MixingLaw:
        """The mixing law of p over the measured problems (rows of `measured`)."""
        return fit_law(self.measured, seed=self.settings.sampling.seed)


def fit_law(table: pd.DataFrame, *, seed: int) -> MixingLaw:
    """Fit the mixing law to the columns n, c of a counts table."""
    counts = Counts(table["n"].to_numpy(np.int64), table["c"].to_numpy(np.int64))
    return fit_mixing_law(counts, seed=seed)
