from itertools import combinations, product
from math import ceil

import numpy as np
import pytest

from posttrain_diag.errors import StatsError
from posttrain_diag.stats import (
    Counts,
    bayes_at_n,
    fit_mixing_law,
    g_pass,
    g_pass_at_k,
    mg_pass,
    mg_pass_at_k,
    pass_at_k,
    pass_hat_k,
)


def subsets(n, c, k):
    """Passes in every subset of k of n rollouts, c of which passed."""
    return [sum(i < c for i in chosen) for chosen in combinations(range(n), k)]


@pytest.mark.parametrize(("n", "k"), [(6, 4), (7, 5), (5, 5), (8, 1)])
@pytest.mark.parametrize("tau", [0.1, 0.5, 0.6, 0.75, 1.0])
def test_g_pass_is_the_share_of_subsets(n, k, tau):
    passes = list(range(n + 1))
    got = g_pass_at_k(Counts([n] * len(passes), passes), k, tau).value
    expected = [np.mean([s >= max(1, ceil(tau * k - 1e-9)) for s in subsets(n, c, k)]) for c in passes]
    assert got == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize(("n", "k"), [(6, 4), (7, 5), (9, 8)])
def test_mg_pass_is_the_mean_over_tau(n, k):
    for c in range(n + 1):
        steady = [np.mean([s >= i for s in subsets(n, c, k)]) for i in range(ceil(k / 2) + 1, k + 1)]
        assert mg_pass_at_k(Counts([n], [c]), k).value == pytest.approx(2 / k * sum(steady), abs=1e-12)


def test_the_ends_are_pass_at_k_and_pass_hat_k():
    counts = Counts([12] * 13, list(range(13)))
    assert g_pass_at_k(counts, 8, 1.0).value == pytest.approx(pass_hat_k(counts, 8).value)
    assert g_pass_at_k(counts, 8, 0.01).value == pytest.approx(pass_at_k(counts, 8).value)


def test_seven_of_ten_are_seven():
    assert g_pass_at_k(Counts([10], [7]), 10, 0.7).value == pytest.approx(1.0)


def test_functionals_are_the_binomial_enumeration():
    k, p = 5, 0.37
    outcomes = [(sum(bits), np.prod([p if bit else 1 - p for bit in bits])) for bits in product((0, 1), repeat=k)]
    assert g_pass(k, 0.6).of(np.array([p]))[0] == pytest.approx(sum(w for s, w in outcomes if s >= 3))
    expected = 2 / k * sum(w * sum(s >= i for i in (4, 5)) for s, w in outcomes)
    assert mg_pass(k).of(np.array([p]))[0] == pytest.approx(expected)


def test_bayes_is_the_mean_and_spread_of_its_posterior():
    n, c = [4, 16, 64], [0, 9, 64]
    e = bayes_at_n(Counts(n, c))
    draws = np.random.default_rng(0).beta(np.array(c) + 1, np.array(n) - np.array(c) + 1, (200_000, 3)).mean(axis=1)
    assert e.value == pytest.approx(draws.mean(), abs=5e-4)
    assert float(e.reason.split()[1].rstrip(";")) == pytest.approx(draws.std(), rel=0.02)
    assert e.high - e.low == pytest.approx(2 * 1.645 * draws.std(), rel=0.02)


def test_too_few_rollouts_and_wrong_tau():
    assert g_pass_at_k(Counts([4], [2]), 8, 0.5).label == "undefined"
    assert mg_pass_at_k(Counts([4], [2]), 8).label == "undefined"
    with pytest.raises(StatsError, match="tau"):
        g_pass_at_k(Counts([4], [2]), 4, 0.0)


def test_the_law_agrees_with_the_counts():
    rng = np.random.default_rng(0)
    counts = Counts(np.full(400, 64), rng.binomial(64, rng.beta(0.5, 1.0, 400)))
    law = fit_mixing_law(counts)
    assert law.mean(g_pass(16, 0.75)) == pytest.approx(g_pass_at_k(counts, 16, 0.75).value, abs=0.01)
