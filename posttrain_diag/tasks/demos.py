"""Demonstrations from a file of their own, joined to problems by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from posttrain_diag.errors import UsageError
from posttrain_diag.tasks.load import load_tasks
from posttrain_diag.types import Problem


def with_demos(source: str, *sets: Sequence[Problem], allow_code: bool = False) -> tuple[tuple[Problem, ...], ...]:
    """Each set of problems with the demonstrations of a file behind its own, by problem id.

    Args:
        source: of the demonstrations: a tasks file.
        sets: problems; the file need not know all of them.
        allow_code: as of `load_tasks`.

    Raises:
        DiagError: the file cannot be used, or shares no id with any set.
    """
    given = {p.id: p.demos for p in load_tasks(source, allow_code=allow_code).problems if p.demos}
    known = [problem.id for problems in sets for problem in problems]
    if not given.keys() & set(known):
        raise UsageError(
            f"--demos {source}: none of its {len(given)} problem ids with a demonstration is among the tasks "
            f"(e.g. {next(iter(given), None)!r} against {known[0]!r}); use the same ids in both files"
        )
    return tuple(tuple(replace(p, demos=(*p.demos, *given.get(p.id, ()))) for p in problems) for problems in sets)
