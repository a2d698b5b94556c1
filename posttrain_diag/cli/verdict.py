"""The verdict in ten seconds: a box with what holds the model back, and below it what to do, with whole commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain_reports.text import duration

from posttrain_diag.cli.classes import class_bar, class_words
from posttrain_diag.cli.terminal import boxed, console, marked, print_line, styled
from posttrain_diag.cli.words import (
    label_text,
    points_text,
    share_interval,
    share_text,
    shared_sentences,
    tokens_text,
    undefined,
)

HEADLINES: dict[str, tuple[str, str]] = {
    "support": ("support-limited", "the right traces are not in the policy's effective support"),
    "reshaping": ("reshaping-limited", "right answers are drawn, not often enough"),
    "format": ("format-limited", "the answers are right, the format is not"),
    "guided": ("guided-reachable", "out of reach alone, reachable from prefixes of correct traces"),
    "consolidation": (
        "consolidation-limited",
        "a teacher or another checkpoint solves what this model does not reach",
    ),
    "mixed": ("mixed", "no single bottleneck explains most of the open problems"),
    "saturated": ("saturated", "these tasks are mastered"),
    "instrument": ("instrument", "the measurement is broken, nothing else can be concluded yet"),
    "undetermined": ("undetermined", "the evidence does not decide"),
}

COLOURS = {"instrument": "red", "undetermined": "yellow", "saturated": "green"}
STATUS_COLOURS = {"ok": "green", "suspect": "yellow", "broken": "red"}

KEY_NUMBERS = ("pass@1", "pass@16", "pass@256", "coverage", "mixed_groups@8")
MAX_ACTIONS = 3


def print_verdict(data: Mapping[str, Any], run: Path) -> None:
    """Print box, actions and the path of the report on stdout."""
    from posttrain_reports.words import BOTTLENECK_FALLBACK
    from rich.text import Text

    shown = console()
    verdict = data["bottleneck"]
    word, meaning = HEADLINES[verdict]
    head = Text.assemble((word, f"bold {COLOURS.get(verdict, 'cyan')}"), ": ", meaning)
    model = data["model"].get("model") or data["model"].get("name")
    parts: list[Any] = [head, _certainty(data), *_findings(data), Text()]
    parts += _class_parts(data, shown.options.ascii_only, shown.width)
    parts += [_numbers(data), *_evidence(data)]
    boxed(f"{model} on {data['tasks']['source']}", parts)
    if data["plan"]:
        print_line("What pays next", "bold")
        print_actions(data["plan"][:MAX_ACTIONS])
    elif verdict in BOTTLENECK_FALLBACK:
        print_line(f"What to do next: {BOTTLENECK_FALLBACK[verdict]}", "bold")
    print_line()
    print_line(f"report: {run / 'report.html'}", whole=True)


def _certainty(data: Mapping[str, Any]) -> Any:
    from rich.text import Text

    status = data["instrument"]["status"]
    line = Text(f"confidence {share_text(data['confidence'], digits=0)}")
    others = [f"{styled(a['bottleneck'])} {share_text(a['probability'], digits=0)}" for a in data["alternatives"][:3]]
    line.append(f" (else {', '.join(others)})" if others else "")
    line.append("   instrument: ")
    line.append_text(styled(status, STATUS_COLOURS.get(status, "")))
    return line


def _findings(data: Mapping[str, Any]) -> list[Any]:
    """What is wrong with the instrument, and what an undetermined verdict still needs."""
    serious = [finding for finding in data["instrument"]["findings"] if finding["severity"] != "note"]
    told = [f"{finding['kind']}: {finding['advice']}" for finding in serious]
    if data.get("needed"):
        told.append(data["needed"]["reason"])
    return [marked("!", told, "yellow")] if told else []


def _class_parts(data: Mapping[str, Any], ascii_only: bool, width: int) -> list[Any]:
    """The problems by class; a problem counts by what it may be, so that the numbers add up to all of them."""
    from rich.text import Text

    n = data["tasks"]["n"]
    shares = {name: e["value"] for name, e in data["shares"].items() if name not in ("unresolved", "consolidation")}
    counts: Any = {name: n * value for name, value in shares.items() if value is not None and n * value >= 0.05}
    if not counts:
        return []
    words = class_words(counts, width - 6, sampling=False, ascii_only=ascii_only)
    return [class_bar(counts, width - 6, ascii_only=ascii_only), words, Text()]


def _numbers(data: Mapping[str, Any]) -> Any:
    from posttrain_reports.words import estimate_title
    from rich.table import Table

    numbers = Table.grid(padding=(0, 2))
    numbers.add_column(no_wrap=True)
    numbers.add_column(justify="right", no_wrap=True)
    numbers.add_column(no_wrap=True)
    numbers.add_column()
    asked = [name for k in data["settings"].get("ks", ()) if (name := f"pass@{k}") not in KEY_NUMBERS]
    for name in (*KEY_NUMBERS[:3], *asked, *KEY_NUMBERS[3:]):
        if name not in data["estimates"]:
            continue
        estimate, title = data["estimates"][name], TITLES.get(name) or estimate_title(name)
        if estimate is None or estimate["value"] is None:
            numbers.add_row(styled(title, "bold"), "", "", styled(undefined(estimate), "yellow"))
        else:
            cells = (share_text(estimate["value"]), share_interval(estimate), label_text(estimate))
            numbers.add_row(styled(title, "bold"), *(styled(cell) for cell in cells[:2]), styled(cells[2], "dim"))
    return numbers


TITLES = {"coverage": "in support", "mixed_groups@8": "mixed groups@8"}
"""Shorter than the report's."""


