"""Which program a completion means. The programs are our own and harmless: they run in this process."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest

from posttrain_diag.tasks.verifiers.code import cases
from posttrain_diag.tasks.verifiers.code.blocks import blocks
from posttrain_diag.tasks.verifiers.code.pieces import pieces
from posttrain_diag.tasks.verifiers.code.solution import solution
from posttrain_diag.tasks.verifiers.code.verifier import final_code, prompt_code
from tasks.verifiers.code_answers import (
    CONTINUED_RIGHT,
    CONTINUED_WRONG,
    EVENS_PROMPT,
    EVENS_TEST,
    GOOD,
    RIGHT,
    TEST,
    WRONG,
    fence,
)

PLAIN = cases.tests_from_source(TEST, None)
CHECKED = cases.tests_from_source(EVENS_TEST, "evens")
PROMPTS = {
    "raw": EVENS_PROMPT,
    "instruction": f"Complete the following Python function:\n\n{EVENS_PROMPT}",
    "fenced": f"Complete this function.\n\n{fence(EVENS_PROMPT)}",
}


def passes(completion: str, tests: cases.Tests, prompt: str = "Write running_max.") -> bool:
    """Whether the program that a completion means passes the tests."""
    found = solution(final_code(completion), prompt_code(prompt), tests)
    if found is None:
        return False
    names: dict[str, Any] = {"__name__": "__completion__"}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(tests.after(found), "completion.py", "exec"), names)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever a wrong program raises
        return False
    return True


@pytest.mark.parametrize("name", RIGHT)
def test_right_code_is_found(name: str):
    assert passes(RIGHT[name], PLAIN)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_code_is_not_taken(name: str):
    assert not passes(WRONG[name], PLAIN)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", CONTINUED_RIGHT)
def test_a_function_that_the_prompt_begins_is_continued(name: str, prompt: str):
    assert passes(CONTINUED_RIGHT[name], CHECKED, PROMPTS[prompt])


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", CONTINUED_WRONG)
def test_what_does_not_continue_it_rightly_is_not_taken(name: str, prompt: str):
    assert not passes(CONTINUED_WRONG[name], CHECKED, PROMPTS[prompt])


def test_only_what_the_answer_needs_is_run():
    text = fence("import math\nimport os\n\n" + GOOD + "\n\nprint(running_max([1]))\nassert False")
    found = solution(text, "", PLAIN)
    assert found is not None
    assert found.text == GOOD


def test_settings_of_the_interpreter_are_kept():
    text = fence(f"import sys\nsys.setrecursionlimit(5000)\nsys.exit\n\n{GOOD}")
    found = solution(text, "", PLAIN)
    assert found is not None
    assert found.text == f"import sys\nsys.setrecursionlimit(5000)\n{GOOD}"


def test_no_program_without_the_function():
    assert solution("Use `running_max`.", "", PLAIN) is None
    assert solution(fence("def other(xs):\n    return xs"), "", PLAIN) is None


def test_blocks_in_order():
    text = f"Look:\n\n{fence('a = 1')}\nthen\n{fence('b = 2', '')}\n{fence('c', 'bash')}"
    found = [(block.text.strip(), block.language, block.fenced, block.python) for block in blocks(text)]
    assert found == [
        ("Look:", "", False, False),
        ("a = 1", "python", True, True),
        ("then", "", False, False),
        ("b = 2", "", True, True),
        ("c", "bash", True, False),
    ]


def test_pieces_say_what_they_bind_need_and_change():
    found = pieces("import os as o\nmemo = {}\ndef f(x):\n    y = memo\n    return g(y)\nmemo[0] = f(1)\ndef g(x): ...")
    assert [(sorted(p.binds), sorted(p.complete), sorted(p.needs), sorted(p.changes)) for p in found] == [
        (["o"], ["o"], [], []),
        (["memo"], ["memo"], [], []),
        (["f"], ["f"], ["g", "memo"], []),
        ([], [], ["f", "memo"], ["memo"]),
        (["g"], [], [], []),
    ]


@pytest.mark.parametrize(
    ("test", "needs"),
    [
        ("assert f(1) == 2", ["f"]),
        ("assert set(f([1])) == set([1])", ["f"]),
        ("import math\nassert math.isclose(f(1), 2.0)", ["f"]),
        ("assert longest([Pair(1, 2)], 1) == 1", ["longest", "Pair"]),
        ("root = Node(1)\nassert height(root) == 1", ["height", "Node"]),
        ("def same(a, b):\n    assert a == b\nfor i in [1]:\n    same(f(i), i)", ["f"]),
        ("assert sum(10, 15) == 6", []),
    ],
)
def test_what_tests_need(test: str, needs: list[str]):
    assert list(cases.tests_from_source(test, None).needs) == needs


HOSTILE = {
    "fences": "```\n" * 12_000,
    "fences with a language": "```python\n" * 4_900,
    "quotes": '"""\n' * 12_000,
    "brackets": "```python\n" + "(" * 5_000,
    "deep": "\n".join(" " * i + "x" for i in range(300)),
    "definitions": "def running_max(xs):\n" * 2_300,
    "prose": "It's a (bad idea [to write\n" * 1_800,
    "unclosed": "x = (\n" * 8_000,
    "tags": "[PYTHON]\n" * 5_000,
    "statements": "x = 1\n" * 8_000,
    "nul": "\x00" * 100,
    "surrogate": "def running_max(xs):\n    return '\ud800'",
    "chain": "running_max = a" + ".a" * 20_000,
    "sum": "running_max = 1" + "+1" * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read_to_its_end(name: str):
    assert not passes(HOSTILE[name], PLAIN)
    assert not passes(HOSTILE[name], CHECKED, EVENS_PROMPT)
