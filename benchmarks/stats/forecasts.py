"""Forecasts of pass@k beyond n, rivals side by side on the same subsamples of real counts and on simulated laws.

Real counts: n rollouts per problem are drawn without replacement from those on record, and forecasts are compared with
the unbiased pass@k of all. Subsets chosen to hold no problem without a pass are left out: their truth is 1 by choice.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stats import rivals
from benchmarks.stats.cases import GROUPS, Table
from posttrain_diag.stats import Counts, pass_at

MULTIPLES = (4, 16, 100)
REAL_N = (1, 2, 4, 8, 16)
SIZES = tuple((problems, n) for problems in (100, 300, 1000) for n in (16, 64, 128))
CHOSEN_WITHOUT_ZEROS = ("easy_extreme", "skew_easy", "uniform")
PROBLEMS = (164, 500)
"""Problems per subsample, in turn: so many as HumanEval and MBPP or MATH-500 have."""
WORKER = Path(__file__).with_name("forecast_worker.py")


@dataclass(frozen=True)
class Case:
    """One set of counts with the truth of what is to be forecast."""

    kind: str
    name: str
    n: int
    c: list[int]
    ks: list[int]
    truth: list[float]
    seed: int

    @property
    def counts(self) -> Counts:
        return Counts([self.n] * len(self.c), self.c)


Forecast = tuple[float, float | None, float | None]
"""A value and the ends of its 90% interval, if it has one."""
Forecasts = dict[str, list[list[Forecast]]]
"""Rival -> its forecast for each case and each k."""


def real_sets(folder: Path) -> dict[str, list[tuple[int, int]]]:
    """(n, c) of every problem by set: one set per file, subset of a file, and pair of model and data set.

    Args:
        folder: holds CSV files with columns `n` and `c` (or `c_...`), and `subset`, or `model` and `dataset`.
    """
    out: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="") as handle:
            for row in csv.DictReader(handle):
                column = next((key for key in row if key == "c" or key.startswith("c_")), None)
                if column is None or "n" not in row or int(row["n"]) < 32:
                    continue
                pair = (int(row["n"]), int(float(row[column])))
                if "model" in row:
                    data = row["dataset"].partition("://")[2] or row["dataset"]
                    out[f"{path.parent.name}: {Path(row['model']).name}, {data.split('/')[2][:9]}"].append(pair)
                    continue
                out[path.parent.name].append(pair)
                for subset in (row.get("subset") or "").split(";"):
                    if subset and subset not in CHOSEN_WITHOUT_ZEROS:
                        out[f"{path.parent.name}: {subset}"].append(pair)
    return {name: pairs for name, pairs in out.items() if len(pairs) >= 30}


def real_cases(folder: Path, repeats: int, seed: int) -> list[Case]:
    """Fresh subsamples of every real set, the same for all rivals."""
    cases: list[Case] = []
    for number, (name, pairs) in enumerate(real_sets(folder).items()):
        full = np.array([pair for pair in pairs if pair[0] == pairs[0][0]])
        most = int(full[0, 0])
        for n in REAL_N:
            ks = [min(multiple * n, most) for multiple in MULTIPLES]
            for repeat in range(repeats):
                rng = np.random.default_rng([19, seed, number, n, repeat])
                size = min(len(full), PROBLEMS[repeat % len(PROBLEMS)])
                chosen = full[rng.choice(len(full), size, replace=False)]
                c = rng.hypergeometric(chosen[:, 1], most - chosen[:, 1], n)
                truth = [rivals.chen(chosen[:, 0], chosen[:, 1], k) for k in ks]
                cases.append(Case("real", name, n, c.tolist(), ks, truth, repeat))
    return cases


def simulated_cases(repeats: int, seed: int) -> list[Case]:
    """Counts drawn from every simulated law at nine sizes."""
    cases: list[Case] = []
    for group, laws in GROUPS.items():
        for number, (name, draw) in enumerate(laws.items()):
            for problems, n in SIZES:
                for repeat in range(repeats):
                    rng = np.random.default_rng([20, seed, *group.encode(), number, problems, n, repeat])
                    p = draw(rng, problems)
                    ks = [multiple * n for multiple in MULTIPLES]
                    truth = [float(pass_at(k).of(p).mean()) for k in ks]
                    cases.append(Case(group, name, n, rng.binomial(n, p).tolist(), ks, truth, repeat))
    return cases


def _start(cases: list[Case], path: list[str]) -> Callable[[], list[list[Forecast]]]:
    """Start the worker with this import path on all cases; the function returned waits for its forecasts."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
    )
    asked = json.dumps([[case.n, case.c, case.ks, case.seed] for case in cases])

    def wait() -> list[list[Forecast]]:
        answer = process.communicate(asked)[0]
        if process.returncode:
            raise SystemExit(f"the forecasts with {path} ended with status {process.returncode}")
        return json.loads(answer)

    return wait


