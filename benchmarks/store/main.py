"""The rollout stores and everything around an engine: what it costs in time, memory and disk.

`python -m benchmarks store [--parts memory,speed,outside,scale] [--scale-rows N]`. Every measurement runs in a process of its
own, so that peak memory is its own; the synthetic engine draws in microseconds and torch is not imported. CPU seconds
are given beside wall seconds: other work on the machine moves the latter.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.machine import write
from benchmarks.synthetic_engine import SyntheticEngine, make_problems
from posttrain_diag.analysis import analyze as spine
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.store import ParquetStore, RolloutStore, Span, Store
from posttrain_diag.tasks import write_tasks
from posttrain_diag.types import Rollout

KINDS: dict[str, tuple[str, Callable[[Path], Store]]] = {
    "sqlite": ("rollouts.sqlite", RolloutStore),
    "parquet": ("rollouts.parquet", ParquetStore),
}
ENGINE_S = 90.0
"""What an engine takes for 64 draws x 1,000 problems, for the share outside it."""


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def disk_bytes(path: Path) -> int:
    files = [path, *path.parent.glob(f"{path.name}-*")] if path.is_file() else [*path.rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


class Phases(Progress):
    """CPU and wall seconds and peak memory per phase."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self._name, self._cpu, self._wall = "start", time.process_time(), time.perf_counter()

    def phase(self, name: str, detail: str) -> None:
        del detail
        cpu, wall = time.process_time(), time.perf_counter()
        spent = {"cpu_s": round(cpu - self._cpu, 2), "wall_s": round(wall - self._wall, 2), "peak_mb": peak_mb()}
        self.found[self._name] = spent
        self._name, self._cpu, self._wall = name, cpu, wall


def analyze(
    folder: Path, kind: str, problems: int, n: int, tokens: int, traces: bool, pool: int = 509
) -> dict[str, Any]:
    """The real `analyze` on the synthetic engine."""
    write_tasks(make_problems(problems), folder / "tasks.jsonl")
    engine = SyntheticEngine(tokens, traces=traces, pool=pool)
    setattr(spine, "load_engine", lambda _: engine)  # noqa: B010
    config = make_config(
        model="synthetic",
        tasks=str(folder / "tasks.jsonl"),
        out=folder / "run",
        rollouts=n,
        store=kind,
        allocation="uniform",
    )
    phases, cpu = Phases(), time.process_time()
    found = spine.analyze(config, phases)
    phases.phase("end", "")
    return {
        "store": kind,
        "problems": problems,
        "rollouts": found.evidence.drawn,
        "rows in memory": len(found.evidence.rollouts),
        "verdict": found.diagnosis.bottleneck,
        "failures": [failure.error for failure in found.diagnosis.failures],
        "torch": "torch" in sys.modules,
        "peak_mb": peak_mb(),
        "cpu_s": round(time.process_time() - cpu, 2),
        "engine_cpu_s": round(engine.inside_s, 2),
        "phases": {name: spent for name, spent in phases.found.items() if name != "start"},
        "bytes_per_rollout": round(disk_bytes(found.run.rollouts_path) / found.evidence.drawn, 1),
    }


def rollouts(first: int, count: int, per_prompt: int) -> list[Rollout]:
    """Judged rollouts number first .. first + count, `per_prompt` of each prompt, ~60 tokens each."""
    out: list[Rollout] = []
    for number in range(first, first + count):
        prompt, index = divmod(number, per_prompt)
        seed = number * 2654435761 % 2**32
        ids, logprobs, text = TRACES[seed % len(TRACES)]
        passed = seed % 3 == 0
        out.append(
            Rollout(
                problem_id=f"p{prompt:07d}",
                arm="main",
                sample_idx=index,
                seed=seed,
                text=f"{text} #### {seed % 10_000}",
                token_ids=ids,
                token_logprobs=logprobs,
                finish_reason="stop",
                verdict="pass" if passed else "fail",
                strict=passed,
                lenient=passed,
                extracted=str(seed % 10_000),
                score=None,
                engine="synthetic",
                model_sha="0123456789abcdef",
                prompt_sha=f"{prompt * 2654435761:024x}",
                sampling_sha="fedcba9876543210",
                verifier_sha=f"{prompt * 40503:064x}",
                policy_logprob=-12.5,
            )
        )
    return out


