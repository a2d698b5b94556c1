"""The ray engine on a real Ray of this machine; slow, and skipped where ray is not installed."""

from __future__ import annotations

import os
import signal
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine

from posttrain_diag.engines.contract import Draw, Prompt, SampleRequest, ScoreRequest
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.engines.ray.cluster import Crew, WorkerNeed, connect
from posttrain_diag.engines.ray.engine import RayEngine, load_ray_engine
from posttrain_diag.errors import EngineError, ModelError
from posttrain_diag.settings.engine import EngineSettings
from posttrain_diag.types import SamplingParams
from posttrain_diag.zoo import resolve_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'posttrain-diag[ray]'"),
    pytest.mark.filterwarnings("ignore"),
]
PARAMS = SamplingParams(max_new_tokens=12)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """One local cluster of two CPUs for all tests here; workers find the test modules."""
    tests = str(Path(__file__).parents[2])  # no folder below it: engines/ray would hide the package ray
    patch = pytest.MonkeyPatch()
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(os.urandom(32).hex())
    patch.setenv("RAY_AUTH_MODE", "token")
    patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    patch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray: Any = import_module("ray")  # it reads its settings when it is imported
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
    patch.undo()


def law(prompt: str) -> dict[str, float]:
    return {"ab": 0.5, "cde": 0.3, prompt[:2]: 0.2}


class Mortal(FakeEngine):
    """Kills its own process, as the kernel would, at its n-th draw or whenever it meets a prompt."""

    def __init__(self, *, at: int | None = None, prompt: str | None = None, mark: Path | None = None) -> None:
        super().__init__(law)
        self.at, self.prompt, self.mark = at, prompt, mark

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        for draw in super().sample(requests, params):
            prompts = [request.prompt.text for request in requests if request.key == draw.key]
            if self.prompt in prompts:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.at is not None and self.drawn >= self.at and self.mark is not None and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield draw


def make(**values: Any) -> RayEngine:
    crew = Crew(connect(None)[0], partial(Mortal, **values), WorkerNeed(1, 0, 0), 2)
    engine = RayEngine(crew, FakeEngine(law), "fake", "fake-model")
    engine.wait_for_first()
    return engine


def requests(n: int, draws: int) -> list[SampleRequest]:
    indices = tuple(range(draws))
    return [
        SampleRequest(f"r{i}", Prompt(text=f"q{i}:"), indices, tuple(1000 * i + j for j in indices)) for i in range(n)
    ]


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_costs_no_draw(tmp_path: Path) -> None:
    engine = make(at=100, mark=tmp_path / "died")
    try:
        made = list(engine.sample(requests(40, 50), PARAMS))
        assert max(Counter((draw.key, draw.sample_idx) for draw in made).values()) == 1
        wanted = {(d.key, d.sample_idx): d for d in FakeEngine(law).sample(requests(40, 50), PARAMS)}
        assert {(d.key, d.sample_idx): d for d in made} == wanted
        assert engine.stats.deaths == 1 and engine.stats.requeued > 0
    finally:
        engine.close()


@pytest.mark.usefixtures("cluster")
def test_a_prompt_that_kills_workers_is_named() -> None:
    engine = make(prompt="q3:")
    try:
        with pytest.raises(EngineError, match="request 'r3': 3 workers died"):
            list(engine.sample(requests(6, 5), PARAMS))
    finally:
        engine.close()


@pytest.mark.usefixtures("cluster")
def test_hf_draws_and_scores_are_those_of_the_hf_engine() -> None:
    model = str(resolve_model("zoo:base"))
    plain = load_hf_engine(model, device="cpu")
    engine = load_ray_engine(EngineSettings(engine="ray", ray_workers=2), model)
    try:
        assert engine.info.model_sha == plain.info.model_sha and engine.info.vocab_size == plain.info.vocab_size
        asked = [
            SampleRequest(f"r{i}", Prompt(text=f"N:{word}="), tuple(range(20)), tuple(range(i * 100, i * 100 + 20)))
            for i, word in enumerate(["eh", "jdf", "bfch"])
        ]
        found = {(d.key, d.sample_idx): d for d in engine.sample(asked, PARAMS)}
        for draw in plain.sample(asked, PARAMS):
            got = found.pop((draw.key, draw.sample_idx))
            assert (got.token_ids, got.text, got.finish_reason) == (draw.token_ids, draw.text, draw.finish_reason)
            assert got.token_logprobs == pytest.approx(draw.token_logprobs, abs=1e-5)
        assert not found
        scored = [ScoreRequest("s", Prompt(text="N:eh="), completion="af")]
        (mine,), (theirs,) = list(engine.score(scored)), list(plain.score(scored))
        assert mine.logprob_T == pytest.approx(theirs.logprob_T, abs=1e-5)
        too_long = [SampleRequest("long", Prompt(text="N:" + "a" * 5000), (0,), (0,))]
        with pytest.raises(EngineError, match=r"^request 'long': the prompt has"):
            list(engine.sample(too_long, PARAMS))
    finally:
        engine.close()


@pytest.mark.usefixtures("cluster")
def test_a_model_only_the_driver_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = str(resolve_model("zoo:base"))
    monkeypatch.setattr("posttrain_diag.engines.open.open_engine", _elsewhere)
    with pytest.raises(ModelError, match=r"worker on node .*does not exist.*same path on every node"):
        load_ray_engine(EngineSettings(engine="ray", ray_workers=1), model)


def _elsewhere(config: Any, model: str) -> Any:
    """What a node without the directory would do."""
    return load_hf_engine(model + "-not-here")
