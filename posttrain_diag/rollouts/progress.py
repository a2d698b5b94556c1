"""What a caller may want to show while rollouts are drawn, and the phases of an analysis and a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from posttrain_diag.types import ProblemClass

Phase = Literal["load", "sample", "probe", "diagnose", "report", "train"]


class Progress:
    """What a caller may want to show while an analysis runs; this base class shows nothing."""

    def phase(self, name: Phase, detail: str) -> None:
        """Called when a phase begins; `detail` says in words what happens in it."""

    def warn(self, text: str) -> None:
        """Something that the user can mend was seen."""

    def note(self, text: str) -> None:
        """A fact about the model or its engine that a reader must know, e.g. that decoding is slow, and why."""

    def plan(self, draws: int, done: int, cap: int) -> None:
        """Called when a phase knows what it draws.

        `draws` rollouts are planned in this phase, `done` are stored already, each has at most `cap` tokens.
        """

    def tell(self, line: str) -> None:
        """What the analysis has settled by itself, e.g. the token cap."""

    def advance(self, rollouts: int, tokens: int) -> None:
        """Called when further rollouts became durable, with the tokens they hold."""

    def steps(self, done: int, total: int, tokens: int) -> None:
        """Called when a stage has made `done` of its optimizer steps; `tokens` were generated and trained so far."""

    def resolved(self, classes: Mapping[ProblemClass, int]) -> None:
        """Called with the number of problems per class.

        After a round of sampling the class follows from the success probability alone, in the end it is as diagnosed.
        While sampling, "support" holds all problems below 1/B, for prefixes are tried later.
        """
