"""A time limit for regular expressions: a pattern that backtracks for ever must not hang a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

LIMIT_S = 1.0


class PatternTimeout(Exception):
    """A regular expression that did not finish in time. Internal: verifiers turn it into `Judgement.error`."""


@contextmanager
def time_limit(limit_s: float = LIMIT_S) -> Generator[None, None, None]:
    """While the context is open, interrupt a regular expression after `limit_s` seconds.

    Python's matcher looks for signals while it backtracks, so an alarm stops it. Alarms exist only in the main thread
    of a POSIX process and there is one per process: elsewhere, or while somebody else's alarm runs, nothing is guarded.

    Raises:
        PatternTimeout: the body was still running after `limit_s`.
    """
    free = (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getitimer(signal.ITIMER_REAL)[0] == 0.0
    )
    if not free:
        yield
        return

    def expire(signum: int, frame: FrameType | None) -> None:
        raise PatternTimeout

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
