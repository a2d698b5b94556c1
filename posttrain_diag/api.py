"""The tool from Python and notebooks.

    import posttrain_diag as diag

    run = diag.evaluate("zoo:base", tasks="builtin:zoo/S", out="runs/base")
    run                                  # a card in a notebook, one line elsewhere
    run.verdict, run.confidence          # "reshaping", 1.0
    run.estimates["pass@1"].value        # with .low, .high, .label
    run.plan[0]["command"]               # what pays next
    run.problems                         # a DataFrame: a row per problem
    later = diag.open_run("runs/tuned")
    run.compare(later).role              # what the stage between them really did

The function is called `evaluate`, for `posttrain_diag.analysis.analyze` is the module behind it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.wording.estimates import share_text
from posttrain_diag.wording.numbers import class_percent
from posttrain_diag.wording.text import clip

if TYPE_CHECKING:
    import pandas as pd

    from posttrain_diag.compare.types import Comparison
    from posttrain_diag.rollouts.progress import Progress
    from posttrain_diag.store.run_index import RunEntry
    from posttrain_diag.types import Estimate

__all__ = ["ComparedRuns", "Run", "evaluate", "list_runs", "open_run"]


@dataclass(frozen=True)
class Run:
    """A finished analysis, read from its run directory."""

    path: Path
    data: Mapping[str, Any] = field(repr=False)
    """The contents of diagnosis.json."""

    @property
    def verdict(self) -> str:
        """The bottleneck: support, reshaping, format, guided, consolidation, mixed, saturated, ..."""
        return str(self.data["bottleneck"])

    @property
    def confidence(self) -> float:
        """Probability of the verdict, in [0, 1]."""
        return float(self.data["confidence"])

    @property
    def alternatives(self) -> dict[str, float]:
        """The other bottlenecks that it could be, each with its probability."""
        return {str(a["bottleneck"]): float(a["probability"]) for a in self.data["alternatives"]}

    @property
    def instrument(self) -> str:
        """ok, suspect or broken: whether the numbers measure the model."""
        return str(self.data["instrument"]["status"])

    @property
    def findings(self) -> list[Mapping[str, Any]]:
        """What is wrong with verifier, tokens, template or draws, with advice."""
        return list(self.data["instrument"]["findings"])

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Every estimate by name, e.g. pass@1, with interval and label."""
        return _estimates(self.data["estimates"])

    @cached_property
    def shares(self) -> dict[str, Estimate]:
        """Share of the problems in each class."""
        return _estimates(self.data["shares"])

    @property
    def plan(self) -> list[Mapping[str, Any]]:
        """Stages in the order in which they pay: stage, expected_gain, cost, needs, why, command, ..."""
        return list(self.data["plan"])

    @cached_property
    def problems(self) -> pd.DataFrame:
        """A row per problem: id, n, c, class, posteriors, ...

        Raises:
            StoreError: problems.parquet is missing or damaged.
        """
        from posttrain_diag.store import RunDir

        return RunDir(self.path).read_problems()

    @property
    def report(self) -> Path:
        """Path of the report for people, an HTML page."""
        return self.path / "report.html"

    def compare(self, later: Run | str | Path, *, stage: str | None = None) -> ComparedRuns:
        """What changed from this run to a later one on the same problems, beyond noise.

        Args:
            later: a run or its directory.
            stage: name of the stage between them; None: found in this run's directory, where it is there.

        Raises:
            DiagError: the runs cannot be compared.
        """
        from posttrain_diag.compare import compare_runs
        from posttrain_diag.compare.contract import comparison_json

        other = later.path if isinstance(later, Run) else Path(later)
        found = compare_runs(self.path, other, stage=stage)
        return ComparedRuns(found, comparison_json(found))

    def __repr__(self) -> str:
        passed = f"pass@1 {share_text(self.data['estimates'].get('pass@1'))}"
        confidence = f"confidence {class_percent(self.confidence)}"
        text = f"Run({str(self.path)!r}: {self.verdict}, {confidence}, {passed}, {self.instrument})"
        return clip(text, 400).replace("\n", " ")

    def _repr_html_(self) -> str:
        from posttrain_reports.card import run_card

        return run_card(self.data, str(self.path))