def make_traces(size: int = 4093, tokens: int = 60) -> list[tuple[tuple[int, ...], tuple[float, ...], str]]:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i:x}" for i in range(4000)])
    return [
        (
            tuple(rng.integers(3, 32_000, tokens).tolist()),
            tuple((-rng.exponential(0.4, tokens)).astype(np.float32).tolist()),
            " ".join(rng.choice(words, tokens - 10)),
        )
        for _ in range(size)
    ]


TRACES = make_traces()


def speed(folder: Path, kind: str, batch: int, count: int) -> dict[str, Any]:
    """Rollouts written per second, `batch` in a transaction."""
    name, opened = KINDS[kind]
    store, told = opened(folder / name), rollouts(0, count, 256)
    cpu, wall = time.process_time(), time.perf_counter()
    for first in range(0, count, batch):
        store.add_many(told[first : first + batch])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    store.close()
    size = disk_bytes(folder / name)
    return {
        "store": kind,
        "batch": batch,
        "rollouts": count,
        "per_cpu_s": round(count / cpu),
        "per_wall_s": round(count / wall),
        "bytes_per_rollout": round(size / count, 1),
    }


def scale(folder: Path, kind: str, count: int, per_prompt: int = 256) -> dict[str, Any]:
    """Append `count` rollouts, open again, ask what is missing, count, read a sample."""
    name, opened = KINDS[kind]
    store, cpu = opened(folder / name), 0.0
    for first in range(0, count, 4096):
        told = rollouts(first, min(4096, count - first), per_prompt)
        start = time.process_time()
        store.add_many(told)
        cpu += time.process_time() - start
    store.close()
    out: dict[str, Any] = {"store": kind, "rollouts": count, "append_cpu_s": round(cpu, 1), "append_peak_mb": peak_mb()}
    out["bytes_per_rollout"] = round(disk_bytes(folder / name) / count, 1)
    return out


def scale_read(folder: Path, kind: str, count: int, per_prompt: int = 256) -> dict[str, Any]:
    """The reading half of `scale`, in a process of its own."""
    name, opened = KINDS[kind]
    out: dict[str, Any] = {}

    def timed(key: str, ask: Callable[[], Any]) -> Any:
        start = time.process_time()
        answer = ask()
        out[f"{key}_cpu_s"], out[f"{key}_peak_mb"] = round(time.process_time() - start, 2), peak_mb()
        return answer

    store: Store = timed("open", lambda: opened(folder / name))
    model = "0123456789abcdef"
    spans: list[Span] = timed("spans", lambda: store.spans(model))
    owed = timed(
        "missing", lambda: sum(len(store.missing(model, s.prompt_sha, s.sampling_sha, per_prompt)) for s in spans)
    )
    tallies = timed("tallies", lambda: store.tallies(model, spans))
    first = max(1, 200_000 // len(spans))
    rows = timed("sample", lambda: store.rows(model, [Span(s.prompt_sha, s.sampling_sha, 0, first) for s in spans]))
    counted = int(tallies[["c", "failed", "truncated", "errored"]].to_numpy().sum())
    assert (owed, counted) == (-count % per_prompt, count), (owed, counted)
    store.close()
    return {**out, "prompts": len(spans), "sample_rows": len(rows)}


def apart(part: str, folder: Path, **values: Any) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.store.main",
        "--one",
        json.dumps({"part": part, "folder": str(folder), **values}),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    print(part, json.dumps(found), flush=True)
    return found


def one(asked: dict[str, Any]) -> None:
    part, folder = asked.pop("part"), Path(asked.pop("folder"))
    parts: dict[str, Callable[..., dict[str, Any]]] = {
        "analyze": analyze,
        "speed": speed,
        "scale": scale,
        "scale_read": scale_read,
    }
    print(json.dumps(parts[part](folder, **asked)))


def fresh(part: str, **values: Any) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="bench_store_"))
    try:
        return apart(part, folder, **values)
    finally:
        shutil.rmtree(folder)


