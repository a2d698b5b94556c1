"""The `ray` engine: any other engine on every free GPU (or CPUs) of a Ray cluster, behind one `Engine`.

    requests ──► shards (`shards`) ──► workers (`cluster`, `worker`) ──► each draw once, as it finishes

The driver has the model's tokenizer and never its weights. Draws reach the one writer, the driver's store; what a
dead worker or driver had not handed over is made again, by seed, so with the hf engine it comes out the same.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from posttrain_diag import __version__
from posttrain_diag.engines.contract import Draw, EngineInfo, Prompt, SampleRequest, Score, ScoreRequest
from posttrain_diag.engines.ray.cluster import Crew, Event, Remote, WorkerNeed, cluster_gpus, connect
from posttrain_diag.engines.ray.shards import Scheduler, Shard, ShardSizer, ShardStats
from posttrain_diag.engines.ray.worker import BATCH_S, Failure, Hello, SentBatch, unpack_draw
from posttrain_diag.errors import DiagError, EngineError, ModelError
from posttrain_diag.settings.engine import RayChoice
from posttrain_diag.types import SamplingParams

if TYPE_CHECKING:
    from posttrain_diag.settings.engine import EngineSettings

WAIT_S = 0.5
BATCHES_PER_S = 500
"""What the driver takes without trouble: a batch costs it about half a millisecond whatever it holds."""
_SMALL_MODEL = 20_000_000
_CPUS_LARGE = 2
_WORKER_BYTES = 2**29
"""Memory that one worker is taken to need beside the weights: torch, transformers and a small batch."""
_T = TypeVar("_T")


class Codec(Protocol):
    """Turns text to ids and back, without weights."""

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids the model is conditioned on."""
        ...

    def response_ids(self, completion: str) -> tuple[int, ...]:
        """Token ids of a completion."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of response tokens, special tokens removed."""
        ...


def load_ray_engine(settings: EngineSettings, model: str) -> RayEngine:
    """Join or start a Ray cluster and open `settings.ray_engine` on it.

    Args:
        settings: settings of the `ray` engine and of the engine that its workers run.
        model: directory that every node sees, or hub id, or what a server calls its model.

    Raises:
        ModelError: the model cannot be used, here or on a node (the message names the node).
        EngineError: no cluster, or no worker comes up.
        MissingExtra: ray, or what the worker's engine needs, is not installed.
    """
    from posttrain_diag.engines.open import open_engine

    if Path(model).is_dir():
        model = str(Path(model).resolve())  # workers have another working directory
    own = settings.chosen
    assert isinstance(own, RayChoice)
    inner = settings.model_copy(update={"engine": own.ray_engine})
    opener = partial(open_engine, inner, model)
    codec, sha, n_parameters = _front(inner, model)
    ray, started = connect(own.ray_address)
    gpus = int(own.ray_engine != "openai" and own.device != "cpu" and cluster_gpus(ray))
    cpus = _CPUS_LARGE if n_parameters >= _SMALL_MODEL and not gpus else 1
    need = WorkerNeed(cpus, gpus, 0 if gpus else _WORKER_BYTES + int(1.2 * 4 * n_parameters))
    shut = ray.shutdown if started else None
    engine = RayEngine(Crew(ray, opener, need, own.ray_workers), codec, model, sha, shut)
    engine.wait_for_first()
    return engine


def _front(settings: EngineSettings, model: str) -> tuple[Codec, str, int]:
    """The driver's own view of the model: codec, identity, parameters."""
    if settings.engine == "openai":
        from posttrain_diag.engines.open import open_engine

        client = open_engine(settings, model)  # holds no weights
        return client, client.info.model_sha, 0
    from posttrain_diag.engines.model.files import model_sha
    from posttrain_diag.engines.model.front import n_parameters, open_front

    front = open_front(model, **settings.reading)
    return front.codec, model_sha(front.files), n_parameters(front.files)


@dataclass(frozen=True)
class _Job:
    """One call of `sample` or `score`: what its shards ask of a worker."""

    kind: str
    args: Callable[[Shard], Sequence[Any]]
    names: Callable[[Shard], str]
    """Names the requests of a shard, for messages."""


