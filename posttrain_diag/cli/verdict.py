"""The verdict box: what a person can act on, on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain_diag.diagnose.bottleneck import count_text

HEADLINES: dict[str, str] = {
    "support": "support-limited: the right traces are not in the policy's effective support",
    "reshaping": "reshaping-limited: right answers are drawn, not often enough",
    "format": "format-limited: the answers are right, the format is not",
    "guided": "guided-reachable: out of reach alone, reachable from prefixes of correct traces",
    "consolidation": "consolidation-limited: a teacher or another checkpoint solves what this model does not reach",
    "mixed": "mixed: no single bottleneck explains most of the open problems",
    "saturated": "saturated: these tasks are mastered",
    "instrument": "instrument: the measurement is broken, nothing else can be concluded yet",
    "undetermined": "undetermined: the evidence does not decide",
}

COLOURS = {"instrument": "red", "undetermined": "yellow", "saturated": "green"}

KEY_NUMBERS = ("pass@1", "pass@16", "pass@256", "coverage", "mixed_groups@8", "expected_successes")


def number(estimate: Mapping[str, Any] | None, *, share: bool = True) -> str:
    """An estimate as text with its interval; undefined is said, not shown as 0."""
    if estimate is None or estimate["value"] is None:
        return "undefined" + (f" ({estimate['reason']})" if estimate and estimate.get("reason") else "")
    form = "{:.1%}".format if share else count_text
    low, high = estimate["low"], estimate["high"]
    interval = f" [{form(low)}, {form(high)}]" if low is not None and high is not None else ""
    label = "" if estimate["label"] == "measured" else f" {estimate['label']}"
    if estimate.get("bounds"):
        least, most = estimate["bounds"]
        label += f" ({form(least)} to {form(most)} without a fitted law)"
    return f"{form(estimate['value'])}{interval}{label}"


def print_verdict(data: Mapping[str, Any], run: Path) -> None:
    """Print the box on stdout."""
    from rich import box
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    verdict = data["bottleneck"]
    parts: list[Any] = [
        Text(HEADLINES[verdict], style=f"bold {COLOURS.get(verdict, 'cyan')}"),
        Text(f"confidence {data['confidence']:.0%}{_alternatives(data)}   instrument: {data['instrument']['status']}"),
        Text(),
    ]
    numbers = Table.grid(padding=(0, 2))
    asked = [name for k in data["settings"].get("ks", ()) if (name := f"pass@{k}") not in KEY_NUMBERS]
    for name in (*KEY_NUMBERS[:3], *asked, *KEY_NUMBERS[3:]):
        if name in data["estimates"]:
            text = number(data["estimates"][name], share=name != "expected_successes")
            numbers.add_row(Text(name, style="bold"), Text(text))
    parts.append(numbers)
    serious = [finding for finding in data["instrument"]["findings"] if finding["severity"] != "note"]
    parts.extend(Text(f"\n! {finding['kind']}: {finding['advice']}", style="yellow") for finding in serious)
    if data.get("needed"):
        parts.append(Text("\n" + data["needed"]["reason"], style="yellow"))
    parts.append(Text("\n" + _evidence(data), style="dim"))
    if data["plan"]:
        parts.append(Text("\nWhat pays next", style="bold"))
        for rank, proposal in enumerate(data["plan"][:3], 1):
            gain = number(proposal["expected_gain"])
            parts.append(Text(f"{rank}. {proposal['stage']}: {proposal['why']}"))
            parts.append(Text(f"   expected gain in pass@1 {gain}", style="dim"))
            parts.extend(Text(f"   needs {need}", style="yellow") for need in proposal["needs"])
            if not proposal["needs"]:
                parts.append(Text(f"   {proposal['command']}", style="cyan"))
    parts.append(Text(f"\nreport: {run / 'report.html'}"))
    title = f"{data['model'].get('model') or data['model'].get('name')} on {data['tasks']['source']}"
    Console(soft_wrap=False).print(Panel(Group(*parts), title=Text(title), box=box.ROUNDED, padding=(1, 2)))


def _alternatives(data: Mapping[str, Any]) -> str:
    others = ", ".join(f"{a['bottleneck']} {a['probability']:.0%}" for a in data["alternatives"][:3])
    return f" (else {others})" if others else ""


def _evidence(data: Mapping[str, Any]) -> str:
    shown = {finding["advice"] for finding in data["instrument"]["findings"]}
    if data.get("needed"):
        shown.add(data["needed"]["reason"])
    return "\n".join(reason for reason in data["reasons"] if reason not in shown)
