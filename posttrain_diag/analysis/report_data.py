"""What a report is made of, read back from disk without the model: for a run, a comparison or an autopilot run.

RUN/diagnosis.json, problems.parquet, measurements.json, tasks.jsonl, rollouts  →  ReportData      →  RUN/report.html
DIR/comparison.json, comparison.parquet, and the two runs where they still are  →  ComparisonData  →  DIR/report.html
AUTO/result.json, events.jsonl                                                  →  AutopilotData   →  AUTO/report.html
"""

from __future__ import annotations

import datetime
import io
import json
import shlex
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
from posttrain_reports import (
    AutopilotData,
    ComparisonData,
    ReportData,
    candidate_ids,
    write_autopilot_report,
    write_comparison_report,
    write_report,
)

from posttrain_diag.analysis.token_texts import Key, stored_vocabulary, tokens_by_draw
from posttrain_diag.errors import StoreError
from posttrain_diag.evidence import tally
from posttrain_diag.recommend.duration import with_times
from posttrain_diag.rollouts.stored import first_draws, first_rollouts
from posttrain_diag.store import RunDir, StoredTokens
from posttrain_diag.store.speed import stored_speed
from posttrain_diag.tasks import find_written
from posttrain_diag.types import Problem

TRANSCRIPT_COLUMNS = [
    "problem_id",
    "arm",
    "sample_idx",
    "text",
    "verdict",
    "lenient",
    "extracted",
    "finish_reason",
    "n_tokens",
    "logprob",
]


TRANSCRIPT_ROWS = 100_000
"""Rollouts a report chooses from at most: the first draws of every problem and arm."""


def transcripts(rollouts: pd.DataFrame, tokens: Mapping[Key, StoredTokens] | None = None) -> list[dict[str, Any]]:
    """Rollouts as the report reads them, with "token_ids" and "token_logprobs" where these are given."""
    if len(rollouts) > TRANSCRIPT_ROWS:
        rollouts = rollouts[rollouts["sample_idx"] < first_draws(tally(rollouts), TRANSCRIPT_ROWS)]
    columns = {name: rollouts[name].astype(object) for name in TRANSCRIPT_COLUMNS}
    told = [column.where(column.notna(), None).tolist() for column in columns.values()]
    made = [dict(zip(TRANSCRIPT_COLUMNS, values, strict=True)) for values in zip(*told, strict=True)]
    if tokens:
        keys = zip(*(rollouts[name] for name in ("prompt_sha", "sampling_sha", "sample_idx")), strict=True)
        for one, key in zip(made, keys, strict=True):
            if (row := tokens.get(key)) is not None:
                one |= {"token_ids": row.ids_T, "token_logprobs": row.logprobs_T}
    return made


def add_texts(problems: pd.DataFrame, by_id: Mapping[str, Problem]) -> None:
    """Add the columns prompt and answer, if any problem is known; both are empty for problems that are not given."""
    found = [by_id.get(key) for key in problems["id"]]
    if any(problem is not None and problem.prompt_text for problem in found):
        problems["prompt"] = [None if problem is None else problem.prompt_text for problem in found]
        problems["answer"] = [None if problem is None else problem.answer for problem in found]


def stored_report(run: RunDir) -> ReportData:
    """The report's data as an earlier `analyze` left it; needs neither model nor tasks file."""
    data, made = run.read_json("diagnosis.json"), run.read_json("measurements.json")
    problems = run.read_problems()
    ids = candidate_ids(problems)
    add_texts(problems, problems_of(run, ids))
    return ReportData(
        diagnosis={**data, "plan": with_times(data["plan"], stored_speed(run))},
        problems=problems,
        measurements=made["measurements"],
        failures=data["failures"],
        transcripts=first_transcripts(run, ids),
        command=made["command"],
        created=made["created"],
        rollouts=data.get("samples", {}).get("rollouts_all_arms"),
        store=run.rollouts_path.name,
        vocabulary=stored_vocabulary(run),
    )


def rerender(folder: Path, *, png: bool = False) -> Path:
    """Write the report of whatever lies in a folder again; returns the page's path.

    Args:
        folder: a run directory, the folder of an autopilot run, or one with comparison.json.
        png: also write the figures as PNG.

    Raises:
        StoreError: there is nothing in it to report.
    """
    kinds = ("svg", "png") if png else ("svg",)
    if (folder / "state.json").exists():
        return write_autopilot_report(stored_autopilot(folder), kinds)
    if (folder / "comparison.json").exists():
        return write_comparison_report(stored_comparison(folder), folder, kinds)
    return write_report(stored_report(RunDir(folder)), folder, png=png)


def stored_autopilot(folder: Path) -> AutopilotData:
    """Read an autopilot run as `diag run` left it.

    Raises:
        StoreError: the run has not ended, or its files cannot be read.
    """
    path = folder / "result.json"
    if not path.exists():
        raise StoreError(f"{folder}: this autopilot run has not ended: the same `diag run` goes on with it")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
        return AutopilotData(result, [json.loads(line) for line in lines], folder)
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder}: not a whole autopilot run ({error}): run the same `diag run` again") from error


def stored_comparison(folder: Path) -> ComparisonData:
    """Read a comparison as `diag compare` left it, with texts and rollouts of the two runs where they still are.

    Raises:
        StoreError: the files of the comparison cannot be read.
    """
    path = folder / "comparison.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        problems = pd.read_parquet(io.BytesIO((folder / "comparison.parquet").read_bytes()))
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder}: not a whole comparison ({error}): run `diag compare` again") from error
    runs = {side: Path(str(found.get(side, {}).get("path", ""))) for side in ("before", "after")}
    ids = candidate_ids(problems)
    for run in runs.values():
        if "prompt" not in problems.columns and (run / "tasks.jsonl").exists():
            add_texts(problems, problems_of(RunDir(run), ids))
    made = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    return ComparisonData(
        found=found,
        problems=problems,
        transcripts={side: first_transcripts(RunDir(run), ids) for side, run in runs.items() if run.is_dir()},
        vocabulary={side: stored_vocabulary(RunDir(run)) for side, run in runs.items() if run.is_dir()},
        command=shlex.join(["diag", "compare", str(runs["before"]), str(runs["after"])]),
        created=made.isoformat(timespec="seconds"),
    )


def problems_of(run: RunDir, ids: Collection[str]) -> dict[str, Problem]:
    """Some problems of a run by id; none where counts were imported without tasks."""
    path = run.path / "tasks.jsonl"
    return find_written(path, ids) if path.exists() else {}


def first_transcripts(run: RunDir, ids: Collection[str]) -> list[dict[str, Any]]:
    """The first draws of some problems in every arm, as the report reads them."""
    if not run.rollouts_path.exists():
        return []
    model_sha = str(run.read_json("run.json")["model_sha"])
    with closing(run.store()) as store:
        rollouts = first_rollouts(store, model_sha, ids, TRANSCRIPT_ROWS)
        return transcripts(rollouts, tokens_by_draw(store, model_sha, rollouts))
