"""Teacher-forced scores: log-probability, rank and entropy of every token of given completions.

Shapes: `B` rows, `T` scored positions of a completion (its stop position included), `N` positions of a chunk, `V`
vocabulary.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from posttrain_diag.engines.contract import Prompt, Score, ScoreRequest
from posttrain_diag.engines.hf.check import DecodePath
from posttrain_diag.engines.hf.forward import CachedDecode, CausalLM
from posttrain_diag.engines.hf.memory import RowCost, is_out_of_memory
from posttrain_diag.engines.hf.prefill import Prefilled, Prefiller, prefill_order
from posttrain_diag.engines.hf.sample import require_known_ids
from posttrain_diag.engines.hf.slots import ScoreCache
from posttrain_diag.engines.model.prompts import PromptCodec
from posttrain_diag.errors import EngineError, ModelError

if TYPE_CHECKING:
    import torch

_CHUNK_VALUES = {"cpu": 1 << 18, "cuda": 1 << 25}
"""Logits (positions x vocabulary) worked on at once: what a CPU core's caches hold, what a GPU has memory for."""
_BATCH_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Padded tokens of one pass after shared prompts: enough for matrix products, few enough for a CPU's caches."""
_WINDOW_PROMPTS = 16
"""Prompts whose completions are sorted by length together: like lengths need little padding."""


@dataclass(frozen=True)
class ScoreTarget:
    """One completion to score, as token ids, with the prompt it follows."""

    key: str
    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    """Token ids of the completion, followed by the stop token where its position is scored."""
    stop_position: bool
    """Whether the last of `ids` stands for the whole stop set."""

    @property
    def fed(self) -> tuple[int, ...]:
        """The part of `ids` that the model reads after the prompt: everything but the last token."""
        return self.ids[:-1]


def score_targets(
    requests: Sequence[ScoreRequest],
    codec: PromptCodec,
    n_ids: int,
    context: int | None,
    stop_ids: tuple[int, ...],
) -> list[ScoreTarget]:
    """Turn score requests into token ids; every request is checked before anything is computed.

    With `append_stop`, the stop position follows the completion, unless the completion already ends with a stop
    token: then that is the stop position. Without a stop set there is none.

    Args:
        requests: what to score.
        codec: turns prompts and completions into ids.
        n_ids: size of the model's input embedding.
        context: longest sequence, prompt and completion together; None = no limit known.
        stop_ids: the model's stop tokens.

    Raises:
        EngineError: a completion does not fit into the context, or not exactly one of text and ids is given.
        ModelError: ids that the model has no embedding for.
    """
    targets: list[ScoreTarget] = []
    known: dict[Prompt, tuple[int, ...]] = {}
    for request in requests:
        if (request.completion is None) == (request.completion_ids is None):
            raise EngineError(f"request {request.key!r}: give exactly one of completion and completion_ids")
        prompt = known.get(request.prompt) if request.prompt.messages is None else None
        if prompt is None:
            prompt = codec.prompt_ids(request.prompt, request.key)
            if request.prompt.messages is None:  # turns are mappings, which cannot be looked up
                known[request.prompt] = prompt
        ids = request.completion_ids
        if ids is None:
            ids = codec.response_ids(request.completion or "")
        stop = request.append_stop and bool(stop_ids)
        if stop and (not ids or ids[-1] not in stop_ids):
            ids = (*ids, stop_ids[0])
        require_known_ids(request.key, (*prompt, *ids), n_ids)
        target = ScoreTarget(request.key, prompt, tuple(ids), stop)
        length = len(prompt) + len(target.fed)
        if context is not None and length > context:
            raise EngineError(
                f"request {request.key!r}: prompt ({len(prompt)}) and completion ({len(target.fed)}) have {length} "
                f"tokens, more than the model's context of {context}: shorten the completion"
            )
        targets.append(target)
    return targets


