"""What the cut branches of an enumeration are worth: rollouts that start in them, drawn by their mass.

A law that knows nothing spreads over more responses than can be enumerated, so the mass of cut branches may be too
much to leave open. A few hundred rollouts from them bound the share that succeeds.

Shapes: N nodes of the tree at one depth, V tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RISK = 1e-4
"""Probability that a bound from drawn rollouts does not hold."""

Node = tuple[int, ...]
"""A node of the tree: token ids from the start of the response, without a given prefix."""


class Reservoir:
    """A sample of the cut branches of one problem, each drawn with probability proportional to its mass."""

    def __init__(self, draws: int, rng: np.random.Generator) -> None:
        self.mass = 0.0
        """Of all branches seen."""
        self.nodes: list[Node] = [()] * draws
        self._rng = rng

    def add(self, nodes: Sequence[Node], mass_NV: NDArray[np.float64]) -> None:
        """Take note of the branches that extend `nodes` by each token.

        Args:
            nodes: N nodes of the tree.
            mass_NV: probability of each branch, shape (N, V); 0 where there is none.
        """
        mass = float(mass_NV.sum())
        if mass == 0.0:
            return
        self.mass += mass
        slots = np.flatnonzero(self._rng.random(len(self.nodes)) < mass / self.mass)
        picks = self._rng.choice(mass_NV.size, len(slots), p=mass_NV.ravel() / mass)
        for slot, pick in zip(slots.tolist(), picks.tolist(), strict=True):
            self.nodes[slot] = (*nodes[pick // mass_NV.shape[1]], pick % mass_NV.shape[1])


def share_bounds(successes: int, draws: int) -> tuple[float, float]:
    """Bounds of a success probability that hold with probability 1 - `RISK` (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    low = float(beta.ppf(RISK / 2, successes, draws - successes + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(1 - RISK / 2, successes + 1, draws - successes)) if successes < draws else 1.0
    return low, high


def draw_token(logprob_NV: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one token from each law by the Gumbel trick.

    Args:
        logprob_NV: log-probabilities of the tokens, nats, shape (N, V).
        rng: source of randomness.

    Returns:
        The tokens, shape (N,).
    """
    return (logprob_NV + rng.gumbel(size=logprob_NV.shape)).argmax(axis=1)
