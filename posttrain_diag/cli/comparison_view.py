"""A comparison on one screen: what changed, whether it is more than noise, and the role the stage really played."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain_diag.cli.terminal import boxed, print_line, styled
from posttrain_diag.wording.estimates import (
    EstimateLike,
    change_alone,
    label_text,
    number_text,
    points_column,
    points_text,
    share_text,
)
from posttrain_diag.wording.numbers import p_test, plain, signed_points
from posttrain_diag.wording.vocabulary import PARTS, ROLES, SUPPORT, SUPPORT_COUNTS, played_role

CHECK_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}
LISTED = 6
"""Most problems that a list names."""


def print_comparison(data: Mapping[str, Any], folder: Path) -> None:
    """Print the box with a comparison on stdout."""
    role = data["role"]
    played = played_role(role, support_lost=bool(data.get("support_lost")))
    parts: list[Any] = [
        styled(f"{played}: {ROLES[role].meaning}", f"bold {ROLES[role].style}"),
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
        parts += map(styled, _forecast_lines(data["forecast"], played))
    if data["checks"]:
        parts.append(styled(""))
    for check in data["checks"]:
        parts.append(styled(f"{check['severity']}: {check['message']}", CHECK_COLOURS[check["severity"]]))
    sides = ("before", "after")
    boxed(" → ".join(str(data[side]["path" if data[side]["counted"] else "model"]) for side in sides), parts)
    page = folder / "report.html"
    print_line(f"report: {page if page.exists() else folder / 'comparison.json'}", whole=True)


def _grid(rows: list[tuple[str, ...]]) -> Any:
    """A table whose figures are never broken; only the last cell of a row wraps."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for _ in rows[0][:-1]:
        grid.add_column(no_wrap=True)
    grid.add_column()
    for first, *rest in rows:
        grid.add_row(styled(first, "bold"), *map(styled, rest))
    return grid


def _labelled(text: str, estimate: EstimateLike) -> str:
    return f"{text} {label_text(estimate)}".rstrip()


def _pass_rows(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"pass@{k}",
            change_alone(found["before"], found["after"]),
            f"{_labelled(points_text(found['change']), found['change'])}, {p_test(found['p_value'])}",
        )
        for k, found in data["pass@k"].items()
    ]


def _part_rows(parts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    known = [name for name in PARTS if parts[name] is not None]
    rows = [(PARTS[name].title, points_column(parts[name]), PARTS[name].meaning) for name in known]
    if parts["forgetting"] is not None:
        rows.append(("net", signed_points(parts["net"]), "change less forgetting"))
    return rows


def _support_rows(support: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            words.symbol,
            number_text(support[name]) if name in SUPPORT_COUNTS else share_text(support[name]),
            f"{words.title.lower()}: {words.meaning}",
        )
        for name, words in SUPPORT.items()
    ]


def _null_lines(null: Mapping[str, Any]) -> list[str]:
    """Whether gained and lost support are more than two draws of one model show."""
    lines: list[str] = []
    for name, word in (("expanded", "gained"), ("shrunk", "lost")):
        found = null[name]
        small = "less than half a problem" if found["p_value"] < 0.05 else "within noise"
        verdict = "more than noise" if found["exceeds"] else small
        lines.append(
            f"support {word}: {verdict} ({p_test(found['p_value'])}; score {plain(found['observed'])}, "
            f"when nothing changed {plain(found['expected'])}, 95% below {plain(found['high'])})"
        )
    return lines


def _problem_lines(problems: Mapping[str, Any]) -> list[str]:
    """The problems that were most surely gained and lost, as lines."""
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
        f"{forecast['stage']}: gain {_labelled(points_text(forecast['observed_gain']), forecast['observed_gain'])}, "
        f"expected {_labelled(points_text(forecast['expected_gain']), forecast['expected_gain'])}: {within}",
        f"role {role}, expected {forecast['predicted_role']}: {agrees}",
    ]
