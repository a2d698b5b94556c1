"""An engine without a model, for benchmarks of what is around one: draws cost microseconds and depend on their seed.

Every problem has a success probability of its own (a fixed spread over never, sometimes and always); a draw is a trace
of words ending in an answer, with token ids and log-probabilities of the length that was asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from posttrain_diag.engines.contract import Draw, EngineInfo, Prompt, SampleRequest, Score, ScoreRequest
from posttrain_diag.types import Problem, SamplingParams

WORDS = ("so", "then", "take", "the", "sum", "of", "both", "sides", "and", "add", "one", "more", "to", "get")


def make_problems(n: int) -> list[Problem]:
    """Problems with a regex verifier and a demonstration."""
    return [
        Problem(
            id=f"p{i:06d}",
            prompt=f"Problem {i}: what is {i} + {3 * i}?",
            messages=None,
            answer=str(4 * i),
            verifier={"type": "regex", "pattern": "#### (.*)"},
            demos=(f"so take the sum of both sides #### {4 * i}",),
        )
        for i in range(n)
    ]


def success(i: int) -> float:
    """Success probability of problem i: 15% never, the others spread up to 1."""
    share = (i * 0.6180339887) % 1.0
    return 0.0 if share < 0.15 else share**3


class SyntheticEngine:
    """Draws at the speed of Python; `inside_s` is the CPU time spent in it.

    Args:
        tokens: new tokens of each draw.
        traces: each draw holds a trace of words before the answer; else the answer alone (most draws repeat).
        pool: number of different traces.
    """

    def __init__(self, tokens: int, *, traces: bool, pool: int = 509) -> None:
        rng = np.random.default_rng(0)
        self.inside_s = 0.0
        self.drawn = 0
        self._texts = [" ".join(rng.choice(WORDS, max(1, tokens - 6))) if traces else "" for _ in range(pool)]
        self._ids = [tuple(rng.integers(3, 32_000, tokens).tolist()) for _ in range(pool)]
        self._logprobs = [tuple((-rng.exponential(0.4, tokens)).astype(np.float32).tolist()) for _ in range(pool)]
        self.info = EngineInfo(
            engine="synthetic",
            model="synthetic",
            model_sha=f"synthetic-{tokens}",
            architecture="table",
            n_parameters=1_000_000,
            vocab_size=32_000,
            context_length=4096,
            dtype="float32",
            device="cpu",
            stop_token_ids=(2,),
            stop_tokens=("</s>",),
            chat_template_sha=None,
            lacks={"tilts": "it draws from a table"},
        )

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        return (*map(ord, prompt.text or ""), *prompt.response_prefix_ids)

    def response_ids(self, completion: str) -> tuple[int, ...]:
        return tuple(map(ord, completion))

    def decode(self, token_ids: Sequence[int]) -> str:
        return _decode(tuple(token_ids))

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        start = time.process_time()
        for request in requests:
            i = int((request.prompt.text or "")[8:].partition(":")[0])
            p, right, prefixed = success(i), f" #### {4 * i}", bool(request.prompt.response_prefix_ids)
            for index, seed in zip(request.sample_indices, request.seeds, strict=True):
                kind = seed % len(self._ids)
                passed = (seed >> 20) % 100_003 < p * 100_003
                text = self._texts[kind] + (right if passed else f" #### {4 * i + 1 + kind % 7}")
                draw = Draw(
                    key=request.key,
                    sample_idx=index,
                    seed=seed,
                    text=text,
                    token_ids=(*map(ord, text[-20:]), 2) if prefixed else self._ids[kind],
                    token_logprobs=self._logprobs[kind][:21] if prefixed else self._logprobs[kind],
                    finish_reason="stop",
                )
                self.drawn += 1
                self.inside_s += time.process_time() - start
                yield draw
                start = time.process_time()
        self.inside_s += time.process_time() - start

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        for request in requests:
            ids = (*map(ord, request.completion or ""), 2)
            logprob_T = np.full(len(ids), -math.log(3.0), np.float32)
            rank_T, entropy_T = np.zeros(len(ids), np.int32), np.ones(len(ids), np.float32)
            yield Score(request.key, ids, tuple(map(chr, ids)), logprob_T, rank_T, entropy_T)

    def close(self) -> None:
        return


@lru_cache(100_000)
def _decode(token_ids: tuple[int, ...]) -> str:
    return "".join(map(chr, token_ids))
