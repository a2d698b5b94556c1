"""vLLM as a contestant: `LLM.generate` with n draws and the drawn token's log-probability; prompt_logprobs for scoring."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

MAX_NEW, EOS = 64, 2


class VLLM:
    """Offline vLLM inside this process, so that its CPU time is counted here.

    Ids go in; texts come from one `batch_decode` at the end, cheaper than its own incremental decoding.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import LLM

        self.work = spec["work"]
        self.llm = LLM(
            model=spec["model"],
            dtype=spec["dtype"],
            max_model_len=512,
            enable_prefix_caching=True,
            generation_config="vllm",
            disable_log_stats=True,
            **spec["options"],
        )
        self.tokenizer = self.llm.get_tokenizer()
        self.sample([0, min(1, len(self.work["prompts"]) - 1)], 8, 1)
        self.score([0], 8)

    def sample(self, which: Sequence[int], n: int, seed: int) -> list[list[int]]:
        """See `benchmarks.engines.worker.Contestant`."""
        from vllm import SamplingParams, TokensPrompt

        self.llm.reset_prefix_cache()
        params = SamplingParams(
            n=n, temperature=1.0, max_tokens=MAX_NEW, logprobs=0, seed=None, detokenize=False, stop_token_ids=[EOS]
        )
        prompts = [TokensPrompt(prompt_token_ids=self.work["prompts"][p]) for p in which]
        outs = self.llm.generate(prompts, params, use_tqdm=False)
        rows = [list(one.token_ids) for out in outs for one in out.outputs]
        sums = [one.cumulative_logprob for out in outs for one in out.outputs]
        assert all(value is not None for value in sums)
        self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [[len(one.token_ids) for one in out.outputs] for out in outs]

    def score(self, which: Sequence[int], n: int) -> float:
        """See `benchmarks.engines.worker.Contestant`."""
        from vllm import SamplingParams, TokensPrompt

        self.llm.reset_prefix_cache()
        pairs = [(self.work["prompts"][p], done) for p in which for done in self.work["completions"][p][:n]]
        params = SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=0.0, detokenize=False)
        prompts = [TokensPrompt(prompt_token_ids=prompt + done) for prompt, done in pairs]
        total = 0.0
        for (prompt, done), out in zip(pairs, self.llm.generate(prompts, params, use_tqdm=False), strict=True):
            for position, token in enumerate(done, start=len(prompt)):
                total += out.prompt_logprobs[position][token].logprob
        return total


CONTESTANTS: dict[str, Callable[[dict[str, Any]], Any]] = {"vllm": VLLM}
