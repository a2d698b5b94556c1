"""A comparison on one screen: what changed, whether it is more than noise, and the role the stage really played."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain_reports.words import PART_MEANING, ROLE_MEANING

from posttrain_diag.cli.terminal import boxed, print_line, styled
from posttrain_diag.cli.words import share_text

COLOURS = {"none": "yellow", "undetermined": "yellow"}
CHECK_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}
LISTED = 6
"""Problems named per list."""


def interval(estimate: Mapping[str, Any], form: str, scale: float = 1.0, *, unit: str = "", label: bool = True) -> str:
    """An estimate with its interval and label; undefined is said.

    Args:
        estimate: as in comparison.json.
        form: format of a number, with the digits before its last letter, e.g. "+.1f".
        scale: 100 for points.
        unit: said after the value.
        label: say what it rests on, where that is more than a measurement.
    """
    if estimate["value"] is None:
        return f"undefined ({estimate['reason']})"
    ends = [estimate[key] for key in ("value", "low", "high")]
    value, low, high = ("" if x is None else f"{round(scale * x, int(form[-2])) + 0.0:{form}}" for x in ends)
    text = value + unit + (f" [{low}, {high}]" if low and high and not low == high == value else "")
    return text if not label or estimate["label"] == "measured" else f"{text} {estimate['label']}"


def print_comparison(data: Mapping[str, Any], folder: Path) -> None:
    """Print the box on stdout."""
    role = data["role"]
    parts: list[Any] = [
        styled(f"{role}: {ROLE_MEANING[role]}", f"bold {COLOURS.get(role, 'cyan')}"),
        styled(data["reason"]),
        styled(""),
    ]
    parts.append(_grid(_pass_rows(data)))
    parts += [styled(""), styled("What the change of pass@1 is made of (points)", "bold")]
    parts.append(_grid(_part_rows(data["decomposition"])))
    budget, label = data["settings"]["rollout_budget"], data["support"]["preserved"]["label"]
    heading = f"Effective support at p >= 1/{budget}, {data['problems']['n']} problems ({label})"
    parts += [styled(""), styled(heading, "bold")]
    parts.append(_grid(_support_rows(data["support"])))
    parts += map(styled, [*_null_lines(data["null"]), *_problem_lines(data["problems"])])
    if data["forecast"] is not None:
        parts += [styled(""), styled("Forecast and outcome", "bold")]
        parts += map(styled, _forecast_lines(data["forecast"], role))
    if data["checks"]:
        parts.append(styled(""))
    for check in data["checks"]:
        parts.append(styled(f"{check['severity']}: {check['message']}", CHECK_COLOURS[check["severity"]]))
    sides = ("before", "after")
    boxed(" -> ".join(str(data[side]["path" if data[side]["counted"] else "model"]) for side in sides), parts)
    page = folder / "report.html"
    print_line(f"report: {page if page.exists() else folder / 'comparison.json'}", whole=True)


def _grid(rows: list[tuple[str, ...]]) -> Any:
    """Rows whose figures are never broken; only the last cell wraps."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for _ in rows[0][:-1]:
        grid.add_column(no_wrap=True)
    grid.add_column()
    for first, *rest in rows:
        grid.add_row(styled(first, "bold"), *map(styled, rest))
    return grid


def _pass_rows(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"pass@{k}",
            f"{share_text(found['before']['value'])} -> {share_text(found['after']['value'])}",
            f"{interval(found['change'], '+.1f', 100, unit=' points')}, p = {found['p_value']:.2g}",
        )
        for k, found in data["pass@k"].items()
    ]


def _part_rows(parts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    known = [name for name in PART_MEANING if name != "forgetting"]
    rows = [(name, interval(parts[name], "+.1f", 100, label=False), PART_MEANING[name]) for name in known]
    if parts["forgetting"] is not None:
        rows.append(("forgetting", interval(parts["forgetting"], "+.1f", 100), PART_MEANING["forgetting"]))
        rows.append(("net", f"{100 * parts['net']:+.1f}", "change less forgetting"))
    return rows


def _support_rows(support: Mapping[str, Any]) -> list[tuple[str, ...]]:
    said = {
        "preserved": "P, supported before and after",
        "expanded": "E, newly supported",
        "shrunk": "S, lost",
        "outside": "O, supported neither before nor after",
        "srr": "retention P/(P+S)",
        "ndr": "discovery E/(P+E)",
        "nscr": "net change (E-S)/(P+E+S)",
    }
    counts = {"preserved", "expanded", "shrunk", "outside"}
    return [
        (
            name if name in counts else name.upper(),
            interval(support[name], ".1f" if name in counts else ".3f", label=False),
            text,
        )
        for name, text in said.items()
    ]


def _null_lines(null: Mapping[str, Any]) -> list[str]:
    """Whether gained and lost support are more than two draws of one model show."""
    lines: list[str] = []
    for name, word in (("expanded", "gained"), ("shrunk", "lost")):
        found = null[name]
        small = "less than half a problem" if found["p_value"] < 0.05 else "within noise"
        verdict = "more than noise" if found["exceeds"] else small
        lines.append(
            f"support {word}: {verdict} (p = {found['p_value']:.2g}; score {found['observed']:.1f}, "
            f"when nothing changed {found['expected']:.1f}, 95% below {found['high']:.1f})"
        )
    return lines


def _problem_lines(problems: Mapping[str, Any]) -> list[str]:
    """The surest gained and lost problems."""
    lines: list[str] = []
    for name in ("gained", "lost"):
        found = problems[name]
        if found:
            more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
            lines.append(f"{name}: {', '.join(str(row['id']) for row in found[:LISTED])}{more}")
    lines.append(
        f"{len(problems['kept'])} kept, {len(problems['gained'])} gained, {len(problems['lost'])} lost, "
        f"{problems['outside']} outside; {problems['unresolved']} unresolved (no fate has probability .95)"
    )
    return lines


def _forecast_lines(forecast: Mapping[str, Any], role: str) -> list[str]:
    within = {True: "within", False: "outside", None: "no interval was forecast"}[forecast["within"]]
    agrees = {True: "as foreseen", False: "not as foreseen", None: "not measured"}[forecast["agrees"]]
    return [
        f"{forecast['stage']}: gain {interval(forecast['observed_gain'], '+.3f')}, expected "
        f"{interval(forecast['expected_gain'], '+.3f')}: {within}",
        f"role {role}, expected {forecast['predicted_role']}: {agrees}",
    ]
