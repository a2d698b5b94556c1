"""Every figure of the page as one block: title, what to read in it, the drawing, and its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from posttrain_diag.wording.numbers import UNDEFINED, finite, nats, nominal, percent, percent_between, plain
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import CLASSES
from posttrain_reports import charts, figdata
from posttrain_reports.data import ReportData, as_mapping
from posttrain_reports.figdata import Point
from posttrain_reports.svg import Drawing

MAX_TABLE_ROWS = 60
MAX_TABLE_COLUMNS = 12
MAX_OTHERS = 20
MAX_EXAMPLES = 6
MAX_TOKENS = 400
BLOCKING_PROB = 0.01
CELL_LIMIT = 200


@dataclass(frozen=True)
class Table:
    """Rows of words for a page; `left_out` rows of them were not embedded."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0


@dataclass(frozen=True)
class FigureBlock:
    """One figure of a page, with its title, its caption and its numbers."""

    name: str
    title: str
    caption: str
    drawing: Drawing | None = None
    """The drawing, made by `charts`; None where only a table or a sentence can be shown."""
    legend: tuple[tuple[str, str], ...] = ()
    """The entries of the legend, each as (style class of the swatch, words)."""
    table: Table | None = None
    examples: tuple[Mapping[str, Any], ...] = field(default_factory=tuple[Mapping[str, Any], ...])
    """Demonstrations with their tokens, for the figure "demo_tokens"."""
    missing: str = ""
    """Why there is nothing to draw; empty where there is something."""

    @property
    def svg(self) -> str:
        """The drawing as the page shows it; empty where there is none."""
        return self.drawing.markup() if self.drawing else ""


def _point_value(point: Point) -> str:
    if point.bound is not None:
        return f"at most {percent(point.bound)}"
    return UNDEFINED if point.value is None else percent(point.value)


def _estimate_rows(points: Sequence[Point], name: str) -> Table:
    rows = tuple(
        (
            f"{p.x:g}",
            _point_value(p),
            "" if p.value is None or p.bound is not None else percent_between(p.value, p.low, p.high),
            p.label,
        )
        for p in points
    )
    return Table((name, "value", "interval", "label"), rows[:MAX_TABLE_ROWS], max(len(rows) - MAX_TABLE_ROWS, 0))


def _level_words(data: ReportData) -> str:
    level = finite(as_mapping(data.diagnosis.get("settings")).get("level"))
    return "its interval" if level is None else f"the {nominal(level)} interval"


def _pass_at_k(title: str, figure: Mapping[str, Any], data: ReportData) -> FigureBlock:
    points = figdata.points(figure, "k")
    points = tuple(p for p in points if p.x > 0)
    defined = [p for p in points if p.value is not None]
    if not defined:
        return FigureBlock("pass_at_k", title, "", missing="No point of the curve could be estimated.")
    eps, _ = figdata.thresholds(data.diagnosis)
    caption = f"Chance that at least one of k rollouts passes, averaged over problems. Shaded: {_level_words(data)}."
    labels = {p.label for p in defined}
    legend = tuple(
        (f"line-{label}", words)
        for label, words in (
            ("measured", "measured: k is at most the rollouts drawn"),
            ("estimated", "estimated: a little beyond them"),
            ("model-dependent", "model-dependent: a forecast, read its assumption"),
            ("bound", "upper limits: no draw passed, the shaded range is what the counts allow"),
        )
        if label in labels
    )
    first, last = (f"{_point_value(p)} at k={p.x:g}" for p in (defined[0], defined[-1]))
    drawing = charts.pass_at_k(points, 1 / eps if eps else None, f"pass@k curve from {first} to {last}")
    return FigureBlock("pass_at_k", title, caption, drawing, legend, _estimate_rows(points, "k"))


def _p_distribution(title: str, figure: Mapping[str, Any], data: ReportData) -> FigureBlock:
    eps, mastery = figdata.thresholds(data.diagnosis)
    hist = figdata.p_histogram(
        data.problems, finite(figure.get("eps")) or eps, finite(figure.get("mastery")) or mastery
    )
    zeros, placed = sum(hist.zeros.values()), sum(int(k.sum()) for k in hist.counts.values())
    if not zeros and not placed:
        return FigureBlock("p_distribution", title, "", missing="No problem has an estimated success probability.")
    caption = (
        "Each problem at its posterior mean success probability per rollout. Problems without a single pass "
        "stand apart on the left: a zero count is an upper bound, not a probability of zero."
    )
    if hist.undefined:
        caption += f" {hist.undefined:,} problem(s) without an estimate are not drawn."
    present = [c for c in CLASSES if hist.zeros[c] or int(hist.counts[c].sum())]
    rows = tuple((CLASSES[c].title, f"{hist.zeros[c]:,}", f"{int(hist.counts[c].sum()):,}") for c in present)
    drawing = charts.p_distribution(
        hist, f"Distribution of success probability: {zeros:,} problems without a pass, {placed:,} with one"
    )
    legend = tuple((f"class-{c}", CLASSES[c].title) for c in present)
    return FigureBlock(
        "p_distribution", title, caption, drawing, legend, Table(("class", "no pass", "at least one pass"), rows)
    )


