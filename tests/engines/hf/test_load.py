from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.tiny_models import VOCAB, edit_json, make_config, make_model, make_tokenizer, write_model
from posttrain_diag.engines.contract import Engine, Prompt, SampleRequest, ScoreRequest
from posttrain_diag.engines.hf import check as hf_check
from posttrain_diag.engines.hf import load as hf_load
from posttrain_diag.engines.hf import pack as hf_pack
from posttrain_diag.engines.hf import slots as hf_slots
from posttrain_diag.engines.hf.engine import HFEngine, load_hf_engine
from posttrain_diag.engines.hf.forward import CachedDecode
from posttrain_diag.engines.hf.load import quiet
from posttrain_diag.errors import MissingExtra, ModelError, UsageError
from posttrain_diag.types import SamplingParams

PARAMS = SamplingParams(max_new_tokens=6)
REQUESTS = [SampleRequest(text, Prompt(text=text), (0, 1, 2), (7, 8, 9)) for text in ("a", "ab: 1+2=")]


def fresh(path: Path, shape: str = "llama", **tokenizer: Any) -> Path:
    return write_model(path, make_model(shape), make_tokenizer(**tokenizer))


def tokens(engine: HFEngine) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(d.key, d.sample_idx): d.token_ids for d in engine.sample(REQUESTS, PARAMS)}


def test_info(model_dir: Callable[[str], Path]) -> None:
    engine: Engine = load_hf_engine(str(model_dir("llama")), device="cpu")
    info = engine.info
    assert (info.engine, info.architecture, info.dtype, info.device) == ("hf", "LlamaForCausalLM", "float32", "cpu")
    assert (info.vocab_size, info.context_length) == (VOCAB, 96)
    assert (info.stop_token_ids, info.stop_tokens) == ((2,), ("</s>",))
    assert info.n_parameters == sum(p.numel() for p in make_model("llama").parameters())


def test_model_sha_follows_weights_and_tokenizer_not_the_place(tmp_path: Path) -> None:
    first = load_hf_engine(str(fresh(tmp_path / "a")), device="cpu").info.model_sha
    assert load_hf_engine(str(fresh(tmp_path / "b")), device="cpu").info.model_sha == first
    other = write_model(tmp_path / "c", make_model("llama", seed=1), make_tokenizer())
    assert load_hf_engine(str(other), device="cpu").info.model_sha != first
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    other = write_model(tmp_path / "d", make_model("llama"), tokenizer)
    assert load_hf_engine(str(other), device="cpu").info.model_sha != first


