"""An autopilot run as a page: where it began and ended, every decision with its reason, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain_diag.wording.estimates import change_alone, points_text, share_alone, share_ends, share_text
from posttrain_diag.wording.numbers import UNDEFINED, count, finite, nominal, percent, signed_points, token_count
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import ENDS, OUTCOMES, role_title, stage_title, verdict_title
from posttrain_reports import charts_compare as charts
from posttrain_reports.actions import LONG_TEXT, NAME_LIMIT
from posttrain_reports.blocks import FigureBlock, Table
from posttrain_reports.data import as_mapping
from posttrain_reports.figdata import Point, point_of
from posttrain_reports.html import model_name
from posttrain_reports.markdown import code_block, escape_markdown, figure_lines, table_lines
from posttrain_reports.page import check_whole, fitted, render_page, write_pages
from posttrain_reports.paper import drawn

REQUIRED = ("schema", "model", "tasks", "target", "end", "reason", "before", "after", "rounds", "tokens", "commands")
SECTIONS = (("timeline", "Timeline"), ("figures", "Figures"), ("commands", "Commands"), ("events", "Events"))
BILL = ("analysis", "pilot", "generated", "trained", "watched", "measured")
MAX_EVENTS = 400
MAX_ROUNDS = 60


@dataclass(frozen=True)
class AutopilotData:
    """Everything the page of an autopilot run shows.

    Raises:
        StoreError: result.json lacks a part, or was written by another version.
    """

    result: Mapping[str, Any]
    """The contents of result.json."""
    events: Sequence[Mapping[str, Any]]
    """The lines of events.jsonl."""
    folder: Path
    """The folder of the run; reports of its rounds are linked relative to it."""

    def __post_init__(self) -> None:
        check_whole("result.json", self.result, REQUIRED, "run the same `diag run` again")


def write_autopilot_report(data: AutopilotData, kinds: Sequence[str] = ()) -> Path:
    """Write report.html, report.md and figures for papers into the run's folder; returns the page's path.

    Args:
        data: the run.
        kinds: kinds of figures, "svg" and "png"; PNG takes a second.
    """
    figures = drawn([_levels(data.result)], kinds) if kinds else {}
    return write_pages(data.folder, render_autopilot(data), render_autopilot_markdown(data), figures)


def render_autopilot(data: AutopilotData) -> str:
    """Render the run as one offline page under 5 MB; the same data give the same page."""
    return fitted(
        lambda scale: render_page("autopilot.html.j2", (), {}, autopilot_context(data, int(MAX_EVENTS * scale)))
    )


def autopilot_context(data: AutopilotData, most_events: int = MAX_EVENTS) -> dict[str, Any]:
    """Everything that the template and the Markdown twin print."""
    result = data.result
    name = model_name({"name": result["model"]})
    tokens = as_mapping(result["tokens"])
    spent, budget = finite(tokens.get("total")), finite(tokens.get("budget"))
    tasks = as_mapping(result["tasks"])
    rounds = [_round(data, as_mapping(one)) for one in result["rounds"][:MAX_ROUNDS]]
    return {
        "title": f"{headline(result)} {name}",
        "brand": name,
        "kind": "autopilot run",
        "sections": SECTIONS,
        "headline": headline(result),
        "ended": ENDS.get(str(result["end"]), str(result["end"])),
        "reason": clip(str(result["reason"]), LONG_TEXT),
        "from_start": _link(data, "from-start"),
        "checkpoint": clip(str(result.get("checkpoint")), LONG_TEXT),
        "changed": bool(result.get("kept")),
        "start": _checkpoint(data, as_mapping(result["before"])),
        "rounds": rounds,
        "counts": [(name, css, sum(r["outcome"] == name for r in rounds)) for name, css in OUTCOMES.items()],
        "more_rounds": max(0, len(result["rounds"]) - MAX_ROUNDS),
        "tiles": _tiles(result, spent, budget),
        "sizes": [
            (k.replace("_", " "), f"{v:,}")
            for k in ("train", "held_out", "retained")
            if (v := tasks.get(k)) is not None
        ],
        "source": clip(str(tasks.get("source")), LONG_TEXT),
        "figures": autopilot_figures(result),
        "commands": [clip(str(c), LONG_TEXT) for c in result["commands"]],
        "events": [_event(as_mapping(e)) for e in data.events[:most_events]],
        "more_events": max(0, len(data.events) - most_events),
    }


def headline(result: Mapping[str, Any]) -> str:
    """What became of pass@1 in the run, in a sentence."""
    sides = [as_mapping(as_mapping(result[side]).get("pass@1")) for side in charts.SIDES]
    before, after = (finite(block.get("value")) for block in sides)
    kept = len(result.get("kept") or ())
    if before is None or after is None:
        return "The run ended before pass@1 was measured."
    if not kept:
        return f"Nothing was kept: pass@1 stays at {share_alone(sides[0])}."
    stages = "One stage" if kept == 1 else f"{kept} stages"
    return f"{stages} took pass@1 from {share_alone(sides[0])} to {share_alone(sides[1])}."


def sides_of(result: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """An estimate at the start and at the end of the run.

    What was measured around the first stage stands in for a start that was not measured.
    """
    sides = [as_mapping(as_mapping(result[side]).get(key)) for side in charts.SIDES]
    first = as_mapping(result["rounds"][0]).get("before") if result["rounds"] else None
    start = sides[0] or as_mapping(as_mapping(first).get(key))
    return [start, sides[1] or (start if not result.get("kept") else {})]


def _tiles(result: Mapping[str, Any], spent: float | None, budget: float | None) -> list[dict[str, str]]:
    tiles: list[dict[str, str]] = []
    for key, what in (("pass@1", "Held-out pass@1"), ("retention", "Retained tasks")):
        sides = sides_of(result, key)
        before, after = (finite(block.get("value")) for block in sides)
        known = before is not None and after is not None
        tiles.append(
            {
                "what": what,
                "big": change_alone(*sides) if known else "not measured",
                "small": f"{share_ends(sides[1])} at the end, n = {count(finite(sides[1].get('n')) or 0)}".lstrip()
                if known
                else "give --retain FILE"
                if key == "retention"
                else "",
            }
        )
    tiles.append(
        {
            "what": "Target",
            "big": nominal(finite(result["target"]) or 0.0),
            "small": ENDS.get(str(result["end"]), str(result["end"])),
        }
    )
    share = "" if not budget or spent is None else f"{percent(spent / budget)} of the budget of {token_count(budget)}"
    tiles.append(
        {
            "what": "Tokens",
            "big": UNDEFINED if spent is None else token_count(spent),
            "small": share or "no budget was set",
        }
    )
    return tiles


def _checkpoint(data: AutopilotData, block: Mapping[str, Any]) -> dict[str, str]:
    return {
        "bottleneck": clip(verdict_title(str(block.get("bottleneck"))), NAME_LIMIT),
        "pass_1": share_text(as_mapping(block.get("pass@1"))),
        "report": _link(data, "rounds", "00-start"),
    }


def _link(data: AutopilotData, *parts: str) -> str:
    """A relative link to a page of the run; empty where the page is not there."""
    path = Path(*parts, "report.html")
    try:
        there = (data.folder / path).exists()
    except OSError:  # a name that no file can have
        there = False
    return path.as_posix() if there else ""


def _round(data: AutopilotData, block: Mapping[str, Any]) -> dict[str, Any]:
    number = int(finite(block.get("number")) or 0)
    outcome = str(block.get("outcome") or "unfinished")
    comparison = as_mapping(block.get("comparison"))
    folder = Path(str(block.get("folder"))).name
    links = (
        ("diagnosis after it", _link(data, "rounds", folder, "analysis")),
        ("comparison", _link(data, "rounds", folder)),
    )
    told = [e for e in map(as_mapping, data.events) if e.get("round") == number]
    chosen = next((as_mapping(e.get("proposal")) for e in told if e.get("event") == "chosen"), {})
    analysed = next((e for e in told if e.get("event") == "analysed"), {})
    tokens = as_mapping(block.get("tokens"))
    role = role_title(str(comparison.get("role")), support_lost=bool(comparison.get("support_lost")))
    return {
        "number": number,
        "stage": clip(str(block.get("stage")), NAME_LIMIT),
        "title": clip(stage_title(str(block.get("stage"))), NAME_LIMIT),
        "outcome": outcome,
        "css": OUTCOMES.get(outcome, "suspect"),
        "why": clip(str(block.get("why") or ""), LONG_TEXT),
        "reason": clip(str(block.get("reason") or ""), LONG_TEXT),
        "start": int(finite(block.get("start")) or 0),
        "expected": points_text(as_mapping(chosen.get("expected_gain"))),
        "gain": _change(block, "pass@1"),
        "retention": _change(block, "retention"),
        "then": clip(verdict_title(str(analysed.get("bottleneck"))), NAME_LIMIT) if analysed else "",
        "role": clip(role, NAME_LIMIT) if comparison else "",
        "tokens": token_count(finite(tokens.get("total")) or 0.0),
        "settings": ", ".join(f"{k} {v}" for k, v in as_mapping(block.get("settings")).items()),
        "links": [(words, link) for words, link in links if link],
    }


def _change(block: Mapping[str, Any], name: str) -> str:
    sides = [as_mapping(as_mapping(block.get(side)).get(name)) for side in charts.SIDES]
    before, after = (finite(side.get("value")) for side in sides)
    if before is None or after is None:
        return "not measured"
    return f"{change_alone(*sides)} ({signed_points(after - before)} points)"


def _event(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    time, name = clip(str(event.get("time") or ""), 40)[:19].replace("T", " "), clip(str(event.get("event")), 60)
    return time, name, str(event.get("round")), clip(str(event.get("text")), LONG_TEXT)


def autopilot_figures(result: Mapping[str, Any]) -> list[FigureBlock]:
    """The figures of a run: pass@1 and retention of every checkpoint, and where the tokens went."""
    return [_levels(result), _bill(result)]


def _point(x: int, block: object) -> Point | None:
    found = as_mapping(block)
    return point_of(float(x), found) if found else None


def checkpoints_of(result: Mapping[str, Any]) -> list[charts.Level]:
    """The model that the run started with and the checkpoint of every round, as points of a figure."""
    start = as_mapping(result["before"])
    measured = as_mapping(start.get("measured_around_stages")) or start
    checkpoints = [
        charts.Level(
            "start",
            _point(0, measured.get("pass@1") or start.get("pass@1")),
            _point(0, sides_of(result, "retention")[0]),
            True,
        )
    ]
    for number, one in enumerate(map(as_mapping, result["rounds"][:MAX_ROUNDS]), 1):
        after = as_mapping(one.get("after"))
        checkpoints.append(
            charts.Level(
                f"{one.get('number')} {one.get('stage')}",
                _point(number, after.get("pass@1")),
                _point(number, after.get("retention")),
                one.get("outcome") == "kept",
            )
        )
    return checkpoints


def _levels(result: Mapping[str, Any]) -> FigureBlock:
    title, checkpoints = "Held-out pass@1 and retention by round", checkpoints_of(result)
    if len(checkpoints) < 2 or checkpoints[0].point is None:
        return FigureBlock("levels", title, "", missing="No stage was run.")
    rows = tuple(
        (c.name, _level_words(c.point), _level_words(c.retention), "kept" if c.kept else "not kept")
        for c in checkpoints
    )
    return FigureBlock(
        "levels",
        title,
        "A checkpoint that was rolled back is hollow: the run went on from the one before it. Whiskers are intervals.",
        charts.levels(checkpoints, finite(result["target"]), title),
        (("line-side-after", "held-out pass@1"), ("line-side-before", "retained tasks")),
        Table(("checkpoint", "pass@1", "retention", "outcome"), rows),
    )


def _level_words(point: Point | None) -> str:
    return "not measured" if point is None or point.value is None else percent(point.value)


def _bill(result: Mapping[str, Any]) -> FigureBlock:
    tokens = as_mapping(result["tokens"])
    parts = [("start", as_mapping(tokens.get("start")))]
    parts += [
        (f"{one.get('number')} {one.get('stage')}", as_mapping(one.get("tokens")))
        for one in map(as_mapping, result["rounds"][:MAX_ROUNDS])
    ]
    rows = [(clip(name, 24), [(kind, finite(bill.get(kind)) or 0.0) for kind in BILL]) for name, bill in parts]
    used = [kind for kind in BILL if any(dict(bill)[kind] for _, bill in rows)]
    shown = [(name, [(kind, value) for kind, value in bill if kind in used]) for name, bill in rows]
    table = tuple(
        (name, *(token_count(dict(bill)[kind]) for kind in used), token_count(sum(v for _, v in bill)))
        for name, bill in rows
    )
    return FigureBlock(
        "bill",
        "Where the tokens went",
        "Analysis: diagnosing. Watched: looks during a stage. Measured: before and after it.",
        charts.bill(shown, "Tokens of every round by purpose"),
        tuple((f"part-{kind}", kind) for kind in used),
        Table(("round", *used, "total"), table),
    )


def render_autopilot_markdown(data: AutopilotData) -> str:
    """Render the run as Markdown, the twin of its page."""
    told = autopilot_context(data)
    rows = [("0", "start", "", told["start"]["pass_1"], "", "", f"bottleneck: {told['start']['bottleneck']}")]
    rows += [
        (str(r["number"]), r["stage"], r["outcome"], r["gain"], r["retention"], r["tokens"], r["reason"])
        for r in told["rounds"]
    ]
    lines = [
        f"# {escape_markdown(told['headline'])}",
        escape_markdown(f"{told['ended']}: {told['reason']}"),
        table_lines(("figure", "value", ""), [(t["what"], t["big"], t["small"]) for t in told["tiles"]]),
        "## Timeline",
        table_lines(("round", "stage", "outcome", "pass@1", "retention", "tokens", "reason"), rows),
    ]
    for block in told["figures"]:
        lines += figure_lines(block)
    lines += ["## Commands", code_block("\n".join(told["commands"])), "## Events"]
    lines += ["\n".join(f"- {escape_markdown(' '.join(e))}" for e in told["events"])]
    return "\n\n".join(line for line in lines if line) + "\n"
