"""Expressions compared by value."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.tasks.verifiers.math.respell import near_misses, respellings
from posttrain_diag.tasks.verifiers.math.spelling import one_spelling
from posttrain_diag.tasks.verifiers.math.tokens import Token, Unreadable, tokens_of
from posttrain_diag.tasks.verifiers.math.units import unit_of
from posttrain_diag.tasks.verifiers.math.values import equal, exact_value, proportional
from posttrain_diag.tasks.verifiers.math.verifier import same_answer
from tasks.conftest import FIXED


def tokens(text: str) -> tuple[Token, ...]:
    return tokens_of(one_spelling(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"2\frac12", Fraction(5, 2)),
        ("2 1/2", Fraction(5, 2)),
        ("2½", Fraction(5, 2)),
        (r"-1\frac{4}{5}", Fraction(-9, 5)),
        (r"2 \cdot \frac12", Fraction(1)),
        ("1e3", Fraction(1000)),
        ("1.5E-4", Fraction(15, 100000)),
        (r"0.\overline{3}", Fraction(1, 3)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        ("0.(36)", Fraction(4, 11)),
        ("0.333...", Fraction(1, 3)),
        ("1{,}234", Fraction(1234)),
        (r"10\,080", Fraction(10080)),
        ("3{,}14", Fraction(314, 100)),
        (r"\frac12", Fraction(1, 2)),
        (r"\frac1{2}", Fraction(1, 2)),
        (r"\frac{270}7", Fraction(270, 7)),
        (r"\sqrt{16}", Fraction(4)),
        (r"\sqrt[3]{-27}", None),
        ("2^{10}", Fraction(1024)),
        ("8^{2/3}", Fraction(4)),
        ("2^3^2", Fraction(512)),
        ("+".join(["1"] * 250), Fraction(250)),
        ("5!", Fraction(120)),
        (r"\binom{5}{2}", Fraction(10)),
        (r"{5 \choose 2}", Fraction(10)),
        (r"{1+1 \over 4}", Fraction(1, 2)),
        (r"\lfloor -2.5 \rfloor", Fraction(-3)),
        (r"|{-3}|", Fraction(3)),
        (r"\frac{1}{0}", None),
        ("9^{9^{9^{9}}}", None),
        ("x", None),
    ],
)
def test_exact_values(text: str, value: Fraction | None):
    assert exact_value(tokens(text)) == value


@pytest.mark.parametrize(
    "text",
    ["+".join(["1"] * 400), "1 2", "3 1/2 2", "2 +", "(3", r"\frac{1}{", "5 5/2/", "* 3", r"\sum_{k=1}^3 k", "x 2"],
)
def test_what_is_no_expression(text: str):
    with pytest.raises(Unreadable):
        equal(tokens(text), tokens("1"))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (r"3\sqrt{13}", r"\sqrt{117}", True),
        (r"\sqrt{3+2\sqrt2}", r"1+\sqrt2", True),
        (r"\cot x", r"\frac{\cos x}{\sin x}", True),
        (r"\sin^{-1} 1", r"\frac{\pi}{2}", True),
        (r"\sin 30^\circ", r"\frac12", True),
        (r"e^{i\pi}", "-1", True),
        (r"\log_2 8", "3", True),
        (r"\ln x^2", r"2\ln x", True),
        ("|x|", "x", False),
        ("3R^2", "3r^2", False),
        ("2^{100}", "1267650600228229401496703205377", False),
        (r"\pi", "3.141592653589793", True),
        (r"\pi", "3.14", False),
        (r"\frac13", "0.333333", True),
        ("0.333333", "0.333334", False),
        (r"\frac18", "0.1250001", False),
        ("6.72e-5", "6.71e-5", False),
        (r"6.626e-40 \pi", r"6.627e-40 \pi", False),
        (r"\binom{n+1}{2}", r"\frac{n(n+1)}{2}", True),
        ("(n+1)!", "(n+1) n!", True),
        ("1/2x", "x/2", None),
        (r"1\frac{4}{3}", r"\frac73", None),
        (r"1\frac{4}{3}", r"\frac74", False),
        (r"\infty", r"-\infty", False),
        (r"\infty", "5", False),
    ],
)
def test_equality_by_value(a: str, b: str, same: bool | None):
    assert equal(tokens(a), tokens(b)) is same


@pytest.mark.parametrize(
    ("gold", "answer", "positive", "same"),
    [
        ("y = 2x+3", "2x - y = -3", False, True),
        ("y = 2x+3", "x = 2y+3", False, False),
        ("x^2 + y^2 = 25", "x^2 = 25 - y^2", False, True),
        ("x - y = 1", "y - x = -1", True, False),
        ("x - y = 1", "2x - 2y = 2", True, True),
    ],
)
def test_equations_are_the_same_when_they_are_proportional(gold: str, answer: str, positive: bool, same: bool):
    first, second = ([tokens(side) for side in text.split("=")] for text in (gold, answer))
    assert proportional((first[0], first[1]), (second[0], second[1]), positive=positive) is same


FRACTIONS = st.builds(Fraction, st.integers(-400, 400), st.integers(2, 60)).filter(lambda f: f.denominator > 1)


@FIXED
@given(FRACTIONS, st.integers(-400, 400))
def test_spellings_of_fractions_are_equal_and_other_fractions_are_not(value: Fraction, whole: int):
    sign = "-" if value < 0 else ""
    gold = f"{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    for kind, text in respellings(gold):
        assert same_answer(gold, text, "").same is True, (kind, text)
    for kind, text in near_misses(gold):
        assert same_answer(gold, text, "").same is False, (kind, text)
    assert same_answer(gold, str(whole), "").same is False


@FIXED
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=5, unique=True))
def test_lists_and_sets_in_any_order(items: list[int]):
    shuffled = sorted(items, key=lambda item: item * 37 % 101)
    gold, other = ", ".join(map(str, items)), ", ".join(map(str, shuffled))
    assert same_answer(gold, other, "").same is True
    assert same_answer(gold, f"\\{{{other}\\}}", "").same is True
    assert same_answer(gold, f"({gold})", "").same is False
    assert same_answer(gold, ", ".join(map(str, items[:-1])), "").same is False
    assert same_answer(f"({gold})", f"({other})", "").same is (items == shuffled)


@FIXED
@given(st.text(alphabet="0123456789+-*/^_(){}[]\\.,;=<>|$%!&~ xyabei'fracsqtpim\n", max_size=60))
def test_whatever_is_written_gets_a_verdict(text: str):
    for gold in ("5", "\\frac{1}{2}", "(3, 4]", "x = 5", "\\text{east}"):
        found = same_answer(gold, text, "")
        assert found.same in (True, False, None)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,234", ["1234"]),
        ("1,234,567", ["1234567"]),
        ("1,234,56", ["1", "234", "56"]),
        ("12,102", ["12102"]),
        ("(12,102)", ["12", "102"]),
        ("1 319", ["1319"]),
        ("1 319 2", ["1", "319", "2"]),
        ("11,\\! 111,\\! 100", ["11111100"]),
        ("0,123", ["0", "123"]),
    ],
)
def test_separators_of_thousands_and_of_lists(text: str, numbers: list[str]):
    assert [str(token.value) for token in tokens(text) if token.kind == "number"] == numbers


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("square feet", "ft^2"),
        ("sq. cm", "cm^2"),
        ("inches^3", "in^3"),
        ("cubic inches", "in^3"),
        ("km/h", "h^-1 km"),
        ("kilometres per hour", "h^-1 km"),
        ("km in 1 hour", "h^-1 km"),
        ("mph", "h^-1 mi"),
        ("m/s^2", "m s^-2"),
        ("degrees Celsius", "celsius"),
        ("raffle tickets", "raffle ticket"),
        ("dollars per ticket", "dollar ticket^-1"),
        ("per cent", "percent"),
    ],
)
def test_units(phrase: str, name: str):
    found = unit_of(phrase)
    assert found is not None
    assert found.name == name
