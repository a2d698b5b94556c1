"""What `diag run` was asked for: config.yaml of its folder, and the settings that its analyses get."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.analysis import AnalyzeConfig, Effort, make_config
from posttrain_diag.settings.stage import load_stage_config

RESUMED = "the same command goes on with it; choose another --out for this one (nothing was changed)"


class AutopilotConfig(BaseModel):
    """Everything `diag run` was asked for, but for where it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    tasks: str
    train_tasks: str | None = None
    demos: str | None = None
    teacher: tuple[str, ...] = ()
    sibling: tuple[str, ...] = ()
    retain: str | None = None
    target: float = Field(default=0.95, gt=0, le=1, description="pass@1 on the held-out problems that is enough")
    keep: float = Field(default=0.95, gt=0, le=1, description="share of the start's retention that must remain")
    budget_tokens: int | None = Field(default=None, ge=1, description="tokens of the whole run; None: no limit")
    max_stages: int = Field(default=6, ge=1, description="stages run at most, kept or not")
    pilot: bool = Field(default=False, description="short runs of the best stages before one is chosen")
    settings: dict[str, Any] = Field(default_factory=dict, description="stage settings of --config and --set")
    effort: Effort = "standard"
    rollouts: int | None = Field(default=None, ge=1)
    rollout_budget: int = Field(default=256, ge=2)
    max_new_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, gt=0, description="above 0: training needs draws that differ")
    seed: int = 0
    mapping: dict[str, str] = Field(default_factory=dict)
    verifier: str | None = None
    allow_code: bool = False
    template: str | None = None
    chat_template: bool | None = None
    system_prompt: str | None = None
    device: str | None = None
    trust_remote_code: bool = False

    @property
    def runs_code(self) -> bool:
        """Whether the problems' verifiers may run code: the user allowed it, or named one."""
        return self.allow_code or self.verifier is not None

    def analysis(self, model: str, tasks: Path, out: Path, teachers: tuple[str, ...], **more: Any) -> AnalyzeConfig:
        """The analysis of one model of the run.

        Args:
            model: directory, hub id or zoo:NAME.
            tasks: folder with held-out.jsonl and train.jsonl.
            out: its run directory.
            teachers: other models to compare with.
            more: settings that differ from those of the other analyses.
        """
        shared = self.model_dump(
            include={
                "retain", "effort", "rollouts", "rollout_budget", "max_new_tokens", "temperature", "seed", "template",
                "chat_template", "system_prompt", "device", "trust_remote_code",
            }
        )  # fmt: skip
        return make_config(
            model=model,
            tasks=str(tasks / "held-out.jsonl"),
            train_tasks=str(tasks / "train.jsonl"),
            out=out,
            teacher=teachers,
            **{**shared, "allow_code": self.runs_code, **more},
        )


def make_autopilot_config(
    *, config_file: Path | None = None, settings: Mapping[str, Any] | None = None, **values: Any
) -> AutopilotConfig:
    """Build a config; a bad value is one line naming the flag, the value and what is accepted.

    Args:
        config_file: YAML file of stage settings.
        settings: stage settings given one by one; they win over the file.
        values: fields of `AutopilotConfig`.

    Raises:
        UsageError: a value is out of range or of the wrong type, here or among the stage settings.
    """
    said = load_stage_config(config_file, **(settings or {})).model_dump(mode="json", exclude_unset=True)
    try:
        return AutopilotConfig(settings=said, **values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + ".".join(str(part) for part in first["loc"]).replace("_", "-")
        raise UsageError(f"{flag}: got {first.get('input')!r}; {first['msg']}") from error


def check_same(known: Mapping[str, Any], config: AutopilotConfig, out: Path) -> None:
    """Refuse to go on with a folder that another command began.

    Args:
        known: config.yaml of the folder.
        config: of this command.
        out: the folder.

    Raises:
        UsageError: they differ; names in what.
    """
    asked = config.model_dump(mode="json")
    names = {"model": "MODEL", "settings": "--config/--set", "mapping": "--map"}
    differing = [
        f"{names.get(key, '--' + key.replace('_', '-'))} ({known.get(key)!r}, now {asked.get(key)!r})"
        for key in [*asked, *(key for key in known if key not in asked)]
        if known.get(key) != asked.get(key)
    ]
    if differing:
        raise UsageError(f"{out}: holds a run with another {' and '.join(differing)}; {RESUMED}")
