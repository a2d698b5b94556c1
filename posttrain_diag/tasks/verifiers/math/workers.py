r"""Worker processes that judge formulas with math-verify: bounded in time and memory, reused, replaced.

    decide(r"\int_0^1 x dx", r"\frac{1}{2}")   ->   Sameness(True)

A formula can keep sympy busy for ever or fill the memory of a run. So it is judged in a fresh interpreter (no fork of a
process that holds torch) that starts with the first formula and waits for the next one. A worker that overruns ends by
a signal of its own; one that does not answer is killed; both are replaced at the next formula. Workers end with this
process, however it ends, because their standard input does.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from posttrain_diag.tasks.verifiers.math.compare import Sameness

LIMIT_S = 5.0
"""CPU time in seconds for one pair of formulas: it does not depend on how busy the machine is."""
WALL_S = 60.0
"""Wall-clock time for one pair of formulas, seconds."""
START_S = 120.0
"""Wall-clock time for a worker to load sympy on a busy machine, seconds."""
MEMORY_BYTES = 1 << 30
"""Most bytes of address space of a worker."""
MAX_WORKERS = 4
"""Most workers at a time; further threads wait for one."""
MAX_CHARS = 4_000
"""Formulas longer than this are not judged."""
_SCRIPT = Path(__file__).with_name("worker.py")


@lru_cache(maxsize=16_384)
def decide(gold: str, answer: str) -> Sameness:
    """Whether math-verify takes a formula for the gold one; remembered by text."""
    if len(gold) + len(answer) > MAX_CHARS:
        return Sameness(None, "the formula is too long to be judged")
    if os.name != "posix":
        return Sameness(
            None, "judging formulas with math-verify needs a POSIX system (process limits): use Linux or macOS"
        )
    return POOL.decide(gold, answer)


class _Ended(Exception):
    """Raised when a worker did not answer in time, or ended. Internal."""


class MathWorker:
    """One process that answers one request at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-X", "utf8", str(_SCRIPT), str(LIMIT_S), str(MEMORY_BYTES)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.buffer = b""
        try:
            self.greeting = self._reply(START_S)
        except BaseException:
            self.end()
            raise

    def ask(self, gold: str, answer: str) -> dict[str, Any]:
        """Send a request to the worker and return its answer.

        Raises:
            _Ended: it did not answer in time, or has ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"gold": gold, "answer": answer}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise _Ended from error
        return self._reply(WALL_S)

    def _reply(self, timeout_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        end_s = time.monotonic() + timeout_s
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end_s - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            if not piece:
                raise _Ended
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def end(self) -> None:
        """Kill the process and wait for it."""
        self.process.kill()
        self.process.wait()
        self.leave()

    def leave(self) -> None:
        """Close this side of the pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


class Pool:
    """The workers of this process."""

    def __init__(self) -> None:
        self.idle: list[MathWorker] = []
        self.slots = threading.BoundedSemaphore(MAX_WORKERS)

    def decide(self, gold: str, answer: str) -> Sameness:
        """Ask a worker that waits, or a new one; not remembered."""
        with self.slots:
            try:
                worker = self._worker()
            except (OSError, _Ended) as error:
                return Sameness(None, f"the worker for math-verify did not start: {error or 'no reply'}")
            finished = False
            try:
                if "missing" in worker.greeting:
                    return Sameness(None, f"{worker.greeting['missing']}: install it with pip install math-verify")
                reply = worker.ask(gold, answer)
                finished = True
            except _Ended:
                return Sameness(None, f"math-verify took more than {LIMIT_S:g} s or too much memory on {_cut(answer)}")
            finally:
                # A worker that was interrupted in the middle of a request would answer it at the next one.
                if finished:
                    self.idle.append(worker)
                else:
                    worker.end()
        if reply["same"] is None:
            return Sameness(None, f"{reply['why']}: gold {_cut(gold)}, answer {_cut(answer)}")
        return Sameness(reply["same"])

    def _worker(self) -> MathWorker:
        """A worker that waits and still lives, or a new one."""
        while self.idle:
            worker = self.idle.pop()
            if worker.process.poll() is None:
                return worker
            worker.leave()
        return MathWorker()

    def close(self) -> None:
        """End all workers that wait."""
        while self.idle:
            self.idle.pop().end()

    def forget(self) -> None:
        """In a forked child: leave the parent's workers alone and start with none."""
        for worker in self.idle:
            worker.leave()
            worker.process.returncode = 0  # not ours to wait for
        self.__init__()


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


POOL = Pool()
atexit.register(POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
