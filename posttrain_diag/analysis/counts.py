"""`diag import counts` end to end: counts → statistics → diagnosis → plan → report. No model, no texts, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from posttrain_diag.analysis.analyze import Analysis, conclude
from posttrain_diag.analysis.report_data import TRANSCRIPT_COLUMNS
from posttrain_diag.errors import StatsError, UsageError
from posttrain_diag.evidence import Evidence, Settings
from posttrain_diag.importers import CountsTable
from posttrain_diag.recommend import Resources
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.stats import Counts, sampling_flaws
from posttrain_diag.store import RunDir
from posttrain_diag.tasks import TaskSet, write_tasks
from posttrain_diag.types import Problem

NOT_MEASURED = (
    "golds and verifier: not measured, only counts were imported",
    "lenient reading (format-limited problems): not measured, it needs the texts",
    "prefix ladder (guided-reachable problems): not measured, it needs the model",
    "likelihood of correct traces: not measured, it needs the model",
    "chance floor: not measured, exchanging answers needs the texts",
)
"""What counts cannot show, for diagnosis.json and the report."""


_NAMELESS = vars(Problem("", prompt=None, messages=None, answer=None, verifier={}))


class CountedProblems(Mapping[str, Problem]):
    """The problems of a counts file: those that --tasks knows as they are, the others with nothing but their id."""

    def __init__(self, ids: Sequence[str], known: Mapping[str, Problem]) -> None:
        self._ids = dict.fromkeys(ids)
        self.known = {key: known[key] for key in self._ids if key in known} if known else {}

    def __getitem__(self, key: str) -> Problem:
        if key not in self._ids:
            raise KeyError(key)
        found = self.known.get(key)
        if found is None:  # a copy of one nameless problem: a million of them are made on demand, and quickly
            found = object.__new__(Problem)
            vars(found).update(_NAMELESS, id=key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def analyze_counts(
    table: CountsTable,
    out: Path,
    settings: Settings,
    *,
    tasks: TaskSet | None = None,
    temperature: float | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Analysis:
    """Diagnose from counts alone and write a run directory like that of `diag analyze`.

    Args:
        table: the counts, as `read_counts` gives them.
        out: the run directory.
        settings: rollout budget, mastery, level and the k asked for; its sampling law is used for the seed alone.
        tasks: problems to match by id, for prompts and demonstrations.
        temperature: the temperature of the draws, where that is known.
        progress: shown while running; silent by default.
        command: the command line, for the report.

    Raises:
        StatsError: the draws break what every estimator assumes (sampling stopped at the first success, greedy copies).
        UsageError: `tasks` shares no id with the counts.
        StoreError: the run directory holds another run.
    """
    progress = progress or Progress()
    refuse_fatal_flaws(table, temperature)
    problems = CountedProblems(table.counts.index.tolist(), _by_id(table, tasks))
    unknown_law = {*settings.sampling.shown()} - {"seed"} - (set() if temperature is None else {"temperature"})
    absent = {"truncated", "errored", "lenient"} - table.columns.keys()
    evidence = Evidence(
        problems=problems,
        rollouts=pd.DataFrame(columns=TRANSCRIPT_COLUMNS),
        scores=(),
        settings=settings,
        model=None,
        notes=(*NOT_MEASURED, *table.notes, *_matched(problems, tasks)),
        counts=table.counts,
        unrecorded=tuple(sorted(unknown_law | absent)),
    )
    with RunDir(out, create=True).locked() as run:
        run.claim({"model_sha": f"counts:{table.sha}", "sampling": None, "model": None, "tasks": table.source})
        if problems.known:
            write_tasks(tuple(problems.known.values()), run.path / "tasks.jsonl")
        run.event("import counts", command=command, source=table.source, problems=len(problems))
        source = TaskSet((), table.sha, table.source, "counts", table.columns, table.notes)
        has = Resources.of_problems(list(problems.known.values()))
        return conclude(evidence, source, run, progress, command, has)


def refuse_fatal_flaws(table: CountsTable, temperature: float | None) -> None:
    """Stop before anything is computed from draws that no estimator can use.

    Raises:
        StatsError: the draws have such a flaw; the message says which one and what to do.
    """
    drawn = table.counts["drawn"].to_numpy(np.int64)  # erring draws too: a stop counted them
    measured = table.counts["n"].to_numpy(np.int64) > 0
    counts = Counts(drawn[measured], table.counts["c"].to_numpy(np.int64)[measured])
    outcomes = None
    if table.outcomes is not None:
        last = (bits[-1:] for bits, keep in zip(table.outcomes, measured.tolist(), strict=True) if keep)
        outcomes = [[bit == "1"] for bit in last]
    for flaw in sampling_flaws(counts, outcomes=outcomes, temperature=temperature):
        if flaw.fatal:
            raise StatsError(f"{table.source}: these counts cannot be used: {flaw.advice}")


def _by_id(table: CountsTable, tasks: TaskSet | None) -> dict[str, Problem]:
    """The given tasks by their id; empty without tasks.

    Raises:
        UsageError: none of them is in the counts.
    """
    if tasks is None:
        return {}
    known = {problem.id: problem for problem in tasks.problems}
    if not any(key in known for key in table.counts.index):
        raise UsageError(
            f"--tasks {tasks.source}: none of its {len(known)} problem ids is in {table.source} (e.g. "
            f"{tasks.problems[0].id!r} against {table.counts.index[0]!r}); use the same ids in both files"
        )
    return known


def _matched(problems: CountedProblems, tasks: TaskSet | None) -> tuple[str, ...]:
    if tasks is None:
        return ()
    return (
        f"{len(problems.known)} of {len(problems)} problems are in {tasks.source}; {len(tasks.problems)} are in that "
        "file. Its verifier was not run: counts hold no texts to judge",
    )
