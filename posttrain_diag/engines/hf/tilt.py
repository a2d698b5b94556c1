"""Tilted draws in flight: which token each row leans towards, and log q as it adds up.

Shapes: `B` rows in flight, `A` rows that a call is about.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.engines.contract import Tilt


class TiltState:
    """Follows each row along its demonstration."""

    def __init__(self) -> None:
        self._tilts: list[Tilt | None] = []
        self._following_B = np.zeros(0, dtype=bool)
        self._leans_B = np.zeros(0)
        self._proposal_B = np.zeros(0)

    @property
    def any(self) -> bool:
        """Whether some row is tilted."""
        return any(tilt is not None for tilt in self._tilts)

    def admit(self, at: NDArray[np.intp], size: int, tilts: Sequence[Tilt | None]) -> None:
        """Begin the rows `at`.

        Args:
            at: indices of the new rows, shape (A,).
            size: how many rows there are with them.
            tilts: what each new row leans towards; None for a row without a tilt.
        """
        more = size - len(self._tilts)
        self._tilts += [None] * more
        self._following_B = np.concatenate((self._following_B, np.zeros(more, dtype=bool)))
        self._leans_B, self._proposal_B = (np.r_[a, np.zeros(more)] for a in (self._leans_B, self._proposal_B))
        for slot, tilt in zip(at, tilts, strict=True):
            self._tilts[slot] = tilt
        self._following_B[at] = [tilt is not None for tilt in tilts]
        self._leans_B[at] = [0.5 if tilt is None else tilt.lean for tilt in tilts]
        self._proposal_B[at] = 0.0

    def reorder(self, order: NDArray[np.intp]) -> None:
        """Keep only the rows of the given indices, in that order; shape (rows kept,)."""
        self._tilts = [self._tilts[i] for i in order]
        self._following_B = self._following_B[order]
        self._leans_B, self._proposal_B = self._leans_B[order], self._proposal_B[order]

    def targets(self, rows: NDArray[np.intp], step_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """The demonstration's token at the step of each row that still follows it, -1 for the others.

        Args:
            rows: indices of the rows, shape (A,).
            step_B: index of the token that each of them draws next, shape (A,).

        Returns:
            Token ids or -1, shape (A,).
        """
        return np.array([self._target(int(i), int(step)) for i, step in zip(rows, step_B, strict=True)], dtype=np.int64)

    def leans(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """How much each of the rows leans; any number for rows without a tilt; both arrays have shape (A,)."""
        return self._leans_B[rows]

    def advance(self, rows: NDArray[np.intp], hit: NDArray[np.bool_], proposal: NDArray[np.float64] | None) -> None:
        """Account for one drawn token per row.

        Args:
            rows: indices of the rows, shape (A,).
            hit: whether the row drew the token it leant towards, shape (A,).
            proposal: log q of the drawn tokens, nats, shape (A,); None where the step was not tilted.
        """
        self._following_B[rows] &= hit
        if proposal is not None:
            self._proposal_B[rows] += proposal

    def logprob(self, row: int) -> float | None:
        """Log q of a row so far; None for a row without a tilt."""
        return None if self._tilts[row] is None else float(self._proposal_B[row])

    def _target(self, row: int, step: int) -> int:
        tilt = self._tilts[row]
        if tilt is None or not self._following_B[row] or step >= len(tilt.token_ids):
            return -1
        return tilt.token_ids[step]
