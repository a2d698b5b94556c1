"""From a plan to stored rollouts: engine draws → judge → store. What is in the store already is never drawn again.

A draw counts once it is judged and durable.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from posttrain_diag.engines.contract import Engine, Prompt, Rendering, SampleRequest, ScoreRequest, Tilt
from posttrain_diag.errors import EngineError
from posttrain_diag.evidence import MAIN, DrawSpec, ScoreSpec
from posttrain_diag.rollouts.batch import Batch
from posttrain_diag.rollouts.identity import draw_seed, prompt_sha, sampling_sha
from posttrain_diag.rollouts.judge import Asked, Judge
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.store import ScoreRow, Store
from posttrain_diag.types import Problem, SamplingParams

DRAWS_PER_CALL = 1 << 20
"""Most draws that an engine is asked for at once: it holds some 150 bytes for each until it is made."""


@dataclass(frozen=True)
class Owed:
    """One prompt of the plan with the draws that are still to be made."""

    spec: DrawSpec
    prompt: Prompt
    prompt_sha: str
    params: SamplingParams
    sampling_sha: str
    missing: tuple[int, ...]

    @property
    def asked(self) -> Asked:
        """The identity under which its draws are stored."""
        return Asked(
            self.spec.problem_id, self.prompt_sha, self.sampling_sha, self.spec.arm, self.spec.response_prefix_ids
        )


class Collector:
    """Draws and scores what a plan asks for and the store does not hold yet."""

    def __init__(self, engine: Engine, store: Store, problems: Mapping[str, Problem], params: SamplingParams) -> None:
        self.engine = engine
        self.store = store
        self.problems = problems
        self.params = params
        self._prompt_shas: dict[tuple[str, str, tuple[int, ...], Rendering | None, Tilt | None], str] = {}
        self._sampling_shas: dict[SamplingParams, str] = {}
        self._judge = Judge(problems.values())
        self.tokens = 0
        """Drawn by this collector."""
        self.time_s = 0.0
        """Wall time that drawing them took, judged and stored."""

    def _prompt(self, problem_id: str, prefix_ids: tuple[int, ...] = (), rendering: Rendering | None = None) -> Prompt:
        problem = self.problems[problem_id]
        return Prompt(problem.prompt, problem.messages, prefix_ids, rendering)

    def _prompt_sha(self, problem_id: str, arm: str, prompt: Prompt, tilt: Tilt | None = None) -> str:
        key = (problem_id, arm, prompt.response_prefix_ids, prompt.rendering, tilt)
        if key not in self._prompt_shas:  # every round asks again, and tokenizing is the expensive part
            self._prompt_shas[key] = prompt_sha(self.engine, problem_id, arm, prompt, tilt)
        return self._prompt_shas[key]

    def owed(self, specs: Iterable[DrawSpec]) -> list[Owed]:
        """What each spec still lacks in the store; specs with nothing missing are kept (they count as evidence)."""
        out: list[Owed] = []
        for spec in specs:
            prompt = self._prompt(spec.problem_id, spec.response_prefix_ids, spec.rendering)
            asked_sha = self._prompt_sha(spec.problem_id, spec.arm, prompt, spec.tilt)
            cap = spec.max_new_tokens
            if cap is None:
                cap = max(1, self.params.max_new_tokens - len(spec.response_prefix_ids))
            params = replace(self.params, max_new_tokens=cap)
            if params not in self._sampling_shas:
                self._sampling_shas[params] = sampling_sha(params)
            sha = self._sampling_shas[params]
            missing = self.store.missing(self.engine.info.model_sha, asked_sha, sha, spec.n)
            out.append(Owed(spec, prompt, asked_sha, params, sha, missing))
        return out

    def draw(self, owed: Sequence[Owed], progress: Progress) -> None:
        """Make the missing draws, judge them, and store them as they finish.

        Raises:
            EngineError: a draw is planned from a tilt and the engine cannot draw from one.
        """
        if "tilts" in self.engine.info.lacks and any(item.missing and item.spec.tilt is not None for item in owed):
            raise EngineError(
                f"the {self.engine.info.engine} engine cannot draw from a proposal that leans towards a demonstration; "
                "use the hf engine"
            )
        by_params: dict[SamplingParams, list[Owed]] = {}
        for item in owed:
            if item.missing:
                by_params.setdefault(item.params, []).append(item)
        started = time.perf_counter()
        with Batch(self.store, progress.advance) as batch:
            for params, items in by_params.items():
                for part in _parts(items, DRAWS_PER_CALL):
                    self._draw_alike(params, part, batch)
        self.time_s += time.perf_counter() - started

    def _draw_alike(self, params: SamplingParams, items: Sequence[Owed], batch: Batch) -> None:
        """Draw what is missing of prompts that share one sampling law."""
        by_key = {f"{item.spec.problem_id}|{item.spec.arm}|{item.prompt_sha}": item for item in items}
        requests = [
            SampleRequest(
                key=key,
                prompt=item.prompt,
                sample_indices=item.missing,
                seeds=tuple(draw_seed(params.seed, item.prompt_sha, i) for i in item.missing),
                tilt=item.spec.tilt,
            )
            for key, item in by_key.items()
        ]
        for draw in self.engine.sample(requests, params):
            self.tokens += draw.n_tokens
            batch.add(self._judge.rollout(self.engine, by_key[draw.key].asked, draw))

    def score(self, specs: Iterable[ScoreSpec]) -> None:
        """Score the completions that are not in the store yet."""
        model_sha = self.engine.info.model_sha
        todo: dict[str, tuple[ScoreSpec, str, str]] = {}
        requests: list[ScoreRequest] = []
        for spec in specs:
            prompt = self._prompt(spec.problem_id)
            asked_sha = self._prompt_sha(spec.problem_id, MAIN, prompt)
            completion_sha = hashlib.sha256(spec.completion.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            if self.store.has_score(model_sha, asked_sha, completion_sha, spec.kind):
                continue
            key = f"{spec.problem_id}|{spec.kind}|{completion_sha}"
            todo[key] = (spec, asked_sha, completion_sha)
            requests.append(ScoreRequest(key, prompt, completion=spec.completion))
        for scored in self.engine.score(requests):
            spec, asked_sha, completion_sha = todo[scored.key]
            self.store.add_score(
                ScoreRow(
                    problem_id=spec.problem_id,
                    kind=spec.kind,
                    model_sha=model_sha,
                    prompt_sha=asked_sha,
                    completion_sha=completion_sha,
                    token_texts=scored.token_texts,
                    token_ids=np.asarray(scored.token_ids, np.int32),
                    logprobs=scored.logprob_T,
                    ranks=scored.rank_T,
                    entropies=scored.entropy_T,
                )
            )


def _parts(items: Sequence[Owed], draws: int) -> Iterator[list[Owed]]:
    """Runs of items with at most `draws` missing draws together; an item is never cut."""
    part: list[Owed] = []
    size = 0
    for item in items:
        if part and size + len(item.missing) > draws:
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item.missing)
    if part:
        yield part
