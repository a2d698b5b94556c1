"""What a stage gets: problems to train on, to watch and to be measured on, tasks to keep, other models."""

from __future__ import annotations

from dataclasses import dataclass

from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.stages.record import Need, needs_met
from posttrain_diag.tasks.problems.split import rank_of
from posttrain_diag.types import Problem

RETAIN_SPLIT = 0
"""Seed of the split of the tasks to retain; it is the same for every stage of a plan."""


@dataclass(frozen=True)
class StageInputs:
    """Everything a stage may use. Problems of `train`, `watched` and `held_out` are disjoint."""

    model: str
    """Directory of the model that is trained."""
    train: tuple[Problem, ...]
    watched: tuple[Problem, ...]
    """Problems looked at while training, for early stopping and for the choice of the best checkpoint; never trained
    on."""
    held_out: tuple[Problem, ...]
    """Problems on which alone every claim about the stage is measured."""
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
        ranked = sorted(self.retain, key=lambda problem: rank_of(problem.id, RETAIN_SPLIT))
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
