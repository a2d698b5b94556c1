"""What `diag analyze` was asked for: config.yaml of a run directory, composed of blocks.

What an analysis and a whole `diag run` have in common is `DiagnosisSettings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain_diag.settings.block import Block, build, read_settings
from posttrain_diag.settings.engine import EngineSettings, refuse_unread
from posttrain_diag.settings.sampling import SamplingSettings
from posttrain_diag.settings.tasks import TaskSettings

Effort = Literal["quick", "standard", "thorough"]
Allocation = Literal["adaptive", "uniform"]
StoreKind = Literal["sqlite", "parquet"]

ROLLOUTS_BY_EFFORT: dict[Effort, int] = {"quick": 16, "standard": 64, "thorough": 256}
"""Mean draws per problem for each effort. 64 zeros bound p below 4.6%; 16 draws only separate the extremes."""

LADDER_BY_EFFORT: dict[Effort, int] = {"quick": 8, "standard": 16, "thorough": 32}
"""Draws of the prefix ladder per problem, prefix share and arm, for each effort."""

TEACHER_ROLLOUTS_BY_EFFORT: dict[Effort, int] = {"quick": 16, "standard": 16, "thorough": 32}
"""Draws per problem of each other model, for each effort: enough to tell solved from not, which is all that is asked of
it."""

RESOLVED = 0.95
"""A problem is resolved when the posterior of one class reaches this."""


class SupportSettings(Block):
    """What counts as effective support."""

    rollout_budget: int = Field(default=256, ge=2, description="draws per prompt an RL stage can afford; eps = 1/B")

    @property
    def eps(self) -> float:
        """The threshold of effective support: one expected success in the rollout budget of one prompt."""
        return 1.0 / self.rollout_budget


class VerdictSettings(SupportSettings):
    """The settings that a verdict depends on beside the draws."""

    mastery: float = Field(default=0.8, gt=0.0, lt=1.0)
    level: float = Field(default=0.9, gt=0.0, lt=1.0)


class DiagnosisSettings(TaskSettings, SupportSettings):
    """Which model is diagnosed on which tasks, beside which other models and tasks, and at what length."""

    model: str
    teacher: tuple[str, ...] = Field(default=(), description="other models: directory, hub id, zoo:NAME")
    sibling: tuple[str, ...] = Field(
        default=(), description="other checkpoints of one architecture; for an analysis also the runs of theirs"
    )
    train_tasks: str | None = Field(default=None, description="what a stage trains on, instead of a split of the tasks")
    retain: str | None = Field(default=None, description="tasks whose pass rate should stay: replayed by a stage")
    effort: Effort = "standard"
    rollouts: int | None = Field(default=None, ge=1, description="mean draws per problem; None: by effort")

    @property
    def rollouts_per_problem(self) -> int:
        """Mean draws per problem: the user's number, else the one that the effort stands for."""
        return self.rollouts if self.rollouts is not None else ROLLOUTS_BY_EFFORT[self.effort]


class AnalyzeConfig(DiagnosisSettings, VerdictSettings, SamplingSettings, EngineSettings):
    """Everything `diag analyze` was asked for."""

    out: Path
    allocation: Allocation = "adaptive"
    store: StoreKind = "sqlite"


def make_config(**values: Any) -> AnalyzeConfig:
    """Build a configuration from what a person asked for.

    Raises:
        UsageError: a value is out of range or of the wrong type, or the chosen engine does not read a setting.
    """
    config = build(AnalyzeConfig, values)
    refuse_unread(config)
    return config


def load_config(path: Path) -> AnalyzeConfig:
    """Read config.yaml of a run directory, which may hold settings that its engine does not read.

    Raises:
        UsageError: the file is missing, is not YAML, or carries unknown or wrong values.
    """
    return build(AnalyzeConfig, read_settings(path, missing="give MODEL and --tasks, or --out of an existing run"))