@dataclass(frozen=True)
class Scorer:
    """What scoring needs of the loaded model: how it is run, its stop tokens, and how much memory a batch may take."""

    lm: CausalLM
    codec: PromptCodec
    path: DecodePath
    """How completions are scored. slots: prompts are prefilled once and read by all; shared: their cache is copied; any
    other: as whole sequences."""
    stop_ids: tuple[int, ...]
    cost: RowCost
    budget: Callable[[], float]
    free_cache: Callable[[], None]

    def scores(self, targets: Sequence[ScoreTarget], max_rows: int) -> Iterator[Score]:
        """Score all targets; a batch that does not fit into memory is redone with half the rows.

        Raises:
            EngineError: not even one completion fits into memory.
            ModelError: the logits are not numbers.
        """
        pending = deque(_like_lengths(targets) if self.path == "slots" else _by_prompt(targets))
        table = _PromptTable(self.lm, targets)
        while pending:
            batch = self._take(pending, max_rows)
            failure: BaseException | None = None
            scores: list[Score] = []
            try:
                scores = self._batch(batch, table)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = error.with_traceback(None)
            if failure is None:
                yield from scores
                table.done(batch)
                continue
            if len(batch) == 1:
                raise EngineError(
                    f"request {batch[0].key!r}: scoring {len(batch[0].ids)} tokens after {len(batch[0].prompt)} does "
                    "not fit into memory: use a shorter completion, a smaller dtype or a larger device"
                ) from failure
            self.free_cache()
            max_rows = max(1, len(batch) // 2)
            pending.extendleft(reversed(batch))

    def _take(self, pending: deque[ScoreTarget], max_rows: int) -> list[ScoreTarget]:
        budget, n_prompts = self.budget(), 0
        batch: list[ScoreTarget] = []
        longest, widest = len(pending[0].prompt), 0
        while pending and len(batch) < max_rows:
            target = pending[0]
            n_prompts += not batch or target.prompt != batch[-1].prompt
            longest = max(longest, len(target.prompt))
            widest = max(widest, len(target.ids))
            if batch and self.path == "slots" and (len(batch) + 1) * widest > _BATCH_TOKENS[self.lm.device.type]:
                break
            if self.path == "plain":
                row = self.cost.score(longest + widest)
            else:
                copied = 0 if self.path == "slots" else self.cost.kv_bytes_per_token * longest
                row = self.cost.score(widest) + copied
            if batch and (len(batch) + 1) * row + n_prompts * self.cost.prefill(longest) > budget:
                break
            batch.append(pending.popleft())
        return batch

    def _batch(self, batch: Sequence[ScoreTarget], table: _PromptTable) -> list[Score]:
        import torch

        with torch.inference_mode():
            scored = [target for target in batch if target.ids]
            scores = [self._empty(target) for target in batch if not target.ids]
            if scored and self.path == "slots":
                scores.extend(self._statistics(scored, self._slot_laws(scored, table)))
            elif scored:
                laws = self._plain_laws(scored) if self.path == "plain" else self._shared_laws(scored)
                scores.extend(self._statistics(scored, laws))
        return scores

    def _slot_laws(self, batch: Sequence[ScoreTarget], table: _PromptTable) -> Callable[[int, int], torch.Tensor]:
        """Logits of rows a..b at every scored position, shape (b - a, T, V)."""
        import torch

        known = table.of(batch)
        index = {prompt: i for i, prompt in enumerate(known)}
        of_row_B = np.asarray([index[target.prompt] for target in batch])
        first = [known[target.prompt].logits_V for target in batch]
        fed, _ = _padded([target.fed for target in batch], self.lm.device)
        rest_BTV: torch.Tensor | None = None
        if fed.shape[1]:
            rest_BTV = ScoreCache(list(known.values()), of_row_B, self.lm.device).logits(self.lm, fed)

        def laws(a: int, b: int) -> torch.Tensor:
            first_B1V = torch.stack(first[a:b])[:, None]
            return first_B1V if rest_BTV is None else torch.cat((first_B1V, rest_BTV[a:b]), 1)

        return laws

    def _shared_laws(self, batch: Sequence[ScoreTarget]) -> Callable[[int, int], torch.Tensor]:
        """Logits of rows a..b at every scored position, shape (b - a, T, V)."""
        import torch

        prompts = list(dict.fromkeys(target.prompt for target in batch))
        index = {prompt: i for i, prompt in enumerate(prompts)}
        state = CachedDecode(self.lm)
        first_PV = state.start(prompts)
        rows_B = torch.tensor([index[target.prompt] for target in batch], device=self.lm.device)
        fed, valid = _padded([target.fed for target in batch], self.lm.device)
        rest_BTV: torch.Tensor | None = None
        if fed.shape[1]:
            state.select(rows_B)
            rest_BTV = state.extend(fed, valid)

        def laws(a: int, b: int) -> torch.Tensor:
            first = first_PV[rows_B[a:b]][:, None]
            return first if rest_BTV is None else torch.cat((first, rest_BTV[a:b]), 1)

        return laws

    def _plain_laws(self, batch: Sequence[ScoreTarget]) -> Callable[[int, int], torch.Tensor]:
        """Logits of rows a..b at every scored position, shape (b - a, T, V), computed from whole sequences.

        Padding on the right cannot reach back in a causal model.
        """
        import torch

        ids, _ = _padded([(*target.prompt, *target.fed) for target in batch], self.lm.device)
        logits_BLV = self.lm.logits(ids)
        width = max(len(target.ids) for target in batch)

        def laws(a: int, b: int) -> torch.Tensor:
            out: list[torch.Tensor] = []
            for row in range(a, b):
                start = len(batch[row].prompt) - 1
                own = logits_BLV[row, start : start + len(batch[row].ids)]
                out.append(torch.nn.functional.pad(own, (0, 0, 0, width - len(own))))
            return torch.stack(out)

        return laws

    def _statistics(self, batch: Sequence[ScoreTarget], laws: Callable[[int, int], torch.Tensor]) -> Iterator[Score]:
        import torch

        width = max(len(target.ids) for target in batch)
        ids_BT, valid_BT = _padded([target.ids for target in batch], self.lm.device)
        stop_B = torch.tensor([target.stop_position for target in batch], device=self.lm.device)
        last_B = torch.tensor([len(target.ids) - 1 for target in batch], device=self.lm.device)
        is_stop_BT = stop_B[:, None] & (torch.arange(width, device=self.lm.device)[None] == last_B[:, None])
        here_BT = torch.ones_like(ids_BT, dtype=torch.bool) if valid_BT is None else valid_BT.bool()
        vocab = int(laws(0, 1).shape[-1])
        chunk = max(1, _CHUNK_VALUES[self.lm.device.type] // (vocab * width))
        for a in range(0, len(batch), chunk):
            b = min(len(batch), a + chunk)
            here = here_BT[a:b]
            logits_NV = laws(a, b)[here].float()
            columns_N3 = self._columns(logits_NV, ids_BT[a:b][here], is_stop_BT[a:b][here])
            lengths = [len(target.ids) for target in batch[a:b]]
            for target, part in zip(batch[a:b], torch.split(columns_N3.cpu(), lengths), strict=True):
                yield self._score(target, part)

    def _columns(self, logits_NV: torch.Tensor, ids_N: torch.Tensor, is_stop_N: torch.Tensor) -> torch.Tensor:
        """(log-probability, rank, entropy) of each position, shape (N, 3) float64."""
        import torch

        law_NV = logits_NV.log_softmax(-1)
        token_N1 = logits_NV.gather(1, ids_N[:, None])
        logprob_N = law_NV.gather(1, ids_N[:, None])[:, 0]
        if self.stop_ids and bool(is_stop_N.any()):
            stops = torch.tensor(self.stop_ids, device=logits_NV.device)
            logprob_N = torch.where(is_stop_N, law_NV[:, stops].logsumexp(-1), logprob_N)
            best_N1 = logits_NV[:, stops].amax(-1, keepdim=True)
            token_N1 = torch.where(is_stop_N[:, None], best_N1, token_N1)
        rank_N = (logits_NV > token_N1).sum(-1)
        # A masked token (-inf) has no part in the entropy: 0 times a finite number.
        entropy_N = -(law_NV.exp() * law_NV.clamp(min=-1e30)).sum(-1)
        return torch.stack((logprob_N.double(), rank_N.double(), entropy_N.double()), 1)

    def _score(self, target: ScoreTarget, columns_T3: torch.Tensor) -> Score:
        values = columns_T3.numpy()
        if np.isnan(values).any():
            position = int(np.flatnonzero(np.isnan(values).any(1))[0])
            raise ModelError(
                f"request {target.key!r}, token {position}: the model's logits are NaN or infinite; load it in float32 "
                "(dtype='float32'), and if that does not help, the checkpoint is broken"
            )
        return Score(
            key=target.key,
            token_ids=target.ids,
            token_texts=tuple(self.codec.token_text(i) for i in target.ids),
            logprob_T=values[:, 0].astype(np.float32),
            rank_T=values[:, 1].astype(np.int32),
            entropy_T=values[:, 2].astype(np.float32),
        )

    def _empty(self, target: ScoreTarget) -> Score:
        nothing = np.zeros(0, dtype=np.float32)
        return Score(target.key, (), (), nothing, np.zeros(0, dtype=np.int32), nothing)


class _PromptTable:
    """Prefilled prompts of the completions that are still to be scored; each is forgotten after its last completion."""

    def __init__(self, lm: CausalLM, targets: Sequence[ScoreTarget]) -> None:
        self._left = Counter(target.prompt for target in targets)
        self._prompts = list(self._left)
        self._index = {prompt: i for i, prompt in enumerate(self._prompts)}
        order = prefill_order(self._prompts)
        self._rank = {index: rank for rank, index in enumerate(order)}
        self._prefill = Prefiller(lm, self._prompts, order)
        self._known: dict[int, Prefilled] = {}

    def of(self, batch: Sequence[ScoreTarget]) -> dict[tuple[int, ...], Prefilled]:
        """The prefilled prompts that a batch of completions follows."""
        wanted = sorted({self._index[target.prompt] for target in batch}, key=lambda i: self._rank[i])
        self._known |= self._prefill([i for i in wanted if i not in self._known])
        return {self._prompts[i]: self._known[i] for i in wanted}

    def done(self, batch: Sequence[ScoreTarget]) -> None:
        """Tell the table that these completions are scored, so that prompts nobody needs any more are forgotten."""
        for target in batch:
            self._left[target.prompt] -= 1
            if not self._left[target.prompt]:
                self._known.pop(self._index[target.prompt], None)


def _by_prompt(targets: Sequence[ScoreTarget]) -> list[ScoreTarget]:
    """Sort completions by prompt, longest prompts first, so that what does not fit into memory shows early."""
    return sorted(targets, key=lambda t: (-len(t.prompt), t.prompt, -len(t.ids)))


def _like_lengths(targets: Sequence[ScoreTarget]) -> list[ScoreTarget]:
    """Sort completions by length within a few prompts at a time, so that little padding is needed."""
    prompts = list(dict.fromkeys(target.prompt for target in targets))
    window = {prompts[index]: rank // _WINDOW_PROMPTS for rank, index in enumerate(prefill_order(prompts))}
    return sorted(targets, key=lambda t: (window[t.prompt], -len(t.ids)))


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rows padded on the right, shape (B, T), and 1 where there is a token (None where there is no padding)."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.tensor([list(row) + [0] * (width - len(row)) for row in rows], dtype=torch.long, device=device)
    if all(len(row) == width for row in rows):
        return ids, None
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, (torch.arange(width, device=device)[None] < lengths[:, None]).long()
