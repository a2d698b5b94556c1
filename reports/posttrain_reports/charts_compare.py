"""Figures of a comparison and of an autopilot run, drawn with the kit of `charts`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from posttrain_diag.wording.numbers import UNDEFINED, nominal, percent, signed_points, token_count
from posttrain_reports.charts import band, both, describe, new_frame, runs, share_axis, top_of, x_ticks
from posttrain_reports.figdata import Point, logit
from posttrain_reports.svg import Axis, Canvas, Drawing, nice_top, power_ticks, short_number

EDGE = 0.002
"""Success probabilities below this, and above 1 - this, are drawn at the edge of a logit axis."""
SIDES = ("before", "after")


@dataclass(frozen=True)
class Step:
    """One bar of a waterfall figure."""

    name: str
    start: float
    end: float
    low: float | None = None
    """Lower end of the interval of the bar's length, as a change."""
    high: float | None = None
    total: bool = False
    """Whether the bar shows a level, and not a change."""


@dataclass(frozen=True)
class Dot:
    """One problem of a scatter figure, before and after."""

    name: str
    before: float
    after: float
    css: str


@dataclass(frozen=True)
class Level:
    """One checkpoint of an autopilot run, as a figure shows it."""

    name: str
    point: Point | None
    retention: Point | None
    kept: bool


def pass_at_k_pair(sides: Sequence[Sequence[Point]], label: str) -> Drawing:
    """pass@k before and after over k on a log axis, with intervals."""

    def draw(width: int) -> Canvas:
        frame = new_frame(width, 290)
        points = [p for side in sides for p in side]
        low, high = min(p.x for p in points), max(*(p.x for p in points), 2 * points[0].x)
        x = Axis(low, high, frame.left + 8, frame.right - 10, math.log2)
        y = share_axis(frame, top_of(points), "pass@k")
        x_ticks(frame, x, [(k, short_number(k)) for k in power_ticks(low, high, 6 if frame.narrow else 11)],
                "k, rollouts per problem (log scale)")  # fmt: skip
        for name, side in zip(SIDES, sides, strict=True):
            for run in runs(side):
                band(frame.canvas, run, x, y, f"side-{name}")
                frame.canvas.polyline([(x(p.x), y(p.value or 0)) for p in run], f"curve side-{name}")
                for p in run:
                    frame.canvas.circle(x(p.x), y(p.value or 0), 3.6, f"dot side-{name}",
                                        describe(p, f"{name}, pass@{p.x:g}"))  # fmt: skip
        return frame.canvas

    return both(draw, label)


def waterfall(steps: Sequence[Step], label: str) -> Drawing:
    """The parts of a change: bars that begin where the one above ended."""

    def draw(width: int) -> Canvas:
        narrow = width < 450
        left, right, row = (92, 84, 34) if narrow else (128, 132, 34)
        canvas = Canvas(width, row * len(steps) + 34)
        ends = [v for s in steps for v in (s.start, s.end)]
        low, high = min(0.0, *ends), max(*ends, 0.01)
        x = Axis(low, nice_top(high), left, width - right)
        for number, step in enumerate(steps):
            middle = 20 + row * number
            first, last = x(min(step.start, step.end)), x(max(step.start, step.end))
            css = "total" if step.total else "up" if step.end >= step.start else "down"
            canvas.text(left - 8, middle + 4, step.name, "tick strong" if step.total else "tick", "end")
            canvas.rect((first, middle - 10), (max(last - first, 1.5), 20), f"step {css}")
            if step.low is not None and step.high is not None and not step.total:
                sign = 1 if step.end >= step.start else -1
                a, b = step.start + sign * step.low, step.start + sign * step.high
                canvas.line((x(min(a, b)), middle), (x(max(a, b)), middle), "whisker ink")
            words = percent(step.end) if step.total else signed_points(step.end - step.start)
            canvas.text(max(last, x(max(step.start + (step.high or 0), step.end)) if not step.total else last) + 8,
                        middle + 4, words, "value")  # fmt: skip
            if number + 1 < len(steps):
                canvas.line((x(step.end), middle + 10), (x(step.end), middle + row - 10), "grid")
        canvas.line((x(0), 4), (x(0), row * len(steps) + 6), "axis")
        canvas.text(left, canvas.height - 6, "pass@1; changes in percentage points", "axis-title")
        return canvas

    return both(draw, label)


def before_after(dots: Sequence[Dot], eps: float | None, label: str) -> Drawing:
    """Every problem's success probability before (across) and after (up), on logit axes."""

    def held(p: float) -> float:
        return min(max(p, EDGE), 1 - EDGE)

    def draw(width: int) -> Canvas:
        frame = new_frame(width, 340)
        canvas = frame.canvas
        x = Axis(EDGE, 1 - EDGE, frame.left + 8, frame.right - 10, lambda p: float(logit(p)))
        y = Axis(EDGE, 1 - EDGE, frame.bottom - 6, frame.top + 4, lambda p: float(logit(p)))
        ticks = [(0.01, "1%"), (0.1, "10%"), (0.5, "50%"), (0.9, "90%"), (0.99, "99%")]
        for value, words in ticks:
            canvas.line((frame.left, y(value)), (frame.right, y(value)), "grid")
            canvas.text(frame.left - 6, y(value) + 4, words, anchor="end")
        canvas.text(2, 12, "success probability after (logit scale)", "axis-title")
        x_ticks(frame, x, ticks, "before (logit scale)")
        canvas.line((x(EDGE), y(EDGE)), (x(1 - EDGE), y(1 - EDGE)), "mark")
        if eps is not None and EDGE < eps < 1 - EDGE:
            canvas.line((x(eps), frame.top), (x(eps), frame.bottom), "mark")
            canvas.line((frame.left, y(eps)), (frame.right, y(eps)), "mark")
            canvas.text(frame.right, y(eps) - 5, "ε = 1/B", "mark-label", "end")
        for dot in dots:
            words = f"{dot.name}: {percent(dot.before)} before, {percent(dot.after)} after"
            canvas.circle(x(held(dot.before)), y(held(dot.after)), 3.4, f"point class-{dot.css}", words)
        return canvas

    return both(draw, label)


