"""Which token is drawn: stateless uniforms and inverse-CDF sampling, so that a draw depends on its seed alone.

    uniform(seed, step) ──► inverse CDF of softmax(logits / T) cut by top-k, then top-p, then min-p ──► token

Shapes: `B` rows of a batch, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.types import SamplingParams

if TYPE_CHECKING:
    import torch

_MASK = (1 << 64) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CACHED_VALUES = 1 << 18
"""Float32 values (1 MiB) that a core's own cache holds: passes over larger arrays wait for memory."""
_BLOCK = 256
"""Tokens per block of the two-level inverse CDF."""


@dataclass(frozen=True)
class Chosen:
    """One drawn token per row; each array has shape (B,)."""

    tokens_B: NDArray[np.int64]
    logprobs_B: NDArray[np.float32]
    """Raw-model log-probabilities (temperature 1, no cut), nats."""
    policy_B: NDArray[np.float32]
    """Log-probabilities under the declared sampling law, nats."""
    usable_B: NDArray[np.bool_]
    """Whether the row's logits were numbers at all."""
    proposal_B: NDArray[np.float64] | None = None
    """Log-probabilities under the tilted proposal q, nats; None where the step was not tilted."""


def seed_array(seeds: Sequence[int]) -> NDArray[np.uint64]:
    """Seeds as unsigned 64-bit words, shape (B,); larger or negative integers are taken modulo 2**64."""
    return np.array([seed & _MASK for seed in seeds], dtype=np.uint64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seeds_B: NDArray[np.uint64], step_B: NDArray[np.int64]) -> NDArray[np.float64]:
    """One number in (0, 1) per row for the next token of its draw; the same whatever the batch.

    Args:
        seeds_B: one seed per draw, shape (B,).
        step_B: index of the token within each draw, from 0, shape (B,).

    Returns:
        Uniforms strictly inside (0, 1), shape (B,).
    """
    counter_B = _mix((step_B.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    words_B = _mix(_mix(seeds_B + _GOLDEN) ^ counter_B)
    # 52 bits: the largest value, 1 - 2**-53, is still below 1 in double precision.
    return ((words_B >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def choose(logits_BV: torch.Tensor, uniforms_B: NDArray[np.float64], params: SamplingParams) -> Chosen:
    """The next token of every row.

    Args:
        logits_BV: raw logits, shape (B, V); -inf marks a token that cannot be drawn.
        uniforms_B: one uniform per row, shape (B,); unused at temperature 0 (the most likely token is taken).
        params: temperature, top_k, top_p and min_p, applied in this order.

    Returns:
        The tokens with their log-probabilities.
    """
    import torch

    u_B = torch.from_numpy(uniforms_B).to(logits_BV.device)
    size = chunk_rows(logits_BV)
    scratch = torch.empty(min(size, len(logits_BV)), logits_BV.shape[1], device=logits_BV.device)
    parts: list[torch.Tensor] = []
    for a in range(0, len(logits_BV), size):
        chunk = logits_BV[a : a + size]
        parts.append(_choose(chunk, scratch[: len(chunk)].copy_(chunk), u_B[a : a + size], params))
    found = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).cpu().numpy()  # one transfer
    return Chosen(
        found[0].astype(np.int64), found[1].astype(np.float32), found[2].astype(np.float32), found[3].astype(bool)
    )


def chunk_rows(logits_BV: torch.Tensor) -> int:
    """How many rows of logits of shape (B, V) to work on at once: on a CPU what stays in its cache, on a GPU all."""
    if logits_BV.device.type != "cpu":
        return max(1, len(logits_BV))
    return max(1, _CACHED_VALUES // logits_BV.shape[1])


def _choose(
    logits_BV: torch.Tensor, weights_BV: torch.Tensor, u_B: torch.Tensor, params: SamplingParams
) -> torch.Tensor:
    """(token, raw log-probability, log-probability under the law, usable) of each row, shape (4, B), float64.

    `weights_BV` holds the logits in float32 and is overwritten.
    """
    import torch

    top_B1 = weights_BV.amax(-1, keepdim=True)
    weights_BV.sub_(top_B1)
    raw_mass_B: torch.Tensor | None = None
    if params.temperature != 1.0:
        raw_mass_B = weights_BV.exp().sum(-1, dtype=torch.float64)
    if params.temperature == 0.0:
        assert raw_mass_B is not None
        tokens_B = logits_BV.argmax(-1)
        policy_B = torch.zeros_like(raw_mass_B)
        logprobs_B = weights_BV.gather(1, tokens_B[:, None])[:, 0] - raw_mass_B.log()
        return torch.stack((tokens_B.double(), logprobs_B, policy_B, raw_mass_B.isfinite().double()))
    if params.temperature != 1.0:
        weights_BV.div_(params.temperature)
    weights_BV.exp_()
    if is_cut(params):
        if raw_mass_B is None:
            raw_mass_B = weights_BV.sum(-1, dtype=torch.float64)
        weights_BV = _cut(weights_BV, logits_BV, params)
    tokens_B, mass_B = inverse_cdf(weights_BV, u_B)
    from_top_B = logits_BV.gather(1, tokens_B[:, None])[:, 0].double() - top_B1[:, 0]
    policy_B = from_top_B / params.temperature - mass_B.log()
    logprobs_B = policy_B if raw_mass_B is None else from_top_B - raw_mass_B.log()
    usable_B = (mass_B if raw_mass_B is None else raw_mass_B).isfinite()
    return torch.stack((tokens_B.double(), logprobs_B, policy_B, usable_B.double()))


def is_cut(params: SamplingParams) -> bool:
    """Whether the sampling law leaves tokens out."""
    return params.top_k > 0 or params.top_p < 1.0 or params.min_p > 0.0


def choose_tilted(
    logits_BV: torch.Tensor,
    uniforms_B: NDArray[np.float64],
    params: SamplingParams,
    targets_B: NDArray[np.int64],
    leans_B: NDArray[np.float64],
) -> Chosen:
    """The next token of every row from (1-lean)·pi + lean·1{target}; rows without a target draw as in `choose`.

    A token whose weight under a cut of the declared law is 0 has log pi = -inf.

    Args:
        logits_BV: raw logits, shape (B, V); -inf marks a token that cannot be drawn.
        uniforms_B: one uniform per row, shape (B,).
        params: the declared sampling law pi; its temperature is above 0.
        targets_B: token each row leans towards, -1 for none, shape (B,).
        leans_B: how much, in (0, 1), shape (B,).

    Returns:
        The tokens with their log-probabilities, those under the proposal included.
    """
    import torch

    logits_BV = logits_BV.float()
    top_B1 = logits_BV.amax(-1, keepdim=True)
    raw_mass_B = (logits_BV - top_B1).exp_().sum(-1)
    weights_BV = _cut(((logits_BV - top_B1) / params.temperature).exp_(), logits_BV, params)
    mass_B = weights_BV.sum(-1)
    leaning = np.flatnonzero(targets_B >= 0)
    rows, columns = (torch.from_numpy(index).to(logits_BV.device) for index in (leaning, targets_B[leaning]))
    odds = torch.from_numpy(leans_B[leaning] / (1.0 - leans_B[leaning])).to(logits_BV.device)
    tilted_BV = weights_BV.clone()
    tilted_BV[rows, columns] += (odds * mass_B[rows]).float()
    tokens_B, _ = inverse_cdf(tilted_BV, torch.from_numpy(uniforms_B).to(logits_BV.device))
    from_top_B = logits_BV.gather(1, tokens_B[:, None])[:, 0] - top_B1[:, 0]
    pi_B = (from_top_B / params.temperature - mass_B.log()).double()
    if is_cut(params):  # without a cut a weight of 0 is only an underflow of exp
        pi_B = pi_B.masked_fill(weights_BV.gather(1, tokens_B[:, None])[:, 0] == 0, -torch.inf)
    policy_B: NDArray[np.float64] = np.minimum(pi_B.cpu().numpy(), 0.0)
    proposal_B = policy_B.copy()
    tokens: NDArray[np.int64] = tokens_B.cpu().numpy()
    with np.errstate(divide="ignore"):
        leant_B = np.where(tokens == targets_B, np.log(leans_B), -np.inf)
    proposal_B[leaning] = np.logaddexp(np.log1p(-leans_B[leaning]) + policy_B[leaning], leant_B[leaning])
    return Chosen(
        tokens,
        (from_top_B - raw_mass_B.log()).cpu().numpy(),
        policy_B.astype(np.float32),
        torch.isfinite(raw_mass_B).cpu().numpy(),
        proposal_B,
    )


def _cut(weights_BV: torch.Tensor, logits_BV: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Weights with the tokens outside top-k, the top-p nucleus and min-p set to 0 (ties at rank k are kept)."""
    import torch

    if 0 < params.top_k < logits_BV.shape[1]:
        least_B1 = logits_BV.topk(params.top_k, dim=-1).values[:, -1:]
        weights_BV = weights_BV.masked_fill(logits_BV < least_B1, 0.0)
    if params.top_p < 1.0:
        sorted_BV, order_BV = torch.sort(weights_BV, dim=-1, descending=True, stable=True)
        share_BV = sorted_BV.double() / sorted_BV.sum(-1, keepdim=True).double()
        before_BV = share_BV.cumsum(-1) - share_BV
        sorted_BV = sorted_BV.masked_fill(before_BV >= params.top_p, 0.0)
        weights_BV = weights_BV.scatter(1, order_BV, sorted_BV)
    if params.min_p > 0.0:
        weights_BV = weights_BV.masked_fill(weights_BV < params.min_p * weights_BV.amax(-1, keepdim=True), 0.0)
    return weights_BV


def inverse_cdf(weights_BV: torch.Tensor, u_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first index whose cumulative weight exceeds u * total; never an index of weight 0.

    Args:
        weights_BV: non-negative weights, not normalised, shape (B, V).
        u_B: float64 uniforms in (0, 1), shape (B,).

    Returns:
        Indices, shape (B,) int64, and total weights, shape (B,) float64.
    """
    import torch

    n_rows, vocab = weights_BV.shape
    block = _BLOCK if vocab > 4 * _BLOCK else vocab
    if vocab % block:
        weights_BV = torch.nn.functional.pad(weights_BV, (0, block - vocab % block))
    blocks = weights_BV.view(n_rows, -1, block)
    rows = torch.arange(n_rows, device=weights_BV.device)
    sums = blocks.sum(-1).double()  # summed in float32: a float64 sum would first copy all weights
    ends = sums.cumsum(-1)
    # Targets stay strictly below the end of what they index, or rounding could reach past the last weight.
    target_B = _below(u_B * ends[:, -1], ends[:, -1])
    block_B = (ends <= target_B[:, None]).sum(-1).clamp_(max=blocks.shape[1] - 1)
    inner = blocks[rows, block_B].double().cumsum(-1)
    target_B = _below(target_B - (ends[rows, block_B] - sums[rows, block_B]), inner[:, -1])
    return block_B * block + (inner <= target_B[:, None]).sum(-1).clamp_(max=block - 1), ends[:, -1]


def _below(target_B: torch.Tensor, end_B: torch.Tensor) -> torch.Tensor:
    """`target_B` clipped into [0, end_B)."""
    import torch

    return torch.minimum(target_B.clamp(min=0.0), torch.nextafter(end_B, torch.zeros_like(end_B)))
