"""Writers for small tasks files, and a problem to judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from posttrain_diag.types import Problem

Write = Callable[..., str]
FIXED = settings(derandomize=True, deadline=None)
"""Hypothesis draws the same examples in every run, however slow the machine."""


@pytest.fixture
def jsonl(tmp_path: Path) -> Write:
    def write(*rows: dict[str, Any] | str, name: str = "tasks.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
        return str(path)

    return write


def problem(verifier: dict[str, Any], answer: str | None = None, **kw: Any) -> Problem:
    fields: dict[str, Any] = {"id": "p", "prompt": "question", "messages": None, **kw}
    return Problem(answer=answer, verifier=verifier, **fields)
