"""What the stages' table does not show: cost over the same TRL trainer called by hand, and adapters beside full weights.

`python -m benchmarks stages_checks [--rounds=3]`. Killed runs and several processes are checked by `make test-slow`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import machine
import torch
from stages_cases import SITUATIONS, Case, Variant, inputs_of
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from posttrain_diag.collect import Judgements
from posttrain_diag.stages import StageResult, make_stage_config, reinforced, supervised, train_stage
from posttrain_diag.stages import trl as bridge
from posttrain_diag.stages.registry import learning_rate, stage_entry

STEPS = 40
SKIPPED = 5
"""First steps, which pay for what happens once."""
MOST_OVERHEAD = 0.1


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
    rate = learning_rate(stage_entry(stage), 162_000, lora=False)
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
        judge = Judgements({p.id: p for p in inputs.train})

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


def adapters() -> dict[str, StageResult]:
    """GRPO on S with all weights and with a LoRA adapter."""
    out: dict[str, StageResult] = {}
    settings: dict[str, dict[str, Any]] = {
        "all weights": {},
        "LoRA, rank 8": {"lora_rank": 8, "learning_rate": 3e-3},
    }
    for name, more in settings.items():
        config = make_stage_config(steps=120 if more == {} else 40, **more)
        with tempfile.TemporaryDirectory() as folder:
            out[name] = train_stage("grpo", inputs_of(CASES["grpo"], 0), config, Path(folder) / "stage")
    return out


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    costs, results = overhead(rounds), adapters()
    lines = ["| stage | ours, CPU-s per step | TRL by hand | ratio |", "|---|---|---|---|"]
    lines += [f"| {s} | {c['ours']:.4f} | {c['by hand']:.4f} | {c['ratio']:.2f} |" for s, c in costs.items()]
    lines += [
        "",
        f"Medians of {rounds} rounds in turn, one thread, batch 128, steps {SKIPPED} to {STEPS}; looks at the probe not counted.",
        "GRPO by hand draws with transformers' generate, ours with the hf engine on the shared weights.",
        "",
        "| GRPO on S | steps | pass@1 | retention |",
        "|---|---|---|---|",
    ]
    for name, result in results.items():
        reached, kept = result.after.estimates["pass@1"], result.after.retention
        assert kept is not None
        lines.append(f"| {name} | {result.steps} | {reached.value:.3f} | {kept.value:.3f} |")
    outcome = {
        n: [r.after.estimates["pass@1"].value, r.after.retention and r.after.retention.value]
        for n, r in results.items()
    }
    print(
        machine.write(
            "stages_checks", "Stages: overhead and adapters", {"overhead": costs, "adapters": outcome}, lines
        ).read_text()
    )
    sys.exit("more overhead than asked" if any(c["ratio"] > 1 + MOST_OVERHEAD for c in costs.values()) else 0)


if __name__ == "__main__":
    main()
