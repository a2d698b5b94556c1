"""The figures, each at two widths: for a column of 560 px, which papers take too, and for a phone of 340 px."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from posttrain_diag.wording.numbers import UNDEFINED, class_percent, nats, nominal, percent, percent_with, plain
from posttrain_diag.wording.vocabulary import CLASSES
from posttrain_reports.figdata import Histogram, Point, Scatter, Share, logit
from posttrain_reports.svg import (
    Axis,
    Canvas,
    Drawing,
    nice_top,
    power_ticks,
    share_ticks,
    short_number,
)

WIDE, NARROW = 560, 340
ARM_TITLE = {"true": "correct trace", "permuted": "another problem's trace", "neutral": "neutral text"}
_POWER_DIGITS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ZONE_NOTE = {
    "measured": "measured",
    "estimated": "estimated",
    "model-dependent": "model-dependent",
    "bound": "upper limits",
}


@dataclass(frozen=True)
class PlotFrame:
    """A canvas with the area that data are plotted in."""

    canvas: Canvas
    left: float
    right: float
    top: float
    bottom: float

    @property
    def narrow(self) -> bool:
        """Whether the figure is drawn for a phone."""
        return self.canvas.width < 450


def new_frame(width: int, height: int, *, left: float = 46, right: float = 12, top: float = 26) -> PlotFrame:
    """Make a canvas with its plotting area.

    Args:
        width: width of the canvas in pixels.
        height: height of the canvas in pixels.
        left: pixels between the canvas's left edge and the plotting area.
        right: pixels between the plotting area and the canvas's right edge.
        top: pixels above the plotting area.
    """
    return PlotFrame(Canvas(width, height), left, width - right, top, height - 42)


def both(draw: Callable[[int], Canvas], label: str) -> Drawing:
    """Draw the figure at both widths."""
    return Drawing(draw(WIDE), draw(NARROW), label)


def share_axis(frame: PlotFrame, top: float, title: str) -> Axis:
    """Draw the vertical axis of shares up to `top`, with its grid and title; returns it."""
    axis = Axis(0, top, frame.bottom, frame.top)
    for tick in share_ticks(top):
        y = axis(tick)
        frame.canvas.line((frame.left, y), (frame.right, y), "grid")
        frame.canvas.text(frame.left - 6, y + 4, nominal(tick), anchor="end")
    frame.canvas.text(2, 12, title, "axis-title")
    return axis


def x_ticks(frame: PlotFrame, axis: Axis, ticks: Sequence[tuple[float, str]], title: str) -> None:
    """Draw the horizontal axis with its ticks and title.

    Args:
        frame: the canvas with its plotting area.
        axis: maps values to pixels.
        ticks: the ticks, each as (value, words).
        title: the title below the axis.
    """
    frame.canvas.line((frame.left, frame.bottom), (frame.right, frame.bottom), "axis")
    for value, words in ticks:
        x = axis(value)
        frame.canvas.line((x, frame.bottom), (x, frame.bottom + 4), "axis")
        frame.canvas.text(x, frame.bottom + 17, words, anchor="middle")
    frame.canvas.text((frame.left + frame.right) / 2, frame.canvas.height - 6, title, "axis-title", "middle")


def runs(points: Sequence[Point]) -> list[list[Point]]:
    """Stretches of consecutive defined points; an undefined point breaks the line."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point.value is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def band(canvas: Canvas, run: Sequence[Point], x: Axis, y: Axis, css: str) -> None:
    """Draw the intervals of a run of points as an area, or as whiskers where there is only one interval.

    Args:
        canvas: what to draw on.
        run: the points.
        x: maps the points' places to pixels.
        y: maps their values to pixels.
        css: style class of the points.
    """
    bounded = [p for p in run if p.low is not None and p.high is not None]
    if len(bounded) < 2:
        for p in bounded:
            canvas.line((x(p.x), y(p.low or 0.0)), (x(p.x), y(p.high or 0.0)), f"whisker {css}")
        return
    upper = [(x(p.x), y(p.high or 0.0)) for p in bounded]
    lower = [(x(p.x), y(p.low or 0.0)) for p in bounded]
    canvas.polygon(upper + lower[::-1], f"band {css}")


def top_of(points: Sequence[Point]) -> float:
    """The end of an axis that holds all points and intervals."""
    heights = [v for p in points for v in (p.value, p.high) if v is not None]
    return nice_top(max(heights, default=1.0))


