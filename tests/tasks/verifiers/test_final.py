from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.tasks.verifiers.final import answer, finals, gives, mentions, quantity, same_answer


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("7", "7 apples"),
        ("She has 7 apples.", "7 apples"),
        ("1/2", "0.5"),
        ("\\boxed{\\frac{1}{2}}", "0.50"),
        ("1,000", "1000"),
        ("$1,000.00", "1000"),
        ("the final answer is 7 apples", "7"),
        ("so 3 + 4 = 7 apples", "7"),
        ("Paris.", "paris"),
        ("The answer is **Paris**", "Paris"),
        ("The Beatles", "beatles"),
        ("7 km", "7 kms"),
        ("50%", "0.5"),
        ("worked steps|hfdgg", "hfdgg"),
        ("so it is -3", "-3"),
        ("first line\nblue", "blue"),
    ],
)
def test_the_same_answer_by_a_fair_reading(completion: str, gold: str) -> None:
    assert gives(finals(completion), answer(gold))


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("17", "7"),
        ("7 miles", "7 apples"),
        ("x = 2, y = 7", "x = 3, y = 7"),
        ("(3)", "[3]"),
        ("7x", "7"),
        ("so she ate 7 of 25", "7"),
        ("3 of 7 people", "3"),
        ("hfdgh", "hfdgg"),
        ("3", "-3"),
        ("2 1/2", "1/2"),
        ("", "x"),
        ("B) blue", "A"),
        ("the value is then 7x", "7"),
    ],
)
def test_another_answer(completion: str, gold: str) -> None:
    assert not gives(finals(completion), answer(gold))


def test_quantities() -> None:
    assert quantity("about 7 apples") == quantity("7 apple")
    assert quantity("7x") is None and quantity("3 of 7") is None and quantity("seven") is None
    found = quantity("1,319.50 dollars per hour")
    assert found is not None and float(found.value) == 1319.5 and found.unit == "dollars per hour"


@pytest.mark.parametrize(
    ("text", "wanted", "there"),
    [
        ("it is 17", "7", False),
        ("it is 7.0", "7", True),
        ("I know", "no", False),
        ("No!", "no", True),
        ("apples", "apple", True),
    ],
)
def test_an_answer_of_its_own(text: str, wanted: str, there: bool) -> None:
    assert mentions(text, wanted) == there


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_read(a: str, b: str) -> None:
    gives(finals(a), answer(b))
    assert same_answer(answer(a), answer(b)) == same_answer(answer(b), answer(a))
