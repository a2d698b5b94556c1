"""Class posteriors against exact p on the zoo, and draws saved by adaptive allocation.

Exact p of every shipped problem is known, so draws are Bernoulli(p) and thousands of sets can be replayed in seconds;
the main_job benchmark holds the same check on real draws of the models.

`python -m benchmarks zoo_stats`
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import machine
from posttrain_diag.stats import FIRST_BLOCK, Counts, fit_mixing_law, next_blocks
from posttrain_diag.zoo import load_truth

MASTERY = 0.8
SEEDS = 8
ALLOCATION_SEEDS = 3
ALLOCATION_SETS = ("S", "N", "G", "T", "R+T", "R+S+T", "N+H+T", "all")
FloatArray = NDArray[np.float64]


def exact_p() -> dict[str, FloatArray]:
    """Exact p per family on its own model, and mixtures of families of 96 problems."""
    truth = load_truth()
    own = truth[
        ~((truth["tasks"] == "F15") ^ (truth["model"] == "frontier")) & truth["model"].isin(["base", "frontier"])
    ]
    families: dict[str, FloatArray] = {
        str(name): np.sqrt(np.maximum(group["p_low"], 1e-300) * np.maximum(group["p_high"], 1e-300)).to_numpy()
        for name, group in own.groupby("tasks")
        if name != "mastered"
    }
    rng = np.random.default_rng(0)
    mixtures = {"R+T": "RT", "R+S+T": "RST", "N+H+T": "NHT", "G+N": "GN", "S+F": "SF", "all": "RPQWSNHTUFG"}
    for name, members in mixtures.items():
        size = 96 // len(members)
        families[name] = np.concatenate([rng.choice(families[member], size, replace=False) for member in members])
    return families


def true_class(p_P: FloatArray, eps: float) -> NDArray[np.int64]:
    """0: p < eps, 1: between, 2: mastered."""
    return np.where(p_P < eps, 0, np.where(p_P < MASTERY, 1, 2))


def calibration(families: dict[str, FloatArray]) -> list[dict[str, Any]]:
    """Pooled calibration gap and precision of confident posteriors at eps = 1/256."""
    rows: list[dict[str, Any]] = []
    for n in (16, 64, 128):
        said, right, sure_right = [], [], []
        for p_P in families.values():
            for seed in range(SEEDS):
                rng = np.random.default_rng([n, seed])
                c_P = rng.binomial(n, p_P)
                posterior = fit_mixing_law(Counts(np.full(len(p_P), n), c_P), seed=seed).class_posterior(
                    1 / 256, MASTERY
                )
                best = posterior.max(axis=1)
                hit = posterior.argmax(axis=1) == true_class(p_P, 1 / 256)
                said.append(best)
                right.append(hit)
                sure_right.append(hit[best > 0.95])
        best, hit, sure = np.concatenate(said), np.concatenate(right), np.concatenate(sure_right)
        rows.append(
            {
                "n": n,
                "calibration_gap": float(abs(best.mean() - hit.mean())),
                "expected_calibration_error": ece(best, hit),
                "sure_share": float((best > 0.95).mean()),
                "sure_right": float(sure.mean()),
            }
        )
        print(rows[-1], flush=True)
    return rows


def ece(said: FloatArray, hit: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten equal-width bins of confidence."""
    bins = np.minimum((said * 10).astype(int), 9)
    gaps = [abs(said[bins == b].mean() - hit[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def class_error(
    p_P: FloatArray, n_P: NDArray[np.int64], uniforms: FloatArray, eps: float, seed: int
) -> tuple[float, FloatArray]:
    """Share of problems in a wrong class, and the posterior, after the first n_i of a fixed stream of draws."""
    c_P = np.array([int((uniforms[i, :n] < p).sum()) for i, (p, n) in enumerate(zip(p_P, n_P, strict=True))])
    posterior = fit_mixing_law(Counts(n_P, c_P), seed=seed).class_posterior(eps, MASTERY)
    return float((posterior.argmax(axis=1) != true_class(p_P, eps)).mean()), posterior


def adaptive_curve(
    p_P: FloatArray, uniforms: FloatArray, eps: float, budget: int, seed: int
) -> list[tuple[int, float]]:
    """(draws spent, class error) after each round."""
    n_P = np.full(len(p_P), FIRST_BLOCK)
    curve: list[tuple[int, float]] = []
    while True:
        error, posterior = class_error(p_P, n_P, uniforms, eps, seed)
        curve.append((int(n_P.sum()), error))
        c_P = np.array([int((uniforms[i, :n] < p).sum()) for i, (p, n) in enumerate(zip(p_P, n_P, strict=True))])
        blocks = next_blocks(Counts(n_P, c_P), posterior, budget - int(n_P.sum()), max_rollouts=uniforms.shape[1])
        if blocks.sum() == 0:
            return curve
        n_P = n_P + blocks


def allocation(families: dict[str, FloatArray]) -> list[dict[str, Any]]:
    """Draws uniform allocation needs for the class error that adaptive allocation ends with."""
    rows: list[dict[str, Any]] = []
    ladder = [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512]
    for eps, mean_n in ((1e-2, 32), (1e-2, 128), (1 / 256, 64)):
        spent, needed, errors = [], [], []
        for name in ALLOCATION_SETS:
            p_P = families[name]
            adaptive = np.zeros(2)
            uniform = np.zeros(len(ladder))
            for seed in range(ALLOCATION_SEEDS):
                uniforms = np.random.default_rng([7, seed]).random((len(p_P), 1024))
                adaptive += adaptive_curve(p_P, uniforms, eps, mean_n * len(p_P), seed)[-1]
                uniform += [class_error(p_P, np.full(len(p_P), n), uniforms, eps, seed)[0] for n in ladder]
            draws, error = adaptive / ALLOCATION_SEEDS
            curve = np.minimum.accumulate(uniform / ALLOCATION_SEEDS)
            enough = np.flatnonzero(curve <= error + 1e-12)
            spent.append(draws / len(p_P))
            needed.append(ladder[int(enough[0])] if len(enough) else ladder[-1])
            errors.append(error)
        rows.append(
            {
                "eps": eps,
                "mean_budget": mean_n,
                "adaptive_mean_n": float(np.mean(spent)),
                "uniform_mean_n": float(np.mean(needed)),
                "class_error": float(np.mean(errors)),
                "saved_total": float(np.sum(needed) / np.sum(spent)),
                "saved_median": float(np.median(np.asarray(needed) / np.asarray(spent))),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run both parts and write the results."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    families = exact_p()
    data = {"calibration": calibration(families), "allocation": allocation(families)}
    sizes = pd.Series({name: len(p_P) for name, p_P in families.items()})
    lines = [f"{len(families)} sets of {sizes.min()}-{sizes.max()} problems with exact p, {SEEDS} seeds.", ""]
    lines += ["## Class posteriors against exact p (eps = 1/256, mastery .8)", ""]
    lines += ["| n | calibration gap | ECE (10 bins) | posterior > .95 | of these right |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['n']} | {r['calibration_gap']:.3f} | {r['expected_calibration_error']:.3f} | {r['sure_share']:.0%} | "
        f"{r['sure_right']:.1%} |"
        for r in data["calibration"]
    ]
    lines += ["", "## Draws per problem at equal class error", ""]
    lines += [
        "| eps | budget | adaptive | uniform | class error | saved (total) | saved (median set) |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['eps']:.4f} | {r['mean_budget']} | {r['adaptive_mean_n']:.1f} | {r['uniform_mean_n']:.1f} | "
        f"{r['class_error']:.3f} | {r['saved_total']:.2f}x | {r['saved_median']:.2f}x |"
        for r in data["allocation"]
    ]
    print(machine.write("zoo_stats", "Statistics on the zoo", data, lines).read_text())


if __name__ == "__main__":
    main()
