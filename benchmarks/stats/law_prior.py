"""What laws of p do real models have? Learned from published pairs of pass@1 and pass@k, one law per pair.

A pair fixes a law of two parameters: the beta law and the normal law of logit(p) whose pass@1 and pass@k are the
published ones. The location and spread of these parameters over many models and benchmarks is the prior that the
mixing law starts from (`posttrain_diag/stats/law_prior.json`), written by `python -m benchmarks stats --only law_prior`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, expit

from benchmarks.stats.cases import Table
from benchmarks.stats.laws import FloatArray
from posttrain_diag.stats.law_prior import FILE

DATA = Path(__file__).parent / "data" / "published_pass_at_k.csv"
_T_FREEDOM = 4.0
"""Degrees of freedom of the t law whose location and scale are fitted: a few odd pairs should not widen the prior."""
_Z = np.linspace(-8.0, 8.0, 801)
_Z_WEIGHT = np.exp(-0.5 * _Z**2) / np.exp(-0.5 * _Z**2).sum()


@dataclass(frozen=True)
class Published:
    """One published pair: a model's pass@1 and pass@k on a benchmark."""

    source: str
    benchmark: str
    k: float
    pass_at_1: float
    pass_at_k: float


def published() -> list[Published]:
    """The pairs that leave a law to find: 0 < pass@1 < pass@k < 1."""
    with DATA.open(newline="") as handle:
        rows = [
            Published(r["source"], r["benchmark"], float(r["k"]), float(r["pass_at_1"]), float(r["pass_at_k"]))
            for r in csv.DictReader(handle)
        ]
    return [row for row in rows if 0.0 < row.pass_at_1 < row.pass_at_k < 1.0]


def beta_of(pair: Published) -> tuple[float, float] | None:
    """(log a, log b) of the beta law with this pass@1 and pass@k; none where the pair is too extreme for one."""
    odds = (1.0 - pair.pass_at_1) / pair.pass_at_1

    def gap(log_a: float) -> float:
        a, b = np.exp(log_a), odds * np.exp(log_a)
        return float(1.0 - np.exp(betaln(a, b + pair.k) - betaln(a, b)) - pair.pass_at_k)

    if gap(-7.0) * gap(6.0) >= 0:
        return None
    log_a = float(brentq(gap, -7.0, 6.0))  # pyright: ignore[reportArgumentType]
    return log_a, log_a + float(np.log(odds))


def normal_of(pair: Published) -> tuple[float, float] | None:
    """(mean, log sd) of the normal law of logit(p) with this pass@1 and pass@k; none where no such law exists."""

    def centre(sd: float) -> float:
        return float(brentq(lambda m: float(_Z_WEIGHT @ expit(m + sd * _Z)) - pair.pass_at_1, -60.0, 60.0))  # pyright: ignore[reportArgumentType]

    def gap(log_sd: float) -> float:
        sd = float(np.exp(log_sd))
        p = expit(centre(sd) + sd * _Z)
        return float(_Z_WEIGHT @ -np.expm1(pair.k * np.log1p(-np.minimum(p, 1 - 1e-15)))) - pair.pass_at_k

    if gap(-3.0) * gap(2.7) >= 0:
        return None
    log_sd = float(brentq(gap, -3.0, 2.7))  # pyright: ignore[reportArgumentType]
    return centre(float(np.exp(log_sd))), log_sd


def robust_spread(values_VD: FloatArray, weight_V: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Location and scale of a t law for each column, by EM.

    Args:
        values_VD: parameters of V laws, shape (V, D).
        weight_V: weight of each law, shape (V,).

    Returns:
        Locations and scales, each of shape (D,).
    """
    centre_D = np.average(values_VD, axis=0, weights=weight_V)
    scale_D = np.sqrt(np.average((values_VD - centre_D) ** 2, axis=0, weights=weight_V))
    for _ in range(200):
        pull_VD = (_T_FREEDOM + 1) / (_T_FREEDOM + ((values_VD - centre_D) / scale_D) ** 2) * weight_V[:, None]
        centre_D = (pull_VD * values_VD).sum(axis=0) / pull_VD.sum(axis=0)
        scale_D = np.sqrt((pull_VD * (values_VD - centre_D) ** 2).sum(axis=0) / weight_V.sum())
    return centre_D, scale_D


def learn(pairs: list[Published]) -> dict[str, dict[str, list[float]]]:
    """Location and scale of both kinds of law; the pairs of one source share a weight of the root of their number."""
    size = Counter(pair.source for pair in pairs)
    out: dict[str, dict[str, list[float]]] = {}
    for name, solve in (("beta", beta_of), ("normal", normal_of)):
        found = [(law, size[pair.source] ** -0.5) for pair in pairs if (law := solve(pair)) is not None]
        centre_D, scale_D = robust_spread(np.array([law for law, _ in found]), np.array([w for _, w in found]))
        out[name] = {"mean": np.round(centre_D, 2).tolist(), "sd": np.round(scale_D, 2).tolist()}
    return out


def write_prior() -> None:
    """Write the file that ships in the package."""
    pairs = published()
    payload = {
        "about": "Normal prior of the laws of p: of (log a, log b) of a beta law, of (mean, log sd) of a normal law "
        "of logit(p). Learned from published pass@1 and pass@k of real models.",
        "made_by": "python -m benchmarks stats --only law_prior",
        "data": "benchmarks/stats/data/published_pass_at_k.csv",
        "pairs": len(pairs),
        "sources": sorted({pair.source for pair in pairs}),
        **learn(pairs),
    }
    FILE.write_text(json.dumps(payload, indent=1) + "\n")


def leave_one_source_out() -> list[list[str | int | float]]:
    """For each source: what the prior of all others says of its laws.

    Returns:
        Rows of source, pairs, the other sources' mean and sd of log a given pass@1, mean error, share within 90%.
    """
    pairs = published()
    rows: list[list[str | int | float]] = []
    for source in sorted({pair.source for pair in pairs}):
        held = [pair for pair in pairs if pair.source == source]
        prior = learn([pair for pair in pairs if pair.source != source])["beta"]
        (mean_a, mean_b), (sd_a, sd_b) = prior["mean"], prior["sd"]
        errors: list[float] = []
        for pair in held:
            law = beta_of(pair)
            if law is None:
                continue
            odds = law[1] - law[0]  # pass@1 is known, so the prior acts along the line log b = log a + odds
            precision = sd_a**-2 + sd_b**-2
            along = (mean_a * sd_a**-2 + (mean_b - odds) * sd_b**-2) / precision
            errors.append((law[0] - along) * precision**0.5)
        within = float(np.mean(np.abs(errors) <= 1.645))
        rows.append([source, len(errors), mean_a, mean_b, sd_a, sd_b, float(np.mean(errors)), 100 * within])
    return rows


def section() -> list[Table]:
    """Write the prior, and check it on the laws of each source when learned from all others."""
    write_prior()
    columns = ["source", "pairs", "mean log a", "mean log b", "sd log a", "sd log b", "mean error, sd", "within 90%"]
    table = Table("law_prior", "Prior of the laws of p, each source held out", columns, list(leave_one_source_out()))
    table.notes = [
        "Mean and sd: learned without the source. Error: log a of the source's laws less what the prior expects at their "
        "pass@1, in prior sd. The prior of all sources: `posttrain_diag/stats/law_prior.json`.",
    ]
    return [table]
