import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.errors import StatsError
from posttrain_diag.stats import Counts, sampling_flaws


@pytest.mark.parametrize(
    ("n", "c", "message"),
    [
        ([4, 4, 4], [0, 5, 1], "row 1: n = 4, c = 5"),
        ([4, -1], [0, 0], "row 1: n = -1"),
        ([4, 4], [0, -2], "row 1: c = -2"),
        ([4.0, np.nan], [0, 0], "row 1: n = nan"),
        ([4, 4], [0, np.inf], "row 1: c = inf"),
        ([4, 4.5], [0, 0], "row 1: n = 4.5"),
        ([4, 4], [0], "n has 2 problems and c has 1"),
        ([], [], "no problems"),
        ([0, 0], [0, 0], "every problem has n = 0"),
        ([[4]], [[0]], "shape"),
        (["a"], [0], "whole numbers"),
    ],
)
def test_bad_counts_name_the_rows(n, c, message):
    with pytest.raises(StatsError, match=message):
        Counts(n, c)


def test_bad_counts_name_the_ids_and_stop_after_a_few():
    with pytest.raises(StatsError, match="p3: n = 1, c = 2"):
        Counts([1] * 5, [0, 0, 0, 2, 0], ids=[f"p{i}" for i in range(5)])
    with pytest.raises(StatsError, match="and 5 more"):
        Counts([1] * 10, [2] * 10)
    with pytest.raises(StatsError, match="ids has 1"):
        Counts([1, 1], [0, 0], ids=["a"])


@given(
    st.lists(st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=60)
)
def test_table_is_a_lossless_summary(rows):
    n, c = np.array(rows).T
    if n.max() == 0:
        return
    table = Counts(n, c).table
    assert (table.n_R[table.row_P] == n).all()
    assert (table.c_R[table.row_P] == c).all()
    assert table.weight_R.sum() == len(rows)
    assert len({(a, b) for a, b in zip(table.n_R, table.c_R, strict=True)}) == len(table.n_R)


def test_take_keeps_ids():
    counts = Counts([4, 8, 16], [0, 1, 2], ids=["a", "b", "c"]).take([2, 0])
    assert counts.ids == ("c", "a")
    assert counts.c_P.tolist() == [2, 0]


def kinds(*args, **kwargs):
    return {flaw.kind: flaw.fatal for flaw in sampling_flaws(*args, **kwargs)}


def test_stop_at_first_success_is_recognised_with_and_without_order():
    rng = np.random.default_rng(0)
    outcomes = []
    for p in rng.beta(0.5, 1.5, 200):
        row = []
        while len(row) < 32 and not (row and row[-1]):
            row.append(bool(rng.random() < p))
        outcomes.append(row)
    counts = Counts([len(r) for r in outcomes], [sum(r) for r in outcomes])
    assert kinds(counts, outcomes=outcomes)["stop_at_first_success"]
    assert kinds(counts)["stop_at_first_success"]


def stopped(passes, cap=32, problems=80, seed=3):
    """Outcomes of draws that end at so many passes."""
    rng = np.random.default_rng(seed)
    rows = []
    for p in rng.beta(1.0, 2.0, problems):
        row = []
        while len(row) < cap and sum(row) < passes:
            row.append(bool(rng.random() < p))
        rows.append(row)
    return rows


def tallied(rows):
    return Counts([len(row) for row in rows], [sum(row) for row in rows])


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stop_is_recognised_although_some_problems_break_the_pattern(ordered):
    """Two problems were topped up, so that c is not at most 1: an accidental 2 of 40 hid the stop of all others."""
    rows = [*stopped(1), [False] * 37 + [True, True, False], [True] * 5 + [False] * 35]
    assert kinds(tallied(rows), outcomes=rows if ordered else None)["stop_at_first_success"]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stop_at_the_second_pass_is_recognised(ordered):
    rows = stopped(2)
    (flaw, *_) = sampling_flaws(tallied(rows), outcomes=rows if ordered else None)
    assert flaw.fatal and "stopped at the second pass" in flaw.advice


def test_what_a_stop_at_the_first_pass_still_tells_is_unbiased():
    rows = stopped(1, problems=4000)
    (flaw, *_) = sampling_flaws(tallied(rows), outcomes=rows)
    first, within = (float(found) / 100 for found in re.findall(r"([\d.]+)%", flaw.advice))
    p = np.random.default_rng(3).beta(1.0, 2.0, 4000)
    assert first == pytest.approx(1 / 3, abs=0.03)
    assert within == pytest.approx(float((1 - (1 - p) ** 32).mean()), abs=0.03)


@pytest.mark.parametrize("ordered", [True, False])
def test_unequal_numbers_of_draws_that_ignore_the_outcomes_are_no_stop(ordered):
    rng = np.random.default_rng(4)
    for seed in range(20):
        sizes = np.random.default_rng(seed).integers(1, 33, 120)
        rows = [list(rng.random(size) < p) for size, p in zip(sizes, rng.beta(0.5, 3.0, 120), strict=True)]
        assert "stop_at_first_success" not in kinds(tallied(rows), outcomes=rows if ordered else None)


def test_ordinary_rare_successes_are_not_stopping():
    rng = np.random.default_rng(1)
    outcomes = [list(rng.random(32) < 0.01) for _ in range(200)]
    counts = Counts([32] * 200, [min(1, sum(r)) for r in outcomes])
    assert "stop_at_first_success" not in kinds(counts, outcomes=outcomes)
    assert "stop_at_first_success" not in kinds(counts)


def test_deterministic_duplicates_and_unequal_n():
    greedy = Counts([8] * 40, [8, 0] * 20)
    assert kinds(greedy) == {"deterministic": False}
    assert kinds(greedy, temperature=0.0)["deterministic"]
    texts = [["same"] * 8] * 40
    assert kinds(Counts([8] * 40, [3] * 40), texts=texts) == {"duplicate_draws": True}
    assert kinds(Counts([8] * 40, [3] * 40), texts=[["a", "b"]] * 40) == {}
    assert kinds(Counts([8, 4], [3, 1])) == {"unequal_n": False}
