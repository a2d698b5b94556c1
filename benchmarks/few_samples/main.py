"""Verdicts from few samples: are they calibrated, and are the samples that an undetermined one asks for enough?

`python -m benchmarks few_samples [--only=counts|zoo]`: counts drawn from known laws of p, and `diag analyze` without
its report on shipped zoo models, at 1 to 16 rollouts on 5 to 100 problems, one thread. Minutes on one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from posttrain_probes import all_probes, format_gap
from posttrain_probes.synthetic import frame_of, make_problem

from benchmarks import machine
from posttrain_diag.analysis.analyze import gather, load_engine, references_of
from posttrain_diag.diagnose import diagnose
from posttrain_diag.diagnose.bottleneck import NAMED, label_probabilities
from posttrain_diag.diagnose.classes import class_posterior
from posttrain_diag.evidence import Evidence, Settings
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.token_cap import DEFAULT, token_cap
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.store import RunDir
from posttrain_diag.tasks import load_problems, load_tasks, write_tasks
from posttrain_diag.types import Diagnosis, SamplingParams
from posttrain_diag.zoo import load_truth

VERDICT_CELLS = [(p, n) for p in (5, 10, 20, 100) for n in (1, 2, 4, 8, 16)]
"""(problems, rollouts) of the verdicts on simulated counts that are only checked for calibration."""
COUNTS_CELLS = [(5, 1), (5, 4), (5, 16), (20, 1), (20, 4), (100, 1)]
ZOO_CELLS = COUNTS_CELLS
"""Cells whose undetermined verdicts are followed by what they ask for."""
EPS = 1 / 256
MASTERY = 0.8
MOST_ZOO_DRAWS = 8_000
"""Reruns on zoo models that need more draws are left out."""
BINS = 5

Analyze = Callable[[int, int], Diagnosis]
"""(problems, mean rollouts) -> diagnosis; larger numbers continue the same draws."""


@dataclass(frozen=True)
class Case:
    """A task set with its right verdict."""

    name: str
    truth: str
    analyze: Analyze
    most_problems: int
    evidence: Callable[[int, int], Evidence] | None = None
    """Counts to judge without a forecast; None on zoo models."""


def label_of(p_P: np.ndarray) -> str:
    """The verdict when every p is known and no prefix helps."""
    mastered, low = (p_P >= MASTERY).mean(), (p_P < EPS).mean()
    if mastered >= 0.9:
        return "saturated"
    open_low = low / (1 - mastered)
    return "support" if open_low >= 0.6 else "reshaping" if open_low <= 0.4 else "mixed"


def counts_case(name: str, p_P: np.ndarray, seed: int) -> Case:
    """Binomial counts of problems with these p."""

    def evidence_of(problems: int, rollouts: int) -> Evidence:
        c_P = [int((np.random.default_rng([seed, i]).random(rollouts) < p_P[i]).sum()) for i in range(problems)]
        table = pd.DataFrame({"problem_id": [f"p{i}" for i in range(problems)], "arm": "main", "c": c_P})
        table = table.assign(failed=rollouts - table["c"], truncated=0, errored=0, lenient=table["c"], tokens=rollouts)
        known = {f"p{i}": make_problem(i) for i in range(problems)}
        settings = Settings(SamplingParams(max_new_tokens=8, seed=seed))
        return Evidence(known, frame_of([]), (), settings, None, tallies=table)

    def analyze(problems: int, rollouts: int) -> Diagnosis:
        evidence = evidence_of(problems, rollouts)
        return diagnose(evidence, [format_gap.PROBE.measure(evidence)])

    return Case(name, label_of(p_P), analyze, len(p_P), evidence_of)


def verdict_only(case: Case, problems: int, rollouts: int) -> dict[str, Any]:
    """The verdict from counts, without the forecast of what it lacks."""
    assert case.evidence is not None
    evidence = case.evidence(problems, rollouts)
    shares_SC = class_posterior(evidence, {"format": format_gap.PROBE.measure(evidence)}).shares_SC
    found = label_probabilities(shares_SC, problems, seed=0)
    top = max(found, key=lambda name: found[name])
    return {
        "case": case.name, "truth": case.truth, "problems": problems, "rollouts": rollouts, "top": top,
        "probability": found[top], "found": top if found[top] >= NAMED else "undetermined",
    }  # fmt: skip


def counts_cases(seed: int) -> list[Case]:
    """Laws of p: the zoo's own, mixtures of two, and smooth ones on both sides of eps."""
    truth, rng = load_truth(), np.random.default_rng([seed, 99])
    zoo = {
        key: np.resize(truth[(truth["tasks"] == key) & (truth["model"] == "base")]["p_low"].to_numpy(), 400)
        for key in "SNHTRGF"
    }
    two = rng.random(400) < 0.5
    quarter = rng.random(400) < 0.25
    laws = {
        **zoo,
        "S+T": np.where(two, zoo["S"], zoo["T"]),
        "R+T": np.where(two, zoo["R"], zoo["T"]),
        "R+N": np.where(two, zoo["R"], zoo["N"]),
        "S+3T": np.where(quarter, zoo["S"], zoo["T"]),
        "T+3N": np.where(quarter, zoo["T"], zoo["N"]),
        "beta(.5, 4)": rng.beta(0.5, 4, 400),
        "beta(.2, 20)": rng.beta(0.2, 20, 400),
        "lognormal 1e-3": np.minimum(1, 1e-3 * np.exp(1.5 * rng.standard_normal(400))),
        "lognormal .02": np.minimum(1, 0.02 * np.exp(1.0 * rng.standard_normal(400))),
    }
    return [counts_case(name, p_P, seed) for name, p_P in laws.items()]


