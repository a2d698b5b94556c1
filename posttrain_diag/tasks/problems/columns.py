"""Which columns a source has, what they are called here, and which layout they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from posttrain_diag.errors import TaskError, UsageError, did_you_mean, nearest
from posttrain_diag.tasks.problems.layouts import FIELDS, LAYOUTS, detect
from posttrain_diag.tasks.problems.rows import RawTable

_LIKE_PROMPT = ("question", "query", "instruction", "input", "problem", "text", "request", "task", "goal")
_LIKE_ANSWER = (
    *("gold", "target", "label", "ground_truth", "expected_answer", "final_answer", "correct_answer", "expected"),
    *("reference", "solution", "output", "response", "completion"),
)
"""Columns that may hold the prompt and the answer, likeliest first."""
MAIN_FIELDS = (
    *("id", "prompt", "messages", "question", "answer", "aliases", "choices", "options", "verifier", "completion"),
    *("demos", "pairs", "chosen", "rejected", "tags"),
)
"""The fields that a mapping most often names."""
_RESULTS = frozenset({"passed", "correct", "score", "acc", "reward"})
_SUBJECTS = frozenset({"task_id", "problem_id", "question_id", "doc_id", "example_id", "sample_id"})


def columns_of(table: RawTable) -> frozenset[str]:
    """Columns that at least half of the rows have."""
    counts = Counter(name for row in table.rows for name in row.cells)
    return frozenset(name for name, count in counts.items() if 2 * count >= len(table.rows))


def check_mapping(mapping: Mapping[str, str], columns: frozenset[str], source: str) -> dict[str, str]:
    """The mapping as it is, once every field and column of it is known.

    Raises:
        UsageError: a field or a column is unknown; the message names those that are known, and the nearest.
    """
    for field, column in mapping.items():
        if field not in FIELDS:
            raise UsageError(
                f"--map {field}={column}: unknown field {field!r}{did_you_mean(field, FIELDS)}: accepted are "
                f"{', '.join(MAIN_FIELDS)}, and the columns of the layouts in docs/tasks.md"
            )
        if column not in columns:
            raise UsageError(
                f"--map {field}={column}: {source} has no column {column!r}{did_you_mean(column, columns)}; it has "
                f"{', '.join(sorted(columns))}"
            )
    return dict(mapping)


def otherwise_spelled(columns: frozenset[str], renamed: Mapping[str, str]) -> dict[str, str]:
    """The column of each field that differs only in case, blanks or underscores: {"correct_answer": "Correct Answer"}.

    Args:
        columns: the columns that the source has.
        renamed: the columns of fields as the user mapped them, which go first.
    """
    taken = set(renamed.values())
    by_plain: dict[str, list[str]] = {}
    for column in sorted(columns - taken):
        by_plain.setdefault(_plain(column), []).append(column)
    found = {
        field: by_plain[_plain(field)][0]
        for field in sorted(FIELDS - columns - set(renamed))
        if len(by_plain.get(_plain(field), ())) == 1 and by_plain[_plain(field)][0] not in FIELDS
    }
    return {**found, **renamed}


def detect_layout(table: RawTable, columns: frozenset[str], renamed: Mapping[str, str], source: str) -> str:
    """The name of the layout that the columns make.

    Args:
        table: the raw rows, whose answers are looked at.
        columns: the columns that the source has.
        renamed: the columns of fields that a mapping renamed.
        source: the source as the user named it, for the message.

    Raises:
        TaskError: they make no layout; the message says which are accepted, and what was probably meant.
    """
    known = (columns - set(renamed.values())) | set(renamed)
    answer = renamed.get("answer", "answer")
    name = detect(known, [row.cells.get(answer) for row in table.rows])
    if name is not None:
        return name
    if columns & _RESULTS and columns & _SUBJECTS and not columns & {"prompt", "question", "messages"}:
        raise TaskError(
            f"{source}: these are results, not tasks: the columns are {', '.join(sorted(columns))} and none is a "
            "prompt; counts of passes per problem (problem_id,n,c) are read by `diag import counts FILE`"
        )
    raise TaskError(
        f"{source}: cannot tell what is the prompt: the columns are {', '.join(sorted(columns)) or 'none'}"
        f"{_suggested(columns)}; name yours with --map prompt=COLUMN (and --map answer=COLUMN); "
        f"read are prompt, messages or question with answer, and the layouts of docs/tasks.md ({', '.join(LAYOUTS)})"
    )


def _suggested(columns: frozenset[str]) -> str:
    """A mapping that was probably meant, as a question; empty when no column is like a prompt."""
    prompt = _like("prompt", columns, ("prompt", *_LIKE_PROMPT))
    if prompt is None:
        return ""
    answer = _like("answer", columns - {prompt}, ("answer", *_LIKE_ANSWER))
    maps = [f"--map {field}={column}" for field, column in (("prompt", prompt), ("answer", answer)) if column]
    return f" (did you mean {' '.join(maps)}?)"


def _like(field: str, columns: frozenset[str], names: Sequence[str]) -> str | None:
    plain = {_plain(column): column for column in sorted(columns)}
    exact = next((plain[_plain(name)] for name in names if _plain(name) in plain), None)
    return exact or nearest(field, columns)


def _plain(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
