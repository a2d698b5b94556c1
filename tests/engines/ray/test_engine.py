"""The ray engine without ray: the crew is a stand-in that runs the real `Worker` in this process."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine

from posttrain_diag.engines.contract import Draw, Prompt, SampleRequest, ScoreRequest
from posttrain_diag.engines.ray import engine as ray_engine_module
from posttrain_diag.engines.ray.cluster import MAX_START_FAILURES, Crew, Event, Remote, WorkerNeed, connect
from posttrain_diag.engines.ray.engine import RayEngine
from posttrain_diag.engines.ray.worker import Failure, Worker, batches, pack_draw, unpack_draw
from posttrain_diag.errors import EngineError, MissingExtra, ModelError, TaskError, UsageError
from posttrain_diag.types import SamplingParams

PARAMS = SamplingParams(max_new_tokens=8)


def law(prompt: str) -> dict[str, float]:
    return {"ab": 0.5, "cde": 0.3, prompt[:2]: 0.2}


class LocalCrew:
    """Runs shards in this process; `dies(request keys)` says when a worker's process would end."""

    def __init__(
        self, opener: Callable[[], Any], workers: int = 2, dies: Callable[[list[str]], bool] | None = None
    ) -> None:
        self._opener = opener
        self._dies = dies or (lambda keys: False)
        self._wanted = workers
        self._numbers = itertools.count()
        self.remotes: dict[str, Remote] = {}
        self.arrivals: list[Event] = []
        self.closed = False

    @property
    def ready(self) -> list[Remote]:
        return [remote for remote in self.remotes.values() if remote.opening is None]

    def grow(self) -> None:
        while len(self.remotes) < self._wanted:
            name = f"w{next(self._numbers)}"
            self.remotes[name] = Remote(name, Worker(self._opener), "opening")

    def reject(self, remote: Remote) -> None:
        del self.remotes[remote.name]

    def submit(self, remote: Remote, uid: int, kind: str, args: Sequence[Any]) -> None:
        sent = pickle.loads(pickle.dumps(args))
        remote.streams[uid] = (sent[0], getattr(remote.actor, kind)(*sent))

    def events(self, timeout_s: float) -> Iterator[Event]:
        for remote in list(self.remotes.values()):
            if remote.opening is not None:
                value = pickle.loads(pickle.dumps(remote.actor.open()))
                if isinstance(value, Failure):
                    del self.remotes[remote.name]
                    self._wanted -= 1
                    yield Event("failed", remote.name, value=value)
                else:
                    remote.opening = None
                    yield Event("ready", remote.name, value=value)
                continue
            for uid in list(remote.streams)[:1]:
                requests, stream = remote.streams[uid]
                if self._dies([request.key for request in requests]):
                    del self.remotes[remote.name]
                    yield Event("died", remote.name, uid, "killed by signal 9")
                    continue
                value = next(stream, None)
                if value is None:
                    del remote.streams[uid]
                    yield Event("end", remote.name, uid)
                else:
                    value = pickle.loads(pickle.dumps(value))
                    yield Event("failed" if isinstance(value, Failure) else "batch", remote.name, uid, value)

    def close(self) -> None:
        self.closed = True


def make(crew: Any) -> RayEngine:
    engine = RayEngine(crew, FakeEngine(law), "fake", "fake-model")
    engine.wait_for_first()
    return engine


def requests(n: int = 5, draws: int = 30) -> list[SampleRequest]:
    indices = tuple(range(2, 2 + draws))
    return [
        SampleRequest(f"r{i}", Prompt(text=f"q{i}:"), indices, tuple(1000 * i + j for j in indices)) for i in range(n)
    ]


def as_set(draws: Iterator[Draw]) -> dict[tuple[str, int], Draw]:
    made = list(draws)
    assert max(Counter((draw.key, draw.sample_idx) for draw in made).values()) == 1
    return {(draw.key, draw.sample_idx): draw for draw in made}


