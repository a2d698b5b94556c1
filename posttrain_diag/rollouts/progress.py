"""What a caller may want to show while rollouts are drawn, and the phases of an analysis and a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from posttrain_diag.types import ProblemClass

Phase = Literal["load", "sample", "probe", "diagnose", "report", "train"]


class Progress:
    """What a caller may want to show while an analysis runs; this base class shows nothing."""

    def phase(self, name: Phase, detail: str) -> None:
        """A phase begins."""

    def plan(self, draws: int, done: int, cap: int) -> None:
        """`draws` rollouts are planned in this phase, `done` are stored already, each has at most `cap` tokens."""

    def tell(self, line: str) -> None:
        """What the analysis has settled by itself, e.g. the token cap."""

    def advance(self, rollouts: int, tokens: int) -> None:
        """Rollouts became durable."""

    def steps(self, done: int, total: int, tokens: int) -> None:
        """A stage has made `done` of its optimizer steps; `tokens` were generated and trained so far."""

    def resolved(self, classes: Mapping[ProblemClass, int]) -> None:
        """Problems per class: after a round of sampling by the success probability alone, in the end as diagnosed.

        While sampling, "support" holds all problems below 1/B, for prefixes are tried later.
        """
