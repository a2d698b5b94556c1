"""Adapters of seven kinds: what is loaded says what the adapter model says, or is refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engines.tiny_models import edit_json, make_config, make_model, make_tokenizer, write_model
from posttrain_diag.engines.hf import adapter as hf_adapter
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.engines.hf.load import Loaded, load, quiet
from posttrain_diag.engines.model.files import find_model
from posttrain_diag.errors import ModelError

peft = pytest.importorskip("peft")

IDS = torch.tensor([[1, 9, 30, 4, 17, 22, 40, 5, 33, 12]])
ATTENTION = ["q_proj", "v_proj"]


def law(model: Any) -> torch.Tensor:
    """Log-probabilities (T, V) of the model's own forward pass."""
    with torch.no_grad():
        return model(input_ids=IDS.to(model.device), use_cache=False).logits[0].float().log_softmax(-1)


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def make_base(path: Path, *, tied: bool = False) -> Path:
    config = make_config("llama")
    config.tie_word_embeddings = tied
    with quiet():
        return write_model(path, make_model("llama", config=config), make_tokenizer())


def make_adapter(path: Path, *, tied: bool = False, trained: bool = True, scale: float = 0.3, **lora: Any) -> Any:
    """Write a base model and an adapter of it; returns the adapter model as it was in training, unmerged."""
    from transformers import AutoModelForCausalLM

    base = make_base(path / "base", tied=tied)
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        wrapped = peft.get_peft_model(model, peft.LoraConfig(**{"r": 4, "target_modules": ATTENTION, **lora}))
        with torch.no_grad():
            for name, weight in wrapped.named_parameters():
                if trained and weight.requires_grad and "lora_A" not in name:
                    weight.add_(scale * torch.randn(weight.shape))
        wrapped.peft_config["default"].base_model_name_or_path = str(base)
        wrapped.save_pretrained(path / "adapter")
    return wrapped.eval()


def loaded(path: Path, dtype: str = "float32") -> Loaded:
    return load(find_model(str(path / "adapter")), device="cpu", dtype=dtype, trust_remote_code=False)


def rename(path: Path, new_name: Callable[[str], str | None]) -> None:
    """Rewrite the adapter's tensors under other names; None drops one."""
    from safetensors.torch import load_file, save_file

    file = path / "adapter" / "adapter_model.safetensors"
    state = {new_name(name): tensor for name, tensor in load_file(file).items()}
    save_file({name: tensor for name, tensor in state.items() if name is not None}, file, metadata={"format": "pt"})


KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True, "lora_alpha": 8},
    "dora": {"use_dora": True},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "modules_to_save_tied": {"modules_to_save": ["lm_head"], "tied": True},
    "embedding_saved_tied": {"modules_to_save": ["embed_tokens"], "tied": True},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "embedding_tied": {"target_modules": ["q_proj", "embed_tokens"], "tied": True},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "head_tied": {"target_modules": ["q_proj", "lm_head"], "tied": True},
    "both_tied": {"target_modules": ["embed_tokens", "lm_head"], "tied": True},
    "both_tied_on_purpose": {"target_modules": ["embed_tokens"], "tied": True, "ensure_weight_tying": True},
    "trained_tokens_tied": {"trainable_token_indices": [9, 30], "tied": True},
    "half_the_layers": {"layers_to_transform": [0]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_says_what_the_adapter_model_says(kind: str, tmp_path: Path) -> None:
    expected = law(make_adapter(tmp_path, **KINDS[kind]))
    found = loaded(tmp_path)
    base = load(find_model(str(tmp_path / "base")), device="cpu", dtype="float32", trust_remote_code=False)
    assert gap(expected, law(base.model)) > 0.01, "the adapter must change something for the test to mean anything"
    assert gap(law(found.model), expected) < 1e-4
    assert not any("changes nothing" in notice for notice in found.notices)


@pytest.mark.parametrize("kind", ["embedding_tied", "head_tied", "modules_to_save_tied", "embedding_saved_tied"])
def test_a_head_made_two_stays_two_when_the_model_is_saved(kind: str, tmp_path: Path) -> None:
    expected = law(make_adapter(tmp_path, **KINDS[kind]))
    found = loaded(tmp_path)
    assert not found.model.config.tie_word_embeddings
    with quiet():
        write_model(tmp_path / "saved", found.model, found.tokenizer)
    again = load(find_model(str(tmp_path / "saved")), device="cpu", dtype="float32", trust_remote_code=False)
    assert gap(law(again.model), expected) < 1e-4


def test_a_tied_model_whose_adapter_leaves_its_ends_alone_stays_tied(tmp_path: Path) -> None:
    make_adapter(tmp_path, tied=True)
    model = loaded(tmp_path).model
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_the_reader_is_told_of_a_head_made_two(tmp_path: Path) -> None:
    make_adapter(tmp_path, **KINDS["embedding_tied"])
    [told] = [notice for notice in loaded(tmp_path).notices if "made two" in notice]
    assert "changes the embedding;" in told


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        loaded(path)
    return str(caught.value)


def test_tensors_under_other_names_are_refused_by_name(tmp_path: Path) -> None:
    make_adapter(tmp_path)
    rename(tmp_path, lambda name: name.replace("base_model.model.model.", "base_model.model.transformer."))
    message = refusal(tmp_path)
    assert "8 of its tensors have no place in the base model" in message
    assert "'base_model.model.transformer.layers.0.self_attn.q_proj.lora_A.weight'" in message
    assert "8 tensors that its adapter_config.json asks for are missing" in message


def test_one_tensor_without_a_place_is_refused(tmp_path: Path) -> None:
    make_adapter(tmp_path, target_modules=["q_proj", "v_proj", "up_proj"])
    edit_json(tmp_path / "adapter" / "adapter_config.json", target_modules=ATTENTION)
    message = refusal(tmp_path)
    assert "4 of its tensors have no place" in message and "up_proj.lora_A" in message and "missing" not in message


def test_layers_without_weights_are_refused_by_name(tmp_path: Path) -> None:
    make_adapter(tmp_path)
    rename(tmp_path, lambda name: None if "layers.1" in name else name)
    message = refusal(tmp_path)
    assert "4 tensors that its adapter_config.json asks for are missing" in message
    assert "layers.1.self_attn.q_proj.lora_A" in message and "no place" not in message


def test_a_saved_module_without_weights_is_refused_by_name(tmp_path: Path) -> None:
    make_adapter(tmp_path, modules_to_save=["lm_head"])
    rename(tmp_path, lambda name: None if "lm_head" in name else name)
    assert "1 tensors that its adapter_config.json asks for are missing, 'base_model.model.lm_head" in refusal(tmp_path)


def test_a_kind_that_peft_does_not_know_is_refused(tmp_path: Path) -> None:
    make_adapter(tmp_path)
    edit_json(tmp_path / "adapter" / "adapter_config.json", peft_type="NOVEL")
    message = refusal(tmp_path)
    assert "does not fit its base model" in message and "NOVEL" in message and "missing" not in message


def test_an_adapter_that_cannot_be_merged_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_adapter(tmp_path)

    def refuses(self: Any) -> Any:
        raise NotImplementedError("no merging here")

    monkeypatch.setattr(peft.tuners.lora.LoraModel, "merge_and_unload", refuses)
    assert "cannot be merged into its base model (no merging here)" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["lora", "dora", "embedding"])
