r"""The structure of an answer: what it is made of, before any value is compared.

Words      \text{east}                          Quantity   864 \text{ inches}^3    36\%    \$18.90
Based      52_8                                 Relation   y = 2x + 3    -2 \le x < 7    x \in [-2, 7]
Group      1, -2    (3, 4]    \{1, 2\}    [1, 4, 9]         Union      (0, 9) \cup (9, 36)
Matrix     \begin{pmatrix} 1 \\ 2 \end{pmatrix}
"""

from __future__ import annotations

from dataclasses import dataclass

from posttrain_diag.tasks.verifiers.math.tokens import Token
from posttrain_diag.tasks.verifiers.math.units import Unit


@dataclass(frozen=True)
class Words:
    """An answer in words, or in letters that are none of a formula."""

    text: str


@dataclass(frozen=True)
class Quantity:
    """A number or formula, with its unit where it has one."""

    tokens: tuple[Token, ...]
    unit: Unit | None = None


@dataclass(frozen=True)
class Based:
    """A number written in a base."""

    digits: str
    base: int


@dataclass(frozen=True)
class Group:
    """Several answers: a bare list, a set, a tuple, an interval. `opening` is empty for a bare list."""

    opening: str
    items: tuple[Answer, ...]
    closing: str
    joined: str = ""
    """The word between the items of a bare list: "and", "or"; empty where commas stand too."""


@dataclass(frozen=True)
class Union:
    """Sets joined by a sign: a union, an intersection, a difference."""

    sign: str
    parts: tuple[Answer, ...]


@dataclass(frozen=True)
class Relation:
    """Sides with a sign between each two of them."""

    sides: tuple[Answer, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of answers; `delimiters` is the letter of the environment: p, b, v, ..."""

    rows: tuple[tuple[Answer, ...], ...]
    delimiters: str


Answer = Words | Quantity | Based | Group | Union | Relation | Matrix
