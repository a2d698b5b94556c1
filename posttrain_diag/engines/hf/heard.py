"""What transformers and PEFT warn of while a model is loaded, kept for the user instead of printed or lost."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Generator
from pathlib import Path

_LIBRARIES = ("transformers", "peft", "accelerate", "huggingface_hub", "safetensors", "tokenizers", "torch")
_TO_CALLERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
"""Warnings that tell the authors of this code, not its users, what to change."""
_REPORTED = "transformers.utils.loading_report"
"""Its table of missing and unused tensors is told by `load` in words of its own."""
_LONGEST = 400
"""Characters of a warning that are kept."""


class _Ear(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if not record.name.startswith(_REPORTED) and "LOAD REPORT" not in (text := record.getMessage()):
            keep(self._heard, record.name.split(".", maxsplit=1)[0], text)


def keep(heard: list[str], library: str, text: str) -> None:
    """Add what a library said to `heard`, on one line, once."""
    line = " ".join(text.split())
    line = f"{library} warns: {line if len(line) <= _LONGEST else line[: _LONGEST - 3] + '...'}"
    if line not in heard:
        heard.append(line)


@contextlib.contextmanager
def hearing() -> Generator[list[str]]:
    """Collect the warnings of the libraries into the list that is given; nothing reaches the terminal."""
    heard: list[str] = []
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ear = _Ear(heard)
        for logger in loggers:
            logger.handlers, logger.propagate = [ear], False
            logger.setLevel(logging.WARNING)
        try:
            yield heard
        finally:
            for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
                logger.handlers, logger.propagate = handlers, propagate
                logger.setLevel(level)
            for warning in caught:
                if not issubclass(warning.category, _TO_CALLERS):
                    keep(heard, _library_of(warning.filename), str(warning.message))


def _library_of(filename: str) -> str:
    """The library whose code a warning points at."""
    return next((part for part in reversed(Path(filename).parts) if part in _LIBRARIES), "Python")
