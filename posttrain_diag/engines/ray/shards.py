"""Which worker makes which draws: a queue of shards that survives deaths, joins, stragglers and duplicates.

    requests ──► spans cut when a worker asks ──► shards in flight ──► each position handed on once

Pure Python, no ray, no clock of its own: the ray engine drives it with a cluster, tests and `benchmarks ray` with
simulated workers. A position is one draw of one request; memory grows with what is in flight, not with what is asked.
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from statistics import median

SHARD_S = 8.0
"""A shard should take about this long: far above the cost of handing it over, far below what a user waits."""
MAX_SHARD_S = 60.0
"""A shard grows beyond `SHARD_S` only while the engine's batches fill better for it, and never beyond this."""
FIRST_SIZE, MIN_SIZE, MAX_SIZE = 32, 8, 8192
"""Positions of a shard before anything was measured, at the end of a call, and at most."""
GAIN = 1.1
"""Twice the positions must run this much faster per position to be worth twice the shard."""
IN_FLIGHT = 2
"""Shards a worker holds, so that it never waits for the driver."""
STRAGGLER = 2.0
"""With nothing left to give out, a shard held this many times its expected time is given to an idle worker too."""
MIN_STRAGGLER_S = 2.0
MAX_DEATHS = 3
"""A shard that kills this many workers is given up; before its last chance it is split into single requests."""


