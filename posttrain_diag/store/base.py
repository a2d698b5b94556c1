"""What a rollout store offers, whatever it is made of: every draw once, exact counts, rows by the piece.

Identity of a draw = (model_sha, prompt_sha, sampling_sha, sample_idx). No draw is stored twice; `missing` says exactly
which ones are still owed. Counts (`tallies`) are made by the store and never need all rows in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.types import Judgement, Rollout, Verdict

if TYPE_CHECKING:
    import pandas as pd

NO_END = 2**62
"""Value of `stop` for a span without an end."""

TALLIED = ("c", "failed", "truncated", "errored", "lenient", "tokens")
"""The counts in a tally: one per verdict, lenient passes among finished draws, generated tokens."""

VerdictOf = Callable[[str, str, str], tuple[Verdict, Judgement]]
"""Called with (problem id, text, finish reason): the verdict and the judgement it rests on."""


@dataclass(frozen=True)
class Span:
    """The draws of one prompt under one sampling law with start <= sample_idx < stop."""

    prompt_sha: str
    sampling_sha: str
    start: int = 0
    stop: int = NO_END


@dataclass(frozen=True)
class ScoreRow:
    """Teacher-forced scores of one completion, as stored. Arrays have shape (T,)."""

    problem_id: str
    kind: str
    """What was scored, e.g. "demo:0"."""
    model_sha: str
    prompt_sha: str
    completion_sha: str
    token_texts: tuple[str, ...]
    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    ranks: NDArray[np.int32]
    entropies: NDArray[np.float32]


def verdict_of(judgement: Judgement, finish_reason: str) -> Verdict:
    """One verdict per rollout: n = passed + failed + truncated + errored.

    A verifier that failed is an error whatever was drawn; a draw cut at the token cap is truncated even if
    the text so far would pass, because the policy had not stopped.
    """
    if judgement.error is not None or finish_reason == "error":
        return "error"
    if finish_reason == "length":
        return "truncated"
    return "pass" if judgement.strict else "fail"


class StoredTokens(NamedTuple):
    """The tokens of one stored rollout of T tokens."""

    prompt_sha: str
    sampling_sha: str
    sample_idx: int
    ids_T: NDArray[np.int32]
    logprobs_T: NDArray[np.float32] | None
    """Log-probability of each token, nats, shape (T,); None where the engine gave none."""


class Store(Protocol):
    """Rollouts and scores of one run directory."""

    @property
    def path(self) -> Path:
        """The file or directory that holds them."""
        ...

    def add(self, rollout: Rollout) -> bool:
        """Store one rollout; False when exactly this draw is already there."""
        ...

    def add_many(self, rollouts: Sequence[Rollout]) -> int:
        """Store rollouts, all or none; durable on return. Returns how many were new.

        Raises:
            StoreError: they cannot be written.
        """
        ...

    def missing(self, model_sha: str, prompt_sha: str, sampling_sha: str, n: int) -> tuple[int, ...]:
        """Sample indices below n that were not drawn yet, ascending.

        Args:
            model_sha: the model that draws.
            prompt_sha: the prompt.
            sampling_sha: the sampling law.
            n: how many draws there should be.
        """
        ...

    def models(self) -> list[str]:
        """The model_sha of every model of which anything is stored, sorted."""
        ...

    def spans(self, model_sha: str, problem_ids: Collection[str] | None = None) -> list[Span]:
        """A span without an end for every prompt and sampling law of which anything is stored.

        Args:
            model_sha: the model that drew.
            problem_ids: only prompts of these problems; None: of all.
        """
        ...

    def tallies(self, model_sha: str, spans: Iterable[Span]) -> pd.DataFrame:
        """Exact counts of the draws in some spans.

        There is one row per problem_id, arm and verifier_sha, with these columns and those of TALLIED.
        """
        ...

    def rows(self, model_sha: str, spans: Iterable[Span]) -> pd.DataFrame:
        """The rollouts of some spans, one row each, ordered by problem, arm and sample index; without token arrays."""
        ...

    def frame(self, model_sha: str) -> pd.DataFrame:
        """All rollouts of a model, in the form in which `rows` gives them."""
        ...

    def token_rows(self, model_sha: str, spans: Iterable[Span]) -> Iterable[StoredTokens]:
        """Token ids and log-probabilities of the rollouts of some spans, in any order."""
        ...

    def rejudge(self, model_sha: str, spans: Iterable[Span], shas: Mapping[str, str], judge: VerdictOf) -> int:
        """Judge again what another verifier than today's judged; returns how many rollouts that were.

        Args:
            model_sha: the model that drew.
            spans: the draws in question.
            shas: today's verifier_sha by problem id.
            judge: gives the new verdict.
        """
        ...

    def add_score(self, row: ScoreRow) -> None:
        """Store one scored completion; storing it again changes nothing."""
        ...

    def has_score(self, model_sha: str, prompt_sha: str, completion_sha: str, kind: str) -> bool:
        """Whether this completion was scored already.

        Args:
            model_sha: the model that scored.
            prompt_sha: the prompt that it follows.
            completion_sha: the completion.
            kind: what was scored, e.g. "demo:0".
        """
        ...

    def scores(self, model_sha: str) -> list[ScoreRow]:
        """All scored completions of a model."""
        ...

    def close(self) -> None:
        """Release the files; the store cannot be used afterwards."""
        ...
