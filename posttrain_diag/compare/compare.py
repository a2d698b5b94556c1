"""`diag compare` end to end: two run directories → one comparison. Needs no model.

read both ──► match problems, check controls ──► figures ──► role ──► forecast beside observed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posttrain_diag.compare.figures import Figures
from posttrain_diag.compare.role import forecast, measured_role
from posttrain_diag.compare.runs import Side, StageFolder, find_stage, ids_of, matched, read_side, settings_checks
from posttrain_diag.compare.types import Check, Comparison
from posttrain_diag.errors import UsageError
from posttrain_diag.types import Estimate


def compare_runs(
    before: Path,
    after: Path,
    *,
    stage: str | None = None,
    retention: tuple[Path, Path] | None = None,
    rollout_budget: int | None = None,
    seed: int = 0,
) -> Comparison:
    """What changed from one run to another on the same problems, and which role the stage between them played.

    Args:
        before: run directory of the earlier model.
        after: run directory of the later model.
        stage: name of the stage between them; None: the stage of `before` whose checkpoint `after` analysed, if any.
        retention: two runs of the same models on tasks that were to be kept; None: the stage's own figures, if any.
        rollout_budget: B of the support threshold 1/B; None: that of `before`.
        seed: seeds resamples and posterior draws.

    Raises:
        UsageError: a rollout budget below 2, an unknown stage, or fewer than two problems that can be compared.
        DiagError: a run cannot be read.
    """
    if rollout_budget is not None and rollout_budget < 2:
        raise UsageError(f"--rollout-budget {rollout_budget}: give at least 2 rollouts per problem")
    sides = read_side(before), read_side(after)
    folder = find_stage(*sides, stage)
    one, other, left_out = matched(*sides, _trained(folder))
    figures = _figures(one, other, rollout_budget, seed)
    changes = figures.pass_changes()
    lost, kept_checks = _forgetting(retention, folder, seed)
    checks = (*left_out, *_stage_checks(folder), *settings_checks(*sides), *kept_checks)
    expanded, shrunk = figures.null()
    parts = figures.decomposition(changes[0].change, lost)
    comparable = all(check.severity != "error" for check in checks)
    role, reason = measured_role(
        changes[0], parts, (expanded, shrunk), one.table, figures.change_P, comparable=comparable
    )
    plan: list[Mapping[str, Any]] = one.diagnosis["plan"]
    return Comparison(
        before=one.summary(),
        after=other.summary(),
        rollout_budget=figures.rollout_budget,
        level=figures.level,
        checks=checks,
        support=figures.support(),
        null_expanded=expanded,
        null_shrunk=shrunk,
        pass_at_k=changes,
        decomposition=parts,
        role=role,
        reason=reason,
        forecast=forecast(plan, stage or (None if folder is None else folder.name), changes[0].change, role),
        per_problem=figures.per_problem(ids_of(one.table)),
    )


def _figures(one: Side, other: Side, rollout_budget: int | None, seed: int) -> Figures:
    settings = one.diagnosis["settings"]
    prompts = [one.problems[key].prompt_text if key in one.problems else key for key in ids_of(one.table)]
    if len({*prompts}) < 2:
        raise UsageError(f"{one.path} and {other.path} share one prompt alone: a comparison needs at least 2 problems")
    return Figures(
        one.counts(),
        other.counts(),
        rollout_budget or int(settings["rollout_budget"]),
        float(settings["level"]),
        seed,
        clusters=prompts if len({*prompts}) < len(prompts) else None,
    )


def _trained(folder: StageFolder | None) -> frozenset[str]:
    return frozenset() if folder is None or folder.trained is None else folder.trained


def _stage_checks(folder: StageFolder | None) -> Iterator[Check]:
    if folder is None:
        return
    if not folder.led_here:
        text = f"the later run did not analyse the checkpoint of the stage {folder.name} in the earlier run's folder"
        yield Check("training", "warning", text)
    if folder.trained is None:
        text = f"the stage {folder.name} did not write down what it was trained on: part of the gain may be memory"
        yield Check("training", "warning", text)


def _forgetting(
    retention: tuple[Path, Path] | None, folder: StageFolder | None, seed: int
) -> tuple[Estimate | None, list[Check]]:
    """Loss of mean pass rate on retained tasks, and what the check of their two runs found."""
    if retention is not None:
        sides = read_side(retention[0]), read_side(retention[1])
        one, other, checks = matched(*sides)
        change = _figures(one, other, None, seed).pass_change(1).change
        found = [
            Check(f"retained {c.kind}", c.severity, c.message, c.problems) for c in (*checks, *settings_checks(*sides))
        ]
        return _negative(change), found
    if folder is None:
        return None, []
    kept = [folder.result[when].get("retention") for when in ("before", "after")]
    if None in kept:
        return None, []
    return _loss(*kept), []


def _negative(change: Estimate) -> Estimate:
    """A change turned into a loss, with its interval."""
    value, low, high = (None if x is None else -x for x in (change.value, change.high, change.low))
    return Estimate(value, low, high, change.level, change.n, change.label, change.reason)


def _loss(before: Mapping[str, Any], after: Mapping[str, Any]) -> Estimate:
    """Loss between two estimates of which only the intervals are known: half-widths add up as independent errors do."""
    value = float(before["value"] - after["value"])
    half = float(np.hypot(before["high"] - before["low"], after["high"] - after["low"])) / 2
    reason = "from the stage's own figures of retained tasks, as if its two measurements were independent"
    return Estimate(value, value - half, value + half, before["level"], before["n"], "measured", reason)
