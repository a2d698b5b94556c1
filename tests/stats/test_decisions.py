"""Certificates, bounds, importance sampling, chance floor, paired tests, allocation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from posttrain_diag.errors import StatsError
from posttrain_diag.stats import (
    Counts,
    assumption_free_bounds,
    below,
    betting_lower_bound,
    certified_below,
    certified_share,
    chance_floor,
    compare_pass_at_k,
    deep_support,
    e_bh,
    fit_mixing_law,
    importance_terms,
    log_e_below,
    next_blocks,
    paired_difference,
    pass_at,
    weight_health,
)

# -- certificates ---------------------------------------------------------------------------------------


@given(st.floats(0.001, 0.3), st.integers(1, 60), st.floats(1.0, 3.0))
def test_e_value_has_mean_at_most_one_under_the_null(eps, n, factor):
    c = np.arange(n + 1)
    e = np.exp(log_e_below(Counts(np.full(n + 1, n), c), eps))
    assert binom.pmf(c, n, min(1.0, factor * eps)) @ e <= 1 + 1e-9


def test_e_process_holds_when_stopping_at_its_best():
    rng = np.random.default_rng(0)
    eps, steps, runs = 0.05, 400, 400
    c = np.cumsum(rng.random((runs, steps)) < eps, axis=1)
    n = np.tile(np.arange(1, steps + 1), (runs, 1))
    log_e = log_e_below(Counts(n.reshape(-1), c.reshape(-1)), eps).reshape(runs, steps)
    assert (log_e.max(axis=1) >= np.log(10)).mean() <= 0.1


def test_zeros_are_certified_after_about_three_over_eps():
    eps = 1 / 256
    enough = int(np.ceil(3.6 / eps))
    assert certified_below(Counts([enough] * 50, [0] * 50), eps).all()
    assert not certified_below(Counts([int(2 / eps)] * 50, [0] * 50), eps).any()
    share = certified_share(Counts([enough] * 50, [0] * 40 + [9] * 10), eps)
    assert share.value == 0.0 or share.low <= share.value <= share.high


def test_e_bh_controls_false_discoveries():
    rng = np.random.default_rng(1)
    eps, n = 0.02, 250
    rates = []
    for _ in range(200):
        p = np.where(rng.random(100) < 0.5, 0.0005, eps)
        found = certified_below(Counts(np.full(100, n), rng.binomial(n, p)), eps, 0.1)
        rates.append((found & (p >= eps)).sum() / max(1, found.sum()))
    assert np.mean(rates) <= 0.1
    assert e_bh(np.log([100.0, 1.0])).tolist() == [True, False]
    assert e_bh(np.log([1.0, 40.0, 12.0, 1.0]), 0.1).tolist() == [False, True, False, False]  # 2 x 12 < 4 / 0.1
    assert e_bh(np.log([1.0, 20.0, 20.0, 1.0]), 0.1).tolist() == [False, True, True, False]
    with pytest.raises(StatsError, match="NaN"):
        e_bh(np.array([np.nan]))
    with pytest.raises(StatsError, match="eps is 0"):
        log_e_below(Counts([4], [0]), 0.0)


# -- bounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed_n", [False, True])
def test_bounds_hold_whatever_the_law(mixed_n):
    rng = np.random.default_rng(3)
    hits = []
    for trial in range(24):
        size = 60
        p = [rng.beta(0.3, 1, size), rng.choice([0.0, 1 / 40, 0.9], size), np.full(size, 0.03)][trial % 3]
        n = np.where(np.arange(size) % 2, 16, 48) if mixed_n else np.full(size, 32)
        counts = Counts(n, rng.binomial(n, p))
        for h in (pass_at(64), below(0.02)):
            e = assumption_free_bounds(counts, h)
            assert e.value is None
            hits.append(e.low - 1e-9 <= h.of(p).mean() <= e.high + 1e-9)
    assert np.mean(hits) >= 0.9


def test_bounds_are_useful_and_honest():
    solved = assumption_free_bounds(Counts([32] * 100, [32] * 100), pass_at(32))
    assert solved.low > 0.9
    zeros = assumption_free_bounds(Counts([64] * 200, [0] * 200), pass_at(64))
    assert zeros.high < 0.1
    beyond = assumption_free_bounds(Counts([64] * 200, [0] * 200), pass_at(100_000))
    assert beyond.high > 0.9  # nothing excludes p = 1/10,000 everywhere
    assert beyond.low == pytest.approx(0.0, abs=1e-6)
    many = assumption_free_bounds(Counts(np.arange(1, 40), np.zeros(39)), pass_at(64))
    assert many.label == "undefined"


# -- deep support ---------------------------------------------------------------------------------------


def hinted_toy(rng, size, delta, drift):
    """A policy that solves with p = 3.4e-8, a proposal that nearly always does; returns log pi, log q, success."""
    p, q = 3.4e-8, 0.6
    from_policy = rng.random(size) < delta
    won = rng.random(size) < np.where(from_policy, p, q)
    styles = 40
    pi_style = rng.dirichlet(np.full(styles, 5.0))
    tilt = np.exp(drift * rng.standard_normal(styles))
    q_style = pi_style * tilt / (pi_style * tilt).sum()
    style = np.where(from_policy, rng.choice(styles, size, p=pi_style), rng.choice(styles, size, p=q_style))
    log_pi = np.log(np.where(won, p, 1 - p)) + np.log(pi_style[style])
    log_q = np.log(np.where(won, q, 1 - q)) + np.log(q_style[style])
    return log_pi, log_q, won, p


def test_lower_bound_is_valid_and_close():
    rng = np.random.default_rng(0)
    lows, values, defined = [], [], 0
    for _ in range(100):
        log_pi, log_q, won, p = hinted_toy(rng, 512, 0.1, 0.5)
        e = deep_support(log_pi, log_q, won, delta=0.1, plain_counts=(64, 0))
        if e.label != "undefined":
            defined += 1
            lows.append(e.low / p)
            values.append(e.value / p)
    assert defined >= 90
    assert (np.array(lows) <= 1).mean() >= 0.95
    assert np.median(lows) > 0.5
    assert np.std(values) < 0.3


def test_drifted_proposals_get_no_estimate_but_stay_valid():
    rng = np.random.default_rng(1)
    undefined, valid = 0, []
    for _ in range(40):
        log_pi, log_q, won, p = hinted_toy(rng, 512, 0.1, 4.0)
        undefined += deep_support(log_pi, log_q, won, delta=0.1).label == "undefined"
        valid.append(betting_lower_bound(importance_terms(log_pi, log_q, won, delta=0.1)) <= p)
    assert undefined >= 15
    assert np.mean(valid) >= 0.95


def test_betting_bound_for_plain_coins():
    """With terms 0/1 the bound is one for a binomial: below the rate, above zero, valid under peeking."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(120):
        hits = rng.random(300) < 0.2
        with np.errstate(divide="ignore"):
            log_term = np.log(hits.astype(float))
        wrong += betting_lower_bound(log_term) > 0.2
    assert wrong / 120 <= 0.05
    with np.errstate(divide="ignore"):
        bound = betting_lower_bound(np.log((np.arange(1000) % 5 == 0).astype(float)))
    assert 0.15 < bound < binomtest(200, 1000).proportion_ci(0.9).low + 0.01


