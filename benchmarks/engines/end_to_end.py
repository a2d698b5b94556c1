"""`diag analyze` with 64 draws of 1,000 problems: how much of it is not the engine; and lm-eval computing pass@k beside it."""

from __future__ import annotations

import json
import math
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

DRAWS = 64
KS = (1, 4, 16, 64)


class Timed:
    """An engine whose sampling and scoring run under a clock; everything else passes through."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.wall_s = self.cpu_s = self.tokenize_s = 0.0
        self.draws = self.tokens = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def prompt_ids(self, prompt: Any) -> Any:
        """Counted apart."""
        start = time.perf_counter()
        ids = self._engine.prompt_ids(prompt)
        self.tokenize_s += time.perf_counter() - start
        return ids

    def sample(self, requests: Any, params: Any) -> Iterator[Any]:
        """Time until each draw comes out."""
        for draw in self._timed(lambda: self._engine.sample(requests, params)):
            self.draws += 1
            self.tokens += draw.n_tokens
            yield draw

    def score(self, requests: Any) -> Iterator[Any]:
        """Time until each score comes out."""
        yield from self._timed(lambda: self._engine.score(requests))

    def _timed(self, start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        wall, cpu = time.perf_counter(), time.process_time()
        iterator = iter(start())
        while True:
            item = next(iterator, None)
            self.wall_s += time.perf_counter() - wall
            self.cpu_s += time.process_time() - cpu
            if item is None:
                return
            yield item
            wall, cpu = time.perf_counter(), time.process_time()


class Analyze:
    """Worker side: one whole analysis in this process."""

    def __init__(self, spec: dict[str, Any]) -> None:
        import posttrain_diag.analysis.analyze

        self.module: Any = posttrain_diag.analysis.analyze
        self.spec = spec
        self._analyze(spec["warm_tasks"], 4)

    def analyze(self, n_compared: int) -> dict[str, Any]:
        """Where the time went, and pass@k of the first `n_compared` problems."""
        found, out = self._analyze(self.spec["tasks"], DRAWS)
        rollouts = found.evidence.rollouts
        rollouts = rollouts[(rollouts["arm"] == "main") & (rollouts["sample_idx"] < DRAWS)]
        answers = {p.id: str(p.answer) for p in found.evidence.problems.values()}
        first = set(list(answers)[:n_compared])
        passes: dict[str, list[bool]] = {key: [] for key in first}
        for row in rollouts[rollouts["problem_id"].isin(first)].itertuples():
            passes[str(row.problem_id)].append(answers[str(row.problem_id)] in str(row.text))
        assert all(len(seen) == DRAWS for seen in passes.values()), "analyze lost draws"
        return {**out, "pass_at_k": {f"pass@{k}": _pass_at_k(list(passes.values()), k) for k in KS}}

    def _analyze(self, tasks: str, rollouts: int) -> tuple[Any, dict[str, Any]]:
        from posttrain_diag.settings.analysis import make_config

        run = Path(self.spec["folder"]) / "analysis"
        shutil.rmtree(run, ignore_errors=True)
        config = make_config(
            model=self.spec["model"],
            tasks=tasks,
            out=run,
            rollouts=rollouts,
            allocation="uniform",
            max_new_tokens=64,
            dtype=self.spec["dtype"],
            device="cpu",
        )
        original, conclude, marks = self.module.load_engine, self.module.conclude, dict[str, Any]()

        def load_engine(config: Any) -> Timed:
            start = time.perf_counter(), time.process_time()
            marks["engine"] = Timed(original(config))
            marks["load_s"], marks["load_cpu_s"] = time.perf_counter() - start[0], time.process_time() - start[1]
            return marks["engine"]

        def timed_conclude(*args: Any) -> Any:
            start = time.perf_counter(), time.process_time()
            done = conclude(*args)
            marks["conclude_s"], marks["conclude_cpu_s"] = (
                time.perf_counter() - start[0],
                time.process_time() - start[1],
            )
            return done

        self.module.load_engine, self.module.conclude = load_engine, timed_conclude
        try:
            wall, cpu = time.perf_counter(), time.process_time()
            found = self.module.analyze(config)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        finally:
            self.module.load_engine, self.module.conclude = original, conclude
        engine: Timed = marks.pop("engine")
        return found, {
            "total_s": wall,
            "total_cpu_s": cpu,
            "engine_s": engine.wall_s,
            "engine_cpu_s": engine.cpu_s,
            "tokenize_s": engine.tokenize_s,
            "draws": engine.draws,
            "tokens": engine.tokens,
            "verdict": found.json["bottleneck"],
            **marks,
        }


def _pass_at_k(passes: list[list[bool]], k: int) -> float:
    misses = [1 - math.comb(len(seen) - sum(seen), k) / math.comb(len(seen), k) for seen in passes]
    return statistics.mean(misses)


CONTESTANTS: dict[str, Callable[[dict[str, Any]], Any]] = {"analyze": Analyze}


def end_to_end(work: Path, machine: Any, raw_of: Callable[..., Any], repeats: int, *, quick: bool) -> dict[str, Any]:
    """Driver side: analyses and lm-eval runs, in turn.

    Args:
        work: where files go.
        machine: `benchmarks.engines.driver.Machine`.
        raw_of: makes the file of timings.
        repeats: rounds.
        quick: fewer problems.
    """
    from benchmarks.engines.driver import Contestant, Team
    from benchmarks.engines.models import SHAPES, make_model, make_work
    from benchmarks.engines.report import kept_rows

    n_problems, n_compared = (24, 4) if quick else (1000, 100)
    shape = SHAPES["tiny"]
    made = make_work(shape, n_problems, 0)
    rng = random.Random(3)
    answers = [rng.choice("bcdfghjklmnprstvz") + rng.choice("aeiou") + rng.choice("bcdfg") for _ in made.texts]
    rows = [
        {"id": f"p{i}", "prompt": text, "answer": answer, "verifier": {"type": "contains"}}
        for i, (text, answer) in enumerate(zip(made.texts, answers, strict=True))
    ]
    paths = {"tasks": work / "e2e-tasks.jsonl", "warm_tasks": work / "e2e-warm.jsonl"}
    paths["tasks"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths["warm_tasks"].write_text("".join(json.dumps(row) + "\n" for row in rows[:8]))
    model = {"name": "e2e", "model": str(make_model(shape, work / "models")), "dtype": shape.dtype}
    spec = {**model, "folder": str(work), **{name: str(path) for name, path in paths.items()}}
    spec["work"] = {**asdict(made), "answers": answers}
    raw = raw_of("end_to_end", problems=n_problems, compared=n_compared)
    ours = Contestant("diag analyze", "analyze")
    theirs = Contestant("lm-eval", "lm-eval", {"batch_size": 512})
    runs: dict[str, list[dict[str, Any]]] = {ours.name: [], theirs.name: []}
    with Team(machine, spec, work, raw) as team:
        for repeat in range(repeats):
            row = team.run(ours, "analyze", (n_compared,), repeat=repeat)
            runs[ours.name] += [row] if row else []
            args = (list(range(n_compared)), DRAWS, 1000 + repeat)
            row = team.run(theirs, "pass_at_k", args, repeat=repeat)
            runs[theirs.name] += [row] if row else []
    missing = {row["contestant"]: row["not_run"] for row in raw.rows if "not_run" in row}
    raw.done()
    return {
        "problems": n_problems,
        "compared": n_compared,
        "shape": shape.describe(),
        "runs": runs,
        "missing": missing,
        "rows": kept_rows(raw),
    }


def _ratios(part: dict[str, Any], clock: str) -> list[float]:
    """Draws per second of a whole analysis over those of lm-eval, per round."""
    ours, theirs = part["runs"]["diag analyze"], part["runs"]["lm-eval"]
    total = {"cpu_s": "total_cpu_s", "wall_s": "total_s"}[clock]
    return [(a["draws"] / a[total]) / (b["draws"] / b[clock]) for a, b in zip(ours, theirs, strict=False)]


def outside(run: dict[str, Any], suffix: str) -> float:
    """Share of an analysis, the loading of the model apart, that is neither sampling nor scoring."""
    rest = run[f"total{suffix}"] - run[f"load{suffix}"]
    return 1 - run[f"engine{suffix}"] / rest


def lines(part: dict[str, Any]) -> list[str]:
    """The part's section of results.md."""
    out = ["## End to end", "", f"{part['date']}, load {part['load_1min']}", ""]
    if "not_run" in part:
        return [*out, f"Not run: {part['not_run']}.", ""]
    ours, theirs = part["runs"]["diag analyze"], part["runs"]["lm-eval"]
    out += [
        f"`diag analyze --rollouts {DRAWS} --allocation uniform`, {part['problems']:,} problems, tiny: {part['shape']}.",
        "",
    ]
    for run in ours:
        out.append(
            f"- {run['draws']:,} draws, {run['tokens']:,} tokens: {run['total_s']:.1f} s wall, {run['total_cpu_s']:.1f} "
            f"CPU-s; sampling and scoring {run['engine_s']:.1f} s wall, {run['engine_cpu_s']:.1f} CPU-s; loading "
            f"{run['load_s']:.1f} s; tokenizing prompts outside of sampling {run['tokenize_s']:.1f} s; diagnosis and report "
            f"{run['conclude_s']:.1f} s. **Outside the engine: {outside(run, '_s'):.1%} of wall, "
            f"{outside(run, '_cpu_s'):.1%} of CPU** (loading apart)."
        )
    for name, why in part["missing"].items():
        out.append(f"- {name}: not run: {why}")
    for run in theirs:
        out.append(
            f"- lm-eval, the first {part['compared']} of these problems, {run['draws']:,} draws: {run['wall_s']:.1f} s wall, "
            f"{run['cpu_s']:.1f} CPU-s (loading apart), pass@k only, no report."
        )
    for clock, said in (("cpu_s", "CPU-second"), ("wall_s", "wall-second")):
        if ratios := _ratios(part, clock):
            shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            out.append(f"- Draws per {said}, whole analysis ÷ lm-eval: **{shown}** (one per round).")
    if ours and theirs:
        pairs = ", ".join(f"{k} {v:.3f} / {theirs[0]['pass_at_k'][k]:.3f}" for k, v in ours[0]["pass_at_k"].items())
        out.append(f"- On the same {part['compared']} problems, diag / lm-eval: {pairs}.")
    return [*out, ""]


def failures(part: dict[str, Any]) -> list[str]:
    """What makes the comparison unusable."""
    ours, theirs = (part.get("runs", {}).get(name, []) for name in ("diag analyze", "lm-eval"))
    if not ours or not theirs:
        return []
    a, b = ours[0]["pass_at_k"]["pass@1"], theirs[0]["pass_at_k"]["pass@1"]
    n = DRAWS * part["compared"]
    noise = 4 * (2 * max(a, 1 / n) / n) ** 0.5
    return [f"end to end: pass@1 is {a:.4f} here and {b:.4f} in lm-eval"] if abs(a - b) > noise else []