def describe(point: Point, name: str) -> str:
    """One point in words, for its tooltip."""
    if point.bound is not None:
        return f"{name}: at most {percent(point.bound)}, no draw passed"
    if point.value is None:
        return f"{name}: {UNDEFINED}"
    return f"{name}: {percent_with(point.value, point.low, point.high)}, {point.label}"


def pass_at_k(points: Sequence[Point], budget: float | None, label: str) -> Drawing:
    """pass@k over k on a log axis; solid = measured, dashed = estimated, dotted = model-dependent."""

    def draw(width: int) -> Canvas:
        frame = new_frame(width, 300, top=44)
        canvas = frame.canvas
        low, high = points[0].x, max(points[-1].x, points[0].x * 2)
        x = Axis(max(low, 1e-9), high, frame.left + 8, frame.right - 10, math.log2)
        _zones(frame, points, x)
        y = share_axis(frame, top_of(points), "pass@k")
        x_ticks(
            frame, x, [(k, short_number(k)) for k in power_ticks(low, high, 6 if frame.narrow else 11)],
            "k, rollouts per problem (log scale)",
        )  # fmt: skip
        if budget is not None and low < budget < high:
            canvas.line((x(budget), frame.top), (x(budget), frame.bottom), "mark")
            near = min((abs(math.log2(p.x / budget)), p.value) for p in points if p.value is not None)
            low_there = y(near[1]) > (frame.top + frame.bottom) / 2
            canvas.text(
                x(budget) - 4,
                frame.top + 14 if low_there else frame.bottom - 6,
                f"budget {short_number(budget)}",
                "mark-label",
                "end",
            )
        for run in runs(points):
            band(canvas, run, x, y, "accent")
            for a, b in pairwise(run):
                style = b.label if b.label not in ("undefined", "bound") else "measured"
                canvas.line((x(a.x), y(a.value or 0)), (x(b.x), y(b.value or 0)), f"curve {style}")
            for p in run:
                canvas.circle(x(p.x), y(p.value or 0), 3.6, f"dot {p.label}", describe(p, f"pass@{p.x:g}"))
        return canvas

    return both(draw, label)


def _zones(frame: PlotFrame, points: Sequence[Point], x: Axis) -> None:
    """Tints and names the stretches of the curve that rest on more than counting."""
    defined = [p for p in points if p.value is not None]
    start = 0
    while start < len(defined):
        end = start
        while end + 1 < len(defined) and defined[end + 1].label == defined[start].label:
            end += 1
        begin = x(defined[start - 1].x) if start else frame.left
        stop = x(defined[end].x) if end + 1 < len(defined) else frame.right
        name = defined[start].label
        frame.canvas.rect((begin, frame.top), (stop - begin, frame.bottom - frame.top), f"zone {name}")
        words = ZONE_NOTE.get(name, name)
        if stop - begin > 6.2 * len(words):
            frame.canvas.text((begin + stop) / 2, frame.top - 8, words, "zone-label", "middle")
        start = end + 1


def p_distribution(hist: Histogram, label: str) -> Drawing:
    """Problems by success probability on a logit axis, with the never-passed ones in a bar of their own."""

    def draw(width: int) -> Canvas:
        frame = new_frame(width, 300)
        canvas = frame.canvas
        zero_width = 34 if frame.narrow else 48
        zero_right = frame.left + 8 + zero_width
        x = Axis(float(hist.edges[0]), float(hist.edges[-1]), zero_right + 18, frame.right, lambda p: float(logit(p)))
        totals_K = np.sum([hist.counts[name] for name in CLASSES], axis=0)
        highest = max(int(totals_K.max(initial=0)), sum(hist.zeros.values()), 1)
        y = Axis(0, highest, frame.bottom, frame.top + 14)
        for tick in _count_ticks(highest):
            canvas.line((frame.left, y(tick)), (frame.right, y(tick)), "grid")
            canvas.text(frame.left - 6, y(tick) + 4, f"{tick:,}", anchor="end")
        canvas.text(2, 12, "problems", "axis-title")
        ticks = [(1e-3, "0.1%"), (0.01, "1%"), (0.1, "10%"), (0.5, "50%"), (0.9, "90%"), (0.99, "99%")]
        if frame.narrow:
            ticks = [tick for tick in ticks if tick[0] not in (1e-3, 0.5)]
        x_ticks(frame, x, ticks, "success probability per rollout (logit scale)")
        _stack(canvas, hist.zeros, (frame.left + 8, zero_width), y, f"no pass in {_range(hist.n_range)} rollouts")
        zeros = sum(hist.zeros.values())
        canvas.text(frame.left + 8 + zero_width / 2, y(zeros) - 5, f"{zeros:,}" if zeros else "", "value", "middle")
        canvas.text(frame.left + 8 + zero_width / 2, frame.bottom + 17, f"0 of {_range(hist.n_range)}",
                    anchor="middle")  # fmt: skip
        for k in range(len(totals_K)):
            left, right = x(float(hist.edges[k])), x(float(hist.edges[k + 1]))
            name = f"p between {percent(float(hist.edges[k]))} and {percent(float(hist.edges[k + 1]))}"
            own = {c: int(hist.counts[c][k]) for c in CLASSES}
            _stack(canvas, own, (left + 0.5, right - left - 1), y, name)
        _mark_p(frame, x, hist.eps, "ε = 1/B", "end")
        _mark_p(frame, x, hist.mastery, "mastery", "start")
        return canvas

    return both(draw, label)


