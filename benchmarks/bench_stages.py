"""Issue 6's figures: every stage on every bottleneck of the zoo, three seeds.

`make bench-stages` or `python -m benchmarks stages [--seeds=3] [--jobs=2] [--only=TEXT] [--done] [--work=DIR]`. A rerun goes
on where the last one stopped: records lie in DIR (default runs/bench-stages). Writes benchmarks/stages/. What does not
belong in the table (overhead over TRL, LoRA, two processes, SIGKILL) is measured by `python -m benchmarks stages_checks`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stages_report
from stages_cases import Case, cases, inputs_of

from posttrain_diag.errors import UsageError
from posttrain_diag.stages import make_stage_config, train_stage


@dataclass(frozen=True)
class Job:
    """A cell and a seed."""

    case: Case
    seed: int
    work: Path


def start_worker() -> None:
    """One thread each."""
    import torch

    torch.set_num_threads(1)


def record_path(job: Job) -> Path:
    """Where a finished run's figures lie."""
    slug = "".join(c if c.isalnum() else "-" for c in job.case.name)
    return job.work / f"{slug}-{job.seed}.json"


def work_on(job: Job) -> dict[str, Any]:
    """Run one cell; its record is read where it was made before."""
    path = record_path(job)
    if path.exists():
        return json.loads(path.read_text())
    folder = path.with_suffix("")
    record: dict[str, Any] = {"variant": job.case.variant.name, "family": job.case.family, "seed": job.seed}
    config = make_stage_config(seed=job.seed, **job.case.variant.settings)
    try:
        result = train_stage(job.case.variant.stage, inputs_of(job.case, job.seed), config, folder)
    except UsageError as error:  # e.g. "no draw passes": the tool's answer where a stage has nothing to learn from
        record["refused"] = str(error)
    else:
        before, after = result.before, result.after
        record |= {
            "pass@1": [m.estimates["pass@1"].value for m in (before, after)],
            "pass@64": [m.estimates["pass@64"].value for m in (before, after)],
            "retention": [m.retention.value if m.retention else None for m in (before, after)],
            "steps": result.steps,
            "best_step": result.best_step,
            "stopped": result.stopped,
            "collapse": result.collapse,
            "generated_tokens": result.generated_tokens,
            "trained_tokens": result.trained_tokens,
            "cpu_s": result.cpu_s,
        }
        looks = [json.loads(line) for line in (folder / "watch" / "metrics.jsonl").read_text().splitlines()]
        record["kl_nats"] = next(look["kl_nats"] for look in looks if look["step"] == result.best_step)
    shutil.rmtree(folder, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(record))
    scratch.rename(path)
    return record


def run_all(jobs: list[Job], processes: int) -> list[dict[str, Any]]:
    """All records; a line for each as it comes."""
    records: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(processes, start_worker) as pool:
        for record in pool.imap_unordered(work_on, jobs):
            records.append(record)
            print(f"{len(records)}/{len(jobs)} {stages_report.line(record)}", flush=True)
    return records


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", help="cells whose name contains this text; no results are written")
    parser.add_argument("--done", action="store_true", help="run nothing: results of the runs that are there")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-stages"))
    options = parser.parse_args()
    work = options.work.resolve()
    todo = [
        Job(case, seed, work) for seed in range(options.seeds) for case in cases() if (options.only or "") in case.name
    ]
    started = time.perf_counter()
    if options.done:
        records = [json.loads(path.read_text()) for job in todo if (path := record_path(job)).exists()]
    else:
        records = run_all(todo, options.jobs)
    failed = stages_report.report(records, time.perf_counter() - started, write=not options.only)
    sys.exit(f"short of the mark: {'; '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
