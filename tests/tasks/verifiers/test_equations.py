from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.tasks.verifiers.equations import equations


def read(text: str) -> list[bool]:
    return [equation.holds for equation in equations(text)]


@pytest.mark.parametrize(
    "text",
    [
        "3+4=7",
        "$12.50 × 4 = $50",
        "12 apples - 5 apples = 7 apples.",
        "<<48/2=24>>",
        "x = 3 + 5 = 8",
        "1. 3 + 4 = 7",
        "16 - 3 - 4 = 9 eggs",
        "5 x 3 = 15",
        "1,000 + 24 = 1,024",
        "1.5 * 1.5 = 2.3",
        "11 / 3 = 3.67",
        "11/3=3",
        "5 + 3/4 = 5.75",
        "5 * 2 + 3 = 13",
        "-3 + 5 = 2",
        "0.1 * 300 = 30 people",
        "2 \\times 3 = 6",
    ],
)
def test_right_arithmetic(text: str) -> None:
    assert read(text) == [True]


@pytest.mark.parametrize(
    "text", ["3 + 4 = 8 so 7", "5x3=16", "3 * 7 = 20", "10 - 3 = 7.5", "2 * 3 + 1 = 8", "9 / 2 = 6"]
)
def test_wrong_arithmetic(text: str) -> None:
    assert read(text) == [False]


@pytest.mark.parametrize(
    "text",
    [
        "2x + 3 = 7",
        "(5+2) * 3 + 1 = 22",
        "2^3 + 1 = 9",
        "7 % 3 = 1",
        "20% * 50 = 10",
        "2 hours + 30 minutes = 150 minutes",
        "2 * 3 feet = 72 inches",
        "2 dozen + 2 = 26",
        "3 + 4 = 7(2)",
        "4 - -3 = 7",
        "two times 3 + 4 = 14",
        "f(3 + 4) = 9",
        "8 / 0 = 0",
        "3 + 4 = 7 * 2",
    ],
)
def test_what_cannot_be_read_without_doubt_is_left_out(text: str) -> None:
    assert read(text) == []


def test_chains_are_read_one_by_one() -> None:
    assert read("3 + 4 = 7, so 7 * 2 = 15") == [True, False]
    assert read("3 + 4 = 7 + 2 = 9") == [True]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from("+-*"), st.integers(-3, 3))
def test_every_integer_equation_is_judged(a: int, b: int, op: str, off: int) -> None:
    value = {"+": a + b, "-": a - b, "*": a * b}[op]
    assert read(f"so {a} {op} {b} = {value + off}.") == [off == 0]


def test_hostile_text_is_read_quickly() -> None:
    start = time.perf_counter()
    read("1+" * 20_000 + "=" + "1 " * 20_000)
    assert time.perf_counter() - start < 3
