"""How responses are drawn."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from posttrain_diag.settings.block import Block
from posttrain_diag.types import SamplingParams

StopText = Annotated[str, Field(min_length=1)]
"""An empty text would end every draw before its first token."""


class DrawSettings(Block):
    """What every draw needs: temperature, length and seed."""

    temperature: float = Field(default=1.0, ge=0.0)
    max_new_tokens: int | None = Field(default=None, ge=1, description="cap of a draw; None: from the references")
    seed: int = 0
    stop: tuple[StopText, ...] = Field(default=(), description="texts that end a draw beside the model's stop tokens")


class TrainingDrawSettings(DrawSettings):
    """Draws of a model that is trained: a stage needs draws of one problem that differ."""

    temperature: float = Field(default=1.0, gt=0.0, description="above 0: training needs draws that differ")


class SamplingSettings(DrawSettings):
    """The sampling law that an analysis measures."""

    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, lt=1.0)

    def sampling(self, max_new_tokens: int) -> SamplingParams:
        """The sampling law once the token cap is known."""
        return SamplingParams(
            self.temperature, self.top_p, self.top_k, max_new_tokens, self.seed, self.min_p, self.stop
        )
