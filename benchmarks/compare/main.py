"""Comparison of two runs: are its intervals honest, is the null control calibrated, what does it see?

Pairs of runs are simulated from sixteen laws of p and six kinds of change whose truth is known for every problem:
numbers of problems that gained and lost support, change of pass@1 and its parts. The rival takes the two runs'
posteriors as independent. `--repeats 4` for four times as many pairs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from benchmarks.machine import write
from benchmarks.stats.laws import SEEN, TUNED, UNSEEN
from posttrain_diag.compare import Figures
from posttrain_diag.stats import Counts, fit_mixing_law, next_blocks
from posttrain_diag.types import Estimate

FloatArray = NDArray[np.float64]
Change = Callable[[FloatArray, float, np.random.Generator], FloatArray]

LAWS = {**TUNED, **SEEN, **UNSEEN}
SIZES = ((100, 64, 64, 256), (60, 32, 128, 64), (200, 16, 16, 64))
"""Problems, rollouts before, rollouts after, rollout budget."""
NULL_PAIRS = 48
POWER_PAIRS = 12


def moved(p: FloatArray, by: float, sd: float, rng: np.random.Generator) -> FloatArray:
    """Every p > 0 moved in logit."""
    inside = np.clip(p, 1e-12, 1 - 1e-12)
    return np.where(p > 0, expit(logit(inside) + by + sd * rng.standard_normal(len(p))), 0.0)


def gained(p: FloatArray, eps: float, share: float, rng: np.random.Generator) -> FloatArray:
    """A share of the problems out of support is solved sometimes now."""
    return np.where((p < eps) & (rng.random(len(p)) < share), rng.beta(2, 2, len(p)), p)


def lost(p: FloatArray, share: float, rng: np.random.Generator) -> FloatArray:
    """A share of all problems is never solved any more."""
    return np.where(rng.random(len(p)) < share, 0.0, p)


CHANGES: dict[str, Change] = {
    "none": lambda p, eps, rng: p,
    "drift: logit + N(0, .3)": lambda p, eps, rng: moved(p, 0.0, 0.3, rng),
    "shift: logit + 1": lambda p, eps, rng: moved(p, 1.0, 0.0, rng),
    "gain: 40% of the unsupported": lambda p, eps, rng: gained(p, eps, 0.4, rng),
    "loss: 20% of all": lambda p, eps, rng: lost(p, 0.2, rng),
    "shift, gain 30%, loss 10%": lambda p, eps, rng: lost(gained(moved(p, 1.0, 0.0, rng), eps, 0.3, rng), 0.1, rng),
}


@dataclass(frozen=True)
class Pair:
    """Two simulated runs and the truth."""

    p: FloatArray
    q: FloatArray
    figures: Figures

    def truth(self) -> dict[str, float]:
        """What the figures estimate."""
        before, after = self.p >= self.figures.eps, self.q >= self.figures.eps
        delta = self.q - self.p
        return {
            "E": float((~before & after).sum()),
            "S": float((before & ~after).sum()),
            "P": float((before & after).sum()),
            "change": float(delta.mean()),
            "reshaping": float((delta * (before & after)).mean()),
            "expansion": float((delta * (~before & after)).mean()),
            "attrition": -float((delta * (before & ~after)).mean()),
        }

    def estimates(self) -> dict[str, Estimate]:
        """The same, estimated."""
        support, change = self.figures.support(), self.figures.pass_change(1).change
        parts = self.figures.decomposition(change, None)
        return {
            "E": support.expanded,
            "S": support.shrunk,
            "P": support.preserved,
            "change": change,
            "reshaping": parts.reshaping,
            "expansion": parts.expansion,
            "attrition": parts.attrition,
        }

    def independent(self) -> dict[str, tuple[float, float]]:
        """90% intervals of E and S when the two posteriors are taken as independent."""
        before, after = (
            law.sample_p(400, np.random.default_rng(seed)) >= self.figures.eps
            for seed, law in enumerate(self.figures.laws)
        )
        draws = {"E": (~before & after).sum(axis=1), "S": (before & ~after).sum(axis=1)}
        return {name: tuple(np.quantile(found, [0.05, 0.95])) for name, found in draws.items()}


def uniform(p: FloatArray, n: int, rng: np.random.Generator) -> Counts:
    """N draws of every problem."""
    return Counts(np.full(len(p), n), rng.binomial(n, p))


def adaptive(p: FloatArray, mean_n: int, eps: float, rng: np.random.Generator) -> Counts:
    """Draws in rounds where classes are open, as `diag analyze` makes them."""
    n, budget = np.full(len(p), 4), (mean_n - 4) * len(p)
    counts = Counts(n, rng.binomial(n, p))
    while budget > 0:
        classes = fit_mixing_law(counts).class_posterior(eps)
        block = next_blocks(counts, classes, budget, zero_reserve=min(budget, mean_n * len(p) // 4))
        if not block.any():
            break
        counts = Counts(counts.n_P + block, counts.c_P + rng.binomial(block, p))
        budget -= int(block.sum())
    return counts


def pairs(change: Change, repeats: int, rng: np.random.Generator) -> Iterator[Pair]:
    """One pair for each law and repeat, sizes in turn."""
    for turn, law in enumerate(list(LAWS.values()) * repeats):
        problems, n, m, budget = SIZES[turn % len(SIZES)]
        p = law(rng, problems)
        q = change(p, 1 / budget, rng)
        yield Pair(p, q, Figures(uniform(p, n, rng), uniform(q, m, rng), budget, 0.9, turn))


def coverage(change: Change, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of intervals that hold the truth, widths and errors of E and S as shares of the problems."""
    rows: list[dict[str, float]] = []
    for pair in pairs(change, repeats, rng):
        truth, row = pair.truth(), {}
        for name, found in pair.estimates().items():
            assert found.low is not None and found.high is not None and found.value is not None
            row[f"cover_{name}"] = float(found.low - 1e-12 <= truth[name] <= found.high + 1e-12)
            if name in {"E", "S"}:
                row[f"width_{name}"] = (found.high - found.low) / len(pair.p)
                row[f"bias_{name}"] = (found.value - truth[name]) / len(pair.p)
        for name, (low, high) in pair.independent().items():
            row[f"independent_{name}"] = float(low <= truth[name] <= high)
        rows.append(row)
    return {"pairs": len(rows), **{name: float(np.mean([row[name] for row in rows])) for name in rows[0]}}


