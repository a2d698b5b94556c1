"""The evidence of a run: what was drawn and scored, and under which settings. Probes read it, nothing else.

Everything is recomputed from stored rollouts, so probes, diagnosis and report work without the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from posttrain_diag.engines.contract import EngineInfo, Rendering, Tilt
from posttrain_diag.exchange import Exchange, Luck, exchange, rates_by_own_answers
from posttrain_diag.settings.analysis import LADDER_BY_EFFORT, TEACHER_ROLLOUTS_BY_EFFORT, AnalyzeConfig
from posttrain_diag.stats import (
    ChanceFloor,
    Counts,
    LawByLabel,
    MixingLaw,
    ResponseGroups,
    chance_floor,
    fit_mixing_law,
    fit_response_groups,
    known_rate,
    law_by_label,
    luck_share,
)
from posttrain_diag.store import ScoreRow
from posttrain_diag.store.base import TALLIED
from posttrain_diag.tasks import compares_with_answer, verify
from posttrain_diag.tasks.reread import Draws, Reread, reread
from posttrain_diag.types import Estimate, Problem, SamplingParams

MAIN = "main"
"""The arm of the plain prompt under the declared sampling law."""
PILOT = "pilot"
"""The arm of the draws that decide the token cap: the plain prompt under other caps, never pooled with `MAIN`."""

READ_DRAWS = 6000
"""Most draws that are read again, the first ones of each problem."""
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
    teacher_rollouts: int = 16
    ks: tuple[int, ...] = ()
    """Further k whose pass@k was asked for."""

    @property
    def eps(self) -> float:
        """Effective-support threshold, 1 / rollout budget."""
        return 1.0 / self.rollout_budget

    @staticmethod
    def of(config: AnalyzeConfig, sampling: SamplingParams) -> Settings:
        """The settings of a configuration once the token cap is known."""
        return Settings(
            sampling=sampling,
            rollout_budget=config.rollout_budget,
            mastery=config.mastery,
            level=config.level,
            ladder_rollouts=LADDER_BY_EFFORT[config.effort],
            teacher_rollouts=TEACHER_ROLLOUTS_BY_EFFORT[config.effort],
        )


@dataclass(frozen=True)
class DrawSpec:
    """Draws a probe asks for: n draws of one problem under a variation of its prompt."""

    problem_id: str
    arm: str
    n: int
    response_prefix_ids: tuple[int, ...] = ()
    max_new_tokens: int | None = None
    """Token cap of these draws; None: the cap of the main arm, less the tokens the prefix already holds."""
    tilt: Tilt | None = None
    """Draw from this proposal; then the rollouts carry policy_logprob and proposal_logprob."""
    rendering: Rendering | None = None
    """Another rendering of the prompt than the engine was opened with."""


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
    """What the probe would have asked for and cannot have, and why."""


@dataclass(frozen=True)
class Evidence:
    """All that is known about one model on one set of tasks."""

    problems: Mapping[str, Problem]
    """The problems by id, in the order of the tasks file."""
    rollouts: pd.DataFrame
    """One row per rollout of any arm: the columns of `Store.rows`. All of them, or where `tallies` counts more the
    first draws of every problem and arm; whoever counts reads `table`."""
    scores: Sequence[ScoreRow]
    settings: Settings
    model: EngineInfo | None
    """The model that was drawn from; None for imported evidence."""
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Completions that a sound verifier passes, per problem; demos first."""
    notes: tuple[str, ...] = ()
    """What probes would have measured and could not."""
    counts: pd.DataFrame | None = None
    """Set when counts of the main arm are all there is (`diag import counts`): the columns of `table` but `lenient`,
    for nobody read the texts leniently; then `rollouts` is empty."""
    tallies: pd.DataFrame | None = None
    """Exact counts of all draws per arm and problem as `add_tallies` gives them; None: `rollouts` holds all draws."""
    teachers: Mapping[str, pd.DataFrame] = field(default_factory=dict[str, pd.DataFrame])
    """Exact counts of other models' main arm by their names, as `add_tallies` gives them: of the problems they were
    asked, which are those that the policy may not have mastered."""
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
        names: list[str] = self.tallied.index.get_level_values("arm").unique().tolist()
        return sorted(name for name in names if name.startswith(prefix))

    @cached_property
    def tallied(self) -> pd.DataFrame:
        """Exact counts of all draws, indexed by arm and problem_id; columns TALLIED."""
        found = tally(self.rollouts) if self.tallies is None else self.tallies
        return found.set_index(["arm", "problem_id"])

    @cached_property
    def drawn(self) -> int:
        """Number of draws of all arms, whether `rollouts` holds them or not."""
        return int(self.tallied[["c", "failed", "truncated", "errored"]].to_numpy().sum())

    @cached_property
    def sampled(self) -> str:
        """What numbers that are read off `rollouts` rest on, in words; empty where that is every draw."""
        if len(self.rollouts) >= self.drawn:
            return ""
        first = int(self.rollouts.groupby(["problem_id", "arm"], sort=False).size().max())
        return f"the first {first} or fewer draws of each problem and arm, {len(self.rollouts):,} of {self.drawn:,}"

    def table(self, arm: str = MAIN) -> pd.DataFrame:
        """Counts per problem of one arm, indexed by problem id, in the order of `ids`.

        Columns: drawn, c (passed), failed, truncated, errored, lenient (lenient passes among finished draws),
        n (drawn - errored: what rates are taken over). drawn = c + failed + truncated + errored.
        """
        if self.counts is not None and arm == MAIN:
            return self.counts
        known = self.tallied
        return self._counts(known[known.index.get_level_values("arm") == arm].droplevel("arm"))

    def teacher_table(self, name: str) -> pd.DataFrame:
        """Counts per problem of another model's main arm: the columns of `table`; 0 where it was not asked."""
        return self._counts(self.teachers[name].set_index("problem_id"))

    def _counts(self, own: pd.DataFrame) -> pd.DataFrame:
        """Tallies of one arm, indexed by problem id, as a table in the order of `ids`."""
        counts = own[["c", "failed", "truncated", "errored", "lenient"]].reindex(list(self.ids), fill_value=0)
        counts["drawn"] = counts["c"] + counts["failed"] + counts["truncated"] + counts["errored"]
        counts["n"] = counts["drawn"] - counts["errored"]
        counts.index.name = "id"
        return counts.astype(int)

    def tokens(self, arm: str | None = None) -> int:
        """Number of generated tokens of all draws, or of one arm's."""
        known = self.tallied["tokens"]
        return int((known if arm is None else known[known.index.get_level_values("arm") == arm]).sum())

    @cached_property
    def main(self) -> pd.DataFrame:
        """The counts per problem of the main arm, as `table` gives them."""
        return self.table(MAIN)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """Rows of `main` with at least one rollout that counts."""
        return self.main[self.main["n"] > 0]

    @cached_property
    def gold_passes(self) -> Mapping[str, bool]:
        """Whether each problem's demonstrations pass, or else the completion built from its gold.

        Problems that have neither are left out.
        """
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
        return problem.answer is not None and compares_with_answer(problem.verifier)

    @cached_property
    def exchanged(self) -> Exchange | None:
        """Draws of `chance_ids` judged by each other's answers; None with fewer than two problems to exchange."""
        ids = self.chance_ids
        return None if len(ids) < 2 else exchange(self.arm(MAIN), [self.problems[key] for key in ids], NULL_DRAWS)

    @cached_property
    def chance(self) -> ChanceFloor | None:
        """pass@1 when answers are exchanged between problems; None with fewer than two problems to exchange."""
        made = self.exchanged
        if made is None:
            return None
        seed, level = self.settings.sampling.seed, self.settings.level
        return chance_floor(made.judged_P, made.passes_PP, seed=seed, level=level)

    @cached_property
    def chance_in_substance(self) -> ChanceFloor | None:
        """The same of right answers in whatever form; None where most right answers are in form."""
        if self.counts is not None or len(self.chance_ids) < 2:
            return None
        table = self.measured.loc[list(self.chance_ids)]
        right = self.right_in_substance.loc[list(self.chance_ids)]
        if int(right.sum()) < 2 * int(table["c"].sum()):
            return None
        problems = [self.problems[key] for key in self.chance_ids]
        made = exchange(self.arm(MAIN), problems, NULL_DRAWS, lenient=True)
        return chance_floor(made.judged_P, made.passes_PP, seed=self.settings.sampling.seed, level=self.settings.level)

    @cached_property
    def luck(self) -> Luck | None:
        """What luck explains of the passes on the problems of `chance_ids` (`stats.luck`); None with fewer than two.

        Its share is taken over those that are not mastered: mastered problems say nothing of how the others come to
        their passes, and the verdict is about the others.
        """
        made, table = self.exchanged, self.measured
        if made is None:
            return None
        open_P = (table["c"] < self.settings.mastery * table["n"]).loc[list(made.ids)].to_numpy(bool)
        settled = made.among(open_P) if open_P.sum() >= 2 else None
        known, _ = self._luck_of(made, known_rate)
        if settled is None:
            unknown = Estimate.undefined("fewer than two problems are not mastered", self.settings.level)
            return Luck((), unknown, unknown, 0.0, known)
        share, rate = self._luck_of(settled, luck_share)
        by_set, _ = self._luck_of(settled, luck_share, own=False)
        return Luck(settled.ids, share, by_set, rate, known)

    def _luck_of(
        self, made: Exchange, estimate: Callable[..., Estimate], *, own: bool = True
    ) -> tuple[Estimate, float]:
        """An estimate of `stats.luck` over the problems of an exchange, and their mean lucky passes per draw."""
        ids, table = list(made.ids), self.measured
        rate_P = made.rate_by_answer_set()
        if own:
            rate_P = np.maximum(rate_P, rates_by_own_answers(self.arm(MAIN), ids))
        p_P = pd.Series(self.law.posterior_mean(), table.index).loc[ids].to_numpy(np.float64)
        counts = Counts(table.loc[ids, "n"].to_numpy(np.int64), table.loc[ids, "c"].to_numpy(np.int64))
        found = estimate(counts, p_P, rate_P, seed=self.settings.sampling.seed, level=self.settings.level)
        return found, float(rate_P.mean())

    @cached_property
    def law(self) -> MixingLaw:
        """The mixing law of p over the measured problems (rows of `measured`)."""
        return fit_law(self.measured, seed=self.settings.sampling.seed)

    @cached_property
    def class_law(self) -> LawByLabel:
        """The law that tells the classes of the measured problems: by tag where tags tell different laws apart."""
        return law_by_label(self.law, [self.label(str(key)) for key in self.measured.index])

    def label(self, key: str) -> str:
        """The tags of a problem as one label."""
        return " ".join(sorted(self.problems[key].tags))

    @cached_property
    def reread(self) -> Reread:
        """Failed draws of the main arm read again, the first `READ_DRAWS` of them."""
        rows = self.arm(MAIN)
        rows = rows[rows["verdict"].isin(["pass", "fail"])]
        first = max(8, READ_DRAWS // max(1, rows["problem_id"].nunique()))
        draws: dict[str, Draws] = {}
        for key, group in rows.groupby("problem_id", sort=False):
            head = group.iloc[:first]
            passed = head["verdict"] == "pass"
            fine = passed | head["lenient"]
            texts = tuple(map(str, head.loc[passed, "text"].unique()))
            failed = {str(text): int(n) for text, n in head.loc[~fine, "text"].value_counts().items()}
            draws[str(key)] = Draws(int(fine.sum()), texts, failed)
        return reread(list(self.problems.values()), draws)

    @cached_property
    def misformed(self) -> pd.Series:
        """Draws per measured problem that are right in substance and fail both readings for their form alone.

        The lenient reading of a callable is what it says, often no other than the strict one; the demonstrations then
        tell a wrong form from a broken verifier. Counted over the draws that were read again, and none where the
        whole is no pattern.
        """
        table = self.measured
        known = self.reread if self.counts is None else Reread()
        if not known.by_form or not known.is_pattern(len(table)):
            return pd.Series(0, index=table.index)
        found = pd.Series(dict(known.misformed)).reindex(table.index).fillna(0)
        read = self.arm(MAIN).groupby("problem_id").size().clip(upper=max(8, READ_DRAWS // len(table)))
        scale = (table["drawn"] / read.reindex(table.index)).fillna(1.0)
        return (found * scale).round().astype(int).clip(upper=table["n"] - table["lenient"])

    @cached_property
    def right_in_substance(self) -> pd.Series:
        """Draws per measured problem that give the right answer in whatever form."""
        return self.measured["lenient"] + self.misformed

    @cached_property
    def format_law(self) -> MixingLaw | None:
        """The law of the share of a problem's strict failures that are right in substance; None where none is.

        A share that was never seen on any problem is no reason to suspect a form. Rows without a failure have n = 0:
        nothing is known about them but the others.
        """
        table = self.measured
        failures = table["n"] - table["c"]
        if "lenient" not in table or failures.sum() == 0:
            return None
        extra = (self.right_in_substance - table["c"]).clip(lower=0)
        if extra.sum() == 0:
            return None
        return fit_law(pd.DataFrame({"n": failures, "c": extra}), seed=self.settings.sampling.seed)

    @cached_property
    def _response_groups(self) -> dict[tuple[str, ...], ResponseGroups]:
        return {}

    def responding(self, arms: tuple[str, ...]) -> list[str]:
        """The problems with at least one draw of these arms that counts, in the order of `ids`."""
        n_PA = np.stack([self.table(arm)["n"].to_numpy() for arm in arms], axis=1)
        return [key for key, n in zip(self.ids, n_PA.sum(axis=1), strict=True) if n > 0]

    def response_groups(self, arms: tuple[str, ...]) -> ResponseGroups:
        """How the problems of `responding` respond to treatments, by groups that the data support; fitted once.

        Where tags divide the problems, the groups' shares may differ between the tags.

        Args:
            arms: an arm for each treatment, in rising order of how much should help.
        """
        if arms not in self._response_groups:
            ids = self.responding(arms)
            tables = [self.table(arm).loc[ids] for arm in arms]
            self._response_groups[arms] = fit_response_groups(
                np.stack([table["n"].to_numpy(np.int64) for table in tables], axis=1),
                np.stack([table["c"].to_numpy(np.int64) for table in tables], axis=1),
                self.settings.eps,
                labels=[self.label(key) for key in ids],
                seed=self.settings.sampling.seed,
            )
        return self._response_groups[arms]


def fit_law(table: pd.DataFrame, *, seed: int) -> MixingLaw:
    """Fit the mixing law to the columns n, c of a counts table."""
    counts = Counts(table["n"].to_numpy(np.int64), table["c"].to_numpy(np.int64))
    return fit_mixing_law(counts, seed=seed)


def tally(rollouts: pd.DataFrame) -> pd.DataFrame:
    """Rollouts counted per problem and arm: problem_id, arm and the columns of TALLIED."""
    if len(rollouts) == 0:
        return pd.DataFrame(columns=["problem_id", "arm", *TALLIED])
    verdict = rollouts["verdict"]
    columns = {
        "problem_id": rollouts["problem_id"],
        "arm": rollouts["arm"],
        "c": verdict == "pass",
        "failed": verdict == "fail",
        "truncated": verdict == "truncated",
        "errored": verdict == "error",
        "lenient": verdict.isin(["pass", "fail"]) & rollouts["lenient"],
        "tokens": rollouts["n_tokens"],
    }
    return add_tallies(pd.DataFrame(columns))


def add_tallies(*tallies: pd.DataFrame) -> pd.DataFrame:
    """Tallies of disjoint draws (or of draws by another verifier) as one."""
    both = pd.concat(tallies)
    return both.groupby(["problem_id", "arm"], as_index=False)[[*TALLIED]].sum()
