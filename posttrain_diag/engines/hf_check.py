"""The self-check at load: does our decoding agree with the model's own plain forward pass?

The paths, fastest first; the first one that agrees is used:

    shared   prompts of mixed lengths, left-padded, each prefilled once; the cache is copied to its draws
    equal    the same, but only prompts of one length share a batch (no padding)
    plain    no cache at all

Shapes: `B` rows, `L` positions, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from posttrain_diag.engines.hf_files import first_line
from posttrain_diag.engines.hf_forward import CachedDecode, CausalLM
from posttrain_diag.engines.hf_memory import is_out_of_memory
from posttrain_diag.errors import ModelError

if TYPE_CHECKING:
    import torch

DecodePath = Literal["shared", "equal", "plain"]

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


@dataclass(frozen=True)
class Paths:
    """What was found to hold for this model."""

    decode: DecodePath
    score_shared: bool
    """Many completions may be scored after one shared prefill."""
    kv_bytes_per_token: float
    """Cache bytes of one position of one row; 0 without a cache."""
    vocab_size: int
    """Width of the logits."""
    notices: tuple[str, ...]


def check_paths(lm: CausalLM, special_ids: Sequence[int], context: int | None, window: int | None) -> Paths:
    """Choose the fastest decoding path that agrees with the model's plain forward pass.

    Args:
        lm: the loaded model.
        special_ids: token ids the probe avoids.
        context: longest sequence the model accepts; None = no limit known.
        window: sliding-window width; short ones are crossed by the probe.

    Raises:
        ModelError: the logits are not numbers, or the model looks at later tokens.
    """
    probe = _Probe(lm, special_ids, context, window)
    probe.require_numbers()
    probe.require_causal()
    reasons: list[str] = []
    for path in ("shared", "equal") if lm.has_cache else ():
        failure = probe.decode_failure(path)
        if failure is not None:
            reasons.append(f"{path}: {failure}")
            continue
        score_failure = probe.score_failure(path)
        notices = list(_notice(path, reasons))
        if score_failure is not None:
            notices.append(
                f"completions are scored without a shared prefill, which is slower and exact ({score_failure})"
            )
        shared = score_failure is None and path == "shared"
        return Paths(path, shared, probe.kv_bytes_per_token(), probe.vocab_size, tuple(notices))
    reasons = reasons or ["the architecture takes no transformers cache"]
    return Paths("plain", False, 0.0, probe.vocab_size, _notice("plain", reasons))


def _notice(path: DecodePath, reasons: Sequence[str]) -> tuple[str, ...]:
    if path == "shared":
        return ()
    what = (
        "prompts of different lengths are decoded in separate batches"
        if path == "equal"
        else "decoding recomputes the whole sequence at every step (no cache)"
    )
    return (f"self-check: {what}, which is slower and exact ({'; '.join(reasons)})",)


class _Probe:
    """Two short sequences and what the plain forward pass says of them."""

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
        self._cache: Any = None
        self._cached_positions = 1

    def _plain(self, ids: Sequence[int]) -> torch.Tensor:
        import torch

        return self._lm.logits(torch.tensor([list(ids)], device=self._lm.device))[0].float()

    def require_numbers(self) -> None:
        """Raise ModelError where the logits hold NaN or +inf."""
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
        """Raise ModelError where an earlier position's logits change with later tokens."""
        cut = max(1, len(self._long) // 2)
        if self._gap(self._plain(self._long[:cut]), self._plain_LV[:cut]) is not None:
            raise ModelError(
                f"{type(self._lm.model).__name__} looks at later tokens (an encoder, not a causal language model): "
                "it cannot be sampled from; give a causal (decoder) model"
            )

    def _gap(self, ours: torch.Tensor, plain: torch.Tensor) -> str | None:
        """Why two sets of logits disagree, or None; the tolerance follows the model's precision."""
        import torch

        info = torch.finfo(self._lm.model.dtype)
        roundings = 128 if info.bits == 32 else 8  # batching reorders sums: a few roundings of the largest logit
        allowed = max(1e-4, roundings * info.eps * float(plain[torch.isfinite(plain)].abs().max()))
        mine, theirs = ours.float().log_softmax(-1), plain.float().log_softmax(-1)
        finite = torch.isfinite(theirs)
        gap = float((mine - theirs)[finite].abs().max())
        if gap <= allowed:
            return None
        return f"log-probabilities differ by {gap:.2g} nats from the plain forward pass"

    def decode_failure(self, path: DecodePath) -> str | None:
        """Why this path cannot be used, or None: prefill, copy to rows, steps, drop a row, more steps."""
        prompts = [self._short, self._long] if path == "shared" else [self._long[::-1], self._long]
        try:
            return self._decode_failure(prompts)
        except _PATH_FAILURES as error:
            if is_out_of_memory(error):
                raise
            return f"{type(error).__name__}: {first_line(error)}"

    def _decode_failure(self, prompts: Sequence[tuple[int, ...]]) -> str | None:
        import torch

        state = CachedDecode(self._lm)
        logits_BV = state.start(prompts)
        rows = torch.tensor([0, 1, 1], device=self._lm.device)
        state.select(rows)
        logits_BV, sequences = logits_BV[rows], [list(prompts[i]) for i in (0, 1, 1)]
        seen: list[list[torch.Tensor]] = [[], [], []]
        for step in range(_STEPS):
            if step == _STEPS // 2:
                keep = torch.tensor([0, 2], device=self._lm.device)
                state.select(keep)
                logits_BV = logits_BV[keep]
                sequences, seen = [sequences[0], sequences[2]], [seen[0], seen[2]]
            tokens_B = logits_BV.argmax(-1)
            for row, (sequence, law) in enumerate(zip(sequences, seen, strict=True)):
                law.append(logits_BV[row])
                sequence.append(int(tokens_B[row]))
            if step < _STEPS - 1:
                logits_BV = state.step(tokens_B)
        self._cache, self._cached_positions = state.cache, 2 * (max(map(len, prompts)) + _STEPS - 1)
        for sequence, law in zip(sequences, seen, strict=True):
            plain = self._plain(sequence[:-1])[-_STEPS:]
            gap = self._gap(torch.stack(law), plain)
            if gap is not None:
                return gap
        return None

    def score_failure(self, path: DecodePath) -> str | None:
        """Why completions cannot be scored after a shared prefill, or None."""
        if path != "shared":
            return "its cache does not take padding"
        try:
            return self._score_failure()
        except _PATH_FAILURES as error:
            if is_out_of_memory(error):
                raise
            return f"{type(error).__name__}: {first_line(error)}"

    def _score_failure(self) -> str | None:
        import torch

        half = max(1, len(self._long) - 2)
        tails = [self._short[:2], self._long[half:][:1]]
        state = CachedDecode(self._lm)
        state.start([self._short, self._long[:half]])
        width = max(map(len, tails))
        padded = [list(tail) + [0] * (width - len(tail)) for tail in tails]
        valid = [[1] * len(tail) + [0] * (width - len(tail)) for tail in tails]
        device = self._lm.device
        logits = state.extend(torch.tensor(padded, device=device), torch.tensor(valid, device=device))
        for row, (head, tail) in enumerate(zip((self._short, self._long[:half]), tails, strict=True)):
            plain = self._plain((*head, *tail))[len(head) :]
            gap = self._gap(logits[row, : len(tail)], plain)
            if gap is not None:
                return gap
        return None

    def kv_bytes_per_token(self) -> float:
        """Bytes the cache of the last decoded probe holds per position of a row."""
        import torch

        def size(value: Any) -> int:
            if isinstance(value, torch.Tensor):
                return value.numel() * value.element_size()
            if isinstance(value, dict):
                return sum(size(item) for item in value.values())  # pyright: ignore[reportUnknownVariableType] a state-space layer's dict of tensors
            return 0

        total = sum(size(value) for layer in self._cache.layers for value in vars(layer).values())
        return total / self._cached_positions
