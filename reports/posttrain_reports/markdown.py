"""The Markdown twin of the page: the same verdict, actions and numbers for a terminal, an issue or a commit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from posttrain_diag.wording.numbers import UNDEFINED, count
from posttrain_diag.wording.text import clip, visible
from posttrain_reports import selection, view
from posttrain_reports.actions import LONG_TEXT, MAX_ACTIONS, actions, free_steps
from posttrain_reports.arms import steadiness, tokens_by_arm
from posttrain_reports.blocks import FigureBlock, Table, figure_blocks
from posttrain_reports.data import ReportData, as_mapping

TABLE_PROBLEMS = 20
CELL = 100
_SPECIAL = re.compile(r"([\\`*_\[\]{}<>#|~$!&])")


def escape_markdown(text: str) -> str:
    """Untrusted text as one line of Markdown in which nothing is markup or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))


def code_block(text: str) -> str:
    """Untrusted text in a fence longer than any run of backticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{visible(text)}\n{fence}"


def table_lines(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Untrusted cells as a Markdown table."""
    lines = ["| " + " | ".join(map(escape_markdown, headers)) + " |", "|" + " --- |" * len(headers)]
    lines += ["| " + " | ".join(escape_markdown(clip(cell, CELL)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _verdict(data: ReportData) -> list[str]:
    verdict = view.verdict(data)
    others = ", ".join(f"{title} {words}" for title, words, _ in verdict.alternatives)
    lines = [
        f"# {escape_markdown(verdict.headline)}",
        f"**{escape_markdown(verdict.next_step)}**",
        f"Bottleneck: {escape_markdown(verdict.title)}, confidence {verdict.confidence}"
        + (f"; alternatives: {escape_markdown(others)}" if others else "")
        + f". Instrument: {escape_markdown(verdict.instrument_title)}.",
    ]
    if verdict.reasons:
        lines.append("\n".join(f"- {escape_markdown(reason)}" for reason in verdict.reasons))
    return lines


def _actions(data: ReportData) -> list[str]:
    lines = ["## What to do next"]
    for step in free_steps(data.diagnosis):
        lines.append(f"**First, without training: {escape_markdown(step.title)}.** {escape_markdown(step.why)}")
        lines += [code_block(command) for command in step.commands]
    for action in actions(data.diagnosis)[:MAX_ACTIONS]:
        cost = ", ".join(f"{name} {value}" for name, value in action.cost)
        gain = f"{action.gain} {action.gain_interval}".rstrip() + (" of pass@1" if action.gain != UNDEFINED else "")
        lines.append(
            f"{action.rank}. **{escape_markdown(action.title)}** (`{escape_markdown(action.stage)}`, role: "
            f"{escape_markdown(action.role or 'not recorded')}). Expected gain: {escape_markdown(gain)}. "
            + (f"pass@1 after it: {escape_markdown(action.after)}. " if action.after else "")
            + (f"Other tasks: {escape_markdown(action.retention)}. " if action.retention else "")
            + f"Retention risk: {escape_markdown(action.risk)}. Cost: {escape_markdown(cost)}. "
            f"Needs: {escape_markdown('; '.join(action.needs) or 'nothing more')}. {escape_markdown(action.why)} "
            f"{escape_markdown(action.evidence and f'Evidence: {action.evidence}.')}".rstrip()
        )
        if action.command:
            lines.append(code_block(action.command))
    return lines if len(lines) > 1 else [*lines, "The plan holds no stage."]


def _instrument(data: ReportData) -> list[str]:
    verdict = view.verdict(data)
    lines = ["## Instrument", escape_markdown(f"{verdict.instrument_title}: {verdict.instrument_meaning}")]
    lines += [
        f"- **{escape_markdown(f.title)}** ({escape_markdown(f.share)}): {escape_markdown(f.advice)}"
        for f in view.findings(data.diagnosis)
    ]
    return lines


def _numbers(title: str, numbers: Sequence[view.EstimateView]) -> list[str]:
    rows = [
        (n.title, n.value, f"{n.interval} {n.level}".strip() if n.interval else "", n.n, n.k, n.label, n.reason)
        for n in numbers
    ]
    return [title, table_lines(("quantity", "value", "interval", "n", "k", "rests on", "reason"), rows)] if rows else []


def figure_lines(block: FigureBlock) -> list[str]:
    """The title, caption and numbers of a figure, as lines of Markdown."""
    lines = [f"### {escape_markdown(block.title)}", escape_markdown(block.missing or block.caption)]
    if block.table is not None and block.table.rows:
        lines.append(_cut(block.table))
    return lines


def _small(title: str, table: Table | None) -> list[str]:
    return [] if table is None else [title, _cut(table)]


def _cut(table: Table) -> str:
    rows = table.rows[:TABLE_PROBLEMS]
    left_out = len(table.rows) - len(rows) + table.left_out
    note = f"\n\n{count(left_out)} more rows are not shown." if left_out else ""
    return table_lines(table.headers, rows) + note


def _problems(data: ReportData) -> list[str]:
    table = selection.choose_rows(data.problems, TABLE_PROBLEMS)
    column = {name: index for index, name in enumerate(table.columns)}
    rows = [
        (str(row[column["id"]]), str(row[column["class"]]), f"{count(row[column['c']])} of {count(row[column['n']])}",
         str(row[column["answer"]]), str(row[column["prompt"]]))
        for row in table.rows
    ]  # fmt: skip
    return [
        "## Problems",
        escape_markdown(table.note),
        table_lines(("problem", "class", "passed", "gold answer", "prompt"), rows),
    ]


def _settings(data: ReportData) -> list[str]:
    rows = [
        (f"{key}.{name}", value)
        for key in ("model", "tasks", "sampling", "settings", "samples", "versions")
        for name, value in view.flatten(as_mapping(data.diagnosis.get(key)))
    ]
    return ["## Settings and provenance", code_block(data.command or "command not recorded"),
            table_lines(("setting", "value"), rows)]  # fmt: skip


def _probes(data: ReportData) -> list[str]:
    lines = ["## Probes, notes and what was not measured"]
    lines += [
        f"- **Probe {escape_markdown(str(failure.get('probe')))} failed:** "
        f"{escape_markdown(clip(str(failure.get('error')), LONG_TEXT))}"
        for failure in data.failures
    ]
    lines += [
        f"- {escape_markdown(clip(str(note), LONG_TEXT))}"
        for note in (data.diagnosis.get("notes") or ())[: view.MAX_SETTINGS]
    ]
    level = view.level_of(data.diagnosis)
    for measurement in data.measurements:
        lines.append(f"### {escape_markdown(str(measurement['probe']))}")
        lines.append(escape_markdown(str(measurement.get("question") or "")))
        summary = list(as_mapping(measurement.get("summary")).items())[: view.MAX_SUMMARY]
        lines += _numbers("Estimates:", [view.number(str(k), as_mapping(v), level) for k, v in summary])
        lines += [f"- {escape_markdown(clip(str(note), LONG_TEXT))}" for note in measurement.get("notes") or ()]
    return lines


def render_markdown(data: ReportData) -> str:
    """Render the report as Markdown: verdict, actions, instrument, numbers, figures' tables, problems, settings."""
    figures, others = figure_blocks(data)
    shares = view.share_rows(data.diagnosis, {})
    blocks = [
        *_verdict(data),
        *_actions(data),
        *_instrument(data),
        "## Key numbers",
        escape_markdown(view.rollout_identity(data)),
        *_numbers("Estimates:", view.key_numbers(data.diagnosis)),
        *_small("### How steadily it passes", steadiness(data.diagnosis)),
        *_small("### Tokens by arm, and what they bought", tokens_by_arm(data.diagnosis)),
        "### Classes of problems",
        table_lines(
            ("class", "share", "interval", "meaning"),
            [(s["title"], s["value"], s["interval"], s["meaning"]) for s in shares],
        ),
        "## Evidence",
    ]
    for block in (*figures, *others):
        blocks += figure_lines(block)
    blocks += [*_problems(data), *_settings(data), *_probes(data), f"Made {escape_markdown(data.created)}."]
    return "\n\n".join(block for block in blocks if block) + "\n"
