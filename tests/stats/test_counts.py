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
