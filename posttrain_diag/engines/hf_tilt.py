"""Tilted draws of one batch: which token each row leans towards, and log q as it adds up.

Shape: `B` rows of the batch, in its original order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.engines.base import Tilt


class TiltState:
    """Follows each row along its demonstration."""

    def __init__(self, tilts: Sequence[Tilt | None]) -> None:
        self._tilts = tilts
        self._following_B = np.array([tilt is not None for tilt in tilts], dtype=bool)
        self.any = bool(self._following_B.any())
        """Is some row tilted at all?"""
        self._leans_B = np.array([0.5 if tilt is None else tilt.lean for tilt in tilts], dtype=np.float64)
        self._proposal_B = np.zeros(len(tilts))

    def targets(self, rows: NDArray[np.intp], step: int) -> NDArray[np.int64]:
        """The demonstration's token at this step for rows that still follow it, else -1."""
        return np.array([self._target(int(i), step) for i in rows], dtype=np.int64)

    def leans(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """How much each row leans; any number for rows without a tilt."""
        return self._leans_B[rows]

    def advance(
        self,
        rows: NDArray[np.intp],
        hit: NDArray[np.bool_],
        proposal: NDArray[np.float64],
    ) -> None:
        """Account for one drawn token per row; `hit`: it is the token the row leant towards."""
        self._following_B[rows] &= hit
        self._proposal_B[rows] += proposal

    def logprob(self, row: int) -> float | None:
        """Log q of a row so far; None for a row without a tilt."""
        return None if self._tilts[row] is None else float(self._proposal_B[row])

    def _target(self, row: int, step: int) -> int:
        tilt = self._tilts[row]
        if tilt is None or not self._following_B[row] or step >= len(tilt.token_ids):
            return -1
        return tilt.token_ids[step]
