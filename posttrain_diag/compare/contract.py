"""comparison.json and comparison.parquet: the machine-readable comparison (docs/compare.md)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from posttrain_diag.compare.types import Comparison, NullControl
from posttrain_diag.diagnose.contract import estimate_json, versions
from posttrain_diag.errors import UsageError
from posttrain_diag.store import write_atomic

PARTS = ("change", "reshaping", "expansion", "attrition", "outside")
COUNTS = ("preserved", "expanded", "shrunk", "outside")
RATES = ("srr", "ndr", "nscr")


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON-compatible data."""
    support, parts, foreseen = comparison.support, comparison.decomposition, comparison.forecast
    counts = comparison.per_problem["fate"].value_counts()
    return {
        "schema": 1,
        "before": asdict(comparison.before),
        "after": asdict(comparison.after),
        "settings": {
            "rollout_budget": comparison.rollout_budget,
            "eps": 1.0 / comparison.rollout_budget,
            "level": comparison.level,
        },
        "comparable": comparison.comparable,
        "checks": [asdict(check) for check in comparison.checks],
        "role": comparison.role,
        "reason": comparison.reason,
        "support_lost": comparison.support_lost,
        "pass@k": {
            str(found.k): {
                "before": estimate_json(found.before),
                "after": estimate_json(found.after),
                "change": estimate_json(found.change),
                "p_value": found.p_value,
            }
            for found in comparison.pass_at_k
        },
        "support": {name: estimate_json(getattr(support, name)) for name in (*COUNTS, *RATES)},
        "null": {
            "expanded": _null_json(comparison.null_expanded),
            "shrunk": _null_json(comparison.null_shrunk),
        },
        "decomposition": {
            **{name: estimate_json(getattr(parts, name)) for name in PARTS},
            "forgetting": None if parts.forgetting is None else estimate_json(parts.forgetting),
            "net": parts.net,
        },
        "forecast": None
        if foreseen is None
        else {
            **asdict(foreseen),
            "expected_gain": estimate_json(foreseen.expected_gain),
            "observed_gain": estimate_json(foreseen.observed_gain),
        },
        "problems": {
            "n": len(comparison.per_problem),
            "unresolved": int(counts.get("unresolved", 0)),
            **{fate: comparison.problems(fate).to_dict("records") for fate in ("gained", "lost", "kept")},
            "outside": int(counts.get("outside", 0)),
        },
        "versions": versions(),
    }


def _null_json(control: NullControl) -> dict[str, Any]:
    return {**asdict(control), "exceeds": control.exceeds}


def default_folder(before: Path, after: Path) -> Path:
    """The folder in which a comparison lies unless another is named: one in the later run."""
    return after / f"comparison-{before.resolve().name}"


def write_comparison(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Write comparison.json and comparison.parquet; returns the contents of the former.

    Raises:
        UsageError: the folder is a file.
    """
    import io
    import json

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}: is a file; name a directory")
    data = comparison_json(comparison)
    buffer = io.BytesIO()
    comparison.per_problem.to_parquet(buffer, index=False)
    write_atomic(folder / "comparison.parquet", buffer.getvalue())
    write_atomic(folder / "comparison.json", json.dumps(data, indent=1, allow_nan=False) + "\n")
    return data
