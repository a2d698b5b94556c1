"""Where the tokens of an answer are taken apart: at their top level, outside of all brackets."""

from __future__ import annotations

from collections.abc import Sequence

from posttrain_diag.tasks.verifiers.math.tokens import Token

OPENING = frozenset({"(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil"})
CLOSING = frozenset({")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"})
_PUNCTUATION = (".", ",", ";", ":", "?", "\\Rightarrow", "\\to", "\\therefore", '"', "`", "*", "&")
_HEDGES = frozenset({"about", "approximately", "roughly", "exactly", "only", "around", "nearly", "thus", "so", "total"})


def trimmed(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """The tokens without punctuation at the ends, and without a brace group around them all."""
    found = tuple(tokens)
    while found:
        if found[-1].is_sign(*_PUNCTUATION) or (found[-1].is_sign("\\") and len(found) == 1):
            found = found[:-1]
        elif found[0].is_sign(*_PUNCTUATION) or found[0].text.casefold() in _HEDGES:
            found = found[1:]
        elif found[0].is_sign("{") and found[-1].is_sign("}") and not closed_before_end(found):
            if any(found[i + 1].is_sign(",") for i in at_top_level(found[1:-1])):
                break  # a set whose braces were not escaped
            found = found[1:-1]
        else:
            break
    return found


def at_top_level(tokens: Sequence[Token]) -> list[int]:
    """Places of the tokens that stand in no bracket and no matrix; half-open intervals close with another bracket."""
    found: list[int] = []
    depth = 0
    for i, token in enumerate(tokens):
        if token.is_sign(*CLOSING) or token.text.startswith("\\end{"):
            depth -= 1
        if depth <= 0:
            found.append(i)
        if token.is_sign(*OPENING) or token.text.startswith("\\begin{"):
            depth += 1
    return found


def cut(tokens: Sequence[Token], places: Sequence[int]) -> list[tuple[Token, ...]]:
    """The pieces between the tokens at some places."""
    starts, ends = [0, *(i + 1 for i in places)], [*places, len(tokens)]
    return [tuple(tokens[a:b]) for a, b in zip(starts, ends, strict=True)]


def closed_before_end(tokens: Sequence[Token]) -> bool:
    """Whether the bracket that opens first is closed before the last token."""
    depth = 0
    for i, token in enumerate(tokens[:-1]):
        if token.is_sign(*OPENING) or (i == 0 and token.is_sign("]", "<")):
            depth += 1
        elif token.is_sign(*CLOSING):
            depth -= 1
            if depth <= 0:
                return True
    return False
