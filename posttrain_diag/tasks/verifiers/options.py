"""What a verifier is, and what text verifiers take: the options `which`, `strip`, `compare`, and a gold answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.compare import COMPARES, SYNONYMS
from posttrain_diag.types import Judgement, Problem

Verifier = Callable[[str, Problem], Judgement]
"""Judges a completion of a problem."""
COMMON_KEYS = frozenset({"which", "strip", "compare"})
_WHICH = {"first": "first", "last": "last", "any": "any", "all": "any"}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Options:
    """The options of a text verifier: which match counts, what is stripped, how the two answers are compared."""

    which: str
    strip: bool | str
    compare: str

    @staticmethod
    def of(spec: Mapping[str, Any], *, compare: str) -> Options:
        """Read the options of a verifier; `compare` is the type's default.

        Raises:
            VerifierError: a value is not accepted.
        """
        which, strip, how = spec.get("which", "last"), spec.get("strip", True), spec.get("compare", compare)
        if not isinstance(which, str) or which not in _WHICH:
            raise VerifierError(f"a verifier's 'which' is first, last or any (match); got {which!r}")
        if not isinstance(strip, (bool, str)):
            raise VerifierError(f"a verifier's 'strip' is true, false or a string of characters; got {strip!r}")
        if not isinstance(how, str) or SYNONYMS.get(how, how) not in COMPARES:
            raise VerifierError(f"a verifier's 'compare' is {', '.join(COMPARES)}; got {how!r}")
        return Options(_WHICH[which], strip, SYNONYMS.get(how, how))

    def stripped(self, text: str) -> str:
        """The text without what `strip` takes off both ends."""
        if self.strip is False:
            return text
        return text.strip() if self.strip is True else text.strip(self.strip)

    def same(self, found: str, answer: str) -> bool:
        """Whether the two texts are the same answer under `compare`."""
        return COMPARES[self.compare](found, answer)

    def chosen(self, found: Sequence[_T]) -> Sequence[_T]:
        """The matches that count under `which`."""
        if self.which == "any":
            return found
        return found[:1] if self.which == "first" else found[-1:]


def gold(problem: Problem) -> str:
    """The answer that a text verifier compares with.

    Raises:
        VerifierError: the problem has no answer.
    """
    if problem.answer is None or not problem.answer.strip():
        raise VerifierError(
            f"problem {problem.id!r} has no answer and its verifier {problem.verifier.get('type')!r} compares with "
            "one: add an answer, or use a python verifier"
        )
    return problem.answer


def shortened(text: str) -> str:
    """A text as an error message shows it."""
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + "..."
