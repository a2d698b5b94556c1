"""Which responses to a zoo problem are right, which unfinished ones may become right, and what spells the answer.

A response is right when the problem's own verifier (posttrain_diag.tasks) says so, strictly or leniently. That a
beginning cannot become right any more is known only where the whole response is judged (`exact`): strictly, what is
written must be a beginning of the answer; leniently, its letters and digits must be. Everywhere else a wrong beginning
may still be followed by the right answer.

Shapes: V tokens.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks import compile_verifier, reference_completions
from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.tasks.verifiers.text import peel
from posttrain_diag.types import Problem
from posttrain_diag.zoo.vocabulary import EOS_ID, Vocabulary

Reading = Literal["strict", "lenient"]
"""How a response is read: as the task demands, or forgiving surface format; `Judgement` calls these strict and lenient.
"""
BoolArray = NDArray[np.bool_]

_TAG = "answer"
"""What the lenient reading takes off around an answer, by its letters only: <answer>...</answer>."""
_NUMBER_SIGNS = frozenset(",./%*^½¼¾")
"""Signs with which a number can be spelled otherwise than by its digits."""
_DIGITS = re.compile(rf"(?:{_TAG})?0*(?P<digits>[0-9]*)(?:e[0-9]*)?")


class RightResponses:
    """Which responses to one problem are right under one reading.

    The lenient reading also accepts a wrong beginning that is followed by an answer mark (`#### 7` after `8`). Where
    the whole response is judged, such responses are left out, for any beginning may go on so: there the bounds are
    those of responses that begin with the answer.
    """

    def __init__(self, problem: Problem, vocabulary: Vocabulary, *, mark: str = "", reading: Reading = "strict"):
        self._problem = problem
        self._pieces = vocabulary.pieces
        self._mark = mark
        self._reading: Reading = reading
        self._judge = compile_verifier(problem.verifier)
        self._answer = (problem.answer or "").strip()
        self._plain = not set(problem.verifier) - {"type", "pattern"}
        kind = problem.verifier["type"] if self._plain else ""
        core = peel(self._answer).core
        number = lone_number(core) is not None
        odd_number = number and not _NUMBER_SIGNS.isdisjoint("".join(self._pieces))
        self.whole = kind == "exact" and not (reading == "lenient" and odd_number)
        """Whether a wrong beginning stays wrong."""
        self.small = self.whole and reading == "strict"
        """Whether nearly every wrong token ends a branch."""
        self._needle = self._answer if kind in ("exact", "regex") else ""
        if reading == "lenient":
            self._needle = "" if number else letters(core)
        self._forms = tuple(before + letters(core) + after for before in ("", _TAG) for after in ("", _TAG))
        self._digits = letters(core).lstrip("0") if number else None
        self._next = _next_tokens(problem, vocabulary)
        self._viable: dict[str, BoolArray] = {}

    def accepts(self, text: str) -> bool:
        """Whether the finished response is right.

        Raises:
            VerifierError: the verifier could not judge it.
        """
        if self._needle and self._needle not in (text if self._reading == "strict" else letters(text)):
            return False
        judgement = self._judge(text, self._problem)
        if judgement.error is not None:
            raise VerifierError(f"problem {self._problem.id!r}, response {text!r}: {judgement.error}")
        return judgement.strict if self._reading == "strict" else judgement.lenient

    def viable_V(self, text: str) -> BoolArray:
        """After which next tokens the response may still become right, shape (V,); never after the stop token."""
        key = (text.lstrip() if self._reading == "strict" else letters(text)) if self.whole else ""
        if key not in self._viable:
            viable = [not self.whole or self._may_become(key, piece) for piece in self._pieces]
            viable[EOS_ID] = False
            self._viable[key] = np.array(viable)
        return self._viable[key]

    def spelled(self, text: str) -> tuple[int, ...]:
        """The next tokens that go on spelling the answer or a reference response."""
        tokens = self._next.get(text, ())
        tail = text.rpartition(self._mark)[2] if self._mark else text
        if self._answer.startswith(tail) and (rest := self._answer[len(tail) :]):
            return *tokens, self._longest(rest)
        return tokens

    def _may_become(self, written: str, piece: str) -> bool:
        if self._reading == "strict":
            text = written + piece if written else piece.lstrip()
            return self._answer.startswith(text) or (text.rstrip() == self._answer)
        text = written + letters(piece)
        if any(form.startswith(text) for form in self._forms):
            return True
        return self._digits is not None and _same_digits(text, self._digits)

    def _longest(self, rest: str) -> int:
        """The longest token that `rest` begins with."""
        fitting = (i for i, piece in enumerate(self._pieces) if piece and rest.startswith(piece))
        return max(fitting, key=lambda i: len(self._pieces[i]))


def letters(text: str) -> str:
    """Only the letters and digits of a text, in lower case."""
    return "".join(char for char in text.casefold() if char.isalnum())


def _same_digits(text: str, digits: str) -> bool:
    """Whether what is written may become a spelling of the number, e.g. 0708 or 708e1 may become one of 7080."""
    match = _DIGITS.fullmatch(text)
    if match is None:
        return False
    found = match["digits"]
    return digits.startswith(found) or not found.removeprefix(digits).strip("0")


def _next_tokens(problem: Problem, vocabulary: Vocabulary) -> dict[str, tuple[int, ...]]:
    """For what is written already, the next token of the answer and of each reference response."""
    following: dict[str, tuple[int, ...]] = {}
    for reference in dict.fromkeys((problem.answer or "", *reference_completions(problem))):
        ids, text = vocabulary.encode(reference), ""
        for token in ids:
            following[text] = (*following.get(text, ()), token)
            text += vocabulary.pieces[token]
    return following
