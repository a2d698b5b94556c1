"""The comparison of two runs as a page: what changed beyond noise, what it is made of, and the role really played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.wording.estimates import change_alone, number_text, points_text, share_alone, share_ends, share_text
from posttrain_diag.wording.numbers import count, finite, nominal, p_test, plain, signed_points
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import FATES, ROLES, SUPPORT, SUPPORT_COUNTS, hue, role_title, stage_title
from posttrain_reports import charts_compare as charts
from posttrain_reports import selection
from posttrain_reports.actions import LONG_TEXT, NAME_LIMIT
from posttrain_reports.comparison_figures import comparison_figures
from posttrain_reports.data import as_mapping
from posttrain_reports.figdata import point_of
from posttrain_reports.html import model_name
from posttrain_reports.markdown import code_block, escape_markdown, figure_lines, table_lines
from posttrain_reports.page import check_whole, fitted, render_page, write_pages
from posttrain_reports.paper import drawn

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("schema", "before", "after", "settings", "checks", "role", "reason", "pass@k", "support", "null",
            "decomposition", "forecast", "problems")  # fmt: skip
SECTIONS = (("figures", "What changed"), ("support", "Support"), ("problems", "Problems"), ("settings", "Settings"))
CERTAIN = 0.05
"""Below this p-value pass@1 is said to have changed."""


@dataclass(frozen=True)
class ComparisonData:
    """Everything a comparison's page shows.

    Raises:
        StoreError: comparison.json lacks a part, or was written by another version.
    """

    found: Mapping[str, Any]
    """The contents of comparison.json."""
    problems: pd.DataFrame
    """The rows of comparison.parquet, with `prompt` and `answer` where known."""
    transcripts: Mapping[str, Sequence[Mapping[str, Any]]] = field(
        default_factory=dict[str, Sequence[Mapping[str, Any]]]
    )
    """The rollouts of "before" and "after", as `ReportData` has them; empty where the runs are no longer there."""
    vocabulary: Mapping[str, Mapping[int, str]] = field(default_factory=dict[str, Mapping[int, str]])
    """The texts of tokens by id, of "before" and "after"."""
    command: str = ""
    created: str = ""

    def __post_init__(self) -> None:
        check_whole("comparison.json", self.found, REQUIRED, "run `diag compare` again")


def write_comparison_report(data: ComparisonData, folder: Path, kinds: Sequence[str] = ()) -> Path:
    """Write report.html, report.md and figures for papers into the folder of comparison.json; returns the page's path.

    Args:
        data: the comparison.
        folder: the folder that it lies in.
        kinds: kinds of figures, "svg" and "png"; PNG takes a second.
    """
    figures = drawn(comparison_figures(data.found, data.problems, None), kinds) if kinds else {}
    return write_pages(folder, render_comparison(data), render_comparison_markdown(data), figures)


def render_comparison(data: ComparisonData) -> str:
    """Render the comparison as one offline page under 5 MB; the same data give the same page."""
    return fitted(lambda scale: _render(data, scale))


def _render(data: ComparisonData, scale: float) -> str:
    table = selection.choose_comparison_rows(
        data.problems, max(1, int(selection.MAX_ROWS * scale)), int(selection.ROW_BYTES * scale)
    )
    ids = [str(one) for one in data.problems["id"].iloc[list(table.positions)].tolist()]
    shown = {
        side: selection.choose_transcripts(
            data.transcripts.get(side, ()),
            table,
            ids,
            budget=int(selection.TRANSCRIPT_BYTES * scale / 2),
            vocabulary=data.vocabulary.get(side, {}),
        ).by_row
        for side in charts.SIDES
    }
    payload = {
        **selection.table_payload(table, {fate: one.title for fate, one in FATES.items()}),
        "transcripts": {
            str(row): {side: shown[side].get(row, ()) for side in charts.SIDES}
            for row in sorted({*shown["before"], *shown["after"]})
        },
    }
    context = {**comparison_context(data), "table_note": table.note, "static_rows": table.named()}
    return render_page("comparison.html.j2", ("table.js", "comparison.js"), payload, context)


def side_name(data: ComparisonData, side: str) -> str:
    """The name by which the page calls one of the two runs."""
    card = as_mapping(data.found[side])
    return clip(Path(str(card.get("path"))).name, 120) if card.get("counted") else model_name(card)


def comparison_context(data: ComparisonData) -> dict[str, Any]:
    """Everything that the template and the Markdown twin print."""
    found = data.found
    forecast = _forecast(found["forecast"])
    names = [side_name(data, side) for side in charts.SIDES]
    role = str(found["role"])
    problems, level = as_mapping(found["problems"]), finite(as_mapping(found["settings"]).get("level"))
    n = int(finite(problems.get("n")) or 0)
    fates = {fate: problems.get(fate) for fate in FATES}
    totals = {fate: len(v) if isinstance(v, list) else int(finite(v) or 0) for fate, v in fates.items()}
    return {
        "title": f"{names[0]} → {names[1]}",
        "brand": " → ".join(names),
        "kind": "comparison",
        "sections": SECTIONS,
        "names": names,
        "headline": headline(found),
        "role": role_title(role, support_lost=bool(found.get("support_lost"))),
        "hue": hue(role),
        "role_meaning": ROLES[role].meaning if role in ROLES else "",
        "reason": clip(str(found["reason"]), LONG_TEXT),
        "checks": [
            (str(c.get("severity")), clip(str(c.get("message")), LONG_TEXT)) for c in map(as_mapping, found["checks"])
        ],
        "fates": [
            {
                "name": fate,
                "title": one.title,
                "meaning": one.meaning,
                "count": totals[fate],
                "width": 100 * totals[fate] / max(n, 1),
            }
            for fate, one in FATES.items()
        ],
        "n": n,
        "tiles": _tiles(found),
        "forecast": forecast,
        "figures": comparison_figures(found, data.problems, forecast),
        "support": support_rows(found),
        "null": null_rows(found),
        "level": "" if level is None else nominal(level),
        "budget": finite(as_mapping(found["settings"]).get("rollout_budget")),
        "sides": [
            (
                side,
                [(str(k).replace("_", " "), clip(str(v), LONG_TEXT)) for k, v in as_mapping(found[side]).items()],
            )
            for side in charts.SIDES
        ],
        "command": clip(data.command, 2000),
        "created": clip(data.created, 80),
    }


def headline(found: Mapping[str, Any]) -> str:
    """What happened to pass@1, in a sentence."""
    errors = [c for c in map(as_mapping, found["checks"]) if c.get("severity") == "error"]
    if errors:
        return "These two runs cannot be compared."
    change = as_mapping(next(iter(as_mapping(found["pass@k"]).values()), None))
    sides = [as_mapping(change.get(side)) for side in charts.SIDES]
    before, after = (finite(block.get("value")) for block in sides)
    p_value = finite(change.get("p_value"))
    if before is None or after is None:
        return "The change of pass@1 could not be estimated."
    if p_value is None or p_value >= CERTAIN:
        return f"pass@1 did not change beyond noise: {share_alone(sides[0])} before, {share_alone(sides[1])} after."
    verb = "rose" if after > before else "fell"
    return f"pass@1 {verb} from {share_alone(sides[0])} to {share_alone(sides[1])}."


def _tiles(found: Mapping[str, Any]) -> list[dict[str, str]]:
    tiles: list[dict[str, str]] = []
    pass_k = as_mapping(found["pass@k"])
    for k in dict.fromkeys((next(iter(pass_k), None), next(reversed(list(pass_k)), None))):
        if k is None:
            continue
        block = as_mapping(pass_k[k])
        before, after, change = (as_mapping(block.get(name)) for name in ("before", "after", "change"))
        if None in [finite(b.get("value")) for b in (before, after, change)]:
            continue
        tiles.append(
            {
                "what": f"pass@{k}",
                "big": change_alone(before, after),
                "small": f"{points_text(change)}, {p_test(finite(block.get('p_value')) or 0)}{_label(change)}",
            }
        )
    parts = as_mapping(found["decomposition"])
    forgetting, net = as_mapping(parts.get("forgetting")), finite(parts.get("net"))
    value = finite(forgetting.get("value"))
    tiles.append(
        {
            "what": "Retained tasks",
            "big": "not measured" if value is None else f"{signed_points(-value)} points",
            "small": "give --retained RUN RUN"
            if value is None
            else f"net of it {'' if net is None else signed_points(net)} points{_label(forgetting)}",
        }
    )
    srr = as_mapping(as_mapping(found["support"]).get("srr"))
    value = finite(srr.get("value"))
    tiles.append(
        {
            "what": "Support kept (SRR)",
            "big": share_alone(srr),
            "small": f"{share_ends(srr)}{_label(srr)}".lstrip(", ") if value is not None else str(srr.get("reason")),
        }
    )
    return tiles


def _label(block: Mapping[str, Any]) -> str:
    label = str(block.get("label") or "")
    return "" if label in ("", "measured") else f", {clip(label, 40)}"


def _forecast(block: object) -> dict[str, Any] | None:
    found = as_mapping(block)
    if not found:
        return None
    expected, observed = as_mapping(found.get("expected_gain")), as_mapping(found.get("observed_gain"))
    within, agrees = found.get("within"), found.get("agrees")
    return {
        "stage": clip(stage_title(str(found.get("stage"))), NAME_LIMIT),
        "predicted": clip(str(found.get("predicted_role")), NAME_LIMIT),
        "within": "no interval was given" if within is None else "held" if within else "missed",
        "within_css": "suspect" if within is None else "ok" if within else "broken",
        "agrees": "could not be measured" if agrees is None else "as predicted" if agrees else "another than predicted",
        "expected": points_text(expected),
        "observed": points_text(observed),
        "points": (point_of(0, expected), point_of(1, observed)),
    }


def support_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The support counts and rates, each as (name, value, meaning)."""
    support = as_mapping(found["support"])
    rows: list[tuple[str, str, str]] = []
    for name, one in SUPPORT.items():
        block = as_mapping(support.get(name))
        text = number_text(block) if name in SUPPORT_COUNTS else share_text(block)
        rows.append((f"{one.title}, {one.symbol}", clip(text, LONG_TEXT), one.meaning))
    return rows


