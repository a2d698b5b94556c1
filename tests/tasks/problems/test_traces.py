"""What may be given away of a demonstration: all before its answer, and nothing of a short answer."""

from __future__ import annotations

import pytest

from posttrain_diag.tasks.problems.traces import answer_place, trace_prefix, trace_tokens
from tasks.conftest import problem


def characters(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def text_of(ids: tuple[int, ...]) -> str:
    return "".join(map(chr, ids))


@pytest.mark.parametrize(
    ("answer", "demo", "trace"),
    [
        ("71", "71", ""),
        ("Madrid", "Madrid", ""),
        ("12.5", "12.5.", ""),
        ("11", "3 + 8 = 11, so Ivan has 11 stamps. #### 11", "3 + 8 = 11, so Ivan has 11 stamps. #### "),
        ("7", "There are 7 days.", "There are "),
        ("B", "Paris is in France, so B", "Paris is in France, so "),
        ("gdgbhgba", "gdgbhgba", "gdgbhgba"),
        (None, "def f(x):\n    return x", "def f(x):\n    return x"),
        (None, "x = 1", ""),
    ],
)
def test_the_trace_ends_before_the_answer(answer: str | None, demo: str, trace: str):
    asked = problem({"type": "exact"}, answer)
    assert demo[: trace_tokens(asked, demo, characters(demo), text_of)] == trace


def test_a_prefix_is_a_share_of_the_trace_and_never_the_whole_demonstration():
    asked, demo = problem({"type": "numeric"}, "12"), "7 + 5 is 12"
    given = [text_of(trace_prefix(asked, demo, characters(demo), share, text_of)) for share in (0.25, 0.5, 1.0)]
    assert given == ["7 ", "7 + ", "7 + 5 is "]
    long = problem({"type": "exact"}, "gdgbhgba")
    assert text_of(trace_prefix(long, "gdgbhgba", characters("gdgbhgba"), 0.99, text_of)) == "gdgbhgb"


def test_the_answer_is_the_last_one_and_numbers_are_found_by_value():
    assert answer_place(problem({"type": "numeric"}, "1319"), "1 and 1,319.0 in all") == (6, 13)
    assert answer_place(problem({"type": "exact"}, "b"), "a b b c") == (4, 5)
    assert answer_place(problem({"type": "exact"}, "z"), "a b") is None
