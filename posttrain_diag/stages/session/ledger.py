"""Which draws a stage must pay for: noted before they are made, so that a kill between draw and bill loses none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from posttrain_diag.rollouts.collect import Owed
from posttrain_diag.store import write_atomic


class Ledger:
    """Notes the draws that the store lacked when a piece of work first asked for them.

    Args:
        path: file where they are noted, and read again after a restart; None: they are kept in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lacked: dict[str, set[int]] = {}
        self._billed: dict[str, set[int]] = {}
        if path is not None and path.exists():
            self._lacked = {key: set(indices) for key, indices in json.loads(path.read_text()).items()}

    def due(self, model_sha: str, owed: Sequence[Owed]) -> list[set[int]]:
        """The draws of each prompt that go on the bill, as sample indices; each draw does so once.

        Args:
            model_sha: hash of the model that draws.
            owed: what is about to be drawn.
        """
        out: list[set[int]] = []
        for item in owed:
            key = f"{model_sha}|{item.prompt_sha}|{item.sampling_sha}"
            lacked, billed = self._lacked.setdefault(key, set()), self._billed.setdefault(key, set())
            lacked.update(item.missing)
            out.append({i for i in lacked if i < item.spec.n} - billed)
            billed |= out[-1]
        if self.path is not None:
            write_atomic(self.path, json.dumps({key: sorted(indices) for key, indices in self._lacked.items()}))
        return out
