"""What a comparison of two runs says, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from posttrain_diag.types import Estimate

if TYPE_CHECKING:
    import pandas as pd

MeasuredRole = Literal["expansion", "reshaping", "consolidation", "repair", "attrition", "none", "undetermined"]


@dataclass(frozen=True)
class Check:
    """Something about two runs that a reader of their comparison must know."""

    kind: str
    """What it is about: problems | prompts | verifier | template | sampling | cap | instrument | training | ..."""
    severity: Literal["note", "warning", "error"]
    """How much it matters; with an error the figures are there, but no role is concluded from them."""
    message: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparedRun:
    """The facts about one of the two runs."""

    path: str
    model: str
    problems: int
    """Number of problems with at least one rollout that counts."""
    rollouts: int
    """Number of draws on the problems compared."""
    truncated: int | None
    """Number of these draws that were cut off; None where imported counts do not say."""
    errored: int | None
    counted: bool
    """Whether only counts were imported."""


@dataclass(frozen=True)
class SupportChange:
    """Effective support before and after, at eps = 1/B: expected numbers of problems, and rates made of them."""

    preserved: Estimate
    """P: expected number of problems supported before and after."""
    expanded: Estimate
    """E: expected number of newly supported problems."""
    shrunk: Estimate
    """S: expected number of problems whose support was lost."""
    outside: Estimate
    """O: expected number of problems supported neither before nor after."""
    srr: Estimate
    """Support retention rate P/(P+S)."""
    ndr: Estimate
    """Net discovery rate E/(P+E)."""
    nscr: Estimate
    """Net support change rate (E-S)/(P+E+S)."""


@dataclass(frozen=True)
class NullControl:
    """A score of gained (or lost) support beside what two draws of one model score: is it more than noise?"""

    observed: float
    expected: float
    """Mean of the score when nothing changed."""
    high: float
    """Its 95% quantile when nothing changed."""
    p_value: float
    """One-sided probability of so high a score when nothing changed."""
    resamples: int

    @property
    def exceeds(self) -> bool:
        """Whether the score is more than noise: p < .05, and above the null by half a problem at least.

        Without the latter any change can lift a score of nearly nothing.
        """
        return self.p_value < 0.05 and self.observed - self.expected >= 0.5


@dataclass(frozen=True)
class PassChange:
    """pass@k before and after, and a paired test of its change."""

    k: int
    before: Estimate
    after: Estimate
    change: Estimate
    p_value: float


@dataclass(frozen=True)
class Decomposition:
    """change = reshaping + expansion - attrition + outside, and net = change - forgetting; exact sums of values."""

    change: Estimate
    """Change of mean pass@1 over the problems compared."""
    reshaping: Estimate
    """The part of the change that lies on problems supported in both runs."""
    expansion: Estimate
    """The part of the change that lies on newly supported problems."""
    attrition: Estimate
    """Loss on problems whose support was lost."""
    outside: Estimate
    """The part of the change that lies on problems supported in neither run."""
    forgetting: Estimate | None
    """Loss of mean pass rate on retained tasks; None where none are known."""
    net: float
    """The change less forgetting, where both task sets weigh alike."""


@dataclass(frozen=True)
class ForecastCheck:
    """What the first run's plan said of the stage, beside what was seen."""

    stage: str
    predicted_role: str
    agrees: bool | None
    """Whether the measured role is among those predicted; None where no role could be measured."""
    expected_gain: Estimate
    observed_gain: Estimate
    within: bool | None
    """Whether the observed gain is within the expected interval; None where no interval was given."""


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same problems: what changed, and which role the stage between them really played."""

    before: ComparedRun
    after: ComparedRun
    rollout_budget: int
    level: float
    checks: tuple[Check, ...]
    support: SupportChange
    null_expanded: NullControl
    null_shrunk: NullControl
    pass_at_k: tuple[PassChange, ...]
    """The changes of pass@k by rising k; the first one is pass@1."""
    decomposition: Decomposition
    role: MeasuredRole
    reason: str
    """Why the stage has this role, in a sentence; it says so where support was lost beyond noise."""
    forecast: ForecastCheck | None
    """What the plan had said; None where no plan of the first run names the stage."""
    per_problem: pd.DataFrame
    """One row per problem compared, with the columns of comparison.parquet."""

    @property
    def comparable(self) -> bool:
        """Whether no check failed, so that a role may be concluded."""
        return all(check.severity != "error" for check in self.checks)

    @property
    def support_lost(self) -> bool:
        """Whether more support was lost than two draws of one model lose, whatever else the stage did."""
        return self.comparable and self.null_shrunk.exceeds

    def problems(self, fate: str) -> pd.DataFrame:
        """The problems resolved to a fate ("gained", "lost", "kept", "outside"): id and probability, surest first."""
        found = self.per_problem[self.per_problem["fate"] == fate]
        column = {"gained": "expanded", "lost": "shrunk", "kept": "preserved", "outside": "outside"}[fate]
        table = found[["id", column]].rename(columns={column: "probability"})
        return table.sort_values("probability", ascending=False, kind="stable", ignore_index=True)
