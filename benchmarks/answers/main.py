"""Do the verifiers read answers as a careful human does?

    python -m benchmarks answers [--answers FILE ...] [--draws DIR] [--math500 FILE] [--tasks DIR] [--served DIR] [--json] [--misses]

    labelled answers   files like data/answers.jsonl: how many right ones are accepted, how many wrong ones
    recorded draws     directories like data/recorded_draws: agreement with the labels, and pass@1
    MATH-500           golds in other spellings and near misses, beside math-verify alone     (math500.py)
    golds              of GSM8K, MATH-500, HumanEval, MBPP, CRUXEval, and corrupted ones      (golds.py)
    served             whole analyses of models with a known success probability              (served.py, worlds.py)
    speed              verdicts per second of one core, new texts and texts seen before       (speed.py)

Without flags the project's own answers and draws are scored, and the speed. Public task files are not part of the
project: --tasks and --served name a folder that holds them under their usual names. What was measured on the project's
own data and on public files is written to results.json and results.md, part by part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.answers import golds, math500, served, speed
from benchmarks.answers.score import Tally, by_kind, draw_scores, judge_answers, judge_draws

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
TITLE = "Answers read as a careful human reads them"


def main() -> int:
    """Measure the parts that are asked for, print them, and write those that are the project's own."""
    args = _arguments()
    own = not (args.answers or args.draws or args.math500 or args.tasks or args.served)
    answers = args.answers or (sorted((HERE / "data").glob("*.jsonl")) if own else [])
    draws = args.draws or (HERE / "data" / "recorded_draws" if own else None)
    parts: dict[str, Any] = {}
    misses: list[str] = []
    if answers:
        parts["answers"] = {path.stem: _answers(path, misses) for path in answers}
    if draws:
        parts["draws"] = {path.stem: _draws(path, misses) for path in sorted(draws.glob("*.jsonl"))}
    if args.math500:
        parts["math500"] = math500.measure(args.math500)
    if args.tasks:
        parts["golds"] = golds.measure(args.tasks)
    if args.served:
        parts["served"] = served.measure(args.served, args.world)
    if own:
        parts["speed"] = speed.measure()
    if args.json:
        sys.stdout.write(json.dumps(parts, indent=1) + "\n")
        return 0
    sys.stdout.write("\n".join(line for name, found in parts.items() for line in TABLES[name](found)) + "\n")
    if args.misses:
        sys.stdout.write("misread: " + ", ".join(misses) + "\n")
    elif own or not (args.answers or args.draws or args.world):
        _write(parts)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks answers")
    parser.add_argument("--answers", type=Path, action="append", help="a file of labelled answers; may be repeated")
    parser.add_argument("--draws", type=Path, help="a directory of recorded draws")
    parser.add_argument("--math500", type=Path, help="MATH-500 as JSONL with problem, solution, answer")
    parser.add_argument("--tasks", type=Path, help="a folder with public task files, for their golds")
    parser.add_argument("--served", type=Path, help="the same folder, for the served models")
    parser.add_argument("--world", action="append", help="only this served model; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON; nothing is written")
    parser.add_argument("--misses", action="store_true", help="name the answers that are misread; nothing is written")
    return parser.parse_args()


def _answers(path: Path, misses: list[str]) -> dict[str, Any]:
    """Per kind the shares that are asked for, and how many answers there are."""
    tallies = by_kind(judge_answers(path))
    misses += tallies["all"].misses
    kinds = {name: {**tally.shares(), **_counts(tally)} for name, tally in tallies.items()}
    return {"kinds": kinds, "stretch": {"rows": tallies["all"].stretch, "read": tallies["all"].stretch_agree}}


def _counts(tally: Tally) -> dict[str, int]:
    return {"right": tally.right, "wrong": tally.wrong, "cannot judge": tally.errors}


def _draws(path: Path, misses: list[str]) -> dict[str, float]:
    rows = judge_draws(path)
    misses += [draw.id for own in rows for draw in own if draw.judgement.lenient != draw.right]
    return draw_scores(rows)


def _answers_table(files: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, found in files.items():
        lines += [f"| {name} | right | accepted | wrong | accepted | strict agrees |", "|---|---|---|---|---|---|"]
        for kind, shares in found["kinds"].items():
            lines.append(
                f"| {kind} | {shares['right']} | {_percent(shares['right accepted'])} | {shares['wrong']} | "
                f"{_percent(shares['wrong accepted'])} | {_percent(shares['strict agrees'])} |"
            )
        stretch = found["stretch"]
        counted = f"Stretch rows, counted apart: {stretch['read']} of {stretch['rows']} read as labelled."
        lines += ["", *([counted, ""] if stretch["rows"] else [])]
    return lines


def _draws_table(scores: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        "| recorded draws | draws | substance agrees | strict agrees | pass@1 labelled | pass@1 |",
        "|---|---|---|---|---|---|",
    ]
    for name, score in scores.items():
        lines.append(
            f"| {name} | {score['draws']} | {_percent(score['substance agrees'])} | {_percent(score['strict agrees'])} | "
            f"{score['pass@1 labelled']:.3f} | {score['pass@1 substance']:.3f} |"
        )
    return [*lines, ""]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


TABLES: dict[str, Callable[[Any], list[str]]] = {
    "answers": _answers_table,
    "draws": _draws_table,
    "math500": math500.table,
    "golds": golds.table,
    "served": served.table,
    "speed": speed.table,
}
"""Part -> its Markdown."""
HEADS = {
    "answers": "Labelled answers",
    "draws": "Recorded draws",
    "math500": "MATH-500 beside math-verify alone",
    "golds": "Golds of public tasks",
    "served": "Served models with a known success probability",
    "speed": "Speed",
}


def _write(parts: dict[str, Any]) -> None:
    """Put the parts that were measured in the place of their older results."""
    where = machine.head(machine.command_line("python -m benchmarks answers"))
    kept: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept |= {name: {**where, "found": found} for name, found in parts.items()}
    RESULTS.write_text(
        json.dumps({name: kept[name] for name in TABLES if name in kept}, indent=1) + "\n", encoding="utf-8"
    )
    lines = [f"# {TITLE}", ""]
    for name in (name for name in TABLES if name in kept):
        one = kept[name]
        facts = f"{one['date']}, {one['cpu']}, {one['cores']} cores (load {one['load_1min']}), `{one['command']}`"
        lines += [f"## {HEADS[name]}", "", facts, "", *TABLES[name](one["found"])]
    (HERE / "results.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
