"""`diag analyze` on every case whose bottleneck is known, and on every trap, over three seeds.

`make bench-diagnosis` or `python -m benchmarks diagnosis [--seeds=3] [--jobs=2] [--only=TEXT] [--work=DIR]`. A rerun goes on
where the last one stopped: records lie in DIR (default runs/bench-diagnosis). Writes benchmarks/diagnosis/.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.diagnosis import report
from benchmarks.diagnosis.cases import Case, clean_cases, missing_models
from benchmarks.diagnosis.run import TRUTH, run_case
from benchmarks.diagnosis.traps import traps


@dataclass(frozen=True)
class Job:
    """A case by its place in the list (its builder cannot be sent to another process) and a seed."""

    index: int
    seed: int
    work: Path


def all_cases() -> list[Case]:
    """Every case, clean ones first; names are unique."""
    cases = [*clean_cases(), *traps()]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return cases


def start_worker() -> None:
    """One thread each; no progress bars."""
    import torch

    torch.set_num_threads(1)


def work_on(job: Job) -> dict[str, Any]:
    """Run one case in a worker."""
    case = all_cases()[job.index]
    try:
        return run_case(case, job.seed, job.work)
    except Exception as error:
        error.add_note(f"in the case {case.name!r}, seed {job.seed}")
        raise


def run_all(cases: Sequence[Case], seeds: int, jobs: int, work: Path) -> list[dict[str, Any]]:
    """All records; shows one line per case."""
    everything = [case.name for case in all_cases()]
    todo = [Job(everything.index(case.name), seed, work) for seed in range(seeds) for case in cases]
    records: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(jobs, start_worker) as pool:
        for record in pool.imap_unordered(work_on, todo):
            records.append(record)
            mark = "ok   " if record["verdict"] in record["accepted"] else "WRONG"
            print(
                f"{len(records)}/{len(todo)} {mark} {record['case']} [{record['seed']}]: {record['verdict']} "
                f"{record['confidence']:.2f}, right: {'/'.join(record['accepted'])}; {record['cpu_s']:.1f} s",
                flush=True,
            )
    return in_order(records)


def in_order(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records in the order of the cases, then of the seeds."""
    order = {case.name: i for i, case in enumerate(all_cases())}
    return sorted(records, key=lambda r: (order[r["case"]], r["seed"]))


def done_records(work: Path) -> list[dict[str, Any]]:
    """The records of an earlier call, finished or not, in the order of the cases."""
    return in_order([json.loads(path.read_text()) for path in work.glob("cases/*/record.json")])


def keep_truth(work: Path) -> None:
    """Add newly computed classes to the file that is kept with the results."""
    fresh = [pd.read_csv(path, keep_default_na=False) for path in sorted((work / "truth").glob("*.csv"))]
    if not fresh:
        return
    old = [pd.read_csv(TRUTH, keep_default_na=False)] if TRUTH.exists() else []
    table = pd.concat([*old, *fresh]).drop_duplicates(["model", "prompt"])
    table.to_csv(TRUTH, index=False, compression={"method": "gzip", "mtime": 0})


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", help="cases whose name contains this text; no results are written")
    parser.add_argument("--quick", action="store_true", help="the subset that CI runs; no results are written")
    parser.add_argument("--done", action="store_true", help="run nothing: results of the runs that are there")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-diagnosis"))
    options = parser.parse_args()
    partial = bool(options.only or options.quick)
    if not partial and (missing := missing_models()):
        sys.exit(f"these zoo models are not at hand: run `diag zoo build {' '.join(missing)}` first")
    cases = [c for c in all_cases() if (options.only or "") in c.name and (c.quick or not options.quick)]
    started = time.perf_counter()
    if options.done:
        records = done_records(options.work)
    else:
        records = run_all(cases, options.seeds, options.jobs, options.work.resolve())
    wall_s = time.perf_counter() - started
    if not partial:
        keep_truth(options.work)
    failed = report.report(records, wall_s=wall_s, write=not partial)
    sys.exit(f"short of the mark: {'; '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
