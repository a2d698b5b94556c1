"""The experiments of the stats benchmark: each returns tables of plain numbers."""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats import rivals
from benchmarks.stats.laws import SEEN, TUNED, UNSEEN, FloatArray
from posttrain_diag.stats import (
    Counts,
    betting_lower_bound,
    deep_support,
    fit_mixing_law,
    importance_terms,
    next_blocks,
    pass_at,
)


@dataclass
class Table:
    """What one experiment found."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


GROUPS = {"tuned": TUNED, "seen": SEEN, "unseen": UNSEEN}
Truth = dict[str, float]


def _score(records: list[tuple[rivals.Figures, Truth]]) -> dict[str, tuple[float, float, float | None, float | None]]:
    """Per figure: RMSE, bias, coverage in percent, mean width."""
    out: dict[str, tuple[float, float, float | None, float | None]] = {}
    for name in records[0][1]:
        error = np.array([f[name][0] - t[name] for f, t in records if name in f])
        if len(error) == 0:
            continue
        ends = [(lo, hi, t[name]) for f, t in records for _, lo, hi in [f[name]] if lo is not None and hi is not None]
        coverage = float(100 * np.mean([lo - 1e-9 <= x <= hi + 1e-9 for lo, hi, x in ends])) if ends else None
        width = float(np.mean([hi - lo for lo, hi, _ in ends])) if ends else None
        out[name] = (float(np.sqrt((error**2).mean())), float(error.mean()), coverage, width)
    return out


def simulated_table(seeds: int, quick: bool, reference_path: Path | None) -> list[Table]:
    """Laws x problems x rollouts x seeds."""
    reference = rivals.load_reference(reference_path)
    sizes = [(100, 16), (1000, 64)] if quick else [(n_p, n) for n_p in (100, 300, 1000) for n in (16, 64, 128)]
    found: dict[tuple[str, str, str], list[tuple[rivals.Figures, Truth]]] = defaultdict(list)
    cover: dict[str, list[float]] = defaultdict(list)
    for group, laws in GROUPS.items():
        for index, (law_name, draw) in enumerate(laws.items()):
            for problems, n in sizes:
                for seed in range(seeds):
                    rng = np.random.default_rng([2026, 12, *group.encode(), index, problems, n, seed])
                    p = draw(rng, problems)
                    counts = Counts(np.full(problems, n), rng.binomial(n, p))
                    asked = rivals.questions(n)
                    truth = {name: float(h.of(p).mean()) for name, h in asked.items()}
                    answers, law = rivals.ours(counts, asked, seed)
                    low, high = law.posterior_interval().T
                    cover[law_name].append(float(((low <= p) & (p <= high)).mean()))
                    by_rival = {
                        "ours": answers,
                        "beta-binomial": rivals.beta_binomial(counts, asked),
                        "NPMLE": rivals.npmle(counts, asked),
                        "oracle": rivals.oracle(counts, draw, asked),
                    }
                    if reference is not None:
                        by_rival["reference"] = rivals.reference(reference, counts, asked, seed)
                    for rival, figures in by_rival.items():
                        found[rival, group, law_name].append((figures, truth))
    columns = ["laws", "estimator"]
    for name in rivals.questions(16):
        columns += [f"{name} RMSE", "bias", "cov %", "width"]
    table = Table("table", "Simulated laws: error and 90% intervals", columns)
    detail = Table(
        "table_by_law",
        "Simulated laws, one by one",
        ["law", "estimator", "n fits", "p in its interval %", *columns[2:]],
    )
    for group in GROUPS:
        for rival in ("ours", "reference", "beta-binomial", "NPMLE", "oracle"):
            records = [r for (who, where, _), rs in found.items() if who == rival and where == group for r in rs]
            if records:
                table.rows.append([group, rival, *(x for four in _score(records).values() for x in four)])
    for (rival, group, law_name), records in found.items():
        if rival in ("ours", "reference"):
            inside = 100 * float(np.mean(cover[law_name])) if rival == "ours" else None
            cells = [x for four in _score(records).values() for x in four]
            detail.rows.append([f"{law_name} ({group})", rival, len(records), inside, *cells])
    table.notes = [
        f"{len(sizes)} sizes (problems, n) {sizes}, {seeds} seeds, {len(TUNED)} + {len(SEEN)} + {len(UNSEEN)} laws."
    ]
    return [table, detail]


def _real_sets(folder: Path) -> dict[str, NDArray[np.int64]]:
    """(n, c) rows of every counts file found in the folder: *.csv with columns n and c (or c_*)."""
    sets: dict[str, NDArray[np.int64]] = {}
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        if not rows or "n" not in rows[0]:
            continue
        column = "c" if "c" in rows[0] else next((k for k in rows[0] if k.startswith("c_")), None)
        if column is None:
            continue
        table = np.array([[int(r["n"]), int(float(r[column]))] for r in rows])
        usual = int(np.bincount(table[:, 0]).argmax())
        if usual < 16:
            usual = int(table[:, 0].max())
        table = table[table[:, 0] == usual]
        if len(table) >= 30 and usual >= 32:
            sets[path.parent.name] = table
            for subset in sorted({s for r in rows for s in (r.get("subset") or "").split(";") if s}):
                mask = [subset in (r.get("subset") or "").split(";") and int(r["n"]) == usual for r in rows]
                sets[f"{path.parent.name}/{subset}"] = np.array(
                    [[int(r["n"]), int(r[column])] for r, keep in zip(rows, mask, strict=True) if keep]
                )
    return sets


def replay(folder: Path | None, quick: bool) -> list[Table]:
    """Subsample n rollouts per problem, forecast, compare with the full counts."""
    table = Table(
        "replay",
        "Replay on real counts: subsample n, forecast pass@k of the full counts",
        [
            "set",
            "n",
            "k",
            "repeats",
            "MAE ours",
            "MAE beta-binomial",
            "MAE Chen at n",
            "bias ours",
            "cov % ours",
            "width",
        ],
    )
    if folder is None:
        table.notes = ["Not run: give --counts FOLDER."]
        return [table]
    total: dict[str, list[float]] = defaultdict(list)
    for name, full in _real_sets(folder).items():
        k = int(full[0, 0])
        if (full[:, 1] == k).all():
            continue
        for n in (16,) if quick else (8, 16, 32, 64):
            if 2 * n > k:
                continue
            rng = np.random.default_rng([3, n])
            mine, bb, plain, hits, widths = [], [], [], [], []
            for repeat in range(4 if quick else 12):
                size = min(len(full), (100, 300, 1000)[repeat % 3])
                chosen = full[rng.choice(len(full), size, replace=False)]
                counts = Counts(np.full(size, n), rng.hypergeometric(chosen[:, 1], k - chosen[:, 1], n))
                truth = rivals.chen(chosen[:, 0], chosen[:, 1], k)
                law = fit_mixing_law(counts, seed=repeat)
                low, high = law.interval(pass_at(k))
                mine.append(law.mean(pass_at(k)) - truth)
                bb.append(rivals.beta_binomial(counts, {"x": pass_at(k)})["x"][0] - truth)
                plain.append(rivals.chen(counts.n_P, counts.c_P, k) - truth)
                hits.append(low <= truth <= high)
                widths.append(high - low)
            maes = [float(np.abs(e).mean()) for e in (mine, bb, plain)]
            for key, value in zip(("ours", "bb", "chen"), maes, strict=True):
                total[key].append(value)
            row = [
                name,
                n,
                k,
                len(mine),
                *maes,
                float(np.mean(mine)),
                100 * float(np.mean(hits)),
                float(np.mean(widths)),
            ]
            table.rows.append(row)
    if total:
        table.rows.append(["mean", "", "", "", *(float(np.mean(total[k])) for k in ("ours", "bb", "chen")), "", "", ""])
    table.notes = [
        "Subsets that were chosen to hold no zero-success problem have truth exactly 1: no forecast from n can cover it."
    ]
    return [table]


def _true_class(p: FloatArray, eps: float, mastery: float = 0.8) -> NDArray[np.int64]:
    return np.digitize(p, [eps, mastery])


def class_calibration(seeds: int) -> list[Table]:
    """Are class posteriors calibrated, and are confident ones right?"""
    table = Table(
        "classes",
        "Class posteriors (below eps, between, mastered) on all laws",
        ["eps", "n", "problems", "calibration gap", "share > .95", "right of those %", "right of all %"],
    )
    for eps in (0.01, 1 / 256, 0.001):
        for n in (16, 64, 256):
            posterior, truth = [], []
            for index, draw in enumerate([*TUNED.values(), *SEEN.values()]):
                for seed in range(seeds):
                    rng = np.random.default_rng([9, index, n, seed])
                    p = draw(rng, 300)
                    law = fit_mixing_law(Counts(np.full(300, n), rng.binomial(n, p)), seed=seed)
                    posterior.append(law.class_posterior(eps))
                    truth.append(_true_class(p, eps))
            q, t = np.concatenate(posterior), np.concatenate(truth)
            flat, hit = q.reshape(-1), (t[:, None] == np.arange(3)).reshape(-1)
            bins = np.minimum((flat * 10).astype(int), 9)
            gap = sum(abs(flat[bins == b].sum() - hit[bins == b].sum()) for b in range(10)) / len(flat)
            sure, right = q.max(axis=1) > 0.95, q.argmax(axis=1) == t
            row = [
                f"{eps:.4g}",
                n,
                len(t),
                float(gap),
                float(sure.mean()),
                100 * float(right[sure].mean()),
                100 * float(right.mean()),
            ]
            table.rows.append(row)
    table.notes = ["Gap: mean |predicted - observed| over ten bins of the three class probabilities, weighted by size."]
    return [table]


def allocation(seeds: int) -> list[Table]:
    """Rollouts that uniform sampling needs for the class error that adaptive rounds reach."""
    table = Table(
        "allocation",
        "Adaptive allocation: rollouts saved over uniform at equal class error",
        ["eps", "budget per problem", "used per problem", "class error adaptive", "class error uniform", "saved x"],
    )
    problems = 300
    laws = list(TUNED.values()) + list(SEEN.values())
    for eps, budget in ((0.01, 32), (0.01, 128), (0.001, 128)):
        grid = [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
        used, wrong = [], []
        uniform: dict[int, list[float]] = defaultdict(list)
        for index, draw in enumerate(laws):
            for seed in range(seeds):
                rng = np.random.default_rng([4, index, seed])
                p = draw(rng, problems)
                truth = _true_class(p, eps)
                n, c = np.full(problems, 4), rng.binomial(4, p)
                while True:
                    counts = Counts(n, c)
                    posterior = fit_mixing_law(counts, seed=seed).class_posterior(eps)
                    blocks = next_blocks(counts, posterior, budget * problems - counts.n_rollouts)
                    if blocks.sum() == 0:
                        break
                    n, c = n + blocks, c + rng.binomial(blocks, p)
                used.append(counts.n_rollouts / problems)
                wrong.append(float((posterior.argmax(axis=1) != truth).mean()))
                for m in grid:
                    if budget / 4 <= m <= 8 * budget:
                        law = fit_mixing_law(Counts(np.full(problems, m), rng.binomial(m, p)), seed=seed)
                        uniform[m].append(float((law.class_posterior(eps).argmax(axis=1) != truth).mean()))
        ns = np.array(sorted(uniform))
        errors = np.minimum.accumulate([np.mean(uniform[m]) for m in ns])
        spent, error = float(np.mean(used)), float(np.mean(wrong))
        needed = float(np.exp(np.interp(-error, -errors, np.log(ns))))
        at_same = float(np.interp(spent, ns, errors))
        table.rows.append([eps, budget, spent, error, at_same, needed / spent])
    table.notes = [
        f"{len(laws)} laws x {seeds} seeds x {problems} problems, 4 rollouts each first, then doubling blocks."
    ]
    return [table]


def deep_support_toy(repeats: int) -> list[Table]:
    """A policy that solves with p = 3.4e-8 in one of 40 styles, a hinted proposal that mostly does."""
    table = Table(
        "deep_support",
        "Deep support: 512 hinted rollouts, p = 3.4e-8",
        ["style drift (nats)", "defined %", "valid bound % (all)", "median low/p (defined)", "relative RMSE (defined)"],
    )
    p, q, delta, styles = 3.4e-8, 0.6, 0.1, 40
    for drift in (0.0, 0.5, 1.0, 2.0, 4.0):
        rng = np.random.default_rng([6, int(10 * drift)])
        lows, values, valid = [], [], []
        for _ in range(repeats):
            from_policy = rng.random(512) < delta
            won = rng.random(512) < np.where(from_policy, p, q)
            pi_style = rng.dirichlet(np.full(styles, 5.0))
            q_style = pi_style * np.exp(drift * rng.standard_normal(styles))
            q_style /= q_style.sum()
            style = np.where(from_policy, rng.choice(styles, 512, p=pi_style), rng.choice(styles, 512, p=q_style))
            log_pi = np.log(np.where(won, p, 1 - p)) + np.log(pi_style[style])
            log_q = np.log(np.where(won, q, 1 - q)) + np.log(q_style[style])
            valid.append(betting_lower_bound(importance_terms(log_pi, log_q, won, delta=delta)) <= p)
            estimate = deep_support(log_pi, log_q, won, delta=delta, plain_counts=(64, 0))
            if estimate.value is not None and estimate.low is not None:
                lows.append(estimate.low / p)
                values.append(estimate.value / p)
        rmse = float(np.sqrt(np.mean((np.array(values) - 1) ** 2))) if values else None
        median = float(np.median(lows)) if lows else None
        table.rows.append([drift, 100 * len(lows) / repeats, 100 * float(np.mean(valid)), median, rmse])
    table.notes = [f"{repeats} repeats; drift is the sd of the log density ratio of styles."]
    return [table]


def time_once(problems: int) -> None:
    """One fit with everything a diagnosis asks of it; prints JSON."""
    rng = np.random.default_rng(0)
    n, c = np.full(problems, 64), rng.binomial(64, rng.beta(0.4, 1.5, problems))
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    law = fit_mixing_law(Counts(n, c))
    fitted = time.process_time() - cpu
    law.pass_at_k(256)
    law.share_below(1 / 256)
    law.class_posterior(1 / 256)
    law.posterior_interval()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    all_cpu = time.process_time() - cpu
    print(json.dumps([fitted, all_cpu, time.perf_counter() - start, peak / 1024, (peak - base) / 1024]))


def timing(largest: int) -> list[Table]:
    """CPU and wall time and peak memory, one process per size."""
    columns = ["problems", "fit, CPU s", "fit + 4 answers, CPU s", "same, wall s", "peak MiB", "above the inputs MiB"]
    table = Table("time", "Time and memory on one core, n = 64", columns)
    for problems in (1_000, 10_000, 100_000, 1_000_000):
        if problems > largest:
            continue
        command = [sys.executable, "-m", "benchmarks.stats.main", "--one-timing", str(problems)]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)
        ]
        table.rows.append([problems, *(float(x) for x in np.min(runs, axis=0))])
    table.notes = ["Best of three fresh processes."]
    return [table]
