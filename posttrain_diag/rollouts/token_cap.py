"""How many tokens a draw may have where the user does not say."""

from __future__ import annotations

from collections.abc import Iterable

from posttrain_diag.engines.contract import Engine, Prompt
from posttrain_diag.types import Problem


def longest_prompt(engine: Engine, problems: Iterable[Problem]) -> int:
    """Tokens of the longest rendered prompt."""
    return max(len(engine.prompt_ids(Prompt(p.prompt, p.messages))) for p in problems)


def token_cap(engine: Engine, references: Iterable[str], problems: Iterable[Problem]) -> int:
    """The cap of a draw where the user sets none: four times the longest reference, within the context."""
    longest = max((len(engine.response_ids(text)) for text in references), default=0)
    cap = min(1024, max(32, 4 * (longest + 1))) if longest else 256
    context = engine.info.context_length
    return cap if context is None else min(cap, max(1, context - longest_prompt(engine, problems)))
