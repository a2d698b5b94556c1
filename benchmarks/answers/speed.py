"""Verdicts per second of one core, by type of verifier: on texts that were never seen, and on texts seen before.

CPU time of this process and of the workers it started; the median of some rounds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from posttrain_diag.tasks.verifiers.reading import final_part
from posttrain_diag.tasks.verifiers.spec import verify
from posttrain_diag.types import Problem

ROUNDS = 5
TEXTS = 2000
"""Texts of a round; each is new in its first round and seen again in the second."""
QUESTION = (
    "A hen house gives 16 eggs a day. Three are eaten and four are baked. What does a day bring at 2 dollars each?"
)
OPTIONS = "Which gas do plants take in?\nA) Oxygen\nB) Carbon dioxide\nC) Nitrogen\nD) Helium"
WORK = "She has 16 eggs. She eats 3, so 16 - 3 = 13 eggs. She bakes 4, so 13 - 4 = 9 eggs. "
STEPS = "We have $a^2 + b^2 = c^2$, so that $\\frac{x}{2} = 3$ and the next step follows at once.\n\n" * 4
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "numeric": (
        QUESTION,
        "18",
        (f"{WORK}The answer is 18.", f"{WORK}\n#### 18", f"{WORK}She makes $18 every day.", "18", f"{WORK}So **18**."),
    ),
    "choice": (
        OPTIONS,
        "B",
        ("The correct answer is B.", "B) Carbon dioxide", "Plants give off A, so it must be (B)."),
    ),
    "words": ("What is the capital of France?", "Paris", ("The capital of France is Paris.", "Paris", "It is Lyon.")),
    "yesno": ("Is the Sun a star?", "yes", ("Yes, the Sun is a star.", "The Sun is a star.", "No.")),
    "math": (
        "How long is one piece? Put your final answer in \\boxed{}.",
        "\\frac{14}{3}",
        (
            STEPS + "Hence $\\boxed{\\frac{14}{3}}$.",
            STEPS + "Hence $\\boxed{\\frac{%d}{3}}$.",
            STEPS + "$\\boxed{%d.5}$",
            STEPS + "$x=\\boxed{\\sqrt{%d}}$",
        ),
    ),
    "exact": ("Reverse abc.", "cba", ("cba", "The answer is cba.", "abc")),
}
"""Type -> (prompt, gold, answers as models write them); %d is another number each time."""


def measure() -> dict[str, dict[str, float]]:
    """Type -> verdicts per second of CPU time on new texts, and on texts seen before."""
    return {kind: _speed(kind, *case) for kind, case in CASES.items()}


def _speed(kind: str, prompt: str, answer: str, forms: Sequence[str]) -> dict[str, float]:
    problem = Problem("speed", prompt, None, answer, {"type": kind})
    verify(forms[0], problem)  # loads what the type needs
    new: list[float] = []
    again: list[float] = []
    for round_ in range(ROUNDS):
        texts = [_text(kind, forms[i % len(forms)], round_ * TEXTS + i) for i in range(TEXTS)]
        final_part.cache_clear()
        new.append(_judged_per_s(texts, problem))
        again.append(_judged_per_s(texts, problem))
    return {"new": median(new), "again": median(again)}


def _text(kind: str, form: str, number: int) -> str:
    """A text that no other round has; bare forms stay answers alone."""
    if "%d" in form:
        return form % (number + 2)
    return f"{form} ({number})" if kind == "exact" else f"{number} tries. {form}"


def _judged_per_s(texts: Sequence[str], problem: Problem) -> float:
    start = _cpu_s()
    for text in texts:
        verify(text, problem)
    return len(texts) / max(_cpu_s() - start, 1e-9)


def _cpu_s() -> float:
    """CPU time of this process and of its children that still run, seconds."""
    return time.process_time() + sum(map(_of_child, _children()))


def _children() -> list[int]:
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in listed.split()]


def _of_child(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """The measurements as Markdown."""
    lines = ["| verdicts per second of one core | new texts | texts seen before |", "|---|---|---|"]
    lines += [f"| {kind} | {rates['new']:,.0f} | {rates['again']:,.0f} |" for kind, rates in found.items()]
    return [*lines, ""]
