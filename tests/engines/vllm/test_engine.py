"""The vllm engine's driver with a worker that speaks the protocol: its start, its death, its end; vLLM itself is slow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from posttrain_diag.engines.contract import Draw, Prompt, SampleRequest, Score, ScoreRequest, Tilt
from posttrain_diag.engines.vllm import engine as vllm_module
from posttrain_diag.engines.vllm import process as vllm_process
from posttrain_diag.engines.vllm import worker
from posttrain_diag.engines.vllm.check import compare_with_hf
from posttrain_diag.engines.vllm.engine import VLLMEngine, load_vllm_engine
from posttrain_diag.engines.vllm.process import VLLMProcess, extra_arguments, find_python
from posttrain_diag.errors import EngineError, ModelError, UsageError
from posttrain_diag.types import SamplingParams

FAKE = Path(__file__).with_name("fake_worker.py")
PARAMS = SamplingParams(max_new_tokens=8)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]) -> Iterator[Callable[..., VLLMEngine]]:
    made: list[VLLMEngine] = []
    monkeypatch.setattr(vllm_module, "VLLMProcess", lambda python, told: VLLMProcess(python, told, worker=FAKE))

    def get(behave: str | None = None, *, check: bool = False, shape: str = "llama", **extra: Any) -> VLLMEngine:
        monkeypatch.setenv("DIAG_VLLM_ARGS", json.dumps({"behave": behave, **extra}))
        made.append(load_vllm_engine(str(model_dir(shape)), python=sys.executable, check=check))
        return made[-1]

    yield get
    for engine in made:
        engine.close()


def request(n: int, **prompt: Any) -> SampleRequest:
    return SampleRequest("q", Prompt(text="ab", **prompt), tuple(range(n)), tuple(range(70, 70 + n)))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_draws_come_with_their_index_and_seed(start: Any) -> None:
    engine = start()
    draws = list(engine.sample([request(3)], PARAMS))
    assert [(d.sample_idx, d.seed) for d in draws] == [(2, 72), (1, 71), (0, 70)]
    assert all(
        d.token_ids == (4, 5, 2) and d.text == engine.decode((4, 5)) and d.finish_reason == "stop" for d in draws
    )
    assert all(d.token_policy_logprobs == d.token_logprobs for d in draws)
    (cut,) = engine.sample([request(1)], SamplingParams(max_new_tokens=2, temperature=0.5))
    assert cut.finish_reason == "length" and cut.token_ids == (4, 5) and cut.token_policy_logprobs is None
    (greedy,) = engine.sample([request(1)], SamplingParams(max_new_tokens=2, temperature=0.0))
    assert greedy.token_policy_logprobs == (0.0, 0.0)
    assert engine.info.lacks.keys() == {"tilts"} and "vLLM 0 on cpu" in engine.info.notices


def test_a_stop_text_ends_the_text_and_stays_among_the_tokens(start: Any) -> None:
    engine = start()
    [draw] = engine.sample([request(1)], replace(PARAMS, stop=("b",)))
    assert (draw.token_ids, draw.text, draw.finish_reason, draw.stop_text) == ((4, 5), "a", "stop", True)
    [capped] = engine.sample([request(1)], replace(PARAMS, stop=("b",), max_new_tokens=1))
    assert (capped.token_ids, capped.text, capped.finish_reason, capped.stop_text) == ((4,), "a", "length", False)
    assert engine._process is not None
    assert engine._process.facts["start"]["tokenizer"] == str(engine._front.files.tokenizer)


def test_the_worker_lets_vllm_read_what_it_draws_only_for_stop_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    params = SimpleNamespace(SamplingParams=SimpleNamespace, RequestOutputKind=SimpleNamespace(FINAL_ONLY="last"))
    monkeypatch.setitem(sys.modules, "vllm", params)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", params)
    for stop, read in (([], False), (["ab"], True)):
        [(_, _, asked)] = worker.draws(0, [{"ids": [4], "seeds": [1]}], {"max_tokens": 3}, [2], stop)
        assert (asked.detokenize, asked.stop_token_ids, getattr(asked, "stop", [])) == (read, [2], stop)


def test_scores_hold_the_mass_of_all_stop_tokens(start: Any, model_dir: Callable[[str], Path], tmp_path: Path) -> None:
    import shutil

    from engines.tiny_models import edit_json

    shutil.copytree(model_dir("llama"), tmp_path / "two")
    edit_json(tmp_path / "two" / "generation_config.json", eos_token_id=[2, 20])
    engine = load_vllm_engine(str(tmp_path / "two"), python=sys.executable, check=False)
    prompt = engine.prompt_ids(Prompt(text="ab"))
    (score,) = engine.score([ScoreRequest("s", Prompt(text="ab"), "cd")])
    ids = engine.response_ids("cd")
    assert score.token_ids == (*ids, 2) and score.rank_T.tolist() == [*ids, 2]
    before = (prompt[-1], *ids)
    own = [-0.01 * token - 0.001 * last for last, token in zip(before, ids, strict=False)]
    stop = np.logaddexp(*(-0.01 * token - 0.001 * ids[-1] for token in (2, 20)))
    assert np.allclose(score.logprob_T, [*own, stop], atol=1e-6) and np.isnan(score.entropy_T).all()
    (empty,) = engine.score([ScoreRequest("e", Prompt(text="ab"), "", append_stop=False)])
    assert empty.token_ids == () and list(engine.score([])) == []
    engine.close()


def test_what_cannot_be_drawn_is_said_before_the_first_draw(start: Any) -> None:
    engine = start(max_model_len=20)
    assert engine.info.context_length == 20
    with pytest.raises(EngineError, match="use --max-new-tokens 18 or less"):
        engine.sample([request(1)], SamplingParams(max_new_tokens=19))
    with pytest.raises(EngineError, match="tilted"):
        engine.sample([SampleRequest("q", Prompt(text="a"), (0,), (1,), Tilt((4,), 0.5))], PARAMS)
    with pytest.raises(UsageError, match="top_p"):
        engine.sample([request(1)], SamplingParams(top_p=0.0))
    with pytest.raises(EngineError, match="room for one more"):
        list(engine.score([ScoreRequest("s", Prompt(text="ab"), "c" * 17)]))


def test_a_crash_hands_out_what_was_finished_and_quotes_the_log(start: Any) -> None:
    engine = start("crash")
    found: list[Draw] = []
    with pytest.raises(
        EngineError, match=r"exit code 3; RuntimeError: the kernel gave up; log: .*the same command|died"
    ):
        found.extend(engine.sample([request(4)], PARAMS))
    assert [draw.sample_idx for draw in found] == [3, 2]
    with pytest.raises(EngineError, match="died"):
        list(engine.sample([request(1)], PARAMS))


def test_numbers_that_are_none_end_the_run(start: Any) -> None:
    with pytest.raises(ModelError, match="NaN or infinite"):
        list(start("nan").sample([request(1)], PARAMS))


def test_leaving_a_call_early_does_not_disturb_the_next(start: Any) -> None:
    engine = start()
    draws = engine.sample([request(5)], PARAMS)
    next(draws)
    draws.close()
    assert sorted(d.seed for d in engine.sample([request(2)], PARAMS)) == [70, 71]


def test_close_ends_the_process_and_its_children(start: Any) -> None:
    engine = start()
    process = engine._process
    pid, child, log = process.pid, process.facts["child"], process.log
    assert alive(pid) and alive(child) and log.exists()
    engine.close()
    assert not alive(pid) and gone(child) and not log.exists()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.sample([request(1)], PARAMS)


def test_the_drivers_death_ends_the_worker(tmp_path: Path) -> None:
    """The real worker's listener: the driver is killed with SIGKILL, and the worker's group goes with it."""
    script = tmp_path / "worker.py"
    listener = (
        Path(vllm_process.WORKER).read_text().replace("    try:\n        server = Server(start, inbox, out)", WAIT)
    )
    assert WAIT in listener
    script.write_text(listener)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    assert all(gone(pid) for pid in pids)


WAIT = """    import subprocess, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    send(out, {"op": "ready", "child": child.pid})
    while True:
        time.sleep(600)
    try:
        server = Server(start, inbox, out)"""
DRIVER = """
import sys, time
from pathlib import Path
from posttrain_diag.engines.vllm.process import VLLMProcess
process = VLLMProcess(sys.executable, {}, worker=Path(sys.argv[1]))
print(process.pid, process.facts["child"], flush=True)
time.sleep(600)
"""


def test_a_start_that_fails_says_why(start: Any) -> None:
    with pytest.raises(EngineError, match=r"cannot import vLLM .*make vllm-env"):
        start("import")
    with pytest.raises(
        EngineError, match=r"ValueError: No available memory.*gpu_memory_utilization.*VLLM_CPU_KVCACHE_SPACE"
    ):
        start("memory")


class Stand:
    """Stands for the hf engine: scores as the fake worker draws."""

    def __init__(self, engine: VLLMEngine) -> None:
        self.engine, self.closed = engine, False

    def score(self, requests: list[ScoreRequest]) -> Iterator[Score]:
        for one in requests:
            yield from self.engine.score([one])

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("gap", "fine"), [(0.0, True), (0.002, True), (0.02, False), (-0.3, False)])
def test_the_start_up_check_refuses_other_log_probabilities(start: Any, gap: float, fine: bool) -> None:
    engine = start(gap=gap)
    stand = Stand(engine)
    if fine:
        (notice,) = compare_with_hf(engine, lambda dtype: stand)
        assert "agree with the hf engine's" in notice
    else:
        with pytest.raises(EngineError, match="are not the model's"):
            compare_with_hf(engine, lambda dtype: stand)
    assert stand.closed


def test_the_check_scores_with_the_real_hf_engine_and_ends_vllm_on_a_gap(start: Any) -> None:
    with pytest.raises(EngineError, match=r"not the model's.*use the hf engine"):
        start(check=True)  # a random model does not say what the fake worker says


def test_an_engine_that_cannot_be_compared_is_noted(start: Any) -> None:
    def load(dtype: str) -> Any:
        raise ModelError("quantized")

    assert compare_with_hf(start(), load) == (
        "not compared with the hf engine, which cannot load the model: quantized",
    )


def test_which_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VLLM_PYTHON", raising=False)
    python = tmp_path / ".venv-vllm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert find_python(None) == str(python)
    monkeypatch.setenv("VLLM_PYTHON", sys.executable)
    assert find_python(None) == sys.executable
    monkeypatch.setenv("VLLM_PYTHON", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"VLLM_PYTHON .*make vllm-env"):
        find_python(None)
    with pytest.raises(UsageError, match="--vllm-python"):
        find_python(str(tmp_path))
    monkeypatch.delenv("VLLM_PYTHON")
    python.unlink()
    monkeypatch.setattr(vllm_process, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(UsageError, match="build one with 'make vllm-env'"):
        find_python(None)


def test_further_engine_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIAG_VLLM_ARGS", '{"tensor_parallel_size": 2}')
    assert extra_arguments() == {"tensor_parallel_size": 2}
    for text in ("{", "[1]"):
        monkeypatch.setenv("DIAG_VLLM_ARGS", text)
        with pytest.raises(UsageError, match="DIAG_VLLM_ARGS"):
            extra_arguments()


def test_an_adapter_brings_its_rank(
    start: Any, model_dir: Callable[[str], Path], tmp_path: Path, monkeypatch: Any
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"base_model_name_or_path": str(model_dir("llama")), "peft_type": "LORA", "r": 9}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    start().close()
    engine = load_vllm_engine(str(adapter), python=sys.executable, check=False)
    told = engine._process.facts["start"]
    assert told["lora_rank"] == 16 and told["adapter"] == str(adapter) and told["model"] == str(model_dir("llama"))
    engine.close()
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    with pytest.raises(ModelError, match="LORA adapters"):
        load_vllm_engine(str(adapter), python=sys.executable, check=False)


def test_nothing_of_the_driver_leaks_into_the_workers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    made = vllm_process._environment({"one_thread": True})
    assert "PYTHONPATH" not in made and made["VLLM_NO_USAGE_STATS"] == "1" and "OMP_NUM_THREADS" in made
