"""The vllm and openai engines on real vLLM: VLLM_PYTHON names the Python of its environment (make vllm-env)."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.vllm_on_cpu import environment, widen_heads
from posttrain_diag.analysis.analyze import Analysis, analyze
from posttrain_diag.engines.contract import Engine, Prompt, SampleRequest, ScoreRequest
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.engines.hf.load import quiet
from posttrain_diag.engines.openai.engine import load_openai_engine
from posttrain_diag.engines.vllm.engine import VLLMEngine, load_vllm_engine
from posttrain_diag.errors import EngineError
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.tasks import load_tasks
from posttrain_diag.types import SamplingParams
from posttrain_diag.zoo import resolve_model
from posttrain_diag.zoo.registry import load_truth

PYTHON = os.environ.get("VLLM_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="VLLM_PYTHON is not set: the Python of an environment with vLLM"),
    pytest.mark.xdist_group("vllm"),
]
PROBLEMS = load_tasks("builtin:zoo/S").problems[:6]
DRAWS = 800


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """zoo:base with heads of 32, its law unchanged: vLLM's CPU attention knows no heads of 16."""
    return widen_heads(resolve_model("zoo:base"), tmp_path_factory.mktemp("wide") / "base")


@pytest.fixture(scope="module")
def on_vllm(wide: Path) -> Iterator[VLLMEngine]:
    engine = load_vllm_engine(str(wide), python=PYTHON)
    yield engine
    engine.close()


def test_stop_texts_end_draws_as_on_the_hf_engine(wide: Path, on_vllm: VLLMEngine) -> None:
    hf = load_hf_engine(str(wide), device="cpu")
    params = SamplingParams(temperature=0.0, max_new_tokens=24, stop=("|",))
    asked = [SampleRequest(p.id, Prompt(p.prompt, p.messages), (0,), (0,)) for p in PROBLEMS]
    found, wanted = (
        {d.key: (d.text, d.token_ids, d.finish_reason, d.stop_text) for d in engine.sample(asked, params)}
        for engine in (on_vllm, hf)
    )
    assert found == wanted and any(stopped for *_, stopped in wanted.values())
    hf.close()


@pytest.fixture(scope="module")
def server(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a vLLM server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(wide), "--enforce-eager"]
    command += ["--served-model-name", "zoo", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment(), stdout=out, stderr=out, start_new_session=True)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(1)
    else:
        pytest.fail(log.read_text()[-2000:])
    yield f"http://127.0.0.1:{port}/v1"
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="module")
def on_server(server: str, wide: Path) -> Iterator[Engine]:
    engine = load_openai_engine("zoo", base_url=server, tokenizer=str(wide))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def on_hf(wide: Path) -> Engine:
    return load_hf_engine(str(wide), device="cpu")


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue(request.param)


BOTH = pytest.mark.parametrize("engine", ["on_vllm", "on_server"], indirect=True)


def requests() -> list[SampleRequest]:
    seeds = np.random.default_rng(7).integers(0, 2**62, size=(len(PROBLEMS), DRAWS))
    return [
        SampleRequest(problem.id, Prompt(problem.prompt), tuple(range(DRAWS)), tuple(map(int, own)))
        for problem, own in zip(PROBLEMS, seeds, strict=True)
    ]


@BOTH
def test_draws_follow_the_exact_law(engine: Engine, plain_logprobs: Callable[..., Any], wide: Path) -> None:
    """First tokens by chi-square; whole responses by the exact success probabilities of the zoo."""
    from transformers import AutoModelForCausalLM

    from posttrain_diag.tasks import verify

    model = AutoModelForCausalLM.from_pretrained(wide)
    drawn: dict[str, list[Any]] = {problem.id: [] for problem in PROBLEMS}
    for draw in engine.sample(requests(), SamplingParams(max_new_tokens=30)):
        drawn[draw.key].append(draw)
    statistic = freedom = passed = 0.0
    table = load_truth()
    truth = table[(table["model"] == "base") & (table["tasks"] == "S")].set_index("id")["p_low"]
    expected = variance = 0.0
    for problem in PROBLEMS:
        law = np.exp(plain_logprobs(model, engine.prompt_ids(Prompt(problem.prompt)), ())[0])
        seen = Counter(draw.token_ids[0] for draw in drawn[problem.id])
        counts = np.array([seen[token] for token in range(len(law))], float)
        large = law * DRAWS >= 5
        statistic += float(((counts - law * DRAWS)[large] ** 2 / (law * DRAWS)[large]).sum())
        freedom += int(large.sum()) - 1
        passed += sum(verify(draw.text, problem).strict for draw in drawn[problem.id])
        expected += DRAWS * float(truth[problem.id])
        variance += DRAWS * float(truth[problem.id]) * (1 - float(truth[problem.id]))
        assert sorted(draw.sample_idx for draw in drawn[problem.id]) == list(range(DRAWS))
    assert stats.chi2.sf(statistic, freedom) > 1e-3
    assert abs(passed - expected) < 3.5 * variance**0.5, (passed, expected)


