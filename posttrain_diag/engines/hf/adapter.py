"""A PEFT adapter merged into its base model, and held to what the adapter model says itself.

    names of the tensors ──► refuse what did not land ──► untie the head where it must be ──► merge ──► compare

Merging adds to the weights of a layer in place. Where the output head shares the weights of the embedding, an adapter
of one of them would so change both; the head then gets weights of its own first.

Shapes: `T` probe tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from posttrain_diag.engines.hf.forward import tolerance_nats
from posttrain_diag.engines.hf.memory import is_out_of_memory
from posttrain_diag.engines.model.files import ModelFiles, first_line
from posttrain_diag.engines.model.prompts import context_length
from posttrain_diag.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    import torch

_NAME = "default"
"""Under which PEFT holds the adapter."""
_PROBE_TOKENS = 24
_ROUNDINGS_32, _ROUNDINGS_16 = 32, 8
"""A merged model rounds otherwise than the adapter beside its base: this many roundings of the largest logit."""
_NOTHING_NATS = 1e-5
"""An adapter that moves no log-probability by more than this is said to change nothing."""
# What PEFT raises for adapters it cannot load or merge; anything else is a defect and keeps its traceback.
_FAILURES = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, NotImplementedError)


def merge_adapter(files: ModelFiles, model: Any) -> tuple[Any, tuple[str, ...]]:
    """Merge the adapter that `files` names into `model`.

    Args:
        files: the base model and its adapter.
        model: the base model, loaded.

    Returns:
        The merged model, and what a reader must know of the adapter.

    Raises:
        ModelError: the adapter does not fit the base, some of its tensors found no place, some of its layers got no
            weights, or the merged model does not say what the adapter model says.
        MissingExtra: peft is not installed.
    """
    probe = _probe_ids(model)
    base_TV = _law(model, probe)
    wrapped = _wrap(files, model)
    notices = _untie(files, wrapped)
    adapted_TV = _law(wrapped, probe)
    idle = _idle_matrices(wrapped)
    try:
        merged: Any = wrapped.merge_and_unload()
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"the adapter {files.name!r} cannot be merged into its base model ({first_line(error)}): give a LoRA-like "
            "adapter, or a merged model"
        ) from error
    _say_untied(merged)
    change, gap = _distance(adapted_TV, base_TV), _distance(_law(merged, probe), adapted_TV)
    notices += _compared(files, gap, change, _allowed(merged, adapted_TV), str(merged.dtype).removeprefix("torch."))
    if change <= _NOTHING_NATS:
        notices.append(
            f"the adapter {files.name!r} changes nothing: on {len(probe)} tokens no log-probability differs from the "
            f"base model's by more than {_NOTHING_NATS:g} nats{idle}; what is measured is the base model"
        )
    return merged, tuple(notices)


def _wrap(files: ModelFiles, model: Any) -> Any:
    """The adapter beside its base model, all of its tensors in place."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtra("peft", "hf", f"loading the adapter {files.name!r}") from error
    adapter = files.adapter
    if adapter is None or not any(adapter.glob("adapter_model*.safetensors")):
        raise ModelError(f"the adapter {files.name!r} has no adapter_model.safetensors: save it with peft >= 0.5")
    try:
        wrapped: Any = PeftModel.from_pretrained(model, str(adapter))
        if wrapped.active_peft_config.is_prompt_learning:
            kind = wrapped.active_peft_config.peft_type.value
            raise ModelError(
                f"the adapter {files.name!r} is of type {kind} (virtual tokens), "
                "which cannot be merged into weights: give a LoRA-like adapter or a merged model"
            )
        landed: Any = wrapped.load_adapter(str(adapter), adapter_name=_NAME)  # again, for its report alone
    except _FAILURES as error:
        if isinstance(error, ModelError) or is_out_of_memory(error):
            raise
        if isinstance(error, KeyError) and first_line(error).strip("'").startswith("base_model."):
            raise _incomplete(files, [str(error.args[0])], []) from error  # a module of modules_to_save without weights
        raise ModelError(
            f"the adapter {files.name!r} does not fit its base model ({first_line(error)}): check "
            "'base_model_name_or_path' in adapter_config.json"
        ) from error
    missing, unused = (
        sorted(name.replace(f".{_NAME}", "") for name in names)
        for names in (landed.missing_keys, landed.unexpected_keys)
    )
    if missing or unused:
        raise _incomplete(files, missing, unused)
    return wrapped


