"""What a user may set for a training stage, with the defaults and their reasons; the same tree for every stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from posttrain_diag.errors import UsageError

PreferenceLoss = Literal["sigmoid+sft", "sigmoid", "ipo", "kto", "simpo", "orpo"]
Search = Literal["best-of-n", "majority"]
Merge = Literal["interpolate", "soup", "task-vectors"]
DemoSource = Literal["demos", "rewritten", "probability-weighted"]
TeacherTarget = Literal["text", "logits"]

WATCHED = 32
"""Problems that are looked at while training, where the user says nothing."""
RETENTION_WEIGHT = 0.5
"""A point of pass@1 lost on retained tasks counts as half a point on the tasks that a stage is for."""


class StageConfig(BaseModel):
    """Settings of one stage; what a stage does not use is ignored by it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int | None = Field(default=None, ge=1, description="optimizer steps; None: the stage's own number")
    budget_tokens: int | None = Field(default=None, ge=1, description="stop after so many generated and trained tokens")
    learning_rate: float | None = Field(default=None, gt=0, description="peak; None: the stage's own")
    batch_size: int = Field(
        default=128, ge=1, description="sequences per optimizer step, over all devices; a pair is 2"
    )
    micro_batch: int | None = Field(
        default=None, ge=1, description="sequences per device at once; None: as many as fit"
    )
    warmup_steps: int = Field(default=10, ge=0)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    max_new_tokens: int | None = Field(default=None, ge=1, description="cap of a draw; None: from the references")
    temperature: float = Field(default=1.0, gt=0)
    seed: int = 0
    lora_rank: int = Field(default=0, ge=0, description="0 trains all weights")
    lora_alpha: int | None = Field(default=None, ge=1, description="None: twice the rank")
    replay: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of retained tasks in a batch; beside RL, of its rows; None: the stage's own",
    )
    kl: float = Field(default=0.0, ge=0, description="weight of the KL to the starting policy in RL")
    group_size: int = Field(default=8, ge=2, description="RL: draws per prompt")
    rounds: int = Field(default=1, ge=1, description="rft, online-preference: draw, train, draw again")
    own_rollouts: int = Field(default=32, ge=1, description="self-training: draws per problem and round")
    keep_per_problem: int = Field(default=4, ge=1, description="self-training: passing draws kept per problem")
    loss: PreferenceLoss = "sigmoid+sft"
    beta: float | None = Field(default=None, gt=0, description="preference losses: their beta; None: 0.1, for simpo 2")
    demos: DemoSource = Field(default="rewritten", description="sft-model-aware: how the own style is kept")
    target: TeacherTarget = Field(default="text", description="distill-offline: texts, or logits too")
    search: Search = Field(default="best-of-n", description="search-transfer: how the search picks")
    merge: Merge = "interpolate"
    hint_share: float = Field(default=0.9, gt=0, lt=1, description="guided-rl: share of a demonstration shown at first")
    process_branches: int = Field(default=4, ge=1, description="process-rl: continuations behind each value")
    watch_every: int = Field(default=25, ge=1, description="optimizer steps between two looks at the probe problems")
    watch_problems: int = Field(default=WATCHED, ge=1, description="probe problems, kept out of training")
    watch_rollouts: int = Field(default=8, ge=1)
    target_pass_rate: float | None = Field(default=None, gt=0, le=1, description="stop at this pass@1 on the probe")
    zero_steps: int = Field(default=50, ge=1, description="RL: stop after so many steps without one success")
    stop_on_collapse: bool = False
    eval_problems: int = Field(default=64, ge=1, description="held-out problems before and after")
    eval_rollouts: int = Field(default=64, ge=1)
    device: str | None = None
    bf16: bool | None = Field(
        default=None, description="compute in bfloat16 over float32 weights; None: on GPUs that have it"
    )
    use_vllm: bool = Field(default=False, description="RL and on-policy distillation: rollouts by vLLM, through TRL")
    vllm_memory: float = Field(default=0.3, gt=0, lt=1, description="share of each GPU's memory that vLLM takes")
    gradient_checkpointing: bool | None = Field(default=None, description="None: on a GPU from a billion weights on")
    report_to: tuple[str, ...] = Field(default=(), description="wandb, tensorboard, mlflow, ...: what TRL reports to")
    template: str | None = None
    chat_template: bool | None = None
    system_prompt: str | None = None
    trust_remote_code: bool = False

    @property
    def micro(self) -> int:
        """Sequences per device at once."""
        return min(self.micro_batch or self.batch_size, self.batch_size)


def make_stage_config(**values: Any) -> StageConfig:
    """Build a config; a bad value is one line naming the setting, the value and what is accepted.

    Raises:
        UsageError: an unknown setting, or a value out of range or of the wrong type.
    """
    try:
        return StageConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UsageError(
                f"unknown stage setting {name!r}; there are: {', '.join(StageConfig.model_fields)}"
            ) from error
        raise UsageError(f"stage setting {name}: got {first.get('input')!r}; {first['msg']}") from error


def load_stage_config(path: Path | None, *, defaults: Mapping[str, Any] | None = None, **overrides: Any) -> StageConfig:
    """A YAML file of settings, with what the command line says on top.

    Args:
        path: of the file; None: there is none.
        defaults: what holds where the file says nothing.
        overrides: what the command line says; None says nothing.

    Raises:
        UsageError: the file is missing, is no mapping, or holds unknown or wrong values.
    """
    import yaml

    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except FileNotFoundError as error:
            raise UsageError(f"{path}: no such file; --config takes a YAML file of stage settings") from error
        except yaml.YAMLError as error:
            raise UsageError(f"{path}: not valid YAML: {error}") from error
        if not isinstance(values, dict):
            raise UsageError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    said = {key: value for key, value in overrides.items() if value is not None}
    return make_stage_config(**{**(defaults or {}), **values, **said})