def test_health_checks_and_bad_input():
    flat = np.full(100, -10.0)
    assert weight_health(flat).problems == ()
    assert "contradicts" in weight_health(flat, (64, 20)).problems[0]
    spike = np.concatenate([flat, [0.0]])
    assert len(weight_health(spike).problems) == 2
    nothing = deep_support([-1.0], [-1.0], [False], delta=0.1)
    assert nothing.label == "undefined"
    assert "no rollout" in nothing.reason
    assert betting_lower_bound(np.full(5, -np.inf)) == 0.0
    with pytest.raises(StatsError, match="shapes"):
        importance_terms([-1.0], [-1.0, -2.0], [True], delta=0.1)
    with pytest.raises(StatsError, match="NaN"):
        importance_terms([np.nan], [-1.0], [True], delta=0.1)
    with pytest.raises(StatsError, match="delta is 1"):
        importance_terms([-1.0], [-1.0], [True], delta=1.0)
    terms = importance_terms([-5.0, -1.0], [-1.0, -50.0], [True, True], delta=0.1)
    assert np.exp(terms) == pytest.approx([np.exp(-5) / (0.1 * np.exp(-5) + 0.9 * np.exp(-1)), 10.0], rel=1e-6)


# -- chance floor ---------------------------------------------------------------------------------------