def _forecasts(cases: list[Case], before: Path | None) -> Forecasts:
    root = Path(__file__).parents[2]
    elsewhere = [place for place in sys.path if Path(place or ".").resolve() != root]
    running = {"ours": _start(cases, [str(root), *elsewhere])}
    if before is not None:
        running["before"] = _start(cases, [str(before), *elsewhere])
    found: Forecasts = {name: wait() for name, wait in running.items()}
    for name, rival in (("beta-binomial", rivals.beta_binomial), ("NPMLE", rivals.npmle)):
        found[name] = []
        for case in cases:
            answer = rival(case.counts, {str(i): pass_at(k) for i, k in enumerate(case.ks)})
            found[name].append([answer[str(i)] for i in range(len(case.ks))])
    return found


def _row(cases: list[Case], forecasts: list[list[Forecast]]) -> list[Any]:
    """MAE, bias, coverage and mean width at each multiple."""
    cells: list[Any] = []
    for j in range(len(MULTIPLES)):
        error = np.array([f[j][0] - case.truth[j] for case, f in zip(cases, forecasts, strict=True)])
        ends: list[tuple[float, float, float]] = [
            (low, high, case.truth[j])
            for case, f in zip(cases, forecasts, strict=True)
            for _, low, high in [f[j]]
            if low is not None and high is not None
        ]
        cover = 100 * float(np.mean([lo - 1e-9 <= t <= hi + 1e-9 for lo, hi, t in ends])) if ends else None
        width = float(np.mean([hi - lo for lo, hi, _ in ends])) if ends else None
        cells += [float(np.abs(error).mean()), float(error.mean()), cover, width]
    return cells


def _groups(cases: list[Case]) -> dict[str, list[int]]:
    """Which cases each line of the tables is about."""
    out: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        where = "real" if case.kind == "real" else "simulated"
        out[f"{where}, all"].append(index)
        out[f"{where}, n = {case.n}"].append(index)
        out[f"{case.kind}: {case.name}"].append(index)
    return out


def forecasts(folder: Path | None, before: Path | None, repeats: int, seed: int) -> list[Table]:
    """The table of rivals.

    Args:
        folder: real counts; none leaves them out.
        before: directory of an earlier version of the project, a rival.
        repeats: subsamples per real set and n; a quarter as many draws of each simulated law and size.
        seed: another seed, other subsamples.
    """
    columns = ["counts", "estimator", "cases"]
    for multiple in MULTIPLES:
        columns += [f"pass@{multiple}n MAE", "bias", "cov %", "width"]
    table = Table("pass_at_k_forecasts", "Forecasts of pass@k beyond n", columns)
    cases = [*(real_cases(folder, repeats, seed) if folder else []), *simulated_cases(max(1, repeats // 4), seed)]
    found = _forecasts(cases, before)
    for label, chosen in sorted(_groups(cases).items(), key=lambda item: ("all" not in item[0], item[0])):
        for rival, answers in found.items():
            row = _row([cases[i] for i in chosen], [answers[i] for i in chosen])
            table.rows.append([label, rival, len(chosen), *row])
    table.notes = [
        f"Real: n = {REAL_N}, {repeats} subsamples each of {PROBLEMS} problems in turn (fewer where the set is smaller), "
        "the same for all; k is at most the rollouts on record, so that pass@100n is less far from n = 2 on.",
        f"Simulated: {len(SIZES)} sizes, {max(1, repeats // 4)} draws each. `before`: the version given by --before.",
    ]
    return [table]
