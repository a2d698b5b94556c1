"""Siblings that were analysed already: the counts of their run stand in for draws, where tasks and sampling agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from posttrain_diag.errors import UsageError
from posttrain_diag.evidence import MAIN
from posttrain_diag.store import RunDir
from posttrain_diag.store.base import TALLIED
from posttrain_diag.tasks import load_tasks, verifier_sha
from posttrain_diag.types import Problem, SamplingParams

LAW = ("temperature", "top_p", "top_k", "min_p", "stop")
"""What must be alike of two sampling laws before their success probabilities are compared."""
_OFF = {"min_p": 0.0, "stop": []}
"""Values of settings that a run directory leaves out where they are off."""
_SHOWN = 3


@dataclass(frozen=True)
class SiblingRun:
    """A finished run of another checkpoint on the same problems."""

    path: str
    """As the user named it."""
    model: str
    model_sha: str
    tallies: pd.DataFrame
    """Its main arm as `Evidence.teachers` holds it, tokens 0: nothing is generated for it here."""
    sampling: dict[str, Any]
    """The sampling law as diagnosis.json shows it."""


def is_run(name: str) -> bool:
    """Whether a sibling is named by a run directory and not as a model."""
    return (Path(name) / "run.json").is_file()


def read_siblings(
    names: tuple[str, ...], problems: tuple[Problem, ...], sampling: SamplingParams
) -> dict[str, SiblingRun]:
    """The runs among the named siblings, by name; the others are models, which are drawn from.

    Args:
        names: as `--sibling` gives them.
        problems: the problems of this analysis.
        sampling: its sampling law; the token cap may differ, for it can come from pilot draws.

    Raises:
        UsageError: a run holds imported counts, lacks problems of this analysis, has them with another prompt, gold or
            verifier, or was drawn under another law.
        StoreError: a run is unfinished or damaged.
    """
    found = {name: _read(name, problems) for name in names if is_run(name)}
    for sibling in found.values():
        _refuse_another_law(sibling, sampling)
    return found


def cap_note(sibling: SiblingRun, sampling: SamplingParams) -> str:
    """What to know of a run with another token cap; empty where the caps are alike."""
    there, here = sibling.sampling.get("max_new_tokens"), sampling.max_new_tokens
    return "" if there == here else f"{sibling.path}: drawn with a token cap of {there}, this analysis with {here}"


def _refuse_another_law(sibling: SiblingRun, sampling: SamplingParams) -> None:
    own = sampling.shown()
    for key in LAW:
        here, there = (law.get(key, _OFF.get(key)) for law in (own, sibling.sampling))
        if here != there:
            raise UsageError(
                f"--sibling {sibling.path}: was drawn with {key} {there!r}, this analysis with {here!r}: success "
                "probabilities are not comparable. Analyse both with the same sampling settings, or name the "
                f"sibling's model ({sibling.model}) to draw from it here"
            )


def _read(name: str, problems: tuple[Problem, ...]) -> SiblingRun:
    run = RunDir(Path(name))
    data = run.read_json("diagnosis.json")
    if not data["model"].get("model_sha") or not (run.path / "model.json").is_file():
        raise UsageError(
            f"--sibling {name}: holds imported counts, which do not say under which prompts and sampling law they were "
            "drawn; give a run of `diag analyze`, or the sibling's model"
        )
    known = {problem.id: problem for problem in load_tasks(str(run.path / "tasks.jsonl"), allow_code=True).problems}
    _refuse_other_tasks(name, problems, known)
    counts = run.read_problems().set_index("id").loc[[problem.id for problem in problems]]
    tallies = counts.reindex(columns=[*TALLIED], fill_value=0).astype(int)
    tallies.insert(0, "arm", MAIN)
    return SiblingRun(
        path=name,
        model=str(data["model"].get("model")),
        model_sha=str(data["model"]["model_sha"]),
        tallies=tallies.reset_index(names="problem_id"),
        sampling=dict(data["sampling"]),
    )


def _refuse_other_tasks(name: str, problems: tuple[Problem, ...], known: dict[str, Problem]) -> None:
    """Raise where the run was not on these problems.

    Raises:
        UsageError: see `read_siblings`.
    """
    shared = [(problem, known[problem.id]) for problem in problems if problem.id in known]
    faults = {
        "are not in it": [problem.id for problem in problems if problem.id not in known],
        "have another prompt there": [
            one.id for one, other in shared if (one.prompt, one.messages) != (other.prompt, other.messages)
        ],
        "have another gold or verifier there": [
            one.id for one, other in shared if verifier_sha(one) != verifier_sha(other)
        ],
    }
    for what, ids in faults.items():
        if ids:
            some = ", ".join(map(repr, ids[:_SHOWN])) + (f" and {len(ids) - _SHOWN} more" if ids[_SHOWN:] else "")
            raise UsageError(
                f"--sibling {name}: was analysed on other tasks: {len(ids)} of these {len(problems)} problems {what} "
                f"({some}). Analyse the sibling on these tasks, or name its model to draw from it here"
            )
