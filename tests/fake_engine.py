"""An engine whose law is written down: every prompt has a finite table of completions with probabilities.

Tokens are characters (their code points), the stop token is 0. Draws depend on their seed alone, scores are the exact
conditional probabilities of the table, and `die_after` stops the process's work in the middle, as a kill would.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from posttrain_diag.engines.contract import Draw, EngineInfo, Prompt, SampleRequest, Score, ScoreRequest
from posttrain_diag.types import Problem, SamplingParams

STOP = 0
Law = Callable[[str], Mapping[str, float]]
"""prompt text -> {completion: probability}; probabilities sum to 1."""


class Killed(Exception):
    """Raised where a kill -9 would end the process."""


class FakeEngine:
    def __init__(
        self,
        law: Law,
        *,
        context: int | None = 4096,
        stops: bool = True,
        die_after: int | None = None,
        name: str = "fake",
    ) -> None:
        self._law = law
        self._die_after = die_after
        self.drawn = 0
        self.scored = 0
        self.closed = False
        self.info = EngineInfo(
            engine="fake",
            model=name,
            model_sha=f"{name}-model",
            architecture="table",
            n_parameters=10,
            vocab_size=128,
            context_length=context,
            dtype="float32",
            device="cpu",
            stop_token_ids=(STOP,) if stops else (),
            stop_tokens=("<end>",) if stops else (),
            chat_template_sha=None,
            lacks={"tilts": "it draws from a table"},
        )

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        return (*map(ord, prompt.text or ""), *prompt.response_prefix_ids)

    def response_ids(self, completion: str) -> tuple[int, ...]:
        return tuple(map(ord, completion))

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(token) for token in token_ids if token != STOP)

    def _table(self, prompt: Prompt) -> dict[str, float]:
        """Completions that go on after the response prefix, renormalised; a foreign prefix is repeated to the end."""
        prefix = self.decode(prompt.response_prefix_ids)
        table = {text: p for text, p in self._law(prompt.text or "").items() if text.startswith(prefix) and p > 0}
        total = sum(table.values())
        return {text[len(prefix) :]: p / total for text, p in table.items()} if total else {"": 1.0}

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        for request in requests:
            table = self._table(request.prompt)
            for index, seed in zip(request.sample_indices, request.seeds, strict=True):
                if self._die_after is not None and self.drawn >= self._die_after:
                    raise Killed
                self.drawn += 1
                chosen = random.Random(seed).choices(list(table), list(table.values()))[0]
                ids = [*map(ord, chosen), *self.info.stop_token_ids][: params.max_new_tokens]
                ended = STOP in ids
                if not self.info.stop_token_ids:
                    ids = (ids * params.max_new_tokens)[: params.max_new_tokens]
                yield Draw(
                    key=request.key,
                    sample_idx=index,
                    seed=seed,
                    text=self.decode(ids),
                    token_ids=tuple(ids),
                    token_logprobs=tuple([float(np.log(table[chosen])) / len(ids)] * len(ids)),
                    finish_reason="stop" if ended else "length",
                )

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        for request in requests:
            self.scored += 1
            table = self._table(request.prompt)
            text = request.completion or ""
            ids = [*map(ord, text), *(self.info.stop_token_ids if request.append_stop else ())]
            logprobs, ranks, entropies = [], [], []
            for position, token in enumerate(ids):
                so_far = text[:position]
                following: dict[int, float] = {}
                for candidate, p in table.items():
                    if candidate.startswith(so_far):
                        step = ord(candidate[position]) if position < len(candidate) else STOP
                        following[step] = following.get(step, 0.0) + p
                total = sum(following.values())
                law = {key: value / total for key, value in following.items()} if total else {}
                own = law.get(token, 1e-9)
                logprobs.append(np.log(own))
                ranks.append(sum(value > own for value in law.values()))
                entropies.append(-sum(value * np.log(value) for value in law.values()))
            yield Score(
                request.key,
                tuple(ids),
                tuple(chr(token) if token else "<end>" for token in ids),
                np.asarray(logprobs, np.float32),
                np.asarray(ranks, np.int32),
                np.asarray(entropies, np.float32),
            )

    def close(self) -> None:
        self.closed = True


def make_problems(n: int, answer: Callable[[int], str], **values: Any) -> list[Problem]:
    """n problems "q0:", "q1:", ... with exact verifiers and the answer as a demonstration."""
    fields: dict[str, Any] = {"messages": None, "verifier": {"type": "exact"}}
    return [
        Problem(**{**fields, "id": f"p{i}", "prompt": f"q{i}:", "answer": answer(i), "demos": (answer(i),), **values})
        for i in range(n)
    ]