def guesses(rng, problems, n, choices, skill):
    answer = rng.integers(0, choices, problems)
    knows = rng.random((problems, n)) < skill
    given_ = np.where(knows, answer[:, None], rng.integers(0, choices, (problems, n)))
    return (given_[:, None, :] == answer[None, :, None]).sum(axis=2)


def test_guessing_has_no_corrected_coverage():
    rng = np.random.default_rng(0)
    passes = guesses(rng, 60, 16, 10, 0.0)
    floor = chance_floor(np.full(60, 16), passes, 16, seed=0)
    assert floor.observed.value > 0.7
    assert floor.corrected.low <= 0.0 <= floor.corrected.high
    assert floor.p_value > 0.05


def test_knowledge_is_seen_through_the_guesses():
    rng = np.random.default_rng(1)
    passes = guesses(rng, 60, 16, 10, 0.5)
    floor = chance_floor(np.full(60, 16), passes, 1, seed=0)
    assert floor.p_value == pytest.approx(1 / 201)
    assert floor.corrected.low <= 0.5 <= floor.corrected.high
    asked = []
    lazy = chance_floor(np.full(60, 16), lambda i, j: asked.append((i, j)) or passes[i, j], 1, seed=0)
    assert lazy == floor
    assert len(set(asked)) == len(asked)


def test_chance_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(2)
    p_values = [
        chance_floor(np.full(20, 4), guesses(rng, 20, 4, 3, 0.0), 1, seed=s, permutations=60).p_value
        for s in range(150)
    ]
    assert (np.array(p_values) <= 0.1).mean() <= 0.16
    with pytest.raises(StatsError, match="at least 2"):
        chance_floor([4], [[4]], 1, seed=0)
    with pytest.raises(StatsError, match="shape"):
        chance_floor([4, 4], [[4]], 1, seed=0)


def test_verifier_that_accepts_anything():
    floor = chance_floor([4] * 5, np.full((5, 5), 4), 1, seed=0)
    assert floor.corrected.label == "undefined"


# -- paired ---------------------------------------------------------------------------------------------


def test_paired_interval_covers_and_null_p_values_are_uniform():
    rng = np.random.default_rng(0)
    hits, p_values = [], []
    for seed in range(150):
        p = rng.beta(0.5, 1, 60)
        a, b = (Counts(np.full(60, 8), rng.binomial(8, p)) for _ in range(2))
        result = compare_pass_at_k(a, b, 1, seed=seed)
        hits.append(result.difference.low <= 0 <= result.difference.high)
        p_values.append(result.p_value)
    assert 0.84 <= np.mean(hits) <= 0.96
    assert (np.array(p_values) <= 0.1).mean() == pytest.approx(0.1, abs=0.06)


def test_clusters_widen_the_interval():
    rng = np.random.default_rng(1)
    effect = np.repeat(rng.standard_normal(15) * 0.2, 10)
    a = np.zeros(150)
    plain = paired_difference(a, effect, seed=0)
    clustered = paired_difference(a, effect, seed=0, clusters=np.repeat(np.arange(15), 10).tolist())
    assert clustered.n_clusters == 15
    widths = [r.difference.high - r.difference.low for r in (plain, clustered)]
    assert widths[1] > 2 * widths[0]


