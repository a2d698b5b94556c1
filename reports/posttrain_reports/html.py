"""Renders the report as one HTML page that works from a file, without a network and without trusting its data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from posttrain_diag.wording.numbers import finite, nominal
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import CLASSES, LABELS
from posttrain_reports import selection, view
from posttrain_reports.actions import LONG_TEXT, MAX_ACTIONS, NAME_LIMIT, actions, free_steps
from posttrain_reports.arms import steadiness, tokens_by_arm
from posttrain_reports.blocks import figure_blocks
from posttrain_reports.data import ReportData, as_mapping
from posttrain_reports.page import fitted, render_page

SECTIONS = (
    ("actions", "Actions"),
    ("instrument", "Instrument"),
    ("numbers", "Numbers"),
    ("figures", "Figures"),
    ("problems", "Problems"),
    ("settings", "Settings"),
)
MAX_FAILURES = 40
MAX_NOTES = 40
SHARE_COLUMNS = ("strict_rate", "lenient_rate", "posterior_consolidation", "other_p_mean")
"""The columns of a problem's details that are shares."""


def payload(data: ReportData, table: selection.TableRows, scale: float) -> dict[str, Any]:
    """What the page's script reads: the embedded rows, and the rollouts of some of them."""
    ids = [str(one) for one in data.problems["id"].iloc[list(table.positions)].tolist()]
    chosen = selection.choose_transcripts(
        data.transcripts,
        table,
        ids,
        budget=int(selection.TRANSCRIPT_BYTES * scale),
        total=data.rollouts,
        store=data.store,
        vocabulary=data.vocabulary,
    )
    return {
        **selection.table_payload(table, {name: one.title for name, one in CLASSES.items()}),
        "total": table.total,
        "shares": [name for name in table.columns if name in SHARE_COLUMNS],
        "posteriors": selection.posterior_columns(data.problems),
        "transcripts": {str(index): group for index, group in chosen.by_row.items()},
        "transcriptNote": chosen.note,
    }


def render_html(data: ReportData) -> str:
    """Render the report as one offline page: inline style, script and figures, no request to anywhere, under 5 MB.

    Args:
        data: the run's plain data.

    Returns:
        The page; the same data give the same page.

    Raises:
        StoreError: the page cannot be brought under 5 MB.
    """
    return fitted(lambda scale: _render(data, scale))


def _render(data: ReportData, scale: float) -> str:
    table = selection.choose_rows(
        data.problems, max(1, int(selection.MAX_ROWS * scale)), int(selection.ROW_BYTES * scale)
    )
    body = payload(data, table, scale)
    return render_page("report.html.j2", ("table.js", "report.js"), body, _context(data, table, body))


def _context(data: ReportData, table: selection.TableRows, body: Mapping[str, Any]) -> dict[str, Any]:
    diagnosis = data.diagnosis
    numbers = view.key_numbers(diagnosis)
    budget = finite(as_mapping(diagnosis.get("settings")).get("rollout_budget"))
    main = view.main_numbers(numbers, budget, as_mapping(diagnosis.get("settings")).get("ks") or ())
    figures, others = figure_blocks(data)
    small = [block for block in figures if block.name not in ("pass_at_k", "demo_tokens")]
    row_of = {str(i): index for index, i in enumerate(data.problems["id"].iloc[list(table.positions)].tolist())}
    plan = actions(diagnosis)
    settings = [
        (title, view.flatten(as_mapping(diagnosis.get(key))))
        for title, key in (("Model", "model"), ("Tasks", "tasks"), ("Sampling", "sampling"), ("Settings", "settings"),
                           ("Rollouts", "samples"), ("Versions", "versions"))
    ]  # fmt: skip
    name = model_name(as_mapping(diagnosis.get("model")))
    found = view.verdict(data)
    return {
        "title": f"{found.title}: {name}",
        "brand": name,
        "kind": "post-training diagnosis",
        "sections": SECTIONS,
        "created": clip(data.created, 80),
        "store": data.store,
        "command": clip(data.command, 2000),
        "verdict": found,
        "free_steps": free_steps(diagnosis),
        "actions": plan[:MAX_ACTIONS],
        "more_actions": plan[MAX_ACTIONS:],
        "rejected": [
            (clip(str(stage), NAME_LIMIT), clip(str(why), LONG_TEXT))
            for stage, why in list(as_mapping(diagnosis.get("not_proposed") or diagnosis.get("rejected")).items())[
                :MAX_NOTES
            ]
        ],
        "findings": view.findings(diagnosis),
        "row_of": row_of,
        "numbers": main,
        "more_numbers": [n for n in numbers if n not in main][: view.MAX_SUMMARY],
        "tiles": view.headline_numbers(numbers, budget),
        "conditions": view.conditions(data),
        "identity": view.rollout_identity(data),
        "arms": tokens_by_arm(diagnosis),
        "steadiness": steadiness(diagnosis),
        "level": "" if (level := view.level_of(diagnosis)) is None else nominal(level),
        "shares": view.share_rows(diagnosis, table.group_totals),
        "figures": figures,
        "small_figures": small,
        "wide_last": (len(figures) - any(b.name == "demo_tokens" for b in figures)) % 2
        == 0,  # beside them: the classes
        "other_figures": others,
        "probes": _probes(data),
        "notes": [clip(str(note), LONG_TEXT) for note in (diagnosis.get("notes") or ())[:MAX_NOTES]],
        "settings": [(title, rows) for title, rows in settings if rows],
        "failures": [
            (clip(str(f.get("probe")), NAME_LIMIT), clip(str(f.get("error")), LONG_TEXT))
            for f in data.failures[:MAX_FAILURES]
        ],
        "table_note": table.note,
        "transcript_note": body["transcriptNote"],
        "static_rows": table.named(),
        "class_title": {name: one.title for name, one in CLASSES.items()},
        "label_meaning": LABELS,
        "n_problems": table.total,
    }


def model_name(model: Mapping[str, Any]) -> str:
    """The model's name in a heading; a path is called by its last part, a checkpoint by its stage as well."""
    name = str(next((model[key] for key in ("name", "model", "path", "id") if model.get(key)), "model not named"))
    path = PurePath(name)
    if path.name.startswith("checkpoint") and len(path.parts) > 3:
        return clip("…/" + "/".join(path.parts[-3:]), 120)
    return clip(path.name if path.is_absolute() else name, 120)


def _probes(data: ReportData) -> list[dict[str, Any]]:
    level = view.level_of(data.diagnosis)
    probes: list[dict[str, Any]] = []
    for measurement in data.measurements:
        summary = list(as_mapping(measurement.get("summary")).items())
        notes = [clip(str(note), LONG_TEXT) for note in measurement.get("notes") or ()]
        probes.append(
            {
                "name": clip(str(measurement["probe"]), NAME_LIMIT),
                "question": clip(str(measurement.get("question") or ""), LONG_TEXT),
                "summary": [view.number(str(k), as_mapping(v), level) for k, v in summary[: view.MAX_SUMMARY]],
                "more": max(len(summary) - view.MAX_SUMMARY, 0),
                "notes": notes[:MAX_NOTES],
            }
        )
    return probes
