"""What a user may set for a training stage, with the defaults and their reasons.

One config holds the settings of all stages; which of them a stage reads stands in its record (`stages/catalogue.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from posttrain_diag.settings.block import build, read_settings
from posttrain_diag.settings.model import ModelSettings
from posttrain_diag.settings.prompt import PromptSettings
from posttrain_diag.settings.sampling import TrainingDrawSettings

PreferenceLoss = Literal["sigmoid+sft", "sigmoid", "ipo", "kto", "simpo", "orpo"]
Search = Literal["best-of-n", "majority"]
Merge = Literal["interpolate", "soup", "task-vectors"]
DemoStyle = Literal["as-given", "rewritten", "probability-weighted"]
TeacherTarget = Literal["text", "logits"]

WATCHED = 32
"""Number of problems that are looked at while training, where the user sets none."""
RETENTION_WEIGHT = 0.5
"""A point of pass@1 lost on retained tasks counts as half a point on the tasks that a stage is for."""


class StageConfig(TrainingDrawSettings, PromptSettings, ModelSettings):
    """The settings of all stages; one that the chosen stage does not read is refused where a person gives it."""

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
    demo_style: DemoStyle = Field(default="rewritten", description="sft-model-aware: how the own style is kept")
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
    bf16: bool | None = Field(
        default=None, description="compute in bfloat16 over float32 weights; None: on GPUs that have it"
    )
    use_vllm: bool = Field(default=False, description="RL and on-policy distillation: rollouts by vLLM, through TRL")
    vllm_memory: float = Field(default=0.3, gt=0, lt=1, description="share of each GPU's memory that vLLM takes")
    gradient_checkpointing: bool | None = Field(default=None, description="None: on a GPU from a billion weights on")
    report_to: tuple[str, ...] = Field(default=(), description="wandb, tensorboard, mlflow, ...: what TRL reports to")

    @model_validator(mode="before")
    @classmethod
    def _under_present_names(cls, data: Any) -> Any:
        return present_names(data) if isinstance(data, Mapping) else data

    @property
    def micro(self) -> int:
        """How many sequences a device works on at once."""
        return min(self.micro_batch or self.batch_size, self.batch_size)


def present_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Stage settings under their present names and values.

    `demo_style` was called `demos` once, and its value `as-given` was `demos` too; folders of that time, commands and
    settings files go on working. Where both names are given the old one stays, and is refused as unknown.
    """
    if "demos" not in settings or "demo_style" in settings:
        return dict(settings)
    value = "as-given" if settings["demos"] == "demos" else settings["demos"]
    return {
        ("demo_style" if name == "demos" else name): (value if name == "demos" else v) for name, v in settings.items()
    }


def first_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Stage settings under the names they first had, by which folders are named: undoes `present_names`."""
    style = settings.get("demo_style")
    first = "demos" if style == "as-given" else style
    return {
        ("demos" if name == "demo_style" else name): (first if name == "demo_style" else v)
        for name, v in settings.items()
    }


def make_stage_config(**values: Any) -> StageConfig:
    """Build a stage configuration from what a person asked for.

    Raises:
        UsageError: an unknown setting, or a value out of range or of the wrong type; the message is one line that
            names the setting, the value and what is accepted.
    """
    return build(StageConfig, values, called=lambda name: f"stage setting {name}", what="stage setting")


def said_settings(path: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The stage settings that a person gave, by name, in JSON form: those of a YAML file, then those given one by one.

    Args:
        path: path of the file; None: there is none.
        given: settings given one by one, which win; a value of None counts as not given.

    Raises:
        UsageError: the file cannot be read, or there is an unknown setting or a wrong value.
    """
    said = {} if path is None else read_settings(path, missing="--config takes a YAML file of stage settings")
    said |= {name: value for name, value in given.items() if value is not None}
    return make_stage_config(**said).model_dump(mode="json", exclude_unset=True)
