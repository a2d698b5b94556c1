"""The model in training, and a second view of the same weights that can be sampled from between any two steps.

    files ──► training model (TRL's) ──shares its weights with──► sampling model (our hf engine)

The two are separate modules over the same storage: what the optimizer writes the sampler reads, no weight is kept
twice, and neither sees the other's mode, attention or hooks. With LoRA the adapted weights are merged into a copy of
their own before each sampling. Where a trainer shards the weights (FSDP, DeepSpeed) the sampling model keeps whole
ones, gathered at `sync`, and when the trainer is done they become the training model of the next.

`sync` is the one method that all processes must call together; all others read what it left.
"""

from __future__ import annotations

import copy
import inspect
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from posttrain_diag.engines.contract import EngineInfo
from posttrain_diag.engines.hf.attention import ATTENTION, unplug
from posttrain_diag.engines.hf.engine import HFEngine
from posttrain_diag.engines.hf.heard import hearing
from posttrain_diag.engines.hf.load import Loaded, load, quiet
from posttrain_diag.engines.model.files import ModelFiles, find_model
from posttrain_diag.engines.model.prompts import PromptCodec
from posttrain_diag.errors import UsageError
from posttrain_diag.settings.stage import StageConfig
from posttrain_diag.stages.policy.sharding import gathered, is_sharded


class LiveEngine(HFEngine):
    """An engine over weights that change; `version` tells their states apart in the store."""

    version = ""

    @property
    def info(self) -> EngineInfo:
        """What the engine has loaded; the hash names the weights as they are now."""
        found = super().info
        return replace(found, model_sha=found.model_sha + self.version) if self.version else found


@dataclass
class Policy:
    """The model that a stage trains, with an engine that samples from the same weights."""

    files: ModelFiles
    model: Any
    """The model that trainers get: a transformers model, or a PEFT model around it."""
    tokenizer: Any
    engine: LiveEngine
    _sampling_model: Any
    lora: bool
    _trainer: Any = field(default=None, init=False)
    """The trainer that holds the weights in pieces at the moment; None: `model` holds them whole."""
    _gathered_at: int | None = field(default=None, init=False)
    """Optimizer steps of that trainer when the sampling model last got its weights."""

    @property
    def device(self) -> Any:
        """The device that the weights are on."""
        return next(self.model.parameters()).device

    @property
    def text_config(self) -> Any:
        """The transformers config of the language model."""
        return self._sampling_model.config.get_text_config()

    @property
    def n_parameters(self) -> int:
        """The number of the model's weights, adapters not counted."""
        return self.engine.info.n_parameters

    def reference(self) -> Any:
        """A frozen model over the storage of the weights as they are now, which no sharding trainer writes to."""
        return _training_twin(self._sampling_model).requires_grad_(False)

    def lend(self, trainer: Any) -> None:
        """Give `model` to a trainer that may shard it; until `take_back` only the trainer may use it."""
        if is_sharded(trainer):
            self._trainer, self._gathered_at = trainer, None

    def take_back(self) -> None:
        """Hold whole weights again, in a new `model` where a trainer sharded the old one. All processes call it."""
        self.sync()
        if self._trainer is not None:
            self._trainer = None
            self.model = _training_twin(self._sampling_model)

    def sync(self) -> None:
        """Let the sampling model see the weights as they are now. While a trainer runs, all processes call it."""
        if self._trainer is not None:
            step = self._trainer.state.global_step
            if self._gathered_at != step:  # only an optimizer step changes them
                _gather_into(self._sampling_model, self._trainer)
                self._gathered_at = step
        elif self.lora:
            _merge_into(self.model, self._sampling_model)
        else:
            _share(self.model, self._sampling_model)  # again: DDP gives parameters a storage of its own

    def save(self, path: Path) -> None:
        """Write a Hugging Face directory: safetensors weights (adapters merged), tokenizer, generation settings."""
        bare = self.model.get_base_model() if self.lora else self.model
        path.mkdir(parents=True, exist_ok=True)
        with quiet():
            if self.lora:
                self._sampling_model.save_pretrained(path)
            else:
                bare.save_pretrained(path)
            self.tokenizer.save_pretrained(path)
            bare.generation_config.save_pretrained(path)

    def save_adapter(self, path: Path) -> None:
        """Write the LoRA adapter alone."""
        with quiet():
            self.model.save_pretrained(path)

    def load_weights(self, path: Path) -> None:
        """Take over the weights that `save_training_state` wrote."""
        import torch
        from safetensors.torch import load_file

        found = load_file(path / "policy.safetensors")
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in found.items():
                own[name].copy_(value)
        self.sync()

    def save_training_state(self, path: Path) -> None:
        """Write the weights that training changes, adapters unmerged, for a later phase to start from."""
        if self.lora:
            changed = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        else:
            changed = dict(self._sampling_model.named_parameters())
        from safetensors.torch import save_file

        path.mkdir(parents=True, exist_ok=True)
        tensors = {name: p.detach().cpu().contiguous().clone() for name, p in changed.items()}
        temporary = path / "policy.partial"
        save_file(tensors, temporary)
        temporary.rename(path / "policy.safetensors")