def test_loading_is_silent_and_leaves_no_trace(tmp_path: Path) -> None:
    fresh(tmp_path)
    code = (
        "import warnings, torch\n"
        "from transformers.utils import logging as t\n"
        "state = (t.get_verbosity(), t.is_progress_bar_enabled(), list(warnings.filters))\n"
        "from posttrain_diag.engines.contract import Prompt, SampleRequest, ScoreRequest\n"
        "from posttrain_diag.engines.hf.engine import load_hf_engine\n"
        "from posttrain_diag.types import SamplingParams\n"
        f"engine = load_hf_engine({str(tmp_path)!r}, device='cpu')\n"
        "prompt = Prompt(text='a' * 50)\n"
        "list(engine.sample([SampleRequest('k', prompt, (0, 1), (1, 2))], SamplingParams(max_new_tokens=4)))\n"
        "list(engine.score([ScoreRequest('k', prompt, completion='ab')]))\n"
        "assert (t.get_verbosity(), t.is_progress_bar_enabled(), list(warnings.filters)) == state\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_quiet_restores_after_an_error() -> None:
    from transformers.utils import logging as transformers_logging

    before = (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled())
    with pytest.raises(KeyError), quiet():
        logging.getLogger("transformers").warning("unheard")
        warnings.warn("unheard", stacklevel=1)
        raise KeyError
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


def test_importing_the_engine_does_not_import_torch() -> None:
    code = "import sys, posttrain_diag.engines.hf.engine; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]) -> None:
    path = str(model_dir("llama"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"'torch'.*posttrain-diag\[hf\]"):
        load_hf_engine(path)


def cpuinfo(path: Path, flags: str) -> Callable[[], frozenset[str]]:
    path.write_text(f"processor\t: 0\nmodel name\t: any\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    return partial(hf_load.cpu_flags, path)


@pytest.mark.parametrize(
    ("stored", "flags", "expected"),
    [
        ("bfloat16", "avx512f avx512_bf16", "bfloat16"),
        ("bfloat16", "amx_tile amx_bf16 avx512f", "bfloat16"),
        ("bfloat16", "avx2 avx512f", "float32"),
        ("float16", "avx512_bf16 amx_bf16", "float32"),
        ("float32", "avx512_bf16 amx_bf16", "float32"),
    ],
)
def test_a_bfloat16_checkpoint_is_computed_as_it_is_where_the_cpu_can(
    stored: str, flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path, make_model("llama").to(getattr(torch, stored)), make_tokenizer())
    monkeypatch.setattr(hf_load, "cpu_flags", cpuinfo(tmp_path / "cpuinfo", flags))
    info = load_hf_engine(str(path), device="cpu").info
    assert info.dtype == expected
    told = [notice for notice in info.notices if "computed in bfloat16" in notice]
    assert len(told) == (expected == "bfloat16")
    assert all("--dtype float32" in notice for notice in told)
    assert load_hf_engine(str(path), device="cpu", dtype="float32").info.dtype == "float32"


def test_where_no_cpu_flags_are_told_there_are_none(tmp_path: Path) -> None:
    assert hf_load.cpu_flags(tmp_path / "absent") == frozenset()


def test_dtype(tmp_path: Path) -> None:
    path = write_model(tmp_path, make_model("llama").to(torch.bfloat16), make_tokenizer())
    half = load_hf_engine(str(path), device="cpu", dtype="bf16")
    assert half.info.dtype == "bfloat16"
    assert half.paths.decode == "slots"
    scores = {s.key: s for s in half.score([ScoreRequest("k", Prompt(text="ab:"), completion="12")])}
    full = next(
        iter(
            load_hf_engine(str(path), device="cpu", dtype="float32").score(
                [ScoreRequest("k", Prompt(text="ab:"), completion="12")]
            )
        )
    )
    assert np.allclose(scores["k"].logprob_T, full.logprob_T, atol=0.2)
    with pytest.raises(UsageError, match=r"unknown dtype 'int4'.*bfloat16"):
        load_hf_engine(str(path), dtype="int4")


def test_device_errors(model_dir: Callable[[str], Path]) -> None:
    for device in ("gpu", "meta", "cuda:99"):
        with pytest.raises(UsageError, match=f"device '{device}'"):
            load_hf_engine(str(model_dir("llama")), device=device)
    with pytest.raises(UsageError, match="batch_rows must be at least 1, got 0"):
        load_hf_engine(str(model_dir("llama")), batch_rows=0)


# ---- errors, one line each -------------------------------------------------------------------------------------


def error_of(path: Path | str, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load_hf_engine(str(path), device="cpu", **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_directory(tmp_path: Path) -> None:
    assert "does not exist" in error_of(tmp_path / "nowhere")
    assert "does not exist" in error_of("./nowhere")
    (tmp_path / "file").write_text("")
    assert "is a file" in error_of(tmp_path / "file")


def test_hub_id_offline_names_both_ways_out() -> None:
    code = (
        "from posttrain_diag.engines.hf.engine import load_hf_engine\n"
        "from posttrain_diag.errors import ModelError\n"
        "try: load_hf_engine('nobody/no-such-model')\n"
        "except ModelError as e: print(e)\n"
    )
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert "'nobody/no-such-model' is no directory here" in run.stdout and "HF_HUB_OFFLINE" in run.stdout
    assert run.stderr == ""


def test_missing_or_broken_config(tmp_path: Path) -> None:
    fresh(tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "gone.json")
    assert "has no config.json" in error_of(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "not readable JSON" in error_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nonsense9"}')
    assert "not one that transformers knows" in error_of(tmp_path)


def test_missing_tokenizer(tmp_path: Path) -> None:
    fresh(tmp_path)
    for path in tmp_path.glob("tokenizer*"):
        path.unlink()
    assert "has no tokenizer" in error_of(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "cannot be loaded" in error_of(tmp_path)


def test_missing_pickled_or_damaged_weights(tmp_path: Path) -> None:
    fresh(tmp_path)
    weights = tmp_path / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    assert "damaged or cut short" in error_of(tmp_path)
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    assert "git lfs pull" in error_of(tmp_path)
    weights.unlink()
    assert "has no model.safetensors" in error_of(tmp_path)
    torch.save(make_model("llama").state_dict(), tmp_path / "pytorch_model.bin")
    assert "pickled" in error_of(tmp_path)
    engine = load_hf_engine(str(tmp_path), device="cpu", allow_pickle=True)
    assert tokens(engine)


def test_sharded_weights_and_a_missing_shard(tmp_path: Path, model_dir: Callable[[str], Path]) -> None:
    make_model("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    make_tokenizer().save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    engine = load_hf_engine(str(tmp_path), device="cpu")
    assert tokens(engine) == tokens(load_hf_engine(str(model_dir("llama")), device="cpu"))
    shards[-1].unlink()
    assert shards[-1].name in error_of(tmp_path) and "is missing" in error_of(tmp_path)


def test_weights_of_another_shape_or_incomplete(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    fresh(tmp_path)
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    kept = {name: value for name, value in state.items() if "layers.1.mlp.up" not in name}
    save_file(kept, weights, metadata={"format": "pt"})
    assert "lack 1 tensors" in error_of(tmp_path) and "layers.1.mlp.up_proj" in error_of(tmp_path)
    save_file(state | {"extra.weight": torch.zeros(1)}, weights, metadata={"format": "pt"})
    assert any("unused" in n for n in load_hf_engine(str(tmp_path), device="cpu").info.notices)
    save_file(state, weights, metadata={"format": "pt"})
    edit_json(tmp_path / "config.json", hidden_size=64)
    assert "do not fit its config.json" in error_of(tmp_path)


def test_nan_weights_are_found_at_load(tmp_path: Path) -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = float("nan")
    write_model(tmp_path, model, make_tokenizer())
    assert "1 of 2048 values of 'model.layers.1.mlp.up_proj.weight' are NaN" in error_of(tmp_path)


def test_architectures_that_do_not_generate(tmp_path: Path) -> None:
    import transformers as tf

    tiny = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "vocab_size": VOCAB,
        "initializer_range": 0.3,
    }
    with quiet():
        bert = tf.BertForMaskedLM(tf.BertConfig(**tiny))
        decoder = tf.BertLMHeadModel(tf.BertConfig(**tiny))  # the causal class, but it looks both ways
    write_model(tmp_path / "bert", bert, make_tokenizer())
    assert "BertForMaskedLM" in error_of(tmp_path / "bert") and "left to right" in error_of(tmp_path / "bert")
    write_model(tmp_path / "decoder", decoder, make_tokenizer())
    assert "looks at later tokens" in error_of(tmp_path / "decoder")
    t5 = tf.T5ForConditionalGeneration(
        tf.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=VOCAB)
    )
    write_model(tmp_path / "t5", t5, make_tokenizer())
    assert "encoder-decoder" in error_of(tmp_path / "t5")


def test_a_tokenizer_of_another_model_is_noticed(tmp_path: Path) -> None:
    config = make_config("llama")
    config.vocab_size = 20
    write_model(tmp_path, make_model("llama", config=config), make_tokenizer())
    engine = load_hf_engine(str(tmp_path), device="cpu")
    with pytest.raises(ModelError, match=r"'k': token id \d+ is outside the model's 20 embeddings"):
        engine.sample([SampleRequest("k", Prompt(text="99"), (0,), (1,))], PARAMS)


# ---- adapters --------------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Directories of a base model, a LoRA adapter on it, and the merged model."""
    peft = pytest.importorskip("peft")
    base = fresh(tmp_path / "base")
    with quiet():
        wrapped = peft.get_peft_model(make_model("llama"), peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, weight in wrapped.named_parameters():
                if "lora_B" in name:
                    weight.copy_(torch.randn(weight.shape, generator=generator))
        wrapped.peft_config["default"].base_model_name_or_path = str(base)
        wrapped.save_pretrained(tmp_path / "adapter")
        merged = write_model(tmp_path / "merged", wrapped.merge_and_unload(), make_tokenizer())
    return base, tmp_path / "adapter", merged


def test_an_adapter_equals_the_merged_model(adapter: tuple[Path, Path, Path]) -> None:
    base, lora, merged = (load_hf_engine(str(path), device="cpu") for path in adapter)
    assert tokens(lora) == tokens(merged)
    assert tokens(lora) != tokens(base)
    assert lora.info.architecture == "LlamaForCausalLM"
    assert len({base.info.model_sha, lora.info.model_sha, merged.info.model_sha}) == 3
    asked = [ScoreRequest("k", Prompt(text="ab:"), completion="123")]
    [a], [b] = list(lora.score(asked)), list(merged.score(asked))
    assert np.allclose(a.logprob_T, b.logprob_T, atol=1e-5)


def test_adapter_errors(adapter: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    base, lora, _ = adapter
    edit_json(lora / "adapter_config.json", base_model_name_or_path=str(base) + "-gone")
    message = error_of(lora)
    assert "base model" in message and "-gone" in message and "adapter_config.json" in message
    edit_json(lora / "adapter_config.json", base_model_name_or_path=None)
    assert "names no base model" in error_of(lora)
    edit_json(lora / "adapter_config.json", base_model_name_or_path="../base")
    assert tokens(load_hf_engine(str(lora), device="cpu")), "a base model may be named relative to the adapter"
    (lora / "elsewhere").mkdir()
    (lora / "base").mkdir()
    monkeypatch.chdir(lora / "elsewhere")  # ../base is a folder from here, and no model
    assert tokens(load_hf_engine(str(lora), device="cpu")), "a folder of that name in sight is not the base model"
    (lora / "adapter_model.safetensors").unlink()
    assert "has no adapter_model.safetensors" in error_of(lora)


# ---- the cache -----------------------------------------------------------------------------------------------------


def taking_cache_as(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Llama's forward take its cache as `name` alone, whatever the installed transformers calls it."""
    from transformers import LlamaForCausalLM

    theirs = LlamaForCausalLM.forward
    own = "cache" if "cache" in inspect.signature(theirs).parameters else "past_key_values"

    def forward(self: Any, **given: Any) -> Any:
        assert not {"past_key_values", "cache"} - {name} & set(given)
        return theirs(self, **{own if key == name else key: value for key, value in given.items()})

    taken = ("self", "input_ids", "attention_mask", "position_ids", name, "use_cache", "logits_to_keep")
    parameters = [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None) for key in taken]
    forward.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)


@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_the_cache_is_used_under_either_name(
    name: str, monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]
) -> None:
    path = str(model_dir("llama"))
    right = tokens(load_hf_engine(path, device="cpu"))
    taking_cache_as(name, monkeypatch)
    engine = load_hf_engine(path, device="cpu")
    assert (engine.paths.decode, engine.info.notices) == ("slots", ())
    assert tokens(engine) == right


def test_a_cache_under_a_name_nobody_knows_is_loud(
    monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]
) -> None:
    path = str(model_dir("llama"))
    right = tokens(load_hf_engine(path, device="cpu"))
    taking_cache_as("memory", monkeypatch)
    engine = load_hf_engine(path, device="cpu")
    assert engine.paths.decode == "plain"
    [told] = engine.info.notices
    assert told.startswith("DECODING IS SLOW") and "LlamaForCausalLM has a cache" in told
    assert "past_key_values, cache, cache_params" in told and "takes no" not in told
    assert tokens(engine) == right


def test_an_architecture_without_a_cache_is_said_to_have_none(tmp_path: Path) -> None:
    import transformers as tf

    config = tf.OpenAIGPTConfig(vocab_size=VOCAB, n_positions=96, n_embd=32, n_layer=2, n_head=4)
    path = write_model(tmp_path, make_model("gpt", config=config), make_tokenizer())
    engine = load_hf_engine(str(path), device="cpu")
    assert engine.paths.decode == "plain" and tokens(engine)
    assert any("takes no transformers cache" in notice for notice in engine.info.notices)
    assert not any("SLOW" in notice for notice in engine.info.notices)


# ---- the self-check ----------------------------------------------------------------------------------------------


def test_state_space_models_fall_back_with_a_notice(model_dir: Callable[[str], Path]) -> None:
    engine = load_hf_engine(str(model_dir("mamba")), device="cpu")
    assert engine.paths.decode == "equal"
    assert any("slower and exact" in notice for notice in engine.info.notices)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [("select", "plain"), ("positions", "equal"), ("raises", "plain"), ("nothing", "shared")],
)
def test_a_cache_that_does_not_hold_is_found_and_the_draws_stay_right(
    broken: str, expected: str, monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]
) -> None:
    path = str(model_dir("gpt2"))
    right = tokens(load_hf_engine(path, device="cpu"))
    start, select = CachedDecode.start, CachedDecode.select

    def wrong_select(self: Any, rows: torch.Tensor) -> None:
        select(self, rows)
        self.cache.layers[0].keys = self.cache.layers[0].keys.flip(0)

    def wrong_positions(self: Any, prompts: Any) -> torch.Tensor:
        logits = start(self, prompts)
        if self._mask_BL is not None:
            self._next_B = torch.full_like(self._next_B, self._mask_BL.shape[1])
        return logits

    def raises(self: Any, prompts: Any) -> torch.Tensor:
        raise NotImplementedError("this cache cannot")

    patches = {"select": ("select", wrong_select), "positions": ("start", wrong_positions), "raises": ("start", raises)}
    if broken in patches:
        monkeypatch.setattr(CachedDecode, *patches[broken])
    monkeypatch.setattr(hf_check, "plug_in", lambda model: False)
    engine = load_hf_engine(path, device="cpu")
    assert engine.paths.decode == expected
    assert engine.paths.score == ("shared" if broken == "nothing" else "plain")
    assert any("self-check" in notice for notice in engine.info.notices)
    assert tokens(engine) == right


@pytest.mark.parametrize("broken", ["prefix", "merge", "mask", "positions", "refused"])
def test_slots_that_do_not_hold_are_found_and_the_draws_stay_right(
    broken: str, monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]
) -> None:
    path = str(model_dir("qwen3"))
    whole = load_hf_engine(path, device="cpu")
    assert (whole.paths.decode, whole.paths.score) == ("slots", "slots")
    right = tokens(whole)
    with_prefix, begin, admit = hf_slots.with_prefix, hf_slots.SlotCache.begin, hf_slots.SlotDecode.admit

    def another_prompt(own: Any, query: Any, groups: Any, prefix: Any, scale: float) -> Any:
        return with_prefix(own, query, groups, [(k.flip(2), v) for k, v in prefix], scale)

    def own_only(own: Any, *_: Any) -> Any:
        return own[0]

    def unmasked(self: Any, *args: Any) -> Any:
        found = begin(self, *args)
        self._mask.zero_()
        return found

    def shifted(self: Any, *args: Any) -> Any:
        found = admit(self, *args)
        self._length_B = self._length_B + 1
        return found

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("attention with softcap")

    patches: dict[str, tuple[Any, str, Any]] = {
        "prefix": (hf_slots, "with_prefix", another_prompt),
        "merge": (hf_slots, "with_prefix", own_only),
        "mask": (hf_slots.SlotCache, "begin", unmasked),
        "positions": (hf_slots.SlotDecode, "admit", shifted),
        "refused": (hf_slots, "attend", refused),
    }
    monkeypatch.setattr(*patches[broken])
    engine = load_hf_engine(path, device="cpu")
    assert (engine.paths.decode, engine.paths.score) == ("shared", "shared")
    assert any("slots" in notice for notice in engine.info.notices)
    assert tokens(engine) == right


@pytest.mark.skipif(not hf_pack.can_pack(), reason="this CPU has no AVX-512")
def test_packed_layers_that_do_not_hold_are_put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hf_pack, "_LEAST_VALUES", 1)
    path = write_model(tmp_path, make_model("llama").to(torch.bfloat16), make_tokenizer())
    packed = load_hf_engine(str(path), device="cpu", dtype="bfloat16")
    layer = packed._lm.model.lm_head
    assert "forward" in layer.__dict__ and packed.info.notices == ()
    monkeypatch.setattr(hf_pack, "_forward", lambda weight, bias, rows: rows @ weight.to_dense().t() * 1.5)
    broken = load_hf_engine(str(path), device="cpu", dtype="bfloat16")
    assert "forward" not in broken._lm.model.lm_head.__dict__
    assert ["packed" in notice for notice in broken.info.notices] == [True]


def test_scoring_alone_that_does_not_hold_is_said(
    monkeypatch: pytest.MonkeyPatch, model_dir: Callable[[str], Path]
) -> None:
    logits = hf_slots.ScoreCache.logits
    monkeypatch.setattr(hf_slots.ScoreCache, "logits", lambda self, lm, ids: logits(self, lm, ids) * 1.5)
    engine = load_hf_engine(str(model_dir("llama")), device="cpu")
    assert (engine.paths.decode, engine.paths.score) == ("slots", "shared")
    assert any("not scored after shared prompts" in notice for notice in engine.info.notices)
