"""What a stage gets: problems to train on, to watch and to be measured on, tasks to keep, other models."""

from __future__ import annotations

from dataclasses import dataclass

from posttrain_diag.stages.catalogue import Need, stage_card
from posttrain_diag.tasks.problems.split import rank_of
from posttrain_diag.types import Problem

RETAIN_SPLIT = 0
"""Seed of the split of the tasks to retain: the same for every stage of a plan."""


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
        ranked = sorted(self.retain, key=lambda problem: rank_of(problem.id, RETAIN_SPLIT))
        chosen = {problem.id for problem in ranked[: (len(ranked) + 1) // 2]}
        return tuple(problem for problem in self.retain if problem.id in chosen)

    @property
    def retained(self) -> tuple[Problem, ...]:
        """The retained problems that retention is measured on."""
        replayed = {problem.id for problem in self.replayed}
        return tuple(problem for problem in self.retain if problem.id not in replayed) or self.retain

    def missing(self, stage: str) -> tuple[str, ...]:
        """What a stage needs and these inputs lack, in words."""
        return tuple(_LACK[need] for need in stage_card(stage).needs if not self._has(need))

    def _has(self, need: Need) -> bool:
        match need:
            case "demos":
                return any(problem.demos for problem in self.train)
            case "pairs":
                return any(problem.pairs for problem in self.train)
            case "teacher":
                return bool(self.teachers)
            case "siblings":
                return bool(self.siblings)
            case "retained_tasks":
                return bool(self.retain)
            case "verifier" | "own_rollouts":
                return True  # every problem carries a verifier, and the policy can be sampled


_LACK: dict[Need, str] = {
    "demos": "demonstrations (a `demos` field in the training tasks, or --demos FILE)",
    "pairs": "preference pairs (a `pairs` field with `chosen` and `rejected` in the training tasks)",
    "teacher": "a teacher (--teacher MODEL)",
    "siblings": "another checkpoint of the same architecture (--sibling MODEL)",
    "retained_tasks": "tasks to retain (--retain FILE)",
}
