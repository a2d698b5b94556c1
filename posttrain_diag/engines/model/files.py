"""What the user named, as files on disk: a model directory, a hub id, or a PEFT adapter; and their hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from posttrain_diag.errors import MissingExtra, ModelError

_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "vocab.bpe",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_TOKENIZER_FILES = (
    *_VOCABULARIES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
_CONFIG_FILES = ("config.json", "generation_config.json")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.bpe", "*.tiktoken")


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's parts lie."""

    name: str
    """As the user named it."""
    root: Path
    """Directory with config.json and the weights."""
    tokenizer: Path
    """Directory with the tokenizer."""
    adapter: Path | None = None
    """Directory of the PEFT adapter put on top."""
    allow_pickle: bool = False
    """pytorch_model*.bin is accepted where there is no safetensors file."""


def find_model(name: str, *, trust_remote_code: bool = False, allow_pickle: bool = False) -> ModelFiles:
    """Locate a model's files; the network is used only for a hub id.

    Args:
        name: directory of a model or of a PEFT adapter, or a hub id such as "Qwen/Qwen3-0.6B".
        trust_remote_code: also fetch Python files from the hub.
        allow_pickle: also accept pickled weights.

    Raises:
        ModelError: nothing usable there; the message names the path and what is missing.
        MissingExtra: a hub id without huggingface_hub.
    """
    return _find(name, name, trust_remote_code, allow_pickle, depth=0)


def _find(shown: str, name: str, trust_remote_code: bool, allow_pickle: bool, depth: int) -> ModelFiles:
    root = _directory(name, trust_remote_code, allow_pickle)
    if (root / "adapter_config.json").exists() and not (root / "config.json").exists():
        if depth:
            raise ModelError(
                f"the adapter {shown!r} sits on another adapter ({name!r}): merge the lower one into its base "
                "model first and name the merged model in adapter_config.json"
            )
        base = _find_base(shown, root, trust_remote_code, allow_pickle)
        own_tokenizer = any((root / file).exists() for file in _VOCABULARIES)
        return replace(base, name=shown, adapter=root, tokenizer=root if own_tokenizer else base.tokenizer)
    if not (root / "config.json").exists():
        raise ModelError(
            f"{str(root)!r} has no config.json: give a Hugging Face model directory (config.json, tokenizer files, "
            "*.safetensors) or a PEFT adapter directory (adapter_config.json)"
        )
    files = ModelFiles(shown, root, root, None, allow_pickle)
    _check_weights(files)
    return files


def _find_base(shown: str, adapter: Path, trust_remote_code: bool, allow_pickle: bool) -> ModelFiles:
    base = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"the adapter {shown!r} names no base model: set 'base_model_name_or_path' in "
            f"{str(adapter / 'adapter_config.json')!r}"
        )
    beside = adapter / base
    location = str(beside) if (beside / "config.json").exists() else base
    try:
        return _find(shown, location, trust_remote_code, allow_pickle, depth=1)
    except ModelError as error:
        raise ModelError(
            f"the base model {base!r} of the adapter {shown!r} cannot be used: {error}; correct "
            "'base_model_name_or_path' in adapter_config.json"
        ) from error


def _directory(name: str, trust_remote_code: bool, allow_pickle: bool, weights: bool = True) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name!r} is a file: give the directory that holds config.json and the weights")
    looks_like_path = name.startswith((".", "/", "~", "\\")) or not _HUB_ID.fullmatch(name)
    if looks_like_path:
        raise ModelError(
            f"the model directory {name!r} does not exist: give an existing directory, a hub id such as "
            "'Qwen/Qwen3-0.6B', or zoo:NAME"
        )
    return _fetch(name, trust_remote_code, allow_pickle, weights)


def find_tokenizer(name: str, *, trust_remote_code: bool = False) -> ModelFiles:
    """Locate a tokenizer and the configuration beside it; weights are neither needed nor fetched.

    Raises:
        ModelError: nothing usable there.
        MissingExtra: a hub id without huggingface_hub.
    """
    path = Path(name).expanduser()
    root = path if path.is_dir() else _directory(name, trust_remote_code, allow_pickle=False, weights=False)
    return ModelFiles(name, root, root)


