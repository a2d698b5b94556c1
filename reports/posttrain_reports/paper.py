"""Figures for papers: matplotlib, one style sheet, the same numbers as the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from posttrain_diag.wording.numbers import class_percent, nominal
from posttrain_diag.wording.vocabulary import CLASSES
from posttrain_reports import figdata
from posttrain_reports.charts import ARM_TITLE, power_tick
from posttrain_reports.data import ReportData, as_mapping
from posttrain_reports.figdata import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

INK, ACCENT = "#222222", CLASSES["reshaping"].colour
STYLE: dict[RcKeyType, Any] = {
    "figure.figsize": (4.6, 3.1),
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "savefig.bbox": "tight",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.parse_math": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E7EB",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.7,
    "svg.fonttype": "path",
    "svg.hashsalt": "posttrain-diag",
}
_DASH = {"measured": "-", "estimated": (0, (4, 2.5)), "model-dependent": (0, (1, 2))}
_ARM = {
    "true": (ACCENT, "-"),
    "permuted": (CLASSES["support"].colour, (0, (4, 2))),
    "neutral": ("#666666", (0, (1, 1.5))),
}


def _percent_axis(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(lambda value, _: nominal(value))
    axes.set_ylim(bottom=0)


def _legend_below(axes: Axes) -> None:
    """A legend outside the axes, for figures whose points fill them."""
    axes.figure.legend(loc="outside lower center", ncols=3)


def _band(axes: Axes, points: Sequence[Point], colour: str) -> None:
    held = [p for p in points if p.value is not None and p.low is not None and p.high is not None]
    if held:
        axes.fill_between([p.x for p in held], [p.low or 0.0 for p in held], [p.high or 0.0 for p in held],
                          color=colour, alpha=0.16, linewidth=0)  # fmt: skip


def _pass_at_k(axes: Axes, data: ReportData, figure: Mapping[str, Any]) -> bool:
    points = [p for p in figdata.points(figure, "k") if p.value is not None and p.x > 0]
    if not points:
        return False
    _band(axes, points, ACCENT)
    for a, b in pairwise(points):
        axes.plot([a.x, b.x], [a.value or 0.0, b.value or 0.0], color=ACCENT, linestyle=_DASH.get(b.label, "-"))
    for label in ("measured", "estimated", "model-dependent"):
        own = [p for p in points if p.label == label]
        if own:
            axes.plot([p.x for p in own], [p.value or 0.0 for p in own], "o", markersize=4.2, color=ACCENT,
                      markerfacecolor=ACCENT if label == "measured" else "white", label=label)  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="k, rollouts per problem", ylabel="pass@k")
    _percent_axis(axes)
    axes.legend()
    return True


def _class_shares(axes: Axes, data: ReportData, figure: Mapping[str, Any]) -> bool:
    shares = [s for s in figdata.class_shares(data.diagnosis) if s.value is not None]
    if not shares:
        return False
    rows = range(len(shares))
    axes.barh(list(rows), [s.value or 0.0 for s in shares], color=[CLASSES[s.name].colour for s in shares], height=0.66)
    for row, share in zip(rows, shares, strict=True):
        if share.low is not None and share.high is not None:
            axes.plot([share.low, share.high], [row, row], color=INK, linewidth=1)
        axes.text(
            max(share.value or 0.0, share.high or 0.0) + 0.015, row, class_percent(share.value or 0.0), va="center"
        )
    axes.set_yticks(list(rows), [CLASSES[s.name].title for s in shares])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: nominal(value))
    axes.set(xlabel="share of problems", xlim=(0, 1.08))
    axes.grid(visible=False, axis="y")
    return True


def _p_distribution(axes: Axes, data: ReportData, figure: Mapping[str, Any]) -> bool:
    hist = figdata.p_histogram(data.problems, *figdata.thresholds(data.diagnosis))
    edges = figdata.logit(hist.edges)
    width = float(edges[1] - edges[0])
    centres = np.concatenate([[float(edges[0]) - 3 * width], (edges[:-1] + edges[1:]) / 2])
    base = np.zeros(len(centres))
    for name in CLASSES:
        counts = np.concatenate([[hist.zeros[name]], hist.counts[name]])
        if counts.any():
            widths = np.full(len(centres), width * 0.92)
            widths[0] = 2 * width
            axes.bar(centres, counts, width=widths, bottom=base, color=CLASSES[name].colour, label=CLASSES[name].title)
            base += counts
    if not base.any():
        return False
    for value, words in ((hist.eps, "ε"), (hist.mastery, "mastery")):
        if value is not None and 0 < value < 1:
            at = float(figdata.logit(value))
            axes.axvline(at, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
            axes.text(at, 1.01, words, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=7.5)
    low, high = hist.n_range
    ticks = [0.01, 0.1, 0.5, 0.9, 0.99]
    none = f"0 of {low:,}" if low == high else f"0 of\n{low:,}–{high:,}"
    axes.set_xticks([float(centres[0]), *(float(figdata.logit(t)) for t in ticks)],
                    [none, *(nominal(t) for t in ticks)])  # fmt: skip
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="success probability per rollout (logit)", ylabel="problems")
    _legend_below(axes)
    return True


def _prefix_ladder(axes: Axes, data: ReportData, figure: Mapping[str, Any]) -> bool:
    arms = figdata.ladder(figure)
    for arm, points in arms.items():
        colour, dash = _ARM.get(arm, ("#009E73", "-"))
        _band(axes, points, colour)
        axes.plot([p.x for p in points], [np.nan if p.value is None else p.value for p in points], marker="o",
                  markersize=3.6, color=colour, linestyle=dash, label=ARM_TITLE.get(arm, arm))  # fmt: skip
    axes.set(xlabel="share of the trace given as prefix", ylabel="success", xlim=(-0.02, 1.02))
    axes.xaxis.set_major_formatter(lambda value, _: nominal(value))
    _percent_axis(axes)
    if arms:
        axes.legend()
    return bool(arms)


def _mixed_groups(axes: Axes, data: ReportData, figure: Mapping[str, Any]) -> bool:
    points = [p for p in figdata.points(figure, "G") if p.value is not None and p.x > 0]
    if not points:
        return False
    places = [math.log2(p.x) for p in points]
    axes.bar(places, [p.value or 0.0 for p in points], width=0.55, color=ACCENT, alpha=0.85)
    for place, p in zip(places, points, strict=True):
        if p.low is not None and p.high is not None:
            axes.plot([place, place], [p.low, p.high], color=INK, linewidth=1)
    axes.set_xticks(places, [f"{p.x:g}" for p in points])
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="group size G", ylabel="mixed reward groups")
    _percent_axis(axes)
    return True


def _demo_likelihood(axes: Axes, data: ReportData, figure: Mapping[str, Any]) -> bool:
    scatter = figdata.demo_scatter(figure, data.problems)
    if not len(scatter.x_P):
        return False
    names = np.array(scatter.classes)
    for name in CLASSES:
        own = names == name
        if own.any():
            axes.scatter(scatter.x_P[own], np.maximum(scatter.y_P[own], 1e-12), s=11, color=CLASSES[name].colour,
                         alpha=0.75, linewidths=0, label=CLASSES[name].title)  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: "1" if value == 1 else power_tick(-round(math.log10(value))))
    axes.set(xlabel="log π(demo), nats", ylabel="smallest token probability")
    _legend_below(axes)
    return True


def _format(axes: Axes, data: ReportData, figure: Mapping[str, Any]) -> bool:
    shares = [s for s in figdata.strict_lenient(figure) if s.value is not None]
    if not shares:
        return False
    axes.bar([s.name for s in shares], [s.value or 0.0 for s in shares], width=0.36,
             color=[{"strict": ACCENT, "lenient": "#E69F00"}[s.name] for s in shares])  # fmt: skip
    for place, s in enumerate(shares):
        if s.low is not None and s.high is not None:
            axes.plot([place, place], [s.low, s.high], color=INK, linewidth=1)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel="pass rate per rollout", xlim=(-0.7, len(shares) - 0.3))
    _percent_axis(axes)
    return True


DRAW: Mapping[str, tuple[str, Callable[[Axes, ReportData, Mapping[str, Any]], bool]]] = {
    "pass_at_k": ("pass@k", _pass_at_k),
    "class_shares": ("Classes of problems", _class_shares),
    "p_distribution": ("Success probability per problem", _p_distribution),
    "prefix_ladder": ("Prefix ladder", _prefix_ladder),
    "demo_likelihood": ("Likelihood of demonstrations", _demo_likelihood),
    "mixed_groups": ("Signal for on-policy RL", _mixed_groups),
    "format": ("Strict and lenient reading", _format),
}
"""Figure name -> (title, how to draw it; False when there is nothing to draw)."""
FROM_DIAGNOSIS = ("class_shares", "p_distribution")
"""Figures that need no probe: they are drawn from diagnosis.json and problems.parquet."""


def paper_figures(data: ReportData, kinds: Sequence[str] = ("svg",)) -> dict[str, bytes]:
    """Contents by file name for every figure that has something to draw.

    Args:
        data: the run's plain data.
        kinds: "svg", "png" or both.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    files: dict[str, bytes] = {}
    with mpl.rc_context(STYLE):
        for name, (title, draw) in DRAW.items():
            found = figdata.find_figure(data.measurements, name)
            if found is None and name not in FROM_DIAGNOSIS:
                continue
            figure = Figure(layout="constrained")
            axes = figure.add_subplot()
            if not draw(axes, data, as_mapping((found or {}).get("data"))):
                continue
            axes.set_title(title, pad=14 if name == "p_distribution" else 8)
            for kind in kinds:
                files[f"{name}.{kind}"] = _saved(figure, kind)
    return files


def drawn(
    figures: Callable[[Iterator[Axes]], Iterator[tuple[str, str, bool]]], kinds: Sequence[str]
) -> dict[str, bytes]:
    """Contents by file name of figures in the style of this module.

    Args:
        figures: takes new axes for each figure; yields its file name, its title, and whether something was drawn.
        kinds: "svg", "png" or both.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    made: list[Figure] = []

    def new_axes() -> Iterator[Axes]:
        while True:
            made.append(Figure(layout="constrained"))
            yield made[-1].add_subplot()

    files: dict[str, bytes] = {}
    with mpl.rc_context(STYLE):
        for name, title, something in figures(new_axes()):
            if something:
                made[-1].axes[0].set_title(title, pad=8)
                files |= {f"{name}.{kind}": _saved(made[-1], kind) for kind in kinds}
    return files


def _saved(figure: Figure, kind: str) -> bytes:
    out = BytesIO()
    metadata = {"Date": None} if kind == "svg" else None  # no date: same data, same file
    figure.savefig(out, format=kind, metadata=metadata)
    return out.getvalue()
