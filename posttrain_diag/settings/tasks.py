"""Which problems: a source of tasks, and how its rows are read and judged."""

from __future__ import annotations

from pydantic import Field

from posttrain_diag.settings.block import Block


class TaskSettings(Block):
    """A source of tasks and how it is read; what `posttrain_diag.tasks.load_problems` takes."""

    tasks: str
    demos: str | None = Field(default=None, description="demonstrations in a file of their own, joined by problem id")
    mapping: dict[str, str] = Field(default_factory=dict)
    verifier: str | None = None
    allow_code: bool = False
    limit: int | None = Field(default=None, ge=1)
