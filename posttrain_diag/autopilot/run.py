"""A run in progress: its folder, its problems, where everything lies, what was measured and what it has cost."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from posttrain_diag.analysis.estimate import CostEstimate, estimate_cost
from posttrain_diag.analysis.pilot import stored_cap
from posttrain_diag.autopilot.bill import Tokens, analysis_tokens, pilot_tokens, stage_tokens
from posttrain_diag.autopilot.journal import Journal
from posttrain_diag.autopilot.problems import RunProblems, problems_of
from posttrain_diag.autopilot.state import AutopilotState, Round, load_state
from posttrain_diag.autopilot.steps import Steps
from posttrain_diag.errors import StoreError, UsageError
from posttrain_diag.recommend.rules import OPTIONS
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.settings.analysis import AnalyzeConfig
from posttrain_diag.settings.autopilot import RESUMED, AutopilotConfig, check_same
from posttrain_diag.stages import Measured, StageResult, read_result
from posttrain_diag.stages.catalogue import readers, stage_record
from posttrain_diag.stages.prepare import Prepared, TrainRequest, directory_of, prepare
from posttrain_diag.stages.record import needs_met
from posttrain_diag.store import lock_folder, write_atomic


@dataclass
class AutopilotRun:
    """A run in progress, as its phases get it; only `state` changes."""

    config: AutopilotConfig
    out: Path
    problems: RunProblems
    steps: Steps
    journal: Journal
    state: AutopilotState
    _drawn: dict[int, Tokens] = field(default_factory=dict[int, Tokens])
    """Tokens that the analysis of each round has drawn, without one that is drawing now."""

    @property
    def tasks(self) -> Path:
        """Folder of train.jsonl and held-out.jsonl; everything is measured on the latter."""
        return self.out / "tasks"

    def save(self, state: AutopilotState) -> None:
        """Go on to another state, and write it to disk."""
        state.save(self.out / "state.json")
        if (analysed := self._analysing) is not None:
            self._drawn.pop(analysed, None)
        self.state = state

    @property
    def _analysing(self) -> int | None:
        """The round whose analysis draws now; None where none does."""
        begun = self.state.open_round
        return (begun.number if begun else self.state.current) if self.state.phase == "analyze" else None

    def folder(self, number: int) -> Path:
        """Folder of a round; for 0, of the analysis of the model that the run started with."""
        return self.out / "rounds" / (self.state.rounds[number - 1].folder if number else "00-start")

    def analysis(self, number: int) -> Path:
        """Run directory of the analysis of a round's checkpoint."""
        return self.folder(number) / "analysis" if number else self.folder(0)

    def comparison(self, number: int) -> Path:
        """File that compares a round's checkpoint with the one it started from; for 0, the last one with the first."""
        return (self.folder(number) if number else self.out / "from-start") / "comparison.json"

    def model(self, number: int) -> str:
        """The checkpoint of a round, in the form in which a command names it."""
        return str(self.folder(number) / "stage" / "checkpoint") if number else self.config.model

    def diagnosis(self, number: int) -> Mapping[str, Any]:
        """Contents of diagnosis.json for a round's checkpoint."""
        return json.loads((self.analysis(number) / "diagnosis.json").read_text(encoding="utf-8"))

    def analysed(self, number: int) -> bool:
        """Whether the analysis of a round's checkpoint was finished."""
        return (self.analysis(number) / "diagnosis.json").exists()

    def result(self, number: int) -> StageResult | None:
        """What a round's stage did; None where it failed, was not finished, or there is none."""
        folder = self.folder(number) / "stage"
        return read_result(folder) if number and (folder / "result.json").exists() else None

    def measured(self, number: int) -> Measured | None:
        """How a round's checkpoint did on the held-out and retained problems when a stage measured it; else None."""
        if (own := self.result(number)) is not None:
            return own.after
        for begun in self.state.rounds:
            if begun.start == number and (found := self.result(begun.number)) is not None:
                return found.before
        return None

    def analysis_config(self, number: int) -> AnalyzeConfig:
        """The configuration that analyses a round's checkpoint."""
        model = self.model(number)
        here = directory_of(model)
        teachers = tuple(name for name in self.config.teacher if directory_of(name) != here)
        more: dict[str, Any] = {}
        if self.state.rollouts is not None and number == self.state.current:
            more["rollouts"] = self.state.rollouts
        if number and self.config.max_new_tokens is None:  # checkpoints are compared under one law: the start's
            more["max_new_tokens"] = stored_cap(self.analysis(0))
        return self.config.analysis(model, self.tasks, self.analysis(number), teachers, **more)

    def request(self, begun: Round) -> TrainRequest:
        """The stage of a round as a request to `diag train`."""
        record = stage_record(begun.stage)
        return TrainRequest(
            run=self.analysis(begun.start),
            stage=begun.stage,
            train_tasks=str(self.tasks / "train.jsonl"),
            retain=self.config.retain,
            teachers=self.config.teacher if "teacher" in record.needs else (),
            siblings=self.siblings(begun) if "siblings" in record.needs else (),
            out=self.out / "rounds" / begun.folder / "stage",
            settings=record.read_of({**self.config.settings, **begun.settings}),
            allow_code=self.config.runs_code,
        )

    def siblings(self, begun: Round) -> tuple[str, ...]:
        """Checkpoints that may be merged with the one a round starts from: the user's, and earlier ones of the run."""
        own = (n for n in range(begun.number) if n != begun.start and (n == 0 or self.result(n) is not None))
        return (*self.config.sibling, *(self.model(n) for n in own))

    def next_request(self, stage: str) -> TrainRequest:
        """A request for a stage from the current checkpoint, with all other models that there are."""
        begun = Round(len(self.state.rounds) + 1, stage, self.state.current, {}, "")
        return replace(self.request(begun), teachers=self.config.teacher, siblings=self.siblings(begun))

    def pilot_request(self) -> TrainRequest:
        """A request for pilots from the current checkpoint, with settings of all stages; each takes what it reads."""
        return replace(self.next_request("grpo"), stage=None, settings=dict(self.config.settings))

    def prepared(self, stage: str) -> Prepared:
        """A stage from the current checkpoint, ready to be run."""
        return prepare(self.next_request(stage))

    @property
    def resources(self) -> Mapping[str, Any]:
        """What a stage from the current checkpoint has beyond what its analysis knows: `Resources` fields by name."""
        has: dict[str, Any] = {"siblings": bool(self.next_request("merge").siblings), "to_target": True}
        if (left := self.left) is not None:
            has["budget_tokens"] = left
        return has

    def tokens(self, number: int) -> Tokens:
        """What a round has cost so far; for 0, what the analysis of the start has cost."""
        ids = {problem.id for problem in self.problems.held_out}
        run = self.analysis(number)
        if number == self._analysing or number not in self._drawn:
            self._drawn[number] = analysis_tokens(run, ids)
        diagnosed = self._drawn[number] + pilot_tokens(run / "pilots")
        if number == 0:
            return diagnosed
        return diagnosed + stage_tokens(self.folder(number) / "stage")

    @property
    def spent(self) -> Tokens:
        """What the run has cost so far."""
        return sum((self.tokens(n) for n in range(1, len(self.state.rounds) + 1)), self.tokens(0))

    @property
    def left(self) -> int | None:
        """Tokens left of the budget, at least 0; None: there is no limit."""
        if self.config.budget_tokens is None:
            return None
        return max(0, self.config.budget_tokens - self.spent.total)


