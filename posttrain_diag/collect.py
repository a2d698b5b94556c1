"""Collect: engine draws → verifier → store. The only place where rollouts come into being.

What is in the store already is never drawn again; every draw is judged and durable before the next one counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from posttrain_diag.engines.base import Draw, Engine, Prompt, SampleRequest, ScoreRequest, Tilt
from posttrain_diag.errors import EngineError
from posttrain_diag.evidence import MAIN, DrawSpec, ScoreSpec
from posttrain_diag.store import RolloutStore, ScoreRow
from posttrain_diag.store.rollouts import verdict_of
from posttrain_diag.tasks import verifier_sha, verify
from posttrain_diag.types import Judgement, Problem, Rollout, SamplingParams, Verdict

Phase = Literal["load", "sample", "probe", "diagnose", "report"]


class Progress:
    """What a caller may want to show while an analysis runs; this base class shows nothing."""

    def phase(self, name: Phase, detail: str) -> None:
        """A phase begins."""

    def plan(self, draws: int, done: int, cap: int) -> None:
        """`draws` rollouts are planned in this phase, `done` are stored already, each has at most `cap` tokens."""

    def advance(self, rollouts: int, tokens: int) -> None:
        """Rollouts became durable."""

    def resolved(self, resolved: int, problems: int) -> None:
        """So many of the problems have a class after a round of sampling."""


@dataclass(frozen=True)
class Owed:
    """One prompt of the plan with the draws that are still to be made."""

    spec: DrawSpec
    prompt: Prompt
    prompt_sha: str
    params: SamplingParams
    sampling_sha: str
    missing: tuple[int, ...]


def sampling_sha(params: SamplingParams) -> str:
    """Hash of everything that fixes the law of a draw."""
    return hashlib.sha256(json.dumps(params.identity(), sort_keys=True).encode()).hexdigest()[:16]


def draw_seed(seed: int, prompt_sha: str, sample_idx: int) -> int:
    """The 63-bit seed of one draw: more draws never change earlier ones."""
    digest = hashlib.blake2b(f"{seed}|{prompt_sha}|{sample_idx}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Collector:
    """Draws and scores what is asked for and not there yet."""

    def __init__(
        self, engine: Engine, store: RolloutStore, problems: Mapping[str, Problem], params: SamplingParams
    ) -> None:
        self.engine = engine
        self.store = store
        self.problems = problems
        self.params = params
        self._prompt_shas: dict[tuple[str, str, tuple[int, ...], Tilt | None], str] = {}
        self._verifier_shas = {problem.id: verifier_sha(problem) for problem in problems.values()}

    def _prompt(self, problem_id: str, prefix_ids: tuple[int, ...] = ()) -> Prompt:
        problem = self.problems[problem_id]
        return Prompt(problem.prompt, problem.messages, prefix_ids)

    def _prompt_sha(self, problem_id: str, arm: str, prompt: Prompt, tilt: Tilt | None = None) -> str:
        key = (problem_id, arm, prompt.response_prefix_ids, tilt)
        if key not in self._prompt_shas:  # every round asks again, and tokenizing is the expensive part
            info = self.engine.info
            if "tokens" in info.lacks:  # then the text stands for the ids, with what will be made of it
                ids = "text " + json.dumps([prompt.text, prompt.messages, info.chat_template_sha], default=dict)
            else:
                ids = ",".join(map(str, self.engine.prompt_ids(prompt)))
            if tilt is not None:
                ids += f"\0tilt {tilt.lean!r} " + ",".join(map(str, tilt.token_ids))
            text = f"{problem_id}\0{arm}\0{ids}"
            self._prompt_shas[key] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        return self._prompt_shas[key]

    def owed(self, specs: Iterable[DrawSpec]) -> list[Owed]:
        """What each spec still lacks in the store; specs with nothing missing are kept (they count as evidence)."""
        out: list[Owed] = []
        for spec in specs:
            prompt = self._prompt(spec.problem_id, spec.response_prefix_ids)
            prompt_sha = self._prompt_sha(spec.problem_id, spec.arm, prompt, spec.tilt)
            cap = spec.max_new_tokens
            if cap is None:
                cap = max(1, self.params.max_new_tokens - len(spec.response_prefix_ids))
            params = replace(self.params, max_new_tokens=cap)
            sha = sampling_sha(params)
            missing = self.store.missing(self.engine.info.model_sha, prompt_sha, sha, spec.n)
            out.append(Owed(spec, prompt, prompt_sha, params, sha, missing))
        return out

    def draw(self, owed: Sequence[Owed], progress: Progress) -> None:
        """Make the missing draws, judge them, store them as they finish.

        Raises:
            EngineError: a spec is tilted and the engine cannot draw from a tilt.
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
        for params, items in by_params.items():
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
                self._keep(by_key[draw.key], draw)
                progress.advance(1, draw.n_tokens)

    def _keep(self, item: Owed, draw: Draw) -> None:
        problem = self.problems[item.spec.problem_id]
        prefix_ids = item.spec.response_prefix_ids
        text, prefix = draw.text, ""
        if prefix_ids:
            stops = set(self.engine.info.stop_token_ids)
            drawn = [token for token in draw.token_ids if token not in stops]
            prefix = self.engine.decode(prefix_ids)
            text = self.engine.decode([*prefix_ids, *drawn]) if draw.token_ids else prefix + draw.text
        judged = verify(text, problem)
        self.store.add(
            Rollout(
                problem_id=problem.id,
                arm=item.spec.arm,
                sample_idx=draw.sample_idx,
                seed=draw.seed,
                text=text,
                token_ids=draw.token_ids,
                token_logprobs=draw.token_logprobs,
                finish_reason=draw.finish_reason,
                verdict=verdict_of(judged, draw.finish_reason),
                lenient=judged.lenient,
                extracted=judged.extracted,
                score=judged.score,
                engine=self.engine.info.engine,
                model_sha=self.engine.info.model_sha,
                prompt_sha=item.prompt_sha,
                sampling_sha=item.sampling_sha,
                verifier_sha=self._verifier_shas[problem.id],
                error=judged.error or draw.error,
                response_prefix=prefix,
                policy_logprob=draw.policy_logprob,
                proposal_logprob=draw.proposal_logprob,
                token_count=draw.token_count,
            ),
            judged.strict,
        )

    def score(self, specs: Iterable[ScoreSpec]) -> None:
        """Score the completions that are not in the store yet."""
        model_sha = self.engine.info.model_sha
        todo: dict[str, tuple[ScoreSpec, str, str]] = {}
        requests: list[ScoreRequest] = []
        for spec in specs:
            prompt = self._prompt(spec.problem_id)
            prompt_sha = self._prompt_sha(spec.problem_id, MAIN, prompt)
            completion_sha = hashlib.sha256(spec.completion.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            if self.store.has_score(model_sha, prompt_sha, completion_sha, spec.kind):
                continue
            key = f"{spec.problem_id}|{spec.kind}|{completion_sha}"
            todo[key] = (spec, prompt_sha, completion_sha)
            requests.append(ScoreRequest(key, prompt, completion=spec.completion))
        for scored in self.engine.score(requests):
            spec, prompt_sha, completion_sha = todo[scored.key]
            self.store.add_score(
                ScoreRow(
                    problem_id=spec.problem_id,
                    kind=spec.kind,
                    model_sha=model_sha,
                    prompt_sha=prompt_sha,
                    completion_sha=completion_sha,
                    token_texts=scored.token_texts,
                    token_ids=np.asarray(scored.token_ids, np.int32),
                    logprobs=scored.logprob_T,
                    ranks=scored.rank_T,
                    entropies=scored.entropy_T,
                )
            )


def current_rollouts(
    store: RolloutStore,
    model_sha: str,
    owed: Iterable[Owed],
    problems: Mapping[str, Problem],
    *,
    exact: bool = False,
) -> pd.DataFrame:
    """The stored rollouts that the plan speaks of, re-judged where the verifier or the gold changed.

    Older draws of the directory (another cap, another prompt) stay on disk and are not evidence.

    Args:
        store: where they are.
        model_sha: of which model.
        owed: the plan.
        problems: by id, for re-judging.
        exact: only the draws planned; else all stored draws of the same prompts too.
    """
    frame = store.frame(model_sha)
    wanted = pd.DataFrame(
        [(item.prompt_sha, item.sampling_sha, item.spec.n) for item in owed],
        columns=["prompt_sha", "sampling_sha", "planned"],
    ).drop_duplicates(["prompt_sha", "sampling_sha"])
    frame = frame.merge(wanted, on=["prompt_sha", "sampling_sha"], how="inner")
    frame = (frame[frame["sample_idx"] < frame["planned"]] if exact else frame).drop(columns="planned")
    shas = {problem.id: verifier_sha(problem) for problem in problems.values()}
    stale = frame[frame["verifier_sha"] != frame["problem_id"].map(shas)]
    if len(stale):
        rejudge(store, model_sha, stale, problems, shas)
        return current_rollouts(store, model_sha, owed, problems, exact=exact)
    return frame


def rejudge(
    store: RolloutStore,
    model_sha: str,
    stale: pd.DataFrame,
    problems: Mapping[str, Problem],
    shas: Mapping[str, str],
) -> None:
    """Judge stored texts again; draws cost tokens, judgements do not."""
    changes: list[tuple[Verdict, Judgement, str, tuple[str, str, str, int]]] = []
    for row in stale.itertuples():
        problem_id = str(row.problem_id)
        judged = verify(str(row.text), problems[problem_id])
        verdict = verdict_of(judged, str(row.finish_reason))
        identity = (model_sha, str(row.prompt_sha), str(row.sampling_sha), int(str(row.sample_idx)))
        changes.append((verdict, judged, shas[problem_id], identity))
    store.rejudge(changes)
