"""How a problem becomes the prompt that a model reads."""

from __future__ import annotations

from pydantic import Field

from posttrain_diag.settings.block import Block


class PromptSettings(Block):
    """Template and system turn, which are the same for the analysis of a model and for the stages that train it."""

    template: str | None = Field(default=None, description="plain text with {prompt}, instead of a chat template")
    chat_template: bool | None = Field(default=None, description="None: used where the tokenizer has one")
    system_prompt: str | None = Field(default=None, description="put before prompts that carry none")
