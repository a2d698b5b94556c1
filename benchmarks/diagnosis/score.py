"""Figures of the diagnosis benchmark from its records: accuracy, confusion, F1 of classes, calibration, cost, rivals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.diagnosis import baselines
from posttrain_diag.types import CLASSES

Record = dict[str, Any]
CONFIDENT = 0.8
BINS = np.array([0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0 + 1e-9])


def right(record: Record) -> bool:
    """Whether the verdict is one of the right ones."""
    return record["verdict"] in record["accepted"]


def accuracy(records: Sequence[Record]) -> float:
    """Share of runs whose verdict is right."""
    return float(np.mean([right(r) for r in records])) if records else float("nan")


def confident_traps(records: Sequence[Record]) -> list[Record]:
    """Traps called support- or reshaping-limited with more than CONFIDENT."""
    return [
        r
        for r in records
        if r["kind"] == "trap"
        and r["verdict"] in {"support", "reshaping"}
        and r["confidence"] > CONFIDENT
        and not right(r)
    ]


@dataclass(frozen=True)
class ClassScores:
    """Per-problem classes against exact ones."""

    f1: dict[str, float]
    macro_f1: float
    unresolved: float
    """Share of problems that no class was given to."""
    unclear: int
    """Problems whose exact bounds straddle a threshold: not scored."""
    problems: int
    table: dict[str, dict[str, int]]


def class_scores(records: Sequence[Record]) -> ClassScores:
    """F1 of every class among problems that were given one."""
    pairs: Counter[tuple[str, str]] = Counter()
    for record in records:
        for key, n in record["confusion"].items():
            truth, _, guess = key.partition(">")
            pairs[truth, guess] += n
    unclear = sum(n for (truth, _), n in pairs.items() if truth not in CLASSES)
    pairs = Counter({key: n for key, n in pairs.items() if key[0] in CLASSES})
    total = sum(pairs.values())
    unresolved = sum(n for (_, guess), n in pairs.items() if guess == "unresolved")
    f1: dict[str, float] = {}
    for name in CLASSES:
        hit = pairs[name, name]
        said = sum(n for (_, guess), n in pairs.items() if guess == name)
        there = sum(n for (truth, guess), n in pairs.items() if truth == name and guess != "unresolved")
        f1[name] = 2 * hit / (said + there) if said + there else float("nan")
    table = {t: {g: pairs[t, g] for g in (*CLASSES, "unresolved")} for t in CLASSES}
    seen = [value for value in f1.values() if not np.isnan(value)]
    return ClassScores(
        f1, float(np.mean(seen)) if seen else float("nan"), unresolved / max(1, total), unclear, total, table
    )


@dataclass(frozen=True)
class Calibration:
    """How often the likeliest verdict is right, by its probability."""

    bins: list[dict[str, float]]
    error: float
    """Expected calibration error: mean distance between probability and frequency, weighted by runs."""


def calibration(records: Sequence[Record]) -> Calibration:
    """Compare the probability of the likeliest named verdict with how often it is right.

    An abstention is judged by the verdict it came closest to; in cases of too little data what is right is the
    bottleneck that the problems have, which an abstaining diagnosis gives some probability to.
    """
    top: list[tuple[float, bool]] = []
    for r in records:
        if not r["probabilities"]:
            continue
        name = max(r["probabilities"], key=r["probabilities"].get)
        true = {r["truth"]} if r["kind"] == "few" else set(r["accepted"])
        top.append((r["probabilities"][name], name in true))
    p, hit = np.array([x for x, _ in top]), np.array([x for _, x in top], float)
    where = np.digitize(p, BINS) - 1
    bins: list[dict[str, float]] = []
    error = 0.0
    for i in range(len(BINS) - 1):
        chosen = where == i
        if chosen.any():
            bins.append(
                {
                    "from": float(BINS[i]),
                    "runs": int(chosen.sum()),
                    "said": float(p[chosen].mean()),
                    "right": float(hit[chosen].mean()),
                }
            )
            error += float(chosen.mean()) * abs(bins[-1]["said"] - bins[-1]["right"])
    return Calibration(bins, error)


def verdict_table(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Verdicts by what was right."""
    counts: Counter[tuple[str, str]] = Counter()
    for r in records:
        truth = r["verdict"] if right(r) else r["accepted"][0]
        counts[truth, r["verdict"]] += 1
    truths = sorted({t for t, _ in counts})
    verdicts = sorted({v for _, v in counts})
    return {t: {v: counts[t, v] for v in verdicts} for t in truths}


def rivals(records: Sequence[Record]) -> list[Any]:
    """The practitioners' rules on the same cases; those with too little data left out, for no rule abstains."""
    cases = [r for r in records if r["kind"] != "few"]
    seen = [baselines.Seen(**r["seen"]) for r in cases]
    return baselines.compare(seen, [r["accepted"] for r in cases])


def forecasts(records: Sequence[Record]) -> dict[str, Any]:
    """Was the number of samples that an abstention asks for about right?"""
    asked = [(r, r["forecast"]) for r in records if r.get("forecast")]
    drawn = [(r, f["after"]) for r, f in asked if f["after"]]
    early = [f["quarter"] for _, f in asked if f["quarter"]]
    return {
        "abstained": sum(r["kind"] == "few" and r["verdict"] == "undetermined" for r in records),
        "asked": sum(f["needed"]["rollouts_per_problem"] is not None for _, f in asked),
        "asked_for_problems": sum((f["needed"]["problems"] or 0) > r["problems"] for r, f in asked),
        "drawn": len(drawn),
        "decided_with_it": sum(f["verdict"] != "undetermined" for _, f in drawn),
        "right_with_it": sum(f["verdict"] == r["truth"] for r, f in drawn),
        "quarters": len(early),
        "decided_with_a_quarter": sum(f["verdict"] != "undetermined" for f in early),
    }
