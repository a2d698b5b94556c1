"""`diag run` from each bottleneck of the zoo to the target, without a human.

`python -m benchmarks autopilot [--only=TEXT] [--jobs=2] [--done] [--work=DIR]`; a rerun goes on where the last one stopped.
Writes benchmarks/autopilot/. Each case is a whole `diag run` with training tasks, tasks to retain and, for the pair, the
teachers. "rollback": replay is forbidden, so that what teaches the new skill harms the other tasks.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.stages.cases import RETAINED, SITUATIONS, STAGES, Situation, held_out, inputs_of
from benchmarks.stages.cases import Case as StageCase
from benchmarks.stages.run import start_worker

BY_NAME_ONLY = "takes hours"

TARGET, KEPT = 0.95, 0.95


@dataclass(frozen=True)
class Case:
    """One `diag run`."""

    name: str
    situation: Situation
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    max_stages: int = 4
    teachers: bool = False
    rolled_back: bool = False
    """The right end is the model of the start."""


CASES: tuple[Case, ...] = (
    *(Case(name, SITUATIONS[name]) for name in ("S", "N", "H", "G", "F", "F15", "T", "U")),
    Case("pair", SITUATIONS["pair"], teachers=True),
    Case("S+T", SITUATIONS["S+T"]),
    Case("N+G", Situation("N+G", "zoo:base", ("N", "G"), ())),
    Case("rollback", SITUATIONS["T"], {"replay": 0.0}, max_stages=1, rolled_back=True),
)


def work_on(job: tuple[Case, Path]) -> dict[str, Any]:
    """Run one case in its folder; goes on where it stopped."""
    from posttrain_diag.autopilot import Steps, autopilot, make_autopilot_config
    from posttrain_diag.tasks import write_tasks
    from posttrain_diag.zoo import mastered_problems

    case, work = job
    folder = work / case.name
    folder.mkdir(parents=True, exist_ok=True)
    inputs = inputs_of(StageCase(STAGES[0], case.situation), 0)
    sets = {
        "held": held_out(case.situation, 0),
        "train": (*inputs.train, *inputs.watched),
        "retain": mastered_problems(case.situation.world, RETAINED),
    }
    for name, rows in sets.items():
        if not (folder / f"{name}.jsonl").exists():
            write_tasks(rows, folder / f"{name}.jsonl")
    config = make_autopilot_config(
        model=case.situation.model,
        tasks=str(folder / "held.jsonl"),
        train_tasks=str(folder / "train.jsonl"),
        retain=str(folder / "retain.jsonl"),
        teacher=case.situation.teachers if case.teachers else (),
        target=TARGET,
        keep=KEPT,
        max_stages=case.max_stages,
        settings=dict(case.settings),
    )
    started, cpu = time.perf_counter(), time.process_time()
    found = dict(autopilot(config, folder / "run", Steps()))
    spent = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    record = {"case": case.name, "rolled_back": case.rolled_back, **spent, "result": found}
    return json.loads(json.dumps(record, default=str).replace(f"{work}/", ""))  # no path of this machine


def line(record: Mapping[str, Any]) -> str:
    """One case as a row of the table."""
    found = record["result"]
    rounds = ", ".join(f"{r['stage']} ({r['outcome']})" for r in found["rounds"]) or "none"
    before, after = found["before"], found["after"]
    return (
        f"| {record['case']} | {rounds} | {_value(before, 'pass@1')} -> {_value(after, 'pass@1')} | "
        f"{_value(before, 'retention')} -> {_value(after, 'retention')} | {found['tokens']['total']:,} | "
        f"{record['cpu_s']:.0f} | {found['end']} | {'yes' if right(record) else '**no**'} |"
    )


def _value(measured: Mapping[str, Any], name: str) -> str:
    value = number(measured, name)
    return "" if value is None else f"{value:.3f}"


def number(measured: Mapping[str, Any], name: str) -> float | None:
    """A figure of a result; None where it was not measured."""
    found = measured[name]
    return None if found is None else found["value"]


def right(record: Mapping[str, Any]) -> bool:
    """The target with the rest kept; of the rollback case that nothing was kept."""
    found = record["result"]
    if record["rolled_back"]:
        return bool(found["rounds"]) and all(r["outcome"] == "rolled back" for r in found["rounds"])
    p = number(found["after"], "pass@1") or 0.0
    kept, start = number(found["after"], "retention"), number(found["before"], "retention")
    return p >= TARGET and (kept is None or start is None or kept >= KEPT * start)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", help="cases whose name is this; no results are written")
    parser.add_argument("--done", action="store_true", help="run nothing: results of the cases that are there")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-autopilot"))
    options = parser.parse_args()
    work = options.work.resolve()
    records: list[dict[str, Any]] = []
    jobs = [(case, work) for case in CASES if options.only in (None, case.name)]
    if options.done:
        paths = [work / f"{case.name}.json" for case, _ in jobs]
        records = [json.loads(path.read_text()) for path in paths if path.exists()]
    else:
        with multiprocessing.get_context("spawn").Pool(options.jobs, start_worker) as pool:
            for record in pool.imap(work_on, jobs):
                path = work / f"{record['case']}.json"
                if not path.exists():  # a case that was whole before says nothing new about its time
                    path.write_text(json.dumps(record))
                records.append(json.loads(path.read_text()))
                print(line(records[-1]), flush=True)
    lines = page(records)
    if not options.only:
        machine.write("autopilot", "From each bottleneck to the target without a human", {"cases": records}, lines)
    print("\n".join(lines))
    missed = [record["case"] for record in records if not right(record)]
    sys.exit(f"short of the mark: {', '.join(missed)}" if missed else 0)


def page(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The Markdown page."""
    good = sum(right(record) for record in records)
    return [
        f"Reached pass@1 >= {TARGET} with {KEPT} of the start's retention (or rolled back, where that is right): {good} of "
        f"{len(records)}; asked: 90%. Held-out problems only.",
        "",
        "| case | stages | pass@1 | retention | tokens, all | CPU-s | ended | right |",
        "|---|---|---|---|---|---|---|---|",
        *(line(record) for record in records),
    ]


if __name__ == "__main__":
    main()
