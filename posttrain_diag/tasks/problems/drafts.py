"""What a layout is, and what it reads from a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from posttrain_diag.tasks.problems.cells import Reader
from posttrain_diag.types import Message, Pair

IDS = ("id", "task_id", "unique_id", "problem_id", "question_id", "example_id", "qid", "uid", "name")
"""Columns that may name a row; the first that is there does."""
COMMON = frozenset({"verifier", "tags", "answer", "aliases"})
"""Columns that every layout reads."""


@dataclass(frozen=True)
class Draft:
    """What a layout reads from a row; `verifier` is None where the file as a whole has to decide."""

    prompt: str | None
    messages: tuple[Message, ...] | None
    answer: str | None = None
    verifier: Mapping[str, Any] | None = None
    demos: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    tags: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    """Further answers that are as right as `answer`."""


@dataclass(frozen=True)
class Layout:
    """One way to lay out tasks in columns."""

    needs: frozenset[str]
    """Columns that must be there for this layout."""
    uses: frozenset[str]
    """Columns that are read when they are there."""
    read: Callable[[Reader], Draft]
    note: str = ""
    """What a reader of the results must know about the choices made here."""
    refused: str = ""
    """Why such a file cannot be judged unless the user gives a verifier; empty for most layouts."""


def layout(needs: str, uses: str, read: Callable[[Reader], Draft], note: str = "", *, refused: str = "") -> Layout:
    """Make a layout from the names of its columns, separated by blanks.

    Args:
        needs: columns that must be there.
        uses: further columns that are read.
        read: makes a draft of a row.
        note: what a reader of the results must know.
        refused: why rows of this layout need a verifier of the user's.
    """
    columns = frozenset(needs.split())
    return Layout(columns, columns | frozenset(uses.split()) | COMMON, read, note, refused)


def gold(row: Reader, field: str, *, required: bool = False, listed: bool = False) -> dict[str, Any]:
    """The fields `answer` and `accepted` of a draft, from a cell that holds one accepted answer or several.

    Args:
        row: the row to read.
        field: the field that holds the gold.
        required: note it when there is none.
        listed: a text that is a JSON list is a list; without it that text is the answer itself.
    """
    found = row.answers(field, required=required, listed=listed)
    return {"answer": found[0] if found else None, "accepted": found[1:]}


def tags(row: Reader, *fields: str) -> tuple[str, ...]:
    """The labels of a row that stand in columns of their own."""
    return tuple(str(row.get(field)) for field in fields if row.get(field) is not None)


def optional(text: str | None) -> tuple[str, ...]:
    """The demonstrations that a text makes which may be missing: one, or none."""
    return () if text is None else (text,)
