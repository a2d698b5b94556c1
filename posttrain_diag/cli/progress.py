"""Progress on stderr: a live bar with tokens/s and ETA on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from posttrain_diag.collect import Phase, Progress

PLAIN_EVERY_S = 10.0

TITLES: dict[Phase, str] = {
    "load": "loading",
    "sample": "sampling",
    "probe": "probing",
    "diagnose": "diagnosing",
    "report": "writing",
}


class PlainProgress(Progress):
    """A line per phase, and one every few seconds while sampling."""

    def __init__(self) -> None:
        self._total = self._done = self._tokens = 0
        self._start = self._last = time.monotonic()

    def phase(self, name: Phase, detail: str) -> None:
        """Announce a phase."""
        sys.stderr.write(f"{TITLES[name]}: {detail}\n")
        self._total = self._done = self._tokens = 0
        self._start = self._last = time.monotonic()

    def plan(self, draws: int, done: int, cap: int) -> None:
        """Say how much there is to do, once per phase."""
        if draws and not self._total:
            sys.stderr.write(f"  at most {draws} rollouts, {done} stored already, at most {cap} tokens each\n")
        self._total, self._done = draws, done

    def advance(self, rollouts: int, tokens: int) -> None:
        """Count, and now and then say so."""
        self._done += rollouts
        self._tokens += tokens
        now = time.monotonic()
        if now - self._last >= PLAIN_EVERY_S:
            self._last = now
            rate = self._tokens / max(now - self._start, 1e-9)
            sys.stderr.write(f"  {self._done}/{self._total} rollouts, {rate:,.0f} tokens/s\n")

    def resolved(self, resolved: int, problems: int) -> None:
        """Say how many problems have a class."""
        sys.stderr.write(f"  {resolved} of {problems} problems resolved after {self._done} rollouts\n")


class LiveProgress(Progress):
    """A rich progress bar."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None, rate="")
        self._tokens = 0
        self._start = time.monotonic()

    def __enter__(self) -> LiveProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, name: Phase, detail: str) -> None:
        """Begin a new line."""
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(f"{TITLES[name]}: {detail}", total=None, rate="")
        self._tokens = 0
        self._start = time.monotonic()

    def plan(self, draws: int, done: int, cap: int) -> None:
        """Set the bar's length."""
        self._bar.update(self._task, total=draws, completed=done)

    def resolved(self, resolved: int, problems: int) -> None:
        """Show how many problems have a class."""
        title = str(self._bar.tasks[-1].description).partition(" | ")[0]
        self._bar.update(self._task, description=f"{title} | {resolved}/{problems} problems resolved")

    def advance(self, rollouts: int, tokens: int) -> None:
        """Move the bar."""
        self._tokens += tokens
        rate = self._tokens / max(time.monotonic() - self._start, 1e-9)
        self._bar.update(self._task, advance=rollouts, rate=f"{rate:,.0f} tokens/s")


def say(text: str) -> None:
    """Tell a line on stderr, at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say_nothing(text: str) -> None:
    """What is told with --quiet."""


@contextmanager
def make_progress(*, quiet: bool) -> Generator[Progress]:
    """The progress that suits the terminal."""
    if quiet:
        yield Progress()
    elif sys.stderr.isatty():
        with LiveProgress() as live:
            yield live
    else:
        yield PlainProgress()
