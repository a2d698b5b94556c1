"""Answers of MATH-500 read by `math` and by math-verify alone: `python -m benchmarks answers --math500 FILE`.

Every gold answer is re-spelled in all ways that are right by construction, and in ways that look right and are wrong
(posttrain_diag/tasks/verifiers/math/respell). Both readers get the same completion, the answer in a
box. The problems are not part of this project: `--math500` names a file with them (`problem`, `solution`, `answer`).
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from posttrain_diag.tasks import load_tasks, verify
from posttrain_diag.tasks.problems.references import corrupted_completions, reference_completions
from posttrain_diag.tasks.verifiers.math.respell import near_misses, respellings
from posttrain_diag.types import Problem

BOX = "So the final answer is $\\boxed{%s}$."
WORK = "We have $a^2 + b^2 = c^2$, so that $\\frac{x}{2} = 3$ and the next step follows at once.\n\n" * 8
"""Stands before an answer when verdicts are counted: models write before they answer."""
Reader = Callable[[str, Problem], bool]


@dataclass
class Count:
    """Answers of one kind, and how many each reader accepts."""

    answers: int = 0
    ours: int = 0
    alone: int = 0
    errors: int = 0


def measure(path: Path) -> dict[str, Any]:
    """Counts of all re-spellings, near misses, golds and corruptions of a file, and the speed of verdicts."""
    problems = load_tasks(str(path)).problems
    speeds = speed(problems)  # first of all: later every answer has been seen
    return {
        "problems": len(problems),
        "golds": golds(problems),
        "right": by_kind(problems, respellings),
        "wrong": by_kind(problems, near_misses),
        "verdicts_per_s": speeds,
    }


def golds(problems: tuple[Problem, ...]) -> dict[str, int]:
    """How many golds pass, as their worked solution and in a box, and how many corrupted completions do."""
    counts = {"golds": 0, "passed": 0, "corrupted": 0, "accepted": 0, "errors": 0}
    for i, problem in enumerate(problems):
        for text in (*reference_completions(problem), BOX % problem.answer):
            counts["golds"] += 1
            counts["passed"] += verify(text, problem).strict
        for text in corrupted_completions(problem, (*problems[i + 1 :], *problems[:i])):
            judged = verify(text, problem)
            counts["corrupted"] += 1
            counts["accepted"] += judged.lenient
            counts["errors"] += judged.error is not None
    return counts


def by_kind(
    problems: tuple[Problem, ...], spell: Callable[[str, str], list[tuple[str, str]]]
) -> dict[str, dict[str, int]]:
    """What both readers accept of the re-spelled golds, by kind and in all."""
    counts: defaultdict[str, Count] = defaultdict(Count)
    for problem in problems:
        for kind, text in spell(problem.answer or "", problem.prompt_text):
            judged, alone = verify(BOX % text, problem), math_verify_alone(problem.answer or "", BOX % text)
            for count in (counts[kind], counts["all"]):
                count.answers += 1
                count.ours += judged.strict
                count.alone += alone
                count.errors += judged.error is not None
    return {kind: vars(counts[kind]) for kind in sorted(counts, key=lambda kind: (kind == "all", kind))}


@lru_cache(1 << 20)
def math_verify_alone(gold: str, completion: str) -> bool:
    """What math-verify says of a completion by itself, as its documentation uses it."""
    from math_verify import parse
    from math_verify import verify as agree

    logging.disable(logging.CRITICAL)
    return bool(agree(_parsed(parse, f"${gold}$"), _parsed(parse, completion)))


@lru_cache(4096)
def _parsed(parse: Callable[[str], list[Any]], text: str) -> list[Any]:
    return parse(text)


def speed(problems: tuple[Problem, ...]) -> dict[str, float]:
    """Verdicts per second of CPU time on texts of some length, each seen for the first time, and seen again."""
    jobs = list(_jobs(problems))
    first = _judged_per_s(jobs)
    return {"first": first, "again": _judged_per_s(jobs), "verdicts": float(len(jobs))}


def _jobs(problems: tuple[Problem, ...]) -> Iterator[tuple[str, Problem]]:
    for problem in problems:
        for spell in (respellings, near_misses):
            for _, text in spell(problem.answer or "", problem.prompt_text):
                yield f"{WORK}Hence $\\boxed{{{text}}}$", problem
        yield from ((text, problem) for text in problem.demos)


def _judged_per_s(jobs: list[tuple[str, Problem]]) -> float:
    start = time.process_time()
    for completion, problem in jobs:
        verify(completion, problem)
    return len(jobs) / (time.process_time() - start)


def table(data: dict[str, Any]) -> list[str]:
    """The measurements as Markdown."""
    golds, speeds = data["golds"], data["verdicts_per_s"]
    lines = [
        f"{golds['passed']} of {golds['golds']} golds pass (worked solutions and boxes of {data['problems']} problems); "
        f"{golds['accepted']} of {golds['corrupted']} corrupted completions do, {golds['errors']} cannot be judged.",
        "",
    ]
    for name, title in (("right", "right answers, re-spelled"), ("wrong", "wrong answers that look right")):
        lines += [f"| {title} | answers | math accepts | math-verify alone | cannot judge |", "|---|---|---|---|---|"]
        for kind, count in data[name].items():
            lines.append(f"| {kind} | {count['answers']} | {count['ours']} | {count['alone']} | {count['errors']} |")
        lines.append("")
    lines.append(
        f"Verdicts per second of one core: {speeds['first']:,.0f} on {speeds['verdicts']:,.0f} texts seen for the first "
        f"time, {speeds['again']:,.0f} seen again."
    )
    return lines
