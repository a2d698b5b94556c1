"""Judged rollouts in hand, written together: what is reported is durable, what is in hand is younger than a blink.

A transaction per rollout costs more than judging it. So rollouts are written in batches, by count and by time; a
thread sees to the time, for an engine may need long for its next draw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from posttrain_diag.errors import StoreError
from posttrain_diag.store import Store
from posttrain_diag.types import Rollout

MOST_ROWS = 128
"""Rollouts in hand at most."""
MOST_S = 0.25
"""Seconds after which whatever is in hand is written."""


class Batch:
    """Rollouts on their way to a store; on leaving the context everything in hand is written, error or not.

    Args:
        store: where they go.
        stored: told (rollouts, tokens) once they are durable.
    """

    def __init__(self, store: Store, stored: Callable[[int, int], None]) -> None:
        self._store = store
        self._stored = stored
        self._rows: list[Rollout] = []
        self._lock = threading.Lock()
        self._failed = False
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="rollout-batch", daemon=True)

    def __enter__(self) -> Batch:
        self._clock.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._clock.join()
        self.flush()

    def add(self, rollout: Rollout) -> None:
        """Take one judged rollout.

        Raises:
            StoreError: the batch is full and cannot be written.
        """
        with self._lock:
            self._rows.append(rollout)
            full = len(self._rows) >= MOST_ROWS
        if full or self._failed:
            self.flush()

    def flush(self) -> None:
        """Write what is in hand, then say so.

        Raises:
            StoreError: it cannot be written.
        """
        with self._lock:
            if self._rows:
                self._store.add_many(self._rows)
                count, tokens = len(self._rows), sum(rollout.n_tokens for rollout in self._rows)
                self._rows = []
                self._stored(count, tokens)

    def _tick(self) -> None:
        while not self._over.wait(MOST_S):
            try:
                self.flush()
            except StoreError:
                self._failed = True  # the rows stay in hand; the next `add` meets the error where it can be raised
                return
