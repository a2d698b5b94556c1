"""A recorded figure as PNG: matplotlib paints its shapes in pixel coordinates."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle as Disc
from matplotlib.patches import Patch, Polygon, Rectangle

from posttrain_reports.palette import Paint, look_of
from posttrain_reports.svg import Canvas, Circle, Line, Part, Path, Rect, Text

DPI = 300
INCH, POINT = 96, 0.75
"""Pixels of an inch and points of a pixel, as in a style sheet."""
ANCHORS: dict[str, Literal["left", "center", "right"]] = {"start": "left", "middle": "center", "end": "right"}
FONT_SCALE = 0.92
"""Factor on font sizes, since DejaVu Sans, which comes with matplotlib, is wider than the fonts of the design."""


def as_png(canvas: Canvas) -> bytes:
    """The figure as PNG at 300 dpi on white."""
    style: dict[Any, Any] = {"text.parse_math": False, "lines.scale_dashes": False, "font.family": "DejaVu Sans"}
    with rc_context(style):
        figure = Figure(figsize=(canvas.width / INCH, canvas.height / INCH), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, canvas.width), ylim=(canvas.height, 0))
        axes.set_axis_off()
        for order, part in enumerate(canvas.parts):
            _paint(axes, part, order)
        out = BytesIO()
        figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()


def _paint(axes: Axes, part: Part, order: int) -> None:
    match part:
        case Text(at=(x, y), words=words, css=css, anchor=anchor):
            look = look_of("text", css)
            weight = "bold" if look.font_weight >= 600 else "normal"
            axes.text(x, y, words, color=look.fill, fontsize=look.font_size * POINT * FONT_SCALE, fontweight=weight,
                      ha=ANCHORS[anchor], va="baseline", zorder=order)  # fmt: skip
        case Line(a=a, b=b, css=css):
            _stroke(axes, (a, b), look_of("line", css), order)
        case Path(points=points, css=css, closed=False):
            _stroke(axes, points, look_of("polyline", css), order)
        case Path(points=points, css=css):
            _area(axes, Polygon(points, closed=True), look_of("polygon", css), order)
        case Rect(corner=corner, size=size, css=css):
            _area(axes, Rectangle(corner, *size), look_of("rect", css), order)
        case Circle(centre=centre, r=r, css=css):
            _area(axes, Disc(centre, r), look_of("circle", css), order)


def _dash(look: Paint) -> Any:
    return (0, tuple(step * POINT for step in look.dash)) if look.dash else "solid"


def _stroke(axes: Axes, points: tuple[tuple[float, float], ...], look: Paint, order: int) -> None:
    cap = "round" if look.round_ends else "butt"
    axes.add_line(
        Line2D([x for x, _ in points], [y for _, y in points], color=look.stroke or "none", alpha=look.opacity,
               linewidth=look.width * POINT, linestyle=_dash(look), solid_capstyle=cap, dash_capstyle=cap, zorder=order)
    )  # fmt: skip


def _area(axes: Axes, patch: Patch, look: Paint, order: int) -> None:
    patch.set_facecolor(to_rgba(look.fill, look.opacity * look.fill_opacity) if look.fill else "none")
    patch.set_edgecolor(to_rgba(look.stroke, look.opacity) if look.stroke else "none")
    patch.set_linewidth(look.width * POINT if look.stroke else 0)
    patch.set_linestyle(_dash(look))
    patch.set_zorder(order)
    axes.add_patch(patch)