def test_draws_and_scores_equal_the_workers_engine() -> None:
    engine, plain = make(LocalCrew(lambda: FakeEngine(law), workers=3)), FakeEngine(law)
    assert as_set(engine.sample(requests(), PARAMS)) == as_set(plain.sample(requests(), PARAMS))
    asked = [ScoreRequest(f"s{i}", Prompt(text=f"q{i}:"), completion=text) for i, text in enumerate(["ab", "cde"] * 9)]
    scores = {score.key: score for score in engine.score(asked)}
    for wanted in plain.score(asked):
        found = scores.pop(wanted.key)
        assert found.token_ids == wanted.token_ids and found.token_texts == wanted.token_texts
        np.testing.assert_array_equal(found.logprob_T, wanted.logprob_T)
        np.testing.assert_array_equal(found.rank_T, wanted.rank_T)
    assert not scores
    assert engine.prompt_ids(Prompt(text="ab")) == (97, 98) and engine.decode((97, 0)) == "a"
    assert engine.info.engine == "ray" and engine.info.model_sha == "fake-model" and "tilts" in engine.info.lacks
    assert sum(worker.positions for worker in engine.stats.workers) == 5 * 30 + 18


def test_dead_workers_cost_no_draw_and_are_told_of() -> None:
    deaths = iter([False, False, True, False, True, *[False] * 10_000])
    engine = make(LocalCrew(lambda: FakeEngine(law), dies=lambda keys: next(deaths)))
    assert as_set(engine.sample(requests(9), PARAMS)) == as_set(FakeEngine(law).sample(requests(9), PARAMS))
    assert engine.stats.deaths == 2 and engine.stats.requeued > 0
    assert any("2 Ray workers died" in notice for notice in engine.info.notices)


def test_a_request_that_kills_its_workers_is_named() -> None:
    engine = make(LocalCrew(lambda: FakeEngine(law), dies=lambda keys: "r3" in keys))
    with pytest.raises(EngineError, match=r"request 'r3': 3 workers died while they ran it.*signal 9"):
        list(engine.sample(requests(6, 5), PARAMS))


class Broken(FakeEngine):
    """An engine whose sampling fails as the user's own mistakes do."""

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        yield from itertools.islice(super().sample(requests, params), 3)
        raise ModelError(f"request {requests[0].key!r}: the model's logits are NaN")


def test_errors_of_a_worker_come_as_their_own_class() -> None:
    engine = make(LocalCrew(lambda: Broken(law), workers=1))
    with pytest.raises(ModelError, match="'r0': the model's logits are NaN"):
        list(engine.sample(requests(1), PARAMS))


@pytest.mark.parametrize(
    "error", [MissingExtra("torch", "hf", "running a model"), TaskError("bad", ((1, "a", "b"),)), EngineError("no")]
)
def test_errors_survive_the_way_back(error: Any) -> None:
    found = pickle.loads(pickle.dumps(Failure.of(error))).error()
    assert type(found) is type(error) and str(found) == str(error) and vars(found) == vars(error)


def test_a_node_without_the_model_is_named() -> None:
    def opener() -> FakeEngine:
        raise ModelError("the model directory '/m' does not exist")

    with pytest.raises(ModelError, match=r"worker on node .*'/m' does not exist.*same path on every node"):
        make(LocalCrew(opener))


def test_a_late_node_that_cannot_be_used_is_left_out_with_a_notice() -> None:
    count = itertools.count()

    def opener() -> FakeEngine:
        if next(count):
            raise ModelError("the model directory '/m' does not exist")
        return FakeEngine(law)

    engine = make(LocalCrew(opener))
    assert len(as_set(engine.sample(requests(), PARAMS))) == 150
    assert any("left out" in notice and "'/m' does not exist" in notice for notice in engine.info.notices)


def test_a_node_with_other_weights_is_refused() -> None:
    engine = FakeEngine(law)
    engine.info = replace(engine.info, model_sha="another")
    with pytest.raises(ModelError, match="another model under 'fake'"):
        make(LocalCrew(lambda: engine))


def test_a_node_with_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine_module, "__version__", "9.9")
    with pytest.raises(EngineError, match=r"the driver 9\.9: install the same version"):
        make(LocalCrew(lambda: FakeEngine(law)))


def test_keys_that_repeat_are_refused_before_a_draw() -> None:
    engine = make(LocalCrew(lambda: FakeEngine(law)))
    with pytest.raises(EngineError, match="'r0' appears twice"):
        next(engine.sample(requests(1) * 2, PARAMS))
    with pytest.raises(EngineError, match="30 sample indices and 0 seeds"):
        next(engine.sample([replace(requests(1)[0], seeds=())], PARAMS))


