"""Everything that touches TRL: its arguments, and subclasses that keep token ids, use our sampler and replay.

TRL >= 1.16, < 2. Private methods are overridden in five places only, all here: `_tokenize_prompts` and
`_generate_single_turn` of the trainers that sample (prompts are token ids; draws come from our engine on the shared
weights unless vLLM is used), `_prepare_dataset` of DPO and KTO and `tokenize_row` of CPO and ORPO (pairs are token ids
already), and `_generate_and_score_completions` with `_compute_loss` of distillation (each row has its own teacher).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from posttrain_diag.errors import MissingExtra, UsageError
from posttrain_diag.settings.stage import PreferenceLoss, StageConfig
from posttrain_diag.stages.data.rows import IGNORED, TokenRow
from posttrain_diag.stages.policy.sharding import is_sharded

if TYPE_CHECKING:
    import torch

CHECKPOINTED_FROM = 1_000_000_000
"""Weights from which gradient checkpointing pays on a GPU."""


def require_trl() -> None:
    """Make sure that TRL, accelerate and datasets can be imported.

    Raises:
        MissingExtra: one of them is not installed.
    """
    import os

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL reports every trainer that is made
    for package in ("trl", "accelerate", "datasets"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtra(package, "train", "training") from error


def require_vllm() -> None:
    """Make sure that TRL can draw with vLLM in this environment.

    Raises:
        UsageError: vLLM is not installed in it.
    """
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        raise UsageError(
            "use_vllm: vLLM is not installed in this environment; it must be beside TRL, in a version that TRL knows "
            "(pip install 'trl[vllm]'). Without use_vllm draws come from the hf engine"
        )


def processes_of(device: torch.device) -> Any:
    """The processes that train together (accelerate launch, torchrun), joined by gloo on CPUs and NCCL on GPUs."""
    from accelerate import PartialState

    return PartialState(cpu=device.type == "cpu")


def computes_in_bf16(config: StageConfig, device: torch.device) -> bool:
    """Whether trainers compute in bfloat16 over the float32 weights."""
    import torch

    if config.bf16 is not None:
        return config.bf16
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def checkpointed(config: StageConfig, device: torch.device, n_parameters: int) -> bool:
    """Whether activations are computed again in the backward pass."""
    if config.gradient_checkpointing is not None:
        return config.gradient_checkpointing
    return device.type == "cuda" and n_parameters >= CHECKPOINTED_FROM


def arguments(
    config: StageConfig, folder: Path, *, steps: int, learning_rate: float, device: torch.device, n_parameters: int
) -> dict[str, Any]:
    """Arguments that all TRL configs share.

    Args:
        config: the stage's settings.
        folder: where the trainer's checkpoints go.
        steps: optimizer steps of this phase.
        learning_rate: peak learning rate.
        device: the device that the policy is on.
        n_parameters: number of the policy's weights.

    Raises:
        UsageError: the batch cannot be cut into equal micro-batches.
    """
    processes = processes_of(device).num_processes
    per_step = config.micro * processes
    if config.batch_size % processes or config.batch_size % min(per_step, config.batch_size):
        raise UsageError(
            f"batch_size {config.batch_size} cannot be cut into micro-batches of {config.micro} on {processes} "
            "processes: make it a multiple of both"
        )
    micro = min(config.micro, config.batch_size // processes)
    on_gpu = device.type == "cuda"
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": config.batch_size // (micro * processes),
        "learning_rate": learning_rate,
        "warmup_steps": min(config.warmup_steps, steps // 4),
        "lr_scheduler_type": config.schedule,
        "weight_decay": config.weight_decay,
        "adam_beta2": 0.95,
        "seed": config.seed,
        "use_cpu": not on_gpu,
        "bf16": computes_in_bf16(config, device),
        "gradient_checkpointing": checkpointed(config, device, n_parameters),
        "report_to": list(config.report_to) or "none",
        "save_strategy": "steps",
        "save_steps": config.watch_every,
        "save_total_limit": 1,
        "logging_steps": 10,
        "disable_tqdm": True,
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
    }


@dataclass(frozen=True)
class LossPart:
    """Rows whose mean cross-entropy per token joins a loss with a weight."""

    rows: Sequence[TokenRow]
    weight: float


@dataclass
class Companion:
    """Rows whose cross-entropy is added to another objective: replay beside RL, demonstrations where draws fail."""

    next_parts: Callable[[], Sequence[LossPart]]
    """Returns what joins the loss of the next micro-batch; may be empty."""
    pad_id: int


@dataclass
class Hooks:
    """What our trainers ask of the stage that runs them."""

    count_tokens: Callable[[int], None]
    """Called with the tokens of every batch that is trained on."""
    prompt_ids: Callable[[str], tuple[int, ...]] | None = None
    """Token ids of a problem's prompt at this step, the hint included; called with the problem's id."""
    sample: Callable[[Sequence[str]], list[list[int]]] | None = None
    """One draw for each entry, in which ids may repeat; None: the trainer generates (vLLM or transformers)."""
    companion: Companion | None = None
    credit: Callable[[], list[list[float]]] | None = None
    """The advantage of each token of the draws that were rewarded last; None: the trainer's own, one for each draw."""
    teacher_of: Callable[[str], int] | None = None
    """For distillation: which teacher a problem is routed to."""
    count_draws: Callable[[int, int], None] | None = None
    """For distillation: called with the draws of a step and their tokens, over all processes."""


