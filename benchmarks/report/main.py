"""The report of a run of a million problems: what it costs to render, how large it is, how fast it opens.

`python -m benchmarks report [--problems N] [--draws N] [--keep DIR]`. A real `analyze` on the synthetic engine makes a run of
1,000 problems; its files are then repeated with new ids and new prompts' hashes until there are N problems: problems.parquet,
tasks.jsonl, the per-problem figures of measurements.json and the main arm of the rollout store. `diag report` renders it in
a process of its own; Chromium then opens the page from its file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd

from benchmarks.machine import write
from benchmarks.synthetic_engine import SyntheticEngine, make_problems
from posttrain_diag.analysis import analyze as spine
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.store import ParquetStore, RunDir
from posttrain_diag.store.columns import COLUMNS
from posttrain_diag.store.shards import read_groups, sorted_rows, write_shard
from posttrain_diag.tasks import write_tasks

BY_NAME_ONLY = "needs a browser, and a run of a million problems"

SEED_PROBLEMS = 1000
TOKENS = 60
TARGETS = {"bytes": 5_000_000, "wall_s": 60.0, "peak_mb": 2000.0, "rows_s": 3.0}
OPENINGS = 5


def seed_run(folder: Path, problems: int, draws: int) -> RunDir:
    """A real run on the synthetic engine."""
    write_tasks(make_problems(problems), folder / "tasks.jsonl")
    setattr(spine, "load_engine", lambda _: SyntheticEngine(TOKENS, traces=True))  # noqa: B010
    config = make_config(
        model="synthetic",
        tasks=str(folder / "tasks.jsonl"),
        out=folder / "seed",
        rollouts=draws,
        store="parquet",
        allocation="uniform",
    )
    run = spine.analyze(config).run
    ParquetStore(run.rollouts_path).compact()
    return run


def repeated_id(problem_id: str, copy: int) -> str:
    return f"{problem_id}-{copy:04d}"


def repeat_store(seed: Path, target: Path, copies: int, per_shard: int = 10) -> int:
    """The main arm again for each copy of its problem, the other arms once (probes draw them on a few hundred problems)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    every = pa.concat_tables(table for path in sorted(seed.glob("shard-*")) for table in read_groups(path, COLUMNS))
    main = every.filter(pc.equal(every.column("arm"), "main"))
    renamed = {
        "problem_id": repeated_id,
        "prompt_sha": lambda sha, copy: hashlib.blake2b(f"{sha}|{copy}".encode(), digest_size=12).hexdigest(),
    }

    def copied(copy: int) -> Any:
        table = every if copy == 0 else main
        for name, rename in renamed.items():
            coded = table.column(name).combine_chunks().dictionary_encode()
            names = pa.array([rename(old, copy) for old in coded.dictionary.to_pylist()]).take(coded.indices)
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), names)
        text = pc.binary_join_element_wise(table.column("text"), pa.scalar(str(copy)), " ")
        return table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), text)

    ParquetStore(target).close()  # makes its log
    for number, first in enumerate(range(0, copies, per_shard)):
        parts = [copied(copy) for copy in range(first, min(first + per_shard, copies))]
        write_shard(target / f"shard-{number:06d}.parquet", sorted_rows(pa.concat_tables(parts)))
    return every.num_rows + main.num_rows * (copies - 1)


def repeat_run(seed: RunDir, target: Path, copies: int) -> int:
    """The seed's run directory with every problem `copies` times; how many rollouts it holds."""
    target.mkdir()
    for name in ("config.yaml", "model.json", "run.json", "vocabulary.json", "plan.yaml"):
        shutil.copy(seed.path / name, target / name)
    problems = pd.read_parquet(seed.problems_path)
    size = len(problems)
    frame = pd.concat([problems] * copies, ignore_index=True)
    frame["id"] = [repeated_id(i, copy) for copy in range(copies) for i in problems["id"]]
    frame.to_parquet(target / "problems.parquet")
    lines = [json.loads(line) for line in (seed.path / "tasks.jsonl").read_text().splitlines()]
    with (target / "tasks.jsonl").open("w", encoding="utf-8") as file:
        for copy in range(copies):
            for row in lines:
                more = f" Version {copy}: show every step of your work, then give the answer after four hashes."
                told = {**row, "id": repeated_id(row["id"], copy), "prompt": row["prompt"] + more}
                file.write(json.dumps(told) + "\n")
    made = seed.read_json("measurements.json")
    for figure in (one for measurement in made["measurements"] for one in measurement["figures"]):
        for key, values in figure["data"].items():
            if isinstance(values, list) and len(values) == size:
                ids = key == "problem_id"
                figure["data"][key] = [repeated_id(v, c) if ids else v for c in range(copies) for v in values]
    (target / "measurements.json").write_text(json.dumps(made, indent=1))
    diagnosis = seed.read_json("diagnosis.json")
    diagnosis["samples"] = {key: value * copies for key, value in diagnosis["samples"].items()}
    (target / "diagnosis.json").write_text(json.dumps(diagnosis, indent=1))
    return repeat_store(seed.rollouts_path, target / "rollouts.parquet", copies)