class RayEngine:
    """An `Engine` on a cluster; make it with `load_ray_engine`."""

    def __init__(
        self, crew: Crew, codec: Codec, model: str, model_sha: str, shut_down: Callable[[], None] | None = None
    ) -> None:
        self._crew = crew
        self._codec = codec
        self._model = model
        self._sha = model_sha
        self._shut_down = shut_down
        self._info: EngineInfo | None = None
        self._notices: list[str] = []
        self._uids = itertools.count()
        self._sizers = {"sample": ShardSizer(), "score": ShardSizer()}
        self._past = ShardStats()
        self._running: Scheduler | None = None
        self._last_death = ""

    @property
    def info(self) -> EngineInfo:
        """What the workers loaded; its notices grow with what happens in the cluster."""
        assert self._info is not None
        counts = self.stats
        events = [
            f"{value} {text}"
            for value, text in (
                (counts.deaths, "Ray workers died and were replaced"),
                (counts.requeued, "draws or scores were given out again after that"),
                (counts.duplicates, "came twice and were kept once"),
            )
            if value
        ]
        summary = (f"ray: {'; '.join(events)}",) if events else ()
        return replace(self._info, notices=(*self._info.notices, *self._notices, *summary))

    @property
    def stats(self) -> ShardStats:
        """Counts of this engine's workers, their speed, deaths and repeats."""
        return self._past if self._running is None else self._past + self._running.stats

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids the model is conditioned on, response prefix included."""
        return self._codec.prompt_ids(prompt)

    def response_ids(self, completion: str) -> tuple[int, ...]:
        """Token ids of a completion as it would follow a prompt (no special tokens added)."""
        return self._codec.response_ids(completion)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of response tokens, special tokens removed."""
        return self._codec.decode(token_ids)

    def wait_for_first(self) -> None:
        """Wait until one worker has its engine open.

        Raises:
            DiagError: the error that the worker reports, or that none comes up.
        """
        while not self._crew.ready:
            self._crew.grow()
            for event in self._crew.events(WAIT_S):
                self._arrival(event)

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        """Draw all requests on the cluster; every draw is yielded once, soon after it is finished, in any order.

        `requests` is indexed when a worker asks, so a lazy sequence is never held as a whole.

        Raises:
            EngineError: a request cannot be drawn, its keys or seeds do not fit, or it ended three workers.
            ModelError: the model's outputs are not numbers.
        """
        keys: set[str] = set()
        sizes: list[int] = []
        for request in requests:
            if request.key in keys:
                raise EngineError(f"request {request.key!r} appears twice in one call: give each request its own key")
            if len(request.sample_indices) != len(request.seeds):
                raise EngineError(
                    f"request {request.key!r} has {len(request.sample_indices)} sample indices and "
                    f"{len(request.seeds)} seeds: give one seed per index"
                )
            keys.add(request.key)
            sizes.append(len(request.seeds))
        job = _Job("sample", lambda shard: (cut_requests(requests, shard), params), _names(requests))
        for (index, offset), packed in self._run(job, sizes):
            yield unpack_draw(requests[index], offset, packed)

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Score all requests on the cluster, in any order.

        Raises:
            EngineError: a completion does not fit, or it ended three workers.
            ModelError: the model's outputs are not numbers.
        """
        job = _Job("score", lambda shard: ([requests[span.request] for span in shard.spans],), _names(requests))
        for _, score in self._run(job, [1] * len(requests)):
            yield score

    def close(self) -> None:
        """End the workers, and the cluster where this engine started it."""
        self._crew.close()
        if self._shut_down is not None:
            self._shut_down()
            self._shut_down = None

    def _run(self, job: _Job, sizes: Sequence[int]) -> Iterator[tuple[tuple[int, int], Any]]:
        """Run a job on the cluster and yield ((request, offset), what came) for every position, once."""
        scheduler = self._running = Scheduler(sizes, self._sizers[job.kind], self._uids)
        for remote in self._crew.ready:
            scheduler.join(remote.name, time.monotonic(), list(remote.streams))
        try:
            while not scheduler.done:
                self._crew.grow()
                for remote in self._crew.ready:
                    self._feed(scheduler, job, remote)
                for event in self._crew.events(WAIT_S):
                    yield from self._take(scheduler, job, event)
        finally:
            self._past, self._running = self._past + scheduler.stats, None

    def _feed(self, scheduler: Scheduler, job: _Job, remote: Remote) -> None:
        while (shard := scheduler.take(remote.name, time.monotonic())) is not None:
            hold_s = max(BATCH_S, len(self._crew.remotes) / BATCHES_PER_S)
            self._crew.submit(remote, shard.uid, job.kind, [*job.args(shard), hold_s])

    def _take(self, scheduler: Scheduler, job: _Job, event: Event) -> Iterator[tuple[tuple[int, int], Any]]:
        now = time.monotonic()
        if isinstance(event.value, SentBatch):
            rows = dict(event.value.rows)
            shard = scheduler.shard(event.uid)
            fresh = scheduler.deliver(event.worker, event.uid, list(rows), event.value.tokens)
            if shard is not None:
                yield from zip(shard.places(fresh), map(rows.__getitem__, fresh), strict=True)
        elif event.kind == "failed" and event.uid >= 0:
            assert isinstance(event.value, Failure)
            if scheduler.shard(event.uid) is not None:
                raise event.value.error()
        elif event.kind == "end":
            short = scheduler.finish(event.worker, event.uid, now)
            if short is not None:
                raise EngineError(f"{job.names(short)}: the worker's engine ended without all of the draws; report it")
        elif event.kind == "died" and event.uid >= 0:
            self._last_death = str(event.value)
            for shard in scheduler.lose(event.worker):
                raise EngineError(
                    f"{job.names(shard)}: {shard.deaths} workers died while they ran it, the last with: "
                    f"{self._last_death}; look at this prompt (length, memory), lower --max-new-tokens, "
                    "or give --batch-rows, then rerun the same command: what was drawn is kept"
                )
        elif self._arrival(event):
            scheduler.join(event.worker, now)

    def _arrival(self, event: Event) -> bool:
        """Account for a worker that opened its engine or could not; returns True where it can work.

        Raises:
            DiagError: it cannot be used, and no other worker can either; else its place is left out with a notice.
        """
        if isinstance(event.value, Failure):
            message = f"Ray worker on node {event.value.node}: {event.value.message}"
            if event.value.kind == "ModelError":
                message += " (a model directory must exist under the same path on every node)"
            return self._leave_out(event.value.error(message))
        if not isinstance(event.value, Hello):
            return False
        wrong = self._misfit(event.value)
        if wrong is not None:
            self._crew.reject(self._crew.remotes[event.worker])
            return self._leave_out(wrong)
        if self._info is None:
            info = event.value.info
            self._info = replace(
                info, engine="ray", notices=(*info.notices, f"ray: workers run the {info.engine} engine")
            )
        return True

    def _leave_out(self, error: DiagError) -> bool:
        if not self._crew.ready:
            raise error
        if (notice := f"left out: {error}") not in self._notices:
            self._notices.append(notice)
        return False

    def _misfit(self, hello: Hello) -> DiagError | None:
        """Why a worker's draws would not be this run's."""
        if hello.version != __version__:
            return EngineError(
                f"Ray worker on node {hello.node} has posttrain-diag {hello.version}, the driver {__version__}: "
                "install the same version on every node"
            )
        if hello.info.model_sha != self._sha:
            return ModelError(
                f"Ray worker on node {hello.node} holds another model under {self._model!r} (hash "
                f"{hello.info.model_sha[:12]}, the driver's is {self._sha[:12]}): give every node the same files"
            )
        return None


def cut_requests(requests: Sequence[SampleRequest], shard: Shard) -> list[SampleRequest]:
    """The part of the requests that a shard holds; its positions count the draws in order."""
    cut: list[SampleRequest] = []
    for index, spans in itertools.groupby(shard.spans, key=lambda span: span.request):
        request = requests[index]
        where = [slice(span.start, span.stop) for span in spans]
        cut.append(
            replace(
                request,
                sample_indices=tuple(i for part in where for i in request.sample_indices[part]),
                seeds=tuple(seed for part in where for seed in request.seeds[part]),
            )
        )
    return cut


def _names(requests: Sequence[SampleRequest] | Sequence[ScoreRequest]) -> Callable[[Shard], str]:
    def names(shard: Shard) -> str:
        keys = list(dict.fromkeys(requests[span.request].key for span in shard.spans))
        return f"request {keys[0]!r}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")

    return names
