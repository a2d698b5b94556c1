"""Tables and marks of the stages benchmark from its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.records import Record
from benchmarks.stages.cases import SITUATIONS, VARIANTS
from benchmarks.stages.run import tokens_of
from posttrain_diag.recommend.duration import TRAINED

DRAWN_PER_CPU_S = 60_000
"""Tokens the zoo's models draw per CPU-second where the grid was run."""

APART = 0.05
"""Seeds of a cell that are further apart than this are listed."""


def line(record: Record) -> str:
    """One run in one line."""
    title = f"{record['variant']} on {record['situation']} [{record['seed']}]"
    if "refused" in record:
        return f"{title}: refused, {record['refused'][:100]}"
    (was, now), (_, far), (_, kept) = record["pass@1"], record["pass@64"], record["retention"]
    stopped = f"; {record['stopped']}" if record["stopped"] else ""
    return (
        f"{title}: pass@1 {was:.3f} -> {now:.3f}, pass@64 {far:.3f}, retention {kept:.3f}, "
        f"step {record['best_step']}/{record['steps']}, {record['cpu_s']:.0f} CPU-s{stopped}"
    )


def _mean(records: Sequence[Record], key: str) -> float:
    values = [r[key][1] if isinstance(r[key], list) else r[key] for r in records]
    return float(np.mean(values)) if values else float("nan")


Mark = tuple[str, str, str, Callable[[float, float], bool], str]
MARKS: tuple[Mark, ...] = (
    ("S with GRPO", "grpo", "S", lambda p, kept: p >= 0.95 and kept >= 0.99, "pass@1 >= .95, retention >= .99"),
    ("T with SFT and replay", "sft, more to retain", "T", lambda p, kept: p >= 0.95 and kept >= 0.97, ">= .95, >= .97"),
    ("T with GRPO", "grpo", "T", lambda p, kept: p == 0.0, "0, stopped early"),
    ("F15 with guided RL", "guided-rl", "F15", lambda p, kept: p >= 0.95 and kept >= 0.95, ">= .95, >= .95"),
    ("G repaired", "", "G", lambda p, kept: p >= 0.95 and kept >= 0.9, ">= .95 (ours), >= .9"),
    ("pair", "", "pair", lambda p, kept: p >= 0.93 and kept >= 0.97, ">= .93, >= .97"),
)
"""(name, variant or "" for the best one, family, whether mean pass@1 and retention reach it, the mark in words)."""