def test_a_call_that_is_left_early_does_not_disturb_the_next() -> None:
    engine = make(LocalCrew(lambda: FakeEngine(law)))
    first = engine.sample(requests(8), PARAMS)
    next(first)
    first.close()  # type: ignore[attr-defined]
    later = [replace(request, key=f"later-{request.key}") for request in requests(3)]
    assert as_set(engine.sample(later, PARAMS)) == as_set(FakeEngine(law).sample(later, PARAMS))


@pytest.mark.parametrize("logprobs", [(-0.5, -0.25), (-0.1, float("-inf")), None, ()])
def test_draws_travel_whole(logprobs: tuple[float, ...] | None) -> None:
    request = requests(1)[0]
    draw = Draw("r0", 4, 4, "t\ud800", (1, 200_000), logprobs, "length", "why", logprobs, -3.5, 7)
    assert unpack_draw(request, 2, pickle.loads(pickle.dumps(pack_draw(draw)[0]))) == draw


def test_batches_hold_back_little() -> None:
    """The first row after a quiet time goes at once; rows that come fast go together."""
    rows = ((position, draw) for position, draw in enumerate(FakeEngine(law).sample(requests(1, 500), PARAMS)))
    sizes = [len(batch.rows) for batch in batches(rows, pack_draw) if not isinstance(batch, Failure)]
    assert sizes[0] == 1 and sum(sizes) == 500 and len(sizes) < 20


class RayError(Exception):
    pass


class FakeRay:
    """As much of ray as a crew needs: nodes, actors whose opening dies, wait and get."""

    def __init__(self, nodes: list[dict[str, float]]) -> None:
        self.nodes_now = nodes
        self.asked: list[dict[str, Any]] = []
        self.exceptions = type("exceptions", (), {"RayError": RayError})

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": resources} for resources in self.nodes_now]

    def available_resources(self) -> dict[str, float]:
        return self.nodes_now[0]

    def remote(self, cls: type) -> Any:
        ray = self

        class Handle:
            def options(self, **values: Any) -> Handle:
                ray.asked.append(values)
                return self

            def remote(self, *_: Any) -> Any:
                return type("Actor", (), {"open": type("Open", (), {"remote": staticmethod(object)})})

        return Handle()

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:num_returns], []

    def get(self, reference: Any) -> Any:
        raise RayError("The actor died because of an error raised in its creation task\n  long stack")

    def kill(self, actor: Any) -> None:
        return


def test_workers_that_die_while_they_load_end_the_run() -> None:
    crew = Crew(FakeRay([{"CPU": 8.0, "memory": 2e9}]), FakeEngine, WorkerNeed(2, 0, 10**9), None)
    with pytest.raises(EngineError, match=f"{MAX_START_FAILURES} Ray workers in a row died.*creation task;"):
        for _ in range(10):
            crew.grow()
            list(crew.events(0.0))


@pytest.mark.parametrize(
    ("need", "most", "slots"),
    [
        (WorkerNeed(1, 0, 0), None, 12),
        (WorkerNeed(2, 0, 0), None, 6),
        (WorkerNeed(1, 0, 3 * 10**9), None, 3),
        (WorkerNeed(1, 1, 0), None, 2),
        (WorkerNeed(1, 0, 0), 5, 5),
        (WorkerNeed(64, 0, 0), None, 1),
    ],
)
def test_as_many_workers_as_fit(need: WorkerNeed, most: int | None, slots: int) -> None:
    nodes = [{"CPU": 8.0, "GPU": 2.0, "memory": 8e9}, {"CPU": 4.0, "memory": 4e9}]
    crew = Crew(FakeRay(nodes), FakeEngine, need, most)
    crew.grow()
    assert len(crew.remotes) == slots


def test_ray_client_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = type("ray", (), {"is_initialized": staticmethod(lambda: False)})
    monkeypatch.setattr("posttrain_diag.engines.ray.cluster.import_module", lambda name: fake)
    with pytest.raises(UsageError, match="ray job submit"):
        connect("ray://host:10001")


def test_missing_ray_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("posttrain_diag.engines.ray.cluster.import_module", missing)
    with pytest.raises(MissingExtra, match=r"posttrain-diag\[ray\]"):
        connect(None)
