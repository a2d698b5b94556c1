from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain_diag.errors import UsageError
from posttrain_diag.types import Problem
from posttrain_diag.zoo.problems import family_of, mastered_problems, problems, split_of
from posttrain_diag.zoo.worlds import FAMILIES, family

names = st.sampled_from(sorted(FAMILIES))
seeds = st.integers(0, 10_000)


def word_list(rows):
    return [family_of(row).word(row.prompt) for row in rows]


@settings(max_examples=30, deadline=None)
@given(names, seeds, seeds)
def test_training_and_held_out_never_overlap(name, seed_a, seed_b):
    held_out = set(word_list(problems(name, 40, seed=seed_a)))
    training = set(word_list(problems(name, 40, split="training", seed=seed_b)))
    assert len(held_out) == len(training) == 40
    assert not held_out & training
    assert all(split_of(family(name), x) == "heldout" for x in held_out)


@settings(max_examples=30, deadline=None)
@given(names, seeds)
def test_no_problem_is_degenerate_and_every_demo_is_right(name, seed):
    fam = family(name)
    for row in problems(name, 30, seed=seed):
        x = fam.word(row.prompt)
        assert not fam.degenerate(x)
        assert row.answer == fam.answer(x)
        assert all(fam.accepts(x, demo) for demo in row.demos)


def test_the_same_call_gives_the_same_problems():
    assert problems("S", 20, seed=3) == problems("S", 20, seed=3)
    assert problems("S", 20, seed=3) != problems("S", 20, seed=4)
    assert problems("S", 10, seed=3) == problems("S", 20, seed=3)[:10]


def test_lengths_take_turns():
    assert Counter(map(len, word_list(problems("N", 40)))) == {2: 10, 3: 10, 4: 10, 5: 10}


def test_ids_are_stable_and_name_family_and_split():
    assert [row.id for row in problems("S", 2)] == ["S-000", "S-001"]
    assert problems("S", 1, split="training")[0].id == "S-train-000"
    assert problems("F15", 1)[0].prompt == problems("F", 1)[0].prompt


def test_asking_for_more_than_there_is(monkeypatch):
    monkeypatch.setitem(FAMILIES, "N", Short := _only_length_2())
    assert Short.lengths == (2,)
    with pytest.raises(UsageError, match=r"only \d\d different heldout problems, 200"):
        problems("N", 200)


def _only_length_2():
    from dataclasses import replace

    return replace(family("N"), lengths=(2,))


def test_the_retention_set_holds_the_mastered_families():
    rows = mastered_problems(per_family=5)
    assert Counter(family_of(row).name for row in rows) == {"R": 5, "P": 5, "Q": 5, "W": 5}
    assert rows[0].id == "mastered-R-000"


def test_a_problem_from_elsewhere_is_refused():
    stranger = Problem("x", "S:ab=", None, "cd", {"type": "exact"})
    with pytest.raises(UsageError, match="family:NAME"):
        family_of(stranger)