@dataclass(frozen=True)
class ComparedRuns:
    """What a comparison of two runs found."""

    comparison: Comparison
    data: Mapping[str, Any] = field(repr=False)
    """The contents of comparison.json."""

    @property
    def role(self) -> str:
        """What the stage did: expansion, reshaping, consolidation, repair, attrition, none or undetermined."""
        return self.comparison.role

    @property
    def reason(self) -> str:
        """Why the stage between the runs has that role, in a sentence."""
        return self.comparison.reason

    @property
    def problems(self) -> pd.DataFrame:
        """A row per problem with its fate."""
        return self.comparison.per_problem

    def __repr__(self) -> str:
        return clip(f"ComparedRuns({self.role}: {self.reason})", 400).replace("\n", " ")

    def _repr_html_(self) -> str:
        from posttrain_reports.card import comparison_card

        return comparison_card(self.data)


def evaluate(
    model: str, tasks: str | Path, *, out: str | Path, progress: Progress | None = None, **settings: Any
) -> Run:
    """Measure a model on tasks, name the bottleneck, prescribe, write the run directory: `diag analyze` from Python.

    Args:
        model: Hugging Face directory, adapter directory, hub id or zoo:NAME.
        tasks: a tasks file or builtin:zoo/FAMILY.
        out: the run directory; the same call goes on where an interrupted one stopped.
        progress: shown while running; silent by default.
        **settings: as the flags of `diag analyze` with underscores, e.g. effort="quick", rollouts=64,
            sibling="runs/other".

    Raises:
        DiagError: bad tasks, model, settings or run directory.
    """
    from posttrain_diag.analysis.analyze import analyze
    from posttrain_diag.settings.analysis import make_config

    for name in ("teacher", "sibling"):
        if isinstance(settings.get(name), str | Path):
            settings[name] = (settings[name],)
    if "sibling" in settings:  # a run may be named by its directory
        settings["sibling"] = tuple(map(str, settings["sibling"]))
    config = make_config(model=str(model), tasks=str(tasks), out=Path(out), **settings)
    call = f"diag analyze {shlex.quote(str(model))} --tasks {shlex.quote(str(tasks))} --out {shlex.quote(str(out))}"
    analysis = analyze(config, progress, call if not settings else f"{call}  # from Python, with {settings}")
    return Run(analysis.run.path, analysis.json)


def open_run(path: str | Path) -> Run:
    """Open a run that was made earlier; needs neither model nor tasks file.

    Raises:
        StoreError: it is no run directory, not finished, or damaged.
    """
    from posttrain_reports.data import REQUIRED_KEYS

    from posttrain_diag.errors import StoreError
    from posttrain_diag.store import RunDir

    run = RunDir(Path(path))
    data = run.read_json("diagnosis.json")
    missing = [key for key in REQUIRED_KEYS if key not in data]
    if missing:
        raise StoreError(f"{run.diagnosis_path}: lacks {', '.join(missing)}; run the same analysis again to remake it")
    return Run(run.path, data)


def list_runs(folder: str | Path) -> list[RunEntry]:
    """Every analysis, comparison and autopilot run below a folder, the last changed first, damaged ones too.

    Raises:
        UsageError: there is no such folder.
    """
    from posttrain_diag.store.run_index import RunIndex

    return RunIndex(Path(folder)).entries()


def _estimates(found: Mapping[str, Any]) -> dict[str, Estimate]:
    from posttrain_diag.types import Estimate

    def read(bounds: Sequence[float] | None = None, **values: Any) -> Estimate:
        return Estimate(**values, bounds=None if bounds is None else (bounds[0], bounds[1]))

    return {str(name): read(**values) for name, values in found.items()}
