"""Lists of words as they are easiest to read and to add to."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The words of a text, split at white space."""
    return tuple(text.split())
