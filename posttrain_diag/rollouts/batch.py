"""Judged rollouts on their way to a store, written several at a time, and never older than a blink.

A transaction per rollout costs more than judging it. So rollouts are written in batches, by count and by time; a
thread sees to the time, for an engine may need long for its next draw. What is reported as stored is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from posttrain_diag.errors import StoreError
from posttrain_diag.store import Store
from posttrain_diag.types import Rollout

MOST_ROWS = 128
"""A batch with this many rollouts is written at once."""
MOST_S = 0.25
"""After this many seconds everything in the batch is written."""


class Batch:
    """Collects rollouts for a store; on leaving the context all of them are written, whether an error occurred or not.

    Args:
        store: the store that they go to.
        stored: called with (rollouts, tokens) once they are durable.
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
        """Take one judged rollout, and write the batch if it is full.

        Raises:
            StoreError: the batch is full and cannot be written.
        """
        with self._lock:
            self._rows.append(rollout)
            full = len(self._rows) >= MOST_ROWS
        if full or self._failed:
            self.flush()

    def flush(self) -> None:
        """Write everything in the batch, then report it as stored.

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
