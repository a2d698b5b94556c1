"""What a run does again and again, as functions that tests replace: analyse, plan, pilot, train, compare."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain_reports import write_comparison_report

from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.settings.analysis import AnalyzeConfig
from posttrain_diag.stages import Measured
from posttrain_diag.stages.prepare import TrainRequest

Say = Callable[[str], None]


def analyze_run(config: AnalyzeConfig, progress: Progress, command: str) -> None:
    """Analyse a model into its run directory; goes on where it stopped."""
    from posttrain_diag.analysis.analyze import analyze

    analyze(config, progress, command)


def train_run(request: TrainRequest, progress: Progress, say: Say, before: Measured | None) -> None:
    """Run a stage in its folder; goes on where it stopped.

    Args:
        request: the stage and what it gets.
        progress: shown while rollouts are drawn.
        say: told a line now and then.
        before: the model as another stage measured it; None: measure it.
    """
    from posttrain_diag.stages.prepare import prepare, train

    train(prepare(request), progress, say, before)
    gc.collect()  # a trainer and its callbacks hold each other, and the weights: the next model needs their memory


def compare_runs(before: Path, after: Path, out: Path, seed: int) -> None:
    """Compare the analyses of two checkpoints on the same problems.

    Args:
        before: run directory of the earlier checkpoint.
        after: run directory of the later checkpoint.
        out: path of comparison.json; a table and a page are written beside it.
        seed: seeds resamples and posterior draws.
    """
    from posttrain_diag.analysis.report_data import stored_comparison
    from posttrain_diag.compare import compare_runs as compare
    from posttrain_diag.compare import write_comparison

    write_comparison(compare(before, after, seed=seed), out.parent)
    write_comparison_report(stored_comparison(out.parent), out.parent)


def plan_run(run: Path, has: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan of an analysis with what the run has by now; "plan" and "not_proposed" are as in diagnosis.json."""
    from posttrain_diag.recommend.replan import replan

    return replan(run, has)


def pilot_run(run: Path, has: Mapping[str, Any], request: TrainRequest, progress: Progress, say: Say) -> None:
    """Try the best stages in short runs, and make the plan that follows the analysis's own; goes on where it stopped.

    Args:
        run: run directory of the analysis.
        has: what there is to train with: values of `Resources` by name.
        request: how the stages would be trained.
        progress: shown while rollouts are drawn.
        say: told a line per pilot.
    """
    from posttrain_diag.recommend.replan import replan

    replan(run, has, pilot=True, request=request, progress=progress, say=say)
    gc.collect()


@contextmanager
def silent() -> Generator[Progress]:
    """A context with a progress that shows nothing."""
    yield Progress()


@dataclass(frozen=True)
class Steps:
    """The functions that the loop calls to analyse, plan, pilot, train and compare, and who is told."""

    analyze: Callable[[AnalyzeConfig, Progress, str], None] = analyze_run
    train: Callable[[TrainRequest, Progress, Say, Measured | None], None] = train_run
    compare: Callable[[Path, Path, Path, int], None] = compare_runs
    plan: Callable[[Path, Mapping[str, Any]], Mapping[str, Any]] = plan_run
    pilot: Callable[[Path, Mapping[str, Any], TrainRequest, Progress, Say], None] = pilot_run
    progress: Callable[[], AbstractContextManager[Progress]] = silent
    """Makes a new progress for each analysis, stage and pilot."""
    say: Say = lambda _text: None
    """Told a line for every decision, and the lines of the stages."""
