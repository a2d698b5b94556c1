"""Scores from engines that answer whole sequences with one log-probability and rank per token (vLLM, servers).

The stop position stands for the whole stop set, so a completion is asked once per stop token and put together here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from posttrain_diag.engines.contract import Score, ScoreRequest
from posttrain_diag.engines.hf.score import ScoreTarget, score_targets
from posttrain_diag.engines.model.front import Front
from posttrain_diag.errors import EngineError, ModelError

TokenScores = tuple[Sequence[float], Sequence[int]]
"""(log-probabilities, ranks from 0) of the tokens asked for."""


@dataclass(frozen=True)
class Sequenced:
    """One sequence that an engine must answer for, with the score request it belongs to."""

    owner: int
    """Index of the target that it belongs to."""
    variant: int
    """Which of the stop tokens stands at its end."""
    ids: tuple[int, ...]
    start: int
    """Index of the first token whose score is asked for."""


class SequenceScores:
    """The sequences of some score requests, and the scores as their answers come in, in any order."""

    def __init__(self, requests: Sequence[ScoreRequest], front: Front, context: int | None, engine: str) -> None:
        """Check all requests.

        Raises:
            EngineError: a completion does not fit into the context.
            ModelError: ids that the model has no embedding for.
        """
        self._front = front
        self._targets = score_targets(requests, front.codec, front.n_ids, context, front.stop_ids)
        self.sequences: list[Sequenced] = []
        for owner, target in enumerate(self._targets):
            length = len(target.prompt) + len(target.ids)
            if context is not None and length >= context:
                raise EngineError(
                    f"request {target.key!r}: prompt, completion and stop token have {length} tokens; to score them "
                    f"the {engine} engine needs room for one more, and the context is {context}: shorten the "
                    "completion, or use the hf engine"
                )
            for variant, token in enumerate(self._ends(target)):
                ids = (*target.prompt, *target.ids[:-1], token)
                start = len(target.prompt) if variant == 0 else len(ids) - 1
                self.sequences.append(Sequenced(owner, variant, ids, start))
        self._parts: dict[int, dict[int, TokenScores]] = {}

    def _ends(self, target: ScoreTarget) -> tuple[int, ...]:
        if not target.ids:
            return ()
        return self._front.stop_ids if target.stop_position else (target.ids[-1],)

    def empty(self) -> list[Score]:
        """The scores of completions without a token, which no engine need be asked for."""
        return [self._score(target, {}) for target in self._targets if not target.ids]

    def add(self, sequence: Sequenced, part: TokenScores) -> Score | None:
        """Take in the answer for one sequence; returns the score of its completion once that is complete.

        Raises:
            ModelError: a log-probability is not a number.
        """
        target = self._targets[sequence.owner]
        parts = self._parts.setdefault(sequence.owner, {})
        parts[sequence.variant] = part
        if len(parts) < len(self._ends(target)):
            return None
        del self._parts[sequence.owner]
        return self._score(target, parts)

    def _score(self, target: ScoreTarget, parts: Mapping[int, TokenScores]) -> Score:
        logprob_T = np.array(parts[0][0] if parts else [], dtype=np.float64)
        rank_T = np.array(parts[0][1] if parts else [], dtype=np.int32)
        if len(parts) > 1:
            logprob_T[-1] = np.logaddexp.reduce([logprobs[-1] for logprobs, _ in parts.values()])
            rank_T[-1] = min(ranks[-1] for _, ranks in parts.values())
        if np.isnan(logprob_T).any():
            raise ModelError(
                f"request {target.key!r}: the model's log-probabilities are NaN; load it in float32, and if that does "
                "not help, the checkpoint is broken"
            )
        return Score(
            key=target.key,
            token_ids=target.ids,
            token_texts=tuple(self._front.codec.token_text(token) for token in target.ids),
            logprob_T=logprob_T.astype(np.float32),
            rank_T=rank_T,
            entropy_T=np.full(len(target.ids), np.nan, dtype=np.float32),
        )