@dataclass(frozen=True)
class PositionSpan:
    """The positions start..stop-1 of one request; a position is one draw or one score."""

    request: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many positions the span holds."""
        return self.stop - self.start


@dataclass(frozen=True)
class Shard:
    """The positions that one worker is asked for at once."""

    uid: int
    """Unique over all calls of an engine: a late answer is never taken for another's."""
    spans: tuple[PositionSpan, ...]
    deaths: int = 0
    """Workers that died while they ran these positions."""

    @property
    def size(self) -> int:
        """How many positions the shard holds."""
        return sum(span.size for span in self.spans)

    def places(self, positions: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Where positions counted within the shard belong: (request, offset in the request) of each."""
        ends = list(itertools.accumulate(span.size for span in self.spans))
        for position in positions:
            index = bisect_right(ends, position)
            span = self.spans[index]
            yield span.request, span.stop - (ends[index] - position)


@dataclass(frozen=True)
class WorkerStats:
    """What one worker did during a call: positions, tokens and time."""

    worker: str
    positions: int = 0
    """Draws (or scores) it was first to deliver."""
    tokens: int = 0
    busy_s: float = 0.0
    shards: int = 0

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens per second of work; None before its first shard was finished."""
        return self.tokens / self.busy_s if self.busy_s > 0 else None


@dataclass(frozen=True)
class ShardStats:
    """What happened to the shards of a call."""

    workers: tuple[WorkerStats, ...] = ()
    deaths: int = 0
    """Workers that died."""
    requeued: int = 0
    """Positions given out again after a death."""
    reissued: int = 0
    """Positions given to a second worker because the first was slow."""
    duplicates: int = 0
    """Positions delivered twice and dropped once."""

    def __add__(self, other: ShardStats) -> ShardStats:
        """The sums over both calls."""
        workers = {stats.worker: stats for stats in self.workers}
        for more in other.workers:
            was = workers.get(more.worker, WorkerStats(more.worker))
            workers[more.worker] = WorkerStats(
                more.worker,
                was.positions + more.positions,
                was.tokens + more.tokens,
                was.busy_s + more.busy_s,
                was.shards + more.shards,
            )
        return ShardStats(
            tuple(workers.values()),
            self.deaths + other.deaths,
            self.requeued + other.requeued,
            self.reissued + other.reissued,
            self.duplicates + other.duplicates,
        )


@dataclass
class _Open:
    """A shard in flight: who holds it, and which of its positions are still missing."""

    shard: Shard
    missing: bytearray
    left: int
    holders: dict[str, float]
    """The time at which each worker that holds the shard was given it."""
    deaths: int

    def remaining(self) -> Iterator[PositionSpan]:
        """The spans that nobody delivered yet."""
        base = 0
        for span in self.shard.spans:
            at = base
            while (at := self.missing.find(1, at, base + span.size)) >= 0:
                end = self.missing.find(0, at, base + span.size)
                end = base + span.size if end < 0 else end
                yield PositionSpan(span.request, span.start + at - base, span.start + end - base)
                at = end
            base += span.size


class ShardSizer:
    """How many positions a shard should hold, from the time that finished shards took."""

    def __init__(self) -> None:
        self.size = FIRST_SIZE
        self._rates: dict[int, float] = {}
        self._per_position_s: deque[float] = deque(maxlen=64)

    def add(self, size: int, time_s: float) -> None:
        """A worker ran a shard of `size` positions by itself in `time_s`."""
        time_s = max(time_s, 1e-6)
        self._per_position_s.append(time_s / size)
        level = round(log2(size))
        self._rates[level] = 0.7 * self._rates.get(level, size / time_s) + 0.3 * size / time_s
        if size < 0.7 * self.size:  # cut short by the end of a call: says nothing of larger ones
            return
        wanted = self.size
        if time_s < SHARD_S / 2:
            wanted = max(self.size, int(size * min(8.0, SHARD_S / time_s)))
        elif time_s < MAX_SHARD_S / 2 and self._rates[level] > GAIN * self._rates.get(level - 1, 0.0):
            wanted = max(self.size, 2 * size)
        elif time_s > MAX_SHARD_S:
            wanted = size // 2
        self.size = min(MAX_SIZE, max(MIN_SIZE, wanted))

    @property
    def position_s(self) -> float | None:
        """Seconds that one position usually takes; None before anything was measured."""
        return median(self._per_position_s) if self._per_position_s else None


class Scheduler:
    """The positions of one call, each handed on exactly once.

    Args:
        sizes: positions of each request.
        sizer: shared by the calls of an engine, so that later calls start with the right size.
        uids: fresh shard numbers, shared likewise.
    """

    def __init__(
        self, sizes: Iterable[int], sizer: ShardSizer | None = None, uids: Iterator[int] | None = None
    ) -> None:
        self._sizes = array("q", sizes)
        self._sizer = sizer or ShardSizer()
        self._uids = uids or itertools.count()
        self._request = self._offset = 0
        self._uncut = self.left = sum(self._sizes)
        self._queue: deque[Shard] = deque()
        self._open: dict[int, _Open] = {}
        self._held: dict[str, dict[int, float]] = {}
        """Worker -> its shards, oldest first, and since when it has them."""
        self._free_since: dict[str, float] = {}
        self._made: dict[tuple[str, int], int] = {}
        """(worker, shard) -> positions it delivered, its own and others' alike."""
        self._workers: dict[str, WorkerStats] = {}
        self._deaths = self._requeued = self._reissued = self._duplicates = 0

    @property
    def done(self) -> bool:
        """Whether every position was handed on."""
        return self.left == 0

    @property
    def in_flight(self) -> int:
        """How many shards some worker holds."""
        return len(self._open)

    @property
    def stats(self) -> ShardStats:
        """What happened to the shards so far."""
        return ShardStats(tuple(self._workers.values()), self._deaths, self._requeued, self._reissued, self._duplicates)

    def shard(self, uid: int) -> Shard | None:
        """A shard that still lacks positions; None for one that is complete or of another call."""
        entry = self._open.get(uid)
        return None if entry is None else entry.shard

    def join(self, worker: str, now: float, running: Sequence[int] = ()) -> None:
        """Let a worker take shards; `running` are the shards of earlier calls that it has not finished."""
        self._held[worker] = dict.fromkeys(running, now)
        self._free_since[worker] = now
        self._workers.setdefault(worker, WorkerStats(worker))

    def take(self, worker: str, now: float) -> Shard | None:
        """The next shard for a worker; None when it should hold no more now."""
        held = self._held[worker]
        plenty = self._uncut > self._sizer.size * len(self._held)
        if len(held) >= (IN_FLIGHT if plenty else 1):
            return None
        if self._queue:
            shard = self._queue.popleft()
        elif self._uncut:
            shard = Shard(next(self._uids), self._cut())
        else:
            return None if held else self._twin(worker, now)
        self._open[shard.uid] = _Open(shard, bytearray(b"\x01") * shard.size, shard.size, {worker: now}, shard.deaths)
        held[shard.uid] = now
        return shard

    def deliver(self, worker: str, uid: int, positions: Sequence[int], tokens: int = 0) -> list[int]:
        """Account for positions that a worker delivered; returns those that nobody delivered before.

        Args:
            worker: the worker that made them.
            uid: the shard that they belong to.
            positions: the positions, counted within the shard.
            tokens: how many tokens they hold, for the worker's rate.
        """
        entry = self._open.get(uid)
        if entry is None:
            self._duplicates += len(positions)
            self._made.pop((worker, uid), None)  # only half of it is known: no measure of speed
            return []
        missing, fresh = entry.missing, list[int]()
        for position in positions:
            if missing[position]:
                missing[position] = 0
                fresh.append(position)
        self._duplicates += len(positions) - len(fresh)
        entry.left -= len(fresh)
        self.left -= len(fresh)
        self._made[worker, uid] = self._made.get((worker, uid), 0) + len(positions)
        was = self._workers[worker]
        self._workers[worker] = replace(was, positions=was.positions + len(fresh), tokens=was.tokens + tokens)
        if entry.left == 0:
            del self._open[uid]
        return fresh

    def finish(self, worker: str, uid: int, now: float) -> Shard | None:
        """Account for the end of a worker's answer; returns the shard if positions are missing that nobody else has."""
        time_s = now - max(self._held[worker].pop(uid), self._free_since[worker])
        self._free_since[worker] = now
        was = self._workers[worker]
        self._workers[worker] = replace(was, busy_s=was.busy_s + time_s, shards=was.shards + 1)
        made = self._made.pop((worker, uid), 0)
        if made:
            self._sizer.add(made, time_s)
        entry = self._open.get(uid)
        if entry is None:
            return None
        del entry.holders[worker]
        return None if entry.holders else entry.shard

    def lose(self, worker: str) -> list[Shard]:
        """Account for the death of a worker: positions that only it held go back to the queue.

        Returns:
            Shards that are given up, since `MAX_DEATHS` workers died while they ran them; cut to single requests.
        """
        self._deaths += 1
        given_up: list[Shard] = []
        for place, uid in enumerate(self._held.pop(worker)):
            self._made.pop((worker, uid), None)
            entry = self._open.get(uid)
            if entry is None:
                continue
            del entry.holders[worker]
            entry.deaths += place == 0  # the others were waiting behind it
            if entry.holders:
                continue
            del self._open[uid]
            spans = tuple(entry.remaining())
            self._requeued += entry.left
            if entry.deaths >= MAX_DEATHS:
                given_up.append(Shard(uid, spans, entry.deaths))
                continue
            parts = [spans]
            if entry.deaths == MAX_DEATHS - 1:
                parts = [tuple(part) for _, part in itertools.groupby(spans, key=lambda span: span.request)]
            self._queue.extendleft(Shard(next(self._uids), part, entry.deaths) for part in reversed(parts))
        return given_up

    def _cut(self) -> tuple[PositionSpan, ...]:
        """The next spans that nobody was asked for; a request is kept in one shard where it fits."""
        fair = ceil(self._uncut / (2 * max(1, len(self._held))))
        target = max(1, min(self._sizer.size, max(MIN_SIZE, fair)))
        spans: list[PositionSpan] = []
        room = target
        while room > 0 and self._request < len(self._sizes):
            rest = self._sizes[self._request] - self._offset
            if spans and room < rest <= target:
                break
            count = rest if rest <= room or (not spans and rest <= 1.5 * target) else room
            if count:
                spans.append(PositionSpan(self._request, self._offset, self._offset + count))
            self._offset += count
            if self._offset == self._sizes[self._request]:
                self._request, self._offset = self._request + 1, 0
            room -= count
        self._uncut -= sum(span.size for span in spans)
        return tuple(spans)

    def _twin(self, worker: str, now: float) -> Shard | None:
        """The most overdue shard that others hold, for one more worker to run as well."""
        latest, overdue = 0.0, None
        position_s = self._sizer.position_s
        for entry in self._open.values():
            if worker in entry.holders:
                continue
            expected_s = MAX_SHARD_S if position_s is None else entry.shard.size * position_s
            late_s = now - max(entry.holders.values()) - max(MIN_STRAGGLER_S, STRAGGLER * expected_s)
            if late_s > latest:
                latest, overdue = late_s, entry
        if overdue is None:
            return None
        overdue.holders[worker] = now
        self._held[worker][overdue.shard.uid] = now
        self._reissued += overdue.left
        return overdue.shard
