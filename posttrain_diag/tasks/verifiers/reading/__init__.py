"""What a completion answers: one layer of reading under every verifier.

    completion ──► final_part: after the thinking, before the next question ──► marks: the answers it marks itself

`final_part(completion).text` is all that a verifier may judge; where a thought is still open it is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from posttrain_diag.tasks.verifiers.reading.marks import Mark, find_marks
from posttrain_diag.tasks.verifiers.reading.run_on import before_next_question
from posttrain_diag.tasks.verifiers.reading.thoughts import without_thoughts

__all__ = ["MAX_CHARS", "FinalPart", "Mark", "final_part"]

MAX_CHARS = 200_000
"""Of longer completions only the end is read."""


@dataclass(frozen=True)
class FinalPart:
    """The part of a completion that answers the question."""

    text: str
    """Without thinking and without what belongs to a next question; surrounding white space is kept."""
    open_thought: bool
    """The thinking never ended: there is no answer, and `text` is empty."""

    def marks(self) -> Iterator[Mark]:
        """The answers that the text marks as its own, left to right."""
        return find_marks(self.text)


@lru_cache(maxsize=256)
def final_part(completion: str) -> FinalPart:
    """What is left of a completion after its thinking and before the next question."""
    unthought = without_thoughts(completion[-MAX_CHARS:])
    return FinalPart(before_next_question(unthought.text), unthought.open)
