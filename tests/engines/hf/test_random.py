from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from posttrain_diag.engines.hf.random import choose, inverse_cdf, seed_array, uniforms
from posttrain_diag.types import SamplingParams


def test_uniforms_depend_on_seed_and_step_alone() -> None:
    seeds = seed_array([3, 2**64 - 1, -1, 2**70 + 5, 5])
    whole = uniforms(seeds, np.full(len(seeds), 7))
    assert [uniforms(seeds[i : i + 1], np.full(1, 7))[0] for i in range(5)] == list(whole)
    assert whole[1] == whole[2] and whole[3] == whole[4]
    assert uniforms(seeds, np.full(len(seeds), 8))[0] != whole[0]
    assert (whole > 0).all() and (whole < 1).all()


def test_uniforms_are_uniform_and_independent_over_steps_and_neighbouring_seeds() -> None:
    seeds = seed_array(range(4000))
    first, second = (uniforms(seeds, np.full(len(seeds), step)) for step in (0, 1))
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    cells = np.histogram2d(first, second, bins=10, range=[[0, 1], [0, 1]])[0].ravel()
    assert stats.chisquare(cells).pvalue > 1e-3
    cells = np.histogram2d(first[:-1], first[1:], bins=10, range=[[0, 1], [0, 1]])[0].ravel()
    assert stats.chisquare(cells).pvalue > 1e-3


@pytest.mark.parametrize("vocab", [1, 5, 300, 1500, 4096])
def test_inverse_cdf_matches_a_plain_cumulative_sum(vocab: int) -> None:
    rng = np.random.default_rng(vocab)
    weights = rng.exponential(size=(64, vocab)) ** 4 * (rng.random((64, vocab)) < 0.5)
    weights[:, rng.integers(vocab)] = 1.0
    u = rng.random(64)
    got = inverse_cdf(torch.from_numpy(weights).float(), torch.from_numpy(u))[0].numpy()
    cdf = weights.astype(np.float32).astype(np.float64).cumsum(1)
    expected = (cdf <= (u * cdf[:, -1])[:, None]).sum(1)
    assert (got == expected).all()


@pytest.mark.parametrize("u", [2.0**-53, 1 - 2.0**-53])
@pytest.mark.parametrize("vocab", [3, 2000])
def test_inverse_cdf_at_the_ends_never_picks_an_impossible_token(u: float, vocab: int) -> None:
    weights = torch.zeros(1, vocab)
    weights[0, 1] = 0.1
    token = inverse_cdf(weights, torch.tensor([u], dtype=torch.float64))[0]
    assert int(token) == 1


def law_of(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    """The law as written down in the Hugging Face warpers: temperature, top-k, top-p, min-p."""
    weights = np.exp((logits - logits.max()) / params.temperature)
    if params.top_k:
        weights[logits < np.sort(logits)[-params.top_k]] = 0
    law = weights / weights.sum()
    order = np.argsort(-law, kind="stable")
    before = law[order].cumsum() - law[order]
    law[order[before >= params.top_p]] = 0
    law[law < params.min_p * law.max()] = 0
    return law / law.sum()


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.5),
        SamplingParams(top_k=5),
        SamplingParams(top_p=0.7),
        SamplingParams(temperature=1.7, top_k=9, top_p=0.8),
        SamplingParams(min_p=0.1),
        SamplingParams(temperature=2.0, top_k=15, top_p=0.95, min_p=0.05),
    ],
    ids=str,
)
def test_choice_follows_the_declared_law(params: SamplingParams) -> None:
    logits = np.random.default_rng(0).normal(size=20) * 2
    law = law_of(logits, params)
    n = 20_000
    rows = torch.from_numpy(logits).float().expand(n, -1)
    chosen = choose(rows, uniforms(seed_array(range(n)), np.zeros(n, np.int64)), params)
    tokens = chosen.tokens_B
    counts = np.bincount(tokens, minlength=20)
    assert (counts[law == 0] == 0).all()
    assert stats.chisquare(counts[law > 0], n * law[law > 0]).pvalue > 1e-3
    raw = logits - np.log(np.exp(logits).sum())
    assert np.allclose(chosen.logprobs_B, raw[tokens], atol=1e-5)
    assert np.allclose(chosen.policy_B, np.log(law[tokens]), atol=1e-5)
    assert chosen.usable_B.all()


def test_greedy_takes_the_most_likely_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 2.0, 1.0]])
    chosen = choose(logits, np.array([0.99, 0.99]), SamplingParams(temperature=0.0))
    assert chosen.tokens_B.tolist() == [1, 0]
    assert chosen.policy_B.tolist() == [0.0, 0.0]


def test_rows_that_are_not_numbers_are_reported_and_masked_tokens_are_not() -> None:
    inf, nan = float("inf"), float("nan")
    logits = torch.tensor([[0.0, 1.0], [nan, 1.0], [inf, 1.0], [-inf, 1.0], [-inf, -inf]])
    chosen = choose(logits, np.full(5, 0.5), SamplingParams())
    assert chosen.usable_B.tolist() == [True, False, False, True, False]
    assert int(chosen.tokens_B[3]) == 1