def _evidence(data: Mapping[str, Any]) -> list[Any]:
    from rich.text import Text

    shown = {finding["advice"] for finding in data["instrument"]["findings"]}
    if data.get("needed"):
        shown.add(data["needed"]["reason"])
    reasons = [reason for reason in data["reasons"] if reason not in shown]
    return [Text(), marked("-", reasons, "dim")] if reasons else []


def print_actions(plan: Sequence[Mapping[str, Any]], *, evidence: bool = False) -> None:
    """Stages in their order: gain, cost, reason, with `evidence` the precedents, and the command, never broken."""
    whys, shared = shared_sentences([proposal["why"] for proposal in plan])
    common = [need for need in plan[0]["needs"] if len(plan) > 1 and all(need in p["needs"] for p in plan)]
    for rank, (proposal, why) in enumerate(zip(plan, whys, strict=True), 1):
        print_line()
        print_line(f"{rank}. {proposal['stage']}", "bold")
        print_line(facts_of(proposal), indent=3)
        if why:
            print_line(why, indent=3)
        if evidence:
            print_line(proposal["evidence"], "dim", indent=3)
        for need in proposal["needs"]:
            if need not in common:
                print_line(f"needs {need}", "yellow", indent=3)
        if not proposal["needs"]:
            print_line(proposal["command"], "cyan", indent=3, whole=True)
    for need in common:
        print_line()
        print_line(f"all of them need {need}", "yellow")
    for sentence, ranks in shared.items():
        print_line()
        print_line(f"{', '.join(str(plan[index]['stage']) for index in ranks)}: {sentence}", "dim")


def facts_of(proposal: Mapping[str, Any]) -> str:
    """Gain in points of pass@1 with what it rests on, the change of other tasks, the cost."""
    gain = proposal["expected_gain"]
    text = f"pass@1 {points_text(gain)}"
    if label := label_text(gain):
        text += f" ({label})"
    kept = proposal.get("expected_retention")
    if kept and kept["value"] is not None:
        text += f", other tasks {points_text(kept)}"
    cost = proposal["cost"]
    text += f", {tokens_text(cost['tokens'])}"
    return text if cost.get("time_s") is None else f"{text}, about {duration(cost['time_s'])} here"
