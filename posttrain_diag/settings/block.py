"""A block of settings, and how one is built from what a person gave.

A block has one owner: what is drawn, how prompts are rendered, which engine runs. `AnalyzeConfig`, `StageConfig` and
`AutopilotConfig` inherit the blocks they need, so that a setting is declared once and config.yaml stays flat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from posttrain_diag.errors import UsageError, did_you_mean


class Block(BaseModel):
    """Settings that belong together; they do not change, and an unknown one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SettingsT = TypeVar("SettingsT", bound=Block)

_FLAGS = {"model": "MODEL", "mapping": "--map", "settings": "--set"}
"""Settings that the command line calls by another name, with that name."""


def flag_of(name: str) -> str:
    """The flag by which the command line calls a setting, e.g. --max-new-tokens."""
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


def build(
    kind: type[SettingsT],
    values: Mapping[str, Any],
    *,
    called: Callable[[str], str] = flag_of,
    what: str = "setting",
) -> SettingsT:
    """Build a block or configuration from settings by name.

    Args:
        kind: a block, or a configuration that is composed of blocks.
        values: the settings by name.
        called: what the person who gave them calls a setting.
        what: kind of setting, for the message about a name that does not exist.

    Raises:
        UsageError: an unknown or a missing setting, or a value out of range or of the wrong type; the message is one
            line that names the setting, the value and what is accepted.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = list(kind.model_fields)
            raise UsageError(
                f"unknown {what} {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}"
            ) from error
        if first["type"] == "missing":
            raise UsageError(f"{called(name)} is missing") from error
        raise UsageError(f"{called(name)}: got {first.get('input')!r}; {first['msg']}") from error


def read_settings(path: Path, *, missing: str) -> dict[str, Any]:
    """Settings by name from a YAML file, their values not checked yet; an empty file holds none.

    Args:
        path: path of the file.
        missing: what the message says where there is no such file: what to do about it.

    Raises:
        UsageError: the file is missing, is not YAML, or is no mapping.
    """
    import yaml

    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; {missing}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return {str(name): value for name, value in values.items()}
