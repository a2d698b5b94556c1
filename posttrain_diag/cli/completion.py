"""What the shell completes: names that are fixed or lie on disk; no callback imports torch or reads a model.

diag --install-completion        for the shell it is called from
"""

from __future__ import annotations

import sys
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import get_args

VARIABLE = "_DIAG_COMPLETE"
"""Environment variable that the shell's script sets when it asks for completions."""

EXPORTS = ("sft", "pairs", "prompts", "parquet")
SETS = ("rl-band", "repair-format", "needs-demonstration", "replay", "undecided")
LAUNCH = ("ddp", "fsdp2", "deepspeed_zero2", "deepspeed_zero3")


@contextmanager
def colons_joined(environ: MutableMapping[str, str]) -> Generator[None]:
    """Undo how bash splits zoo:base into three words: it is one argument, and bash is told what follows the colon.

    Args:
        environ: the environment; for requests for completions by bash, COMP_WORDS and COMP_CWORD in it are replaced
            while the context is open, for others nothing is.
    """
    if environ.get(VARIABLE) != "complete_bash":
        yield
        return
    typed = _join(environ)
    told = StringIO()
    try:
        with redirect_stdout(told):
            yield
    finally:
        for line in told.getvalue().splitlines():
            sys.stdout.write(line.removeprefix(typed) + "\n")


def _join(environ: MutableMapping[str, str]) -> str:
    """Join the words around colons; returns the part that bash takes for a word of its own, e.g. "zoo:"."""
    words = environ.get("COMP_WORDS", "").split("\n")
    at = int(environ.get("COMP_CWORD", "0"))
    before, current = words[:at], words[at] if at < len(words) else ""
    if current == ":":  # the cursor is right behind it
        before, current = [*before, ":"], ""
    joined: list[str] = []
    for word in before:
        if joined and (word == ":" or joined[-1].endswith(":")):
            joined[-1] += word
        else:
            joined.append(word)
    typed = joined.pop() if joined and joined[-1].endswith(":") else ""
    environ["COMP_WORDS"] = "\n".join([*joined, typed + current])
    environ["COMP_CWORD"] = str(len(joined))
    return typed


def _starting(names: tuple[str, ...] | list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Names of the zoo's models; for everything else the shell completes file names."""
    from posttrain_diag.zoo.registry import list_models

    return _starting([model.spec for model in list_models()], incomplete)


def tasks(incomplete: str) -> list[str]:
    """Names of the tasks that come with the package, and of those that are known by a name."""
    from posttrain_diag.tasks.problems.named import NAMED
    from posttrain_diag.tasks.problems.rows import BUILTIN
    from posttrain_diag.zoo.paths import TASKS_DIR

    return _starting([*sorted(BUILTIN + path.stem for path in TASKS_DIR.glob("*.jsonl")), *NAMED], incomplete)


def families(incomplete: str) -> list[str]:
    """Names of the zoo's families."""
    from posttrain_diag.zoo.paths import TASKS_DIR

    return _starting(sorted(path.stem for path in TASKS_DIR.glob("*.jsonl")), incomplete)


def zoo_names(incomplete: str) -> list[str]:
    """Names of the models that `diag zoo build` makes."""
    from posttrain_diag.zoo.registry import list_models

    return _starting([model.name for model in list_models()], incomplete)


def stages(incomplete: str) -> list[str]:
    """Names of the stages that `diag train` runs."""
    from posttrain_diag.stages.catalogue import STAGES

    return _starting(list(STAGES), incomplete)


def efforts(incomplete: str) -> list[str]:
    """The values that --effort accepts."""
    from posttrain_diag.settings.analysis import Effort

    return _starting(get_args(Effort), incomplete)


def allocations(incomplete: str) -> list[str]:
    """The values that --allocation accepts."""
    from posttrain_diag.settings.analysis import Allocation

    return _starting(get_args(Allocation), incomplete)


def engines(incomplete: str) -> list[str]:
    """The values that --engine accepts."""
    from posttrain_diag.settings.engine import EngineName

    return _starting(get_args(EngineName), incomplete)


def worker_engines(incomplete: str) -> list[str]:
    """The values that --ray-engine accepts."""
    from posttrain_diag.settings.engine import WorkerEngine

    return _starting(get_args(WorkerEngine), incomplete)


def stores(incomplete: str) -> list[str]:
    """The values that --store accepts."""
    from posttrain_diag.settings.analysis import StoreKind

    return _starting(get_args(StoreKind), incomplete)


def dtypes(incomplete: str) -> list[str]:
    """The values that --dtype accepts."""
    return _starting(("float32", "bfloat16", "float16"), incomplete)


def exports(incomplete: str) -> list[str]:
    """The values that `diag export --to` accepts."""
    return _starting(EXPORTS, incomplete)


def export_sets(incomplete: str) -> list[str]:
    """The values that `diag export --set` accepts."""
    return _starting(SETS, incomplete)


def launches(incomplete: str) -> list[str]:
    """The values that `diag stages --launch` accepts."""
    return _starting(LAUNCH, incomplete)
