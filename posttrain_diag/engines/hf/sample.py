"""Draw many completions of many prompts: a new row begins as soon as another finishes, each draw is yielded at once.

    rows (prompt, sample_idx, seed) ──► admitted while they fit into memory ──► one token per row and step ──► draws

Shapes: `B` rows in flight, `A` rows that a call is about, `T` drawn tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.engines.contract import Draw, SampleRequest
from posttrain_diag.engines.hf.forward import Decode
from posttrain_diag.engines.hf.memory import RowCost, is_out_of_memory
from posttrain_diag.engines.hf.prefill import prefill_order
from posttrain_diag.engines.hf.random import choose, choose_tilted, seed_array, uniforms
from posttrain_diag.engines.hf.stop_texts import StopTexts
from posttrain_diag.engines.hf.tilt import TiltState
from posttrain_diag.engines.model.prompts import PromptCodec
from posttrain_diag.errors import EngineError, ModelError
from posttrain_diag.types import SamplingParams

if TYPE_CHECKING:
    import torch

_Item = TypeVar("_Item", np.int64, np.uint64, np.bool_)


@dataclass(frozen=True, slots=True)
class DecodedRow:
    """One draw still to be made, with its prompt as token ids."""

    request: SampleRequest
    ids: tuple[int, ...]
    """Prompt token ids, response prefix included; the same object for all rows of a request."""
    sample_idx: int
    seed: int


class Flight:
    """The rows in flight and what each has drawn so far; arrays have one entry per row, shape (B,) or (B, T)."""

    def __init__(self, capacity: int) -> None:
        self.rows: list[DecodedRow] = []
        self.step_B = np.zeros(0, np.int64)
        """Tokens drawn so far."""
        self.running_B = np.zeros(0, dtype=bool)
        self.last_B = np.zeros(0, np.int64)
        """The token drawn last."""
        self.tilt = TiltState()
        self._seed_B = np.zeros(0, np.uint64)
        self._tokens_BT = np.zeros((capacity, 64), np.int64)
        self._logprobs_BT = np.zeros((capacity, 64), np.float32)
        self._policy_BT = np.zeros((capacity, 64), np.float32)

    def admit(self, slots: Sequence[int], rows: Sequence[DecodedRow]) -> None:
        """Begin new rows in finished slots or after the last one."""
        for slot, row in zip(slots, rows, strict=True):
            if slot == len(self.rows):
                self.rows.append(row)
            else:
                self.rows[slot] = row
        at, size = np.asarray(slots), len(self.rows)
        self.step_B, self.last_B = _grown(self.step_B, size), _grown(self.last_B, size)
        self.running_B, self._seed_B = _grown(self.running_B, size), _grown(self._seed_B, size)
        self.step_B[at] = 0
        self.running_B[at] = True
        self._seed_B[at] = seed_array([row.seed for row in rows])
        self.tilt.admit(at, size, [row.request.tilt for row in rows])

    def uniforms(self, at: NDArray[np.intp]) -> NDArray[np.float64]:
        """One number in (0, 1) for the next token of each of the rows `at`; both arrays have shape (A,)."""
        return uniforms(self._seed_B[at], self.step_B[at])

    def append(
        self,
        at: NDArray[np.intp],
        tokens: NDArray[np.int64],
        logprobs: NDArray[np.float32],
        policy: NDArray[np.float32],
    ) -> None:
        """Append one token to each of the rows `at`.

        Args:
            at: indices of the rows, shape (A,).
            tokens: the drawn tokens, shape (A,).
            logprobs: their raw-model log-probabilities, nats, shape (A,).
            policy: their log-probabilities under the declared sampling law, nats, shape (A,).
        """
        step = self.step_B[at]
        if int(step.max()) >= self._tokens_BT.shape[1]:
            self._tokens_BT, self._logprobs_BT, self._policy_BT = (
                np.concatenate((array, np.zeros_like(array)), axis=1)
                for array in (self._tokens_BT, self._logprobs_BT, self._policy_BT)
            )
        self._tokens_BT[at, step] = tokens
        self._logprobs_BT[at, step] = logprobs
        self._policy_BT[at, step] = policy
        self.last_B[at] = tokens
        self.step_B[at] += 1

    def drawn(self, slot: int) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
        """Token ids, raw-model log-probabilities and sampling-law log-probabilities that a row has drawn so far."""
        n = int(self.step_B[slot])
        arrays = (self._tokens_BT[slot, :n], self._logprobs_BT[slot, :n], self._policy_BT[slot, :n])
        return tuple(arrays[0].tolist()), tuple(arrays[1].tolist()), tuple(arrays[2].tolist())

    def last_ids(self, slot: int, n: int) -> list[int]:
        """The token ids that a row drew last, at most n."""
        step = int(self.step_B[slot])
        return self._tokens_BT[slot, max(0, step - n) : step].tolist()

    def reorder(self, order: NDArray[np.intp]) -> None:
        """Keep only the rows of the given indices, in that order; shape (rows kept,)."""
        self.rows = [self.rows[i] for i in order]
        self.step_B, self.last_B = self.step_B[order], self.last_B[order]
        self.running_B, self._seed_B = self.running_B[order], self._seed_B[order]
        for array in (self._tokens_BT, self._logprobs_BT, self._policy_BT):
            array[: len(order)] = array[order]
        self.tilt.reorder(order)


def _distinct_prompts(rows: Sequence[DecodedRow]) -> tuple[list[tuple[int, ...]], dict[int, int]]:
    """The different prompts, and the index of each by the `id` of its tuple.

    Rows of a request share one tuple, and hashing a long prompt for every draw would cost more than a small model does.
    """
    index: dict[tuple[int, ...], int] = {}
    index_of: dict[int, int] = {}
    for row in rows:
        if id(row.ids) not in index_of:
            index_of[id(row.ids)] = index.setdefault(row.ids, len(index))
    return list(index), index_of


def _grown(array: NDArray[_Item], size: int) -> NDArray[_Item]:
    return array if len(array) == size else np.concatenate((array, np.zeros(size - len(array), array.dtype)))


@dataclass(frozen=True)
class Sampler:
    """What sampling needs of the loaded model: its codec, its decoding states, and how much memory rows may take."""

    codec: PromptCodec
    new_state: Callable[[Sequence[tuple[int, ...]], Sequence[int], int, int], Decode]
    """Makes an empty decoding state from (distinct prompts, their order, most rows, most new tokens)."""
    equal_lengths: bool
    """Whether only prompts of one length may share a batch."""
    copies_prompts: bool
    """Whether every row has its own copy of its prompt's cache."""
    stop_ids: tuple[int, ...]
    stop_texts: StopTexts
    cost: RowCost
    budget: Callable[[], float]
    """Bytes that rows in flight may take now."""
    free_cache: Callable[[], None]
    """Gives unused memory back after an out-of-memory error."""
    device: torch.device

    def draws(self, rows: Sequence[DecodedRow], params: SamplingParams, max_rows: int) -> Iterator[Draw]:
        """Make all draws; rows that do not fit into memory are drawn again with half as many at once.

        A draw depends on its seed and prompt only, so what is redone comes out the same.

        Raises:
            EngineError: not even one row fits into memory.
            ModelError: a row's logits are not numbers.
        """
        prompts, index_of = _distinct_prompts(rows)
        order = prefill_order(prompts)
        rank = {index: rank for rank, index in enumerate(order)}
        # A stable sort: a prompt's rows keep their order.
        pending = deque(sorted(rows, key=lambda row: rank[index_of[id(row.ids)]]))
        while pending:
            capacity = self._capacity(pending, params, max_rows)
            flight = Flight(capacity)
            failure: BaseException | None = None
            try:
                state = self.new_state(prompts, order, capacity, params.max_new_tokens)
                yield from self._fly(state, flight, pending, index_of, params, capacity)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = error.with_traceback(None)  # the frames hold the tensors that did not fit
            if failure is not None:
                unfinished = [row for row, running in zip(flight.rows, flight.running_B, strict=True) if running]
                if capacity == 1:
                    row = (unfinished or list(pending))[0]
                    raise EngineError(
                        f"request {row.request.key!r}: one draw of {len(row.ids)} + "
                        f"{params.max_new_tokens} tokens does not fit into memory: lower --max-new-tokens, or use a "
                        "smaller dtype or a larger device"
                    ) from failure
                pending.extendleft(reversed(unfinished))
                self.free_cache()
                max_rows = max(1, min(capacity, len(unfinished) or capacity) // 2)

    def _capacity(self, pending: deque[DecodedRow], params: SamplingParams, max_rows: int) -> int:
        """How many of the pending rows may be in flight together, at least one."""
        budget, used = self.budget(), 0.0
        longest, count = len(pending[0].ids), 0
        before: tuple[int, ...] = ()
        for row in pending:
            if count == max_rows or (self.equal_lengths and count and len(row.ids) != longest):
                break
            longest = max(longest, len(row.ids))
            used += self.cost.decode(longest if self.copies_prompts else 0, params.max_new_tokens)
            if not count or row.ids is not before:
                used += self.cost.prefill(longest)
            if count and used > budget:
                break
            before = row.ids
            count += 1
        return count

    def _fly(
        self,
        state: Decode,
        flight: Flight,
        pending: deque[DecodedRow],
        index_of: Mapping[int, int],
        params: SamplingParams,
        capacity: int,
    ) -> Iterator[Draw]:
        """Decode until every admitted row is finished; a state that refills takes all pending rows in."""
        import torch

        while True:
            free = [int(i) for i in np.flatnonzero(~flight.running_B)] if state.refills else []
            free += range(len(flight.rows), capacity)
            if pending and free and (state.refills or not flight.rows):
                new = [pending.popleft() for _ in range(min(len(free), len(pending)))]
                slots = free[: len(new)]
                flight.admit(slots, new)
                at = np.asarray(slots)
                logits_BV = state.admit(slots, [index_of[id(row.ids)] for row in new])
            else:
                finished = int(np.count_nonzero(~flight.running_B))
                if finished == len(flight.rows):
                    return
                if finished and finished >= state.drop_share * len(flight.rows):
                    flight.reorder(state.drop(flight.running_B))
                at = np.arange(len(flight.rows))
                tokens_B = torch.from_numpy(flight.last_B).to(self.device)
                logits_BV = state.step(tokens_B)
            yield from self._advance(flight, at, logits_BV, params)

    def _advance(
        self, flight: Flight, at: NDArray[np.intp], logits_BV: torch.Tensor, params: SamplingParams
    ) -> Iterator[Draw]:
        """Draw one token for each of the rows `at`; rows that are finished with it are yielded and no longer run."""
        u_B = flight.uniforms(at)
        if flight.tilt.any:
            targets = flight.tilt.targets(at, flight.step_B[at])
            chosen = choose_tilted(logits_BV, u_B, params, targets, flight.tilt.leans(at))
            flight.tilt.advance(at, chosen.tokens_B == targets, chosen.proposal_B)
        else:
            chosen = choose(logits_BV, u_B, params)
        running = flight.running_B[at]
        if not (chosen.usable_B | ~running).all():
            slot = int(at[np.flatnonzero(~chosen.usable_B & running)[0]])
            raise _not_numbers(flight.rows[slot], int(flight.step_B[slot]))
        flight.append(at, chosen.tokens_B, chosen.logprobs_B, chosen.policy_B)
        stopped = np.isin(chosen.tokens_B, self.stop_ids)
        wrote_stop = self._wrote_stop(flight, at, chosen.tokens_B, running & ~stopped)
        ended = running & (stopped | wrote_stop | (flight.step_B[at] >= params.max_new_tokens))
        for r in np.flatnonzero(ended):
            slot = int(at[r])
            flight.running_B[slot] = False
            yield self._draw(flight, slot, bool(stopped[r]))

    def _wrote_stop(
        self, flight: Flight, at: NDArray[np.intp], tokens_B: NDArray[np.int64], open_B: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which of the rows `at` that are still open completed a stop text with their last token, shape (B,)."""
        found_B = np.zeros(len(at), dtype=bool)
        if self.stop_texts:
            texts = self.stop_texts
            for r in np.flatnonzero(open_B):
                if texts.may_end_with(int(tokens_B[r])):
                    found_B[r] = texts.stands_in(flight.last_ids(int(at[r]), texts.window))
        return found_B

    def _draw(self, flight: Flight, slot: int, stopped: bool) -> Draw:
        row = flight.rows[slot]
        ids, logprobs, policy = flight.drawn(slot)
        text = self.codec.continuation(row.request.prompt.response_prefix_ids, ids[:-1] if stopped else ids)
        before_stop = self.stop_texts.cut(text)
        return Draw(
            key=row.request.key,
            sample_idx=row.sample_idx,
            seed=row.seed,
            text=text if before_stop is None else before_stop,
            token_ids=ids,
            token_logprobs=logprobs,
            finish_reason="length" if not stopped and before_stop is None else "stop",
            token_policy_logprobs=policy,
            proposal_logprob=flight.tilt.logprob(slot),
            stop_text=before_stop is not None,
        )


def _not_numbers(row: DecodedRow, step: int) -> ModelError:
    return ModelError(
        f"request {row.request.key!r}, draw {row.sample_idx}, token {step}: the model's logits are NaN or infinite; "
        "load it in float32 (dtype='float32'), and if that does not help, the checkpoint is broken"
    )


def sample_rows(
    requests: Sequence[SampleRequest], codec: PromptCodec, n_ids: int, context: int | None, max_new_tokens: int
) -> list[DecodedRow]:
    """Turn requests into rows; every request is checked before anything is drawn.

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
    rows: list[DecodedRow] = []
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
        rows.extend(DecodedRow(request, ids, index, seed) for index, seed in pairs)
    return rows


def require_known_ids(key: str, ids: Sequence[int], n_ids: int) -> None:
    """Make sure that all token ids of a request lie within the model's embedding.

    Raises:
        ModelError: an id lies outside it.
    """
    if ids and (max(ids) >= n_ids or min(ids) < 0):
        raise ModelError(
            f"request {key!r}: token id {max(ids)} is outside the model's {n_ids} embeddings: the tokenizer "
            "belongs to another model; put the right tokenizer files beside the weights"
        )
