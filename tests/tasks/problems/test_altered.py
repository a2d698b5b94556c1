"""Wrong answers that look like right ones."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain_diag.tasks.problems.altered import altered_code, altered_json, altered_literal, altered_value
from posttrain_diag.tasks.problems.references import corrupted_completions
from posttrain_diag.tasks.verifiers.python_values import same_value
from tasks.conftest import problem
from tasks.verifiers.code_answers import BODY, EVENS_PROMPT, EVENS_TEST, GOOD, TEST


@pytest.mark.parametrize(
    "value", [True, 0, 1.5, "", "a", b"", [], [1], (), (1, 2), {}, {"a": {"b": 1}}, set(), {1}, None, [[]], [True]]
)
def test_an_altered_value_is_another_one_of_its_type(value: Any):
    altered = altered_value(value)
    assert value is None or type(altered) is type(value)
    assert not same_value(altered, value)


def test_altered_texts():
    assert altered_literal("[4, 6]") == "[5, 6]"
    assert altered_literal("deque([1])") is None
    assert altered_json('{"city": "Rome", "n": 1}') == '{"city": "Romex", "n": 1}'
    assert altered_json("Rome") is None


def test_altered_code_wraps_the_result_and_changes_the_name():
    task = problem({"type": "code", "test": TEST}, demos=(GOOD,))
    wrapped, renamed = altered_code(task)
    assert "return (out, None)" in wrapped and "def running_max(" in wrapped
    assert "def running_max_(" in renamed


def test_altered_code_of_a_continuation_is_the_whole_function():
    spec = {"type": "code", "test": EVENS_TEST, "entry_point": "evens"}
    wrapped, renamed = altered_code(problem(spec, demos=(BODY,), prompt=EVENS_PROMPT))
    assert "def is_even(" in wrapped and "is_even(x)], None)" in wrapped
    assert "def evens_(" in renamed


def test_no_altered_code_without_a_function():
    assert list(altered_code(problem({"type": "code", "test": TEST}, demos=("print(1)",)))) == []
    assert list(altered_code(problem({"type": "code", "test": TEST}))) == []


def test_corruptions_of_a_literal_are_literals():
    mine = problem({"type": "literal"}, "(1, 'a')", prompt="f(1) ==")
    assert "(2, 'a')" in corrupted_completions(mine, [])
