"""Draw many completions of many prompts: one prefill per prompt, finished rows dropped, each draw yielded at once.

    rows (prompt, sample_idx, seed) ──► batches that fit into memory ──► prefill ──► one token per row and step

Shapes: `P` prompts, `B` rows of a batch, `T` drawn tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.engines.base import Draw, SampleRequest
from posttrain_diag.engines.hf_forward import Decode
from posttrain_diag.engines.hf_memory import RowCost, is_out_of_memory
from posttrain_diag.engines.hf_prompts import PromptCodec
from posttrain_diag.engines.hf_random import choose, choose_tilted, seed_array, uniforms
from posttrain_diag.engines.hf_tilt import TiltState
from posttrain_diag.errors import EngineError, ModelError
from posttrain_diag.types import SamplingParams

_Number = TypeVar("_Number", np.int64, np.float32)

_DROP_SHARE = 1 / 8
"""Rows are dropped from the cache when this share of them is finished: dropping copies the cache."""


@dataclass(frozen=True)
class Row:
    """One draw still to be made."""

    request: SampleRequest
    ids: tuple[int, ...]
    """Prompt token ids, response prefix included; the same object for all rows of a request."""
    sample_idx: int
    seed: int


@dataclass(frozen=True)
class Sampler:
    """What sampling needs of the loaded model."""

    codec: PromptCodec
    new_state: Callable[[], Decode]
    equal_lengths: bool
    """Only prompts of one length may share a batch."""
    stop_ids: tuple[int, ...]
    cost: RowCost
    budget: Callable[[], float]
    """Bytes a batch may take now."""
    free_cache: Callable[[], None]
    """Give unused memory back after an out-of-memory error."""

    def draws(self, rows: Sequence[Row], params: SamplingParams, max_rows: int) -> Iterator[Draw]:
        """Make all draws; a batch that does not fit into memory is redone with half the rows.

        A draw depends on its seed and prompt only, so what is redone comes out the same.

        Raises:
            EngineError: not even one row fits into memory.
            ModelError: a row's logits are not numbers.
        """
        # Longest first: what does not fit shows early; neighbours of like length need little padding.
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), i))
        pending = deque(rows[i] for i in order)
        while pending:
            batch = self._take(pending, params, max_rows)
            left = dict(enumerate(batch))
            failure: BaseException | None = None
            try:
                for index, draw in self._batch(batch, params):
                    del left[index]
                    yield draw
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = error.with_traceback(None)  # the frames hold the tensors that did not fit
            if failure is not None:
                if len(batch) == 1:
                    raise EngineError(
                        f"request {batch[0].request.key!r}: one draw of {len(batch[0].ids)} + "
                        f"{params.max_new_tokens} tokens does not fit into memory: lower --max-new-tokens, or use a "
                        "smaller dtype or a larger device"
                    ) from failure
                self.free_cache()
                max_rows = max(1, len(batch) // 2)
            pending.extendleft(reversed(left.values()))

    def _take(self, pending: deque[Row], params: SamplingParams, max_rows: int) -> list[Row]:
        """The next rows that fit together, at least one."""
        budget, used = self.budget(), 0.0
        batch: list[Row] = []
        longest = len(pending[0].ids)
        while pending and len(batch) < max_rows:
            row = pending[0]
            if batch and self.equal_lengths and len(row.ids) != longest:
                break
            # Shorter prompts are padded to the longest of the batch.
            used += self.cost.decode(longest, params.max_new_tokens)
            if not batch or row.ids is not batch[-1].ids:
                used += self.cost.prefill(longest)
            if batch and used > budget:
                break
            batch.append(pending.popleft())
        return batch

    def _batch(self, batch: Sequence[Row], params: SamplingParams) -> Iterator[tuple[int, Draw]]:
        """Decode one batch; yields (index in the batch, draw) as rows finish."""
        import torch

        prompts: list[tuple[int, ...]] = []
        prompt_of: list[int] = []
        for row in batch:
            if not prompts or row.ids is not prompts[-1]:
                prompts.append(row.ids)
            prompt_of.append(len(prompts) - 1)
        state = self.new_state()
        logits_BV = state.start(prompts)
        rows_B = torch.tensor(prompt_of, device=logits_BV.device)
        logits_BV = logits_BV[rows_B]
        if len(batch) > len(prompts):
            state.select(rows_B)
        seeds = seed_array([row.seed for row in batch])
        tilt = TiltState([row.request.tilt for row in batch])
        tokens, logprobs = _Buffer(len(batch), np.int64), _Buffer(len(batch), np.float32)
        policy = _Buffer(len(batch), np.float32)
        alive = np.arange(len(batch))
        running = np.ones(len(batch), dtype=bool)
        stops = np.array(self.stop_ids, dtype=np.int64)
        for step in range(params.max_new_tokens):
            u_B = uniforms(seeds[alive], step)
            if tilt.any:
                targets = tilt.targets(alive, step)
                chosen = choose_tilted(logits_BV, u_B, params, targets, tilt.leans(alive))
                assert chosen.proposal_B is not None
                tilt.advance(alive, chosen.tokens_B.cpu().numpy() == targets, chosen.proposal_B)
            else:
                chosen = choose(logits_BV, u_B, params)
            tokens_B = chosen.tokens_B
            _require_numbers(chosen.usable_B.cpu().numpy() | ~running, [batch[int(i)] for i in alive], step)
            new = tokens_B.cpu().numpy()
            tokens.put(alive, step, new)
            logprobs.put(alive, step, chosen.logprobs_B.cpu().numpy())
            policy.put(alive, step, chosen.policy_B.cpu().numpy())
            stopped = np.isin(new, stops) & running
            ended = running.copy() if step == params.max_new_tokens - 1 else stopped
            for r in np.flatnonzero(ended):
                i = int(alive[r])
                yield (
                    i,
                    Draw(
                        key=batch[i].request.key,
                        sample_idx=batch[i].sample_idx,
                        seed=batch[i].seed,
                        text=self._text(batch[i], ids := tuple(tokens.get(i, step).tolist()), bool(stopped[r])),
                        token_ids=ids,
                        token_logprobs=tuple(logprobs.get(i, step).tolist()),
                        finish_reason="stop" if stopped[r] else "length",
                        token_policy_logprobs=tuple(policy.get(i, step).tolist()),
                        proposal_logprob=tilt.logprob(i),
                    ),
                )
            running &= ~ended
            if not running.any():
                return
            if np.count_nonzero(~running) >= _DROP_SHARE * len(running):
                kept = np.flatnonzero(running)
                kept_B = torch.from_numpy(kept).to(logits_BV.device)
                state.select(kept_B)
                tokens_B, alive, running = tokens_B[kept_B], alive[kept], running[kept]
            logits_BV = state.step(tokens_B)

    def _text(self, row: Row, ids: tuple[int, ...], stopped: bool) -> str:
        return self.codec.continuation(row.request.prompt.response_prefix_ids, ids[:-1] if stopped else ids)


class _Buffer(Generic[_Number]):
    """What each row has drawn so far, shape (B, T), growing in T."""

    def __init__(self, n_rows: int, dtype: type[_Number]) -> None:
        self._values: NDArray[_Number] = np.zeros((n_rows, 128), dtype=dtype)

    def put(self, rows: NDArray[np.intp], step: int, values: NDArray[_Number]) -> None:
        """Write column `step` of `rows`."""
        if step == self._values.shape[1]:
            self._values = np.concatenate((self._values, np.zeros_like(self._values)), axis=1)
        self._values[rows, step] = values

    def get(self, row: int, last_step: int) -> NDArray[_Number]:
        """A row up to and including `last_step`."""
        return self._values[row, : last_step + 1]


def _require_numbers(usable_B: NDArray[np.bool_], rows: Sequence[Row], step: int) -> None:
    if usable_B.all():
        return
    row = rows[int(np.flatnonzero(~usable_B)[0])]
    raise ModelError(
        f"request {row.request.key!r}, draw {row.sample_idx}, token {step}: the model's logits are NaN or infinite; "
        "load it in float32 (dtype='float32'), and if that does not help, the checkpoint is broken"
    )


def sample_rows(
    requests: Sequence[SampleRequest], codec: PromptCodec, n_ids: int, context: int | None, max_new_tokens: int
) -> list[Row]:
    """Requests as rows, every request checked before anything is drawn.

    Args:
        requests: what to draw.
        codec: turns prompts into ids.
        n_ids: size of the model's input embedding.
        context: longest sequence, prompt and new tokens together; None = no limit known.
        max_new_tokens: room each draw needs.

    Raises:
        EngineError: a prompt leaves no room, keys repeat, or indices and seeds do not pair up.
        ModelError: the tokenizer gives ids that the model has no embedding for.
    """
    rows: list[Row] = []
    keys: set[str] = set()
    for request in requests:
        if request.key in keys:
            raise EngineError(f"request {request.key!r} appears twice in one call: give each request its own key")
        keys.add(request.key)
        if len(request.sample_indices) != len(request.seeds):
            raise EngineError(
                f"request {request.key!r} has {len(request.sample_indices)} sample indices and "
                f"{len(request.seeds)} seeds: give one seed per index"
            )
        ids = codec.prompt_ids(request.prompt, request.key)
        require_known_ids(request.key, ids, n_ids)
        if request.tilt is not None:
            require_known_ids(request.key, request.tilt.token_ids, n_ids)
            if not 0.0 < request.tilt.lean < 1.0:
                raise EngineError(
                    f"request {request.key!r}: the tilt leans by {request.tilt.lean}; give a share strictly between "
                    "0 and 1 (1 would never draw from the model)"
                )
        room = None if context is None else context - len(ids)
        if room is not None and room < max_new_tokens:
            raise EngineError(
                f"request {request.key!r}: the prompt has {len(ids)} tokens and --max-new-tokens is {max_new_tokens}, "
                f"together more than the model's context of {context}: "
                + (f"use --max-new-tokens {room} or less" if room > 0 else "shorten the prompt, it leaves no room")
            )
        pairs = zip(request.sample_indices, request.seeds, strict=True)
        rows.extend(Row(request, ids, index, seed) for index, seed in pairs)
    return rows


def require_known_ids(key: str, ids: Sequence[int], n_ids: int) -> None:
    """Raise ModelError for an id outside the model's embedding."""
    if ids and (max(ids) >= n_ids or min(ids) < 0):
        raise ModelError(
            f"request {key!r}: token id {max(ids)} is outside the model's {n_ids} embeddings: the tokenizer "
            "belongs to another model; put the right tokenizer files beside the weights"
        )