def render(run: Path) -> dict[str, Any]:
    """`diag report` in a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "posttrain_diag", "report", str(run)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_mb": round(after.ru_maxrss / 1024),
        "bytes": (run / "report.html").stat().st_size,
    }


def in_browser(page_path: Path) -> dict[str, Any]:
    """Seconds from the start of the navigation to the rows, and of a search key until the rows are drawn: the slowest of five."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("report: no chromium on PATH (Debian: apt-get install chromium)")
    opened: list[float] = []
    searched: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(OPENINGS):
            page = browser.new_page()
            start = time.perf_counter()
            page.goto(page_path.as_uri(), wait_until="commit")
            page.wait_for_selector("#problem-table tbody tr.row .open")
            opened.append(time.perf_counter() - start)
            spent = page.evaluate(
                """async () => {
                  const field = document.getElementById("search"), start = performance.now();
                  field.value = "7"; field.dispatchEvent(new Event("input"));
                  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                  return performance.now() - start;
                }"""
            )
            searched.append(spent / 1000)
            rows = page.locator("#count").text_content()
            page.close()
        version = browser.version
        browser.close()
    return {"rows_s": round(max(opened), 2), "search_s": round(max(searched), 3), "found": rows, "chromium": version}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="make the run here, or use the one that is there, and leave it")
    args = parser.parse_args()
    folder = Path(args.keep or tempfile.mkdtemp(prefix="bench_report_"))
    folder.mkdir(parents=True, exist_ok=True)
    run = folder / "run"
    try:
        if not (folder / "made.json").exists():
            copies = -(-args.problems // SEED_PROBLEMS)
            rollouts = repeat_run(seed_run(folder, SEED_PROBLEMS, args.draws), run, copies)
            (folder / "made.json").write_text(
                json.dumps({"problems": copies * SEED_PROBLEMS, "rollouts": rollouts, "draws": args.draws})
            )
        made = json.loads((folder / "made.json").read_text())
        found = {**made, **render(run), **in_browser(run / "report.html")}
        print(json.dumps(found, indent=1))
        write("report", "The report of a large run", {"targets": TARGETS, **found}, lines(found))
    finally:
        if args.keep is None:
            shutil.rmtree(folder)


def lines(found: dict[str, Any]) -> list[str]:
    """The results as Markdown."""
    told = (
        ("`diag report`, wall clock", f"{found['wall_s']} s", "60 s", found["wall_s"] < TARGETS["wall_s"]),
        ("its CPU time", f"{found['cpu_s']} s", "", None),
        ("its peak memory", f"{found['peak_mb']:,} MB", "2,000 MB", found["peak_mb"] < TARGETS["peak_mb"]),
        ("report.html", f"{found['bytes']:,} bytes", "5,000,000", found["bytes"] < TARGETS["bytes"]),
        ("from opening the file to the rows", f"{found['rows_s']} s", "3 s", found["rows_s"] < TARGETS["rows_s"]),
        ("a key in the search field", f"{found['search_s']} s", "", None),
    )
    table = [
        f"| {what} | {value} | {target} | {'' if held is None else 'held' if held else 'missed'} |"
        for what, value, target, held in told
    ]
    return [
        f"{found['problems']:,} problems, {found['draws']} draws of each in the main arm, {found['rollouts']:,} rollouts of all arms "
        f"of {TOKENS} tokens in the Parquet store. Chromium {found['chromium']}, the slowest of {OPENINGS} openings.",
        "",
        "| | measured | target | |",
        "|---|---|---|---|",
        *table,
    ]


if __name__ == "__main__":
    main()
