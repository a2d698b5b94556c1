"""Rollout counts: n draws and c passes of every problem, validated once, the currency of every estimator.

Suffixes: `P` problems, `R` unique (n, c) rows. Estimators work on the unique rows, so that a million
problems with 64 rollouts each cost no more than 65 of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posttrain_diag.errors import StatsError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_SHOWN = 5
"""Offending rows named in a message."""


@dataclass(frozen=True)
class CountTable:
    """The distinct (n, c) pairs and how often each occurs."""

    n_R: IntArray
    c_R: IntArray
    weight_R: FloatArray
    """Problems with this pair; sums to P."""
    row_P: IntArray
    """Row of each problem: `n_R[row_P] == n_P`."""


@dataclass(frozen=True, init=False, eq=False)
class Counts:
    """How many rollouts each problem has and how many of them passed.

    Truncated and erring rollouts must already have been dealt with by the caller: n counts the draws that
    have a verdict, c those that passed. A problem may have n = 0; then only the other problems tell about it.

    Args:
        n: rollouts with a verdict per problem, shape (P,); whole numbers >= 0.
        c: passing rollouts per problem, shape (P,); whole numbers in [0, n].
        ids: names used in messages; row numbers when absent.

    Raises:
        StatsError: no problems, unequal lengths, or rows that are not whole numbers with 0 <= c <= n; the
            message names the rows.
    """

    n_P: IntArray
    c_P: IntArray
    ids: tuple[str, ...] | None

    def __init__(self, n: ArrayLike, c: ArrayLike, ids: Sequence[str] | None = None) -> None:
        names = None if ids is None else tuple(ids)
        n_P = _whole_numbers("n", n, names)
        c_P = _whole_numbers("c", c, names)
        if len(n_P) != len(c_P):
            raise StatsError(
                f"n has {len(n_P)} problems and c has {len(c_P)}: both need one entry per problem, in one order"
            )
        if names is not None and len(names) != len(n_P):
            raise StatsError(f"ids has {len(names)} entries for {len(n_P)} problems: give one id per problem")
        if len(n_P) == 0:
            raise StatsError("no problems were given: counts need at least one problem with n and c")
        _refuse(c_P > n_P, "c exceeds n", names, n_P, c_P)
        if int(n_P.max()) == 0:
            raise StatsError("every problem has n = 0: draw at least one rollout with a verdict")
        object.__setattr__(self, "n_P", n_P)
        object.__setattr__(self, "c_P", c_P)
        object.__setattr__(self, "ids", names)

    def __len__(self) -> int:
        return len(self.n_P)

    def name(self, problem: int) -> str:
        """The name under which a message speaks of one problem."""
        return f"row {problem}" if self.ids is None else self.ids[problem]

    def names(self, mask_P: BoolArray) -> str:
        """How a message names the problems that a mask of shape (P,) marks: a few names, then how many more."""
        rows = np.flatnonzero(mask_P)
        listed = ", ".join(self.name(int(i)) for i in rows[:_SHOWN])
        return listed + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")

    @property
    def n_rollouts(self) -> int:
        """The number of rollouts of all problems together."""
        return int(self.n_P.sum())

    @property
    def n_passed(self) -> int:
        """The number of passing rollouts of all problems together."""
        return int(self.c_P.sum())

    @property
    def is_uniform(self) -> bool:
        """Whether every problem has the same number of rollouts."""
        return bool((self.n_P == self.n_P[0]).all())

    @cached_property
    def table(self) -> CountTable:
        """The distinct (n, c) pairs."""
        base = int(self.n_P.max()) + 1
        key_P = self.n_P * base + self.c_P
        key_R, row_P, weight_R = np.unique(key_P, return_inverse=True, return_counts=True)
        return CountTable(
            n_R=key_R // base,
            c_R=key_R % base,
            weight_R=weight_R.astype(np.float64),
            row_P=row_P.reshape(-1).astype(np.int64),
        )

    def take(self, index: ArrayLike) -> Counts:
        """The counts of some of the problems.

        Args:
            index: positions of the wanted problems, or a mask of shape (P,).
        """
        chosen = np.asarray(index)
        ids = None if self.ids is None else tuple(np.asarray(self.ids, dtype=object)[chosen].tolist())
        return Counts(self.n_P[chosen], self.c_P[chosen], ids)


def _whole_numbers(name: str, values: ArrayLike, ids: tuple[str, ...] | None) -> IntArray:
    """The values as int64, or an error that names the rows that are not whole numbers >= 0."""
    raw = np.asarray(values)
    if raw.ndim != 1:
        raise StatsError(f"{name} has shape {raw.shape}: give one number per problem, shape (P,)")
    if raw.dtype.kind not in "biuf":
        if raw.size == 0:
            return np.zeros(0, dtype=np.int64)
        raise StatsError(f"{name} holds {raw.dtype} values: give whole numbers, one per problem")
    as_float = raw.astype(np.float64)
    bad = ~np.isfinite(as_float) | (as_float < 0) | (as_float != np.floor(as_float)) | (as_float > 2**31)
    if bad.any():
        rows = np.flatnonzero(bad)
        shown = ", ".join(
            f"{f'row {i}' if ids is None or len(ids) != len(raw) else ids[i]}: {name} = {raw[i]}"
            for i in rows[:_SHOWN].tolist()
        )
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        raise StatsError(f"{name} must hold whole numbers >= 0; got {shown}{more}")
    return raw.astype(np.int64)


def _refuse(bad_P: BoolArray, what: str, ids: tuple[str, ...] | None, n_P: IntArray, c_P: IntArray) -> None:
    """Raise StatsError naming the rows of the mask `bad_P` (shape (P,)), if it marks any."""
    if not bad_P.any():
        return
    rows = np.flatnonzero(bad_P)
    shown = ", ".join(
        f"{f'row {i}' if ids is None else ids[i]}: n = {n_P[i]}, c = {c_P[i]}" for i in rows[:_SHOWN].tolist()
    )
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    raise StatsError(f"{what} in {len(rows)} of {len(n_P)} problems ({shown}{more}): 0 <= c <= n is needed")
