"""Stages whose draws come from vLLM, through TRL: what is asked of both here, and real runs (slow).

The slow ones need an environment with vLLM and posttrain-diag[train] in it (make vllm-env), named by VLLM_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from benchmarks.vllm_on_cpu import environment, train_command, widen_heads
from posttrain_diag.errors import UsageError
from posttrain_diag.stages import check_stage, make_stage_config
from posttrain_diag.stages.data.rollouts import Rollouts
from posttrain_diag.stages.trainers.vllm import vllm_arguments
from posttrain_diag.zoo import resolve_model
from stages.zoo_stage import zoo_inputs, zoo_session

PYTHON = os.environ.get("VLLM_PYTHON")


def test_without_vllm_nothing_is_measured_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    asked = make_stage_config(use_vllm=True)
    with pytest.raises(UsageError, match=r"use_vllm: vLLM is not installed .*pip install 'trl\[vllm\]'"):
        check_stage("grpo", zoo_inputs(), asked)
    check_stage("sft", zoo_inputs(), asked)  # draws nothing as it trains


def test_vllm_makes_room_for_what_is_drawn_and_no_more(tmp_path: Path) -> None:
    rollouts = Rollouts(zoo_session(tmp_path, zoo_inputs(), cap=24, use_vllm=True, vllm_memory=0.4))
    longest = max(len(rollouts.prompt_ids(key)) for key in rollouts.session.problems)
    assert vllm_arguments(rollouts.session) == {
        "use_vllm": True,
        "generation_kwargs": {"stop_token_ids": list(rollouts.session.policy.engine.info.stop_token_ids), "stop": []},
        "vllm_gpu_memory_utilization": 0.4,
        "vllm_max_model_length": longest + 24,
    }
    context = rollouts.session.policy.engine.info.context_length
    assert context is not None
    long = zoo_session(tmp_path / "long", zoo_inputs(), cap=context, use_vllm=True)
    assert vllm_arguments(long, hinted=True)["vllm_max_model_length"] == context
    long.config = make_stage_config()
    assert vllm_arguments(long) == {}


real = pytest.mark.skipif(PYTHON is None, reason="VLLM_PYTHON is not set: the Python of an environment with vLLM")
SETTINGS = ("batch_size=64", "eval_problems=24", "eval_rollouts=32", "warmup_steps=2", "use_vllm=true")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """zoo:base and zoo:frontier with heads of 32, their laws unchanged: vLLM's CPU attention knows no heads of 16."""
    folder = tmp_path_factory.mktemp("wide")
    return {name: widen_heads(resolve_model(f"zoo:{name}"), folder / name) for name in ("base", "frontier")}


def start(out: Path, stage: str, model: Path, family: str, *more: str) -> subprocess.Popen[str]:
    """A stage by the Python that has vLLM."""
    command = train_command(str(PYTHON), stage, model, f"builtin:zoo/{family}", out, (*SETTINGS, *more))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The result."""
    out, err = process.communicate(timeout=550)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out[out.index("{\n") :])


def gain(result: dict[str, Any]) -> float:
    """Of pass@1."""
    before, after = (result[name]["estimates"]["pass@1"]["value"] for name in ("before", "after"))
    return after - before


@real
@pytest.mark.slow
@pytest.mark.xdist_group("vllm")
@pytest.mark.parametrize(
    ("stage", "more"),
    [
        ("grpo", ()),
        ("rloo", ("lora_rank=8", "learning_rate=2e-3")),
        ("process-rl", ()),
        ("interleaved", ()),
        ("distill-onpolicy", ()),
    ],
)
def test_stages_learn_from_what_vllm_draws(
    wide: dict[str, Path], tmp_path: Path, stage: str, more: tuple[str, ...]
) -> None:
    """Were the weights not handed to vLLM at each step, it would go on drawing as the start does."""
    result = finish(start(tmp_path / "out", stage, wide["base"], "S", "steps=60", *more))
    assert gain(result) > 0.5
    assert result["rollouts"] >= 60 * 64


@real
@pytest.mark.slow
@pytest.mark.xdist_group("vllm")
def test_hints_reach_vllm(wide: dict[str, Path], tmp_path: Path) -> None:
    """No draw of F15 passes without a hint: the stage would stop after five steps. Hints are whole until the tenth."""
    result = finish(start(tmp_path / "out", "guided-rl", wide["frontier"], "F15", "steps=20", "zero_steps=5"))
    assert result["steps"] >= 10


@real
@pytest.mark.slow
@pytest.mark.xdist_group("vllm")
def test_goes_on_after_a_kill(wide: dict[str, Path], tmp_path: Path) -> None:
    """vLLM's draws after a restart are others, but it draws with the weights of the checkpoint."""
    out = tmp_path / "out"
    process = start(out, "grpo", wide["base"], "S", "steps=60", "watch_every=10")
    deadline = time.monotonic() + 300
    while not list(out.rglob("checkpoint-20")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    process.kill()
    process.communicate()
    assert not (out / "result.json").exists()
    result = finish(start(out, "grpo", wide["base"], "S", "steps=60", "watch_every=10"))
    assert result["steps"] == 60
    assert gain(result) > 0.5
    looks = [json.loads(line)["step"] for line in (out / "watch" / "metrics.jsonl").read_text().splitlines()]
    assert looks == [0, 10, 20, 30, 40, 50, 60]
    assert load_file(out / "checkpoint" / "model.safetensors")
