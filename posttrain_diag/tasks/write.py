"""Write problems as native JSONL; reading it back gives the same problems."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posttrain_diag.types import Problem


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
        row["messages"] = [{"role": m["role"], "content": m["content"]} for m in problem.messages]
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


def _line(problem: Problem) -> str:
    row = to_row(problem)
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate: JSON can escape it, UTF-8 cannot hold it
        return json.dumps(row)
    return text
