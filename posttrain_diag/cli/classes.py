"""The classes of the problems as a stacked bar and in words, for the progress display and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from posttrain_diag.types import ProblemClass
from posttrain_diag.wording.numbers import count
from posttrain_diag.wording.vocabulary import CLASSES, ClassWords

if TYPE_CHECKING:
    from rich.text import Text

LOOKS = cast("Mapping[ProblemClass, ClassWords]", CLASSES)
BAR_CELLS = 50


def cells_of(counts: Mapping[ProblemClass, float], cells: int) -> dict[ProblemClass, int]:
    """How many cells of a bar each class gets, `cells` in all.

    They are shared by largest remainder, with at least one where a class holds any problem.
    """
    total = sum(counts.values())
    exact: dict[ProblemClass, float] = {name: cells * counts[name] / total for name in LOOKS if counts.get(name, 0) > 0}
    out: dict[ProblemClass, int] = {name: max(1, int(size)) for name, size in exact.items()}
    while sum(out.values()) < cells:
        out[max(out, key=lambda name: exact[name] - out[name])] += 1
    while sum(out.values()) > cells:
        wide: list[ProblemClass] = [name for name in out if out[name] > 1]
        out[max(wide, key=lambda name: out[name] - exact[name])] -= 1
    return out


def class_bar(counts: Mapping[ProblemClass, float], width: int, *, ascii_only: bool) -> Text:
    """The stacked bar, at most `width` and BAR_CELLS wide; `counts` has a problem in it."""
    from rich.text import Text

    bar = Text(no_wrap=True)
    for name, size in cells_of(counts, max(len(LOOKS), min(width, BAR_CELLS))).items():
        bar.append(LOOKS[name].cells[ascii_only] * size, style=LOOKS[name].colour)
    return bar


def class_words(
    counts: Mapping[ProblemClass, float],
    width: int,
    *,
    sampling: bool,
    ascii_only: bool,
    number: Callable[[float], str] | None = None,
) -> Text:
    """Every class that holds problems, with its cell and its number; lines break between classes only.

    Args:
        counts: problems per class, or their shares.
        width: most columns of a line.
        sampling: prefixes are not tried yet: what is out of support alone may still be guided-reachable.
        ascii_only: for terminals that show no other characters.
        number: how one of the counts reads; None: as a number of problems.
    """
    from rich.text import Text

    words, used = Text(), 0
    for name, look in LOOKS.items():
        if counts.get(name, 0) <= 0:
            continue
        word = "not reached" if sampling and name == "support" else look.word
        shown = f" {(number or _problems)(counts[name])} {word}"
        if used:
            used += len(shown) + 3
            words.append("  " if used <= width else "\n")
        if not 0 < used <= width:
            used = len(shown) + 1
        words.append(look.cells[ascii_only], style=look.colour)
        words.append(shown)
    return words


def _problems(number: float) -> str:
    return count(number) if number >= 0.5 else "<1"