def zoo_case(work: Path, name: str, truth: str, seed: int) -> Case:
    """A family, or two of them by turns ("S+T"), on its own model; the directory is continued by larger runs."""
    model = "zoo:frontier" if name == "F15" else "zoo:base"
    families = [load_tasks(f"builtin:zoo/{key}").problems for key in name.split("+")]
    path = work / f"{name}.jsonl"
    write_tasks([p for group in zip(*families, strict=True) for p in group], path)

    def analyze(problems: int, rollouts: int) -> Diagnosis:
        out = work / f"{name}-{seed}"
        config = make_config(
            model=model, tasks=str(path), out=out, rollouts=rollouts, limit=problems, seed=seed, device="cpu"
        )
        tasks, engine = load_problems(config), load_engine(config)
        cap = token_cap(engine, tasks.problems, config.sampling(DEFAULT), Progress())
        sampling = config.sampling(cap.tokens)
        run = RunDir(
            out.with_name(f"{out.name}-{sampling.max_new_tokens}"), create=True
        )  # the cap follows the problems
        run.claim({"model_sha": engine.info.model_sha, "sampling": sampling.identity()})
        base = Evidence(
            {p.id: p for p in tasks.problems}, pd.DataFrame(), (), Settings.of(config, sampling),
            replace(engine.info, model=model), references_of(tasks),
        )  # fmt: skip
        evidence = gather(config, base, engine, run, Progress())
        engine.close()
        return diagnose(evidence, [probe.measure(evidence) for probe in all_probes()])

    return Case(name, truth, analyze, 100)


ZOO = {"S": "reshaping", "N": "reshaping", "H": "reshaping", "T": "support", "G": "format", "R": "saturated",
       "F": "guided", "F15": "guided", "S+T": "mixed", "R+T": "support", "R+S": "reshaping", "S+G": "mixed"}  # fmt: skip


def top_of(found: Diagnosis) -> tuple[str, float]:
    """The most probable verdict, named or not, and its probability."""
    if found.bottleneck != "undetermined":
        return found.bottleneck, found.confidence
    return max(((a.bottleneck, a.probability) for a in found.alternatives), key=lambda pair: pair[1])


