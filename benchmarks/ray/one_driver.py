"""What one driver of the ray engine can take: cost per rollout, and 1e8 rollouts of 1,000 workers in simulation.

The simulation runs the scheduler itself (posttrain_diag.engines.ray.shards) with simulated workers and a simulated
clock: speeds, deaths and hangs are drawn, everything the driver would do to schedule is done.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posttrain_diag.engines.contract import Draw, EngineInfo, Prompt, SampleRequest
from posttrain_diag.engines.ray.shards import Scheduler, Shard
from posttrain_diag.evidence import MAIN, DrawSpec
from posttrain_diag.rollouts.collect import Collector
from posttrain_diag.rollouts.identity import draw_seed
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.store import RolloutStore
from posttrain_diag.tasks import verify
from posttrain_diag.types import Problem, SamplingParams

WORKERS, ROLLOUTS, PER_PROBLEM = 1000, 100_000_000, 256
DRAWS_PER_S = 10.0
"""Of one simulated worker: 500 tokens a draw at 5,000 tokens/s."""
BATCH = 32
"""Draws a simulated worker hands over at once."""
DEATH_EVERY_H, HANG_EVERY_H, START_S = 24.0, 240.0, 120.0
"""Mean hours between deaths (hangs) of one worker; seconds until its replacement works."""
LENGTHS = (20, 500)
"""Tokens of a draw in the cost table."""


def made_draw(key: str, index: int, seed: int, n_tokens: int) -> Draw:
    rng = np.random.default_rng(index)
    ids, logprobs = rng.integers(0, 150_000, n_tokens), -rng.exponential(1.0, n_tokens).astype(np.float32)
    values = tuple(logprobs.tolist())
    text = " ".join(f"w{i % 997}" for i in ids.tolist())
    return Draw(key, index, seed, text, tuple(ids.tolist()), values, "stop", None, values)


class CannedEngine:
    """Hands out the same few draws at once: what is left is the cost of everything around an engine."""

    def __init__(self, n_tokens: int) -> None:
        self.info = EngineInfo("canned", "canned", "canned", "none", 1, 1, None, "none", "cpu", (0,), ("",), None)
        self._draws = [made_draw("", i, 0, n_tokens) for i in range(64)]

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        """The same 64 draws over and over."""
        for request in requests:
            for index, seed in zip(request.sample_indices, request.seeds, strict=True):
                was = self._draws[index % 64]
                yield Draw(
                    request.key,
                    index,
                    seed,
                    was.text,
                    was.token_ids,
                    was.token_logprobs,
                    "stop",
                    None,
                    was.token_policy_logprobs,
                )

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Any ids will do."""
        return (1,)

    def close(self) -> None:
        """Nothing to free."""
        return


