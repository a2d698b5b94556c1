"""The three things a run does again and again, as functions that tests replace: analyse, train, compare."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from posttrain_diag.collect import Progress
from posttrain_diag.config import AnalyzeConfig
from posttrain_diag.errors import UsageError
from posttrain_diag.stages import Measured
from posttrain_diag.store import write_atomic
from posttrain_diag.train import TrainRequest

Say = Callable[[str], None]


def analyze_run(config: AnalyzeConfig, progress: Progress, command: str) -> None:
    """Analyse a model into its run directory; goes on where it stopped."""
    from posttrain_diag.analyze import analyze

    analyze(config, progress, command)


def train_run(request: TrainRequest, say: Say, before: Measured | None) -> None:
    """Run a stage in its folder; goes on where it stopped."""
    from posttrain_diag.train import prepare, train

    train(prepare(request), say=say, before=before)
    gc.collect()  # a trainer and its callbacks hold each other, and the weights: the next model needs their memory


def compare_runs(before: Path, after: Path, out: Path, seed: int) -> None:
    """Compare the analyses of two checkpoints on the same problems; writes `out`."""
    import pandas as pd

    from posttrain_diag.stats import paired_difference

    tables = [pd.read_parquet(run / "problems.parquet").set_index("id") for run in (before, after)]
    old, new = (table["p_mean"].dropna() for table in tables)
    ids = old.index.intersection(new.index)
    change = paired_difference(old[ids].to_numpy(), new[ids].to_numpy(), seed=seed)
    found = {"schema": 1, "before": str(before), "after": str(after), "pass@1": asdict(change)}
    write_atomic(out, json.dumps(found, indent=1) + "\n")


def check_pilot() -> None:
    """Refuse --pilot while there is none.

    Raises:
        UsageError: always, in this version.
    """
    raise UsageError("--pilot: this version runs no pilots yet; leave it out: the plan's forecast chooses the stage")


@contextmanager
def silent() -> Generator[Progress]:
    """No progress."""
    yield Progress()


@dataclass(frozen=True)
class Steps:
    """What the loop calls."""

    analyze: Callable[[AnalyzeConfig, Progress, str], None] = analyze_run
    train: Callable[[TrainRequest, Say, Measured | None], None] = train_run
    compare: Callable[[Path, Path, Path, int], None] = compare_runs
    progress: Callable[[], AbstractContextManager[Progress]] = silent
    """Made anew for each analysis."""
    say: Say = lambda _text: None
    """Told a line for every decision, and what stages say."""
