"""Weights in pieces: FSDP2 in this process, DeepSpeed by a stand-in, and both over two processes (slow)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from posttrain_diag.errors import UsageError
from posttrain_diag.stages import make_stage_config
from posttrain_diag.stages.policy.policy import Policy
from posttrain_diag.stages.policy.sharding import check_launch, launch_config
from posttrain_diag.tasks import write_tasks
from posttrain_diag.zoo import mastered_problems
from stages.zoo_stage import zoo_policy

KINDS = ("fsdp2", "deepspeed_zero2", "deepspeed_zero3")


def test_what_sharded_weights_cannot_do_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    check_launch(make_stage_config(lora_rank=4))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UsageError, match=r"lora_rank 4 with DeepSpeed: .* ddp\.yaml"):
        check_launch(make_stage_config(lora_rank=4))
    check_launch(make_stage_config())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    with pytest.raises(UsageError, match="set fsdp_version: 2"):
        check_launch(make_stage_config())
    monkeypatch.setenv("FSDP_VERSION", "2")
    check_launch(make_stage_config())
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"].lower() == "false"


def test_shipped_configurations_are_what_accelerate_launch_reads() -> None:
    assert launched("ddp").keys().isdisjoint({"ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"})
    fsdp, zero2, zero3 = map(launched, KINDS)
    assert (fsdp["ACCELERATE_USE_FSDP"], fsdp["FSDP_VERSION"]) == ("true", "2")
    assert [zero["ACCELERATE_DEEPSPEED_ZERO_STAGE"] for zero in (zero2, zero3)] == ["2", "3"]
    assert zero2["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] == "auto"  # else micro_batch would be ignored
    with pytest.raises(UsageError, match="there are: ddp, deepspeed_zero2, deepspeed_zero3, fsdp2"):
        launch_config("zero3")


def launched(name: str) -> dict[str, str]:
    """The environment that `accelerate launch --config_file` gives to each of two processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    command = ["--config_file", str(launch_config(name)), "--num_processes", "2", "-m", "posttrain_diag"]
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    args.main_process_port = 0
    if not args.use_deepspeed:
        return prepare_multi_gpu_env(args)
    args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    return prepare_deepspeed_cmd_env(args)[1]


