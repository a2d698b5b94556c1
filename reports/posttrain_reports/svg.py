"""Small SVG drawing kit for the page: colours are CSS classes, so a figure follows the light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from posttrain_diag.wording.text import clip

XY = tuple[float, float]


def fmt(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if "." in f"{value:.1f}" else f"{value:.1f}"


@dataclass(frozen=True)
class Axis:
    """Maps data to pixels along one direction."""

    low: float
    high: float
    start: float
    end: float
    transform: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        """Pixel position, held inside the axis."""
        low, high = self.transform(self.low), self.transform(self.high)
        share = (self.transform(value) - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


MAX_LABEL = 80
"""Characters of a text in a figure."""
MAX_TITLE = 400
"""Characters of a tooltip or of a figure's accessible name."""


@dataclass
class Canvas:
    """Collects SVG elements. Coordinates are pixels at the width the figure was designed for."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list[str])

    def raw(self, markup: str) -> None:
        """Adds markup that is known to be safe."""
        self.parts.append(markup)

    def line(self, a: XY, b: XY, css: str) -> None:
        """A straight line."""
        self.raw(f'<line x1="{fmt(a[0])}" y1="{fmt(a[1])}" x2="{fmt(b[0])}" y2="{fmt(b[1])}" class="{css}"/>')

    def polyline(self, points: Sequence[XY], css: str) -> None:
        """A line through points."""
        path = " ".join(f"{fmt(x)},{fmt(y)}" for x, y in points)
        self.raw(f'<polyline points="{path}" class="{css}"/>')

    def polygon(self, points: Sequence[XY], css: str) -> None:
        """A closed area."""
        path = " ".join(f"{fmt(x)},{fmt(y)}" for x, y in points)
        self.raw(f'<polygon points="{path}" class="{css}"/>')

    def rect(self, corner: XY, size: XY, css: str, title: str = "") -> None:
        """A rectangle from its upper left corner, with a tooltip when `title` is given."""
        width, height = (fmt(max(side, 0)) for side in size)
        body = f'x="{fmt(corner[0])}" y="{fmt(corner[1])}" width="{width}" height="{height}" class="{css}"'
        self.raw(f"<rect {body}>{_title(title)}</rect>" if title else f"<rect {body}/>")

    def circle(self, x: float, y: float, r: float, css: str, title: str = "") -> None:
        """A dot, with a tooltip when `title` is given."""
        body = f'cx="{fmt(x)}" cy="{fmt(y)}" r="{fmt(r)}" class="{css}"'
        self.raw(f"<circle {body}>{_title(title)}</circle>" if title else f"<circle {body}/>")

    def text(self, x: float, y: float, words: str, css: str = "tick", anchor: str = "start") -> None:
        """A label."""
        place = f'x="{fmt(x)}" y="{fmt(y)}" class="{css}" text-anchor="{anchor}"'
        self.raw(f"<text {place}>{escape(clip(words, MAX_LABEL))}</text>")

    def render(self, label: str, css: str) -> str:
        """The finished figure with its accessible name."""
        return (
            f'<svg class="{css}" viewBox="0 0 {fmt(self.width)} {fmt(self.height)}" role="img" '
            f'aria-label="{escape(clip(label, MAX_TITLE), quote=True)}">{"".join(self.parts)}</svg>'
        )


def _title(words: str) -> str:
    return f"<title>{escape(clip(words, MAX_TITLE))}</title>"


def nice_top(highest: float) -> float:
    """The end of a share axis: the first round number at or above `highest`, at most 1."""
    for top in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0):
        if highest <= top * 0.98:
            return top
    return 1.0


def share_ticks(top: float) -> list[float]:
    """Four or five evenly spaced ticks from 0 to `top`."""
    steps = 5 if math.isclose(top % 0.05, 0, abs_tol=1e-9) and top in (0.05, 0.1, 1.0) else 4
    return [top * i / steps for i in range(steps + 1)]


def power_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of 2, 4, 8... within [low, high], at most `most` of them."""
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / most))
    return [2.0**e for e in range(first, last + 1, step)]


def short_number(value: float) -> str:
    """An axis number: 1024 stays, 16384 becomes 16k."""
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:g}"
