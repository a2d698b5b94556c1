"""Renders the report as one HTML page that works from a file, without a network and without trusting its data."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import StoreError
from posttrain_reports import selection, view, words
from posttrain_reports.blocks import figure_blocks
from posttrain_reports.data import ReportData
from posttrain_reports.text import as_mapping, clip, finite, visible

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_BYTES = 5_000_000
MAX_FAILURES = 40
MAX_NOTES = 40
STATIC_ROWS = 25
"""Rows of the problem table written as plain HTML, for readers without JavaScript and for print."""


def embed_json(value: object) -> str:
    """JSON that is safe inside <script>: no `<`, `>` or `&`, every hidden character spelled out.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(_visible_deep(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _visible_deep(value: object) -> object:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): _visible_deep(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_visible_deep(item) for item in value]
    return value


def payload(data: ReportData, table: selection.TableRows, scale: float) -> dict[str, Any]:
    """What the page's script reads: the embedded rows and the rollouts of some of them."""
    ids = [str(one) for one in data.problems["id"].iloc[list(table.positions)].tolist()]
    chosen = selection.choose_transcripts(
        data.transcripts,
        table,
        ids,
        budget=int(selection.TRANSCRIPT_BYTES * scale),
        total=data.rollouts,
        store=data.store,
    )
    return {
        "columns": table.columns,
        "rows": table.rows,
        "classes": [{"name": name, "title": words.CLASS_TITLE[name]} for name in words.CLASS_ORDER],
        "classTotals": table.class_totals,
        "total": table.total,
        "posteriors": selection.posterior_columns(data.problems),
        "transcripts": {str(index): group for index, group in chosen.by_row.items()},
        "transcriptNote": chosen.note,
    }


def render_html(data: ReportData) -> str:
    """One offline page: inline style, script and figures, no request to anywhere, under 5 MB.

    Args:
        data: the run's plain data.

    Returns:
        The page. Same data, same page.

    Raises:
        StoreError: the page cannot be brought under 5 MB.
    """
    scale = 1.0
    while True:
        page = _render(data, scale)
        if len(page.encode()) < MAX_BYTES:
            return page
        if scale < 0.01:
            raise StoreError(
                f"the report needs {len(page.encode()):,} bytes without any transcript, the limit is {MAX_BYTES:,}: "
                "shorten the notes and findings of the run, or read problems.parquet directly"
            )
        scale /= 4


def code_spans(text: str) -> Markup:
    """The text with `spans in backticks` as code; everything else escaped."""
    from markupsafe import Markup

    parts = visible(text).split("`")
    if len(parts) % 2 == 0:
        return Markup.escape(visible(text))
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


def _render(data: ReportData, scale: float) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def printable(value: object) -> object:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=PackageLoader("posttrain_reports"),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markup"] = Markup
    environment.filters["ticks"] = code_spans
    table = selection.choose_rows(
        data.problems, max(1, int(selection.MAX_ROWS * scale)), int(selection.ROW_BYTES * scale)
    )
    script = environment.get_template("report.js").render()
    style = environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    body = payload(data, table, scale)
    return environment.get_template("report.html.j2").render(
        script=Markup(script),
        style=Markup(style),
        script_sha=digest,
        payload=Markup(embed_json(body)),
        **_context(data, table, body),
    )


def _context(data: ReportData, table: selection.TableRows, body: Mapping[str, Any]) -> dict[str, Any]:
    diagnosis = data.diagnosis
    numbers = view.key_numbers(diagnosis)
    budget = finite(as_mapping(diagnosis.get("settings")).get("rollout_budget"))
    main = view.main_numbers(numbers, budget, as_mapping(diagnosis.get("settings")).get("ks") or ())
    figures, others = figure_blocks(data)
    row_of = {str(i): index for index, i in enumerate(data.problems["id"].iloc[list(table.positions)].tolist())}
    plan = view.actions(diagnosis)
    settings = [
        (title, view.flatten(as_mapping(diagnosis.get(key))))
        for title, key in (("Model", "model"), ("Tasks", "tasks"), ("Sampling", "sampling"), ("Settings", "settings"),
                           ("Rollouts", "samples"), ("Versions", "versions"))
    ]  # fmt: skip
    return {
        "model_name": model_name(as_mapping(diagnosis.get("model"))),
        "created": clip(data.created, 80),
        "store": data.store,
        "command": clip(data.command, 2000),
        "verdict": view.verdict(data),
        "actions": plan[: view.MAX_ACTIONS],
        "more_actions": plan[view.MAX_ACTIONS :],
        "rejected": [
            (clip(str(stage), view.NAME_LIMIT), clip(str(why), view.LONG_TEXT))
            for stage, why in list(as_mapping(diagnosis.get("not_proposed") or diagnosis.get("rejected")).items())[
                :MAX_NOTES
            ]
        ],
        "findings": view.findings(diagnosis),
        "row_of": row_of,
        "numbers": main,
        "more_numbers": [n for n in numbers if n not in main][: view.MAX_SUMMARY],
        "tiles": view.headline_numbers(numbers, budget),
        "identity": view.rollout_identity(data),
        "level": view.level_of(diagnosis),
        "shares": view.share_rows(diagnosis, table.class_totals),
        "figures": figures,
        "other_figures": others,
        "probes": _probes(data),
        "notes": [clip(str(note), view.LONG_TEXT) for note in (diagnosis.get("notes") or ())[:MAX_NOTES]],
        "settings": [(title, rows) for title, rows in settings if rows],
        "failures": [
            (clip(str(f.get("probe")), view.NAME_LIMIT), clip(str(f.get("error")), view.LONG_TEXT))
            for f in data.failures[:MAX_FAILURES]
        ],
        "table_note": table.note,
        "transcript_note": body["transcriptNote"],
        "static_rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows[:STATIC_ROWS]],
        "class_title": words.CLASS_TITLE,
        "label_meaning": words.LABEL_MEANING,
        "n_problems": table.total,
    }


def model_name(model: Mapping[str, Any]) -> str:
    """What to call the model in a heading: its name; of an absolute path, the last part."""
    name = str(next((model[key] for key in ("name", "model", "path", "id") if model.get(key)), "model not named"))
    return clip(PurePath(name).name if PurePath(name).is_absolute() else name, 120)


def _probes(data: ReportData) -> list[dict[str, Any]]:
    level = view.level_of(data.diagnosis)
    probes: list[dict[str, Any]] = []
    for measurement in data.measurements:
        summary = list(as_mapping(measurement.get("summary")).items())
        notes = [clip(str(note), view.LONG_TEXT) for note in measurement.get("notes") or ()]
        probes.append(
            {
                "name": clip(str(measurement["probe"]), view.NAME_LIMIT),
                "question": clip(str(measurement.get("question") or ""), view.LONG_TEXT),
                "summary": [view.number(str(k), as_mapping(v), level) for k, v in summary[: view.MAX_SUMMARY]],
                "more": max(len(summary) - view.MAX_SUMMARY, 0),
                "notes": notes[:MAX_NOTES],
            }
        )
    return probes
