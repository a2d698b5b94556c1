"""Rows of data sets of the Hugging Face hub: by name, or in a directory on disk.

Without a network `datasets` tries again for half a minute before it gives up. So the hub is asked for a sign of life
first; without one, only what an earlier run has left in the cache is read.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from posttrain_diag.errors import MissingExtra, TaskError
from posttrain_diag.tasks.problems.formats import refuse_more
from posttrain_diag.tasks.problems.rows import Row

NAME = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+){0,2}")
"""Matches the names of data sets: owner/name, owner/name:split, owner/name:config:split."""
PATIENCE_S = 3.0
"""Seconds that the hub may take to answer at all."""
_MARKERS = ("state.json", "dataset_dict.json")
_CELL_CHARS = 8
"""Characters that are reckoned for a cell that is no text."""


def parts(name: str) -> tuple[str, str | None, str | None]:
    """The repository, config and split of a name as `NAME` matches it."""
    repository, *rest = name.split(":")
    if len(rest) == 2:
        return repository, rest[0], rest[1]
    return repository, None, rest[0] if rest else None


def read_hub(repository: str, config: str | None, split: str | None, *, called: str) -> Iterator[Row]:
    """The rows of a data set of the hub.

    Args:
        repository: the data set as owner/name.
        config: one of its configurations; None where it has only one.
        split: one of its splits; None: the only one, or "test".
        called: the data set as the user named it, for messages.

    Raises:
        TaskError: it cannot be reached, does not exist, asks for an agreement, or has no such config or split.
        MissingExtra: `datasets` is not installed.
    """
    datasets = _datasets(called)
    address = repository if config is None else f"{repository} ({config})"
    what = f"the HF data set {address}" if called == repository else f"{called}: the HF data set {address}"
    reachable = not _offline() and _answers()
    with _quiet(online=reachable):
        try:
            data: Any = datasets.load_dataset(repository, config)
        except _errors() as error:
            raise TaskError(_why(error, what, repository, reachable)) from error
    yield from _rows(data, split, what, repository if config is None else f"{repository}:{config}")


def read_directory(folder: str) -> Iterator[Row]:
    """The rows of a data set on disk: saved by `datasets`, or a folder of data files.

    Raises:
        TaskError: it cannot be read.
        MissingExtra: `datasets` is not installed.
    """
    datasets = _datasets(folder)
    saved = any((Path(folder) / marker).exists() for marker in _MARKERS)
    with _quiet(online=False):
        try:
            data: Any = datasets.load_from_disk(folder) if saved else datasets.load_dataset(folder)
        except _errors() as error:
            raise TaskError(f"cannot load the HF data set {folder!r}: {_first_line(error)}") from error
    yield from _rows(data, None, repr(folder), folder)


def _rows(data: Any, split: str | None, what: str, address: str) -> Iterator[Row]:
    """The rows of a loaded data set.

    Args:
        data: one split, or all of them.
        split: the split that is wanted; None: the only one, or "test".
        what: the data set in words, for messages.
        address: how it is named without its split.
    """
    if isinstance(data, dict):
        splits = [str(key) for key in cast("dict[str, Any]", data)]
        chosen = split or (splits[0] if len(splits) == 1 else "test")
        if chosen not in splits:
            raise TaskError(f"{what} has the splits {', '.join(splits)}: name one, as in {address}:{splits[0]}")
        data = cast("dict[str, Any]", data)[chosen]
    n_bytes = 0
    for number, cells in enumerate(data, start=1):
        row = cast("dict[str, Any]", dict(cells))
        n_bytes += sum(_size(value) for value in row.values())
        refuse_more(n_bytes, address)
        yield Row(number, row)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes)) else _CELL_CHARS if value is None else len(str(value))


def _datasets(called: str) -> Any:
    if importlib.util.find_spec("datasets") is None:
        raise MissingExtra("datasets", "train", f"reading the HF data set {called!r}")
    return importlib.import_module("datasets")


def _offline() -> bool:
    """Whether the user has switched the hub off (HF_HUB_OFFLINE, HF_DATASETS_OFFLINE)."""
    return bool(importlib.import_module("datasets").config.HF_HUB_OFFLINE)


def _answers() -> bool:
    """Whether the hub answers at all within `PATIENCE_S`; looking up its name may hang without a network."""
    endpoint = str(importlib.import_module("huggingface_hub").constants.ENDPOINT)
    found: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE_S):
                found.append(True)
        except urllib.error.HTTPError:
            found.append(True)
        except (OSError, ValueError):
            found.append(False)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S + 1)
    return bool(found) and found[0]


@contextmanager
def _quiet(*, online: bool) -> Generator[None]:
    """While the context is open, `datasets` shows no warnings or bars, and asks no hub that does not answer."""
    datasets, hub = importlib.import_module("datasets"), importlib.import_module("huggingface_hub")
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    offline = (datasets.config.HF_HUB_OFFLINE, hub.constants.HF_HUB_OFFLINE)
    bars = datasets.is_progress_bar_enabled()
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        if not online:
            datasets.config.HF_HUB_OFFLINE = hub.constants.HF_HUB_OFFLINE = True
            datasets.disable_progress_bars()
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub.constants.HF_HUB_OFFLINE = offline
        if bars:
            datasets.enable_progress_bars()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _errors() -> tuple[type[Exception], ...]:
    """The errors that loading raises when it cannot load; the libraries' own errors share no base."""
    known: list[type[Exception]] = [OSError, ValueError, RuntimeError]
    known.append(importlib.import_module("datasets.exceptions").DatasetsError)
    if importlib.util.find_spec("httpx") is not None:
        known.append(importlib.import_module("httpx").HTTPError)
    return tuple(known)


def _why(error: Exception, what: str, repository: str, reachable: bool) -> str:
    """The message for a data set that could not be loaded, with what to do about it."""
    if not reachable or "LocalEntryNotFound" in str(error):
        return (
            f"{what} is not in the cache and the hub cannot be reached: load it once where there is a network "
            "(HF_HUB_OFFLINE unset), copy the cache (HF_HOME), or give a file as --tasks FILE.jsonl"
        )
    said = _first_line(error)
    if "gated" in said.lower() or "401" in said or "403" in said:
        return (
            f"{what} asks for an agreement: accept it on the page of {repository}, then set HF_TOKEN (or run "
            f"`hf auth login`); the hub says: {said}"
        )
    if "config" in said.lower() and "pick" in str(error).lower():
        return f"{what} has several configurations: name one, as in {repository}:CONFIG:SPLIT ({said})"
    return f"cannot load {what}: {said}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
