"""How a model's files are loaded."""

from __future__ import annotations

from pydantic import Field

from posttrain_diag.settings.block import Block


class ModelSettings(Block):
    """Where the weights go, and whether code that comes with them may run."""

    device: str | None = Field(default=None, description="cpu, cuda, cuda:1, ...; None: cuda where there is one")
    trust_remote_code: bool = False
