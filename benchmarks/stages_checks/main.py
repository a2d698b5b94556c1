"""What the stages' table does not show: cost over the same TRL trainer called by hand, adapters, bfloat16, draws by vLLM.

`python -m benchmarks stages_checks [--rounds=3] [--only=overhead,ways,draws] [--vllm-python=PYTHON]`; parts that are not
asked for stay as they are in the results. PYTHON is that of an environment with vLLM and posttrain-diag[train], by
default .venv-vllm (make vllm-env). Killed runs and several processes are checked by `make test-slow`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks import machine
from benchmarks.stages.cases import SITUATIONS, Case, Variant, inputs_of
from benchmarks.vllm_on_cpu import environment, train_command, widen_heads
from posttrain_diag.rollouts.judge import Judge
from posttrain_diag.stages import make_stage_config, train_stage
from posttrain_diag.stages.catalogue import learning_rate, stage_record
from posttrain_diag.stages.trainers import reinforced, supervised
from posttrain_diag.stages.trainers import trl as bridge
from posttrain_diag.zoo import resolve_model

BY_NAME_ONLY = "takes hours, and vLLM"

STEPS = 40
SKIPPED = 5
"""First steps, which pay for what happens once."""
MOST_OVERHEAD = 0.1
PARTS = ("overhead", "ways", "draws")
RESULTS = Path(__file__).parent / "results.json"


class Clock(TrainerCallback):
    """CPU-seconds per step after the first ones."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.at.append(time.process_time())

    @property
    def per_step(self) -> float:
        """Mean over the steps from SKIPPED on."""
        return (self.at[-1] - self.at[SKIPPED]) / (len(self.at) - 1 - SKIPPED)


CASES = {name: Case(Variant(name, name), SITUATIONS["S"]) for name in ("sft", "grpo")}


def ours(stage: str, folder: Path) -> float:
    """CPU-s per step of our stage, its looks at the probe left out: they are extra work that TRL does not do."""
    clock = Clock()
    plain = bridge.build

    def with_clock(*args: Any, **kwargs: Any) -> Any:
        trainer = plain(*args, **kwargs)
        trainer.add_callback(clock)
        return trainer

    config = make_stage_config(steps=STEPS, replay=0.0, watch_every=10 * STEPS, eval_problems=1, eval_rollouts=1)
    for module in (supervised, reinforced):
        module.build = with_clock
    try:
        train_stage(stage, inputs_of(CASES[stage], 0), config, folder)
    finally:
        for module in (supervised, reinforced):
            module.build = plain
    return clock.per_step


