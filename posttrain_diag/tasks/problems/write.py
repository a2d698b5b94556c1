"""Write problems as native JSONL; reading it back gives the same problems, all of them or a few by their ids."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain_diag.errors import StoreError
from posttrain_diag.types import Pair, Problem

_FIRST = {"role": "", "content": ""}
"""The keys of a turn that are written first, whatever the order in which they were read."""
_DECODER = json.JSONDecoder()


def write_tasks(problems: Sequence[Problem], path: str | Path) -> None:
    """Write problems to a JSONL file that appears complete or not at all.

    `load_tasks` reads the same problems back, `source` included.

    Args:
        problems: what to write, in order.
        path: the file; its folder must exist.

    Raises:
        OSError: the folder does not exist or cannot be written to.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            for problem in problems:
                file.write(_line(problem) + "\n")
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def to_row(problem: Problem) -> dict[str, Any]:
    """A problem as a native row; fields that say nothing are left out."""
    row: dict[str, Any] = {"id": problem.id}
    if problem.messages is not None:
        row["messages"] = [{**_FIRST, **message} for message in problem.messages]
    else:
        row["prompt"] = problem.prompt
    if problem.answer is not None:
        row["answer"] = problem.answer
    row["verifier"] = dict(problem.verifier)
    if problem.demos:
        row["demos"] = list(problem.demos)
    if problem.pairs:
        row["pairs"] = [{"chosen": pair.chosen, "rejected": pair.rejected} for pair in problem.pairs]
    if problem.tags:
        row["tags"] = list(problem.tags)
    row["source"] = problem.source
    return row


def from_row(row: Mapping[str, Any]) -> Problem:
    """The problem that `to_row` made the row of."""
    messages = row.get("messages")
    return Problem(
        id=row["id"],
        prompt=row.get("prompt"),
        messages=None if messages is None else tuple(messages),
        answer=row.get("answer"),
        verifier=row["verifier"],
        demos=tuple(row.get("demos", ())),
        pairs=tuple(Pair(pair["chosen"], pair["rejected"]) for pair in row.get("pairs", ())),
        tags=tuple(row.get("tags", ())),
        source=row["source"],
    )


def find_written(path: str | Path, ids: Collection[str]) -> dict[str, Problem]:
    """Some problems of a file that `write_tasks` wrote, by id; line by line, so that the file may be of any size.

    Args:
        path: the file.
        ids: of the wanted problems; those that are not in it are left out.

    Raises:
        StoreError: the file is not one that `write_tasks` wrote.
    """
    wanted, found = frozenset(ids), dict[str, Problem]()
    try:
        with Path(path).open(encoding="utf-8") as file:
            for line in file:
                row_id = _id_of(line)
                if row_id in wanted:
                    found[row_id] = from_row(json.loads(line))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not the problems of a run ({error!r}): run `diag analyze` again") from error
    return found


def _id_of(line: str) -> str:
    """The id of a row without reading the rest of it, where it comes first."""
    start = '{"id": '
    return str(_DECODER.raw_decode(line, len(start))[0] if line.startswith(start) else json.loads(line)["id"])


def _line(problem: Problem) -> str:
    row = to_row(problem)
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate: JSON can escape it, UTF-8 cannot hold it
        return json.dumps(row)
    return text