def _incomplete(files: ModelFiles, missing: Sequence[str], unused: Sequence[str]) -> ModelError:
    parts = [f"{len(unused)} of its tensors have no place in the base model, {_named(unused)}"] if unused else []
    if missing:
        parts.append(f"{len(missing)} tensors that its adapter_config.json asks for are missing, {_named(missing)}")
    return ModelError(
        f"the adapter {files.name!r} is not the one its files describe: {'; '.join(parts)}: what is measured would be "
        "the base model there; save the adapter again with peft's save_pretrained, on the base model that "
        "adapter_config.json names"
    )


def _named(names: Sequence[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + more


def _untie(files: ModelFiles, wrapped: Any) -> list[str]:
    """Give the output head weights of its own where an adapter layer sits on weights it shares with the embedding."""
    import torch

    embedding, head = _ends(wrapped.get_base_model())
    adapted = [name for name, end in (("embedding", embedding), ("output head", head)) if _is_adapted(end)]
    if not adapted or not _shared(embedding, head):
        return []
    layer = head.get_base_layer() if hasattr(head, "get_base_layer") else head
    layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    return [
        f"the adapter {files.name!r} changes the {' and the '.join(adapted)}; the base model shares one matrix between "
        "embedding and output head, which was made two before merging"
    ]


def _ends(model: Any) -> tuple[Any, Any]:
    return model.get_input_embeddings(), model.get_output_embeddings()


def _is_adapted(module: Any) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return isinstance(module, BaseTunerLayer)


def _shared(embedding: Any, head: Any) -> bool:
    return head is not None and embedding.weight.data_ptr() == head.weight.data_ptr()


def _say_untied(model: Any) -> None:
    """Let the configuration say that head and embedding have weights of their own, where that has become true."""
    embedding, head = _ends(model)
    if head is None or _shared(embedding, head):
        return
    for config in (model.config, model.config.get_text_config()):
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False
            model.all_tied_weights_keys = {}  # what transformers would leave out when the model is saved


def _idle_matrices(wrapped: Any) -> str:
    """Words for an adapter whose second matrices are all zero, as they are before training."""
    seconds = [p for name, p in wrapped.named_parameters() if ".lora_B." in name or ".lora_embedding_B." in name]
    return " (all of its B matrices are zero)" if seconds and not any(bool(p.any()) for p in seconds) else ""


def _probe_ids(model: Any) -> list[int]:
    n_ids = int(model.get_input_embeddings().weight.shape[0])
    room = context_length(model.config.get_text_config()) or _PROBE_TOKENS
    return [(7919 * i + 31) % n_ids for i in range(min(_PROBE_TOKENS, room))]


def _law(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities after each of the probe tokens, shape (T, V), nats."""
    import torch

    with torch.inference_mode():
        device = model.get_input_embeddings().weight.device
        logits: torch.Tensor = model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False).logits
    return logits[0].float().log_softmax(-1)


def _distance(law_TV: torch.Tensor, other_TV: torch.Tensor) -> float:
    """Largest difference of two laws, nats; what both hold impossible is equal."""
    return float((law_TV - other_TV).abs().masked_fill(law_TV == other_TV, 0.0).max())


def _allowed(model: Any, law_TV: torch.Tensor) -> float:
    """Largest gap that rounding explains, nats: 1e-4 in float32 unless log-probabilities are very large."""
    import torch

    bits = torch.finfo(model.dtype).bits
    return tolerance_nats(model.dtype, law_TV, _ROUNDINGS_32 if bits == 32 else _ROUNDINGS_16)


def _compared(files: ModelFiles, gap: float, change: float, allowed: float, dtype: str) -> list[str]:
    """What to tell of the gap between merged model and adapter model; refuses one that rounding does not explain."""
    if not gap <= allowed:
        raise ModelError(
            f"the adapter {files.name!r} merged into its base model does not say what it says beside it: "
            f"log-probabilities differ by {gap:.2g} nats, {allowed:.2g} at most is rounding in {dtype} (the adapter "
            f"itself moves them by {change:.2g}): merge it with the tool that trained it and give the merged model"
        )
    if dtype == "float32" or gap <= change / 2 or change <= _NOTHING_NATS:
        return []
    return [
        f"the adapter {files.name!r} is small beside the rounding of {dtype}: merged, log-probabilities are off by "
        f"{gap:.2g} nats where it moves them by {change:.2g}; dtype float32 measures it exactly"
    ]
