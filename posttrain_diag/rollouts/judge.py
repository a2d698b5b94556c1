"""From a draw to a judged rollout: this is the only module in which a verifier sees what a model wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from posttrain_diag.engines.contract import Draw, Engine
from posttrain_diag.evidence import MAIN
from posttrain_diag.store.base import verdict_of
from posttrain_diag.tasks import Verifier, compile_verifier, verifier_sha
from posttrain_diag.types import Judgement, Problem, Rollout, Verdict

REMEMBERED = 20_000
"""How many judgements are remembered at a time."""
REMEMBERED_CHARS = 2_000
"""Longer texts are not remembered, because they hardly repeat."""


@dataclass(frozen=True)
class Asked:
    """What an engine was asked for: the problem and arm of the draws, and the identity under which they are known."""

    problem_id: str
    prompt_sha: str
    sampling_sha: str
    arm: str = MAIN
    prefix_ids: tuple[int, ...] = ()
    """Beginning of the response that was given to the model, as token ids."""
    prompt_ids: tuple[int, ...] = ()
    """Token ids the model was conditioned on, where the rollout must tell them to a trainer."""


class Judge:
    """Judges completions of some problems by their verifiers; texts repeat, so judgements are remembered for a while.

    Args:
        problems: the problems whose completions will be judged; ids are unique.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._problems = {problem.id: problem for problem in problems}
        self._shas = {key: verifier_sha(problem) for key, problem in self._problems.items()}
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
        """The verdict on a stored text, and the judgement it rests on."""
        judged = self(problem_id, text)
        return verdict_of(judged, finish_reason), judged

    def rollout(self, engine: Engine, asked: Asked, draw: Draw) -> Rollout:
        """Judge a draw and make a rollout of it.

        Args:
            engine: the engine that made the draw; decodes it behind a given prefix.
            asked: what the engine was asked for.
            draw: one of its answers.
        """
        info, text, prefix = engine.info, draw.text, ""
        if asked.prefix_ids:
            stops = set(info.stop_token_ids)
            drawn = [token for token in draw.token_ids if token not in stops]
            prefix = engine.decode(asked.prefix_ids)
            whole = bool(draw.token_ids) and not draw.stop_text
            text = engine.decode([*asked.prefix_ids, *drawn]) if whole else prefix + draw.text
        judged = self(asked.problem_id, text)
        return Rollout(
            problem_id=asked.problem_id,
            arm=asked.arm,
            sample_idx=draw.sample_idx,
            seed=draw.seed,
            text=text,
            token_ids=draw.token_ids,
            token_logprobs=draw.token_logprobs,
            finish_reason=draw.finish_reason,
            verdict=verdict_of(judged, draw.finish_reason),
            strict=judged.strict,
            lenient=judged.lenient,
            extracted=judged.extracted,
            score=judged.score,
            engine=info.engine,
            model_sha=info.model_sha,
            prompt_sha=asked.prompt_sha,
            sampling_sha=asked.sampling_sha,
            verifier_sha=self._shas[asked.problem_id],
            error=judged.error or draw.error,
            response_prefix=prefix,
            policy_logprob=draw.policy_logprob,
            proposal_logprob=draw.proposal_logprob,
            token_count=draw.token_count,
            prompt_ids=asked.prompt_ids,
        )