def intervals(rows: Sequence[tuple[str, Point]], label: str, title: str) -> Drawing:
    """Named changes with their intervals, one beneath the other, around zero."""

    def draw(width: int) -> Canvas:
        left = 92 if width < 450 else 150
        canvas = Canvas(width, 36 * len(rows) + 36)
        ends = [v for _, p in rows for v in (p.value, p.low, p.high) if v is not None]
        low, high = min(0.0, *ends), max(0.01, *ends)
        margin = 0.06 * (high - low)
        x = Axis(low - (margin if low < 0 else 0), high + margin, left, width - 64)
        canvas.line((x(0), 4), (x(0), 36 * len(rows) + 6), "axis")
        for number, (name, point) in enumerate(rows):
            middle = 22 + 36 * number
            canvas.text(left - 10, middle + 4, name, "tick strong", "end")
            if point.value is None:
                canvas.text(left + 4, middle + 4, UNDEFINED)
                continue
            if point.low is not None and point.high is not None:
                canvas.line((x(point.low), middle), (x(point.high), middle), f"whisker thick side-{SIDES[number % 2]}")
            canvas.circle(x(point.value), middle, 5, f"dot side-{SIDES[number % 2]}")
            end = max(x(point.value), x(point.high) if point.high is not None else 0)
            canvas.text(end + 9, middle + 4, signed_points(point.value), "value")
        canvas.text(left, canvas.height - 6, title, "axis-title")
        return canvas

    return both(draw, label)


def levels(checkpoints: Sequence[Level], target: float | None, label: str) -> Drawing:
    """pass@1 and retention of every checkpoint; one that was rolled back is hollow and leads nowhere."""

    def draw(width: int) -> Canvas:
        frame = new_frame(width, 300, top=44)
        canvas = frame.canvas
        x = Axis(0, max(len(checkpoints) - 1, 1), frame.left + 26, frame.right - 26)
        y = share_axis(frame, 1.0, "held-out pass@1, and retained tasks")
        x_ticks(frame, x, [(i, c.name if not frame.narrow else str(i)) for i, c in enumerate(checkpoints)],
                "checkpoint of each round")  # fmt: skip
        if target is not None and 0 < target < 1:
            canvas.line((frame.left, y(target)), (frame.right, y(target)), "mark")
            above = target < 0.85  # near the top the line of retained tasks passes above it
            canvas.text(frame.left + 4, y(target) + (-4 if above else 13), f"target {nominal(target)}", "mark-label")
        for css, name in (("retention", "retention"), ("point", "pass@1")):
            found = [(i, getattr(c, css), c.kept) for i, c in enumerate(checkpoints)]
            style = "side-before" if css == "retention" else "side-after"
            last: tuple[int, Point] | None = None
            for i, p, kept in found:
                if p is None or p.value is None:
                    continue
                if last is not None:
                    a = (x(last[0]), y(last[1].value or 0))
                    canvas.line(a, (x(i), y(p.value)), f"curve {style}{'' if kept else ' dropped'}")
                if p.low is not None and p.high is not None:
                    canvas.line((x(i), y(p.low)), (x(i), y(p.high)), f"whisker {style}")
                words = describe(p, f"{checkpoints[i].name}, {name}{'' if kept else ', rolled back'}")
                canvas.circle(x(i), y(p.value), 5, f"dot {style}{'' if kept else ' hollow'}", words)
                if css == "point":
                    canvas.text(x(i), y(p.value) - 12, percent(p.value), "value", "middle")
                if kept:
                    last = (i, p)
        return canvas

    return both(draw, label)


def bill(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], label: str) -> Drawing:
    """Tokens of every round as stacked bars.

    Args:
        rows: the rounds, each as (round, parts), a part being (style class, tokens).
        label: the figure's accessible name.
    """

    def draw(width: int) -> Canvas:
        left = 84 if width < 450 else 130
        canvas = Canvas(width, 34 * len(rows) + 14)
        most = max((sum(v for _, v in parts) for _, parts in rows), default=1.0) or 1.0
        x = Axis(0, most, left, width - 66)
        for number, (name, parts) in enumerate(rows):
            middle = 20 + 34 * number
            canvas.text(left - 8, middle + 4, name, "tick strong", "end")
            done = 0.0
            for css, value in parts:
                canvas.rect((x(done), middle - 11), (x(done + value) - x(done), 22), f"part-{css}",
                            f"{css}: {token_count(value)} tokens")  # fmt: skip
                done += value
            canvas.text(x(done) + 7, middle + 4, token_count(done), "value")
        return canvas

    return both(draw, label)
