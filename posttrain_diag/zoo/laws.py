"""Laws of pre-training responses: written-down mixtures, so the chance of a right response is known in closed form."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Transform = Callable[[str], str]
"""Turns an instance, e.g. the word of a prompt, into a text."""
Parts = Callable[[str], Sequence[str]]
"""Turns an instance into the parts of a response."""


class Law(Protocol):
    """The law by which the pre-training data respond to an instance."""

    def draw(self, x: str, rng: random.Random) -> str:
        """One response to the instance `x`."""
        ...

    def success(self, x: str, accepts: Callable[[str], bool]) -> float:
        """Probability that a drawn response is accepted."""
        ...


@dataclass(frozen=True)
class Strategies:
    """Draws one whole response out of a few."""

    modes: tuple[tuple[float, Transform], ...]
    """The responses to the instance, each as (weight, function of the instance); weights sum to 1."""

    def draw(self, x: str, rng: random.Random) -> str:
        """One response to the instance `x`."""
        weights = [weight for weight, _ in self.modes]
        return rng.choices(self.modes, weights)[0][1](x)

    def success(self, x: str, accepts: Callable[[str], bool]) -> float:
        """Probability that a drawn response is accepted."""
        return sum(weight for weight, respond in self.modes if accepts(respond(x)))


@dataclass(frozen=True)
class PartNoise:
    """Draws each part of the response by itself: a letter, a digit, a word."""

    q: float
    """Probability of the right part, before what uniform noise adds."""
    right: Parts
    wrong: Parts | None
    """Makes the wrong parts, part by part; None: uniform over `pool` (which holds the right part too)."""
    pool: Sequence[str] = ()
    glue: str = ""
    """Text between the parts."""

    def draw(self, x: str, rng: random.Random) -> str:
        """One response to the instance `x`."""
        right, wrong = self.right(x), self.wrong(x) if self.wrong else None
        return self.glue.join(
            right[i] if rng.random() < self.q else wrong[i] if wrong else rng.choice(self.pool)
            for i in range(len(right))
        )

    def success(self, x: str, accepts: Callable[[str], bool]) -> float:
        """Probability that a drawn response is accepted: q_right^parts, given that the right response is accepted."""
        right = self.right(x)
        if not accepts(self.glue.join(right)):
            return 0.0
        q_right = self.q if self.wrong else self.q + (1 - self.q) / len(self.pool)
        return q_right ** len(right)
