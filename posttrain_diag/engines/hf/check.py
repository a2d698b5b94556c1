"""The self-check at load: does our decoding agree with the model's own plain forward pass?

The paths, fastest first; the first one that agrees is used:

    slots    rows come and go at any step; a prompt's cache is read by all its draws (`slots.SlotDecode`)
    shared   prompts of mixed lengths, left-padded, each prefilled once; the cache is copied to its draws
    equal    the same, but only prompts of one length share a batch (no padding)
    plain    no cache at all

Shapes: `B` rows, `L` positions, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from posttrain_diag.engines.hf.attention import plug_in, unplug
from posttrain_diag.engines.hf.forward import CACHE_ARGUMENTS, CachedDecode, CausalLM, Decode, tolerance_nats
from posttrain_diag.engines.hf.memory import free_bytes, is_out_of_memory
from posttrain_diag.engines.hf.pack import pack, packed_bytes, unpack
from posttrain_diag.engines.hf.prefill import Prefiller, prefill_order
from posttrain_diag.engines.hf.slots import ScoreCache, SlotDecode
from posttrain_diag.engines.model.files import first_line
from posttrain_diag.errors import ModelError

if TYPE_CHECKING:
    import torch

DecodePath = Literal["slots", "shared", "equal", "plain"]

# What a foreign architecture's forward may raise when a cache does not fit it. A failed path is not an error:
# the next slower one is tried, and `plain` has no cache that could fail.
_PATH_FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    KeyError,
    IndexError,
    NotImplementedError,
    AssertionError,
)
_STEPS = 4
_PACKING_SHARE = 0.4
"""Packed copies of the weights may take this share of the free memory."""


@dataclass(frozen=True)
class Paths:
    """What the self-check found to hold for this model."""

    decode: DecodePath
    long_decode: DecodePath
    """The path for sequences longer than the model's attention window, which `slots` does not know."""
    score: DecodePath
    """How completions are scored: after a prompt read by all (slots), after copies of its cache (shared), or as whole
    sequences (plain)."""
    long_score: DecodePath
    kv_bytes_per_token: float
    """Bytes that the cache holds for one position of one row; 0 without a cache."""
    vocab_size: int
    """Width of the logits."""
    notices: tuple[str, ...]


def check_paths(lm: CausalLM, special_ids: Sequence[int], context: int | None, window: int | None) -> Paths:
    """Choose the fastest decoding path that agrees with the model's plain forward pass.

    Args:
        lm: the loaded model; `attention.plug_in` stays in effect where the fast path holds, and its large linear layers
            stay packed (`pack.pack`) where that agrees.
        special_ids: token ids the probe avoids.
        context: longest sequence the model accepts; None = no limit known.
        window: sliding-window width; short ones are crossed by the probe.

    Returns:
        The chosen paths, and notices for the reader.

    Raises:
        ModelError: the logits are not numbers, or the model looks at later tokens.
    """
    probe = _Probe(lm, special_ids, context, window)
    probe.require_numbers()
    probe.require_causal()
    reasons: list[str] = []
    notices: list[str] = list(probe.packing_notice())
    slots = score_slots = False
    if lm.has_cache and plug_in(lm.model):
        failure = probe.failure(probe.slots_gap)
        score_failure = failure or probe.failure(probe.score_slots_gap)
        slots, score_slots = failure is None, score_failure is None
        if failure is not None:
            unplug(lm.model)
            reasons.append(f"slots: {failure}")
        elif score_failure is not None:
            notices.append(
                f"self-check: completions are not scored after shared prompts, which is slower ({score_failure})"
            )
    elif lm.has_cache:
        reasons.append("slots: the architecture does not take transformers' attention interface")
    if slots and score_slots and window is None:
        return Paths("slots", "slots", "slots", "slots", probe.kv_bytes_per_token, probe.vocab_size, tuple(notices))
    decode, score, slower = _copying_paths(lm, probe, reasons)
    notices += slower if not slots else []
    if slots and window is not None:
        notices += [f"sequences of more than {window} tokens: {notice}" for notice in slower]
    return Paths(
        "slots" if slots else decode,
        decode,
        "slots" if score_slots else score,
        score,
        probe.kv_bytes_per_token,
        probe.vocab_size,
        tuple(notices),
    )


