"""The error tree. Every error a user can cause is a `DiagError` and also a standard exception.

    DiagError
    ├── UsageError          (ValueError)         a flag, a name or a combination of settings is wrong
    ├── MissingExtra        (ImportError)        an optional dependency is not installed
    ├── TaskError           (ValueError)         a tasks file cannot be used; holds every bad row
    ├── VerifierError       (ValueError)         a verifier specification is wrong
    ├── ModelError          (ValueError)         a model directory cannot be loaded or answers nonsense
    ├── EngineError         (RuntimeError)       sampling or scoring failed
    ├── StoreError          (RuntimeError)       a run directory cannot be read or belongs to another run
    └── StatsError          (ValueError)         counts that no estimator can accept
        └── NotEnoughRollouts                    k > n for an estimator that needs k <= n

A message is one line that says what is wrong, what was got, what is accepted, and the next step. Only the
command line turns an error into text (stderr, exit code 2; a traceback with DIAG_DEBUG=1).
"""

from __future__ import annotations

from collections.abc import Iterable


class DiagError(Exception):
    """Base of every error this package raises on purpose."""


class UsageError(DiagError, ValueError):
    """A flag, a name or a combination of settings is wrong."""


class MissingExtra(DiagError, ImportError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: pip install 'posttrain-diag[{extra}]'"
        )
        self.package = package
        self.extra = extra


class TaskError(DiagError, ValueError):
    """A tasks file cannot be used. `rows` lists every bad row: (line, field, problem)."""

    def __init__(self, message: str, rows: tuple[tuple[int, str, str], ...] = ()) -> None:
        super().__init__(message)
        self.rows = rows


class VerifierError(DiagError, ValueError):
    """A verifier specification is unknown, incomplete or carries keys it does not accept."""


class ModelError(DiagError, ValueError):
    """A model directory cannot be loaded, or the model's outputs are not numbers."""


class EngineError(DiagError, RuntimeError):
    """Sampling or scoring failed for a reason that is not the model's files."""


class StoreError(DiagError, RuntimeError):
    """A run directory cannot be read, or it belongs to a different run."""


class StatsError(DiagError, ValueError):
    """Counts or settings that no estimator can accept; the message names the offending rows."""


class NotEnoughRollouts(StatsError):
    """An estimator needs more rollouts than some problem has."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that one which does not exist was probably meant to be; None: none is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to add to a message about a name that does not exist: ` (did you mean 'grpo'?)`, or nothing."""
    found = nearest(name, known)
    return "" if found is None else f" (did you mean {found!r}?)"
