"""diagnosis.json: the machine-readable contract of a verdict, also printed by `--json`."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from posttrain_diag.evidence import Evidence
from posttrain_diag.types import Diagnosis, Estimate, Finding, Measurement, Plan

PACKAGES = ("posttrain-diag", "numpy", "scipy", "pandas", "torch", "transformers", "tokenizers", "peft")


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON; undefined values are null with their reason."""
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "level": estimate.level,
        "n": estimate.n,
        "label": estimate.label,
        "reason": estimate.reason,
        "bounds": None if estimate.bounds is None else list(estimate.bounds),
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """An instrument finding as JSON."""
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "share": estimate_json(finding.share),
        "problems": list(finding.problems),
        "advice": finding.advice,
    }


def measurement_json(measurement: Measurement) -> dict[str, Any]:
    """A probe's summary, figures and notes as JSON (its per-problem table is in problems.parquet)."""
    return {
        "probe": measurement.probe,
        "question": measurement.question,
        "summary": {name: estimate_json(value) for name, value in measurement.summary.items()},
        "figures": [{"name": f.name, "title": f.title, "data": dict(f.data)} for f in measurement.figures],
        "notes": list(measurement.notes),
    }


def plan_json(plan: Plan) -> list[dict[str, Any]]:
    """The ordered proposals of a plan as JSON."""
    return [
        {
            "stage": p.stage,
            "role": p.role,
            "expected_gain": estimate_json(p.expected_gain),
            "expected_after": estimate_json(p.expected_after),
            "expected_retention": estimate_json(p.expected_retention),
            "retention_risk": p.retention_risk,
            "utility": p.utility,
            "chance_best": p.chance_best,
            "cost": asdict(p.cost),
            "needs": list(p.needs),
            "why": p.why,
            "evidence": p.evidence,
            "command": p.command,
        }
        for p in plan.proposals
    ]


def free_json(plan: Plan) -> list[dict[str, Any]]:
    """What to try before any training, as JSON."""
    return [{"title": step.title, "why": step.why, "commands": list(step.commands)} for step in plan.free]


def versions() -> dict[str, str]:
    """Versions of the packages that a number may depend on."""
    out = {"python": platform.python_version(), "platform": sys.platform}
    for package in PACKAGES:
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return out


def _sample_notes(evidence: Evidence) -> tuple[str, ...]:
    """Notes on which numbers rest on a sample of the draws, where any does."""
    if evidence.counts is not None or not evidence.sampled:
        return ()
    return (
        f"counts, rates, pass@k, classes and verdict rest on all {evidence.drawn:,} draws; maj@k, chance floor, "
        "typicality, distinct correct texts, partial credit and the checks of templates, equal draws and answer "
        f"profiles rest on {evidence.sampled}, chosen by sample index, whatever their outcome",
    )


def teacher_rollouts(evidence: Evidence) -> dict[str, int]:
    """How many draws there are of each other model."""
    return {name: int(evidence.teacher_table(name)["drawn"].sum()) for name in evidence.teachers}


def by_arm(evidence: Evidence) -> dict[str, dict[str, int]]:
    """Draws and generated tokens of the main arm and of each kind of other draws (pilot, prefix, deep, longer, ...).

    Returns:
        {"rollouts_by_arm": {kind: draws}, "tokens_by_arm": {kind: tokens}}
    """
    table = evidence.tallied
    table = table.assign(draws=table[["c", "failed", "truncated", "errored"]].sum(axis=1))[["draws", "tokens"]]
    kinds = [str(arm).partition(":")[0] for arm in table.index.get_level_values("arm")]
    found = table.groupby(kinds).sum()
    return {
        name: {str(kind): int(number) for kind, number in found[column].items()}
        for name, column in (("rollouts_by_arm", "draws"), ("tokens_by_arm", "tokens"))
    }


def diagnosis_json(diagnosis: Diagnosis, plan: Plan, evidence: Evidence, *, tasks: Mapping[str, Any]) -> dict[str, Any]:
    """The whole verdict as JSON-compatible data.

    Args:
        diagnosis: the verdict.
        plan: what to do next.
        evidence: gives sample counts, settings and the model.
        tasks: {"source", "sha", ...} of the task set; `n` is added.
    """
    settings = evidence.settings
    sampling = {name: None if name in evidence.unrecorded else v for name, v in settings.sampling.shown().items()}
    counted = evidence.counts is not None
    return {
        "schema": 1,
        "model": {"name": "imported counts" if counted else "imported"}
        if evidence.model is None
        else asdict(evidence.model),
        "tasks": {"n": len(evidence.problems), **tasks},
        "sampling": sampling,
        "settings": {
            "rollout_budget": settings.rollout_budget,
            "mastery": settings.mastery,
            "level": settings.level,
            **({"ks": list(settings.ks)} if settings.ks else {}),
        },
        "instrument": {
            "status": diagnosis.instrument.status,
            "findings": [finding_json(f) for f in diagnosis.instrument.findings],
        },
        "bottleneck": diagnosis.bottleneck,
        "confidence": diagnosis.confidence,
        "alternatives": [asdict(a) for a in diagnosis.alternatives],
        "needed": None if diagnosis.needed is None else asdict(diagnosis.needed),
        "shares": {name: estimate_json(share) for name, share in diagnosis.shares.items()},
        "estimates": {name: estimate_json(value) for name, value in diagnosis.estimates.items()},
        "reasons": list(diagnosis.reasons),
        "plan": plan_json(plan),
        "before_training": free_json(plan),
        "not_proposed": dict(plan.rejected),
        "notes": [*evidence.notes, *_sample_notes(evidence)],
        "failures": [asdict(f) for f in diagnosis.failures],
        "samples": {
            "rollouts": int(evidence.main["drawn"].sum()),
            "rollouts_all_arms": int(evidence.main["drawn"].sum()) if counted else evidence.drawn,
            "tokens": None if counted else evidence.tokens(),
            **({} if counted else by_arm(evidence)),
            **{
                name: None if name in evidence.unrecorded else int(evidence.main[name].sum())
                for name in ("truncated", "errored")
            },
            **({"teacher_rollouts": teacher_rollouts(evidence)} if evidence.teachers else {}),
        },
        "versions": versions(),
    }