def _range(n_range: tuple[int, int]) -> str:
    return f"{n_range[0]:,}" if n_range[0] == n_range[1] else f"{n_range[0]:,}–{n_range[1]:,}"


def _mark_p(frame: PlotFrame, x: Axis, value: float | None, words: str, anchor: str) -> None:
    """Draw a vertical line at a threshold of p, with its name; nothing where there is none."""
    if value is None or not 0 < value < 1:
        return
    at = x(value)
    frame.canvas.line((at, frame.top - 4), (at, frame.bottom), "mark")
    frame.canvas.text(at, frame.top - 9, words, "mark-label", "middle" if not frame.narrow else anchor)


def _count_ticks(highest: int) -> list[int]:
    step = max(1, round(highest / 4))
    digits = 10 ** (len(str(step)) - 1)
    step = max(1, math.ceil(step / digits) * digits)
    return list(range(0, highest + 1, step))


def _stack(canvas: Canvas, counts: Mapping[str, int], place: tuple[float, float], y: Axis, name: str) -> None:
    base = 0
    for css in CLASSES:
        count = counts[css]
        if count:
            title = f"{name}: {count:,} {CLASSES[css].title.lower()}"
            canvas.rect((place[0], y(base + count)), (place[1], y(base) - y(base + count)), f"class-{css}", title)
            base += count


def prefix_ladder(arms: Mapping[str, Sequence[Point]], label: str) -> Drawing:
    """Success after a share rho of a trace: the correct one beside its two controls."""

    def draw(width: int) -> Canvas:
        frame = new_frame(width, 300)
        x = Axis(0, 1, frame.left + 6, frame.right - 8)
        y = share_axis(frame, top_of([p for arm in arms.values() for p in arm]), "success")
        x_ticks(frame, x, [(v / 4, f"{25 * v}%") for v in range(5)], "share of the trace given as prefix")
        for number, (arm, arm_points) in enumerate(arms.items()):
            style = f"arm-{arm}" if arm in ARM_TITLE else f"arm-other{number % 2}"
            for run in runs(arm_points):
                band(frame.canvas, run, x, y, style)
                frame.canvas.polyline([(x(p.x), y(p.value or 0)) for p in run], f"curve {style}")
                for p in run:
                    words = describe(p, f"{ARM_TITLE.get(arm, arm)}, prefix {nominal(p.x)}")
                    frame.canvas.circle(x(p.x), y(p.value or 0), 3.4, f"dot {style}", words)
        return frame.canvas

    return both(draw, label)


def mixed_groups(points: Sequence[Point], label: str) -> Drawing:
    """Share of reward groups with both passes and failures, by group size."""

    def draw(width: int) -> Canvas:
        frame = new_frame(width, 260)
        low, high = points[0].x, max(points[-1].x, points[0].x * 2)
        x = Axis(low, high, frame.left + 18, frame.right - 18, math.log2)
        y = share_axis(frame, top_of(points), "mixed groups")
        x_ticks(frame, x, [(p.x, short_number(p.x)) for p in points], "group size G (log scale)")
        for p in points:
            if p.value is None:
                frame.canvas.text(x(p.x), frame.bottom - 6, UNDEFINED, "tick", "middle")
                continue
            frame.canvas.rect((x(p.x) - 11, y(p.value)), (22, frame.bottom - y(p.value)), f"bar {p.label}",
                              describe(p, f"G = {p.x:g}"))  # fmt: skip
            if p.low is not None and p.high is not None:
                frame.canvas.line((x(p.x), y(p.low)), (x(p.x), y(p.high)), "whisker ink")
            words = percent(p.value)
            frame.canvas.text(x(p.x), y(p.high if p.high is not None else p.value) - 6, words, "value", "middle")
        return frame.canvas

    return both(draw, label)