def load_policy(model: str, config: StageConfig) -> Policy:
    """Load a model to train and to sample from.

    Args:
        model: directory of a Hugging Face model, or of an adapter, which is merged first.
        config: device, LoRA and how prompts are rendered.

    Raises:
        ModelError: the files do not make a causal language model.
        UsageError: settings that are wrong in themselves.
    """
    files = find_model(model, trust_remote_code=config.trust_remote_code, allow_pickle=False)
    # float32 master weights; on a GPU TRL computes in bfloat16 over them
    loaded = load(files, device=_own_device(config), dtype="float32", trust_remote_code=config.trust_remote_code)
    if config.lora_rank:
        trained = copy.deepcopy(loaded.model).requires_grad_(True)
        _count_real_tokens(trained)
        trained, told = _with_lora(trained, config)
        loaded = replace(loaded, notices=(*loaded.notices, *told))
    else:
        trained = _training_twin(loaded.model)
    codec = PromptCodec(
        loaded.tokenizer,
        template=config.template,
        use_chat_template=config.chat_template,
        system_prompt=config.system_prompt,
    )
    engine = LiveEngine(files, loaded, codec, None)
    return Policy(files, trained, loaded.tokenizer, engine, loaded.model, bool(config.lora_rank))


def load_frozen(model: str, config: StageConfig) -> Loaded:
    """Load a teacher or a reference, whose weights stay as they are."""
    files = find_model(model, trust_remote_code=config.trust_remote_code, allow_pickle=False)
    loaded = load(files, device=_own_device(config), dtype="float32", trust_remote_code=config.trust_remote_code)
    _count_real_tokens(loaded.model)
    return loaded


def _count_real_tokens(model: Any) -> None:
    """Let positions count real tokens where a trainer gives none.

    TRL pads prompts on the left and passes a mask alone; a model with absolute positions (GPT-2) would then read every
    prompt but the longest as if it began later.
    """
    backbone = model.base_model
    if "position_ids" in inspect.signature(backbone.forward).parameters:
        backbone.register_forward_pre_hook(_with_positions, with_kwargs=True)


def _with_positions(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    mask = given.get("attention_mask")
    if given.get("position_ids") is None and mask is not None and mask.dim() == 2:
        given = {**given, "position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}
    return args, given


def _own_device(config: StageConfig) -> str | None:
    """The device of this process; of several processes on one machine each takes the GPU of its rank."""
    import torch

    rank = os.environ.get("LOCAL_RANK")
    if config.device is None and rank is not None and torch.cuda.is_available():
        return f"cuda:{rank}"
    return config.device


def _training_twin(sampling: Any) -> Any:
    """A second model over the same storage, ready to be trained."""
    import torch

    shared: dict[int, Any] = {id(p): torch.nn.Parameter(p.data) for p in sampling.parameters()}
    shared |= {id(buffer): buffer.data for buffer in sampling.buffers()}
    twin = copy.deepcopy(sampling, shared)
    if twin.config._attn_implementation == ATTENTION:
        unplug(twin)
    _count_real_tokens(twin)
    return twin


def _gather_into(sampling: Any, trainer: Any) -> None:
    """Fill the storage of `sampling` with the whole weights of a trainer that shards them."""
    import torch

    own = dict(sampling.named_parameters())
    with torch.no_grad():
        for name, whole in gathered(trainer, tuple(own)):
            own.pop(name).copy_(whole)
    assert not own, f"weights that the trainer does not know: {', '.join(own)}"


def _share(trained: Any, sampling: Any) -> None:
    """Let the parameters of `sampling` be views of those of `trained`."""
    own = dict(trained.named_parameters())
    for name, parameter in sampling.named_parameters():
        parameter.data = own[name].data
    buffers = dict(trained.named_buffers())
    for name, buffer in sampling.named_buffers():
        buffer.data = buffers[name].data


def _with_lora(model: Any, config: StageConfig) -> tuple[Any, list[str]]:
    """The model with an adapter to train, and what the libraries warned of."""
    import torch
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(config.seed)  # the adapter's first weights are random
    try:
        with quiet(), hearing() as heard:
            adapted = get_peft_model(model, settings)
    except ValueError as error:
        raise UsageError(f"--lora-rank {config.lora_rank}: PEFT cannot adapt this model ({error}); use 0") from error
    return adapted, heard


def _merge_into(peft_model: Any, sampling: Any) -> None:
    """Write base weights plus adapters into `sampling`."""
    import torch

    base = dict(peft_model.get_base_model().named_modules())
    with torch.no_grad():
        for name, module in sampling.named_modules():
            if not hasattr(module, "weight"):
                continue
            adapted = base[name]
            if hasattr(adapted, "get_delta_weight"):
                merged = adapted.get_base_layer().weight + adapted.get_delta_weight("default")
                module.weight.copy_(merged)