def test_sign_flip_is_exact_for_few_problems():
    assert paired_difference([0, 0, 0], [1, 1, 1], seed=0).p_value == pytest.approx(2 / 8)
    assert paired_difference([0, 0], [0, 0], seed=0).p_value == 1.0
    one = paired_difference([0.0], [1.0], seed=0)
    assert one.difference.label == "undefined"
    with pytest.raises(StatsError, match="NaN"):
        paired_difference([0, np.nan], [0, 1], seed=0)
    with pytest.raises(StatsError, match="2 and 1 problems"):
        compare_pass_at_k(Counts([4, 4], [1, 1]), Counts([4], [1]), seed=0)


# -- allocation -----------------------------------------------------------------------------------------

SURE, UNSURE, TORN = [0.99, 0.01, 0.0], [0.7, 0.3, 0.0], [0.4, 0.6, 0.0]


def test_blocks_double_the_urgent_first():
    counts = Counts([4, 4, 8, 0], [0, 1, 0, 0])
    posterior = np.array([SURE, UNSURE, TORN, TORN])
    assert next_blocks(counts, posterior, 100).tolist() == [0, 4, 8, 4]
    assert next_blocks(counts, posterior, 6).tolist() == [0, 2, 0, 4]
    assert next_blocks(counts, posterior, 0).tolist() == [0, 0, 0, 0]
    assert next_blocks(counts, posterior, 100, max_rollouts=10).tolist() == [0, 4, 2, 4]
    assert next_blocks(counts, posterior, 10, zero_reserve=6).tolist() == [0, 0, 0, 4]


def test_reserve_goes_to_zero_success_problems():
    counts = Counts([4, 4, 8], [0, 1, 0])
    sure = np.array([SURE] * 3)
    assert next_blocks(counts, sure, 100).tolist() == [0, 0, 0]
    assert next_blocks(counts, sure, 100, zero_reserve=6).tolist() == [4, 0, 2]
    with pytest.raises(StatsError, match="zero_reserve"):
        next_blocks(counts, sure, 4, zero_reserve=5)
    with pytest.raises(StatsError, match="sum to 1"):
        next_blocks(counts, sure * 2, 4)


@given(st.lists(st.tuples(st.integers(0, 64), st.floats(0.34, 1.0)), min_size=1, max_size=30), st.integers(0, 500))
def test_blocks_never_exceed_the_budget(rows, budget):
    n = np.array([r[0] for r in rows]) + (1 if all(r[0] == 0 for r in rows) else 0)
    top = np.array([r[1] for r in rows])
    blocks = next_blocks(Counts(n, np.zeros(len(n))), np.stack([top, 1 - top], axis=1), budget)
    assert blocks.sum() <= budget
    assert (blocks >= 0).all()
    assert (blocks[(top >= 0.95) & (n > 0)] == 0).all()


def test_adaptive_rounds_resolve_more_than_uniform():
    rng = np.random.default_rng(0)
    eps, budget = 0.01, 300 * 32
    p = rng.beta(0.4, 1.2, 300)
    truth = np.digitize(p, [eps, 0.8])
    n, c = np.full(300, 4), rng.binomial(4, p)
    while True:
        counts = Counts(n, c)
        posterior = fit_mixing_law(counts).class_posterior(eps)
        blocks = next_blocks(counts, posterior, budget - counts.n_rollouts)
        if blocks.sum() == 0:
            break
        n, c = n + blocks, c + rng.binomial(blocks, p)
    uniform = fit_mixing_law(Counts(np.full(300, 32), rng.binomial(32, p))).class_posterior(eps)
    assert (posterior.argmax(axis=1) == truth).mean() >= (uniform.argmax(axis=1) == truth).mean()
    sure = posterior.max(axis=1) >= 0.95
    assert sure.mean() > (uniform.max(axis=1) >= 0.95).mean()
    assert (posterior.argmax(axis=1) == truth)[sure].mean() >= 0.95