def _prefix_ladder(title: str, figure: Mapping[str, Any], data: ReportData) -> FigureBlock:
    arms = figdata.ladder(figure)
    if not arms:
        return FigureBlock("prefix_ladder", title, "", missing="No prefix was drawn (prefixes need demonstrations).")
    caption = (
        "Success after the first part of a correct trace is given. It counts as prefix reachability only where it "
        "rises above both controls and well before the end, where the answer is given away. "
        f"Shaded: {_level_words(data)}."
    )
    rows = [
        (charts.ARM_TITLE.get(arm, arm), nominal(p.x), charts.describe(p, "").lstrip(": "))
        for arm, points in arms.items()
        for p in points
    ]
    legend = tuple(
        (f"line-arm-{arm}" if arm in charts.ARM_TITLE else f"line-arm-other{i % 2}", charts.ARM_TITLE.get(arm, arm))
        for i, arm in enumerate(arms)
    )
    drawing = charts.prefix_ladder(arms, "Success by share of the trace given as prefix, with controls")
    table = Table(("arm", "prefix", "success"), tuple(rows[:MAX_TABLE_ROWS]), max(len(rows) - MAX_TABLE_ROWS, 0))
    return FigureBlock("prefix_ladder", title, caption, drawing, legend, table)


def _mixed_groups(title: str, figure: Mapping[str, Any], data: ReportData) -> FigureBlock:
    points = tuple(p for p in figdata.points(figure, "G") if p.x > 0)
    if not any(p.value is not None for p in points):
        return FigureBlock("mixed_groups", title, "", missing="The share of mixed groups could not be estimated.")
    caption = (
        "Share of on-policy reward groups that hold both passes and failures; only these give a gradient to RL "
        f"with a verifier. Whiskers: {_level_words(data)}."
    )
    drawing = charts.mixed_groups(points, "Share of mixed reward groups by group size")
    return FigureBlock("mixed_groups", title, caption, drawing, (), _estimate_rows(points, "G"))


def _demo_likelihood(title: str, figure: Mapping[str, Any], data: ReportData) -> FigureBlock:
    scatter = figdata.demo_scatter(figure, data.problems)
    if not len(scatter.x_P):
        return FigureBlock("demo_likelihood", title, "", missing="No demonstration was scored.")
    caption = (
        "One dot per problem. Left: the whole demonstration is unlikely. Low: some single token is nearly "
        "unavailable to the policy, so no reward will reach it and demonstrations must."
    )
    if scatter.total > len(scatter.x_P):
        caption += f" {len(scatter.x_P):,} of {scatter.total:,} problems, a random sample (seed 0)."
    present = [c for c in CLASSES if c in scatter.classes]
    order = sorted(range(len(scatter.ids)), key=lambda i: scatter.y_P[i])
    rows = tuple(
        (clip(scatter.ids[i], CELL_LIMIT), nats(float(scatter.x_P[i])), plain(float(scatter.y_P[i])))
        for i in order[:MAX_TABLE_ROWS]
    )
    table = Table(("problem", "log π(demo)", "smallest token p"), rows, max(scatter.total - len(rows), 0))
    drawing = charts.demo_likelihood(scatter, "Demonstration log-likelihood against its smallest token probability")
    return FigureBlock(
        "demo_likelihood", title, caption, drawing, tuple((f"class-{c}", CLASSES[c].title) for c in present), table
    )


