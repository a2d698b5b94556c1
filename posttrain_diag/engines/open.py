"""Which engine runs: the one dispatch from engine settings to the code that makes the engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from posttrain_diag.settings.engine import HFChoice, OpenAIChoice, RayChoice, VLLMChoice

if TYPE_CHECKING:
    from posttrain_diag.engines.contract import Engine
    from posttrain_diag.settings.engine import EngineSettings, ReadingSettings

ONE_THREAD_BELOW = 20_000_000
"""Parameters below which one torch thread is as fast as several and far faster on a machine that others use."""


def open_engine(settings: EngineSettings, model: str) -> Engine:
    """Load the engine that the settings name.

    Args:
        settings: which engine, and its settings.
        model: directory or hub id (`zoo:NAME` resolved by the caller), or what a server calls its model.

    Raises:
        DiagError: the model or the engine's settings cannot be used; the message says what to change.
    """
    match settings.chosen:
        case HFChoice() as own:
            return _hf(own, settings.reading, model)
        case VLLMChoice() as own:
            return _vllm(own, settings.reading, model)
        case OpenAIChoice() as own:
            return _openai(own, settings.reading, model)
        case RayChoice() as own:
            from posttrain_diag.engines.ray.engine import load_ray_engine

            return load_ray_engine(settings, model)


def _hf(own: HFChoice, reading: ReadingSettings, model: str) -> Engine:
    from posttrain_diag.engines.hf.engine import load_hf_engine

    engine = load_hf_engine(model, device=own.device, dtype=own.dtype, batch_rows=own.batch_rows, **reading)
    small = engine.info.device == "cpu" and engine.info.n_parameters < ONE_THREAD_BELOW
    if small and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(1)
    return engine


def _vllm(own: VLLMChoice, reading: ReadingSettings, model: str) -> Engine:
    from posttrain_diag.engines.vllm.engine import load_vllm_engine

    return load_vllm_engine(model, python=own.vllm_python, dtype=own.dtype, batch_rows=own.batch_rows, **reading)


def _openai(own: OpenAIChoice, reading: ReadingSettings, model: str) -> Engine:
    from posttrain_diag.engines.openai.engine import load_openai_engine

    return load_openai_engine(
        model,
        base_url=own.base_url,
        api_key_env=own.api_key_env,
        concurrency=own.concurrency,
        tokenizer=own.tokenizer,
        **reading,
    )