def marks(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Each mark with what was reached."""
    out: list[dict[str, Any]] = []
    for name, variant, family, reached, asked in MARKS:
        cells: dict[str, list[Record]] = {}
        for record in records:
            if record["situation"] == family and "refused" not in record and variant in ("", record["variant"]):
                cells.setdefault(record["variant"], []).append(record)
        best = max(cells, key=lambda v: _mean(cells[v], "pass@1") + _mean(cells[v], "retention"), default=None)
        if best is None:
            out.append({"name": name, "asked": asked, "variant": variant, "ok": False, "reached": "not run"})
            continue
        p, kept = _mean(cells[best], "pass@1"), _mean(cells[best], "retention")
        ok = reached(p, kept)
        if "stopped early" in asked:
            ok = ok and all(r["stopped"] for r in cells[best])
        text = f"{p:.3f}, {kept:.3f} ({len(cells[best])} seeds)"
        out.append({"name": name, "asked": asked, "variant": best, "ok": ok, "reached": text})
    return out


def report(records: Sequence[Record], wall_s: float, *, write: bool) -> list[str]:
    """Print the tables, write them where asked; returns the marks that were missed."""
    found = marks(records)
    lines = page(records, found)
    if write:
        data = {"wall_s": wall_s, "runs": len(records), "marks": found}
        machine.write("stages", "What every stage does on every bottleneck of the zoo", data, lines)
    print("\n".join(lines))
    return [f"{m['name']}: {m['reached']} (asked {m['asked']})" for m in found if not m["ok"]]


def page(records: Sequence[Record], found: Sequence[dict[str, Any]]) -> list[str]:
    """The Markdown page."""
    seeds = sorted({r["seed"] for r in records})
    lines = [
        f"{len(records)} runs, seeds {seeds}; held-out problems, 64 of them with 64 draws each; means over seeds.",
        "",
        "| mark | asked | reached | by | |",
        "|---|---|---|---|---|",
        *(
            f"| {m['name']} | {m['asked']} | {m['reached']} | {m['variant']} | {'yes' if m['ok'] else '**no**'} |"
            for m in found
        ),
    ]
    for title, key in (
        ("pass@1 after the stage", "pass@1"),
        ("pass@64 after the stage", "pass@64"),
        ("Retention after the stage (mean pass rate on mastered families)", "retention"),
        ("KL of the start to the result, nats per response on the probe", "kl_nats"),
        ("Thousand tokens generated and trained", "tokens"),
        ("CPU-seconds", "cpu_s"),
    ):
        lines += ["", f"## {title}", "", *_table(records, key)]
    lines += ["", "## Seeds that differ", "", *_spread(records)]
    lines += ["", "## Time beside that of drawing", "", _time(records)]
    refused = [r for r in records if "refused" in r]
    if refused:
        lines += ["", "## Refused", "", "What the tool says where a stage has nothing to learn from (`-` above):", ""]
        lines += [f"- {r['variant']} on {r['situation']} [{r['seed']}]: {r['refused']}" for r in refused]
    return lines


def _spread(records: Sequence[Record]) -> list[str]:
    """Cells whose seeds end apart, by the figure of each seed."""
    cells: dict[tuple[str, str], dict[int, Record]] = {}
    for record in sorted((r for r in records if "refused" not in r), key=lambda r: r["seed"]):
        cells.setdefault((record["variant"], record["situation"]), {})[record["seed"]] = record
    out = [f"pass@1 or retention of two seeds more than {APART} apart; means hide it.", ""]
    for (variant, situation), runs in cells.items():
        parts: list[str] = []
        for key in ("pass@1", "retention"):
            values = [run[key][1] for run in runs.values()]
            if max(values) - min(values) > APART:
                parts.append(f"{key} {', '.join(f'{value:.3f}' for value in values)}")
        if parts:
            out.append(f"- {variant} on {situation}: {'; '.join(parts)}")
    return out


def _time(records: Sequence[Record]) -> str:
    """How far the time of a stage is from what `recommend.duration` makes of its tokens."""
    ran = [r for r in records if "refused" not in r and r["trained_tokens"]]
    drawn = [r["generated_tokens"] + TRAINED * r["trained_tokens"] for r in ran]
    ratios = np.array([r["cpu_s"] * DRAWN_PER_CPU_S / tokens for r, tokens in zip(ran, drawn, strict=True)])
    low, middle, high = np.quantile(ratios, (0.05, 0.5, 0.95))
    return (
        f"A trained token taken as {TRAINED:g} drawn ones, at {DRAWN_PER_CPU_S:,} drawn tokens per CPU-second: {len(ratios)} "
        f"stages took {middle:.2f} times that in the median, {low:.2f} to {high:.2f} times in nine of ten."
    )


def _table(records: Sequence[Record], key: str) -> list[str]:
    families = [s.name for s in SITUATIONS.values() if s.in_table]
    out = ["| stage | " + " | ".join(families) + " |", "|---" * (len(families) + 1) + "|"]
    if key in ("pass@1", "pass@64", "retention"):
        before = [_before(records, family, key) for family in families]
        out.append("| *before* | " + " | ".join(before) + " |")
    for variant in VARIANTS:
        row = [_cell(records, variant.name, family, key) for family in families]
        if any(row):
            out.append(f"| {variant.name} | " + " | ".join(row) + " |")
    return out


def _before(records: Sequence[Record], family: str, key: str) -> str:
    values = [r[key][0] for r in records if r["situation"] == family and "refused" not in r]
    return f"{np.mean(values):.3f}" if values else ""


def _cell(records: Sequence[Record], variant: str, family: str, key: str) -> str:
    runs = [r for r in records if r["variant"] == variant and r["situation"] == family]
    if not runs:
        return ""
    if any("refused" in r for r in runs):
        return "-"
    if key == "tokens":
        return f"{np.mean([tokens_of(r) for r in runs]) / 1000:.0f}"
    mean = _mean(runs, key)
    mark = " *" if key == "pass@1" and any(r["stopped"] for r in runs) else ""
    return (f"{mean:.0f}" if key == "cpu_s" else f"{mean:.3f}" if key != "kl_nats" else f"{mean:.1f}") + mark
