"""What a comparison of two runs says, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from posttrain_diag.types import Estimate

if TYPE_CHECKING:
    import pandas as pd

MeasuredRole = Literal["expansion", "reshaping", "consolidation", "repair", "none", "undetermined"]


@dataclass(frozen=True)
class Check:
    """Something about two runs that a comparison of them must say."""

    kind: str
    """What it is about: problems | prompts | verifier | template | sampling | cap | instrument | training | ..."""
    severity: Literal["note", "warning", "error"]
    """An error: the figures are there, and no role is concluded from them."""
    message: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparedRun:
    """One side of a comparison."""

    path: str
    model: str
    problems: int
    """Problems with at least one rollout that counts."""
    rollouts: int
    """Draws on the problems compared."""
    truncated: int | None
    """Of these; None where imported counts do not say."""
    errored: int | None
    counted: bool
    """Counts alone were imported."""


@dataclass(frozen=True)
class SupportChange:
    """Effective support before and after, at eps = 1/B: expected numbers of problems, and rates made of them."""

    preserved: Estimate
    """P: supported before and after."""
    expanded: Estimate
    """E: newly supported."""
    shrunk: Estimate
    """S: lost."""
    outside: Estimate
    """O: supported neither before nor after."""
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
    """One-sided: probability of so high a score when nothing changed."""
    resamples: int

    @property
    def exceeds(self) -> bool:
        """More than noise: p < .05, and by half a problem at least (any change can lift a score of nearly nothing)."""
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
    """Of mean pass@1 over the problems compared."""
    reshaping: Estimate
    """On problems supported before and after."""
    expansion: Estimate
    """On newly supported problems."""
    attrition: Estimate
    """Loss on problems whose support was lost."""
    outside: Estimate
    """On problems supported neither before nor after."""
    forgetting: Estimate | None
    """Loss of mean pass rate on retained tasks; None where none are known."""
    net: float
    """The change less forgetting, the two task sets weighing alike."""


@dataclass(frozen=True)
class Forecast:
    """What the first run's plan said of the stage, beside what was seen."""

    stage: str
    predicted_role: str
    agrees: bool | None
    """Is the measured role among those predicted; None where no role could be measured."""
    expected_gain: Estimate
    observed_gain: Estimate
    within: bool | None
    """Is the observed gain within the expected interval; None where no interval was given."""


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
    """The first one is pass@1."""
    decomposition: Decomposition
    role: MeasuredRole
    reason: str
    """Why this role, in a sentence."""
    forecast: Forecast | None
    """None where no plan of the first run names the stage."""
    per_problem: pd.DataFrame
    """One row per problem compared: the columns of comparison.parquet."""

    @property
    def comparable(self) -> bool:
        """No check failed."""
        return all(check.severity != "error" for check in self.checks)

    def problems(self, fate: str) -> pd.DataFrame:
        """The problems resolved to a fate ("gained", "lost", "kept", "outside"): id and probability, surest first."""
        found = self.per_problem[self.per_problem["fate"] == fate]
        column = {"gained": "expanded", "lost": "shrunk", "kept": "preserved", "outside": "outside"}[fate]
        table = found[["id", column]].rename(columns={column: "probability"})
        return table.sort_values("probability", ascending=False, kind="stable", ignore_index=True)
