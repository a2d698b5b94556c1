"""Collect: engine draws → verifier → store. The only place where rollouts come into being.

What is in the store already is never drawn again; a draw counts once it is judged and durable.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from posttrain_diag.engines.contract import (
    Draw,
    Engine,
    EngineInfo,
    Prompt,
    Rendering,
    SampleRequest,
    ScoreRequest,
    Tilt,
)
from posttrain_diag.errors import EngineError
from posttrain_diag.evidence import MAIN, DrawSpec, Evidence, ScoreSpec, add_tallies
from posttrain_diag.rollouts.batch import Batch
from posttrain_diag.store import ScoreRow, Span, Store
from posttrain_diag.store.base import NO_END, verdict_of
from posttrain_diag.tasks import Verifier, compile_verifier, verifier_sha
from posttrain_diag.types import Judgement, Problem, ProblemClass, Rollout, SamplingParams, Verdict

SAMPLE_ROWS = 200_000
"""Rollouts read into memory at most (one of every problem and arm in any case): below it probes see every draw."""
REMEMBERED = 20_000
"""Judgements remembered at a time."""
REMEMBERED_CHARS = 2_000
"""Longer texts hardly repeat."""

Phase = Literal["load", "sample", "probe", "diagnose", "report", "train"]


class Progress:
    """What a caller may want to show while an analysis runs; this base class shows nothing."""

    def phase(self, name: Phase, detail: str) -> None:
        """A phase begins."""

    def plan(self, draws: int, done: int, cap: int) -> None:
        """`draws` rollouts are planned in this phase, `done` are stored already, each has at most `cap` tokens."""

    def advance(self, rollouts: int, tokens: int) -> None:
        """Rollouts became durable."""

    def steps(self, done: int, total: int, tokens: int) -> None:
        """A stage has made `done` of its optimizer steps; `tokens` were generated and trained so far."""

    def resolved(self, classes: Mapping[ProblemClass, int]) -> None:
        """Problems per class: after a round of sampling by the success probability alone, in the end as diagnosed.

        While sampling, "support" holds all problems below 1/B, for prefixes are tried later.
        """


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


DRAWS_PER_CALL = 1 << 20
"""Draws an engine is asked for at once: it holds some 150 bytes for each until it is made."""


class Collector:
    """Draws and scores what is asked for and not there yet."""

    def __init__(self, engine: Engine, store: Store, problems: Mapping[str, Problem], params: SamplingParams) -> None:
        self.engine = engine
        self.store = store
        self.problems = problems
        self.params = params
        self._prompt_shas: dict[tuple[str, str, tuple[int, ...], Rendering | None, Tilt | None], str] = {}
        self._sampling_shas: dict[SamplingParams, str] = {}
        self._verifier_shas = {problem.id: verifier_sha(problem) for problem in problems.values()}
        self._judge = Judgements(problems)
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
            prompt = self._prompt(spec.problem_id, spec.response_prefix_ids, spec.rendering)
            prompt_sha = self._prompt_sha(spec.problem_id, spec.arm, prompt, spec.tilt)
            cap = spec.max_new_tokens
            if cap is None:
                cap = max(1, self.params.max_new_tokens - len(spec.response_prefix_ids))
            params = replace(self.params, max_new_tokens=cap)
            if params not in self._sampling_shas:
                self._sampling_shas[params] = sampling_sha(params)
            sha = self._sampling_shas[params]
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
        started = time.perf_counter()
        with Batch(self.store, progress.advance) as batch:
            for params, items in by_params.items():
                for part in _parts(items, DRAWS_PER_CALL):
                    self._draw_alike(params, part, batch)
        self.time_s += time.perf_counter() - started

    def _draw_alike(self, params: SamplingParams, items: Sequence[Owed], batch: Batch) -> None:
        """Draw what is missing of prompts under one sampling law."""
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
        info = self.engine.info
        for draw in self.engine.sample(requests, params):
            self.tokens += draw.n_tokens
            batch.add(*self._judged(by_key[draw.key], draw, info))

    def _judged(self, item: Owed, draw: Draw, info: EngineInfo) -> tuple[Rollout, bool]:
        """A draw as a rollout, and the strict reading of its text."""
        problem = self.problems[item.spec.problem_id]
        prefix_ids = item.spec.response_prefix_ids
        text, prefix = draw.text, ""
        if prefix_ids:
            stops = set(info.stop_token_ids)
            drawn = [token for token in draw.token_ids if token not in stops]
            prefix = self.engine.decode(prefix_ids)
            text = self.engine.decode([*prefix_ids, *drawn]) if draw.token_ids else prefix + draw.text
        judged = self._judge(problem.id, text)
        return (
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
                engine=info.engine,
                model_sha=info.model_sha,
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


def longest_prompt(engine: Engine, problems: Iterable[Problem]) -> int:
    """Tokens of the longest rendered prompt."""
    return max(len(engine.prompt_ids(Prompt(p.prompt, p.messages))) for p in problems)


def token_cap(engine: Engine, references: Iterable[str], problems: Iterable[Problem]) -> int:
    """The cap of a draw where the user sets none: four times the longest reference, within the context."""
    longest = max((len(engine.response_ids(text)) for text in references), default=0)
    cap = min(1024, max(32, 4 * (longest + 1))) if longest else 256
    context = engine.info.context_length
    return cap if context is None else min(cap, max(1, context - longest_prompt(engine, problems)))


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


class Judgements:
    """What the verifiers say of texts; many draws repeat, so what was judged is remembered for a while."""

    def __init__(self, problems: Mapping[str, Problem]) -> None:
        self._problems = problems
        self._verifiers: dict[str, Verifier] = {}
        self._known: dict[tuple[str, str], Judgement] = {}

    def __call__(self, problem_id: str, text: str) -> Judgement:
        """Judge one completion of one problem."""
        key = (problem_id, text)
        judged = self._known.get(key)
        if judged is None:
            problem = self._problems[problem_id]
            if problem_id not in self._verifiers:
                self._verifiers[problem_id] = compile_verifier(problem.verifier)
            judged = self._verifiers[problem_id](text, problem)
            if judged.error is None and len(text) <= REMEMBERED_CHARS:  # an error may pass, a judgement stays
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[key] = judged
        return judged

    def verdict(self, problem_id: str, text: str, finish_reason: str) -> tuple[Verdict, Judgement]:
        """The verdict and the judgement it rests on."""
        judged = self(problem_id, text)
        return verdict_of(judged, finish_reason), judged


def spans_of(owed: Iterable[Owed], *, exact: bool = False) -> list[Span]:
    """The stored draws a plan speaks of.

    Older draws of the directory (another cap, another prompt) stay on disk and are not evidence.

    Args:
        owed: the plan.
        exact: only the draws planned; else all stored draws of the same prompts too.
    """
    found: dict[tuple[str, str], Span] = {}
    for item in owed:
        key = (item.prompt_sha, item.sampling_sha)
        found.setdefault(key, Span(*key, stop=item.spec.n if exact else NO_END))
    return list(found.values())


def current_tallies(
    store: Store, model_sha: str, spans: Sequence[Span], problems: Mapping[str, Problem]
) -> pd.DataFrame:
    """Exact counts per problem and arm, after judging again what another verifier or gold judged.

    Args:
        store: where the rollouts are.
        model_sha: of which model.
        spans: which of its draws.
        problems: by id, for judging again.
    """
    shas = {problem.id: verifier_sha(problem) for problem in problems.values()}
    counts = store.tallies(model_sha, spans)
    if (counts["verifier_sha"] != counts["problem_id"].map(shas)).any():
        store.rejudge(model_sha, spans, shas, Judgements(problems).verdict)
        counts = store.tallies(model_sha, spans)
    return add_tallies(counts)


def current_evidence(base: Evidence, store: Store, owed: Sequence[Owed]) -> Evidence:
    """`base` with what the store holds of a plan: exact counts, and rows as far as they fit in memory.

    The rows are the first K draws by sample index of every problem and arm, K as large as SAMPLE_ROWS allows: the
    choice looks at no outcome, so it biases nothing. Draws from a tilt are kept whole, for their weights belong
    together.
    """
    assert base.model is not None
    model_sha, spans = base.model.model_sha, spans_of(owed)
    tallies = current_tallies(store, model_sha, spans, base.problems)
    first = first_draws(tallies)
    tilted = {(item.prompt_sha, item.sampling_sha) for item in owed if item.spec.tilt is not None}
    shown = [span if (span.prompt_sha, span.sampling_sha) in tilted else replace(span, stop=first) for span in spans]
    return replace(base, tallies=tallies, rollouts=store.rows(model_sha, shown))


def first_rollouts(store: Store, model_sha: str, problem_ids: Collection[str], most: int) -> pd.DataFrame:
    """The first draws of some problems in every arm, at most about `most` rows (one of each in any case)."""
    spans = store.spans(model_sha, problem_ids)
    first = first_draws(add_tallies(store.tallies(model_sha, spans)), most)
    return store.rows(model_sha, [replace(span, stop=first) for span in spans])


def first_draws(tallies: pd.DataFrame, most: int = SAMPLE_ROWS) -> int:
    """The largest K for which the first K draws of every problem and arm are at most `most` rows; at least 1."""
    drawn = np.sort(tallies[["c", "failed", "truncated", "errored"]].sum(axis=1).to_numpy(np.int64))
    if drawn.sum() <= most:
        return NO_END
    ks = np.arange(1, int(drawn[-1]) + 1)
    below = np.searchsorted(drawn, ks)  # cells with fewer than K draws give all of theirs
    rows = np.concatenate([[0], np.cumsum(drawn)])[below] + ks * (len(drawn) - below)
    return max(1, int(np.searchsorted(rows, most, side="right")))
