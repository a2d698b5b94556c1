"""The workers of a Ray cluster: connect, place one engine on each free slot, notice who comes, answers and dies."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from logging import ERROR
from typing import Any, Literal

from posttrain_diag.engines.contract import Engine
from posttrain_diag.engines.ray.worker import Failure, Hello, SentBatch, Worker
from posttrain_diag.errors import EngineError, MissingExtra, UsageError

POLL_S = 2.0
"""How often the cluster is asked for new nodes."""
START_S = 600.0
"""After this many seconds without any worker the run gives up: pulling an image and loading weights takes minutes."""
MAX_START_FAILURES = 3
"""Workers that die one after another while they load, before the run gives up (or, where others work, waits)."""
RETRY_S = 60.0
"""Seconds to wait after `MAX_START_FAILURES` before workers are started again."""
CLOSE_S = 5.0
"""Time an engine has to close before its process is killed."""
UNREAD_BATCHES = 4
"""Batches a worker may be ahead of the driver; then it waits, so that the driver's memory stays bounded."""


@dataclass(frozen=True)
class WorkerNeed:
    """The resources that one worker takes of a node."""

    cpus: int
    gpus: int
    memory_bytes: int

    def fits(self, resources: dict[str, float]) -> int:
        """How many workers a node with these resources can hold."""
        counts = [resources.get("CPU", 0.0) // self.cpus]
        if self.gpus:
            counts.append(resources.get("GPU", 0.0) // self.gpus)
        if self.memory_bytes:
            counts.append(resources.get("memory", 0.0) // self.memory_bytes)
        return int(min(counts))

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPU", *([f"{self.gpus} GPU"] if self.gpus else [])]
        return ", ".join([*parts, f"{self.memory_bytes / 2**30:.1f} GiB of memory"] if self.memory_bytes else parts)


@dataclass
class Remote:
    """One worker, a Ray actor, as the driver sees it."""

    name: str
    actor: Any
    opening: Any
    """The reference to its `Hello`; None once that came."""
    streams: dict[int, Any] = field(default_factory=dict[int, Any])
    """The generator of each shard's answers by the shard's uid, oldest first."""


@dataclass(frozen=True)
class Event:
    """Something a worker did. `value` is a Hello, a SentBatch, a Failure, or why the worker died."""

    kind: Literal["ready", "failed", "batch", "end", "died"]
    worker: str
    uid: int = -1
    value: Hello | Failure | SentBatch | str = ""


def connect(address: str | None) -> tuple[Any, bool]:
    """Join a cluster, or start one on this machine.

    Args:
        address: "host:port" or "auto"; None: RAY_ADDRESS where it is set, else a cluster of this machine alone.

    Returns:
        The ray module, and whether this process started the cluster.

    Raises:
        MissingExtra: ray is not installed.
        UsageError: an address of Ray Client.
        EngineError: there is no cluster at the address, or it cannot be joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise MissingExtra("ray", "ray", "the ray engine") from error
    if ray.is_initialized():
        return ray, False
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    if target.startswith("ray://"):
        raise UsageError(
            f"--ray-address {target}: Ray Client cannot stream draws; run the command inside the cluster "
            "(`ray job submit -- diag analyze ...`) or on one of its nodes with --ray-address auto"
        )
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": ERROR}
    try:
        ray.init(address=target, **quiet, **({"include_dashboard": False} if target == "local" else {}))
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise EngineError(
            f"no Ray cluster can be joined at {target!r} ({first_line(error)}): start one with `ray start --head`, "
            "or leave --ray-address out for one on this machine; a cluster with token authentication needs "
            "RAY_AUTH_MODE=token and its token here too"
        ) from error
    return ray, target == "local"


class Crew:
    """The workers of a run: as many as fit, or `most`; a dead one is replaced, a new node gets its own."""

    def __init__(self, ray: Any, opener: Callable[[], Engine], need: WorkerNeed, most: int | None) -> None:
        self._ray = ray
        self._need = need
        self._most = most
        self._opener = opener
        self._actor_class = ray.remote(Worker).options(
            num_cpus=need.cpus,
            num_gpus=need.gpus,
            memory=need.memory_bytes or None,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        self._numbers = itertools.count(1)
        self._polled = float("-inf")
        self._alone_since = time.monotonic()
        self._failures = 0
        self._retry_at = float("-inf")
        self.remotes: dict[str, Remote] = {}

    @property
    def ready(self) -> list[Remote]:
        """The workers whose engine is open."""
        return [remote for remote in self.remotes.values() if remote.opening is None]

    def slots(self) -> int:
        """How many workers the cluster can hold now; at least 1, so that an autoscaler sees the need."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        fit = max(1, sum(self._need.fits(resources) for resources in nodes))
        return fit if self._most is None else min(fit, self._most)

    def grow(self) -> None:
        """Ask for workers on slots that have none.

        Raises:
            EngineError: there was no worker for `START_S`.
        """
        now = time.monotonic()
        if now - self._polled < POLL_S or now < self._retry_at:
            return
        self._polled = now
        for _ in range(self.slots() - len(self.remotes)):
            actor = self._actor_class.remote(self._opener)
            name = f"worker-{next(self._numbers)}"
            self.remotes[name] = Remote(name, actor, actor.open.remote())
        if self.ready:
            self._alone_since = now
        elif now - self._alone_since > START_S:
            raise EngineError(
                f"no Ray worker came up within {START_S:.0f} s: each needs {self._need} free on one node, and the "
                f"cluster has {self._free()}; add nodes, or see `ray status`"
            )

    def submit(self, remote: Remote, uid: int, kind: str, args: Sequence[Any]) -> None:
        """Give a worker a shard.

        Args:
            remote: the worker.
            uid: the shard's number, under which the answers come.
            kind: the method of the worker that runs it, "sample" or "score".
            args: arguments of that method.
        """
        method = getattr(remote.actor, kind)
        remote.streams[uid] = method.options(
            num_returns="streaming", _generator_backpressure_num_objects=UNREAD_BATCHES
        ).remote(*args)

    def events(self, timeout_s: float) -> Iterator[Event]:
        """What the workers did, at most one event per worker and shard; waits up to `timeout_s` for the first one."""
        waiting: dict[Any, tuple[Remote, int]] = {}
        for remote in self.remotes.values():
            if remote.opening is not None:
                waiting[remote.opening] = (remote, -1)
            else:
                waiting.update({stream: (remote, uid) for uid, stream in remote.streams.items()})
        if not waiting:
            time.sleep(timeout_s)
            return
        found, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        if not found:
            found, _ = self._ray.wait(list(waiting), num_returns=1, timeout=timeout_s)
        for reference in found:
            remote, uid = waiting[reference]
            if remote.name in self.remotes:
                yield self._opened(remote) if uid < 0 else self._answer(remote, uid)

    def drop(self, remote: Remote) -> None:
        """Forget a worker and see that its process ends."""
        self.remotes.pop(remote.name, None)
        self._polled = float("-inf")
        self._ray.kill(remote.actor)

    def reject(self, remote: Remote) -> None:
        """Drop a worker that cannot be used where it is; its slot is tried again after a while."""
        self.drop(remote)
        self._retry_at = time.monotonic() + RETRY_S

    def close(self) -> None:
        """Close all engines, then end their processes."""
        closing = [remote.actor.close.remote() for remote in self.ready]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
        for remote in list(self.remotes.values()):
            self.drop(remote)

    def _answer(self, remote: Remote, uid: int) -> Event:
        try:
            value = self._ray.get(next(remote.streams[uid]))
        except StopIteration:
            del remote.streams[uid]
            return Event("end", remote.name, uid)
        except self._ray.exceptions.RayError as error:
            self.drop(remote)
            return Event("died", remote.name, uid, first_line(error))
        return Event("failed" if isinstance(value, Failure) else "batch", remote.name, uid, value)

    def _opened(self, remote: Remote) -> Event:
        try:
            value = self._ray.get(remote.opening)
        except self._ray.exceptions.RayError as error:
            self.drop(remote)
            return self._no_start(remote, first_line(error))
        if isinstance(value, Failure):
            self.reject(remote)
            return Event("failed", remote.name, value=value)
        remote.opening = None
        self._failures = 0
        return Event("ready", remote.name, value=value)

    def _no_start(self, remote: Remote, why: str) -> Event:
        """Account for a worker that died while it loaded.

        Raises:
            EngineError: so did those before it, and none works.
        """
        self._failures += 1
        if self._failures >= MAX_START_FAILURES:
            if not self.ready:
                raise EngineError(
                    f"{self._failures} Ray workers in a row died while they opened their engine, the last with: {why}; "
                    "see that posttrain-diag with its extras is installed on every node and that memory suffices"
                )
            self._retry_at = time.monotonic() + RETRY_S
        return Event("died", remote.name, value=why)

    def _free(self) -> str:
        free: dict[str, float] = self._ray.available_resources()
        return f"{free.get('CPU', 0):g} CPU, {free.get('GPU', 0):g} GPU and {free.get('memory', 0) / 2**30:.1f} GiB"


def cluster_gpus(ray: Any) -> bool:
    """Whether any node of the cluster has a GPU."""
    return any(node["Alive"] and node["Resources"].get("GPU", 0) >= 1 for node in ray.nodes())


def first_line(error: BaseException) -> str:
    """What an error says, without the stack that Ray puts around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return f"{type(cause).__name__}: {first_line(cause)}"
    return lines[0] if lines else type(error).__name__
