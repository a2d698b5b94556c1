"""Which engine runs: the one dispatch from a config's `engine` to the code that makes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from posttrain_diag.engines.contract import Engine
    from posttrain_diag.settings.analysis import AnalyzeConfig, EngineName

ONE_THREAD_BELOW = 20_000_000
"""Parameters below which one torch thread is as fast as several and far faster on a machine that others use."""


def open_engine(config: AnalyzeConfig, model: str) -> Engine:
    """Load the engine that a config names.

    Args:
        config: engine and its settings.
        model: directory or hub id (`zoo:NAME` resolved by the caller), or what a server calls its model.

    Raises:
        DiagError: the model or the engine's settings cannot be used; the message says what to change.
    """
    return ENGINES[config.engine](config, model)


def _hf(config: AnalyzeConfig, model: str) -> Engine:
    from posttrain_diag.engines.hf.engine import load_hf_engine

    engine = load_hf_engine(
        model,
        device=config.device,
        dtype=config.dtype,
        template=config.template,
        use_chat_template=config.chat_template,
        system_prompt=config.system_prompt,
        batch_rows=config.batch_rows,
        trust_remote_code=config.trust_remote_code,
    )
    small = engine.info.device == "cpu" and engine.info.n_parameters < ONE_THREAD_BELOW
    if small and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(1)
    return engine


def _vllm(config: AnalyzeConfig, model: str) -> Engine:
    from posttrain_diag.engines.vllm.engine import load_vllm_engine

    return load_vllm_engine(
        model,
        python=config.vllm_python,
        dtype=config.dtype,
        template=config.template,
        use_chat_template=config.chat_template,
        system_prompt=config.system_prompt,
        batch_rows=config.batch_rows,
        trust_remote_code=config.trust_remote_code,
    )


def _openai(config: AnalyzeConfig, model: str) -> Engine:
    from posttrain_diag.engines.openai.engine import load_openai_engine

    return load_openai_engine(
        model,
        base_url=config.base_url,
        api_key_env=config.api_key_env,
        concurrency=config.concurrency,
        tokenizer=config.tokenizer,
        template=config.template,
        use_chat_template=config.chat_template,
        system_prompt=config.system_prompt,
        trust_remote_code=config.trust_remote_code,
    )


def _ray(config: AnalyzeConfig, model: str) -> Engine:
    from posttrain_diag.engines.ray.engine import load_ray_engine

    return load_ray_engine(config, model)


ENGINES: dict[EngineName, Callable[[AnalyzeConfig, str], Engine]] = {
    "hf": _hf,
    "vllm": _vllm,
    "openai": _openai,
    "ray": _ray,
}
"""Engine name -> how it is opened."""
