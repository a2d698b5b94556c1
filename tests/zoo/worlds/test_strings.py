import math
import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.errors import UsageError
from posttrain_diag.zoo.worlds import STRINGS, family, pretraining_families
from posttrain_diag.zoo.worlds.strings import LETTERS, MAPS

words = st.text(alphabet=LETTERS, min_size=2, max_size=8)


def test_letter_maps_are_permutations_that_agree_nowhere():
    for one, other in combinations([LETTERS, *MAPS.values()], 2):
        assert sorted(one) == sorted(LETTERS)
        assert all(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("name", "x", "answer"),
    [
        ("R", "abcde", "edcba"),
        ("W", "abcde", "badce"),
        ("P", "abcde", "hfbac"),
        ("S", "abcde", "cdjba"),
        ("T", "abcde", "fheai"),
        ("U", "abcde", "cabfh"),
        ("G", "abcde", "[edcba]"),
    ],
)
def test_answers(name, x, answer):
    assert family(name).answer(x) == answer


@pytest.mark.parametrize(
    ("name", "x", "p"),
    [
        ("R", "abcde", 1.0),
        ("S", "abcde", 0.12),
        ("N", "abc", 0.45**3),
        ("H", "abcdef", 0.748**6),
        ("F", "abcdefgh", 0.3**8),
        ("F15", "abcdefgh", 0.15**8),
        ("G", "abcde", 0.03),
        ("T", "abcde", 0.0),
        ("U", "abcde", 0.0),
    ],
)
def test_closed_form(name, x, p):
    assert family(name).closed_form_p(x) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("name", [fam.name for fam in STRINGS.families])
def test_closed_form_is_the_rate_at_which_drawn_responses_are_right(name):
    fam = family(name)
    x = "abcdefgh"[: fam.lengths[0]]
    rng = random.Random(7)
    n = 4000
    rate = sum(fam.accepts(x, fam.responses.draw(x, rng)) for _ in range(n)) / n
    p = fam.closed_form_p(x)
    assert abs(rate - p) <= 4 * math.sqrt(p * (1 - p) / n) + 1 / n


@pytest.mark.parametrize("name", [fam.name for fam in STRINGS.families])
@given(x=words)
def test_demonstrations_are_right_and_wrong_modes_are_not(name, x):
    fam = family(name)
    assert all(fam.accepts(x, fam.demo(x, style)) for style in fam.styles)
    assert fam.word(fam.prompt(x)) == x
    if not fam.degenerate(x):
        assert x != x[::-1]
        assert not any(fam.accepts(x, wrong(x)) for wrong in fam.wrong)


def test_degenerate_words():
    assert family("R").degenerate("abcba")
    assert family("W").degenerate("aabbc")
    assert not family("W").degenerate("aabcb")


def test_the_answer_is_after_the_last_bar_only_where_families_say_so():
    assert family("S").accepts("ab", "X|Y|cd")
    assert not family("S").accepts("ab", "cd|")
    assert not family("P").accepts("ab", "X|hf")


def test_demonstration_styles():
    s = family("S")
    assert s.demo("abcde") == "X|cdjba"
    assert s.demo("abcde", "direct") == "cdjba"
    assert family("T").demo("abcde") == "edcba|fheai"
    with pytest.raises(UsageError, match="styles: own, direct"):
        s.demo("abcde", "worked")


def test_each_model_sees_one_law_per_letter():
    assert {f.name for f in pretraining_families(STRINGS, "base")} == {f.name for f in STRINGS.families} - {"F15"}
    assert {f.name for f in pretraining_families(STRINGS, "frontier")} == {f.name for f in STRINGS.families} - {"F"}


def test_unknown_family_lists_the_known():
    with pytest.raises(UsageError, match="'B'; families: R, P, Q"):
        family("B")
