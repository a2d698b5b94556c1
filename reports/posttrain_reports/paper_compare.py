"""Figures for papers of a comparison and of an autopilot run, in the style of `paper`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from posttrain_diag.wording.numbers import nominal, percent, signed_points
from posttrain_diag.wording.vocabulary import CLASSES, FATES
from posttrain_reports.charts_compare import EDGE, SIDES, Level, Step
from posttrain_reports.comparison_figures import pass_points, waterfall_steps
from posttrain_reports.figdata import Point, logit
from posttrain_reports.paper import ACCENT, INK, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

GREY = "#7A828C"
SIDE = {"before": (GREY, "--"), "after": (ACCENT, "-")}
MOST_DOTS = 5000


def comparison_paper_figures(
    found: Mapping[str, Any], problems: pd.DataFrame, kinds: Sequence[str]
) -> dict[str, bytes]:
    """pass@k of both sides, the parts of the change, every problem: contents by file name."""

    def figures(axes_of: Iterator[Axes]) -> Iterator[tuple[str, str, bool]]:
        yield "pass_at_k", "pass@k before and after", _pass_at_k(next(axes_of), pass_points(found))
        yield "decomposition", "What the change of pass@1 is made of", _waterfall(next(axes_of), waterfall_steps(found))
        yield "before_after", "Every problem, before and after", _before_after(next(axes_of), problems)

    return drawn(figures, kinds)


def autopilot_paper_figures(checkpoints: Sequence[Level], kinds: Sequence[str]) -> dict[str, bytes]:
    """pass@1 and retention by round: contents by file name."""

    def figures(axes_of: Iterator[Axes]) -> Iterator[tuple[str, str, bool]]:
        yield "levels", "Held-out pass@1 and retention by round", _levels(next(axes_of), checkpoints)

    return drawn(figures, kinds)


def _curve(axes: Axes, points: Sequence[Point], side: str, label: str) -> None:
    colour, line = SIDE[side]
    held = [p for p in points if p.value is not None]
    axes.plot(
        [p.x for p in held], [p.value or 0.0 for p in held], line, marker="o", markersize=4, color=colour, label=label
    )
    for p in held:
        if p.low is not None and p.high is not None:
            axes.plot([p.x, p.x], [p.low, p.high], color=colour, linewidth=1)


def _pass_at_k(axes: Axes, sides: tuple[Sequence[Point], Sequence[Point]]) -> bool:
    if not any(p.value is not None for side in sides for p in side):
        return False
    for name, side in zip(SIDES, sides, strict=True):
        _curve(axes, side, name, name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: nominal(value))
    axes.set(xlabel="k, rollouts per problem", ylabel="pass@k", ylim=(0, None))
    axes.legend()
    return True


def _waterfall(axes: Axes, steps: Sequence[Step]) -> bool:
    if not steps:
        return False
    for row, step in enumerate(steps):
        rises = step.end >= step.start
        colour = GREY if step.total else CLASSES["mastered" if rises else "support"].colour
        axes.barh(row, step.end - step.start, left=step.start, color=colour, height=0.66)
        text = percent(step.end) if step.total else signed_points(step.end - step.start)
        axes.text(max(step.start, step.end) + 0.01, row, text, va="center", fontsize=7.5, color=INK)
    axes.set_yticks(range(len(steps)), [step.name for step in steps])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: nominal(value))
    axes.set(xlabel="pass@1; changes in percentage points", xlim=(0, 1.12 * max(max(s.start, s.end) for s in steps)))
    return True


def _before_after(axes: Axes, table: pd.DataFrame) -> bool:
    kept = table[table["p_before"].notna() & table["p_after"].notna()]
    if kept.empty:
        return False
    shown = kept if len(kept) <= MOST_DOTS else kept.sample(MOST_DOTS, random_state=0)
    x_P, y_P = (logit(np.clip(shown[f"p_{side}"].to_numpy(float), EDGE, 1 - EDGE)) for side in SIDES)
    fate_P = shown["fate"].to_numpy(object)
    for fate, one in FATES.items():
        own_P = fate_P == fate
        if own_P.any():
            axes.scatter(x_P[own_P], y_P[own_P], s=12, color=CLASSES[one.hue].colour, alpha=0.7, label=one.title)
    ticks = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    axes.set_xticks(logit(ticks), [nominal(t) for t in ticks])
    axes.set_yticks(logit(ticks), [nominal(t) for t in ticks])
    axes.axline((0, 0), slope=1, color=GREY, linewidth=0.8, linestyle=":")
    ends = logit(np.array([EDGE / 1.5, 1 - EDGE / 1.5]))
    axes.set(xlabel="success probability before", ylabel="after", xlim=ends, ylim=ends)
    axes.legend()
    return True


def _levels(axes: Axes, checkpoints: Sequence[Level]) -> bool:
    if len(checkpoints) < 2:
        return False
    for side, name, label in (("after", "point", "held-out pass@1"), ("before", "retention", "retained tasks")):
        points = [getattr(c, name) for c in checkpoints if c.kept]
        _curve(axes, [p for p in points if p is not None], side, label)
        dropped = [
            p for p in (getattr(c, name) for c in checkpoints if not c.kept) if p is not None and p.value is not None
        ]
        axes.plot([p.x for p in dropped], [p.value or 0.0 for p in dropped], "o", markersize=4.5, color=SIDE[side][0],
                  markerfacecolor="white", label=f"{label}, rolled back" if dropped else None)  # fmt: skip
    axes.set_xticks(range(len(checkpoints)), [c.name for c in checkpoints])
    axes.yaxis.set_major_formatter(lambda value, _: nominal(value))
    axes.set(ylim=(0, 1.05))
    axes.legend()
    return True
