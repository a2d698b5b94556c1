"""posttrain-diag: which bottleneck holds a model back, and which post-training stage pays next.

From Python: `evaluate`, `open_run`, `list_runs`, `Run` (posttrain_diag.api), loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from posttrain_diag.api import ComparedRuns, Run, evaluate, list_runs, open_run

__version__ = "0.1.0"
__all__ = ["ComparedRuns", "Run", "__version__", "evaluate", "list_runs", "open_run"]


def __getattr__(name: str) -> object:
    """The names of the Python interface, on first use: importing the package stays light."""
    if name in __all__:
        return getattr(import_module("posttrain_diag.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
