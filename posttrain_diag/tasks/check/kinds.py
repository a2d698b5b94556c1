"""What kind of answer a problem has, and texts that are tried on its verifier."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from posttrain_diag.tasks.verifiers.any_of import ways
from posttrain_diag.tasks.verifiers.choice import prompt_options
from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.types import Problem

AnswerKind = Literal["code", "choice", "number", "truth", "formula", "value", "words", "long", "none"]
"""The kind of an answer: `value` is a Python or JSON value, `long` one of several lines or many words, `none` none at
all."""

TRUTH = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
LONG_CHARS = 200
"""An answer longer than this is no part of a sentence."""
_FORMULA = re.compile(r"\\[A-Za-z]|[\^_{}]|\$")


@dataclass(frozen=True)
class Trial:
    """A completion to judge, and what it tries."""

    kind: str
    text: str


def runs_tests(problem: Problem) -> bool:
    """Whether the completion's code is run against tests."""
    return any(way.verifier.get("type") == "code" or "test" in way.verifier for way in ways(problem))


def kind_of(problem: Problem) -> AnswerKind:
    """The kind of answer that a completion of this problem gives."""
    answer = (problem.answer or "").strip()
    if runs_tests(problem):
        return "code"
    if not answer:
        return "none"
    types = {way.verifier.get("type") for way in ways(problem)}
    if "choice" in types:
        return "choice"
    if types & {"literal", "json"} or problem.verifier.get("compare") == "literal":
        return "value" if len(answer) <= LONG_CHARS else "long"
    if "\n" in answer or len(answer) > LONG_CHARS:
        return "long"
    if answer.casefold() in TRUTH:
        return "truth"
    number = lone_number(answer)
    if number is not None and number.value is not None and "\\" not in answer:
        return "number"
    return "formula" if "math" in types or _FORMULA.search(answer) else "words"


def options_of(problem: Problem) -> dict[str, str]:
    """The options of a multiple-choice problem: those of its verifier, else those of its prompt."""
    declared = problem.verifier.get("options")
    if isinstance(declared, dict):
        return {str(letter): str(text) for letter, text in declared.items()}
    if isinstance(declared, list):
        return {chr(ord("A") + at): str(text) for at, text in enumerate(declared)}
    return prompt_options(problem.prompt_text)
