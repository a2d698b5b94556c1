"""Figures for papers: the drawings of the page on white, with their title and legend, as SVG and as PNG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape

from posttrain_diag.wording.text import clip
from posttrain_reports import charts, figdata
from posttrain_reports.blocks import FigureBlock, figure_blocks
from posttrain_reports.data import ReportData
from posttrain_reports.palette import look_of
from posttrain_reports.svg import MAX_TITLE, Canvas, fmt

FONTS = ("Helvetica", "Arial", "Liberation Sans", "DejaVu Sans", "sans-serif")
HEAD, ROW = 30.0, 18.0
"""Heights in pixels of the title and of a line of the legend."""
LINE, BOX = 26.0, 12.0
"""Widths in pixels of the two kinds of swatch."""
LETTER = 6.3
"""Most pixels that a character of a legend takes, on average."""
MARGIN = 8.0


def paper_figures(data: ReportData, kinds: Sequence[str] = ("svg",)) -> dict[str, bytes]:
    """The figures of a run for papers, for everything that has something to draw.

    Args:
        data: the run's plain data.
        kinds: "svg", "png" or both.

    Returns:
        The contents by file name.
    """
    return drawn([_class_shares(data), *figure_blocks(data)[0]], kinds)


def _class_shares(data: ReportData) -> FigureBlock:
    """The figure of the class shares, which the page shows as a table instead."""
    title, shares = "Classes of problems", figdata.class_shares(data.diagnosis)
    known = any(share.value is not None for share in shares)
    return FigureBlock("class_shares", title, "", charts.class_shares(shares, title) if known else None)


def drawn(blocks: Iterable[FigureBlock], kinds: Sequence[str]) -> dict[str, bytes]:
    """The figures for papers of the blocks that have a drawing.

    Args:
        blocks: figures of a page.
        kinds: "svg", "png" or both.

    Returns:
        The contents by file name.
    """
    files: dict[str, bytes] = {}
    for block in blocks:
        if block.drawing is None:
            continue
        sheet = on_paper(block, block.drawing.wide)
        if "svg" in kinds:
            files[f"{block.name}.svg"] = as_svg(sheet, block).encode()
        if "png" in kinds:
            from posttrain_reports.paper_png import as_png

            files[f"{block.name}.png"] = as_png(sheet)
    return files


def on_paper(block: FigureBlock, figure: Canvas) -> Canvas:
    """The figure with its title above and its legend below, which the page sets as text."""
    sheet = Canvas(figure.width + 2 * MARGIN, HEAD + figure.height)
    sheet.text(MARGIN, 17, block.title, "value")
    sheet.parts += [part.moved((MARGIN, HEAD)) for part in figure.parts]
    x, y = MARGIN, sheet.height + ROW
    for css, words in block.legend:
        swatch = LINE if css.startswith("line-") else BOX
        width = swatch + 6 + LETTER * len(words)
        if x > MARGIN and x + width > sheet.width:
            x, y = MARGIN, y + ROW
        if css.startswith("line-"):
            sheet.line((x, y - 4), (x + LINE, y - 4), f"curve {css.removeprefix('line-')}")
        else:
            sheet.rect((x, y - 10), (BOX, BOX), css)
        sheet.text(x + swatch + 6, y, words)
        x += width + 12
    return replace(sheet, height=y + MARGIN if block.legend else sheet.height)


def as_svg(sheet: Canvas, block: FigureBlock) -> str:
    """The figure as an SVG file that stands alone: every colour and size is written in it."""
    width, height = fmt(sheet.width), fmt(sheet.height)
    told = (("title", block.title), ("desc", block.caption))
    names = "".join(f"<{tag}>{escape(clip(words, MAX_TITLE))}</{tag}>" for tag, words in told if words)
    shapes = sheet.markup(lambda element, css: look_of(element, css).attributes(element))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{", ".join(FONTS)}">{names}<rect width="{width}" height="{height}" fill="#fff"/>{shapes}</svg>\n'
    )
