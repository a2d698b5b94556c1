from collections import Counter
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain_diag.errors import NotEnoughRollouts, StatsError
from posttrain_diag.stats import (
    Counts,
    clopper_pearson,
    maj_at_k,
    mean_interval,
    pass_at_k,
    pass_at_k_per_problem,
    pass_hat_k,
    pass_hat_k_per_problem,
    wilson,
)


@given(st.integers(1, 60), st.data())
def test_pass_at_k_is_the_closed_form(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    counts = Counts([n], [c])
    assert pass_at_k_per_problem(counts, k)[0] == pytest.approx(1 - comb(n - c, k) / comb(n, k), abs=1e-12)
    assert pass_hat_k_per_problem(counts, k)[0] == pytest.approx(comb(c, k) / comb(n, k), abs=1e-12)


def test_unbiased_exactly():
    """The expectation over Bin(n, p) is 1 - (1-p)^k, by exact enumeration."""
    n, p, k = 9, 0.17, 5
    c = np.arange(n + 1)
    pmf = np.array([comb(n, i) * p**i * (1 - p) ** (n - i) for i in c])
    assert pmf @ pass_at_k_per_problem(Counts(np.full(n + 1, n), c), k) == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_large_n_is_finite():
    values = pass_at_k_per_problem(Counts([10_000] * 3, [0, 1, 9_999]), 1000)
    assert values == pytest.approx([0.0, 0.1, 1.0])


def test_beyond_n_is_undefined_not_one():
    counts = Counts([16, 4, 16], [3, 4, 0], ids=["a", "b", "c"])
    for estimate in (pass_at_k(counts, 8), pass_hat_k(counts, 8)):
        assert estimate.label == "undefined"
        assert estimate.value is None
        assert "b" in estimate.reason
    with pytest.raises(NotEnoughRollouts, match="k = 8 needs at least 8"):
        pass_at_k_per_problem(counts, 8)
    with pytest.raises(StatsError, match="k is 0"):
        pass_at_k(counts, 0)


@pytest.mark.parametrize(("c", "value"), [([0] * 20, 0.0), ([8] * 20, 1.0)])
def test_extremes_keep_a_width(c, value):
    estimate = pass_at_k(Counts([8] * 20, c), 4)
    assert estimate.value == value
    assert estimate.high - estimate.low == pytest.approx(1.6449**2 / (20 + 1.6449**2), abs=1e-3)
    one = pass_at_k(Counts([8], c[:1]), 4)
    assert one.high - one.low > 0.5


def test_interval_over_problems_covers():
    """The interval is for the population mean: 1 - E(1-p)^4 under Beta(.4, 1) in closed form."""
    truth = 1 - np.prod([(1.0 + i) / (1.4 + i) for i in range(4)])
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        p = rng.beta(0.4, 1.0, 40)
        estimate = pass_at_k(Counts(np.full(40, 16), rng.binomial(16, p)), 4)
        hits += estimate.low <= truth <= estimate.high
    assert 0.86 <= hits / 400 <= 0.96


def majority_by_enumeration(answers, correct, k):
    pool = [name for name, m in answers.items() for _ in range(m)]
    total, subsets = 0.0, list(combinations(range(len(pool)), k))
    for subset in subsets:
        votes = Counter(pool[i] for i in subset)
        best = [name for name, m in votes.items() if m == max(votes.values())]
        total += sum(name in correct for name in best) / len(best)
    return total / len(subsets)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3), min_size=1, max_size=5), st.data())
def test_majority_is_exact(answers, data):
    k = data.draw(st.integers(1, sum(answers.values())))
    correct = data.draw(st.sets(st.sampled_from("abcde"), max_size=2))
    got = maj_at_k([answers], [correct], k).value
    assert got == pytest.approx(majority_by_enumeration(answers, correct, k), abs=1e-10)


def test_majority_scales_and_refuses():
    answers = [{"right": 400, **{f"wrong{i}": 10 for i in range(60)}}]
    assert maj_at_k(answers, [["right"]], 64).value == pytest.approx(1.0, abs=1e-6)
    assert maj_at_k(answers, [["right"]], 1).value == pytest.approx(0.4)
    assert maj_at_k([{"a": 2}], [["a"]], 3).label == "undefined"
    with pytest.raises(StatsError, match="answers has 0"):
        maj_at_k([], [], 1)


def test_interval_closed_forms():
    low, high = clopper_pearson([0, 5, 10], [10, 10, 10], 0.9)
    assert low[0] == 0.0
    assert high[0] == pytest.approx(1 - 0.05**0.1)
    assert low[2] == pytest.approx(0.05**0.1)
    assert low[1] == pytest.approx(1 - high[1])
    assert wilson(0.5, 100, 0.95) == pytest.approx((0.40383, 0.59617), abs=1e-4)
    assert mean_interval(np.array([0.3]))[1] - mean_interval(np.array([0.3]))[0] > 0.5
    with pytest.raises(StatsError, match="level is 90"):
        wilson(0.5, 10, 90)
