"""Runs one case of the diagnosis benchmark with `diag analyze`'s own function and writes down what it said."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.diagnosis import baselines
from benchmarks.diagnosis.cases import Case, Inputs
from posttrain_diag.analysis.analyze import Analysis, analyze
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.tasks import load_tasks, write_tasks
from posttrain_diag.zoo import resolve_model, true_bottleneck, true_classes

TRUTH = Path(__file__).parent / "truth.csv.gz"
LARGEST = 1024
"""Forecasts of more rollouts per problem are not followed, for time."""
ROLLOUTS = 64
"""Mean draws per problem unless the case says otherwise."""


def run_case(case: Case, seed: int, work: Path) -> dict[str, Any]:
    """The record of one case and seed; read from `work` where it was made before."""
    folder = work / "cases" / f"{_slug(case.name)}-{seed}"
    done = folder / "record.json"
    if done.exists():
        return json.loads(done.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    inputs = case.build(folder, seed)
    started, cpu = time.perf_counter(), time.process_time()
    found = _analyze(inputs, folder / "run", seed)
    spent = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    record = {"case": case.name, "kind": case.kind, "seed": seed, **_said(found), **spent}
    record |= _truth(case, inputs, found, work)
    if case.kind == "few":
        record["forecast"] = follow_forecast(inputs, found, seed, folder)
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.rmtree(folder / "model", ignore_errors=True)
    scratch = folder / "record.tmp"
    scratch.write_text(json.dumps(record, indent=1))
    scratch.rename(done)
    return record


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _analyze(inputs: Inputs, out: Path, seed: int, **changes: Any) -> Analysis:
    """Analyze the tasks without their tags, which name the family of each problem and so its class."""
    settings = {"rollouts": ROLLOUTS, "seed": seed, **inputs.config, **changes}
    untagged = out.parent / "untagged.jsonl"
    write_tasks([replace(row, tags=()) for row in load_tasks(str(inputs.tasks), allow_code=True).problems], untagged)
    return analyze(make_config(model=inputs.model, tasks=str(untagged), out=out, **settings))


def _said(found: Analysis) -> dict[str, Any]:
    """Verdict, probabilities, findings, cost, and what the practitioners' rules look at."""
    diagnosis, evidence = found.diagnosis, found.evidence
    probabilities = {a.bottleneck: a.probability for a in diagnosis.alternatives}
    if diagnosis.bottleneck != "undetermined":
        probabilities[diagnosis.bottleneck] = diagnosis.confidence
    rows = [row for row in evidence.scores if row.kind == "demo:0"]
    nats = float(np.mean([-row.logprobs.mean() for row in rows])) if rows else float("nan")
    return {
        "verdict": diagnosis.bottleneck,
        "confidence": diagnosis.confidence,
        "probabilities": probabilities,
        "instrument": diagnosis.instrument.status,
        "findings": [f"{f.kind} ({f.severity})" for f in diagnosis.instrument.findings],
        "seen": asdict(baselines.seen(diagnosis.per_problem, nats)),
        "problems": len(evidence.problems),
        "rollouts": evidence.drawn,
        "main_rollouts": int(evidence.main["drawn"].sum()),
        "tokens": evidence.tokens(),
    }


def _truth(case: Case, inputs: Inputs, found: Analysis, work: Path) -> dict[str, Any]:
    """What is right, and the confusion of problem classes where the exact ones are known."""
    if case.accepted and case.kind != "few":
        return {"accepted": list(case.accepted), "truth": case.accepted[0], "confusion": {}}
    exact = known_classes(inputs, work)
    right = true_bottleneck(exact)
    confusion: dict[str, int] = {}
    if case.kind != "few":
        said = found.diagnosis.per_problem.set_index("id")["class"]
        pairs = Counter(zip(exact["class"], said.reindex(exact["id"]), strict=True))
        confusion = {f"{truth}>{guess}": n for (truth, guess), n in pairs.items()}
    return {"accepted": list(case.accepted or (right,)), "truth": right, "confusion": confusion}


def known_classes(inputs: Inputs, work: Path) -> pd.DataFrame:
    """Exact classes of the problems of a tasks file, from what was computed before where it was."""
    rows = load_tasks(str(inputs.tasks)).problems
    known = dict(shipped_truth().get(inputs.model, {}))
    for path in sorted((work / "truth").glob(f"{_slug(inputs.model)}-*.csv")):
        known |= _read_classes(path).get(inputs.model, {})
    missing = [row for row in rows if row.prompt_text not in known]
    if missing:
        fresh = true_classes(resolve_model(inputs.model), missing)
        fresh.insert(0, "prompt", [row.prompt_text for row in missing])
        fresh.insert(0, "model", inputs.model)
        known |= dict(zip(fresh["prompt"], fresh["class"], strict=True))
        path = work / "truth" / f"{_slug(inputs.model)}-{inputs.tasks.parent.name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        fresh.to_csv(scratch, index=False, float_format="%.4g")
        scratch.rename(path)
    return pd.DataFrame({"id": [row.id for row in rows], "class": [known[row.prompt_text] for row in rows]})


@cache
def shipped_truth() -> dict[str, dict[str, str]]:
    """Exact class by prompt by model, as computed once and kept with the results."""
    return _read_classes(TRUTH) if TRUTH.exists() else {}


def _read_classes(path: Path) -> dict[str, dict[str, str]]:
    table = pd.read_csv(path, keep_default_na=False)
    return {str(model): dict(zip(part["prompt"], part["class"], strict=True)) for model, part in table.groupby("model")}


def follow_forecast(inputs: Inputs, found: Analysis, seed: int, folder: Path) -> dict[str, Any] | None:
    """Draw the rollouts that the diagnosis asked for, and on their own a quarter of them: is the number about right?

    None where it did not abstain. A number beyond LARGEST, or more problems, is not followed: `after` is None.
    """
    needed = found.diagnosis.needed
    if needed is None:
        return None
    out: dict[str, Any] = {"needed": asdict(needed), "after": None, "quarter": None}
    n, here = needed.rollouts_per_problem, len(found.evidence.problems)
    if n is None or n > LARGEST or (needed.problems or 0) > here:
        return out
    more = _analyze(inputs, folder / "run", seed, rollouts=n)  # tops up what was drawn
    out["after"] = {"verdict": more.diagnosis.bottleneck, "confidence": more.diagnosis.confidence}
    present = int(found.evidence.main["drawn"].sum()) / here
    if n // 4 > present:
        fewer = _analyze(inputs, folder / "quarter", seed, rollouts=n // 4)
        out["quarter"] = {"verdict": fewer.diagnosis.bottleneck, "confidence": fewer.diagnosis.confidence}
        shutil.rmtree(folder / "quarter", ignore_errors=True)
    return out
