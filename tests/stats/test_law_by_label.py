"""One law for all problems, or one for each label where the counts ask for it."""

from __future__ import annotations

import numpy as np
import pytest

from posttrain_diag.errors import StatsError
from posttrain_diag.stats import Counts, fit_mixing_law, law_by_label

EPS = 1 / 256
WEAK = (1, 1, 3, 5, 7, 7, 10, 10, 13, 15)


def test_labels_that_tell_problems_apart_get_laws_of_their_own() -> None:
    """30 problems with 0 of 64, ten that pass now and then: one law leaves the thirty open, their own does not."""
    whole = fit_mixing_law(Counts([64] * 40, [0] * 30 + list(WEAK)))
    found = law_by_label(whole, ["never"] * 30 + ["weak"] * 10)
    assert len(found.parts) == 2
    assert whole.class_posterior(EPS)[0, 0] < 0.95 < found.class_posterior(EPS, 0.8)[0, 0]
    p_SP = found.sample_p(400, np.random.default_rng(0))
    assert (p_SP[:, :30] < EPS).mean() > 0.9 and (p_SP[:, 32:] > EPS).mean() > 0.99
    rows = found.share_posterior_RJ[found.row_P]
    assert rows @ found.grid.p_J == pytest.approx(np.array([0.0] * 30 + list(WEAK)) / 64, abs=0.03)


def test_labels_that_tell_nothing_change_nothing() -> None:
    whole = fit_mixing_law(Counts([64] * 40, (0, 2, 8, 30) * 10))
    found = law_by_label(whole, ["a"] * 20 + ["b"] * 20)
    assert found.parts == (whole,)
    assert np.array_equal(found.class_posterior(EPS, 0.8), whole.class_posterior(EPS))


@pytest.mark.parametrize("labels", [["a"] * 40, [f"{i}" for i in range(40)], ["a"] * 38 + ["b"] * 2])
def test_labels_that_are_too_few_or_too_many_are_not_tried(labels: list[str]) -> None:
    whole = fit_mixing_law(Counts([64] * 40, [0] * 38 + [60] * 2))
    assert len(law_by_label(whole, labels).parts) == 1


def test_one_label_for_each_problem_is_needed() -> None:
    with pytest.raises(StatsError, match="2 labels for 3 problems"):
        law_by_label(fit_mixing_law(Counts([8] * 3, [1, 2, 3])), ["a", "b"])
