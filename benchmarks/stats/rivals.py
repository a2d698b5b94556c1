"""Other ways to answer the same questions: what the stats benchmark compares the mixing law with.

Every rival maps counts to a dict figure -> (value, low, high); low and high are None where it has no interval.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betainc, betaln, gammaln

from benchmarks.stats.laws import Draw, FloatArray
from posttrain_diag.stats import Counts, Functional, MixingLaw, below, fit_mixing_law, pass_at
from posttrain_diag.stats.functionals import PGrid

Figures = dict[str, tuple[float, float | None, float | None]]
IntArray = NDArray[np.int64]


def questions(n: int) -> dict[str, Functional]:
    """The figures of STATISTICS.md at n rollouts."""
    return {
        "pass@4n": pass_at(4 * n),
        "pass@16n": pass_at(16 * n),
        "pass@100n": pass_at(100 * n),
        "F(1/n)": below(1 / n),
        "F(1/10n)": below(0.1 / n),
    }


def ours(counts: Counts, asked: dict[str, Functional], seed: int) -> tuple[Figures, MixingLaw]:
    """The project's estimator, and the fitted law."""
    law = fit_mixing_law(counts, seed=seed)
    out: Figures = {}
    for name, functional in asked.items():
        low, high = law.interval(functional)
        out[name] = (law.mean(functional), low, high)
    return out, law


def load_reference(path: Path | None) -> ModuleType | None:
    """The dense numeric reference, when its path is given."""
    if path is None or not path.exists():
        return None
    spec = importlib.util.spec_from_file_location("stats_reference", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reference(module: ModuleType, counts: Counts, asked: dict[str, Functional], seed: int) -> Figures:
    """The reference estimator."""
    fit = module.fit(counts.n_P, counts.c_P, np.random.default_rng(seed))
    out: Figures = {}
    for name, functional in asked.items():
        h = module.below(functional.threshold) if functional.threshold is not None else functional.of(module.P)
        value, low, high = module.estimate(fit, h)
        out[name] = (float(value), float(low), float(high))
    return out


def fit_beta_binomial(counts: Counts) -> tuple[float, float]:
    """Maximum likelihood a, b."""
    t = counts.table
    n, c, m = t.n_R.astype(float), t.c_R.astype(float), t.weight_R

    def loss(theta: FloatArray) -> float:
        a, b = np.exp(theta)
        return -float(m @ (betaln(c + a, n - c + b) - betaln(a, b)))

    fits = [
        minimize(loss, start, method="L-BFGS-B", bounds=[(-7, 6), (-7, 6)])
        for start in ([-1.0, 0.5], [0.0, 0.0], [-2.0, -1.0])
    ]
    a, b = np.exp(min(fits, key=lambda r: r.fun).x)
    return float(a), float(b)


def beta_binomial(counts: Counts, asked: dict[str, Functional]) -> Figures:
    """Per-problem posterior means under the fitted beta law; no interval worth the name."""
    a, b = fit_beta_binomial(counts)
    c, f = counts.c_P + a, counts.n_P - counts.c_P + b
    out: Figures = {}
    for name, functional in asked.items():
        if functional.threshold is not None:
            value = float(betainc(c, f, functional.threshold).mean())
        else:
            value = float((1 - np.exp(betaln(c, f + functional.depth) - betaln(c, f))).mean())
        out[name] = (value, None, None)
    return out


def _posterior_means(counts: Counts, p: FloatArray, weight: FloatArray, asked: dict[str, Functional]) -> Figures:
    """Posterior means, with normal finite-benchmark intervals, under a discrete law taken as known."""
    t = counts.table
    c, f = t.c_R[:, None].astype(float), (t.n_R - t.c_R)[:, None].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_l = np.where(c > 0, c * np.log(p), 0.0) + np.where(f > 0, f * np.log1p(-p), 0.0)
    post = np.exp(log_l - log_l.max(axis=1, keepdims=True)) * weight
    post /= post.sum(axis=1, keepdims=True)
    out: Figures = {}
    problems = t.weight_R.sum()
    for name, functional in asked.items():
        h = functional.of(p)
        mean, second = post @ h, post @ h**2
        value = float(t.weight_R @ mean / problems)
        half = 1.645 * float(np.sqrt(max(0.0, t.weight_R @ (second - mean**2)))) / problems
        out[name] = (value, max(0.0, value - half), min(1.0, value + half))
    return out


def oracle(counts: Counts, draw: Draw, asked: dict[str, Functional]) -> Figures:
    """Knows the law (8,000 draws of it), not the problems' p."""
    p = draw(np.random.default_rng(12345), 8000)
    return _posterior_means(counts, p, np.full(len(p), 1 / len(p)), asked)


def npmle(counts: Counts, asked: dict[str, Functional], steps: int = 400) -> Figures:
    """Non-parametric maximum likelihood of the law on a grid, by EM."""
    grid = PGrid.for_rollouts(int(counts.n_P.max()))
    t = counts.table
    log_l = grid.log_likelihood(t.n_R.astype(float), t.c_R.astype(float))
    like = np.exp(log_l - log_l.max(axis=1, keepdims=True))
    weight = np.full(like.shape[1], 1 / like.shape[1])
    for _ in range(steps):
        weight = weight * ((t.weight_R / (like @ weight)) @ like) / t.weight_R.sum()
    return _posterior_means(counts, grid.p_J, weight, asked)


def chen(n: IntArray, c: IntArray, k: int) -> float:
    """Unbiased pass@k with k clipped to each n: what a tool reports that cannot look beyond n."""
    k_P = np.minimum(k, n)
    possible = n - c >= k_P
    fail = np.where(possible, n - c, k_P)
    log_none = gammaln(fail + 1) - gammaln(fail - k_P + 1) - gammaln(n + 1) + gammaln(n - k_P + 1)
    return float(np.where(possible, 1 - np.exp(log_none), 1.0).mean())