def demo_likelihood(scatter: Scatter, label: str) -> Drawing:
    """Log-probability of each demonstration against the smallest token probability along it, a dot per problem."""
    floor = 1e-12
    y_P = np.maximum(scatter.y_P, floor)

    def draw(width: int) -> Canvas:
        frame = new_frame(width, 300, left=56)
        x_low, x_high = float(scatter.x_P.min()), float(scatter.x_P.max())
        margin = max((x_high - x_low) * 0.05, 0.5)
        x = Axis(x_low - margin, min(x_high + margin, max(0.0, x_high)), frame.left + 6, frame.right - 8)
        bottom = 10.0 ** math.floor(math.log10(float(y_P.min())) - 0.05)
        y = Axis(bottom, 1.0, frame.bottom, frame.top, math.log10)
        decades = round(-math.log10(bottom))
        for exponent in range(0, decades + 1, max(1, math.ceil(decades / 6))):
            at = y(10.0**-exponent)
            frame.canvas.line((frame.left, at), (frame.right, at), "grid")
            words = {0: "1", 1: "0.1", 2: "0.01"}.get(exponent, power_tick(exponent))
            frame.canvas.text(frame.left - 6, at + 4, words, anchor="end")
        frame.canvas.text(2, 12, "smallest token probability (log scale)", "axis-title")
        x_ticks(frame, x, [(v, plain(v)) for v in _round_ticks(x.low, x.high, 4 if frame.narrow else 7)],
                 "log π(demo), nats")  # fmt: skip
        for i, css in enumerate(scatter.classes):
            least = plain(float(scatter.y_P[i]))
            words = f"{scatter.ids[i]}: log π {nats(float(scatter.x_P[i]))}, smallest token p {least}"
            frame.canvas.circle(x(float(scatter.x_P[i])), y(float(y_P[i])), 3.2, f"point class-{css}", words)
        return frame.canvas

    return both(draw, label)


def power_tick(exponent: int) -> str:
    """A power of ten with a negative exponent as an axis shows it: 10⁻³ for 3."""
    return "10" + str(-exponent).translate(_POWER_DIGITS)


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def strict_lenient(shares: Sequence[Share], label: str) -> Drawing:
    """The strict and the lenient pass rate as two bars."""

    def draw(width: int) -> Canvas:
        canvas = Canvas(width, 112)
        x = Axis(0, nice_top(max([s.high or s.value or 0.0 for s in shares] + [0.01])), 70, width - 60)
        for row, share in enumerate(shares):
            middle = 26 + 38 * row
            canvas.text(60, middle + 4, share.name, "tick strong", "end")
            if share.value is None:
                canvas.text(74, middle + 4, UNDEFINED, "tick")
                continue
            canvas.rect((70, middle - 11), (x(share.value) - 70, 22), f"bar {share.name}")
            if share.low is not None and share.high is not None:
                canvas.line((x(share.low), middle), (x(share.high), middle), "whisker ink")
            canvas.text(max(x(share.value), x(share.high or 0)) + 8, middle + 4, percent(share.value), "value")
        canvas.line((70, 6), (70, 88), "axis")
        canvas.text(70, 106, "pass rate per rollout", "axis-title")
        return canvas

    return both(draw, label)


def class_shares(shares: Sequence[Share], label: str) -> Drawing:
    """The share of problems in each class as bars with their intervals; the page has these numbers as a table."""

    def draw(width: int) -> Canvas:
        left, row = 136, 30
        canvas = Canvas(width, row * len(shares) + 44)
        x = Axis(0, 1, left, width - 60)
        bottom = row * len(shares) + 8
        for tick in share_ticks(1.0):
            canvas.line((x(tick), 6), (x(tick), bottom), "grid")
            canvas.text(x(tick), bottom + 14, nominal(tick), anchor="middle")
        for number, share in enumerate(shares):
            middle = 22 + row * number
            canvas.text(left - 8, middle + 4, CLASSES[share.name].title, "tick strong", "end")
            if share.value is None:
                canvas.text(left + 6, middle + 4, UNDEFINED)
                continue
            canvas.rect((left, middle - 9), (x(share.value) - left, 18), f"class-{share.name}")
            if share.low is not None and share.high is not None:
                canvas.line((x(share.low), middle), (x(share.high), middle), "whisker ink")
            end = x(max(share.value, share.high or 0.0))
            canvas.text(end + 8, middle + 4, class_percent(share.value), "value")
        canvas.line((left, 6), (left, bottom), "axis")
        canvas.text((left + width - 60) / 2, canvas.height - 6, "share of problems", "axis-title", "middle")
        return canvas

    return both(draw, label)
