"""result.json: where the run began and ended, every round, the bill, and the commands that repeat it by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from posttrain_diag.autopilot.commands import analyze_command, compare_command, train_command
from posttrain_diag.autopilot.run import AutopilotRun
from posttrain_diag.autopilot.state import Round
from posttrain_diag.settings.analysis import load_config
from posttrain_diag.stages import Measured
from posttrain_diag.store import write_atomic


def write_result(run: AutopilotRun) -> Mapping[str, Any]:
    """Write result.json from what is in the folder; returns it."""
    state, config = run.state, run.config
    data: dict[str, Any] = {
        "schema": 1,
        "model": config.model,
        "tasks": {
            "source": config.tasks,
            "train": len(run.problems.train),
            "held_out": len(run.problems.held_out),
            "retained": len(run.problems.retain),
        },
        "target": config.target,
        "end": state.end,
        "reason": state.reason,
        "checkpoint": str(run.out / "checkpoint") if state.current else config.model,
        "best_round": state.current,
        "before": checkpoint_json(run, 0),
        "after": checkpoint_json(run, state.current),
        "comparison": comparison_json(run, 0),
        "rounds": [round_json(run, begun) for begun in state.rounds],
        "kept": [r.stage for r in state.rounds if r.outcome == "kept"],
        "rolled_back": [r.stage for r in state.rounds if r.outcome == "rolled back"],
        "failed": [r.stage for r in state.rounds if r.outcome == "failed"],
        "tokens": {
            **run.spent.json(),
            "budget": config.budget_tokens,
            "start": run.tokens(0).json(),
        },
        "commands": [*analysis_commands(run, 0), *(c for r in state.rounds for c in commands(run, r))],
    }
    write_atomic(run.out / "result.json", json.dumps(data, indent=1, allow_nan=False, default=str) + "\n")
    return data


def checkpoint_json(run: AutopilotRun, number: int) -> dict[str, Any]:
    """What a checkpoint reaches on the held-out and the retained problems, for result.json."""
    found = run.diagnosis(number) if run.analysed(number) else None
    measured = run.measured(number)
    figures = {"retention": None} if measured is None else measured_json(measured)
    return {
        "model": run.model(number),
        "bottleneck": None if found is None else found["bottleneck"],
        "pass@1": figures.get("pass@1") if found is None else found["estimates"].get("pass@1"),
        "retention": figures["retention"],
        "measured_around_stages": figures,
        "report": str(run.analysis(number) / "report.html") if found is not None else None,
    }


def measured_json(measured: Measured) -> dict[str, Any]:
    """A measurement around a stage for result.json, without its counts by problem."""
    kept = measured.retention
    estimates = {name: asdict(value) for name, value in measured.estimates.items()}
    return {**estimates, "retention": None if kept is None else asdict(kept)}


def round_json(run: AutopilotRun, begun: Round) -> dict[str, Any]:
    """One round for result.json: what was run, why, what it did, what it cost."""
    found = run.result(begun.number)
    return {
        **asdict(begun),
        "before": None if found is None else measured_json(found.before),
        "after": None if found is None else measured_json(found.after),
        "tokens": run.tokens(begun.number).json(),
        "folder": str(run.folder(begun.number)),
        "report": str(run.analysis(begun.number) / "report.html") if run.analysed(begun.number) else None,
        "comparison": comparison_json(run, begun.number),
        "commands": commands(run, begun),
    }


def comparison_json(run: AutopilotRun, number: int) -> dict[str, Any] | None:
    """Where a comparison lies, and what it found in short, for result.json; None where none was made."""
    path = run.comparison(number)
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    short = {name: found[name] for name in ("role", "reason", "decomposition", "forecast")}
    return {"path": str(path), **short, "support_lost": found.get("support_lost", False)}


def commands(run: AutopilotRun, begun: Round) -> list[str]:
    """The commands that repeat a round by hand."""
    out = [train_command(run.request(begun))]
    if run.analysed(begun.number):
        after = run.analysis(begun.number)
        out += [*analysis_commands(run, begun.number), compare_command(run.analysis(begun.start), after)]
    return out


def analysis_commands(run: AutopilotRun, number: int) -> list[str]:
    """The commands that repeat the analysis of a round's checkpoint, as it was last asked for."""
    path = run.analysis(number) / "config.yaml"
    return [analyze_command(load_config(path))] if path.exists() else []
