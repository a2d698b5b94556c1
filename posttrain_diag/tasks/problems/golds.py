r"""The gold answer that a worked solution ends in.

    #### 18                 GSM8K: what follows the last ####
    \boxed{18}, \boxed 18   MATH: the last box counts; a remark says so where an earlier one holds another answer
    The answer is: 18       MetaMathQA and many others: the last one

A solution that marks no answer gives none: what it ends with may be anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from posttrain_diag.tasks.verifiers.text import balanced, marked_answer, same_leniently

OTHER_BOX = r"a solution boxes several different answers: the last \boxed{...} was taken"
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?P<bare>[^\s{}$]+))")
_TRAILING = re.compile(r"[\s*_.,;:]+\Z")


@dataclass(frozen=True)
class Final:
    """The answer of a solution, and what a reader must know of how it was found."""

    answer: str
    remark: str = ""


def boxed(solution: str) -> Final | None:
    r"""The last box of a solution; None without one. `\boxed 5` is a box too, as in TeX."""
    found: list[str] = []
    for match in _BOX.finditer(solution):
        content = match["bare"].rstrip(".,;:") if match["bare"] is not None else balanced(solution, match.end())
        if content and content.strip():
            found.append(content.strip())
    if not found:
        return None
    other = any(not same_leniently(each, found[-1]) for each in found[:-1])
    return Final(found[-1], OTHER_BOX if other else "")


def hashed(solution: str) -> str | None:
    """What follows the last #### on its line; None without it."""
    _, mark, final = solution.rpartition("####")
    first_line = final.strip().split("\n", 1)[0].strip()
    return first_line if mark and first_line else None


def final_answer(solution: str) -> Final | None:
    """The answer that a solution marks as its own; None where it marks none."""
    after_hashes = hashed(solution)
    if after_hashes is not None:
        return Final(after_hashes)
    box = boxed(solution)
    if box is not None:
        return box
    marked = marked_answer(solution)
    if marked is not None:
        marked = _TRAILING.sub("", marked.strip().strip("*_ "))
        return Final(marked) if marked else None
    return None
