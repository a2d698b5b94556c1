import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln, gammaln
from scipy.stats import betabinom, kstest

from posttrain_diag.errors import StatsError
from posttrain_diag.stats import (
    Counts,
    below,
    fit_mixing_law,
    mixed_group,
    pass_at,
    pass_hat,
    solve_rate,
)
from posttrain_diag.stats.forecast_families import FORECAST_FAMILIES
from posttrain_diag.stats.functionals import PGrid
from posttrain_diag.stats.mixing_components import COMPONENTS
from posttrain_diag.stats.mixing_prior import FAMILIES, Likelihood
from posttrain_diag.stats.mixing_prior import _negative_log_posterior as objective

KS = (1, 16, 64, 256, 1600)


def uniform(p, n, seed):
    return Counts(np.full(len(p), n), np.random.default_rng(seed).binomial(n, p))


def test_gradient_of_the_fit():
    grid = PGrid.for_rollouts(32)
    rng = np.random.default_rng(0)
    data = Likelihood.build(grid, np.full(6, 32.0), np.array([0.0, 1, 2, 7, 20, 32]), np.array([9.0, 2, 1, 3, 2, 4]))
    for family in (*FAMILIES, *COMPONENTS, *FORECAST_FAMILIES):
        theta = family.centre_D + 0.3 * rng.standard_normal(family.n_parameters)
        gradient = objective(theta, family, data)[1]
        for d, step in enumerate(1e-5 * np.eye(len(theta))):
            slope = (objective(theta + step, family, data)[0] - objective(theta - step, family, data)[0]) / 2e-5
            assert gradient[d] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_laws_are_distributions_and_beta_laws_are_beta():
    grid = PGrid.for_rollouts(64)
    data = Likelihood.build(grid, np.full(65, 64.0), np.arange(65.0), np.ones(65))
    beta = next(f for f in FAMILIES if not f.atom and f.spline_sd == 0)
    law = beta.laws(np.log([[0.6, 1.7]]), data)
    assert law.sum() == pytest.approx(1.0)
    assert law[0, 0] == 0.0
    passes = np.arange(65)
    log_choose = gammaln(65) - gammaln(passes + 1) - gammaln(65 - passes)
    pmf = np.exp(grid.log_likelihood(np.full(65, 64.0), passes.astype(float))[:, 1:] + log_choose[:, None]) @ law[0, 1:]
    assert pmf == pytest.approx(betabinom.pmf(passes, 64, 0.6, 1.7), rel=1e-3, abs=2e-5)


