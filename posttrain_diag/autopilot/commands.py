"""What a person types to repeat a step of a run by hand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain_diag.settings.analysis import AnalyzeConfig
from posttrain_diag.stages.prepare import TrainRequest

_FLAGS = {"mapping": "map", "teachers": "teacher", "siblings": "sibling", "config_file": "config", "settings": "set"}


def analyze_command(config: AnalyzeConfig) -> str:
    """The `diag analyze` command with everything that is not its default."""
    told = config.model_dump(mode="json", exclude_defaults=True, exclude={"model"})
    first = {name: told.pop(name) for name in ("tasks", "out")}
    return _command(["analyze", config.model], {**first, **told})


def train_command(request: TrainRequest) -> str:
    """The `diag train` command of a stage from a run."""
    told = {key: value for key, value in vars(request).items() if value and key != "run"}
    return _command(["train", str(request.run)], told)


def compare_command(before: Path, after: Path) -> str:
    """The `diag compare` command of two runs."""
    return _command(["compare", str(before), str(after)], {})


def _command(words: list[str], values: Mapping[str, Any]) -> str:
    out = ["diag", *words]
    for name, value in values.items():
        flag = "--" + _FLAGS.get(name, name).replace("_", "-")
        if isinstance(value, bool):
            out.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, Mapping):
            for key, one in value.items():
                out += [flag, f"{key}={one if isinstance(one, str) else json.dumps(one)}"]
        elif isinstance(value, list | tuple):
            for one in value:
                out += [flag, str(one)]
        else:
            out += [flag, str(value)]
    return shlex.join(out)