@pytest.fixture
def alone() -> Generator[None]:
    """A group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def lend(policy: Policy, *, deepspeed: bool = False) -> Any:
    """As a trainer that is about to start."""
    trainer = SimpleNamespace(
        is_fsdp_enabled=not deepspeed,
        is_deepspeed_enabled=deepspeed,
        model_wrapped=SimpleNamespace(module=policy.model) if deepspeed else policy.model,
        state=SimpleNamespace(global_step=0),
    )
    policy.lend(trainer)
    return trainer


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.usefixtures("alone")
def test_the_sampling_model_keeps_whole_weights_while_fsdp_has_the_others(tmp_path: Path) -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    policy = zoo_policy()
    start, sampling = weights(policy._sampling_model), policy._sampling_model
    trainer = lend(policy)
    lent = fully_shard(policy.model)
    assert all(isinstance(p, DTensor) for p in lent.parameters())
    with torch.no_grad():
        for parameter in lent.parameters():
            parameter.mul_(0.5)
    assert all(torch.equal(p, start[name]) for name, p in sampling.named_parameters())
    trainer.state.global_step = 1
    policy.sync()
    assert all(torch.equal(p, 0.5 * start[name]) for name, p in sampling.named_parameters())
    policy.save_training_state(tmp_path)
    assert load_file(tmp_path / "policy.safetensors").keys() == start.keys()
    policy.take_back()
    assert policy.model is not lent
    for own, shared in zip(policy.model.parameters(), sampling.parameters(), strict=True):
        assert own.requires_grad and own.data_ptr() == shared.data_ptr() and not isinstance(own, DTensor)
    assert policy.model.config._attn_implementation == "sdpa" != sampling.config._attn_implementation
    ids = torch.tensor([[0, 5, 6, 7]])
    short, padded = policy.model(ids[:, 1:]).logits, policy.model(ids, attention_mask=(ids > 0).long()).logits
    torch.testing.assert_close(short, padded[:, 1:])


def test_deepspeed_gives_the_weights_that_its_optimizer_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    utils = ModuleType("deepspeed.utils")
    utils.safe_get_full_fp32_param = lambda parameter: parameter.kept  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deepspeed", ModuleType("deepspeed"))
    monkeypatch.setitem(sys.modules, "deepspeed.utils", utils)
    policy = zoo_policy()
    start, trainer = weights(policy.model), lend(policy, deepspeed=True)
    for name, parameter in policy.model.named_parameters():
        parameter.kept = 0.5 * start[name]
        parameter.data = torch.empty(0, dtype=torch.bfloat16)
    trainer.state.global_step = 1
    policy.take_back()
    assert all(torch.equal(p, 0.5 * start[name]) for name, p in policy.model.named_parameters())


SETTINGS = (
    "device=cpu", "batch_size=64", "micro_batch=16", "watch_every=10", "watch_rollouts=4", "eval_problems=24",
    "eval_rollouts=32", "warmup_steps=2",
)  # fmt: skip
OWN = {"grpo": ("kl=0.1",), "online-preference": ("rounds=2", "beta=1", "own_rollouts=16"), "distill-onpolicy": ()}
"""Settings that are read by one stage and not by another."""


def start(out: Path, stage: str, kind: str | None, retain: Path, *more: str) -> subprocess.Popen[str]:
    """A stage by one process, or by two."""
    if kind is not None and kind.startswith("deepspeed"):
        pytest.importorskip("deepspeed")
    entry = [str(Path(__file__).with_name("on_cpus.py"))] if kind in KINDS else ["-m", "posttrain_diag"]
    launcher = [] if kind is None else ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command = [
        sys.executable, *launcher, *entry, "train", "--model", "zoo:base", "--stage", stage, "--tasks", "builtin:zoo/S",
        "--retain", str(retain), "--teacher", "zoo:base", "--teacher", "zoo:frontier", "--json", "--quiet",
        "--out", str(out), *(part for pair in (*SETTINGS, *more) for part in ("--set", pair)),
    ]  # fmt: skip
    own = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    environment = {**os.environ, **({} if kind is None else launched(kind)), **own}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """Result, and what was said beside it."""
    out, err = process.communicate(timeout=550)
    assert process.returncode == 0, err
    return json.loads(out[out.index("{\n") :]), err


@pytest.fixture
def retain(tmp_path: Path) -> Path:
    write_tasks(mastered_problems(per_family=8), tmp_path / "retain.jsonl")
    return tmp_path / "retain.jsonl"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_that_shard_reach_what_one_reaches(kind: str, stage: str, tmp_path: Path, retain: Path) -> None:
    two, said = finish(start(tmp_path / "two", stage, kind, retain, "steps=30"))
    assert ("DTensor" if kind == "fsdp2" else "DeepSpeedEngine") in said
    one, _ = finish(start(tmp_path / "one", stage, None, retain, "steps=30"))
    for key in ("before", "steps", "rollouts"):
        assert one[key] == two[key], key
    reached = [r["after"]["estimates"]["pass@1"] for r in (one, two)]
    assert min(r["value"] for r in reached) > one["before"]["estimates"]["pass@1"]["high"]
    for found in (reached, [r["after"]["retention"] for r in (one, two)]):
        assert found[0]["low"] <= found[1]["high"]
        assert found[1]["low"] <= found[0]["high"]
    made = load_file(Path(two["checkpoint"]) / "model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in made.values())


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["grpo", "online-preference", "distill-onpolicy"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_in_pieces_are_trained_as_whole_ones_are(kind: str, stage: str, tmp_path: Path, retain: Path) -> None:
    """Two rounds of pairs, each with its own reference; two teachers, of which a process may need one alone."""
    more = ("steps=4", "watch_rollouts=1", "eval_problems=1", "eval_rollouts=1", "micro_batch=4")
    whole, pieces = (tmp_path / name for name in ("whole", "pieces"))
    for out, spread in ((whole, "ddp"), (pieces, kind)):
        finish(start(out, stage, spread, retain, *OWN[stage], *more))
    last = sorted(path.parent.name for path in whole.glob("phases/*/policy.safetensors"))[-1]
    one, other = (load_file(out / "phases" / last / "policy.safetensors") for out in (whole, pieces))
    first = weights(zoo_policy().model)
    moved = max(float((tensor - first[name]).abs().max()) for name, tensor in one.items())
    assert moved > 1e-4
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=0.01 * moved, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sharded_processes_that_are_killed_go_on_to_the_same_weights(kind: str, tmp_path: Path, retain: Path) -> None:
    """In the second of two phases: the first one's weights are read back whole, the second's from its checkpoint."""
    more = (
        "steps=24", "rounds=2", "own_rollouts=16", "watch_every=4", "watch_rollouts=2", "eval_problems=8", "eval_rollouts=8",
    )  # fmt: skip
    whole, _ = finish(start(tmp_path / "whole", "rft", kind, retain, *more))
    process = start(tmp_path / "cut", "rft", kind, retain, *more)
    marker = tmp_path / "cut" / "phases" / "rft-2" / "trainer" / "checkpoint-4" / "stage_state.json"
    while not marker.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    for one in (*psutil.Process(process.pid).children(recursive=True), process):
        one.kill()
    process.communicate()
    assert not (tmp_path / "cut" / "phases" / "rft-2" / "done.json").exists()
    again, _ = finish(start(tmp_path / "cut", "rft", kind, retain, *more))
    for key in ("steps", "best_step", "generated_tokens", "trained_tokens", "rollouts", "after", "details"):
        assert again[key] == whole[key], key
    for phase in ("rft-1", "rft-2"):
        one, other = (load_file(tmp_path / name / "phases" / phase / "policy.safetensors") for name in ("whole", "cut"))
        assert all(torch.equal(one[name], other[name]) for name in one)
