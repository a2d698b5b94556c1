"""Does a sentence state a value? For answers that were asked for as JSON and came as prose."""

from __future__ import annotations

import re
from typing import Any

from posttrain_diag.tasks.verifiers.numbers import iter_numbers, lone_number, same_number
from posttrain_diag.tasks.verifiers.text import fold, peel

_IS = r"(?:\b(?:is|are|was|be|called|named|equals)|[:=])\s+(?:the\s+)?[\"'`*(]*"


def states(text: str, value: Any) -> bool:
    """Whether a text says that the answer is this value."""
    folded, wanted = fold(text), fold(value if isinstance(value, str) else str(value))
    if peel(text).core == wanted:
        return True
    number = lone_number(wanted)
    if number is not None:
        found = list(iter_numbers(folded))
        return bool(found) and same_number(found[-1], number)
    return re.search(rf"{_IS}{re.escape(wanted)}(?!\w)", folded) is not None
