"""Which role did the stage between two runs really play, and did the plan foresee it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.compare.types import Decomposition, ForecastCheck, MeasuredRole, NullControl, PassChange
from posttrain_diag.types import Estimate
from posttrain_diag.wording.numbers import count

SIGNIFICANT = 0.05
"""A change of pass@1 is real when the paired p-value is below this."""
MOST = 0.5
"""A role explains a gain when at least this share of the gain lies on the problems that the role speaks of."""


def measured_role(
    pass_1: PassChange,
    parts: Decomposition,
    null: tuple[NullControl, NullControl],
    before: pd.DataFrame,
    change_P: NDArray[np.float64],
    *,
    comparable: bool,
) -> tuple[MeasuredRole, str]:
    """The role, by the first of these rules that applies, and why.

    undetermined   a check failed: what changed may be the prompt, the sampling law or the instrument
    consolidation  (retention) pass@1 did not really change and retained tasks were won back: the interval of
                   forgetting lies below 0
    attrition      the change is not real, or pass@1 fell, and lost support exceeds the null
    none           the change is not real, or pass@1 fell; real: the paired test over problems has p < .05, or gained
                   support exceeds the null and the newly supported problems hold at least half of the gain (a few
                   problems that are solved now and never were say little of further problems, and much of these)
    repair         at least half of the gain lies on problems that the first run found format-limited
    consolidation  (transfer) at least half of the gain lies on problems out of the first policy's reach that another
                   model compared in the first run solves
    expansion      newly supported problems hold at least half of the gain (of reshaping plus expansion, where both are
                   positive), and gained support exceeds the null
    reshaping      problems supported before hold more than half of the gain
    undetermined   otherwise: the gain lies on problems whose support cannot be told

    Whatever the role, the reason says so where lost support exceeds the null: a gain on some problems can hide that
    others are no longer reached.

    Args:
        pass_1: pass@1 before, after and the paired test.
        parts: of the change.
        null: gained support, then lost support, each beside what two draws of one model score.
        before: problems.parquet of the first run on the problems compared, same order as `change_P`.
        change_P: change of each problem's pass rate, shape (P,).
        comparable: no check failed.
    """
    change = pass_1.change.value
    assert change is not None
    if not comparable:
        return "undetermined", "a control failed (see the checks), so the change cannot be laid to the model"
    expanded, shrunk = null
    role, reason = _role(pass_1.p_value, change, parts, expanded, before, change_P)
    if not shrunk.exceeds:
        return role, reason
    problems = count(round(shrunk.observed))
    lost = f"support of about {problems} problems was lost, more than noise (p = {shrunk.p_value:.2g})"
    return ("attrition" if role == "none" else role), f"{reason}; {lost}"


def _role(
    p_value: float,
    change: float,
    parts: Decomposition,
    expanded: NullControl,
    before: pd.DataFrame,
    change_P: NDArray[np.float64],
) -> tuple[MeasuredRole, str]:
    """The role of a change between comparable runs, by what it gained.

    Args:
        p_value: of the paired test of pass@1.
        change: of pass@1.
        parts: of the change.
        expanded: gained support beside the null.
        before: problems.parquet of the first run, as in `measured_role`.
        change_P: change of each problem's pass rate, shape (P,).
    """
    told = f"pass@1 changed by {change:+.3f} (paired p = {p_value:.2g})"
    gained, reshaped = (max(part.value or 0.0, 0.0) for part in (parts.expansion, parts.reshaping))
    newly = gained / (gained + reshaped) if gained + reshaped > 0 else 0.0
    expands = newly >= MOST and expanded.exceeds
    if p_value >= SIGNIFICANT and not (expands and change > 0):
        if _won_back(parts.forgetting):
            return "consolidation", f"{told}, and retained tasks were won back"
        return "none", f"{told}: no change that chance does not explain"
    if change <= 0:
        return "none", f"{told}: the stage did harm on these problems"
    if (share := _share(before, "posterior_format", change_P, change)) >= MOST:
        return "repair", f"{told}; {share:.0%} of the gain lies on problems that were format-limited"
    if (share := _share(before, "posterior_consolidation", change_P, change)) >= MOST:
        return "consolidation", f"{told}; {share:.0%} of the gain lies on problems that only the other model solved"
    null = f"gained support against the null: p = {expanded.p_value:.2g}"
    if expands:
        return "expansion", f"{told}; {newly:.0%} of the gain lies on newly supported problems ({null})"
    if newly < MOST and reshaped >= MOST * change:
        return "reshaping", f"{told}; {1 - newly:.0%} of the gain lies on problems supported before"
    return "undetermined", f"{told}; where the gain lies cannot be told ({null})"


def _won_back(forgetting: Estimate | None) -> bool:
    return forgetting is not None and forgetting.high is not None and forgetting.high < 0


def _share(before: pd.DataFrame, column: str, change_P: NDArray[np.float64], change: float) -> float:
    """Share of the change on problems weighted by a posterior of the first run; 0 where it has none."""
    if column not in before:
        return 0.0
    weight_P = before[column].fillna(0.0).to_numpy(np.float64)
    return float(weight_P @ change_P) / (len(change_P) * change)


def forecast(
    plan: list[Mapping[str, Any]], stage: str | None, observed: Estimate, role: MeasuredRole
) -> ForecastCheck | None:
    """What the plan proposed of a stage, beside what was observed; None where the plan does not name the stage.

    Args:
        plan: the plan of the first run, as in diagnosis.json.
        stage: name of the stage between the runs.
        observed: the change of pass@1 that was seen.
        role: the role that was measured.
    """
    found = next((proposal for proposal in plan if proposal["stage"] == stage), None)
    if found is None:
        return None
    values = {**found["expected_gain"]}
    bounds = values.pop("bounds", None)
    expected = Estimate(**values, bounds=None if bounds is None else (bounds[0], bounds[1]))
    within = None
    if observed.value is not None and expected.low is not None and expected.high is not None:
        within = expected.low <= observed.value <= expected.high
    agrees = None if role == "undetermined" else role in str(found["role"])
    return ForecastCheck(str(found["stage"]), str(found["role"]), agrees, expected, observed, within)