def token_views(tokens: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Tokens with the level of their highlight: 2 for p < 1e-4, 1 for p < .01, else 0."""
    views: list[dict[str, Any]] = []
    for token in tokens[:MAX_TOKENS]:
        logprob, rank = finite(token.get("logprob")), finite(token.get("rank"))
        prob = None if logprob is None else math.exp(min(logprob, 0.0))
        level = 0 if prob is None or prob >= BLOCKING_PROB else (2 if prob < BLOCKING_PROB**2 else 1)
        text = clip(str(token.get("text") or ""), CELL_LIMIT)
        if level and not text.strip():
            text = text.replace(" ", "␣").replace("\t", "⇥").replace("\n", "⏎\n") or "∅"
        title = "probability not recorded" if prob is None else f"p = {plain(prob)}"
        views.append({"text": text, "level": level, "title": title + ("" if rank is None else f", rank {rank:.0f}")})
    return tuple(views)


def _demo_tokens(title: str, figure: Mapping[str, Any], data: ReportData) -> FigureBlock:
    given = list(figure.get("examples") or ())
    examples: tuple[Mapping[str, Any], ...] = tuple(
        {
            "problem_id": clip(str(e.get("problem_id")), CELL_LIMIT),
            "tokens": token_views(e.get("tokens") or ()),
            "left_out": max(len(e.get("tokens") or ()) - MAX_TOKENS, 0),
        }
        for e in given[:MAX_EXAMPLES]
    )
    if not examples:
        return FigureBlock("demo_tokens", title, "", missing="No demonstration was scored token by token.")
    if not any(token["level"] for example in examples for token in example["tokens"]):
        free = "No token of the demonstrations shown here has a probability below 1%: nothing blocks them."
        return FigureBlock("demo_tokens", title, free, examples=examples[:2])
    caption = (
        "Correct traces as the policy sees them. Marked tokens have a probability below 1% (strong: below 0.01%) "
        "at their position."
    )
    if len(given) > MAX_EXAMPLES:
        caption += f" {MAX_EXAMPLES} of {len(given):,} examples."
    return FigureBlock("demo_tokens", title, caption, examples=examples)


def _format(title: str, figure: Mapping[str, Any], data: ReportData) -> FigureBlock:
    shares = figdata.strict_lenient(figure)
    if all(s.value is None for s in shares):
        return FigureBlock("format", title, "", missing="Neither reading could be estimated.")
    caption = (
        "Strict: exactly as the task demands. Lenient: the right answer is there once surface form is forgiven. "
        "A gap is lost to format, not to ability."
    )
    drawing = charts.strict_lenient(shares, "Strict and lenient pass rate")
    rows = tuple(
        (
            s.name,
            UNDEFINED if s.value is None else percent(s.value),
            "" if s.value is None else percent_between(s.value, s.low, s.high),
        )
        for s in shares
    )
    return FigureBlock("format", title, caption, drawing, (), Table(("reading", "pass rate", "interval"), rows))


KNOWN: Mapping[str, tuple[str, Callable[[str, Mapping[str, Any], ReportData], FigureBlock]]] = {
    "pass_at_k": ("pass@k", _pass_at_k),
    "p_distribution": ("Success probability per problem", _p_distribution),
    "prefix_ladder": ("Prefix ladder", _prefix_ladder),
    "demo_likelihood": ("Likelihood of demonstrations", _demo_likelihood),
    "mixed_groups": ("Signal for on-policy RL", _mixed_groups),
    "demo_tokens": ("Tokens that block the demonstrations", _demo_tokens),
    "format": ("Strict and lenient reading", _format),
}
"""For each figure (title when the probe gives none, how to draw it), in the order of the page."""


def fallback_table(data: Mapping[str, Any]) -> Table:
    """Any figure data as a table: parallel lists become columns, everything else rows of name and value."""
    columns = {
        str(name): list(cells)
        for name, cells in data.items()
        if isinstance(cells, Sequence) and not isinstance(cells, str | bytes)
    }
    lengths = {len(cells) for cells in columns.values()}
    if columns and len(columns) == len(data) and len(lengths) == 1:
        total = lengths.pop()
        shown = list(columns.items())[:MAX_TABLE_COLUMNS]
        rows = tuple(tuple(_cell(cells[i]) for _, cells in shown) for i in range(min(total, MAX_TABLE_ROWS)))
        return Table(tuple(clip(name, CELL_LIMIT) for name, _ in shown), rows, total - len(rows))
    items = list(data.items())
    rows = tuple((clip(str(name), CELL_LIMIT), _cell(value)) for name, value in items[:MAX_TABLE_ROWS])
    return Table(("name", "value"), rows, len(items) - len(rows))


def _cell(value: object) -> str:
    if value is None:
        return UNDEFINED
    if isinstance(value, float):
        return plain(value) if math.isfinite(value) else UNDEFINED
    return clip(str(value), CELL_LIMIT)


def figure_blocks(data: ReportData) -> tuple[tuple[FigureBlock, ...], tuple[FigureBlock, ...]]:
    """The figures of a run.

    Returns:
        Those that the page knows how to draw, in page order, and all others as tables.
    """
    known: dict[str, FigureBlock] = {}
    others: list[FigureBlock] = []
    for measurement in data.measurements:
        probe = clip(str(measurement["probe"]), CELL_LIMIT)
        for figure in measurement.get("figures") or ():
            name, title = (clip(str(figure.get(key) or ""), CELL_LIMIT) for key in ("name", "title"))
            body = as_mapping(figure.get("data"))
            if name in KNOWN and name not in known:
                default, draw = KNOWN[name]
                known[name] = draw(title or default, body, data)
            elif len(others) < MAX_OTHERS:
                why = "Another probe already drew" if name in KNOWN else "The page has no drawing for"
                caption = f"{why} {name!r}; this is the data from probe {probe}."
                others.append(FigureBlock(name, title or name, caption, table=fallback_table(body)))
    if "p_distribution" not in known and len(data.problems):
        known["p_distribution"] = _p_distribution(KNOWN["p_distribution"][0], {}, data)
    return tuple(known[name] for name in KNOWN if name in known), tuple(others)
