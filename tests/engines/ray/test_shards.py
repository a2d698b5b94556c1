"""The scheduler of the ray engine, with simulated workers and a simulated clock; ray is not needed."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.engines.ray.shards import MAX_DEATHS, MAX_SIZE, PositionSpan, Scheduler, Shard, ShardSizer


class Cluster:
    """Workers that draw one position at a time; kill, join and slow them down as a test likes."""

    def __init__(self, scheduler: Scheduler, *, poison: Iterable[tuple[int, int]] = ()) -> None:
        self.scheduler = scheduler
        self.poison = set(poison)
        self.now = 0.0
        self.clock: list[tuple[float, int, str]] = []
        self.ticks = itertools.count()
        self.speed: dict[str, float] = {}
        self.work: dict[str, list[tuple[Shard, int]]] = {}
        self.got: Counter[tuple[int, int]] = Counter()
        self.made: Counter[str] = Counter()
        self.given_up: list[Shard] = []
        self.killed = 0

    def join(self, worker: str, s_per_position: float = 0.01) -> None:
        self.speed[worker] = s_per_position
        self.work[worker] = []
        self.scheduler.join(worker, self.now)
        self.wake(worker)

    def wake(self, worker: str) -> None:
        wait_s = self.speed[worker] if self.work[worker] else 1.0
        heapq.heappush(self.clock, (self.now + wait_s, next(self.ticks), worker))

    def kill(self, worker: str) -> None:
        self.killed += 1
        del self.work[worker]
        self.given_up += self.scheduler.lose(worker)

    def feed(self) -> None:
        for worker, queue in self.work.items():
            while (shard := self.scheduler.take(worker, self.now)) is not None:
                queue.append((shard, 0))

    def step(self) -> None:
        self.feed()
        self.now, _, worker = heapq.heappop(self.clock)
        if worker not in self.work:
            return
        queue = self.work[worker]
        if not queue:
            self.wake(worker)
            return
        shard, position = queue[0]
        place = next(shard.places([position]))
        if place in self.poison:
            self.kill(worker)
            self.join(f"after-{worker}", self.speed[worker])
            return
        self.made[worker] += 1
        held = self.scheduler.shard(shard.uid)
        fresh = self.scheduler.deliver(worker, shard.uid, [position])
        assert held is not None or not fresh
        self.got.update(shard.places(fresh))
        if position + 1 < shard.size:
            queue[0] = (shard, position + 1)
        else:
            queue.pop(0)
            assert self.scheduler.finish(worker, shard.uid, self.now) is None
        self.wake(worker)

    def run(self, most: int = 5_000) -> None:
        for _ in range(most):
            if self.scheduler.done or self.given_up:
                return
            self.step()
        raise AssertionError("it never ends")


def expected(sizes: list[int]) -> Counter[tuple[int, int]]:
    return Counter({(request, offset): 1 for request, size in enumerate(sizes) for offset in range(size)})


@given(
    sizes=st.lists(st.integers(0, 90), max_size=12),
    workers=st.integers(1, 5),
    seed=st.integers(0, 2**20),
    upsets=st.integers(0, 25),
)
def test_every_position_comes_exactly_once(sizes: list[int], workers: int, seed: int, upsets: int) -> None:
    """Random deaths, joins, speeds and hangs; deaths spread thinly enough that no shard is given up."""
    rng = random.Random(seed)
    cluster = Cluster(Scheduler(sizes))
    names = itertools.count()
    for _ in range(workers):
        cluster.join(f"w{next(names)}", rng.choice([0.001, 0.01, 0.5]))
    for _ in range(upsets):
        for _ in range(rng.randrange(60)):
            if not cluster.scheduler.done:
                cluster.step()
        alive = list(cluster.work)
        action = rng.choice(["kill", "join", "hang"])
        if action == "kill" and cluster.killed < MAX_DEATHS - 1:
            cluster.kill(rng.choice(alive))
        elif action == "hang" and len(alive) > 1:
            cluster.speed[rng.choice(alive)] = 1e6
        cluster.join(f"w{next(names)}", rng.choice([0.001, 0.01, 0.5]))
    cluster.run()
    assert cluster.got == expected(sizes)
    stats = cluster.scheduler.stats
    assert sum(worker.positions for worker in stats.workers) == sum(sizes)
    assert stats.deaths == cluster.killed
    assert stats.duplicates == sum(cluster.made.values()) - sum(sizes)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=10), seed=st.integers(0, 2**20))
def test_a_poisoned_request_is_named_after_bounded_deaths(sizes: list[int], seed: int) -> None:
    rng = random.Random(seed)
    request = rng.randrange(len(sizes))
    cluster = Cluster(Scheduler(sizes), poison=[(request, rng.randrange(sizes[request]))])
    for number in range(rng.randint(1, 4)):
        cluster.join(f"w{number}")
    cluster.run()
    assert [{span.request for span in shard.spans} for shard in cluster.given_up] == [{request}]
    assert cluster.killed == MAX_DEATHS
    assert max(cluster.got.values(), default=1) == 1


def test_only_the_running_shard_is_blamed_for_a_death() -> None:
    """What waits behind a shard that kills its workers is finished by others."""
    scheduler = Scheduler([32] * 40)
    scheduler.join("a", 0.0)
    first, second = scheduler.take("a", 0.0), scheduler.take("a", 0.0)
    assert first is not None and second is not None
    assert scheduler.lose("a") == []
    scheduler.join("b", 0.0)
    again = [scheduler.take("b", 0.0), scheduler.take("b", 0.0)]
    assert {(shard.spans, shard.deaths) for shard in again if shard} == {(first.spans, 1), (second.spans, 0)}


def test_what_was_delivered_before_a_death_is_not_asked_for_again() -> None:
    scheduler = Scheduler([10, 10])
    scheduler.join("a", 0.0)
    shard = scheduler.take("a", 0.0)
    assert shard is not None
    scheduler.deliver("a", shard.uid, [0, 2, 3, 9])
    scheduler.lose("a")
    scheduler.join("b", 1.0)
    again = scheduler.take("b", 1.0)
    assert again is not None and again.uid != shard.uid
    assert again.spans == (PositionSpan(0, 1, 2), PositionSpan(0, 4, 9))
    assert list(again.places(range(6))) == [(0, 1), *((0, i) for i in range(4, 9))]
    assert scheduler.stats.requeued == 6


def test_a_hung_worker_does_not_hold_up_the_end() -> None:
    scheduler = Scheduler([64] * 20)
    cluster = Cluster(scheduler)
    cluster.join("quick"), cluster.join("hung")
    while scheduler.left > 600:
        cluster.step()
    cluster.speed["hung"] = 1e9
    cluster.run()
    assert cluster.got == expected([64] * 20)
    assert scheduler.stats.reissued > 0
    assert cluster.now < 60.0


def test_even_workers_are_not_given_each_others_shards() -> None:
    scheduler = Scheduler([64] * 50)
    cluster = Cluster(scheduler)
    for number in range(4):
        cluster.join(f"w{number}", 0.01 + number * 0.001)
    cluster.run()
    stats = scheduler.stats
    assert (stats.reissued, stats.duplicates) == (0, 0)
    shares = [worker.positions / 3200 for worker in stats.workers]
    assert max(shares) < 0.32 and min(shares) > 0.18


def test_a_request_stays_in_one_shard_where_it_fits() -> None:
    scheduler = Scheduler([20] * 30)
    cluster = Cluster(scheduler)
    cluster.join("a"), cluster.join("b")
    shards: list[Shard] = []
    while not scheduler.done:
        cluster.feed()
        shards += [shard for queue in cluster.work.values() for shard, _ in queue if shard not in shards]
        cluster.step()
    large = [shard for shard in shards if shard.size >= 20]
    assert large and all(span.size == 20 for shard in large for span in shard.spans)


def test_late_answers_of_an_earlier_call_are_dropped() -> None:
    uids, sizer = itertools.count(), ShardSizer()
    first = Scheduler([8], sizer, uids)
    first.join("a", 0.0)
    old = first.take("a", 0.0)
    second = Scheduler([8], sizer, uids)
    assert old is not None
    second.join("a", 1.0, [old.uid])
    second.join("b", 1.0)
    new = second.take("b", 1.0)
    assert new is not None and new.uid != old.uid
    assert second.shard(old.uid) is None and second.deliver("a", old.uid, range(8)) == []
    assert second.finish("a", old.uid, 2.0) is None
    assert second.left == 8


def test_an_answer_that_leaves_positions_out_is_seen() -> None:
    scheduler = Scheduler([4])
    scheduler.join("a", 0.0)
    shard = scheduler.take("a", 0.0)
    assert shard is not None
    scheduler.deliver("a", shard.uid, [0, 1, 2])
    assert scheduler.finish("a", shard.uid, 1.0) == shard


@pytest.mark.parametrize(
    ("s_per_position", "low", "high"), [(0.0001, MAX_SIZE, MAX_SIZE), (0.02, 200, 1600), (5.0, 8, 32)]
)
def test_shards_grow_to_seconds(s_per_position: float, low: int, high: int) -> None:
    sizer = ShardSizer()
    for _ in range(30):
        sizer.add(sizer.size, sizer.size * s_per_position)
    assert low <= sizer.size <= high


def test_shards_grow_past_seconds_while_batches_fill_better() -> None:
    """A batch of long draws takes as long for 8 rows as for 256: seconds alone would starve it."""
    sizer = ShardSizer()
    for _ in range(30):
        sizer.add(sizer.size, 20.0 * max(1.0, sizer.size / 256))
    assert sizer.size >= 256


def test_memory_grows_with_what_is_in_flight() -> None:
    scheduler = Scheduler(itertools.repeat(256, 20_000))
    for number in range(10):
        scheduler.join(f"w{number}", 0.0)
        scheduler.take(f"w{number}", 0.0)
    assert scheduler.left == 5_120_000 and scheduler.in_flight == 10