def by_hand(stage: str, folder: Path) -> float:
    """CPU-s per step of the same TRL trainer, as its documentation shows it."""
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    inputs = inputs_of(CASES[stage], 0)
    model: Any = AutoModelForCausalLM.from_pretrained(inputs.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(inputs.model)
    config = make_stage_config(watch_every=10 * STEPS)
    rate = learning_rate(stage_record(stage), 162_000, lora=False)
    common = bridge.arguments(
        config, folder, steps=STEPS, learning_rate=rate, device=torch.device("cpu"), n_parameters=162_000
    ) | {"save_strategy": "no", "remove_unused_columns": stage == "sft"}
    clock = Clock()
    if stage == "sft":
        rows = [{"prompt": p.prompt, "completion": demo} for p in inputs.train for demo in p.demos]
        trainer: Any = SFTTrainer(
            model, SFTConfig(**common, max_length=64), train_dataset=Dataset.from_list(rows), processing_class=tokenizer
        )
    else:
        judge = Judge(inputs.train)

        def reward(completions: list[str], completion_ids: list[list[int]], key: list[str], **_: Any) -> list[float]:
            ended = [ids[-1] == tokenizer.eos_token_id for ids in completion_ids]
            read = zip(key, completions, ended, strict=True)
            return [float(end and judge(k, text).strict) for k, text, end in read]

        settings = GRPOConfig(
            **common, num_generations=config.group_size, max_completion_length=48, beta=0.0, temperature=1.0
        )
        rows = [{"prompt": p.prompt, "key": p.id} for p in inputs.train]
        trainer = GRPOTrainer(
            model, reward, settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
        )
    trainer.add_callback(clock)
    trainer.train()
    return clock.per_step


def overhead(rounds: int) -> dict[str, dict[str, Any]]:
    """Both ways in turn, medians, and the ratio."""
    found: dict[str, dict[str, Any]] = {}
    for stage in CASES:
        times: dict[str, list[float]] = {"ours": [], "by hand": []}
        for _ in range(rounds):
            for name, run in (("ours", ours), ("by hand", by_hand)):
                times[name].append(_in_folder(stage, run))
        middle = {name: median(values) for name, values in times.items()}
        found[stage] = {"cpu_s_per_step": times, "ratio": middle["ours"] / middle["by hand"], **middle}
        print(stage, found[stage], flush=True)
    return found


def _in_folder(stage: str, run: Callable[[str, Path], float]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return run(stage, Path(folder) / "stage")


def ways() -> dict[str, dict[str, Any]]:
    """SFT and GRPO on S with all weights, computed in bfloat16, and with a LoRA adapter."""
    out: dict[str, dict[str, Any]] = {}
    settings: dict[str, tuple[str, dict[str, Any]]] = {
        "SFT, all weights": ("sft", {"steps": 120}),
        "SFT in bfloat16": ("sft", {"steps": 120, "bf16": True}),
        "GRPO, all weights": ("grpo", {"steps": 120}),
        "GRPO in bfloat16": ("grpo", {"steps": 120, "bf16": True}),
        "GRPO, LoRA of rank 8": ("grpo", {"steps": 40, "lora_rank": 8, "learning_rate": 3e-3}),
    }
    for name, (stage, more) in settings.items():
        with tempfile.TemporaryDirectory() as folder:
            result = train_stage(stage, inputs_of(CASES[stage], 0), make_stage_config(**more), Path(folder) / "stage")
        assert result.after.retention is not None
        out[name] = {
            "steps": result.steps,
            "pass@1": result.after.estimates["pass@1"].value,
            "retention": result.after.retention.value,
            "cpu_s": result.cpu_s,
        }
        print(name, out[name], flush=True)
    return out


def drawn_by(python: str, stage: str, more: Sequence[str], *, vllm: bool) -> dict[str, Any]:
    """A stage on S by `diag train` in an environment with vLLM: zoo:base with heads of 32, which its CPU attention knows."""
    with tempfile.TemporaryDirectory() as folder:
        model = widen_heads(resolve_model("zoo:base"), Path(folder) / "model")
        settings = [f"use_vllm={str(vllm).lower()}", *more]
        command = train_command(python, stage, model, "builtin:zoo/S", Path(folder) / "out", settings)
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout[done.stdout.index("{\n") :])


DRAWING: tuple[tuple[str, tuple[str, ...]], ...] = (("grpo", ("steps=100",)), ("distill-onpolicy", ("steps=30",)))


def draws(python: str | None) -> list[dict[str, Any]]:
    """Stages whose draws come from our engine and from vLLM, in one environment; empty where there is none."""
    if python is None:
        return []
    return [
        {
            "stage": stage,
            "draws by": name,
            "pass@1": [result[when]["estimates"]["pass@1"]["value"] for when in ("before", "after")],
            "cpu_s": result["cpu_s"],
        }
        for stage, more in DRAWING
        for name, vllm in (("hf engine", False), ("vLLM through TRL", True))
        for result in (drawn_by(python, stage, more, vllm=vllm),)
    ]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    own = Path(".venv-vllm/bin/python")
    parser.add_argument("--vllm-python", default=str(own.absolute()) if own.exists() else None)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure")
    options = parser.parse_args()
    asked = options.only.split(",")
    if unknown := set(asked) - set(PARTS):
        parser.error(f"unknown parts {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    made: dict[str, Callable[[], Any]] = {
        "overhead": lambda: {
            "date": datetime.date.today().isoformat(),
            "rounds": options.rounds,
            "stages": overhead(options.rounds),
        },
        "ways": ways,
        "draws": lambda: draws(options.vllm_python),
    }
    found = {part: made[part]() if part in asked else known.get(part) for part in PARTS}
    title = "Stages: overhead, precision, adapters, draws by vLLM"
    print(machine.write("stages_checks", title, found, page(found)).read_text())
    costs = (found["overhead"] or {"stages": {}})["stages"]
    sys.exit("more overhead than asked" if any(c["ratio"] > 1 + MOST_OVERHEAD for c in costs.values()) else 0)


def page(found: dict[str, Any]) -> list[str]:
    """The Markdown page."""
    lines: list[str] = []
    if costs := found["overhead"]:
        lines += ["| stage | ours, CPU-s per step | TRL by hand | ratio |", "|---|---|---|---|"]
        lines += [
            f"| {s} | {c['ours']:.4f} | {c['by hand']:.4f} | {c['ratio']:.2f} |" for s, c in costs["stages"].items()
        ]
        lines += [
            "",
            f"{costs['date']}: medians of {costs['rounds']} rounds in turn, one thread, batch 128, steps {SKIPPED} to {STEPS}; "
            "looks at the probe not counted. GRPO by hand draws with transformers' generate, ours with the hf engine on the "
            "shared weights.",
            "",
        ]
    if found["ways"]:
        lines += ["| on S | steps | pass@1 | retention | CPU-s |", "|---|---|---|---|---|"]
        lines += [
            f"| {n} | {r['steps']} | {r['pass@1']:.3f} | {r['retention']:.3f} | {r['cpu_s']:.0f} |"
            for n, r in found["ways"].items()
        ]
        lines.append("")
    if not found["draws"]:
        return [*lines, "Draws by vLLM were not run: no environment with it."]
    lines += ["| on S, heads of 32 | draws by | pass@1 before | after | CPU-s |", "|---|---|---|---|---|"]
    return lines + [
        f"| {d['stage']} | {d['draws by']} | {d['pass@1'][0]:.3f} | {d['pass@1'][1]:.3f} | {d['cpu_s']:.0f} |"
        for d in found["draws"]
    ]


if __name__ == "__main__":
    main()
