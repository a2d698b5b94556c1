"""The drawing kit of every figure: it records shapes whose colours are CSS classes, for the page and for papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape

from posttrain_diag.wording.text import clip

XY = tuple[float, float]


def fmt(value: float) -> str:
    """A coordinate as text, with at most one decimal."""
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
        """The pixel position of a value, held inside the axis."""
        low, high = self.transform(self.low), self.transform(self.high)
        share = (self.transform(value) - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


MAX_LABEL = 80
"""Most characters of a text in a figure."""
MAX_TITLE = 400
"""Most characters of a tooltip or of a figure's accessible name."""


Attributes = Callable[[str, str], str]
"""Called with (element name, style classes): the markup of the attributes that give the element its look."""


def by_class(element: str, css: str) -> str:
    """The look of an element on the page, whose style sheet has rules for the classes."""
    return f'class="{css}"'


@dataclass(frozen=True)
class Line:
    """A straight line of a figure."""

    a: XY
    b: XY
    css: str

    def markup(self, look: Attributes) -> str:
        """The line as an element of SVG."""
        place = f'x1="{fmt(self.a[0])}" y1="{fmt(self.a[1])}" x2="{fmt(self.b[0])}" y2="{fmt(self.b[1])}"'
        return f"<line {place} {look('line', self.css)}/>"

    def moved(self, by: XY) -> Line:
        """The same line at another place."""
        return replace(self, a=_shifted(self.a, by), b=_shifted(self.b, by))


@dataclass(frozen=True)
class Path:
    """A line through points, or the area that they enclose."""

    points: tuple[XY, ...]
    css: str
    closed: bool

    def markup(self, look: Attributes) -> str:
        """The line or area as an element of SVG."""
        name = "polygon" if self.closed else "polyline"
        place = " ".join(f"{fmt(x)},{fmt(y)}" for x, y in self.points)
        return f'<{name} points="{place}" {look(name, self.css)}/>'

    def moved(self, by: XY) -> Path:
        """The same line or area at another place."""
        return replace(self, points=tuple(_shifted(point, by) for point in self.points))


@dataclass(frozen=True)
class Rect:
    """A rectangle from its upper left corner, with a tooltip when `title` is given."""

    corner: XY
    size: XY
    css: str
    title: str = ""

    def markup(self, look: Attributes) -> str:
        """The rectangle as an element of SVG."""
        width, height = map(fmt, self.size)
        place = f'x="{fmt(self.corner[0])}" y="{fmt(self.corner[1])}" width="{width}" height="{height}"'
        return _shape("rect", f"{place} {look('rect', self.css)}", self.title)

    def moved(self, by: XY) -> Rect:
        """The same rectangle at another place."""
        return replace(self, corner=_shifted(self.corner, by))


@dataclass(frozen=True)
class Circle:
    """A dot of a figure, with a tooltip when `title` is given."""

    centre: XY
    r: float
    css: str
    title: str = ""

    def markup(self, look: Attributes) -> str:
        """The dot as an element of SVG."""
        place = f'cx="{fmt(self.centre[0])}" cy="{fmt(self.centre[1])}" r="{fmt(self.r)}"'
        return _shape("circle", f"{place} {look('circle', self.css)}", self.title)

    def moved(self, by: XY) -> Circle:
        """The same dot at another place."""
        return replace(self, centre=_shifted(self.centre, by))


@dataclass(frozen=True)
class Text:
    """A text in a figure."""

    at: XY
    words: str
    css: str
    anchor: str

    def markup(self, look: Attributes) -> str:
        """The text as an element of SVG."""
        place = f'x="{fmt(self.at[0])}" y="{fmt(self.at[1])}" {look("text", self.css)} text-anchor="{self.anchor}"'
        return f"<text {place}>{escape(self.words)}</text>"

    def moved(self, by: XY) -> Text:
        """The same text at another place."""
        return replace(self, at=_shifted(self.at, by))


Part = Line | Path | Rect | Circle | Text


@dataclass
class Canvas:
    """Records what is drawn. Coordinates are pixels at the width the figure was designed for."""

    width: float
    height: float
    parts: list[Part] = field(default_factory=list[Part])

    def line(self, a: XY, b: XY, css: str) -> None:
        """Draw a straight line from `a` to `b`."""
        self.parts.append(Line(a, b, css))

    def polyline(self, points: Sequence[XY], css: str) -> None:
        """Draw a line through the points."""
        self.parts.append(Path(tuple(points), css, closed=False))

    def polygon(self, points: Sequence[XY], css: str) -> None:
        """Draw the area that the points enclose."""
        self.parts.append(Path(tuple(points), css, closed=True))

    def rect(self, corner: XY, size: XY, css: str, title: str = "") -> None:
        """Draw a rectangle.

        Args:
            corner: its upper left corner.
            size: its width and height; negative ones are drawn as 0.
            css: its style classes.
            title: its tooltip; empty: none.
        """
        self.parts.append(Rect(corner, (max(size[0], 0), max(size[1], 0)), css, title))

    def circle(self, x: float, y: float, r: float, css: str, title: str = "") -> None:
        """Draw a dot.

        Args:
            x: horizontal place of its centre.
            y: vertical place of its centre.
            r: its radius.
            css: its style classes.
            title: its tooltip; empty: none.
        """
        self.parts.append(Circle((x, y), r, css, title))

    def text(self, x: float, y: float, words: str, css: str = "tick", anchor: str = "start") -> None:
        """Draw a text, clipped to MAX_LABEL characters.

        Args:
            x: horizontal place of its anchor.
            y: vertical place of its baseline.
            words: the text.
            css: its style classes.
            anchor: which part of the text is at `x`: start, middle or end.
        """
        self.parts.append(Text((x, y), clip(words, MAX_LABEL), css, anchor))

    def markup(self, look: Attributes) -> str:
        """The recorded elements as SVG."""
        return "".join(part.markup(look) for part in self.parts)


@dataclass(frozen=True)
class Drawing:
    """One figure at the two widths of the page, with its accessible name; a paper takes the wide one."""

    wide: Canvas
    narrow: Canvas
    label: str

    def markup(self) -> str:
        """The figure at both widths; the style sheet shows the one that fits."""
        name = escape(clip(self.label, MAX_TITLE), quote=True)
        return "".join(
            f'<svg class="fig {width}" viewBox="0 0 {fmt(canvas.width)} {fmt(canvas.height)}" role="img" '
            f'aria-label="{name}">{canvas.markup(by_class)}</svg>'
            for width, canvas in (("wide", self.wide), ("narrow", self.narrow))
        )


def _shifted(point: XY, by: XY) -> XY:
    return point[0] + by[0], point[1] + by[1]


def _shape(name: str, attributes: str, title: str) -> str:
    tooltip = f"<title>{escape(clip(title, MAX_TITLE))}</title>"
    return f"<{name} {attributes}>{tooltip}</{name}>" if title else f"<{name} {attributes}/>"


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
    """A number for an axis: 1024 stays, 16384 becomes 16k."""
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:g}"
