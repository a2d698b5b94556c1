"""Every stage on every bottleneck of the zoo, three seeds.

`make bench-stages` or `python -m benchmarks stages [--seeds=3] [--jobs=2] [--only=TEXT] [--done] [--resume] [--work=DIR]`.
A rerun goes on where the last one stopped: records lie in DIR (default runs/bench-stages); on another machine, `--resume`
takes those of benchmarks/stages/records.jsonl first. Writes benchmarks/stages/. What does not belong in the table
(overhead over TRL, LoRA, two processes, SIGKILL) is measured by `python -m benchmarks stages_checks`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.records import publish, restore
from benchmarks.stages import report as stages_report
from benchmarks.stages import run as stages_run
from benchmarks.stages.cases import table_cases

BY_NAME_ONLY = "takes hours"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", help="cells whose name contains this text; no results are written")
    parser.add_argument("--done", action="store_true", help="run nothing: results of the runs that are there")
    parser.add_argument("--resume", action="store_true", help="start from the records in the repository")
    parser.add_argument("--work", type=Path, default=stages_run.WORK)
    options = parser.parse_args()
    work = options.work.resolve()
    cases = [case for case in table_cases() if (options.only or "") in case.name]
    jobs = [stages_run.Job(case, seed, work) for seed in range(options.seeds) for case in cases]
    if options.resume:
        print(f"{restore(stages_run.PUBLISHED, work)} records taken over", flush=True)
    started = time.perf_counter()
    runs = stages_run.done(jobs) if options.done else stages_run.run_all(jobs, options.jobs, stages_report.line)
    if not options.only:
        publish(work, stages_run.PUBLISHED)
    failed = stages_report.report(runs, time.perf_counter() - started, write=not options.only)
    sys.exit(f"short of the mark: {'; '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
