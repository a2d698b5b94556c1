"""The index of many runs as one page: a row each, sorted and filtered in the browser, complete without scripts."""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from posttrain_diag.store.run_index import RunEntry
from posttrain_reports import words
from posttrain_reports.page import render_page
from posttrain_reports.text import NOT_ESTIMATED, clip, finite, percent, signed_points

NAME_LIMIT = 160
NOTE_LIMIT = 200
HUES = {
    "saturated": "mastered", "mixed": "unresolved", "expansion": "support", "repair": "format", "none": "unresolved",
    "target": "mastered", "no gain": "unresolved",
}  # fmt: skip
"""Verdicts whose colour is that of another class."""
KINDS = {"analysis": "Analysis", "comparison": "Comparison", "autopilot": "Autopilot"}
STATES = {"finished": "finished", "unfinished": "not finished", "damaged": "damaged"}


def render_index(entries: Sequence[RunEntry], title: str) -> str:
    """The page.

    Args:
        entries: in the order they are shown in.
        title: the folder's name.
    """
    kinds, states = Counter(e.kind for e in entries), Counter(e.state for e in entries)
    chips = [("kind", name, words_, kinds[name]) for name, words_ in KINDS.items() if kinds[name]]
    chips += [("state", name, words_, states[name]) for name, words_ in STATES.items() if states[name]]
    context = {
        "title": f"Runs in {clip(title, NAME_LIMIT)}",
        "brand": clip(title, NAME_LIMIT),
        "kind": "runs",
        "sections": (),
        "rows": [_row(entry) for entry in entries],
        "chips": chips,
    }
    return render_page("index.html.j2", ("index.js",), {}, context)


def link_of(entry: RunEntry, name: str) -> str:
    """Address of a file of a run; bytes of its path that are no UTF-8 stay what they are."""
    return "/runs/" + quote(os.fsencode(entry.path.as_posix())) + "/" + quote(name)


def _row(entry: RunEntry) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(entry.changed, datetime.UTC)
    estimate = entry.pass_1 or {}
    value, low, high = (finite(estimate.get(key)) for key in ("value", "low", "high"))
    shown = signed_points if entry.kind == "comparison" else percent
    confidence = finite(entry.confidence)
    return {
        "name": clip(entry.path.as_posix(), NAME_LIMIT) if entry.path.parts else ".",
        "kind": entry.kind,
        "kind_title": KINDS[entry.kind],
        "state": entry.state,
        "state_title": STATES[entry.state],
        "link": None if entry.page is None else link_of(entry, entry.page),
        "model": _short(entry.model or ""),
        "model_full": clip(entry.model or "", NOTE_LIMIT),
        "tasks": _short(entry.tasks or ""),
        "tasks_full": clip(entry.tasks or "", NOTE_LIMIT),
        "verdict": _verdict(entry),
        "hue": _hue(entry.verdict or ""),
        "confidence": "" if confidence is None else percent(confidence),
        "confidence_sort": confidence,
        "pass_1": "" if not estimate else NOT_ESTIMATED if value is None else shown(value),
        "pass_1_sort": value,
        "interval": "" if low is None or high is None else f"{shown(low)} to {shown(high)}",
        "unit": " points" if entry.kind == "comparison" and value is not None else "",
        "bar": None if entry.kind == "comparison" else _bar(low, value, high),
        "instrument": entry.instrument if entry.instrument in words.INSTRUMENT_TITLE else None,
        "instrument_title": words.INSTRUMENT_TITLE.get(entry.instrument or "", ""),
        "day": f"{when:%Y-%m-%d}",
        "time": f"{when:%H:%M} UTC",
        "when_sort": entry.changed,
        "note": clip(entry.note, NOTE_LIMIT),
    }  # fmt: skip


def _short(name: str) -> str:
    """Of an absolute path the last two parts, of everything else all."""
    return " -> ".join(
        clip("…/" + "/".join(PurePath(part).parts[-2:]) if PurePath(part).is_absolute() else part, NAME_LIMIT)
        for part in name.split(" -> ")
    )


def _bar(*ends: float | None) -> list[float] | None:
    known = [100 * end for end in ends if end is not None]
    return known if len(known) == len(ends) else None


def _verdict(entry: RunEntry) -> str:
    if entry.verdict is None:
        return ""
    if entry.kind == "analysis":
        return words.BOTTLENECK_TITLE.get(entry.verdict, clip(entry.verdict, NAME_LIMIT))
    return clip(entry.verdict, NAME_LIMIT).capitalize()


def _hue(verdict: str) -> str:
    hue = HUES.get(verdict, verdict)
    return hue if hue in {*words.CLASS_TITLE, "instrument", "undetermined"} else "unresolved"