@contextmanager
def open_run(config: AutopilotConfig, out: Path, steps: Steps) -> Generator[AutopilotRun]:
    """Begin a run in a folder, or take up the one that the same command began there.

    While the context is open the folder is locked against other processes.

    Raises:
        StoreError: the folder is a file, holds something else, or another process writes to it.
        UsageError: settings that cannot be used, another command than the one that began the run, or changed problems.
        DiagError: tasks that cannot be used.
    """
    check_inputs(config)
    problems = problems_of(config)
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out}: is a file; --out must name a directory")
    state_path, config_path = out / "state.json", out / "config.yaml"
    begun = state_path.exists()
    if not begun and out.is_dir() and any(path.name not in _BEGUN for path in out.iterdir()):
        raise StoreError(f"{out}: not empty and not a folder of `diag run`; choose another --out")
    if not begun:
        check_settings(config, problems)
    out.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(out)
    try:
        if begun:
            check_same(yaml.safe_load(config_path.read_text(encoding="utf-8")), config, out)
            state = load_state(state_path)
            if changed := [name for name, sha in problems.shas.items() if state.shas.get(name) != sha]:
                raise UsageError(f"{out}: the {' and '.join(changed)} problems have changed since it began; {RESUMED}")
        else:
            problems.write(out / "tasks")
            write_atomic(config_path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
            state = AutopilotState(shas=problems.shas)
            state.save(state_path)
        yield AutopilotRun(config, out, problems, steps, Journal(out / "events.jsonl", steps.say), state)
    finally:
        lock.close()


def first_cost(config: AutopilotConfig, progress: Progress | None = None) -> tuple[RunProblems, CostEstimate]:
    """The problems of a run, and what its first analysis would cost; makes pilot draws, writes nothing that stays.

    Args:
        config: what was asked for.
        progress: told of the pilot draws.

    Raises:
        DiagError: tasks, settings or a model that cannot be used.
    """
    check_inputs(config)
    problems = problems_of(config)
    check_settings(config, problems)
    with TemporaryDirectory() as name:
        problems.write(Path(name))
        analysis = config.analysis(config.model, Path(name), Path(name) / "run", ())
        return problems, estimate_cost(analysis, progress)


def check_settings(config: AutopilotConfig, problems: RunProblems) -> None:
    """Refuse a stage setting that is read by no stage which this run can come to.

    Args:
        config: what was asked for, with the settings for whichever stage runs.
        problems: the problems of the run.

    Raises:
        UsageError: there is such a setting; the message names it, the stages that read it, and what they lack.
    """
    there = needs_met(
        demos=any(problem.demos for problem in problems.train),
        pairs=any(problem.pairs for problem in problems.train),
        teacher=bool(config.teacher),
        siblings=True,  # once a stage is kept there are two checkpoints
        retained=config.retain is not None,
    )
    for name in config.settings:
        lacks = {stage: stage_record(stage).lacks(there) for stage in readers(name) if stage not in OPTIONS}
        if all(lacks.values()):
            why = "; ".join(f"{stage} needs {' and '.join(lack)}" for stage, lack in lacks.items())
            raise UsageError(f"stage setting {name}: no stage that this run can choose reads it: {why}")


_BEGUN = {".lock", "tasks", "config.yaml"}
"""Names of what a run that was killed in its first moment may have left, beside names that begin with a dot."""


def check_inputs(config: AutopilotConfig) -> None:
    """Refuse what can be seen to be wrong before anything is drawn.

    Raises:
        UsageError: a model of the zoo that does not exist, or a model that is given twice.
    """
    for flag, names in (("--teacher", config.teacher), ("--sibling", config.sibling)):
        places = [directory_of(name) for name in names]
        for index, place in enumerate(places):
            if place in places[:index]:
                raise UsageError(f"{flag} {names[index]}: is given twice")
    if directory_of(config.model) in [directory_of(name) for name in config.sibling]:
        raise UsageError(f"--sibling {config.model}: is the model itself; give another checkpoint to merge with")
