"""What stages did where the truth is known: the precedents of every forecast, shipped as data.

`data/outcomes.json` is written by `python -m benchmarks outcomes` from the records of the stages benchmark: one row per
stage, situation, family of problems and flavour, means over seeds, all measured on held-out problems.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from posttrain_diag.types import ProblemClass


@dataclass(frozen=True)
class Outcome:
    """What one stage did on one family of problems, in one situation."""

    stage: str
    situation: str
    model: str
    family: str
    part: ProblemClass
    """The class that the family's problems had for that model."""
    demos: int
    """Number of training problems with a demonstration."""
    tokens: float
    """Tokens generated and trained on."""
    sequences: float
    """Those tokens divided by the mean length of a response."""
    before: float
    """pass@1 on held-out problems of the family before the stage."""
    after: float
    kept: float
    """Change of the mean pass rate on retained tasks; half a batch or so was replay, as by default."""
    limited: bool
    """Whether it ran under a token budget that cut it short."""
    runs: int

    @property
    def won(self) -> float:
        """Share of the headroom that the stage won; negative where pass@1 fell."""
        room = 1.0 - self.before
        return (self.after - self.before) / room if room > 0.02 else min(0.0, self.after - self.before)


@cache
def shipped_outcomes() -> tuple[Outcome, ...]:
    """The outcomes that come with the package."""
    path = resources.files("posttrain_diag") / "data" / "outcomes.json"
    return tuple(Outcome(**row) for row in json.loads(path.read_text(encoding="utf-8"))["outcomes"])


def apart_from(outcomes: Sequence[Outcome], model: str, families: Sequence[str]) -> tuple[Outcome, ...]:
    """The outcomes that were not measured on these families of this model, on which a forecast for them may rest."""
    return tuple(o for o in outcomes if not (o.model == model and o.family in families))