def null_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Whether gained and lost support exceed what two draws of one model show, each as (what, verdict, figures)."""
    rows: list[tuple[str, str, str]] = []
    for name, title in (("expanded", "support gained"), ("shrunk", "support lost")):
        block = as_mapping(as_mapping(found["null"]).get(name))
        observed, expected, high, p_value = (
            finite(block.get(key)) or 0.0 for key in ("observed", "expected", "high", "p_value")
        )
        verdict = "more than noise" if block.get("exceeds") else "within noise"
        figures = (
            f"score {plain(observed)}; with one model drawn twice {plain(expected)}, 95% below {plain(high)}; "
            f"{p_test(p_value)}"
        )
        rows.append((title, verdict, figures))
    return rows


def render_comparison_markdown(data: ComparisonData) -> str:
    """Render the comparison as Markdown, the twin of its page."""
    told = comparison_context(data)
    lines = [
        f"# {escape_markdown(told['headline'])}",
        escape_markdown(f"{told['names'][0]} → {told['names'][1]}. Role: {told['role']}. {told['reason']}"),
        *(f"- **{escape_markdown(severity)}**: {escape_markdown(message)}" for severity, message in told["checks"]),
        table_lines(
            ("figure", "value", "interval and test"), [(t["what"], t["big"], t["small"]) for t in told["tiles"]]
        ),
    ]
    if told["forecast"]:
        f = told["forecast"]
        lines.append(
            escape_markdown(
                f"Forecast of {f['stage']}: {f['expected']}, observed {f['observed']}: {f['within']}. "
                f"Role predicted: {f['predicted']}, {f['agrees']}."
            )
        )
    for block in told["figures"]:
        lines += figure_lines(block)
    fates = [(f["title"], count(f["count"]), f["meaning"]) for f in told["fates"]]
    lines += ["## Support", table_lines(("", "value", "meaning"), told["support"])]
    lines += [table_lines(("", "verdict", "figures"), told["null"])]
    lines += ["## Problems", table_lines(("fate", "problems", "meaning"), fates)]
    for side, rows in told["sides"]:
        lines += [f"### {side}", table_lines(("setting", "value"), rows)]
    lines += [code_block(data.command)] if data.command else []
    return "\n\n".join(line for line in lines if line) + "\n"
