"""The one config tree of an analysis: what a user may set, with the defaults and their reasons.

`AnalyzeConfig` is the file boundary (config.yaml) and therefore a pydantic model; unknown keys are errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.tasks import TaskSettings
from posttrain_diag.types import SamplingParams

Effort = Literal["quick", "standard", "thorough"]
Allocation = Literal["adaptive", "uniform"]
EngineName = Literal["hf", "vllm", "openai", "ray"]
WorkerEngine = Literal["hf", "vllm", "openai"]
StoreKind = Literal["sqlite", "parquet"]

ROLLOUTS_BY_EFFORT: dict[Effort, int] = {"quick": 16, "standard": 64, "thorough": 256}
"""Mean draws per problem. 64 zeros bound p below 4.6% (SCIENCE rule 2); 16 only separates the extremes."""

LADDER_BY_EFFORT: dict[Effort, int] = {"quick": 8, "standard": 16, "thorough": 32}
"""Draws per problem, prefix share and arm of the prefix ladder."""

TEACHER_ROLLOUTS_BY_EFFORT: dict[Effort, int] = {"quick": 16, "standard": 16, "thorough": 32}
"""Draws per problem of each other model: enough to tell solved from not, which is all that is asked of it."""

RESOLVED = 0.95
"""A problem is resolved when one class posterior reaches this."""


class AnalyzeConfig(TaskSettings):
    """Everything `diag analyze` was asked for."""

    model: str
    out: Path
    engine: EngineName = "hf"
    vllm_python: str | None = Field(default=None, description="vllm: interpreter of the environment that has vLLM")
    base_url: str | None = Field(default=None, description="openai: e.g. http://127.0.0.1:8000/v1")
    api_key_env: str = Field(default="OPENAI_API_KEY", description="openai: environment variable that holds the key")
    concurrency: int = Field(default=16, ge=1, description="openai: requests in flight")
    tokenizer: str | None = Field(default=None, description="openai: directory or hub id of the served model's files")
    ray_address: str | None = Field(default=None, description="ray: cluster address; None: RAY_ADDRESS, else local")
    ray_workers: int | None = Field(default=None, ge=1, description="ray: engines in the cluster; None: as many as fit")
    ray_engine: WorkerEngine = Field(default="hf", description="ray: the engine each worker runs")
    store: StoreKind = "sqlite"
    effort: Effort = "standard"
    rollouts: int | None = Field(default=None, ge=1, description="mean draws per problem; None: by effort")
    allocation: Allocation = "adaptive"
    temperature: float = Field(default=1.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, lt=1.0)
    max_new_tokens: int | None = Field(default=None, ge=1, description="None: from the references' lengths")
    seed: int = 0
    rollout_budget: int = Field(default=256, ge=2, description="draws per prompt an RL stage can afford; eps = 1/B")
    mastery: float = Field(default=0.8, gt=0.0, lt=1.0)
    level: float = Field(default=0.9, gt=0.0, lt=1.0)
    teacher: tuple[str, ...] = Field(default=(), description="other models: directory, hub id, zoo:NAME")
    train_tasks: str | None = Field(default=None, description="what `diag train` would train on, instead of a split")
    retain: str | None = Field(default=None, description="tasks whose pass rate should stay: replayed by a stage")
    template: str | None = None
    chat_template: bool | None = None
    system_prompt: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_rows: int | None = Field(default=None, ge=1)
    trust_remote_code: bool = False

    @property
    def rollouts_per_problem(self) -> int:
        """Mean draws per problem after the effort dial."""
        return self.rollouts if self.rollouts is not None else ROLLOUTS_BY_EFFORT[self.effort]

    @property
    def eps(self) -> float:
        """Effective-support threshold: one expected success in the rollout budget of one prompt."""
        return 1.0 / self.rollout_budget

    def sampling(self, max_new_tokens: int) -> SamplingParams:
        """The sampling law of the main arm."""
        return SamplingParams(self.temperature, self.top_p, self.top_k, max_new_tokens, self.seed, self.min_p)


def make_config(**values: Any) -> AnalyzeConfig:
    """Build a config; a bad value is one line naming the flag, the value and what is accepted.

    Raises:
        UsageError: a value is out of range or of the wrong type.
    """
    try:
        return AnalyzeConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + ".".join(str(part) for part in first["loc"]).replace("_", "-")
        raise UsageError(f"{flag}: got {first.get('input')!r}; {first['msg']}") from error


def load_config(path: Path) -> AnalyzeConfig:
    """Read config.yaml of a run directory.

    Raises:
        UsageError: the file is missing, is not YAML, or carries unknown or wrong values.
    """
    import yaml

    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; give MODEL and --tasks, or --out of an existing run") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return make_config(**values)
