"""Golds of public task files: every one passes its verifier, and what was made wrong of it fails.

A gold is the worked solution, the reference code, or the answer where a row has neither. The wrong ones are another
problem's reference, nothing, the prompt, and the reference with its answer altered
(posttrain_diag/tasks/problems/references.py).
"""

from __future__ import annotations

import gzip
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from posttrain_diag.tasks import load_tasks, verify
from posttrain_diag.tasks.problems.references import corrupted_completions, reference_completions
from posttrain_diag.types import Problem

FILES = ("gsm8k_test.jsonl", "math500_test.jsonl", "HumanEval.jsonl.gz", "mbpp.jsonl", "cruxeval.jsonl")
"""The files that are looked for; a missing one is left out."""
OTHERS = 16
"""Problems that a wrong reference is looked for in."""


@dataclass
class Golds:
    """What the verifiers of one file say of its golds and of wrong completions."""

    problems: int = 0
    golds: int = 0
    passed: int = 0
    """Accepted by the strict reading."""
    wrong: int = 0
    accepted: int = 0
    """Wrong completions accepted by the lenient reading."""
    errors: int = 0
    failing: tuple[str, ...] = ()
    """Ids of problems with a gold that does not pass."""
    cheated: tuple[str, ...] = ()
    """Ids of problems with a wrong completion that passes."""
    time_s: float = 0.0


def measure(folder: Path) -> dict[str, dict[str, object]]:
    """The golds of each known file in a folder."""
    return {name.partition(".")[0]: asdict(_golds(folder / name)) for name in FILES if (folder / name).exists()}


def _golds(path: Path) -> Golds:
    start = time.perf_counter()
    problems = _problems(path)
    found = Golds(problems=len(problems))
    for i, problem in enumerate(problems):
        others = [problems[(i + step) % len(problems)] for step in range(1, OTHERS + 1)]
        for text in reference_completions(problem):
            judged = verify(text, problem)
            found.golds += 1
            found.passed += judged.strict
            found.errors += judged.error is not None
            found.failing += () if judged.strict else (problem.id,)
        for text in corrupted_completions(problem, others):
            judged = verify(text, problem)
            found.wrong += 1
            found.accepted += judged.lenient
            found.errors += judged.error is not None
            found.cheated += (problem.id,) if judged.lenient else ()
    found.time_s = round(time.perf_counter() - start, 1)
    return found


def _problems(path: Path) -> tuple[Problem, ...]:
    if path.suffix != ".gz":
        return load_tasks(str(path), allow_code=True).problems
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        return load_tasks(str(plain), allow_code=True).problems


def table(found: dict[str, dict[str, object]]) -> list[str]:
    """The measurements as Markdown."""
    lines = [
        "| golds of | problems | golds | pass | wrong completions | accepted | cannot be judged |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, golds in found.items():
        cells = (golds[key] for key in ("problems", "golds", "passed", "wrong", "accepted", "errors"))
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return [*lines, ""]
