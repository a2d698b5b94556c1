"""Progress on stderr: a live display with tokens/s, ETA and classes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from posttrain_diag.cli import terminal
from posttrain_diag.cli.classes import class_bar, class_words
from posttrain_diag.cli.terminal import live_terminal, one_line, say
from posttrain_diag.rollouts.progress import Phase, Progress
from posttrain_diag.types import ProblemClass
from posttrain_diag.wording.numbers import count, duration, token_count

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, OverflowMethod, RenderResult  # noqa: TID251

PLAIN_EVERY_S = 10.0
REFRESH_PER_S = 8
DETAIL_CHARS = 200

TITLES: dict[Phase, str] = {
    "load": "loading",
    "sample": "sampling",
    "probe": "probing",
    "diagnose": "diagnosing",
    "report": "writing",
    "train": "training",
}


class Meter(Progress):
    """Counts what happens; these are the numbers behind both displays."""

    def __init__(self) -> None:
        self.classes: Mapping[ProblemClass, int] = {}
        self.begun = time.monotonic()
        self._begin("load", "")

    def _begin(self, name: Phase, detail: str) -> None:
        self.name: Phase = name
        self.detail = detail
        self.unit = "rollouts"
        self.total = self.done = self.made = self.tokens = 0
        self._before = (0, 0)
        self.start = time.monotonic()

    def phase(self, name: Phase, detail: str) -> None:
        """Begin a phase, for which rates are counted anew."""
        self._begin(name, one_line(detail, DETAIL_CHARS))

    def warn(self, text: str) -> None:
        """Tell it at once."""
        say(f"warning: {text}")

    def note(self, text: str) -> None:
        """Tell it on a line that stays."""
        say(f"note: {text}")

    def plan(self, draws: int, done: int, cap: int) -> None:
        """Note how much there is to do; while a stage trains its steps are counted instead."""
        if self.unit == "rollouts":
            self.total, self.done = draws, done

    def advance(self, rollouts: int, tokens: int) -> None:
        """Count rollouts that became durable, and their tokens."""
        if self.unit == "rollouts":
            self.done += rollouts
            self.made += rollouts
            self.tokens += tokens

    def steps(self, done: int, total: int, tokens: int) -> None:
        """Count optimizer steps; those of an earlier process are not counted in the rate of this one."""
        if self.unit != "steps" or done < self.done:  # another stage has begun
            self._begin("train", self.detail if self.name == "train" else "")
            self.unit = "steps"
            self._before = (done, tokens)
        self.done, self.total = done, total
        self.made, self.tokens = done - self._before[0], tokens - self._before[1]

    def resolved(self, classes: Mapping[ProblemClass, int]) -> None:
        """Keep the number of problems per class for the display."""
        self.classes = classes

    @property
    def elapsed_s(self) -> float:
        """Seconds since the phase began."""
        return max(time.monotonic() - self.start, 1e-9)

    @property
    def title(self) -> str:
        """The name of the phase and its detail, in words."""
        return f"{TITLES[self.name]}: {self.detail}" if self.detail else TITLES[self.name]

    @property
    def counted(self) -> str:
        """How much is done, and of how much, in words."""
        return f"{count(self.done)}/{count(self.total)} {self.unit}"

    def rate(self) -> str:
        """Tokens per second and the time left, as far as they are known; draws may stop before the last."""
        parts: list[str] = []
        if self.tokens:
            parts.append(f"{token_count(self.tokens / self.elapsed_s)} tokens/s")
        if self.made and self.total > self.done:
            left = (self.total - self.done) * self.elapsed_s / self.made
            parts.append(f"{'at most ' if self.unit == 'rollouts' else ''}{duration(round(left))} left")
        return ", ".join(parts)


class PlainProgress(Meter):
    """Shows progress as plain lines: one per phase, one every few seconds, and one whenever classes change."""

    def __init__(self) -> None:
        super().__init__()
        self._last = self.begun

    def phase(self, name: Phase, detail: str) -> None:
        """Announce a phase with a line."""
        super().phase(name, detail)
        self._last = self.start
        say(self.title)

    def plan(self, draws: int, done: int, cap: int) -> None:
        """Say how much there is to do, once per phase."""
        first = not self.total
        super().plan(draws, done, cap)
        if draws and first and self.unit == "rollouts":
            each = f"at most {token_count(cap)} tokens each"
            say(f"  at most {count(draws)} rollouts, {count(done)} stored already, {each}")

    def tell(self, line: str) -> None:
        """Say it."""
        say(f"  {line}")

    def advance(self, rollouts: int, tokens: int) -> None:
        """Count rollouts, and now and then print how many there are."""
        super().advance(rollouts, tokens)
        self._tell()

    def steps(self, done: int, total: int, tokens: int) -> None:
        """Count optimizer steps, and now and then print how many there are."""
        super().steps(done, total, tokens)
        self._tell()

    def resolved(self, classes: Mapping[ProblemClass, int]) -> None:
        """Print how many problems are in which class."""
        if dict(classes) != dict(self.classes):
            words = class_words(classes, 1000, sampling=self.name == "sample", ascii_only=True).plain
            say(f"  classes: {words}")
        super().resolved(classes)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._last >= PLAIN_EVERY_S:
            self._last = now
            say(f"  {self.counted}, {self.rate()}")


class LiveProgress(Meter):
    """Shows progress in a display that redraws itself and is gone in the end."""

    def __init__(self) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        super().__init__()
        shown = terminal.console(stderr=True)
        self._spinner = Spinner("line" if shown.options.ascii_only else "dots")
        self._live = Live(self, console=shown, transient=True, refresh_per_second=REFRESH_PER_S)

    def tell(self, line: str) -> None:
        """Say it above the display, where it stays."""
        self._live.console.print(terminal.styled(line))

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The display: at most one line each for phase, bar, rates and class bar; the words of the classes may wrap."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width, plain = options.max_width, options.ascii_only
        cut: OverflowMethod = "crop" if plain else "ellipsis"
        head: Any = Table.grid(padding=(0, 1), expand=True)
        head.add_column(width=1)
        head.add_column(ratio=1, no_wrap=True, overflow=cut)
        head.add_column(justify="right", no_wrap=True)
        head.add_row(self._spinner, Text(self.title, style="bold"), duration(round(time.monotonic() - self.begun)))
        yield head
        if self.total:
            bar: Any = Table.grid(padding=(0, 1))
            cells = max(5, min(40, width - len(self.counted) - 2))
            bar.add_row(ProgressBar(self.total, self.done, width=cells), self.counted)
            yield bar
            yield Text(self.rate(), style="dim", no_wrap=True, overflow=cut)
        if sum(self.classes.values()):
            yield class_bar(self.classes, width, ascii_only=plain)
            yield class_words(self.classes, width, sampling=self.name == "sample", ascii_only=plain)


@contextmanager
def make_progress(*, quiet: bool) -> Generator[Progress]:
    """The progress that suits the terminal."""
    if quiet:
        yield Progress()
    elif live_terminal():
        with LiveProgress() as live:
            yield live
    else:
        yield PlainProgress()
