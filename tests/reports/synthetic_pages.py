"""Realistic comparisons and autopilot runs for the report tests, in the form `diag compare` and `diag run` leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from posttrain_reports import AutopilotData, ComparisonData

from .synthetic_run import interval, make_problems, make_transcripts

FATES = ("gained", "lost", "kept", "outside", "unresolved")


def make_comparison(count: int = 90, **changes: Any) -> ComparisonData:
    """Before: a reshaping-limited model; after: a better one."""
    old, new = make_problems("reshaping", count), make_problems("saturated", count, seed=1)
    problems = pd.DataFrame({
        "id": old["id"], "prompt": old["prompt"], "answer": old["answer"],
        "n_before": old["n"], "c_before": old["c"], "p_before": old["p_mean"], "p_before_low": old["p_low"], "p_before_high": old["p_high"],
        "n_after": new["n"], "c_after": new["c"], "p_after": new["p_mean"], "p_after_low": new["p_low"], "p_after_high": new["p_high"],
        "change": new["c"] / new["n"] - old["c"] / old["n"],
        "preserved": 0.9, "expanded": 0.05, "shrunk": 0.03, "outside": 0.02,
        "fate": np.resize(np.repeat(FATES, [2, 1, 5, 1, 1]), count),
    })  # fmt: skip
    counts = problems["fate"].value_counts()
    levels = [interval(float(frame["c"].mean() / 64), count) for frame in (old, new)]
    gain = {**interval(0.4, count), "value": levels[1]["value"] - levels[0]["value"]}
    pass_k = {k: {"before": levels[0], "after": levels[1], "change": gain, "p_value": 0.0004} for k in ("1", "4", "16")}
    found: dict[str, Any] = {
        "schema": 1,
        "before": {"path": "runs/start", "model": "zoo:base", "problems": count, "rollouts": 64 * count, "counted": False},
        "after": {"path": "runs/after", "model": "runs/sft/checkpoint", "problems": count, "rollouts": 64 * count, "counted": False},
        "settings": {"rollout_budget": 256, "eps": 1 / 256, "level": 0.9},
        "comparable": True,
        "checks": [{"severity": "warning", "message": "after: 3% of its rollouts stop at the token cap of `96`"}],
        "role": "reshaping",
        "reason": "pass@1 changed by +0.40 (paired p = 0.0004); 97% of the gain lies on problems supported before",
        "pass@k": pass_k,
        "support": {name: interval(0.9, count) for name in ("preserved", "expanded", "shrunk", "outside", "srr", "ndr", "nscr")},
        "null": {name: {"observed": 1.4, "expected": 0.3, "high": 0.9, "p_value": 0.01, "exceeds": True} for name in ("expanded", "shrunk")},
        "decomposition": {**{name: interval(0.1, count) for name in ("change", "reshaping", "expansion", "attrition", "outside", "forgetting")}, "net": 0.3},
        "forecast": {"stage": "sft", "predicted_role": "reshaping", "within": True, "agrees": True, "expected_gain": interval(0.3, count), "observed_gain": gain},
        "problems": {"n": count, **{fate: int(counts.get(fate, 0)) for fate in FATES}},
    }  # fmt: skip
    parts: dict[str, Any] = {
        "found": found,
        "problems": problems,
        "transcripts": {"before": make_transcripts(old, 40), "after": make_transcripts(new, 40, seed=2)},
        "command": "diag compare runs/start runs/after",
        "created": "2026-03-14 11:40 UTC",
    }
    return ComparisonData(**{**parts, **changes})


def _measured(level: float) -> dict[str, Any]:
    return {"pass@1": interval(level, 64), "retention": interval(0.97, 50)}


def _round(number: int, stage: str, outcome: str, before: float, after: float) -> dict[str, Any]:
    return {
        "number": number, "stage": stage, "start": number - 1, "settings": {"steps": 250, "replay": 0.25}, "retry_of": None, "cause": "",
        "why": "No right answer in `64` rollouts on most problems: demonstrations put right answers into support.",
        "outcome": outcome, "reason": f"pass@1 {before} -> {after}, retention 0.97 -> 0.97",
        "before": _measured(before), "after": _measured(after),
        "tokens": {"analysis": 11_996, "pilot": 900, "generated": 70_000, "trained": 754_714, "watched": 69_505, "measured": 99_508, "total": 1_006_623},
        "folder": f"rounds/{number:02d}-{stage}", "commands": [f"diag train rounds/00-start --stage {stage}"],
    }  # fmt: skip


def make_autopilot(folder: Path, **changes: Any) -> AutopilotData:
    """Two rounds: one kept, one rolled back."""
    rounds = [_round(1, "sft", "kept", 0.12, 0.61), _round(2, "grpo", "rolled back", 0.61, 0.58)]
    result: dict[str, Any] = {
        "schema": 1, "model": "zoo:base", "tasks": {"source": "builtin:zoo/S", "train": 300, "held_out": 100, "retained": 100},
        "target": 0.95, "end": "no gain", "reason": "no stage is expected to gain more than 0.02 and can run",
        "checkpoint": "runs/auto/rounds/01-sft/stage/checkpoint", "kept": [1],
        "before": {"model": "zoo:base", "bottleneck": "support", **_measured(0.12)},
        "after": {"model": "rounds/01-sft/stage/checkpoint", "bottleneck": "reshaping", **_measured(0.61)},
        "rounds": rounds,
        "tokens": {"total": 2_100_000, "budget": 5_000_000, "start": {"analysis": 12_000, "total": 12_000}},
        "commands": ["diag analyze zoo:base --tasks builtin:zoo/S", *(c for r in rounds for c in r["commands"])],
    }  # fmt: skip
    events = [
        {
            "time": f"2026-03-14T10:{i:02d}:13.500+00:00",
            "event": name,
            "round": i // 3,
            "text": f"round {i // 3}: {name}",
        }
        for i, name in enumerate(("analysed", "chosen", "trained", "kept", "chosen", "trained", "rolled back"))
    ]
    return AutopilotData(**{"result": result, "events": events, "folder": folder, **changes})


KEYWORDS = frozenset((
    "schema", "before", "after", "settings", "checks", "role", "reason", "pass@k", "support", "null", "decomposition", "forecast", "problems",
    "1", "4", "16", "value", "low", "high", "level", "n", "label", "change", "p_value", "preserved", "expanded", "shrunk", "outside", "srr", "ndr", "nscr",
    "observed", "expected", "exceeds", "reshaping", "expansion", "attrition", "forgetting", "net", "expected_gain", "observed_gain", "within", "agrees",
    "stage", "predicted_role", "severity", "message", "path", "model", "problems", "rollouts", "counted", "rollout_budget", "eps", *FATES,
    "tasks", "target", "end", "checkpoint", "kept", "rounds", "tokens", "commands", "bottleneck", "pass@1", "retention", "number", "outcome", "why",
    "start", "total", "budget", "analysis", "pilot", "generated", "trained", "watched", "measured", "source", "train", "held_out", "retained",
    "folder", "time", "event", "round", "text", "cause", "retry_of"
))  # fmt: skip
