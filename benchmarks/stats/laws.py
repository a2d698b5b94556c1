"""Simulated mixing laws of different shape.

TUNED were looked at while the estimator was written, SEEN when components were added to it, UNSEEN never.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

FloatArray = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], FloatArray]


def _mix(weights: list[float], parts: list[Draw]) -> Draw:
    def draw(rng: np.random.Generator, size: int) -> FloatArray:
        which = rng.choice(len(parts), size, p=weights)
        drawn = np.stack([part(rng, size) for part in parts])
        return drawn[which, np.arange(size)]

    return draw


def _beta(a: float, b: float) -> Draw:
    return lambda rng, size: rng.beta(a, b, size)


def _point(p: float) -> Draw:
    return lambda _, size: np.full(size, p)


def _logit_normal(mean: float, sd: float) -> Draw:
    return lambda rng, size: expit(rng.normal(mean, sd, size))


def _log_uniform(low: float, high: float) -> Draw:
    return lambda rng, size: np.exp(rng.uniform(np.log(low), np.log(high), size))


TUNED: dict[str, Draw] = {
    "beta U-shaped (.3, .6)": _beta(0.3, 0.6),
    "beta heavy tail (.15, 1.5)": _beta(0.15, 1.5),
    "30% zeros + beta (.5, 1.5)": _mix([0.3, 0.7], [_point(0.0), _beta(0.5, 1.5)]),
    "logit-normal (-2.5, 2.5)": _logit_normal(-2.5, 2.5),
    "bimodal": _mix([0.5, 0.5], [_logit_normal(-6.0, 0.8), _logit_normal(1.5, 0.8)]),
    "atoms near thresholds": _mix(
        [0.2, 0.2, 0.2, 0.2, 0.2], [_point(0.0008), _point(0.008), _point(0.05), _point(0.5), _point(0.9)]
    ),
    "log-uniform (1e-5, 1)": _log_uniform(1e-5, 1.0),
    "easy with a tail": _mix([0.85, 0.15], [_beta(4.0, 1.0), _log_uniform(1e-5, 0.3)]),
}
SEEN: dict[str, Draw] = {
    "50% zeros + beta (2, 2)": _mix([0.5, 0.5], [_point(0.0), _beta(2.0, 2.0)]),
    "beta low (1, 30)": _beta(1.0, 30.0),
    "zeros + tail + easy": _mix([0.15, 0.45, 0.4], [_point(0.0), _log_uniform(1e-4, 0.1), _beta(6.0, 2.0)]),
    "-ln p gamma (1.5, 2)": lambda rng, size: np.exp(-rng.gamma(1.5, 2.0, size)),
}
UNSEEN: dict[str, Draw] = {
    "three heaps (.004, .06, .7)": _mix([0.3, 0.3, 0.4], [_point(0.004), _point(0.06), _point(0.7)]),
    "heap (.015) in a spread": _mix([0.4, 0.6], [_point(0.015), _beta(0.6, 0.8)]),
    "logit-Laplace (-3, 1.5)": lambda rng, size: expit(rng.laplace(-3.0, 1.5, size)),
    "zeros + hard + easy": _mix([0.2, 0.4, 0.4], [_point(0.0), _logit_normal(-4.0, 1.2), _beta(3.0, 1.5)]),
}
