"""Our hf engine as a contestant: texts in, texts and both log-probabilities out, as `diag analyze` uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

MAX_NEW = 64


class Ours:
    """`load_hf_engine` with the settings a user gets by default, dtype and batch size apart."""

    def __init__(self, spec: dict[str, Any]) -> None:
        from posttrain_diag.engines.hf.engine import load_hf_engine

        self.work = spec["work"]
        options = spec["options"]
        self.engine = load_hf_engine(
            spec["model"], device=spec["device"], dtype=spec["dtype"], batch_rows=options.get("batch_rows")
        )
        self.facts = {"notices": list(self.engine.info.notices)}
        self.sample([0, min(1, len(self.work["texts"]) - 1)], 8, -1)
        if self.work["completions"]:
            self.score([0], 8)

    def sample(self, which: Sequence[int], n: int, seed: int) -> list[list[int]]:
        """See `benchmarks.engines.worker.Contestant`."""
        from posttrain_diag.engines.contract import Prompt, SampleRequest
        from posttrain_diag.types import SamplingParams

        def seeds(p: int) -> tuple[int, ...]:
            return tuple(
                int.from_bytes(hashlib.sha256(f"{seed}|{p}|{i}".encode()).digest()[:8], "little") for i in range(n)
            )

        which = list(dict.fromkeys(which))
        requests = [SampleRequest(str(p), Prompt(text=self.work["texts"][p]), tuple(range(n)), seeds(p)) for p in which]
        params = SamplingParams(temperature=1.0, max_new_tokens=MAX_NEW)
        lengths: dict[str, list[int]] = {request.key: [] for request in requests}
        for draw in self.engine.sample(requests, params):
            assert draw.token_logprobs is not None and len(draw.token_logprobs) == len(draw.token_ids)
            lengths[draw.key].append(draw.n_tokens)
        return [lengths[str(p)] for p in which]

    def score(self, which: Sequence[int], n: int) -> float:
        """See `benchmarks.engines.worker.Contestant`."""
        from posttrain_diag.engines.contract import Prompt, ScoreRequest

        requests = [
            ScoreRequest(
                f"{p}|{i}",
                Prompt(text=self.work["texts"][p]),
                completion_ids=tuple(self.work["completions"][p][i]),
                append_stop=False,
            )
            for p in which
            for i in range(n)
        ]
        return sum(float(score.logprob_T.sum()) for score in self.engine.score(requests))


CONTESTANTS: dict[str, Callable[[dict[str, Any]], Any]] = {"ours": Ours}
