"""The only way from the command line to a terminal: what comes from data is made harmless first.

Model names, task ids, errors, findings and plans are data: an escape sequence in them would drive the terminal, a bidi
control would reorder the line, square brackets would be read as markup, ten megabytes would scroll all else away. So
nothing in `cli` prints by other means than these (ruff's banned-api sees to it).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from posttrain_diag.wording.text import clip, encodable

if TYPE_CHECKING:
    from rich.console import Console  # noqa: TID251
    from rich.table import Table
    from rich.text import Text

LINE_CHARS = 4_000
"""Most characters of a line; of a longer one the beginning and the end are shown."""

BOX_WIDTH = 100
"""Most columns of a box, since longer lines are hard to read."""

Data = Mapping[str, Any] | Sequence[Any]


def one_line(text: object, limit: int = LINE_CHARS) -> str:
    """The text as one line: controls, escapes, bidi controls and surrogates spelled out, its middle cut when long.

    What the terminal's encoding lacks is spelled out too: a later replacement would change the line's width.
    """
    line = clip(str(text), limit).replace("\n", " ")
    stream = getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # while a live display stands before it
    return encodable(line, stream.encoding or "utf-8")


def echo(text: object = "") -> None:
    """Print one line on stdout."""
    sys.stdout.write(one_line(text) + "\n")


def echo_json(data: Data) -> None:
    """Print JSON on stdout: ASCII, so that it holds no control character and fits every encoding.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    sys.stdout.write(json.dumps(data, indent=1, allow_nan=False, default=str) + "\n")


def say(text: str) -> None:
    """Print a line on stderr, at once."""
    sys.stderr.write(one_line(text) + "\n")
    sys.stderr.flush()


def say_nothing(text: str) -> None:
    """Print nothing: what stands in for `say` with --quiet."""


def styled(text: object, style: str = "", limit: int = LINE_CHARS) -> Text:
    """The text for a rich console: harmless, and not read as markup."""
    from rich.text import Text

    return Text(one_line(text, limit), style=style)


def console(*, stderr: bool = False) -> Console:
    """A rich console that reads no markup, emoji codes or numbers into what it prints."""
    from rich.console import Console  # noqa: TID251

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def boxed(title: str, parts: Sequence[Any]) -> None:
    """Print renderables in a box; nothing that a reader may want to copy belongs into it."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel

    shown = console()
    width = min(shown.width, BOX_WIDTH)
    shown.print(Panel(Group(*parts), title=styled(title, limit=width), box=box.ROUNDED, padding=(1, 2), width=width))


def print_line(text: object = "", style: str = "", *, indent: int = 0, whole: bool = False) -> None:
    """Print one text on stdout.

    Args:
        text: what to print.
        style: rich style of the text.
        indent: columns to leave free on the left.
        whole: print it unbroken, so that it can be copied; else it is wrapped at words.
    """
    shown = console()
    said = styled(text, style)
    width = max(20, min(shown.width, BOX_WIDTH) - indent)
    for line in [said] if whole else said.wrap(shown, width):
        line.rstrip()
        line.pad_left(indent)
        shown.print(line, soft_wrap=True)


def marked(mark: str, texts: Sequence[str], style: str) -> Table:
    """A table that sets paragraphs behind a mark, for a box."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    for text in texts:
        grid.add_row(styled(mark, style), styled(text, style))
    return grid


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str]) -> None:
    """Print a table on stdout; where the terminal is too narrow, a paragraph per row, so that no cell is cut.

    Args:
        names: names of the columns.
        rows: the rows, with a cell per column.
        right: names of the columns that are set to the right.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(styled, row))
    shown = console()
    if shown.measure(table, options=shown.options.update(max_width=LINE_CHARS)).maximum <= shown.width:
        shown.print(table)
    else:
        for row in rows:
            print_line(", ".join(f"{name} {cell}" for name, cell in zip(names, row, strict=True) if cell))


def live_terminal() -> bool:
    """Whether stderr is a terminal that can redraw lines."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def tolerate_encodings() -> None:
    r"""Let no character that the terminal's encoding lacks end a run: it is written as \\u escape instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
