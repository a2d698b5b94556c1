"""The problems of one source, and what was decided while they were read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from posttrain_diag.tasks.verifiers.spec import verifier_sha
from posttrain_diag.types import Problem


@dataclass(frozen=True)
class TaskSet:
    """The problems of one source, with where they came from and how they were read."""

    problems: tuple[Problem, ...]
    sha: str
    """Hash of the content of the problems: the same tasks in another file or format have the same hash."""
    source: str
    """The source as the user named it."""
    layout: str
    """The layout that was detected (layouts.py)."""
    columns: Mapping[str, str]
    """The column that each field was read from."""
    notes: tuple[str, ...]
    """Choices made for the user, e.g. which verifier was chosen and why; columns that were not read."""


def problem_sha(problem: Problem) -> str:
    """Hash of everything about a problem but where it came from."""
    messages = None if problem.messages is None else [dict(m) for m in problem.messages]
    content = [
        problem.id,
        problem.prompt,
        messages,
        problem.answer,
        verifier_sha(problem),
        list(problem.demos),
        [[pair.chosen, pair.rejected] for pair in problem.pairs],
        list(problem.tags),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def tasks_sha(problems: Sequence[Problem]) -> str:
    """Hash of a sequence of problems."""
    return hashlib.sha256("".join(problem_sha(p) for p in problems).encode()).hexdigest()