@pytest.mark.parametrize("n_max", [8, 256, 1024, 10_000])
def test_grid_resolves_the_likelihood(n_max):
    """Sum over the grid equals the beta integral, at every n it was made for."""
    grid = PGrid.for_rollouts(n_max)
    c = np.array([max(1, n_max // 50), n_max // 2])
    log_l = grid.log_likelihood(np.full(2, float(n_max)), c.astype(float))[:, 1:]
    got = np.log(grid.step) + np.log(np.exp(log_l - log_l.max(1, keepdims=True)).sum(1)) + log_l.max(1)
    assert got == pytest.approx(betaln(c, n_max - c), abs=0.03)


def test_grid_splits_indicators_and_averages_functions():
    grid = PGrid.for_rollouts(16)
    for eps in (1e-5, 1 / 256, 0.3, 0.8):
        exact = grid.evaluate(below(eps))
        assert exact[0] == 1.0
        cells = (np.log(eps / (1 - eps)) - grid.edges[0]) / grid.step
        assert exact[1:].sum() == pytest.approx(cells, abs=1e-9)
    assert grid.evaluate(pass_at(64))[0] == 0.0
    assert grid.evaluate(pass_hat(8))[-1] == pytest.approx(1.0, abs=2e-3)
    assert grid.evaluate(mixed_group(8))[[0, -1]] == pytest.approx([0.0, 0.0], abs=2e-3)


def test_same_seed_same_law():
    counts = uniform(np.random.default_rng(0).beta(0.4, 1.5, 50), 32, 1)
    a, b, other = (fit_mixing_law(counts, seed=s) for s in (3, 3, 4))
    assert a.pass_at_k(1000) == b.pass_at_k(1000)
    assert a.pass_at_k(1000) != other.pass_at_k(1000)
    assert a.pass_at_k(1000).value == pytest.approx(other.pass_at_k(1000).value, abs=0.02)


def test_labels():
    law = fit_mixing_law(uniform(np.random.default_rng(0).beta(0.4, 1.5, 50), 32, 1))
    assert law.pass_at_k(32).label == "measured"
    assert law.pass_at_k(33).label == "estimated"
    assert law.pass_at_k(128).label == "estimated"
    far = law.pass_at_k(129)
    assert far.label == "model-dependent"
    assert "without it" in far.reason
    assert law.share_below(1 / 64).label == "estimated"
    assert law.share_below(1 / 1000).label == "model-dependent"


def test_label_of_adaptive_counts_looks_at_the_open_problems():
    law = fit_mixing_law(Counts([4] * 30 + [128] * 30, [4] * 30 + [0] * 30))
    assert law.label(4) == "measured"
    assert law.label(512) == "estimated"
    assert law.label(513) == "model-dependent"


def test_twenty_four_zeros_are_below_eps():
    law = fit_mixing_law(Counts([64] * 24, [0] * 24))
    posterior = law.class_posterior(1 / 256)
    assert (posterior[:, 0] >= 0.95).all()
    interval = law.posterior_interval()
    assert (interval[:, 0] == 0.0).all()
    # far below the .046 of its own 64 zeros, above eps: one problem may be unlike the other 23
    assert (interval[:, 1] < 0.015).all()
    successes = law.expected_successes(256)
    assert successes.label == "model-dependent"
    assert successes.low < 1.0 < successes.high


def test_impossible_and_nearly_impossible_problems_are_both_covered():
    """24 problems at p = 2.6e-7 beside 24 solved ones: no interval may end at exactly 0."""
    p = np.r_[np.full(24, 2.6e-7), np.full(24, 0.95)]
    low, high = fit_mixing_law(uniform(p, 64, 0)).posterior_interval().T
    assert ((low <= p) & (p <= high)).mean() >= 0.9
    assert (high[:24] > 2.6e-7).all()
    assert (high[:24] < 0.05).all()


def test_no_pass_cannot_exclude_zero_and_no_fail_cannot_exclude_one():
    nothing = fit_mixing_law(Counts([64] * 24, [0] * 24))
    assert nothing.pass_at_k(10_000).low == 0.0
    assert nothing.share_below(1e-6).high == 1.0
    assert nothing.expected_successes(256).low == 0.0
    everything = fit_mixing_law(Counts([64] * 24, [64] * 24))
    assert everything.pass_at_k(1).high == 1.0
    assert everything.share_at_least(0.999).high == 1.0


def test_one_zero_is_not_enough():
    law = fit_mixing_law(Counts([64], [0]))
    assert law.class_posterior(1 / 256)[0, 0] < 0.95
    assert law.posterior_interval()[0, 1] > 1 / 256


@pytest.mark.parametrize(("n", "c"), [([1], [1]), ([1], [0]), ([64], [64]), ([64] * 8, [64] * 8), ([0, 4], [0, 2])])
def test_tiny_and_extreme_sets_have_defined_answers(n, c):
    law = fit_mixing_law(Counts(n, c))
    for k in KS:
        e = law.pass_at_k(k)
        assert 0.0 <= e.low <= e.value <= e.high <= 1.0
    posterior = law.class_posterior(1 / 256)
    assert posterior.sum(axis=1) == pytest.approx(1.0)
    interval = law.posterior_interval()
    assert (interval[:, 0] <= interval[:, 1]).all()


def test_all_solved_is_mastered():
    law = fit_mixing_law(Counts([64] * 24, [64] * 24))
    assert (law.class_posterior(1 / 256)[:, 2] > 0.95).all()
    assert (law.posterior_interval()[:, 1] == 1.0).all()
    assert (law.posterior_interval()[:, 0] > 0.9).all()


def test_homogeneous_problems_borrow_strength():
    hits, widths = [], []
    for seed in range(6):
        law = fit_mixing_law(uniform(np.full(24, 0.12), 64, seed))
        low, high = law.posterior_interval().T
        hits.append(((low <= 0.12) & (high >= 0.12)).mean())
        widths.append((high - low).mean())
    assert np.mean(hits) >= 0.9
    assert np.mean(widths) < 0.115  # Clopper-Pearson at n = 64 is 0.145 wide


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=12)
)
def test_any_counts_give_monotone_consistent_answers(rows):
    n, c = np.array(rows).T
    law = fit_mixing_law(Counts(n, c))
    curve = [law.pass_at_k(k).value for k in KS]
    assert (np.diff(curve) >= -1e-12).all()
    assert law.share_below(1e-3).value <= law.share_below(1e-2).value + 1e-12
    assert law.share_below(0.3).value + law.share_at_least(0.3).value == pytest.approx(1.0)
    posterior = law.class_posterior(0.01, 0.7)
    assert (posterior >= 0).all()
    assert posterior.sum(axis=1) == pytest.approx(1.0)
    assert law.mixed_groups(8).value <= 1.0
    mean = law.posterior_mean()
    interval = law.posterior_interval()
    assert ((interval[:, 0] <= mean + 1e-9) & (mean <= interval[:, 1] + 1e-9)).mean() >= 0.5


def test_draws_agree_with_the_averages():
    law = fit_mixing_law(uniform(np.random.default_rng(0).beta(0.4, 1.5, 60), 32, 1))
    p = law.sample_p(3000, np.random.default_rng(5))
    assert p.shape == (3000, 60)
    assert p.mean(axis=0) == pytest.approx(law.posterior_mean(), abs=0.012)
    assert (p >= 0.1).mean(axis=0) == pytest.approx(law.prob_at_least(0.1), abs=0.05)
    draws = law.posterior_draws(below(0.02), solve_rate())
    assert draws[:, 0].mean() == pytest.approx(law.share_below(0.02).value, abs=0.01)
    assert draws[:, 1].mean() == pytest.approx(law.posterior_mean().mean(), abs=0.005)


def test_normal_and_exact_draws_agree(monkeypatch):
    law = fit_mixing_law(uniform(np.random.default_rng(0).beta(0.4, 1.5, 800), 32, 1))
    exact = law.posterior_draws(below(0.01), pass_at(128))
    monkeypatch.setattr("posttrain_diag.stats.mixing_law._EXACT_PROBLEMS", 0)
    normal = law.posterior_draws(below(0.01), pass_at(128))
    assert normal.mean(axis=0) == pytest.approx(exact.mean(axis=0), abs=0.005)
    assert np.cov(normal.T) == pytest.approx(np.cov(exact.T), rel=0.3)


def test_expected_successes_counts_the_pool():
    p = np.random.default_rng(0).beta(0.5, 3.0, 300)
    law = fit_mixing_law(uniform(p, 64, 2))
    e = law.expected_successes(100)
    assert e.low <= 100 * p.sum() <= e.high
    budget = np.where(np.arange(300) < 10, 100, 0)
    assert law.expected_successes(budget).value < e.value / 10
    with pytest.raises(StatsError, match="budget_per_problem"):
        law.expected_successes(-1)


def test_intervals_cover_on_simulated_laws():
    """Nominal 90% intervals of pass@4n, pass@16n and F(1/10n), and of every problem's p, over four laws."""
    rng = np.random.default_rng(11)
    n, problems = 32, 100
    laws = [
        lambda size: rng.beta(0.3, 1.2, size),
        lambda size: np.where(rng.random(size) < 0.3, 0.0, rng.beta(0.6, 1.5, size)),
        lambda size: 1 / (1 + np.exp(-rng.normal(-3.0, 2.5, size))),
        lambda size: np.where(rng.random(size) < 0.8, rng.beta(4.0, 1.0, size), np.exp(rng.uniform(-11, -1, size))),
    ]
    hits, per_problem = [], []
    for law_of in laws:
        for seed in range(3):
            p = law_of(problems)
            law = fit_mixing_law(uniform(p, n, seed))
            for e, truth in (
                (law.pass_at_k(4 * n), (1 - (1 - p) ** (4 * n)).mean()),
                (law.pass_at_k(16 * n), (1 - (1 - p) ** (16 * n)).mean()),
                (law.share_below(1 / (10 * n)), (p < 1 / (10 * n)).mean()),
            ):
                hits.append(e.low <= truth <= e.high)
            low, high = law.posterior_interval().T
            per_problem.append(((low <= p) & (p <= high)).mean())
    assert np.mean(hits) >= 0.83
    assert np.mean(per_problem) >= 0.88


def two_heaps(problems, seed):
    p = np.where(np.arange(problems) % 2 == 0, 0.01, 0.6)
    return p, uniform(p, 64, seed)


@pytest.mark.parametrize("k", [256, 1024, 6400])
def test_heaps_are_seen(k):
    """Half of the problems at .01 and half at .6: a smooth law forecasts a tail that is not there."""
    hits = []
    for seed in range(6):
        p, counts = two_heaps(48, seed)
        low, high = fit_mixing_law(counts, seed=seed).interval(pass_at(k))
        hits.append(low <= (1 - (1 - p) ** k).mean() <= high)
    assert np.mean(hits) >= 0.8


def test_heaps_need_components():
    """Smooth laws alone draw a lower tail that is not there, and forecast pass@256 too low."""
    p, counts = two_heaps(300, 0)
    truth = (1 - (1 - p) ** 256).mean()
    smooth = fit_mixing_law(counts, families=FAMILIES)
    both = fit_mixing_law(counts)
    assert abs(both.mean(pass_at(256)) - truth) < 0.6 * abs(smooth.mean(pass_at(256)) - truth)
    assert both.interval(pass_at(256))[1] > truth


def test_a_share_leaves_open_on_which_side_a_heap_lies():
    p = np.where(np.arange(300) % 5 == 0, 1 / 128, 0.6)
    counts = uniform(p, 128, 0)
    law = fit_mixing_law(counts)
    low, high = law.interval(below(1 / 128))
    assert low <= 0.03
    assert high >= 0.19


def test_less_than_one_unsolved_problem_is_none():
    """48 problems, half of them at .01: about 1e-3 of a problem is left unsolved after 1,024 draws."""
    law = fit_mixing_law(two_heaps(48, 2)[1])
    assert law.pass_at_k(1024).high == 1.0
    assert law.pass_at_k(256).high < 1.0
    assert law.pass_at_k(1).high < 1.0


@pytest.mark.parametrize("far", [-300.0, 300.0])
def test_a_search_that_runs_away_stays_finite(far):
    data = Likelihood.build(PGrid.for_rollouts(16), np.full(2, 16.0), np.array([0.0, 3.0]), np.ones(2))
    for family in (*COMPONENTS, *FORECAST_FAMILIES[5:]):
        for d in range(family.n_parameters):
            theta = family.centre_D.copy()
            theta[d] = far
            value, gradient = objective(theta, family, data)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()


def test_components_ascend_and_are_distributions():
    grid = PGrid.for_rollouts(64)
    data = Likelihood.build(grid, np.full(65, 64.0), np.arange(65.0), np.ones(65))
    rng = np.random.default_rng(0)
    for family in (*COMPONENTS, *FORECAST_FAMILIES[5:]):
        theta = family.centre_D + family.scale_D * rng.standard_normal((50, family.n_parameters))
        assert family.laws(theta, data).sum(axis=1) == pytest.approx(1.0)
        start = family.start_D(data)
        assert start.shape == (family.n_parameters,)
        assert np.isfinite(start).all()


def test_bounds_stand_beside_model_dependent_values_only():
    law = fit_mixing_law(uniform(np.random.default_rng(0).beta(0.4, 1.5, 50), 32, 1))
    assert law.pass_at_k(128).bounds is None
    far = law.pass_at_k(1000)
    assert far.bounds is not None
    assert far.bounds[0] <= far.value <= far.bounds[1]
    below_share, at_least = law.share_below(1e-3).bounds, law.share_at_least(1e-3).bounds
    assert at_least == pytest.approx((1 - below_share[1], 1 - below_share[0]))


def test_many_problems_do_not_make_a_wrong_law_certain():
    """No family holds this law: an uncoarsened posterior would shrink around the wrong forecast."""
    rng = np.random.default_rng(3)
    p = np.where(rng.random(30_000) < 0.5, 1 / (1 + np.exp(-rng.normal(-6.0, 0.8, 30_000))), rng.beta(5.0, 2.0, 30_000))
    law = fit_mixing_law(uniform(p, 32, 0))
    for k in (128, 512):
        e = law.pass_at_k(k)
        assert e.low <= (1 - (1 - p) ** k).mean() <= e.high
        assert 0.01 < e.high - e.low < 0.3


def test_optional_stopping_does_not_bias_the_law():
    """Doubling only the problems without a pass leaves the posterior calibrated; c/n does not stay unbiased."""
    rng = np.random.default_rng(2)
    p = rng.beta(0.4, 2.0, 2000)
    n = np.full(2000, 4)
    c = rng.binomial(4, p)
    for _ in range(4):
        grow = c == 0
        c = c + np.where(grow, rng.binomial(n, p), 0)
        n = np.where(grow, 2 * n, n)
    law = fit_mixing_law(Counts(n, c))
    assert law.posterior_mean().mean() == pytest.approx(p.mean(), abs=0.01)
    assert abs((c / n).mean() - p.mean()) > 0.015


def test_per_problem_posterior_is_uniform_in_rank():
    """Probability integral transform of the true p under its own posterior draws."""
    rng = np.random.default_rng(4)
    p = rng.beta(0.8, 2.0, 600)
    law = fit_mixing_law(uniform(p, 16, 5))
    draws = law.sample_p(400, rng)
    assert kstest((draws < p).mean(axis=0), "uniform").pvalue > 0.01


def test_equal_counts_of_many_problems_are_held_once():
    """200,000 problems of 64 rollouts have 65 kinds of counts: a grid per problem would take over 100 MB."""
    import tracemalloc

    p = np.random.default_rng(0).beta(0.4, 1.5, 200_000)
    counts = uniform(p, 64, 1)
    tracemalloc.start()
    found = fit_mixing_law(counts).pass_at_k(1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    assert found.value == pytest.approx((1 - (1 - p) ** 1024).mean(), abs=0.02)


def test_share_at_least_mirrors_the_bounds_in_words_too() -> None:
    law = fit_mixing_law(Counts(np.full(40, 16), np.zeros(40, dtype=int)))
    found = law.share_at_least(1 / 1000)
    assert found.label == "model-dependent" and found.bounds is not None
    assert f"without it: {found.bounds[0]:.3f} to {found.bounds[1]:.3f}" in found.reason


def test_few_rollouts_are_forecast_from_what_real_models_do() -> None:
    """One rollout of each problem fixes pass@1 alone: a law like those of real models is forecast better."""
    rng = np.random.default_rng(0)
    errors: list[tuple[float, float]] = []
    for seed in range(6):
        p = rng.beta(0.25, 0.9, 160)
        counts, truth = uniform(p, 1, seed), (1 - (1 - p) ** 100).mean()
        wide = fit_mixing_law(counts, seed=seed, families=(*FAMILIES, *COMPONENTS))
        errors.append(
            (abs(fit_mixing_law(counts, seed=seed).mean(pass_at(100)) - truth), abs(wide.mean(pass_at(100)) - truth))
        )
    ours, before = np.mean(errors, axis=0)
    assert ours < 0.8 * before


def test_the_learned_prior_leaves_classes_alone() -> None:
    counts = Counts([12] * 8, [0] * 8)
    wide = fit_mixing_law(counts, families=(*FAMILIES, *COMPONENTS))
    assert fit_mixing_law(counts).class_posterior(1 / 256) == pytest.approx(wide.class_posterior(1 / 256))