def _copying_paths(lm: CausalLM, probe: _Probe, reasons: list[str]) -> tuple[DecodePath, DecodePath, list[str]]:
    """Find the fastest path that uses the model's own cache.

    Returns:
        The path, how completions are scored then, and what a reader must know.
    """
    for path in ("shared", "equal") if lm.has_cache else ():
        failure = probe.failure(lambda path=path: probe.decode_gap(path))
        if failure is not None:
            reasons.append(f"{path}: {failure}")
            continue
        notices = _notices(path, reasons)
        score_failure = "its cache does not take padding" if path == "equal" else probe.failure(probe.score_gap)
        if score_failure is not None:
            notices.append(
                f"completions are scored without a shared prefill, which is slower and exact ({score_failure})"
            )
        return path, "plain" if score_failure else "shared", notices
    if not lm.has_cache and (unused := probe.unused_cache()) is not None:
        return "plain", "plain", [unused]
    return "plain", "plain", _notices("plain", reasons or ["the architecture takes no transformers cache"])


def _notices(path: DecodePath, reasons: Sequence[str]) -> list[str]:
    if not reasons:
        return []
    what = {
        "shared": "each draw has its own copy of its prompt's cache",
        "equal": "prompts of different lengths are decoded in separate batches",
        "plain": "decoding recomputes the whole sequence at every step (no cache)",
    }[path]
    return [f"self-check: {what}, which is slower and exact ({'; '.join(reasons)})"]