def pad_rows(rows: Sequence[TokenRow], pad_id: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids`, `attention_mask` and `labels`, each of shape (B, T)."""
    import torch

    width = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        size = len(row.input_ids)
        ids[i, :size] = torch.tensor(row.input_ids)
        labels[i, :size] = torch.tensor(row.labels)
        mask[i, :size] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}


def _trained_tokens(inputs: dict[str, Any]) -> int:
    """Tokens of a batch that the forward pass reads, padding left out."""
    if "attention_mask" in inputs:
        return int(inputs["attention_mask"].sum())
    parts = ("prompt_mask", "completion_mask", "chosen_attention_mask", "rejected_attention_mask")
    return sum(int(inputs[name].sum()) for name in parts if name in inputs)


class Hooked:
    """Mixin for trainers: counts trained tokens and adds the companion's loss."""

    hooks: Hooks

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The trainer's own loss, plus the companion's cross-entropy where there is one.

        Args:
            model: the model in training.
            inputs: the micro-batch, tensors of shape (B, T).
            return_outputs: also return an (empty) second value, as transformers' trainers do.
            num_items_in_batch: what the trainer divides its loss by, where it does so itself.
        """
        parent: Any = super()
        loss = parent.compute_loss(model, inputs, return_outputs=False, num_items_in_batch=num_items_in_batch)
        trainer: Any = self
        if trainer.model.training:
            self.hooks.count_tokens(_trained_tokens(inputs))
            companion = self.hooks.companion
            if companion is not None:
                for part in companion.next_parts():
                    batch = pad_rows(part.rows, companion.pad_id, trainer.accelerator.device)
                    self.hooks.count_tokens(_trained_tokens(batch))
                    loss = loss + part.weight * model(**batch, use_cache=False).loss / self._divisor(num_items_in_batch)
        return (loss, None) if return_outputs else loss

    def _divisor(self, num_items_in_batch: Any) -> int:
        """What the companion's loss is divided by: the accumulation steps where the trainer divides its own loss so."""
        trainer: Any = self
        scaled = trainer.loss_is_scaled_for_ga
        if scaled is None:
            scaled = num_items_in_batch is not None
        return trainer.current_gradient_accumulation_steps if scaled else 1


def _padded_credit(credit: Sequence[Sequence[float]], like: torch.Tensor) -> torch.Tensor:
    """Advantages of tokens, right-padded with zeros to the shape (B, T) of the mask `like`."""
    out = like.new_zeros(like.shape).float()
    for i, row in enumerate(credit):
        out[i, : len(row)] = out.new_tensor(row)
    return out


class OwnPrompts(Hooked):
    """Mixin for trainers that sample: prompts are problem ids, draws come from our engine unless vLLM is used."""

    returns_logprobs = False

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        parent: Any = super()
        batch = parent._generate_and_score_completions(inputs)
        if self.hooks.credit is not None:
            batch["advantages"] = _padded_credit(self.hooks.credit(), batch["completion_mask"])
        return batch

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        assert self.hooks.prompt_ids is not None
        self._asked = list(prompts)
        return [list(self.hooks.prompt_ids(prompt)) for prompt in prompts], None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **more: Any) -> Any:
        if self.hooks.sample is None:
            parent: Any = super()
            return parent._generate_single_turn(prompt_ids, *rest, **more)
        drawn = self.hooks.sample(self._asked)
        return (drawn, None) if self.returns_logprobs else drawn


class ReadyDataset:
    """Mixin for DPO and KTO: the data set holds the collator's columns, token ids among them."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


class ReadyRows:
    """Mixin for CPO and ORPO: rows hold the collator's columns, token ids among them."""

    def tokenize_row(self, feature: dict[str, Any]) -> dict[str, Any]:
        """Return the row as it is, for it holds token ids already."""
        return feature


class Routed(OwnPrompts):
    """Mixin for distillation: every row is compared with the teacher that its problem is routed to."""

    teachers: list[Any]
    """The frozen models as the trainer wants them; `add_teachers` makes the list."""

    def add_teachers(self, others: Sequence[Any]) -> None:
        """Join more frozen models to the one that the constructor got, prepared in the same way."""
        from trl.models.utils import prepare_deepspeed

        trainer: Any = self
        self.teachers = [trainer.teacher_model]
        for model in others:
            if trainer.is_deepspeed_enabled:
                self.teachers.append(prepare_deepspeed(model, trainer.accelerator))
            else:
                self.teachers.append(trainer.accelerator.prepare_model(model, evaluation_mode=True))

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        parent: Any = super()
        output = parent._generate_and_score_completions(inputs)
        teacher_of, count_draws = self.hooks.teacher_of, self.hooks.count_draws
        assert teacher_of is not None and count_draws is not None
        teachers = [teacher_of(row["prompt"]) for row in inputs]
        trainer: Any = self
        count_draws(len(inputs) * trainer.accelerator.num_processes, int(output["num_items_in_batch"]))
        return {**output, "teacher": torch.tensor(teachers, device=output["prompt_ids"].device)}

    def _compute_loss(self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
        """The loss of a batch, computed for one teacher after another.

        The losses of rows that share a teacher are sums over their tokens.
        """
        import torch

        parent: Any = super()
        teacher_B = inputs["teacher"]
        parts: list[tuple[Any, ...]] = []
        # sharded weights are put together by all processes at each pass: they make equally many
        indices = range(len(self.teachers)) if is_sharded(self) else teacher_B.unique().tolist()
        for index in indices:
            chosen_B = teacher_B == index
            taught = bool(chosen_B.any())
            if not taught:
                chosen_B = torch.arange(len(teacher_B), device=teacher_B.device) == 0
            rows = {k: v[chosen_B] if v is not None and v.dim() else v for k, v in inputs.items() if k != "teacher"}
            self.teacher_model = self.teachers[index]
            part = parent._compute_loss(unwrapped_student, rows, num_items_in_batch)
            parts.append(part if taught else tuple(0 * value for value in part))
        return tuple(sum(values) for values in zip(*parts, strict=True))


@cache
def sft_trainer() -> Any:
    """The class SFTTrainer, extended by our hooks."""
    from trl.trainer.sft_trainer import SFTTrainer

    return type("SFT", (Hooked, SFTTrainer), {})


@cache
def grpo_trainer() -> Any:
    """The class GRPOTrainer, extended by our prompts and draws."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    return type("GRPO", (OwnPrompts, GRPOTrainer), {"returns_logprobs": True})


@cache
def rloo_trainer() -> Any:
    """The class RLOOTrainer, extended by our prompts and draws."""
    from trl.trainer.rloo_trainer import RLOOTrainer

    return type("RLOO", (OwnPrompts, RLOOTrainer), {})


PAIR_LOSSES: dict[PreferenceLoss, list[str]] = {
    "sigmoid+sft": ["sigmoid", "sft"],
    "sigmoid": ["sigmoid"],
    "ipo": ["ipo"],
}
"""For each of our losses over pairs with a reference, the terms that DPOTrainer knows it by."""


@cache
def dpo_trainer() -> Any:
    """The class DPOTrainer, taking token ids."""
    from trl.trainer.dpo_trainer import DPOTrainer

    return type("DPO", (Hooked, ReadyDataset, DPOTrainer), {})


@cache
def kto_trainer() -> Any:
    """The class KTOTrainer, taking token ids."""
    from trl.trainer.kto_trainer import KTOTrainer

    return type("KTO", (Hooked, ReadyDataset, KTOTrainer), {})


@cache
def experimental_trainer(loss: Literal["simpo", "orpo"]) -> tuple[Any, Any]:
    """The trainer that takes token ids, and its config class, for the losses that TRL keeps among its experiments."""
    if loss == "orpo":
        from trl.experimental.orpo.orpo_config import ORPOConfig
        from trl.experimental.orpo.orpo_trainer import ORPOTrainer

        return type("ORPO", (Hooked, ReadyRows, ORPOTrainer), {}), ORPOConfig
    from trl.experimental.cpo.cpo_config import CPOConfig
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    return type("CPO", (Hooked, ReadyRows, CPOTrainer), {}), CPOConfig


@cache
def distillation_trainer() -> Any:
    """The class DistillationTrainer, extended by our prompts and draws, and by several teachers."""
    from trl.trainer.distillation_trainer import DistillationTrainer

    return type("Distillation", (Routed, DistillationTrainer), {})


def build(trainer: Any, hooks: Hooks, **arguments: Any) -> Any:
    """Make a trainer of ours; its hooks are set before its constructor runs, which may ask for them."""
    made = trainer.__new__(trainer)
    made.hooks = hooks
    made.__init__(**arguments)
    return made