@BOTH
def test_scores_and_the_draws_own_log_probabilities_equal_the_hf_engines(engine: Engine, on_hf: Engine) -> None:
    asked = [ScoreRequest(p.id, Prompt(p.prompt), completion=p.demos[0] if p.demos else "ab") for p in PROBLEMS]
    for ours, theirs in zip(sorted(engine.score(asked), key=key), sorted(on_hf.score(asked), key=key), strict=True):
        assert ours.token_ids == theirs.token_ids and (ours.rank_T == theirs.rank_T).all()
        assert np.allclose(ours.logprob_T, theirs.logprob_T, atol=1e-3)
    for law in (SamplingParams(max_new_tokens=20), SamplingParams(temperature=0.7, top_p=0.9, max_new_tokens=20)):
        small = [SampleRequest(r.key, r.prompt, r.sample_indices[:4], r.seeds[:4]) for r in requests()]
        for number, draw in enumerate(engine.sample(small, law)):
            prompt = next(r.prompt for r in small if r.key == draw.key)
            again = ScoreRequest(str(number), prompt, completion_ids=draw.token_ids, append_stop=False)
            (score,) = on_hf.score([again])
            assert np.allclose(score.logprob_T, draw.token_logprobs, atol=1e-3)


def key(score: Any) -> str:
    return score.key


@BOTH
def test_a_response_prefix_is_gone_on_from(engine: Engine, on_hf: Engine) -> None:
    prompt = Prompt(PROBLEMS[0].prompt, response_prefix_ids=engine.response_ids("ab"))
    (draw,) = engine.sample(
        [SampleRequest("q", prompt, (0,), (3,))], SamplingParams(temperature=0.0, max_new_tokens=20)
    )
    (same,) = on_hf.sample([SampleRequest("q", prompt, (0,), (3,))], SamplingParams(temperature=0.0, max_new_tokens=20))
    assert draw.token_ids == same.token_ids and draw.text == same.text


def test_the_check_at_the_start_found_the_same_model(on_vllm: VLLMEngine) -> None:
    assert any("agree with the hf engine's" in notice for notice in on_vllm.info.notices)


def test_sixteen_bits_agree_within_rounding(wide: Path) -> None:
    engine = load_vllm_engine(str(wide), python=PYTHON, dtype="bfloat16")
    assert engine.info.dtype == "bfloat16"
    assert any("agree with the hf engine's" in notice for notice in engine.info.notices)
    engine.close()


def test_an_adapter_changes_the_law_as_it_does_in_the_hf_engine(wide: Path, tmp_path: Path, on_hf: Engine) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(wide)
    with quiet():
        model: Any = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    engine = load_vllm_engine(str(tmp_path / "adapter"), python=PYTHON)
    merged = load_hf_engine(str(tmp_path / "adapter"), device="cpu")
    asked = [ScoreRequest("a", Prompt(PROBLEMS[0].prompt), completion="abc")]
    (ours,), (theirs,), (without,) = engine.score(asked), merged.score(asked), on_hf.score(asked)
    engine.close()
    assert np.allclose(ours.logprob_T, theirs.logprob_T, atol=1e-3)
    assert not np.allclose(ours.logprob_T, without.logprob_T, atol=1e-2)


def test_what_vllm_cannot_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"head_dim|head size"):
        load_vllm_engine(str(resolve_model("zoo:base")), python=PYTHON)


def run(out: Path, model: str, **settings: Any) -> Analysis:
    return analyze(make_config(model=model, tasks="builtin:zoo/S", out=out, **settings))


def test_analyze_on_the_vllm_engine(wide: Path, tmp_path: Path) -> None:
    found = run(tmp_path / "run", str(wide), engine="vllm", vllm_python=PYTHON)
    assert found.diagnosis.bottleneck == "reshaping" and not found.diagnosis.failures
    assert found.json["notes"] == [
        note for note in found.json["notes"] if note.startswith("deep_support: the vllm engine")
    ]
    assert set(found.evidence.rollouts["arm"]) >= {"main"} and len(found.evidence.scores) == 100


def test_analyze_on_a_server(server: str, wide: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"engine": "openai", "base_url": server}
    found = run(tmp_path / "with", "zoo", tokenizer=str(wide), **settings)
    assert found.diagnosis.bottleneck == "reshaping" and not found.diagnosis.failures
    assert len(found.evidence.scores) == 100
    bare = run(tmp_path / "without", "zoo", max_new_tokens=40, **settings)
    assert bare.diagnosis.bottleneck == "reshaping" and not bare.diagnosis.failures
    told = [note.partition(":")[0] for note in bare.json["notes"]]
    assert sorted(told) == ["deep_support", "format", "likelihood", "prefix_ladder"]
    assert "give --tokenizer" in (tmp_path / "without" / "report.html").read_text()