class _Probe:
    """Two short sequences and the logits that the model's plain forward pass gives for them."""

    def __init__(self, lm: CausalLM, special_ids: Sequence[int], context: int | None, window: int | None) -> None:
        self._lm = lm
        n_ids = int(lm.model.get_input_embeddings().weight.shape[0])
        avoided = set(special_ids)
        usable = [i for i in range(min(n_ids, 50_000)) if i not in avoided] or list(range(n_ids))
        longest = 9 if window is None or window > 256 else window + 3
        longest = max(2, min(longest, (context or longest + _STEPS) - _STEPS))
        self._long = tuple(usable[(7919 * i + 31) % len(usable)] for i in range(longest))
        self._short = tuple(usable[(6361 * i + 57) % len(usable)] for i in range(max(1, longest // 2)))
        try:
            self._plain_LV = self._plain(self._long)
        except _PATH_FAILURES as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(
                f"{type(lm.model).__name__} cannot compute a plain forward pass ({first_line(error)}): check its "
                "config.json, or try another transformers version"
            ) from error
        self.vocab_size = int(self._plain_LV.shape[1])
        self._window = window
        self.kv_bytes_per_token = 0.0
        """Bytes the cache of the last decoded probe holds per position of a row."""

    def _plain(self, ids: Sequence[int]) -> torch.Tensor:
        import torch

        return self._lm.logits(torch.tensor([list(ids)], device=self._lm.device))[0].float()

    def require_numbers(self) -> None:
        """Make sure that the logits are numbers.

        Raises:
            ModelError: they hold NaN or +inf; the message names the broken weights, if any.
        """
        import torch

        if bool(torch.isfinite(self._plain_LV.logsumexp(-1)).all()):
            return
        for name, weight in self._lm.model.named_parameters():
            bad = int((~torch.isfinite(weight)).sum())
            if bad:
                raise ModelError(
                    f"the weights are broken: {bad} of {weight.numel()} values of {name!r} are NaN or infinite; "
                    "use an earlier checkpoint or save the model again"
                )
        raise ModelError(
            f"the model's outputs are not numbers in {self._lm.model.dtype} although its weights are: "
            "load it in float32 (dtype='float32')"
        )

    def require_causal(self) -> None:
        """Make sure that later tokens do not change an earlier position's logits.

        Raises:
            ModelError: they do, so the model is no causal language model.
        """
        cut = max(1, len(self._long) // 2)
        if self._gap(self._plain(self._long[:cut]), self._plain_LV[:cut]) is not None:
            raise ModelError(
                f"{type(self._lm.model).__name__} looks at later tokens (an encoder, not a causal language model): "
                "it cannot be sampled from; give a causal (decoder) model"
            )

    def _gap(self, ours: torch.Tensor, plain: torch.Tensor) -> str | None:
        """Why two sets of logits disagree, or None; the tolerance follows the model's precision."""
        import torch

        dtype = self._lm.model.dtype
        roundings = (
            128 if torch.finfo(dtype).bits == 32 else 8
        )  # batching reorders sums: a few roundings of the largest logit
        allowed = tolerance_nats(dtype, plain, roundings)
        mine, theirs = ours.float().log_softmax(-1), plain.float().log_softmax(-1)
        finite = torch.isfinite(theirs)
        gap = float((mine - theirs)[finite].abs().max())
        if gap <= allowed:
            return None
        return f"log-probabilities differ by {gap:.2g} nats from the plain forward pass"

    def packing_notice(self) -> Sequence[str]:
        """Pack the linear layers where memory allows it, keep them packed only if the logits agree; returns notices."""
        model = self._lm.model
        if packed_bytes(model) > _PACKING_SHARE * free_bytes(self._lm.device) or not pack(model):
            return ()
        failure = self.failure(lambda: self._gap(self._plain(self._long), self._plain_LV))
        if failure is None:
            return ()
        unpack(model)
        return (f"self-check: packed linear layers are not used, which is slower and exact ({failure})",)

    def failure(self, gap: Callable[[], str | None]) -> str | None:
        """Why a path cannot be used: the gap between its logits and the plain ones, or what it raised; else None."""
        try:
            return gap()
        except _PATH_FAILURES as error:
            if is_out_of_memory(error):
                raise
            return f"{type(error).__name__}: {first_line(error)}"

    def unused_cache(self) -> str | None:
        """What to tell of a cache that the architecture has and that cannot be handed to it; None: it has none."""
        import torch
        import transformers

        lm = self._lm
        try:
            name = lm.returned_cache(torch.tensor([list(self._short)], device=lm.device))
        except _PATH_FAILURES as error:
            if is_out_of_memory(error):
                raise
            return None
        if name is None:
            return None
        return (
            "DECODING IS SLOW, many times slower than it could be: every step recomputes the whole sequence. "
            f"{type(lm.model).__name__} has a cache (its forward pass returns one as {name!r}), but takes it under "
            f"none of the names that are known here ({', '.join(CACHE_ARGUMENTS)}): install a transformers release "
            f"that is known to work (5.23.0, 5.24.0; this is {transformers.__version__}), and report this one"
        )

    def slots_gap(self) -> str | None:
        """Gap of the slots path: mixed prompts, one continuing another, a row dropped, a row admitted later."""
        room = len(self._long) if self._window is None else max(2, min(len(self._long), self._window - _STEPS))
        prompts = [self._short[:room], self._long[:room], self._long[: max(1, room - 2)]]
        state = SlotDecode(self._lm, Prefiller(self._lm, prompts, prefill_order(prompts)), 4, _STEPS)
        gap = self._followed(state, prompts, late=2)
        self.kv_bytes_per_token = state.bytes_per_position
        return gap

    def _followed(self, state: Decode, prompts: Sequence[tuple[int, ...]], *, late: int | None = None) -> str | None:
        """Gap of greedy rows of prompts 0, 1, 1, of which one is dropped half-way and one of `late` is admitted."""
        import torch

        of_row = [0, 1, 1]
        logits_BV = state.admit([0, 1, 2], of_row)
        sequences = [list(prompts[i]) for i in of_row]
        seen: list[list[torch.Tensor]] = [[], [], []]
        for step in range(_STEPS):
            if step == _STEPS // 2:
                order = state.drop(np.array([True, False, True]))
                logits_BV = logits_BV[torch.from_numpy(order)]
                sequences, seen = [sequences[i] for i in order], [seen[i] for i in order]
                if late is not None:
                    logits_BV = torch.cat((logits_BV, state.admit([2], [late])))
                    sequences.append(list(prompts[late]))
                    seen.append([])
            tokens_B = logits_BV.argmax(-1)
            for row, (sequence, law) in enumerate(zip(sequences, seen, strict=True)):
                law.append(logits_BV[row])
                sequence.append(int(tokens_B[row]))
            if step < _STEPS - 1:
                logits_BV = state.step(tokens_B)
        return self._worst_gap(sequences, seen)

    def _worst_gap(self, sequences: Sequence[Sequence[int]], seen: Sequence[Sequence[torch.Tensor]]) -> str | None:
        import torch

        for sequence, law in zip(sequences, seen, strict=True):
            gap = self._gap(torch.stack(list(law)), self._plain(sequence[:-1])[-len(law) :])
            if gap is not None:
                return gap
        return None

    def decode_gap(self, path: DecodePath) -> str | None:
        """Gap of a copying path: prefill, copy to rows, steps, drop a row, more steps."""
        prompts = [self._short, self._long] if path == "shared" else [self._long[::-1], self._long]
        state = CachedDecode(self._lm, prompts)
        gap = self._followed(state, prompts)
        positions = 2 * (max(map(len, prompts)) + _STEPS - 1)
        self.kv_bytes_per_token = self.kv_bytes_per_token or _cache_bytes(state.cache) / positions
        return gap

    def _tails(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Beginnings of the two sequences, and the short tails that follow them."""
        half = max(1, len(self._long) - 2)
        return [self._short, self._long[:half]], [self._short[:2], self._long[half:][:1]]

    def score_slots_gap(self) -> str | None:
        """Gap of completions scored after prompts that are read by all."""
        import torch

        heads, tails = self._tails()
        if self._window is not None:
            heads = [head[: max(1, self._window - 2)] for head in heads]
        known = Prefiller(self._lm, heads, prefill_order(heads))(prefill_order(heads))
        of_row = [0, 1, 0]
        rows = [(*tails[i], *[0] * (2 - len(tails[i]))) for i in of_row]
        cache = ScoreCache([known[0], known[1]], np.asarray(of_row), self._lm.device)
        logits = cache.logits(self._lm, torch.tensor(rows, device=self._lm.device))
        for row, i in enumerate(of_row):
            plain = self._plain((*heads[i], *tails[i]))[len(heads[i]) :]
            gap = self._gap(logits[row, : len(tails[i])], plain)
            if gap is not None:
                return gap
        return None

    def score_gap(self) -> str | None:
        """Gap of completions scored after copies of a prompt's cache."""
        import torch

        heads, tails = self._tails()
        state = CachedDecode(self._lm)
        state.start(heads)
        width = max(map(len, tails))
        padded = [list(tail) + [0] * (width - len(tail)) for tail in tails]
        valid = [[1] * len(tail) + [0] * (width - len(tail)) for tail in tails]
        device = self._lm.device
        logits = state.extend(torch.tensor(padded, device=device), torch.tensor(valid, device=device))
        for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            plain = self._plain((*head, *tail))[len(head) :]
            gap = self._gap(logits[row, : len(tail)], plain)
            if gap is not None:
                return gap
        return None


def _cache_bytes(cache: Any) -> float:
    import torch

    def size(value: Any) -> int:
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size()
        if isinstance(value, dict):
            return sum(size(item) for item in value.values())  # pyright: ignore[reportUnknownVariableType] a state-space layer's dict of tensors
        return 0

    return sum(size(value) for layer in cache.layers for value in vars(layer).values())
