"""Do the verifiers read answers as a careful human does?

    python -m benchmarks answers [--answers FILE] [--draws DIR] [--json] [--misses]

Labelled completions (data/answers.jsonl and files of its form) and labelled draws of a real model (data/recorded_draws and
directories of its form): how many right answers are accepted, how many wrong ones, and whether the strict reading agrees
with the labels; and how many verdicts a core gives per second.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.answers.score import Tally, by_kind, draw_scores, judge_answers, judge_draws
from posttrain_diag.tasks.verifiers.reading import final_part
from posttrain_diag.tasks.verifiers.spec import verify
from posttrain_diag.types import Problem

HERE = Path(__file__).parent
SPEED_S = 1.0
"""Seconds over which verdicts are counted."""


def main() -> int:
    """Score the data, print the tables, and write the results when the data is the project's own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks answers")
    parser.add_argument("--answers", type=Path, help="a file of labelled answers (default: the project's)")
    parser.add_argument("--draws", type=Path, help="a directory of recorded draws (default: the project's)")
    parser.add_argument("--json", action="store_true", help="print JSON; nothing is written")
    parser.add_argument("--misses", action="store_true", help="name the answers that are misread")
    args = parser.parse_args()
    own = args.answers is None and args.draws is None
    answers = args.answers or (HERE / "data" / "answers.jsonl" if own else None)
    draws = args.draws or (HERE / "data" / "recorded_draws" if own else None)
    tallies = by_kind(judge_answers(answers)) if answers else {}
    families = {path.stem: judge_draws(path) for path in sorted(draws.glob("*.jsonl"))} if draws else {}
    scores = {name: draw_scores(rows) for name, rows in families.items()}
    data: dict[str, Any] = {
        "kinds": {
            name: {**tally.shares(), "right": tally.right, "wrong": tally.wrong} for name, tally in tallies.items()
        },
        "stretch": {"rows": tallies["all"].stretch, "read": tallies["all"].stretch_agree} if tallies else {},
        "draws": scores,
        "verdicts_per_s": speeds() if own else {},
    }
    if args.json:
        sys.stdout.write(json.dumps(data, indent=1) + "\n")
        return 0
    lines = [*_answers_table(tallies), *_draws_table(scores), *_speed_table(data["verdicts_per_s"])]
    sys.stdout.write("\n".join(lines) + "\n")
    if args.misses:
        sys.stdout.write("\nmisread: " + ", ".join(tallies["all"].misses if tallies else ()) + "\n")
        for name, rows in families.items():
            missed = [r.id for own_rows in rows for r in own_rows if r.judgement.lenient != r.right]
            sys.stdout.write(f"misread {name}: {', '.join(missed)}\n")
    if own and not args.misses:
        machine.write("answers", "Answers read as a careful human reads them", data, lines)
    return 0


def speeds() -> dict[str, float]:
    """Verdicts per second of CPU time on answers as models write them, by type of verifier; nothing is cached."""
    question = (
        "A hen house gives 16 eggs a day. Three are eaten and four are baked. What does a day bring at 2 dollars each?"
    )
    options = "Which gas do plants take in?\nA) Oxygen\nB) Carbon dioxide\nC) Nitrogen\nD) Helium"
    work = "She has 16 eggs. She eats 3, so 16 - 3 = 13 eggs. She bakes 4, so 13 - 4 = 9 eggs. "
    cases = {
        "numeric": (
            question,
            "18",
            (f"{work}The answer is 18.", f"{work}\n#### 18", f"{work}She makes $18 every day.", "18"),
        ),
        "choice": (
            options,
            "B",
            ("The correct answer is B.", "B) Carbon dioxide", "Plants give off A, so it must be (B)."),
        ),
        "words": (
            "What is the capital of France?",
            "Paris",
            ("The capital of France is Paris.", "Paris, France", "It is Lyon."),
        ),
        "yesno": ("Is the Sun a star?", "yes", ("Yes, the Sun is a star.", "The Sun is a star.", "No.")),
        "exact": ("Reverse abc.", "cba", ("cba", "The answer is cba.", "abc")),
    }
    return {kind: _speed(kind, *case) for kind, case in cases.items()}


def _speed(kind: str, prompt: str, answer: str, texts: tuple[str, ...]) -> float:
    problem = Problem("speed", prompt, None, answer, {"type": kind})
    judged, start = 0, time.process_time()
    while time.process_time() - start < SPEED_S:
        for text in texts:
            verify(f"{text} ({judged})" if kind == "exact" else f"{judged} tries. {text}", problem)
            judged += 1
    final_part.cache_clear()
    return judged / (time.process_time() - start)


def _answers_table(tallies: dict[str, Tally]) -> list[str]:
    if not tallies:
        return []
    lines = ["| kind | right | accepted | wrong | accepted | strict agrees |", "|---|---|---|---|---|---|"]
    for name, tally in tallies.items():
        shares = tally.shares()
        lines.append(
            f"| {name} | {tally.right} | {_percent(shares['right accepted'])} | {tally.wrong} | "
            f"{_percent(shares['wrong accepted'])} | {_percent(shares['strict agrees'])} |"
        )
    total = tallies["all"]
    return [*lines, "", f"Stretch rows, counted apart: {total.stretch_agree} of {total.stretch} read as labelled.", ""]


def _draws_table(scores: dict[str, dict[str, float]]) -> list[str]:
    if not scores:
        return []
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


def _speed_table(speed: dict[str, float]) -> list[str]:
    if not speed:
        return []
    shown = ", ".join(f"{kind} {round(value, -2):,.0f}" for kind, value in speed.items())
    return [f"Verdicts per second of one core: {shown}."]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


if __name__ == "__main__":
    sys.exit(main())