def timed(action: Callable[[], Any], per: int, repeats: int = 5) -> float:
    """Best CPU microseconds per item of a few runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        action()
        best = min(best, time.process_time() - start)
    return 1e6 * best / per


def costs(n_tokens: int) -> dict[str, float]:
    """CPU microseconds of the driver per rollout, step by step."""
    n = 2000
    request = SampleRequest("p|main|x", Prompt(text="x"), tuple(range(n)), tuple(range(n)))
    texts = [made_draw("", i, i, n_tokens).text for i in range(n)]
    problem = Problem("p", "x", None, "w7 w8", {"type": "exact"})
    params = SamplingParams()
    with tempfile.TemporaryDirectory() as folder:
        names = itertools.count()

        def collect(*, one_transaction: bool) -> None:
            store = RolloutStore(Path(folder) / f"{next(names)}.sqlite")
            collector = Collector(CannedEngine(n_tokens), store, {"p": problem}, params)  # type: ignore[arg-type]
            owed = collector.owed([DrawSpec("p", MAIN, n)])
            if one_transaction:
                store._db.execute("BEGIN")
            collector.draw(owed, Progress())
            if one_transaction:
                store._db.execute("COMMIT")
            store.close()

        canned = timed(lambda: list(CannedEngine(n_tokens).sample([request], params)), n, 3)
        return {
            "judge_exact": timed(lambda: [verify(text, problem) for text in texts], n),
            "collect": timed(lambda: collect(one_transaction=False), n, 3) - canned,
            "collect_one_transaction": timed(lambda: collect(one_transaction=True), n, 3) - canned,
        }


def through_ray(n_tokens: int, problems: int, per_problem: int) -> dict[str, float]:
    """Draws of canned engines through a real local Ray: the driver's CPU per draw, and draws per second."""
    from functools import partial

    from posttrain_diag.engines.ray.cluster import Crew, WorkerNeed, connect
    from posttrain_diag.engines.ray.engine import RayEngine

    root = Path(__file__).parents[2]  # the workers import this module; its own folder would hide the package ray
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    ray, _ = connect("local")
    crew = Crew(ray, partial(CannedEngine, n_tokens), WorkerNeed(1, 0, 0), 2)
    engine = RayEngine(crew, None, "canned", "canned", ray.shutdown)  # type: ignore[arg-type]
    try:
        engine.wait_for_first()
        indices = tuple(range(per_problem))
        requests = [SampleRequest(f"p{i}", Prompt(text="x" * 200), indices, indices) for i in range(problems)]
        params = SamplingParams()
        for _ in engine.sample(requests[: problems // 4], params):  # shards find their size
            pass
        cpu, wall, count = time.process_time(), time.perf_counter(), 0
        for _ in engine.sample(requests, params):
            count += 1
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        assert count == problems * per_problem
    finally:
        engine.close()
    return {"driver_cpu_us": 1e6 * cpu / count, "draws_per_s": count / wall}


def bytes_per_draw() -> dict[str, float]:
    """Memory of what describes the draws of one call: requests as collect builds them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n = 400_000
    kept = [
        (tuple(i for i in range(PER_PROBLEM)), tuple(draw_seed(0, str(p), i) for i in range(PER_PROBLEM)))
        for p in range(n // PER_PROBLEM)
    ]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for i in range(20_000):
        draw_seed(0, "0123456789abcdef01234567", i)
    return {
        "request_bytes": 1024 * (after - before) / (len(kept) * PER_PROBLEM),
        "seed_us": 1e6 * (time.process_time() - start) / 20_000,
    }


class Simulation:
    """1,000 workers that draw in batches; deaths, hangs and replacements come at random."""

    def __init__(self, rollouts: int, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.scheduler = Scheduler(itertools.repeat(PER_PROBLEM, rollouts // PER_PROBLEM))
        self.now = 0.0
        self.clock: list[tuple[float, int, str, str]] = []
        self.ticks = itertools.count()
        self.work: dict[str, list[tuple[Shard, int]]] = {}
        self.draws_per_s: dict[str, float] = {}
        self.hung: set[str] = set()
        self.idle: dict[str, None] = {}
        self.handed_on = self.largest_open = 0
        for number in range(WORKERS):
            self.at(self.rng.uniform(0, START_S), "join", f"w{number}")

    def at(self, delay_s: float, what: str, worker: str) -> None:
        """Something happens to a worker later."""
        heapq.heappush(self.clock, (self.now + delay_s, next(self.ticks), what, worker))

    def run(self) -> None:
        """Until every draw was handed on."""
        while not self.scheduler.done:
            self.now, _, what, worker = heapq.heappop(self.clock)
            if what == "join":
                self.work[worker] = []
                self.draws_per_s[worker] = DRAWS_PER_S * self.rng.lognormvariate(0.0, 0.2)
                self.scheduler.join(worker, self.now)
                self.at(self.rng.expovariate(1 / (3600 * DEATH_EVERY_H)), "die", worker)
                self.at(self.rng.expovariate(1 / (3600 * HANG_EVERY_H)), "hang", worker)
                self.feed(worker)
            elif worker not in self.work:
                continue
            elif what == "die":
                del self.work[worker]
                self.idle.pop(worker, None)
                assert not self.scheduler.lose(worker)
                self.at(START_S, "join", f"{worker}'")
            elif what == "hang":
                self.hung.add(worker)
            elif what == "retry":
                self.feed(worker)
            elif worker not in self.hung:
                self.batch(worker)

    def batch(self, worker: str) -> None:
        """A worker hands over draws."""
        shard, made = self.work[worker][0]
        count = min(BATCH, shard.size - made)
        self.handed_on += len(self.scheduler.deliver(worker, shard.uid, range(made, made + count), 500 * count))
        if made + count < shard.size:
            self.work[worker][0] = (shard, made + count)
        else:
            self.work[worker].pop(0)
            assert self.scheduler.finish(worker, shard.uid, self.now) is None
        self.feed(worker)

    def feed(self, worker: str) -> None:
        """A worker takes what the scheduler gives it."""
        queue = self.work[worker]
        while (shard := self.scheduler.take(worker, self.now)) is not None:
            queue.append((shard, 0))
        self.largest_open = max(self.largest_open, self.scheduler.in_flight)
        if not queue:
            self.at(1.0, "retry", worker)
            return
        shard, made = queue[0]
        self.at(min(BATCH, shard.size - made) / self.draws_per_s[worker], "batch", worker)


def simulate(rollouts: int) -> dict[str, float]:
    """Schedule them all; CPU per rollout, memory, repeats, and the share of the workers' time that was of use."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu = time.process_time()
    simulation = Simulation(rollouts)
    planned = simulation.scheduler.left
    simulation.run()
    cpu = time.process_time() - cpu
    stats = simulation.scheduler.stats
    assert simulation.handed_on == planned == sum(worker.positions for worker in stats.workers)
    ideal_s = planned / (WORKERS * DRAWS_PER_S * float(np.exp(0.02)))
    return {
        "rollouts": planned,
        "cpu_s": cpu,
        "cpu_us_per_rollout": 1e6 * cpu / planned,
        "memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "simulated_h": simulation.now / 3600,
        "of_ideal": ideal_s / simulation.now,
        "shards_in_flight": simulation.largest_open,
        "shards": sum(worker.shards for worker in stats.workers),
        "deaths": stats.deaths,
        "requeued": stats.requeued,
        "reissued": stats.reissued,
        "duplicates": stats.duplicates,
    }


def measure(rollouts: int = ROLLOUTS) -> dict[str, Any]:
    """All of it."""
    data: dict[str, Any] = {"simulation": simulate(rollouts), "description": bytes_per_draw()}
    print(data, flush=True)
    data["costs"] = {str(n): costs(n) for n in LENGTHS}
    print(data["costs"], flush=True)
    data["ray"] = {str(n): through_ray(n, 400 if n < 100 else 100, 256) for n in LENGTHS}
    print(data["ray"], flush=True)
    return data


def lines(data: dict[str, Any]) -> list[str]:
    """The driver's part of results.md."""
    sim, described = data["simulation"], data["description"]
    out = [
        f"## {sim['rollouts']:,} rollouts on {WORKERS:,} workers, simulated with the real scheduler",
        "",
        f"Each worker makes {DRAWS_PER_S:g} draws/s (log-normal, sigma 0.2), dies every {DEATH_EVERY_H:g} h, hangs every "
        f"{HANG_EVERY_H:g} h in the mean, and is replaced after {START_S:g} s.",
        "",
        f"- scheduling cost {sim['cpu_us_per_rollout']:.2f} us of CPU per rollout ({sim['cpu_s']:.0f} s in all, the simulation "
        f"itself included), {sim['memory_mb']:.0f} MB of memory, at most {sim['shards_in_flight']} shards open",
        f"- {sim['simulated_h']:.2f} h simulated, {sim['of_ideal']:.1%} of the workers' undisturbed speed; {sim['shards']:,} shards",
        f"- {sim['deaths']} deaths, {sim['requeued']:,} draws given out again, {sim['reissued']:,} given to a second worker, "
        f"{sim['duplicates']:,} came twice and were dropped; every draw was handed on once",
        f"- describing the draws of one call as collect does (indices and seeds) takes {described['request_bytes']:.0f} bytes a "
        f"draw ({described['request_bytes'] * ROLLOUTS / 1e9:.1f} GB for 1e8: ask in chunks), {described['seed_us']:.1f} us for a seed",
        "",
        "## What a rollout costs the driver (one core, CPU microseconds)",
        "",
        "| tokens a draw | receive, dedupe (real Ray) | collect: judge, store.add | of it judge (exact) | "
        "collect in one transaction | rollouts/s | tokens/s | workers of 5,000 tokens/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n in map(str, LENGTHS):
        cost, received = data["costs"][n], data["ray"][n]["driver_cpu_us"]
        rate = 1e6 / (received + cost["collect"])
        out.append(
            f"| {n} | {received:.0f} | {cost['collect']:.0f} | {cost['judge_exact']:.0f} | "
            f"{cost['collect_one_transaction']:.0f} | {rate:,.0f} | {rate * int(n):,.0f} | {rate * int(n) / 5000:.0f} |"
        )
    return [*out, ""]