def test_an_adapter_that_changes_nothing_is_named(kind: str, tmp_path: Path) -> None:
    make_adapter(tmp_path, trained=False, **KINDS[kind])
    if kind == "embedding":  # PEFT begins with random values there
        rename(tmp_path, lambda name: name)
        zero_second_matrices(tmp_path)
    [told] = [notice for notice in loaded(tmp_path).notices if "changes nothing" in notice]
    assert "all of its B matrices are zero" in told and "the base model" in told


def zero_second_matrices(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = path / "adapter" / "adapter_model.safetensors"
    state = {name: tensor * 0 if "_B" in name else tensor for name, tensor in load_file(file).items()}
    save_file(state, file, metadata={"format": "pt"})


def test_a_merge_that_says_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_adapter(tmp_path, **KINDS["embedding_tied"])
    monkeypatch.setattr(hf_adapter, "_untie", lambda files, wrapped: [])
    message = refusal(tmp_path)
    assert "does not say what it says beside it" in message and "0.0001 at most is rounding in float32" in message


def test_an_adapter_lost_in_the_rounding_is_told(tmp_path: Path) -> None:
    make_adapter(tmp_path, scale=1e-3)
    assert any("small beside the rounding of bfloat16" in notice for notice in loaded(tmp_path, "bfloat16").notices)
    assert not any("rounding" in notice for notice in loaded(tmp_path).notices)


def test_what_the_libraries_warn_of_reaches_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    make_adapter(tmp_path)
    untold = peft.PeftModel.from_pretrained

    def telling(*args: Any, **kwargs: Any) -> Any:
        warnings.warn("the merge is\n  a guess", stacklevel=1)
        warnings.warn("old name", FutureWarning, stacklevel=1)
        logging.getLogger("transformers.modeling_utils").warning("this is odd")
        logging.getLogger("peft").info("all is well")
        return untold(*args, **kwargs)

    monkeypatch.setattr(peft.PeftModel, "from_pretrained", telling)
    notices = load_hf_engine(str(tmp_path / "adapter"), device="cpu").info.notices
    assert [notice.partition(" warns: ")[2] for notice in notices] == ["this is odd", "the merge is a guess"]
    assert notices[0].startswith("transformers warns: ")


def test_pefts_own_warning_of_a_tied_model_reaches_the_user(tmp_path: Path) -> None:
    make_adapter(tmp_path, **KINDS["embedding_tied"])
    assert any(notice.startswith("peft warns: ") and "tie" in notice for notice in loaded(tmp_path).notices)
