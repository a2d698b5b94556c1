"""What `diag run` was asked for: config.yaml of its folder, and the settings that its analyses get."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.analysis import AnalyzeConfig, DiagnosisSettings, make_config
from posttrain_diag.settings.block import build, flag_of
from posttrain_diag.settings.model import ModelSettings
from posttrain_diag.settings.prompt import PromptSettings
from posttrain_diag.settings.sampling import DrawSettings, TrainingDrawSettings
from posttrain_diag.settings.stage import first_names, present_names, said_settings

RESUMED = "the same command goes on with it; choose another --out for this one (nothing was changed)"
_HANDED_ON = frozenset(
    {"retain", "effort", "rollouts", "rollout_budget"}
    | {*DrawSettings.model_fields, *PromptSettings.model_fields, *ModelSettings.model_fields}
)
"""Settings of a run that each of its analyses gets unchanged."""
_NAMED_BY = (
    "model", "tasks", "train_tasks", "demos", "teacher", "sibling", "retain", "target", "keep", "budget_tokens",
    "max_stages", "pilot", "settings", "effort", "rollouts", "rollout_budget", "max_new_tokens", "temperature", "seed",
    "mapping", "verifier", "allow_code", "template", "chat_template", "system_prompt", "device", "trust_remote_code",
)  # fmt: skip
"""Settings that name the default folder, in a fixed order, so that the same command finds its folder again."""


class AutopilotConfig(DiagnosisSettings, TrainingDrawSettings, PromptSettings, ModelSettings):
    """Everything `diag run` was asked for, except where it writes."""

    target: float = Field(default=0.95, gt=0, le=1, description="pass@1 on the held-out problems that is enough")
    keep: float = Field(default=0.95, gt=0, le=1, description="share of the start's retention that must remain")
    budget_tokens: int | None = Field(default=None, ge=1, description="tokens of the whole run; None: no limit")
    max_stages: int = Field(default=6, ge=1, description="stages run at most, kept or not")
    pilot: bool = Field(default=False, description="short runs of the best stages before one is chosen")
    settings: dict[str, Any] = Field(default_factory=dict, description="stage settings of --config and --set")

    @property
    def runs_code(self) -> bool:
        """Whether the problems' verifiers may run code: the user allowed it, or named one."""
        return self.allow_code or self.verifier is not None

    @property
    def identity(self) -> str:
        """The text that the name of a run's default folder is made from."""
        named = self.model_copy(update={"settings": first_names(self.settings)})
        names = (*_NAMED_BY, "stop") if self.stop else _NAMED_BY
        return "{" + ",".join(named.model_dump_json(include={name})[1:-1] for name in names) + "}"

    def analysis(self, model: str, tasks: Path, out: Path, teachers: tuple[str, ...], **more: Any) -> AnalyzeConfig:
        """The configuration for the analysis of one model of the run.

        Args:
            model: directory, hub id or zoo:NAME.
            tasks: folder with held-out.jsonl and train.jsonl.
            out: the run directory of the analysis.
            teachers: other models to compare with.
            **more: settings that differ from those of the other analyses.
        """
        shared = self.model_dump(include=set(_HANDED_ON))
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
    """Build a configuration from what a person asked for.

    Args:
        config_file: YAML file of stage settings.
        settings: stage settings given one by one; they win over the file.
        **values: fields of `AutopilotConfig`.

    Raises:
        UsageError: a value is out of range or of the wrong type, here or among the stage settings; the message is one
            line that names the flag, the value and what is accepted.
    """
    return build(AutopilotConfig, {"settings": said_settings(config_file, settings or {}), **values})


def check_same(known: Mapping[str, Any], config: AutopilotConfig, out: Path) -> None:
    """Refuse to go on with a folder that another command began.

    Args:
        known: contents of config.yaml in the folder.
        config: what this command asks for.
        out: the folder.

    Raises:
        UsageError: they differ; the message names in what.
    """
    asked = config.model_dump(mode="json")
    # Folders of before there was a setting `stop` go on.
    known = {"stop": [], **known, "settings": present_names(known.get("settings") or {})}
    differing = [
        f"{'--config/--set' if key == 'settings' else flag_of(key)} ({known.get(key)!r}, now {asked.get(key)!r})"
        for key in [*asked, *(key for key in known if key not in asked)]
        if known.get(key) != asked.get(key)
    ]
    if differing:
        raise UsageError(f"{out}: holds a run with another {' and '.join(differing)}; {RESUMED}")