def _fetch(name: str, trust_remote_code: bool, allow_pickle: bool, weights: bool = True) -> Path:
    """Download a hub model, or find it in the local cache (HF_HOME, HF_TOKEN, HF_HUB_OFFLINE are honoured)."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hf", f"fetching the model {name!r}") from error
    files = [pattern for pattern in _HUB_FILES if weights or pattern != "*.safetensors"]
    patterns = [*files, *(["*.py"] if trust_remote_code else []), *(["*.bin"] if allow_pickle else [])]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except GatedRepoError as error:
        raise ModelError(
            f"the hub model {name!r} is gated: accept its terms on huggingface.co and set HF_TOKEN"
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name!r} is no directory here, and the hub cannot be reached (or HF_HUB_OFFLINE is set) and holds no "
            "cached copy: check the path, or go online once"
        ) from error
    except (OSError, HFValidationError) as error:  # every HTTP error of the hub is an OSError
        raise ModelError(
            f"{name!r} is neither a directory nor a model on the hub that can be read ({first_line(error)}): "
            "check the name"
        ) from error


def require_tokenizer(files: ModelFiles, trust_remote_code: bool) -> None:
    """Raise ModelError where the tokenizer's vocabulary is missing."""
    present = any((files.tokenizer / name).exists() for name in _VOCABULARIES)
    if present or trust_remote_code or any(files.tokenizer.glob("*.tiktoken")):
        return
    raise ModelError(
        f"{str(files.tokenizer)!r} has no tokenizer (none of {', '.join(_VOCABULARIES[:4])}, ...): save it beside "
        "the weights with tokenizer.save_pretrained(...)"
    )


def weight_files(files: ModelFiles) -> tuple[Path, ...]:
    """The weight files of the base model, in name order."""
    for index, single in (
        ("model.safetensors.index.json", "model.safetensors"),
        *([("pytorch_model.bin.index.json", "pytorch_model.bin")] if files.allow_pickle else []),
    ):
        if (files.root / single).exists():
            return (files.root / single,)
        if (files.root / index).exists():
            names: dict[str, str] = read_json(files.root / index).get("weight_map", {})
            return tuple(files.root / name for name in sorted(set(names.values())))
    return ()


def _check_weights(files: ModelFiles) -> None:
    """Raise ModelError unless every weight file is there and every safetensors header can be read."""
    paths = weight_files(files)
    if not paths:
        pickled = any(files.root.glob("pytorch_model*.bin"))
        raise ModelError(
            f"{str(files.root)!r} has no model.safetensors or model.safetensors.index.json"
            + (
                ", only pickled weights, which can run code when loaded: convert them with "
                "model.save_pretrained(..., safe_serialization=True)"
                if pickled
                else ": save the model with model.save_pretrained(...)"
            )
        )
    for path in paths:
        _check_weight_file(path)


def _check_weight_file(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"the weight file {str(path)!r} is missing: the index names it; copy it there")
    with path.open("rb") as file:
        head = file.read(40)
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{str(path)!r} is a Git LFS pointer, not the weights: run 'git lfs pull'")
    if path.suffix != ".safetensors":
        return
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtra("safetensors", "hf", "loading a model") from error
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"the weight file {str(path)!r} is damaged or cut short ({first_line(error)}): copy or download it again"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model directory; an absent file is an empty object.

    Raises:
        ModelError: the file is not a JSON object.
    """
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{str(path)!r} is not readable JSON ({first_line(error)}): restore the file") from error
    if not isinstance(value, dict):
        raise ModelError(f"{str(path)!r} must hold a JSON object, got {type(value).__name__}: restore the file")
    return value  # pyright: ignore[reportUnknownVariableType]  JSON: values are checked where they are read


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


_hashes: dict[tuple[str, int, int], str] = {}
"""(path, mtime in ns, size) -> sha256, for this process only."""


def _sha256(path: Path) -> str:
    stat = path.stat()
    key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    if key not in _hashes:
        with path.open("rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]


def model_sha(files: ModelFiles) -> str:
    """Hash over weights, configuration, tokenizer and adapter: file names and contents, not where they lie."""
    digest = hashlib.sha256()
    for role, path in _hashed_files(files):
        digest.update(f"{role}/{path.name}:{_sha256(path)}\n".encode())
    return digest.hexdigest()


def tokenizer_sha(files: ModelFiles) -> str:
    """Hash over the configuration and the tokenizer alone."""
    digest = hashlib.sha256()
    for role, path in _hashed_files(files):
        if role in ("config", "tokenizer"):
            digest.update(f"{role}/{path.name}:{_sha256(path)}\n".encode())
    return digest.hexdigest()


def _hashed_files(files: ModelFiles) -> Iterator[tuple[str, Path]]:
    yield from (("weights", path) for path in weight_files(files))
    yield from (("config", files.root / n) for n in _CONFIG_FILES if (files.root / n).exists())
    tokenizer = [files.tokenizer / n for n in _TOKENIZER_FILES if (files.tokenizer / n).exists()]
    yield from (("tokenizer", path) for path in (*tokenizer, *sorted(files.tokenizer.glob("*.tiktoken"))))
    if files.adapter is not None:
        yield ("adapter", files.adapter / "adapter_config.json")
        yield from (("adapter", path) for path in sorted(files.adapter.glob("adapter_model*.safetensors")))
