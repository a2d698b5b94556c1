"""From files to a model ready to decode: precision, device, adapter and tokenizer, without noise on the terminal."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from logging import CRITICAL
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.engines.hf.adapter import merge_adapter
from posttrain_diag.engines.hf.heard import hearing
from posttrain_diag.engines.hf.memory import is_out_of_memory
from posttrain_diag.engines.model.files import ModelFiles, first_line, read_json, require_tokenizer
from posttrain_diag.errors import MissingExtra, ModelError, UsageError

if TYPE_CHECKING:
    import torch

DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}
_BFLOAT16_UNITS = frozenset({"avx512_bf16", "amx_bf16"})
"""Instructions of a CPU that multiply bfloat16 matrices faster than float32 ones."""
_CAUSAL_SUFFIXES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
# What from_pretrained and peft raise for unusable files; anything else is a defect and keeps its traceback.
_LOAD_FAILURES = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)


@dataclass(frozen=True)
class Loaded:
    """A model and its tokenizer in memory."""

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: str
    notices: tuple[str, ...]


def require_torch() -> None:
    """Make sure that torch and transformers can be imported.

    Raises:
        MissingExtra: one of them is not installed.
    """
    for package in ("torch", "transformers"):
        try:
            with quiet():
                __import__(package)
        except ImportError as error:
            raise MissingExtra(package, "hf", "running a model") from error


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keep transformers' and the hub's progress bars, logs and warnings off the terminal, then restore them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
            from transformers.utils import logging
        except ImportError:  # nothing to silence; the caller's own import says what is missing
            yield
            return
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        hub_bars = not are_progress_bars_disabled()
        logging.set_verbosity(CRITICAL)
        logging.disable_progress_bar()  # the hub's bars too
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
            if hub_bars:
                enable_progress_bars()


def load(files: ModelFiles, *, device: str | None, dtype: str | None, trust_remote_code: bool) -> Loaded:
    """Load a model and its tokenizer into memory.

    Args:
        files: what `find_model` found.
        device: torch device; None = cuda where there is one, else cpu.
        dtype: key of `DTYPES`; None or "auto" = a 16-bit checkpoint as bfloat16 on CUDA, a bfloat16 checkpoint as it is
            on a CPU that computes in bfloat16, float32 elsewhere.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        ModelError: the files do not make a causal language model.
        UsageError: unknown device or dtype.
        MissingExtra: torch, transformers or peft is not installed.
    """
    require_torch()
    require_tokenizer(files, trust_remote_code)
    with quiet(), hearing() as heard:
        config = load_config(files, trust_remote_code)
        where = _device(device)
        precision, told = _dtype(dtype, config, where)
        tokenizer = load_tokenizer(files, trust_remote_code)
        model, notices = _model(files, config, precision, trust_remote_code)
        model = model.eval().requires_grad_(False).to(where)
        if files.adapter is not None:
            model, of_adapter = merge_adapter(files, model)
            model, notices = model.eval().requires_grad_(False), (*notices, *of_adapter)
    return Loaded(model, tokenizer, where, precision, (*told, *notices, *heard))


def load_config(files: ModelFiles, trust_remote_code: bool) -> Any:
    """Load the transformers config of a causal language model.

    Raises:
        ModelError: transformers does not know it, or it is of another kind of model.
    """
    from transformers import AutoConfig

    read_json(files.root / "config.json")  # one clear error for a broken file
    try:
        config = AutoConfig.from_pretrained(files.root, trust_remote_code=trust_remote_code)
    except _LOAD_FAILURES as error:
        remote = "auto_map" in read_json(files.root / "config.json") and not trust_remote_code
        raise ModelError(
            f"config.json of {files.name!r} is not one that transformers knows ({first_line(error)}): "
            + ("it needs the code that comes with it (trust_remote_code)" if remote else "check 'model_type'")
        ) from error
    _require_causal(files, config, trust_remote_code)
    return config


def _require_causal(files: ModelFiles, config: Any, trust_remote_code: bool) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names: list[str] = list(getattr(config, "architectures", None) or ())
    shown = names[0] if names else str(config.model_type)
    needed = "a causal (decoder-only) language model is needed, e.g. a ...ForCausalLM checkpoint"
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{files.name!r} is an encoder-decoder model ({shown}): {needed}")
    remote = trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if remote:
        return
    known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    headed = not names or any(name.endswith(_CAUSAL_SUFFIXES) for name in names)
    if not known or not headed:
        raise ModelError(f"{files.name!r} holds {shown}, which does not generate text left to right: {needed}")


def _device(device: str | None) -> torch.device:
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}: give cpu, cuda or cuda:N") from error
    if where.type not in ("cpu", "cuda"):
        raise UsageError(f"device {device!r} is not supported: give cpu, cuda or cuda:N")
    if where.type == "cuda" and (where.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device!r} is not there ({torch.cuda.device_count()} CUDA devices): give cpu")
    return where


def _dtype(dtype: str | None, config: Any, device: torch.device) -> tuple[str, tuple[str, ...]]:
    """The precision to compute in, and what to tell of a choice that is not float32."""
    import torch

    if dtype not in (None, "auto"):
        if dtype not in DTYPES:
            raise UsageError(f"unknown dtype {dtype!r}: give auto, {', '.join(sorted(set(DTYPES.values())))}")
        return DTYPES[dtype], ()
    stored = str(getattr(config.get_text_config(), "dtype", None) or config.dtype)
    if device.type == "cuda" and ("float16" in stored):  # "bfloat16" too
        return ("bfloat16" if torch.cuda.is_bf16_supported() else "float16"), ()
    if device.type == "cpu" and "bfloat16" in stored and (unit := sorted(_BFLOAT16_UNITS & cpu_flags())):
        return "bfloat16", (
            f"computed in bfloat16, as the checkpoint is stored: this CPU has {unit[0]} (--dtype float32 is slower and "
            "rounds less)",
        )
    return "float32", ()


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction sets of this CPU as Linux names them; none where it does not say."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def load_tokenizer(files: ModelFiles, trust_remote_code: bool) -> Any:
    """Load the tokenizer that lies beside a model.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(files.tokenizer, trust_remote_code=trust_remote_code)
    except _LOAD_FAILURES as error:
        raise ModelError(
            f"the tokenizer in {str(files.tokenizer)!r} cannot be loaded ({first_line(error)}): save it again with "
            "tokenizer.save_pretrained(...)"
        ) from error


def _model(files: ModelFiles, config: Any, dtype: str, trust_remote_code: bool) -> tuple[Any, tuple[str, ...]]:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            files.root,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=None if files.allow_pickle else True,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
        )
    except _LOAD_FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"the weights in {str(files.root)!r} do not fit its config.json ({first_line(error)}): save the model again"
        ) from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights in {str(files.root)!r} lack {len(missing)} tensors of {type(model).__name__}, e.g. "
            f"{missing[0]!r}: they would be random numbers; save the complete model"
        )
    unexpected = sorted(report["unexpected_keys"])
    if unexpected:
        return model, (f"{len(unexpected)} tensors of the checkpoint are unused, e.g. {unexpected[0]!r}",)
    return model, ()