def null_alarms(kind: str, pairs_wanted: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of pairs of one model that a test at 5% calls changed."""
    alarms: list[tuple[bool, bool, bool]] = []
    for turn in range(pairs_wanted):
        problems, n, m, budget = SIZES[turn % len(SIZES)]
        p = LAWS[[*LAWS][turn % len(LAWS)]](rng, problems)
        if kind == "uniform":
            runs = uniform(p, n, rng), uniform(p, m, rng)
        else:
            runs = adaptive(p, n, 1 / budget, rng), adaptive(p, m, 1 / budget, rng)
        figures = Figures(*runs, budget, 0.9, turn)
        expanded, shrunk = figures.null()
        alarms.append((expanded.exceeds, shrunk.exceeds, figures.pass_change(1).p_value < 0.05))
    names = ("expanded", "shrunk", "pass@1")
    return {"pairs": pairs_wanted, **dict(zip(names, np.mean(alarms, axis=0).tolist(), strict=True))}


POWERS: dict[str, Change] = {
    "logit + .25": lambda p, eps, rng: moved(p, 0.25, 0.0, rng),
    "logit + .5": lambda p, eps, rng: moved(p, 0.5, 0.0, rng),
    "5% of the unsupported gained": lambda p, eps, rng: gained(p, eps, 0.05, rng),
    "15% of the unsupported gained": lambda p, eps, rng: gained(p, eps, 0.15, rng),
    "5% of all lost": lambda p, eps, rng: lost(p, 0.05, rng),
}


def power(change: Change, rng: np.random.Generator) -> dict[str, float]:
    """Share of pairs of 100 problems, n = 64, in which each test at 5% sees the change."""
    seen: list[tuple[bool, bool, bool]] = []
    for turn in range(POWER_PAIRS):
        p = LAWS[[*LAWS][turn % len(LAWS)]](rng, 100)
        q = change(p, 1 / 256, rng)
        figures = Figures(uniform(p, 64, rng), uniform(q, 64, rng), 256, 0.9, turn)
        expanded, shrunk = figures.null()
        seen.append((expanded.exceeds, shrunk.exceeds, figures.pass_change(1).p_value < 0.05))
    return dict(zip(("expanded", "shrunk", "pass@1"), np.mean(seen, axis=0).tolist(), strict=True))


def main() -> int:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    repeats = parser.parse_args().repeats
    rng, start = np.random.default_rng(20), time.process_time()
    covered = {name: coverage(change, repeats, rng) for name, change in CHANGES.items()}
    sys.stderr.write(f"coverage done after {time.process_time() - start:.0f} CPU-s\n")
    alarms = {
        "uniform": null_alarms("uniform", NULL_PAIRS * repeats, rng),
        "adaptive": null_alarms("adaptive", NULL_PAIRS * repeats // 6, rng),
    }
    seen = {name: power(change, rng) for name, change in POWERS.items()}
    cpu_s = round(time.process_time() - start)
    data = {"coverage": covered, "false_alarms": alarms, "power": seen, "cpu_s": cpu_s}
    write("compare", "Comparison of two runs: coverage, false alarms, power", data, table(covered, alarms, seen, cpu_s))
    mean = np.mean([row[f"cover_{name}"] for row in covered.values() for name in ("E", "S", "change")])
    return 0 if mean >= 0.85 and max(alarms["uniform"][name] for name in ("expanded", "shrunk")) <= 0.1 else 1


def table(
    covered: dict[str, dict[str, float]],
    alarms: dict[str, dict[str, float]],
    seen: dict[str, dict[str, float]],
    cpu_s: int,
) -> list[str]:
    """The results as Markdown."""
    names = ("E", "S", "P", "change", "reshaping", "expansion", "attrition")
    lines = [
        "Coverage of nominal 90% intervals, in percent; in brackets when the two posteriors are taken as independent. "
        "Widths and errors of E and S in percent of the problems.",
        "",
        "| change | pairs | " + " | ".join(names) + " | width E, S | mean error E, S |",
        "|---" * (len(names) + 4) + "|",
    ]
    for change, row in covered.items():
        cells = [
            f"{100 * row[f'cover_{n}']:.0f}" + (f" ({100 * row[f'independent_{n}']:.0f})" if n in {"E", "S"} else "")
            for n in names
        ]
        ends = [", ".join(f"{100 * row[f'{what}_{n}']:.1f}" for n in ("E", "S")) for what in ("width", "bias")]
        lines.append(f"| {change} | {row['pairs']} | " + " | ".join([*cells, *ends]) + " |")
    lines += [
        "",
        "Share of pairs in which a test at 5% sees a change, in percent.",
        "",
        "| pairs | support gained | support lost | pass@1 |",
        "|---|---|---|---|",
    ]
    tested = {f"nothing changed, {kind} ({row['pairs']} pairs)": row for kind, row in alarms.items()} | seen
    for name, row in tested.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{100 * row[n]:.0f}" for n in ("expanded", "shrunk", "pass@1")) + " |"
        )
    sizes = "; ".join(f"{p} problems, n = {n} and {m}, B = {b}" for p, n, m, b in SIZES)
    return [
        *lines,
        "",
        f"Sixteen laws of p; sizes in turn: {sizes}; power: 100 problems, n = 64, B = 256. {cpu_s} CPU-s.",
    ]


if __name__ == "__main__":
    sys.exit(main())
