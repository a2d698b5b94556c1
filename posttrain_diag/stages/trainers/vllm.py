"""Drawing by vLLM through TRL: what the trainers that draw are told where that is asked for."""

from __future__ import annotations

from typing import Any

from posttrain_diag.rollouts.token_cap import longest_prompt
from posttrain_diag.stages.session.session import Session


def vllm_arguments(session: Session, *, hinted: bool = False) -> dict[str, Any]:
    """Arguments of TRL's configs: that vLLM draws, where draws end, its share of memory, its context.

    Left to itself vLLM makes room for the model's whole context, which can be more than there is.

    Args:
        session: the stage in progress.
        hinted: prompts hold a part of a response too.

    Returns:
        The arguments; empty where the hf engine draws.
    """
    config = session.config
    if not config.use_vllm:
        return {}
    longest = longest_prompt(session.policy.engine, session.inputs.train)
    needed = longest + session.params.max_new_tokens * (2 if hinted else 1)  # a hint is shorter than a response
    stops = session.policy.engine.stops(session.params)  # vLLM itself reads the eos fields of the files alone
    return {
        "use_vllm": True,
        "generation_kwargs": {"stop_token_ids": list(stops.ids), "stop": list(stops.texts)},
        "vllm_gpu_memory_utilization": config.vllm_memory,
        "vllm_max_model_length": min(needed, session.policy.engine.info.context_length or needed),
    }
