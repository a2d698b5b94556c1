"""Support change, null control and decomposition on simulated runs whose truth is known for every problem."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from posttrain_diag.compare import Figures
from posttrain_diag.errors import StatsError
from posttrain_diag.stats import FATES, Counts, crossing, fit_mixing_law, null_resample

B = 64
EPS = 1 / B


def draws(p, n, rng):
    n = np.broadcast_to(n, len(p))
    return Counts(n, rng.binomial(n, p))


def truth(p, q):
    """Numbers of problems by fate, and the change they carry."""
    before, after = p >= EPS, q >= EPS
    masks = (before & after, ~before & after, before & ~after, ~before & ~after)
    return {name: (mask.sum(), ((q - p) * mask).mean()) for name, mask in zip(FATES, masks, strict=True)}


def law(kind, size, rng):
    if kind == "heavy tail":
        return rng.beta(0.2, 1.5, size)
    return np.where(rng.random(size) < 0.4, 0.0, expit(rng.normal(-1.0, 2.0, size)))


def changed(kind, p, rng):
    if kind == "gain":
        return np.where((p < EPS) & (rng.random(len(p)) < 0.5), 0.4, p)
    if kind == "loss":
        return np.where(rng.random(len(p)) < 0.25, 0.0, p)
    if kind == "shift":
        return np.where(p > 0, expit(logit(np.clip(p, 1e-9, 1 - 1e-9)) + 1.0), 0.0)
    return p


def figures(before, after, **more):
    return Figures(before, after, B, 0.9, 0, **more)


def simulated(pairs, rng, problems=80, n=(48, 48)):
    """Which intervals of E and S hold the truth; of unchanged pairs the alarms, and the share of problems said to move."""
    covered, alarms, invented = [], [], []
    for turn in range(pairs):
        kind = ("none", "gain", "loss", "shift")[turn % 4]
        p = law(("heavy tail", "zeros")[turn // 4 % 2], problems, rng)
        q = changed(kind, p, rng)
        run = figures(draws(p, n[0], rng), draws(q, n[1], rng))
        support, true = run.support(), truth(p, q)
        covered += [
            found.low - 1e-9 <= true[name][0] <= found.high + 1e-9
            for name, found in (("expanded", support.expanded), ("shrunk", support.shrunk))
        ]
        if kind == "none":
            alarms += [control.exceeds for control in run.null()]
            invented.append((support.expanded.value + support.shrunk.value) / problems)
    return covered, alarms, np.mean(invented)


def test_intervals_cover_and_the_null_is_quiet():
    covered, alarms, invented = simulated(8, np.random.default_rng(3))
    assert np.mean(covered) >= 0.8
    assert sum(alarms) <= 1
    assert invented < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("n", [(48, 48), (24, 96)])
def test_intervals_cover_and_the_null_is_quiet_over_200_pairs(n):
    covered, alarms, invented = simulated(200, np.random.default_rng(4), n=n)
    assert np.mean(covered) >= 0.85
    assert np.mean(alarms) <= 0.09
    assert invented < 0.05


@pytest.fixture(scope="module")
def expanded():
    """A third of the problems goes from never to .5, the others stay as they are."""
    rng = np.random.default_rng(0)
    p = np.where(np.arange(90) % 3 == 0, 0.0, rng.uniform(0.1, 0.9, 90))
    q = np.where(p == 0, 0.5, p)
    return p, q, figures(draws(p, 64, rng), draws(q, 64, rng))


def test_known_expansion(expanded):
    p, q, run = expanded
    support, (gained, lost) = run.support(), run.null()
    assert support.expanded.value == pytest.approx(30, abs=1.5) and support.shrunk.value < 0.5
    assert support.ndr.value == pytest.approx(1 / 3, abs=0.02) and support.srr.value > 0.99
    assert support.nscr.low <= 1 / 3 <= support.nscr.high
    assert gained.exceeds and not lost.exceeds
    table = run.per_problem([f"p{i}" for i in range(90)])
    assert (table["fate"] == np.where(p == 0, "gained", "kept")).mean() > 0.95
    parts = run.decomposition(run.pass_change(1).change, None)
    assert parts.expansion.value == pytest.approx(((q - p) * (p == 0)).mean(), abs=0.02)
    assert parts.expansion.low <= 1 / 6 <= parts.expansion.high
    assert abs(parts.reshaping.value) < 0.02


def test_parts_sum_to_the_change():
    rng = np.random.default_rng(10)
    p = np.where(np.arange(60) % 2 == 0, 0.4, 0.01)  # the others are out of support before and after
    run = figures(draws(p, 64, rng), draws(np.where(p > EPS, changed("loss", p, rng), 0.0), 64, rng))
    change = run.pass_change(1).change
    lost = change  # any loss will do
    parts = run.decomposition(change, lost)
    assert parts.outside.value < -0.001 < parts.outside.high + 0.01 and parts.outside.low < parts.outside.high
    total = parts.reshaping.value + parts.expansion.value - parts.attrition.value + parts.outside.value
    assert total == pytest.approx(change.value, abs=1e-12)
    assert change.value == pytest.approx(
        (run.after.c_P / run.after.n_P - run.before.c_P / run.before.n_P).mean(), abs=1e-12
    )
    assert parts.net == pytest.approx(change.value - lost.value, abs=1e-12)


def test_attrition_is_a_positive_loss():
    rng = np.random.default_rng(1)
    p = np.full(40, 0.4)
    q = np.where(np.arange(40) < 10, 0.0, p)
    run = figures(draws(p, 64, rng), draws(q, 64, rng))
    parts = run.decomposition(run.pass_change(1).change, None)
    assert parts.attrition.value == pytest.approx(0.1, abs=0.01)
    assert run.support().shrunk.value == pytest.approx(10, abs=1) and run.null()[1].exceeds


def test_a_run_compared_with_itself():
    rng = np.random.default_rng(2)
    for n in (32, rng.choice([8, 16, 64], 60)):  # uniform, and as adaptive rounds leave it
        run = draws(law("heavy tail", 60, rng), n, rng)
        same = figures(run, run)
        first = same.pass_change(1)
        assert first.change.value == 0.0 and first.p_value > 0.99
        parts = same.decomposition(first.change, None)
        assert [getattr(parts, name).value for name in ("reshaping", "expansion", "attrition", "outside")] == [0] * 4
        support = same.support()
        assert support.expanded.low == support.shrunk.low == 0.0
        assert all(not control.exceeds for control in same.null())


def test_unequal_rollouts_are_judged_by_the_laws():
    rng = np.random.default_rng(5)
    p = rng.uniform(0.2, 0.8, 50)
    run = figures(draws(p, rng.choice([16, 32, 64], 50), rng), draws(np.minimum(p + 0.15, 1), 32, rng))
    first = run.pass_change(1)
    assert first.p_value < 0.01
    assert first.change.low <= 0.15 <= first.change.high
    parts = run.decomposition(first.change, None)
    assert parts.reshaping.value == pytest.approx(first.change.value, abs=0.01)


def test_pass_at_k_only_as_far_as_both_runs_bear():
    rng = np.random.default_rng(6)
    p = law("heavy tail", 40, rng)
    found = {c.k: c for c in figures(draws(p, 4, rng), draws(p, 64, rng)).pass_changes()}
    assert list(found) == [1, 4, 16]
    assert [c.change.label for c in found.values()] == ["measured", "measured", "estimated"]


def test_fates_are_probabilities_and_do_not_depend_on_the_order():
    rng = np.random.default_rng(7)
    p = law("zeros", 50, rng)
    before, after = draws(p, 16, rng), draws(changed("gain", p, rng), rng.choice([8, 16], 50), rng)
    delta = after.c_P / after.n_P - before.c_P / before.n_P

    def run(order):
        laws = fit_mixing_law(before.take(order)), fit_mixing_law(after.take(order))
        return crossing(*laws, EPS, delta[order], seed=1)

    order = rng.permutation(50)
    one, other = run(np.arange(50)), run(order)
    assert one.fate_P4.sum(axis=1) == pytest.approx(1.0)
    assert (one.count_S4.sum(axis=1) == 50).all()
    assert other.fate_P4 == pytest.approx(one.fate_P4[order], abs=1e-6)
    assert one.moved_S4.sum(axis=1).mean() == pytest.approx(delta.mean(), abs=0.01)
    with pytest.raises(StatsError, match="50 and 49"):
        crossing(fit_mixing_law(before), fit_mixing_law(after.take(np.arange(49))), EPS, delta, seed=1)


def test_more_problems_than_the_shares_are_learned_from():
    rng = np.random.default_rng(8)
    p = law("zeros", 6000, rng)
    q = changed("gain", p, rng)
    support, true = figures(draws(p, 32, rng), draws(q, 32, rng)).support(), truth(p, q)
    assert support.expanded.value == pytest.approx(true["expanded"][0], rel=0.1)
    assert support.expanded.value + support.preserved.value + support.shrunk.value + support.outside.value == (
        pytest.approx(6000)
    )


def test_nothing_supported_has_no_rates():
    none = Counts([2000] * 6, [0] * 6)
    support = figures(none, none).support()
    assert [e.label for e in (support.srr, support.ndr, support.nscr)] == ["undefined"] * 3
    assert "no problem" in support.srr.reason


def test_null_scores_of_swapped_runs_are_swapped():
    rng = np.random.default_rng(9)
    p = law("heavy tail", 60, rng)
    one, other = draws(p, 32, rng), draws(changed("loss", p, rng), 32, rng)
    here, there = null_resample(one, other, EPS, seed=0), null_resample(other, one, EPS, seed=0)
    assert here.observed == pytest.approx(there.observed[::-1])
    assert here.p_values[1] < 0.05 < here.p_values[0]
