"""Which problems a run trains on and which it measures on; every claim is made on the latter alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.autopilot import AutopilotConfig
from posttrain_diag.tasks import load_tasks, with_demos, write_tasks
from posttrain_diag.tasks.problems.split import split_tasks, without_held_out
from posttrain_diag.tasks.problems.taskset import tasks_sha
from posttrain_diag.types import Problem

FEWEST_HELD_OUT = 6
"""Fewest held-out problems: with fewer no paired difference is significant, since 2/2^5 is more than .05."""
FEWEST_TRAINED = 4


@dataclass(frozen=True)
class RunProblems:
    """The problems of a run; those in `train` and those in `held_out` are disjoint."""

    train: tuple[Problem, ...]
    held_out: tuple[Problem, ...]
    retain: tuple[Problem, ...]
    """Problems whose pass rate should stay."""
    notes: tuple[str, ...]
    """Choices that were made for the user, in words."""

    @property
    def shas(self) -> Mapping[str, str]:
        """Hashes of the problems' contents: the same command on files that changed is another run."""
        parts = {"training": self.train, "held-out": self.held_out, "retained": self.retain}
        return {name: tasks_sha(problems) for name, problems in parts.items()}

    def write(self, folder: Path) -> None:
        """Write train.jsonl and held-out.jsonl, which analyses and stages read, and which a command by hand takes."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tasks(self.train, folder / "train.jsonl")
        write_tasks(self.held_out, folder / "held-out.jsonl")


def problems_of(config: AutopilotConfig) -> RunProblems:
    """Read the tasks and divide them into problems to train on and held-out ones.

    Raises:
        UsageError: there are too few problems to train and to measure on.
        DiagError: a file cannot be used.
    """
    tasks = _load(config, config.tasks)
    given = None if config.train_tasks is None else _load(config, config.train_tasks)
    if config.demos is not None:
        sets = (tasks,) if given is None else (tasks, given)
        tasks, *more = with_demos(config.demos, *sets)
        given = more[0] if more else None
    notes: list[str] = []
    if given is None:
        train, held_out = split_tasks(tasks, seed=config.seed)
        notes.append(f"{len(held_out)} of the {len(tasks)} problems are held out (--train-tasks FILE trains on others)")
    else:
        train, notes = without_held_out(given, tasks)
        held_out = tasks
    if len(held_out) < FEWEST_HELD_OUT or len(train) < FEWEST_TRAINED:
        more = "more problems, or --train-tasks FILE beside --tasks FILE" if given is None else "more of them"
        raise UsageError(
            f"{len(train)} problems to train on and {len(held_out)} held out for measuring are too few: at least "
            f"{FEWEST_TRAINED} and {FEWEST_HELD_OUT} are needed; give {more}"
        )
    retain = () if config.retain is None else load_tasks(config.retain, allow_code=config.allow_code).problems
    return RunProblems(train, held_out, retain, tuple(notes))


def _load(config: AutopilotConfig, source: str) -> tuple[Problem, ...]:
    return load_tasks(
        source,
        mapping=config.mapping or None,
        verifier=config.verifier,
        limit=config.limit,
        allow_code=config.allow_code,
    ).problems
