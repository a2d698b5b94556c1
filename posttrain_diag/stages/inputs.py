"""What a stage gets: problems to train on, to watch and to be measured on, tasks to keep, other models."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.analysis import HELD_OUT
from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.stages.record import Need, needs_met
from posttrain_diag.types import Problem

RETAIN_SPLIT = 0
"""Seed of the split of the tasks to retain: the same for every stage of a plan."""
MOST_WATCHED = 0.2
"""At most this share of the training problems is taken out for watching."""


@dataclass(frozen=True)
class StageInputs:
    """Everything a stage may use. Problems of `train`, `watched` and `held_out` are disjoint."""

    model: str
    """Directory."""
    train: tuple[Problem, ...]
    watched: tuple[Problem, ...]
    """Looked at while training, for early stopping and for the choice of the best checkpoint; never trained on."""
    held_out: tuple[Problem, ...]
    """Every claim about the stage is measured on these alone."""
    retain: tuple[Problem, ...] = ()
    """Tasks whose pass rate should stay; replay draws from one half, retention is measured on the other."""
    teachers: tuple[str, ...] = ()
    """Directories of models that give targets."""
    siblings: tuple[str, ...] = ()
    """Directories of earlier or parallel checkpoints of the same architecture."""

    @property
    def replayed(self) -> tuple[Problem, ...]:
        """The retained problems that may be trained on: half of them, by a hash of the id.

        Not every other one: where lengths or families take turns, the two halves would be of different kinds.
        """
        ranked = sorted(self.retain, key=lambda problem: _rank(problem.id, RETAIN_SPLIT))
        chosen = {problem.id for problem in ranked[: (len(ranked) + 1) // 2]}
        return tuple(problem for problem in self.retain if problem.id in chosen)

    @property
    def retained(self) -> tuple[Problem, ...]:
        """The retained problems that retention is measured on."""
        replayed = {problem.id for problem in self.replayed}
        return tuple(problem for problem in self.retain if problem.id not in replayed) or self.retain

    @property
    def there(self) -> frozenset[Need]:
        """What stages may need and these inputs hold; every problem carries a verifier."""
        return needs_met(
            demos=any(problem.demos for problem in self.train),
            pairs=any(problem.pairs for problem in self.train),
            teacher=bool(self.teachers),
            siblings=bool(self.siblings),
            retained=bool(self.retain),
        )

    def missing(self, stage: str) -> tuple[str, ...]:
        """What a stage needs and these inputs lack, in words.

        Raises:
            UsageError: there is no such stage.
        """
        return stage_record(stage).lacks(self.there)


def split_tasks(problems: Sequence[Problem], *, seed: int) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Seeded split by problem, each held out with chance 0.3: (to train on, held out).

    A problem's side does not depend on the others, so that more problems leave the known ones where they are.

    Raises:
        UsageError: too few problems to hold any out.
    """
    if len(problems) < 4:
        raise UsageError(
            f"{len(problems)} problems are too few to train on some and measure on others: give at least 4, or "
            "--train-tasks FILE beside --tasks FILE"
        )
    ranked = sorted(problems, key=lambda problem: _rank(problem.id, seed))
    limit = int(HELD_OUT * 2**64).to_bytes(8, "big")
    count = sum(_rank(problem.id, seed) < limit for problem in ranked)
    held = {problem.id for problem in ranked[: min(max(1, count), len(ranked) - 1)]}  # neither side is empty
    return (
        tuple(problem for problem in problems if problem.id not in held),
        tuple(problem for problem in problems if problem.id in held),
    )


def take_watched(train: Sequence[Problem], most: int, *, seed: int) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """(to train on, to watch): at most `most` problems and a fifth of them all are watched."""
    count = min(most, int(MOST_WATCHED * len(train)))
    watched = {problem.id for problem in sorted(train, key=lambda p: _rank(p.id, seed + 1))[:count]}
    return (
        tuple(problem for problem in train if problem.id not in watched),
        tuple(problem for problem in train if problem.id in watched),
    )


def _rank(problem_id: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}|{problem_id}".encode(), digest_size=8).digest()


def some(problems: Sequence[Problem], most: int, *, seed: int) -> tuple[Problem, ...]:
    """At most `most` of the problems, seeded, in their order."""
    if len(problems) <= most:
        return tuple(problems)
    picked = set(random.Random(seed).sample(range(len(problems)), most))
    return tuple(problem for i, problem in enumerate(problems) if i in picked)
