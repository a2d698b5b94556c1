"""Where the zoo's files lie: shipped inside the package, or built by the user under a cache directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

BUILD_FILE = "build.json"
"""The file that marks a finished zoo model and says how it was made."""
DATA_DIR = Path(__file__).resolve().parent.parent / "data" / "zoo"
MODELS_DIR = DATA_DIR / "models"
TASKS_DIR = DATA_DIR / "tasks"
TRUTH_FILE = DATA_DIR / "truth.csv.gz"


def cache_dir() -> Path:
    """Where built models land: `$POSTTRAIN_DIAG_HOME/zoo`, else `~/.cache/posttrain-diag/zoo`."""
    home = os.environ.get("POSTTRAIN_DIAG_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "posttrain-diag") / "zoo"


def shipped_models() -> dict[str, Path]:
    """Directories of the models inside the package, by name."""
    return _models_in(MODELS_DIR)


def built_models() -> dict[str, Path]:
    """Directories of the models in the cache directory, by name."""
    return _models_in(cache_dir())


def is_chat(model_dir: str | Path) -> bool:
    """Whether a model's tokenizer carries a chat template."""
    folder = Path(model_dir)
    if (folder / "chat_template.jinja").exists():
        return True
    config = folder / "tokenizer_config.json"
    return config.exists() and bool(json.loads(config.read_text()).get("chat_template"))


def _models_in(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        return {}
    return {path.parent.name: path.parent for path in sorted(directory.glob(f"*/{BUILD_FILE}"))}
