"""A run or a comparison as a small card for notebooks: inline styles that suit light and dark pages, no script.

Everything is escaped and clipped: a card stays under 50 kB whatever the run holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from posttrain_diag.wording.estimates import bound_text, change_alone, is_bound, points_text, share_ends
from posttrain_diag.wording.numbers import UNDEFINED, class_percent, finite, percent
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import (
    CLASSES,
    INSTRUMENT,
    LABELS,
    VERDICTS,
    estimate_title,
    played_role,
    stage_title,
    verdict_title,
)
from posttrain_reports.data import as_mapping
from posttrain_reports.html import model_name

if TYPE_CHECKING:
    from markupsafe import Markup

COLOURS = {name: one.colour for name, one in CLASSES.items() if name != "unresolved"}
TILES = ("pass@1", "pass@16", "pass@256", "coverage")
MAX_ACTIONS = 3
SHORT, LONG = 120, 400

BOX = (
    "border:1px solid rgba(128,128,128,.45);border-radius:10px;padding:12px 16px;max-width:720px;"
    "font:14px/1.5 system-ui,sans-serif;color:inherit;background:transparent;overflow-wrap:anywhere"
)
MUTED = "opacity:.75;font-size:12.5px"
CODE = "display:block;background:rgba(128,128,128,.15);border-radius:6px;padding:3px 8px;margin-top:3px;white-space:pre-wrap;color:inherit"  # noqa: E501


def tag(name: str, style: str, *parts: Markup | str) -> Markup:
    """An element of HTML; strings in it are escaped, those that are markup are not."""
    from markupsafe import Markup

    return Markup("<{0} style='{1}'>{2}</{0}>").format(name, style, Markup("").join(parts))


def run_card(diagnosis: Mapping[str, Any], path: str) -> str:
    """The card of an analysis.

    Args:
        diagnosis: the contents of diagnosis.json.
        path: path of the run directory.
    """
    verdict = str(diagnosis.get("bottleneck"))
    confidence = finite(diagnosis.get("confidence"))
    instrument = str(as_mapping(diagnosis.get("instrument")).get("status"))
    others = [
        f"{VERDICTS[name].title if name in VERDICTS else 'other'} {class_percent(finite(a.get('probability')) or 0)}"
        for a in map(as_mapping, list(diagnosis.get("alternatives") or ())[:3])
        if (name := str(a.get("bottleneck")))
    ]
    said = [
        f"confidence {UNDEFINED if confidence is None else class_percent(confidence)}"
        + (f" (else {', '.join(others)})" if others else ""),
        f"instrument {INSTRUMENT[instrument].title if instrument in INSTRUMENT else 'unknown'}",
    ]
    tasks = clip(str(as_mapping(diagnosis.get("tasks")).get("source")), SHORT)
    card = tag(
        "div",
        BOX,
        tag("div", MUTED, f"{model_name(as_mapping(diagnosis.get('model')))} on {tasks}"),
        tag("div", "font-size:17px;font-weight:650", clip(verdict_title(verdict), SHORT)),
        tag("div", "", VERDICTS[verdict].sentence if verdict in VERDICTS else ""),
        tag("div", MUTED, ", ".join(said)),
        _bar(as_mapping(diagnosis.get("shares"))),
        _tiles(as_mapping(diagnosis.get("estimates"))),
        _actions([as_mapping(p) for p in list(diagnosis.get("plan") or ())[:MAX_ACTIONS]]),
        tag("div", MUTED, f"run: {clip(path, LONG)}"),
    )
    return str(card)


def comparison_card(found: Mapping[str, Any]) -> str:
    """The card of a comparison; `found` is the contents of comparison.json."""
    names = [model_name(as_mapping(found.get(side))) for side in ("before", "after")]
    rows: list[Markup] = []
    for k, row in [(k, as_mapping(row)) for k, row in as_mapping(found.get("pass@k")).items()][:4]:
        sides = change_alone(as_mapping(row.get("before")), as_mapping(row.get("after")))
        text = f"pass@{clip(str(k), 12)} {sides}, change {points_text(as_mapping(row.get('change')))}"
        rows.append(tag("div", "", text))
    return str(
        tag(
            "div",
            BOX,
            tag("div", MUTED, " → ".join(names)),
            tag("div", "font-size:17px;font-weight:650", clip(_role(found), SHORT)),
            tag("div", "", clip(str(found.get("reason")), LONG)),
            *rows,
        )
    )


def _role(found: Mapping[str, Any]) -> str:
    return played_role(str(found.get("role")), support_lost=bool(found.get("support_lost")))


def _bar(shares: Mapping[str, Any]) -> Markup:
    """The problems by class, as a bar and in words."""
    values = {name: finite(as_mapping(shares.get(name)).get("value")) for name in COLOURS}
    known = [(name, value) for name, value in values.items() if value is not None and 5e-4 <= value <= 1]
    parts = [tag("span", f"flex:{value:.4f} 0 0;background:{COLOURS[name]}", "") for name, value in known]
    legend = [
        tag("span", f"white-space:nowrap;margin-right:12px;border-left:10px solid {COLOURS[name]};padding-left:5px",
            f"{CLASSES[name].title} {class_percent(value)}")
        for name, value in known
    ]  # fmt: skip
    bar = tag("div", "display:flex;height:12px;border-radius:6px;overflow:hidden;margin:8px 0 4px", *parts)
    return tag("div", "", bar, tag("div", MUTED, *legend)) if known else tag("div", "")


def _tiles(estimates: Mapping[str, Any]) -> Markup:
    tiles: list[Markup] = []
    for name in TILES:
        if name not in estimates:
            continue
        estimate = as_mapping(estimates[name])
        label = str(estimate.get("label"))
        small = [share_ends(estimate), label if label in LABELS and label != "measured" else ""]
        value = finite(estimate.get("value"))
        text = UNDEFINED if value is None else percent(value)
        big = tag("div", "font-size:17px;font-weight:650", bound_text(estimate) if is_bound(estimate) else text)
        title = tag("div", MUTED, estimate_title(name))
        tiles.append(tag("div", "flex:1 1 140px", title, big, tag("div", MUTED, ", ".join(filter(None, small)))))
    return tag("div", "display:flex;flex-wrap:wrap;gap:6px 14px;margin:8px 0", *tiles)


def _actions(plan: Sequence[Mapping[str, Any]]) -> Markup:
    rows: list[Markup] = []
    for proposal in plan:
        gain, needs = as_mapping(proposal.get("expected_gain")), list(proposal.get("needs") or ())
        label = str(gain.get("label"))
        rests = f" ({label})" if label in ("estimated", "model-dependent") else ""
        head = f"{stage_title(clip(str(proposal.get('stage')), SHORT))}: pass@1 {clip(points_text(gain), LONG)}{rests}"
        if needs:
            ways = tag("div", MUTED, f"needs {clip('; '.join(map(str, needs)), LONG)}")
        else:
            ways = tag("code", CODE, clip(str(proposal.get("command")), LONG))
        rows.append(tag("li", "margin-top:4px", head, ways))
    return tag("ol", "margin:6px 0;padding-left:22px", *rows) if rows else tag("div", "")
