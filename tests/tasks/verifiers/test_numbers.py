from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.tasks.verifiers.numbers import iter_numbers, lone_number, same_number
from tasks.conftest import FIXED


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("18.", 18),
        ("1,319", 1319),
        ("1,450,000", 1_450_000),
        ("$1,319.50", Fraction("1319.5")),
        ("-$3", -3),
        ("$-3", -3),
        ("−3", -3),
        ("+3", 3),
        ("50%", 50),
        ("50\\%", 50),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("-3/4", Fraction(-3, 4)),
        ("2 1/2", Fraction(5, 2)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("-\\dfrac{3}{4}", Fraction(-3, 4)),
        ("\\frac34", Fraction(3, 4)),
        ("1e3", 1000),
        ("1.5E-3", Fraction("0.0015")),
        ("1.5 × 10^{-3}", Fraction("0.0015")),
        ("2 \\times 10^3", 2000),
        ("  7 ", 7),
    ],
)
def test_value_of_a_lone_number(text: str, value: int | Fraction):
    number = lone_number(text)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize("text", ["", "abc", "3 apples", "3 4", "16-3", "x3", "1,2", "--3", "3/4/5", "1.2.3"])
def test_not_a_lone_number(text: str):
    assert lone_number(text) is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("16 - 3 - 4 = 9", [16, 3, 4, 9]),
        ("16-3=13", [16, 3, 13]),
        ("f(2)-3", [2, 3]),
        ("it is -3.", [-3]),
        ("pages 1,2 and 1,234", [1, 2, 1234]),
        ("1234,567", [1234, 567]),
        ("5 7/2", [5, Fraction(7, 2)]),
        ("<<9*2=18>>18", [9, 2, 18, 18]),
        ("a 1e5x", [1]),
        ("H2O and B12, 2x3", [2, 3]),
        ("3/0", [None]),
        ("no digits", []),
    ],
)
def test_numbers_in_a_text(text: str, values: list[int | Fraction | None]):
    assert [n.value for n in iter_numbers(text)] == values


def test_percent_is_a_unit_strictly_and_a_factor_leniently():
    half, fifty, percent = (lone_number(t) for t in ("0.5", "50", "50%"))
    assert half and fifty and percent
    assert same_number(percent, fifty)
    assert not same_number(percent, half)
    assert same_number(percent, half, lenient=True)
    assert not same_number(fifty, half, lenient=True)


@pytest.mark.parametrize("text", ["9" * 5000, "1e99999999", "1e-500", "1/" + "9" * 5000])
def test_monstrous_numbers_are_compared_as_text(text: str):
    numbers = list(iter_numbers(text))
    assert numbers
    assert numbers[0].value is None
    assert same_number(numbers[0], numbers[0])


@FIXED
@given(st.integers(-(10**15), 10**15))
def test_every_spelling_of_an_integer_is_that_integer(n: int):
    for text in (str(n), f"{n:,}", f"{n}.", f"{n}.00", f"{n}e0", f"{n}/1", f"answer: {n}", f"${n}"):
        (number,) = iter_numbers(text)
        assert number.value == n, text


@FIXED
@given(st.integers(-10_000, 10_000), st.integers(1, 10_000))
def test_fractions_round_trip(a: int, b: int):
    for text in (f"{a}/{b}", f"\\frac{{{a}}}{{{b}}}"):
        number = lone_number(text)
        assert number is not None
        assert number.value == Fraction(a, b)


@FIXED
@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_decimals_round_trip(value):
    number = lone_number(f"{value:f}")
    assert number is not None
    assert number.value == Fraction(value)


@FIXED
@given(st.text(alphabet="0123456789,./-+ e%$\\{}fracx×^*−½", max_size=60))
def test_never_raises_and_spans_are_in_order(text: str):
    end = 0
    for number in iter_numbers(text):
        assert end <= number.start < number.end <= len(text)
        end = number.end
    lone_number(text)
