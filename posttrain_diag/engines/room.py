"""How much room a model's context leaves for a response."""

from __future__ import annotations

import json
from collections.abc import Iterable

from posttrain_diag.engines.contract import Engine, Prompt

UNSEEN = 512
"""Tokens that a server may add to a prompt whose tokens nobody here can count: its template, a system prompt."""


def prompt_tokens(engine: Engine, prompt: Prompt) -> int:
    """Tokens of a rendered prompt; where the engine has no tokenizer at hand, the most that it can have.

    A token stands for at least one byte of text, so the bytes of the prompt and `UNSEEN` bound its tokens.
    """
    if "tokens" not in engine.info.lacks:
        return len(engine.prompt_ids(prompt))
    text = prompt.text or json.dumps(prompt.messages or (), ensure_ascii=False)
    return UNSEEN + len(text.encode("utf-8", "surrogatepass"))


def room(engine: Engine, prompts: Iterable[Prompt]) -> int | None:
    """New tokens that fit behind each of these prompts, 0 or less where none do; None where no limit is known."""
    context = engine.info.context_length
    return None if context is None else context - max(prompt_tokens(engine, prompt) for prompt in prompts)