def measure_scale(count: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="bench_store_"))
    try:
        written = apart("scale", folder, kind="parquet", count=count)
        return {**written, **apart("scale_read", folder, kind="parquet", count=count)}
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=json.loads)
    parser.add_argument("--parts", default="outside,speed,memory,scale")
    parser.add_argument("--scale-rows", type=int, default=10_000_000)
    parser.add_argument("--kinds", default="sqlite,parquet")
    parser.add_argument("--memory-problems", type=int, default=10_000)
    args = parser.parse_args()
    if args.one:
        one(args.one)
        return
    results = Path(__file__).parent / "results.json"
    data: dict[str, Any] = json.loads(results.read_text()).get("parts", {}) if results.exists() else {}
    for part in args.parts.split(","):
        if part == "outside":
            alike = {"problems": 1000, "n": 64}
            data[part] = [fresh("analyze", kind="sqlite", tokens=20, traces=False, **alike)]
            data[part] += [fresh("analyze", kind="parquet", tokens=20, traces=False, **alike)]
            data[part] += [fresh("analyze", kind="sqlite", tokens=60, traces=True, **alike)]
        elif part == "speed":
            asked = [("sqlite", 1, 40_000), ("sqlite", 256, 200_000), ("parquet", 256, 200_000)]
            data[part] = [fresh("speed", kind=kind, batch=batch, count=count) for kind, batch, count in asked]
        elif part == "memory":
            data[part] = [
                fresh("analyze", kind=kind, problems=args.memory_problems, n=256, tokens=60, traces=True, pool=61)
                for kind in args.kinds.split(",")
            ]
        elif part == "scale":
            data[part] = measure_scale(args.scale_rows)
        write("store", "Rollout stores", {"parts": data}, lines(data))


def lines(data: dict[str, Any]) -> list[str]:
    """The results as Markdown."""
    out: list[str] = []
    if "outside" in data:
        out += [
            f"## Outside the engine: 64 draws x 1,000 problems (and the probes' draws), share of {ENGINE_S:g} s of engine",
            "",
        ]
        out += [
            "| store | draws | CPU s outside | share | load | sample | probe | diagnose | report | peak MB |",
            "|" + "---|" * 10,
        ]
        for row in data["outside"]:
            outside = row["cpu_s"] - row["engine_cpu_s"]
            cells = [str(row["phases"][name]["cpu_s"]) for name in ("load", "sample", "probe", "diagnose", "report")]
            head = f"{row['store']} | {row['rollouts']:,} | {outside:.2f} | {outside / (outside + ENGINE_S):.1%}"
            out.append(f"| {head} | {' | '.join(cells)} | {row['peak_mb']:.0f} |")
        out += ["", "Rows 1 and 2: short answers that repeat (zoo-like); row 3: unique traces of 60 tokens.", ""]
    if "speed" in data:
        out += [
            "## Writing judged rollouts of 60 tokens",
            "",
            "| store | batch | rollouts per CPU s | per wall s | bytes each |",
        ]
        out += ["|" + "---|" * 5]
        out += [
            f"| {r['store']} | {r['batch']} | {r['per_cpu_s']:,} | {r['per_wall_s']:,} | {r['bytes_per_rollout']:.0f} |"
            for r in data["speed"]
        ]
        out.append("")
    if "memory" in data:
        out += [
            "## `analyze` on the driver: 256 rollouts per problem, traces of 60 tokens of which a quarter is new",
            "",
        ]
        out += [
            "| store | problems | rollouts | peak MB | CPU s: sample | probe | diagnose | report | rows in memory | bytes each |"
        ]
        out += ["|" + "---|" * 10]
        for r in data["memory"]:
            cells = [str(r["phases"][name]["cpu_s"]) for name in ("sample", "probe", "diagnose", "report")]
            head = f"{r['store']} | {r['problems']:,} | {r['rollouts']:,} | {r['peak_mb']:.0f} | {' | '.join(cells)}"
            out.append(f"| {head} | {r['rows in memory']:,} | {r['bytes_per_rollout']:.0f} |")
        out += ["", "61 different traces compress well: bytes of random ones are in the other tables.", ""]
    if "scale" in data:
        r = data["scale"]
        times = 1e8 / r["rollouts"]
        out += [
            "## Parquet at scale, and 1e8 by proportion",
            "",
            f"| | {r['rollouts']:,} measured | 1e8 extrapolated |",
            "|---|---|---|",
        ]
        out += [f"| append, CPU s | {r['append_cpu_s']} | {r['append_cpu_s'] * times:,.0f} |"]
        out += [f"| append, peak MB | {r['append_peak_mb']} | index grows with prompts only |"]
        for key in ("open", "missing", "tallies", "sample"):
            out.append(f"| {key}, CPU s | {r[key + '_cpu_s']} | {r[key + '_cpu_s'] * times:,.0f} |")
        out += [
            f"| read, peak MB | {r['sample_peak_mb']} | |",
            f"| disk, GB | {r['bytes_per_rollout'] * r['rollouts'] / 1e9:.1f} | {r['bytes_per_rollout'] / 10:.0f} |",
        ]
    return out


if __name__ == "__main__":
    main()