def cell(case: Case, problems: int, rollouts: int, most_draws: float) -> dict[str, Any]:
    """One verdict and, where it is undetermined, those at the samples it asks for and at a quarter of them."""
    start = time.perf_counter()
    found = case.analyze(problems, rollouts)
    top, probability = top_of(found)
    row: dict[str, Any] = {
        "case": case.name, "truth": case.truth, "problems": problems, "rollouts": rollouts,
        "found": found.bottleneck, "top": top, "probability": probability, "wall_s": time.perf_counter() - start,
    }  # fmt: skip
    if (needed := found.needed) is None:
        return row
    row["needed"] = (needed.problems, needed.rollouts_per_problem, needed.probability)
    if needed.problems is None or needed.rollouts_per_problem is None:
        return row
    if needed.problems > case.most_problems or needed.problems * needed.rollouts_per_problem > most_draws:
        return row
    if needed.problems == problems:
        quarter = (problems, max(rollouts, needed.rollouts_per_problem // 4))
    else:
        quarter = (max(problems, needed.problems // 4), needed.rollouts_per_problem)
    row["at_quarter"] = case.analyze(*quarter).bottleneck if quarter != (problems, rollouts) else found.bottleneck
    row["at_needed"] = case.analyze(needed.problems, needed.rollouts_per_problem).bottleneck
    return row


def sweep(
    cases: Callable[[int], Sequence[Case]], cells: Sequence[tuple[int, int]], most: float
) -> list[dict[str, Any]]:
    """All cells, a fresh seed for each."""
    rows: list[dict[str, Any]] = []
    for problems, rollouts in cells:
        for case in cases(1000 * problems + rollouts):
            rows.append(cell(case, problems, rollouts, most))
            print(rows[-1], flush=True)
    return rows


def calibration_error(probability: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over BINS bins of equally many cells."""
    parts = np.array_split(np.argsort(probability, kind="stable"), BINS)
    return float(sum(len(part) * abs(right[part].mean() - probability[part].mean()) for part in parts) / len(right))


def calibration(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Named verdicts that are wrong, calibration error of the top verdict, and what the samples asked for did."""
    probability = np.array([row["probability"] for row in rows])
    right = np.array([row["top"] == row["truth"] for row in rows])
    rng = np.random.default_rng(0)
    chance = [calibration_error(probability, rng.random(len(rows)) < probability) for _ in range(300)]
    named = [row for row in rows if row["found"] != "undetermined"]
    again = [row for row in rows if "at_needed" in row]
    same = [row for row in again if row["needed"][0] == row["problems"]]
    return {
        "cells": len(rows),
        "named": len(named),
        "named_wrong": sum(row["found"] != row["truth"] for row in named),
        "named_mean_probability": float(np.mean([row["probability"] for row in named])),
        "named_right": float(np.mean([row["found"] == row["truth"] for row in named])),
        "calibration_error": calibration_error(probability, right),
        "of_perfectly_calibrated": float(np.mean(chance)),
        "mean_gap": float(right.mean() - probability.mean()),
        "asked": sum("needed" in row for row in rows),
        "asked_problems": sum("needed" in row and row["needed"][0] not in (None, row["problems"]) for row in rows),
        "asked_nothing": sum("needed" in row and row["needed"][0] is None for row in rows),
        "rerun": len(again),
        "determined_at_needed": _share(again, "at_needed"),
        "determined_at_quarter": _share(again, "at_quarter"),
        "right_at_needed": float(np.mean([row["at_needed"] == row["truth"] for row in again])) if again else None,
        "rollouts_only": {"rerun": len(same), "at_needed": _share(same, "at_needed"), "at_quarter": _share(same, "at_quarter")},
    }  # fmt: skip


def _share(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    return float(np.mean([row[key] != "undetermined" for row in rows])) if rows else None


def main() -> None:
    """Run the parts and write the results."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("counts", "zoo"))
    only = parser.parse_args().only
    parts: dict[str, list[dict[str, Any]]] = {}
    start = time.perf_counter()
    if only != "zoo":
        parts["verdicts"] = [
            verdict_only(case, p, n)
            for p, n in VERDICT_CELLS
            for s in (1, 2)
            for case in counts_cases(7000 * p + 10 * n + s)
        ]
        print(calibration(parts["verdicts"]), flush=True)
        parts["counts"] = sweep(counts_cases, COUNTS_CELLS, np.inf)
    if only != "counts":
        with tempfile.TemporaryDirectory() as folder:

            def cases(seed: int) -> list[Case]:
                return [zoo_case(Path(folder), name, truth, seed) for name, truth in ZOO.items()]

            parts["zoo"] = sweep(cases, ZOO_CELLS, MOST_ZOO_DRAWS)
    found = {name: calibration(rows) for name, rows in parts.items()}
    lines = [f"Wall {time.perf_counter() - start:.0f} s, one thread.", ""]
    lines += ["| figure | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    for key in next(iter(found.values())):
        shown = [value if not isinstance(value := part[key], float) else f"{value:.3f}" for part in found.values()]
        lines.append(f"| {key.replace('_', ' ')} | " + " | ".join(map(str, shown)) + " |")
    for name, rows in parts.items():
        if name == "verdicts":
            continue
        lines += ["", f"## {name}: top verdict (probability), by case; * wrong", ""]
        cells = list(dict.fromkeys((row["problems"], row["rollouts"]) for row in rows))
        lines += [
            "| case (truth) | " + " | ".join(f"{p} x {n}" for p, n in cells) + " |",
            "|---|" + "---|" * len(cells),
        ]
        for case in dict.fromkeys((row["case"], row["truth"]) for row in rows):
            own = [row for row in rows if row["case"] == case[0]]
            texts = [f"{r['top']} {r['probability']:.2f}{'' if r['top'] == case[1] else '*'}" for r in own]
            lines.append(f"| {case[0]} ({case[1]}) | " + " | ".join(texts) + " |")
    print(
        machine.write("few_samples", "Verdicts from few samples", {"summary": found, "rows": parts}, lines).read_text()
    )


if __name__ == "__main__":
    main()
