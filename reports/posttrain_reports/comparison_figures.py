"""Figures of a comparison: pass@k of both sides, the parts of the change, every problem, forecast and outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from posttrain_diag.wording.estimates import points_text, share_text
from posttrain_diag.wording.numbers import finite, p_value
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import FATES
from posttrain_diag.wording.vocabulary import PARTS as PART_WORDS
from posttrain_reports import charts_compare as charts
from posttrain_reports.blocks import FigureBlock, Table
from posttrain_reports.data import as_mapping
from posttrain_reports.figdata import Point, point_of

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("reshaping", "expansion", "attrition", "outside")


def comparison_figures(
    found: Mapping[str, Any], problems: pd.DataFrame, forecast: Mapping[str, Any] | None
) -> list[FigureBlock]:
    """The figures of a comparison: pass@k of both sides, waterfall of pass@1, all problems, forecast and outcome."""
    blocks = [
        _pass_at_k(found),
        _waterfall(found),
        _scatter(problems, finite(as_mapping(found["settings"]).get("eps"))),
    ]
    if forecast is not None:
        rows = tuple(zip(("expected", "observed"), forecast["points"], strict=True))
        blocks.append(
            FigureBlock(
                "forecast",
                "Forecast and outcome",
                f"Gain of pass@1 that the plan expected of {forecast['stage']}, and what was measured.",
                charts.intervals(rows, "Expected and observed gain", "gain of pass@1, percentage points"),
                (("line-side-before", "expected"), ("line-side-after", "observed")),
                Table(("", "gain"), (("expected", forecast["expected"]), ("observed", forecast["observed"]))),
            )
        )
    return blocks


def pass_points(found: Mapping[str, Any]) -> tuple[list[Point], list[Point]]:
    """pass@k before and after, as points over k."""
    table = as_mapping(found["pass@k"]).items()
    before, after = (
        [point_of(float(k), as_mapping(as_mapping(b).get(side))) for k, b in table] for side in charts.SIDES
    )
    return before, after


def _pass_at_k(found: Mapping[str, Any]) -> FigureBlock:
    sides = pass_points(found)
    rows: list[tuple[str, ...]] = []
    for k, block in as_mapping(found["pass@k"]).items():
        cells = [as_mapping(as_mapping(block).get(side)) for side in charts.SIDES]
        change = as_mapping(as_mapping(block).get("change"))
        rows.append(
            (str(k), *(share_text(c) for c in cells), points_text(change), p_value(finite(block.get("p_value")) or 0))
        )
    if not any(p.value is not None for p in sides[0]):
        return FigureBlock("pass_at_k", "pass@k before and after", "", missing="No pass@k could be estimated.")
    return FigureBlock(
        "pass_at_k",
        "pass@k before and after",
        "Where only the left end rises, what was within reach became likely; where the right end rises too, "
        "new problems came within reach.",
        charts.pass_at_k_pair(sides, "pass@k before and after"),
        (("line-side-before", "before"), ("line-side-after", "after")),
        Table(("k", "before", "after", "change", "p"), tuple(rows)),
    )


def waterfall_steps(found: Mapping[str, Any]) -> list[charts.Step]:
    """The bars of a waterfall; empty where the change is undefined.

    They are pass@1 before, the parts of its change, pass@1 after, and forgetting where it is known.
    """
    parts = as_mapping(found["decomposition"])
    first = as_mapping(next(iter(as_mapping(found["pass@k"]).values()), None))
    level = finite(as_mapping(first.get("before")).get("value"))
    values = {name: finite(as_mapping(parts.get(name)).get("value")) for name in PARTS}
    if level is None or any(v is None for v in values.values()):
        return []
    steps = [charts.Step("before", 0.0, level, total=True)]
    for part in PARTS:
        block, sign = as_mapping(parts[part]), -1 if part == "attrition" else 1
        change = sign * (values[part] or 0.0)
        ends = sorted(
            abs(v) if sign < 0 else v for v in (finite(block.get("low")), finite(block.get("high"))) if v is not None
        )
        low, high = (ends[0], ends[-1]) if len(ends) == 2 and change >= 0 else (None, None)
        steps.append(charts.Step(PART_WORDS[part].title, level, level + change, low, high))
        level += change
    steps.append(charts.Step("after", 0.0, level, total=True))
    lost = finite(as_mapping(parts.get("forgetting")).get("value"))
    return steps if lost is None else [*steps, charts.Step("forgetting", level, level - lost)]


def _waterfall(found: Mapping[str, Any]) -> FigureBlock:
    title, name, steps = "What the change of pass@1 is made of", "decomposition", waterfall_steps(found)
    if not steps:
        return FigureBlock(name, title, "", missing="The change could not be decomposed.")
    parts = {part: as_mapping(as_mapping(found["decomposition"]).get(part)) for part in (*PARTS, "forgetting")}
    rows = [
        (PART_WORDS[part].title, points_text(block), PART_WORDS[part].meaning) for part, block in parts.items() if block
    ]
    return FigureBlock(
        name,
        title,
        "Problems are sorted by whether their success probability was, and is, at least ε = 1/B. The parts add up.",
        charts.waterfall(steps, "Waterfall of the change of pass@1"),
        (),
        Table(("part", "change", "meaning"), tuple(rows)),
    )


def _scatter(table: pd.DataFrame, eps: float | None) -> FigureBlock:
    kept = table[table["p_before"].notna() & table["p_after"].notna()]
    shown = kept if len(kept) <= 2000 else kept.sample(2000, random_state=0)
    columns = (shown[name].tolist() for name in ("id", "p_before", "p_after", "fate"))
    dots = [
        charts.Dot(clip(str(i), 80), float(b), float(a), f if f in FATES else "unresolved")
        for i, b, a, f in zip(*columns, strict=True)
    ]
    title = "Every problem, before and after"
    if not dots:
        return FigureBlock("before_after", title, "", missing="No problem has a success probability on both sides.")
    caption = (
        "Above the diagonal a problem became likelier to be solved; right of the vertical line it was in support "
        "before, above the horizontal one it is now."
    )
    if len(shown) < len(kept):
        caption += f" {len(shown):,} of {len(kept):,} problems, a random sample (seed 0)."
    present = [f for f in FATES if any(d.css == f for d in dots)]
    return FigureBlock(
        "before_after",
        title,
        caption,
        charts.before_after(dots, eps, "Success probability of every problem before and after"),
        tuple((f"class-{f}", FATES[f].title) for f in present),
    )
