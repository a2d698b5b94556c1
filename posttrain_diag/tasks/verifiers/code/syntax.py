"""Parsing code that a model wrote: whatever it is, the answer is a tree or None."""

from __future__ import annotations

import ast
import warnings

MAX_CHARS = 100_000
"""Longer texts are not parsed: no answer is that long."""


def tree_of(text: str) -> ast.Module | None:
    """The syntax tree of a module; None where the text is no Python."""
    if len(text) > MAX_CHARS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return None


def parses(text: str) -> bool:
    """Whether a text is Python and says something."""
    tree = tree_of(text)
    return tree is not None and bool(tree.body)


def error_of(text: str) -> SyntaxError | None:
    """Why a text is no Python; None where it is, or where no place can be named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except SyntaxError as error:
            return error
        except (ValueError, MemoryError, RecursionError):
            return None
    return None
