"""What runs inside a Ray worker: one engine, whose draws go to the driver in small batches as they finish."""

from __future__ import annotations

import os
import socket
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain_diag import __version__, errors
from posttrain_diag.engines.contract import Draw, Engine, EngineInfo, SampleRequest, Score, ScoreRequest
from posttrain_diag.errors import DiagError
from posttrain_diag.types import SamplingParams

BATCH_S = 0.2
"""Finished positions are handed over at least this often, in seconds, and at once after a quiet time; a driver that has
many workers asks for them less often (`hold_s`)."""
BATCH_BYTES = 500_000
"""A batch is handed over when it is about this large, in bytes."""


SentRow = tuple[int, Any]
Pack = Callable[[Any], tuple[Any, int, int]]
"""Turns a draw or score into (what is sent, its tokens, roughly its bytes)."""


@dataclass(frozen=True)
class Hello:
    """What a worker reports once its engine is open."""

    info: EngineInfo
    node: str
    pid: int
    version: str


@dataclass(frozen=True)
class Failure:
    """A `DiagError` as plain data: exceptions with arguments of their own do not survive pickling."""

    kind: str
    message: str
    node: str
    attributes: dict[str, Any]

    @staticmethod
    def of(error: DiagError) -> Failure:
        """What a worker reports instead of raising the error."""
        return Failure(type(error).__name__, str(error), socket.gethostname(), dict(vars(error)))

    def error(self, message: str | None = None) -> DiagError:
        """The error itself, in its own class, with another message where one is given."""
        kind: type[DiagError] = getattr(errors, self.kind, DiagError)
        made = kind.__new__(kind)
        made.args = (message or self.message,)
        vars(made).update(self.attributes)
        return made


@dataclass(frozen=True)
class SentBatch:
    """Finished positions of a shard, each as (position, what the driver needs to rebuild it)."""

    rows: list[SentRow]
    tokens: int


class Worker:
    """The Ray actor that holds one engine. It dies with its driver, and its engine with it."""

    def __init__(self, opener: Callable[[], Engine]) -> None:
        self._opener = opener
        self._engine: Engine | None = None

    def open(self) -> Hello | Failure:
        """Load the engine; returns a `Failure` instead of raising a `DiagError`."""
        try:
            self._engine = self._opener()
        except DiagError as error:
            return Failure.of(error)
        return Hello(self._engine.info, socket.gethostname(), os.getpid(), __version__)

    def sample(
        self, requests: Sequence[SampleRequest], params: SamplingParams, hold_s: float = BATCH_S
    ) -> Iterator[SentBatch | Failure]:
        """Draw a shard; positions count its draws in order."""
        places = [(request.key, index) for request in requests for index in request.sample_indices]
        positions = {place: position for position, place in enumerate(places)}

        def rows() -> Iterator[SentRow]:
            assert self._engine is not None
            for draw in self._engine.sample(requests, params):
                yield positions[draw.key, draw.sample_idx], draw

        yield from batches(rows(), pack_draw, hold_s)

    def score(self, requests: Sequence[ScoreRequest], hold_s: float = BATCH_S) -> Iterator[SentBatch | Failure]:
        """Score a shard; positions count its completions in order."""
        positions = {request.key: position for position, request in enumerate(requests)}

        def rows() -> Iterator[SentRow]:
            assert self._engine is not None
            for score in self._engine.score(requests):
                yield positions[score.key], score

        yield from batches(rows(), pack_score, hold_s)

    def close(self) -> None:
        """Close the engine, so that processes of its own end too."""
        if self._engine is not None:
            self._engine.close()


def batches(rows: Iterator[SentRow], pack: Pack, hold_s: float = BATCH_S) -> Iterator[SentBatch | Failure]:
    """Gather rows into batches, each sent soon after its rows come; a `DiagError` ends them with a `Failure`."""
    waiting: list[SentRow] = []
    tokens = n_bytes = 0
    last = 0.0
    try:
        for position, value in rows:
            packed, more, size = pack(value)
            waiting.append((position, packed))
            tokens, n_bytes = tokens + more, n_bytes + size
            now = time.monotonic()
            if now - last >= hold_s or n_bytes >= BATCH_BYTES:
                yield SentBatch(waiting, tokens)
                waiting, tokens, n_bytes, last = [], 0, 0, now
    except DiagError as error:
        if waiting:
            yield SentBatch(waiting, tokens)
        yield Failure.of(error)
        return
    if waiting:
        yield SentBatch(waiting, tokens)


def pack_draw(draw: Draw) -> tuple[Any, int, int]:
    """Pack a draw for the way to the driver, without what the driver knows of it.

    Its numbers are sent as bytes, because the driver alone unpacks the draws of all workers.

    Returns:
        What is sent, its tokens, and roughly its bytes.
    """
    ids = array("i", draw.token_ids).tobytes()
    logprobs, policy = _pack_floats(draw.token_logprobs), _pack_floats(draw.token_policy_logprobs)
    packed = (draw.text, ids, logprobs, draw.finish_reason, draw.error, policy, draw.proposal_logprob, draw.token_count)
    size = len(draw.text) + len(ids) + sum(len(part[1]) for part in (logprobs, policy) if part is not None)
    return packed, draw.n_tokens, 80 + size


def unpack_draw(request: SampleRequest, offset: int, packed: Any) -> Draw:
    """Rebuild the draw that `pack_draw` packed, to the last bit.

    Args:
        request: the request that was drawn.
        offset: index of the draw within the request.
        packed: what `pack_draw` made of it.
    """
    text, ids, logprobs, finish_reason, error, policy, proposal, count = packed
    return Draw(
        key=request.key,
        sample_idx=request.sample_indices[offset],
        seed=request.seeds[offset],
        text=text,
        token_ids=_numbers("i", ids),
        token_logprobs=None if logprobs is None else _numbers(*logprobs),
        finish_reason=finish_reason,
        error=error,
        token_policy_logprobs=None if policy is None else _numbers(*policy),
        proposal_logprob=proposal,
        token_count=count,
    )


def _pack_floats(values: tuple[float, ...] | None) -> tuple[str, bytes] | None:
    """Floats as bytes, in single precision where nothing is lost by it, as with an engine that computes so."""
    if values is None:
        return None
    single = array("f", values)
    if tuple(single) == values:
        return "f", single.tobytes()
    return "d", array("d", values).tobytes()


def _numbers(code: str, data: bytes) -> tuple[Any, ...]:
    values = array(code)
    values.frombytes(data)
    return tuple(values)


def pack_score(score: Score) -> tuple[Any, int, int]:
    """A score as it is, its tokens, and roughly its bytes."""
    n_tokens = len(score.token_ids)
    return score, n_tokens, 200 + 40 * n_tokens
