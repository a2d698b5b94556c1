"""Runs cases of the stages grid, one process each, and keeps a record of every run."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records import Record, keep
from benchmarks.stages.cases import Case, inputs_of
from posttrain_diag.errors import UsageError
from posttrain_diag.recommend.forecast import RETENTION_WEIGHT
from posttrain_diag.stages import Measured, make_stage_config, train_stage
from posttrain_diag.types import Problem
from posttrain_diag.zoo import family_of

WORK = Path("runs/bench-stages")
"""Where records lie unless told otherwise."""
PUBLISHED = Path(__file__).parent / "records.jsonl"
"""Where they are kept for good."""


@dataclass(frozen=True)
class Job:
    """A case and a seed."""

    case: Case
    seed: int
    work: Path

    @property
    def path(self) -> Path:
        """Where its record lies."""
        slug = "".join(c if c.isalnum() else "-" for c in self.case.name)
        return self.work / f"{slug}-{self.seed}.json"


def start_worker() -> None:
    """One thread each."""
    import torch

    torch.set_num_threads(1)


def work_on(job: Job) -> Record:
    """Run one case; its record is read where it was made before."""
    path = job.path
    if path.exists():
        return json.loads(path.read_text())
    case, folder = job.case, path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
    inputs = inputs_of(case, job.seed)
    record: Record = {
        "variant": case.variant.name,
        "stage": case.variant.stage,
        "situation": case.situation.name,
        "flavour": case.flavour,
        "seed": job.seed,
        "train": len(inputs.train),
        "demos": sum(bool(problem.demos) for problem in inputs.train),
    }
    config = make_stage_config(seed=job.seed, **case.variant.settings)
    try:
        result = train_stage(case.variant.stage, inputs, config, folder)
    except UsageError as error:  # e.g. "no draw passes": the tool's answer where a stage has nothing to learn from
        record["refused"] = str(error)
    else:
        before, after = result.before, result.after
        looks = [json.loads(line) for line in (folder / "watch" / "metrics.jsonl").read_text().splitlines()]
        record |= {
            "pass@1": [m.estimates["pass@1"].value for m in (before, after)],
            "pass@64": [m.estimates["pass@64"].value for m in (before, after)],
            "families": {name: _rates(name, inputs.held_out, before, after) for name in case.situation.families},
            "retention": [m.retention.value if m.retention else None for m in (before, after)],
            "steps": result.steps,
            "best_step": result.best_step,
            "stopped": result.stopped,
            "collapse": result.collapse,
            "generated_tokens": result.generated_tokens,
            "trained_tokens": result.trained_tokens,
            "cpu_s": result.cpu_s,
            "kl_nats": next(look["kl_nats"] for look in looks if look["step"] == result.best_step),
            "looks": [[look["step"], look["pass_1"], look["retention"]] for look in looks],
        }
    shutil.rmtree(folder, ignore_errors=True)
    keep(record, path)
    return record


def tokens_of(record: Record) -> int:
    """Generated and trained."""
    return record["generated_tokens"] + record["trained_tokens"]


def within(record: Record, budget: int) -> Record:
    """What a run had reached within a token budget: its best look until then, on the probe problems.

    Tokens grow linearly with steps. The first look is the start. Families keep their share of what was won.
    """
    if tokens_of(record) <= budget:
        return record
    share = budget / tokens_of(record)
    looks = [look for look in record["looks"] if look[0] <= share * record["steps"]]
    start = record["looks"][0]
    _, reached, kept = max(looks, key=lambda look: look[1] + RETENTION_WEIGHT * (look[2] - start[2]))
    won = record["pass@1"][1] - record["pass@1"][0]
    part = (reached - start[1]) / won if abs(won) > 0.05 else 1.0
    families = {name: [was, was + part * (now - was)] for name, (was, now) in record["families"].items()}
    cut = {
        "pass@1": [record["pass@1"][0], record["pass@1"][0] + reached - start[1]],
        "retention": [record["retention"][0], record["retention"][0] + kept - start[2]],
        "families": families,
    }
    return {**record, **cut, "generated_tokens": 0, "trained_tokens": budget}


def _rates(name: str, held_out: Sequence[Problem], *measured: Measured) -> list[float]:
    """Mean pass rate on one family, in each measurement."""
    ids = {row.id for row in held_out if family_of(row).name == name}
    own = [[passed / drawn for key, (passed, drawn) in m.counts.items() if key in ids and drawn] for m in measured]
    return [sum(rates) / len(rates) for rates in own]


def run_all(jobs: Sequence[Job], processes: int, line: Callable[[Record], str]) -> list[Record]:
    """All records; a line for each as it comes."""
    records: list[Record] = []
    with multiprocessing.get_context("spawn").Pool(processes, start_worker) as pool:
        for record in pool.imap_unordered(work_on, jobs):
            records.append(record)
            print(f"{len(records)}/{len(jobs)} {line(record)}", flush=True)
    return records


def done(jobs: Iterable[Job]) -> list[Record]:
    """The records that are there."""
    return [json.loads(job.path.read_text()) for job in jobs if job.path.exists()]
