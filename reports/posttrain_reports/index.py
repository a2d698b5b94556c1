"""The index of many runs as one page: a row each, sorted and filtered in the browser, complete without scripts."""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from posttrain_diag.store.run_index import RunEntry
from posttrain_diag.wording.estimates import points_ends, share_ends
from posttrain_diag.wording.numbers import UNDEFINED, class_percent, finite, percent, signed_points
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import INSTRUMENT, hue, verdict_title
from posttrain_reports.page import render_page

NAME_LIMIT = 160
NOTE_LIMIT = 200
KINDS = {"analysis": "Analysis", "comparison": "Comparison", "autopilot": "Autopilot"}
STATES = {"finished": "finished", "unfinished": "not finished", "damaged": "damaged"}


def render_index(entries: Sequence[RunEntry], title: str) -> str:
    """Render the index of runs as one page.

    Args:
        entries: the runs in the order in which they are shown.
        title: name of the folder.
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
    """The address of a file of a run; bytes of its path that are no UTF-8 stay what they are."""
    return "/runs/" + quote(os.fsencode(entry.path.as_posix())) + "/" + quote(name)


def _row(entry: RunEntry) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(entry.changed, datetime.UTC)
    estimate = entry.pass_1 or {}
    value, low, high = (finite(estimate.get(key)) for key in ("value", "low", "high"))
    changed = entry.kind == "comparison"
    confidence = finite(entry.confidence)
    instrument = INSTRUMENT.get(entry.instrument or "")
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
        "hue": hue(entry.verdict or ""),
        "confidence": "" if confidence is None else class_percent(confidence),
        "confidence_sort": confidence,
        "pass_1": _pass_1(estimate, changed=changed),
        "pass_1_sort": value,
        "interval": points_ends(estimate) if changed else share_ends(estimate),
        "unit": " points" if changed and value is not None else "",
        "bar": None if changed else _bar(low, value, high),
        "instrument": entry.instrument if instrument else None,
        "instrument_title": instrument.title if instrument else "",
        "day": f"{when:%Y-%m-%d}",
        "time": f"{when:%H:%M} UTC",
        "when_sort": entry.changed,
        "note": clip(entry.note, NOTE_LIMIT),
    }  # fmt: skip


def _pass_1(estimate: Mapping[str, Any], *, changed: bool) -> str:
    """pass@1, or its change in points; empty where none was measured."""
    value = finite(estimate.get("value"))
    if not estimate or value is None:
        return UNDEFINED if estimate else ""
    return signed_points(value) if changed else percent(value)


def _short(name: str) -> str:
    """The last two parts of an absolute path; any other name as it is."""
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
        return clip(verdict_title(entry.verdict), NAME_LIMIT)
    return clip(entry.verdict, NAME_LIMIT).capitalize()
