"""The `code` verifier in its sandbox: kinds of tests, what is run at all, and the form that a prompt demands."""

from __future__ import annotations

import os
from typing import Any

import pytest

import posttrain_diag.tasks.verifiers.code.verifier as code
from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks import check_verifier, load_tasks, verify
from posttrain_diag.tasks.verifiers.code.demand import demand_of
from posttrain_diag.tasks.verifiers.sandbox import ProgramRun
from tasks.conftest import Write, problem
from tasks.verifiers.code_answers import (
    BAD,
    BODY,
    EVENS_PROMPT,
    EVENS_TEST,
    GOOD,
    TEST,
    WHOLE,
    fence,
    indented,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the sandbox needs POSIX")

PLAIN: dict[str, Any] = {"type": "code", "test": TEST}
CHECKED: dict[str, Any] = {"type": "code", "test": EVENS_TEST, "entry_point": "evens"}
METHOD = "class Solution:\n" + indented(GOOD.replace("(xs)", "(self, xs)", 1), 4)
CALLS: dict[str, Any] = {
    "type": "code", "inputs": [[[1, 3, 2]], [[]]], "outputs": [[1, 3, 3], []], "entry_point": "running_max",
}  # fmt: skip
LINES: dict[str, Any] = {**CALLS, "inputs": ["[1, 3, 2]", "[]"], "outputs": ["[1, 3, 3]", "[]"]}
PROGRAM: dict[str, Any] = {"type": "code", "inputs": ["3\n1 3 2\n", "1\n5\n"], "outputs": ["1 3 3\n", "5"]}
CASES: dict[str, Any] = {
    "type": "code",
    "entry_point": "running_max",
    "test": "import unittest\n\nclass TestCases(unittest.TestCase):\n    def test_one(self):\n"
    "        self.assertEqual(running_max([1, 3, 2]), [1, 3, 3])\n",
}
FUNCTIONS: dict[str, Any] = {
    "type": "code",
    "test": "from solution import running_max\n\ndef test_one():\n    assert running_max([1, 3, 2]) == [1, 3, 3]\n",
}
BY_METHOD: dict[str, Any] = {
    "type": "code",
    "entry_point": "Solution().running_max",
    "test": "def check(candidate):\n    assert candidate([1, 3, 2]) == [1, 3, 3]\n",
}
LOOKED_UP: dict[str, Any] = {
    "type": "python",
    "test": "call = getattr(Solution(), 'running_max') if 'Solution' in globals() else globals()['running_max']\n"
    "assert call([1, 3, 2]) == [1, 3, 3]",
}
READER = """n = int(input())
best, out = None, []
for x in map(int, input().split()):
    best = x if best is None else max(best, x)
    out.append(best)
print(*out)"""
MAIN = """import sys

def main():
    xs = list(map(int, sys.stdin.buffer.read().split()[1:]))
    sys.stdout.write(" ".join(str(max(xs[:i + 1])) for i in range(len(xs))) + "\\n")

if __name__ == "__main__":
    main()"""

KINDS: list[tuple[str, dict[str, Any], str, bool]] = [
    ("asserts", PLAIN, fence(GOOD), True),
    ("asserts", {**PLAIN, "type": "python"}, fence(GOOD), True),
    ("asserts", PLAIN, fence("def running_max(xs):\n    return 1"), False),
    ("a built-in name", {"type": "code", "test": "assert sum(10, 15) == 6"}, "def sum(a, b):\n    return 6", True),
    ("a built-in name", {"type": "code", "test": "assert sum(10, 15) == 6"}, "Use sum(10, 15).", False),
    ("a class", {"type": "code", "test": "s = Stack()\ns.push(1)\nassert s.items == [1]"},
     fence("class Stack:\n    def __init__(self):\n        self.items = []\n    def push(self, x):\n        self.items.append(x)"), True),
    ("a module that only the tests use", {"type": "code", "test": "assert size(()) == sys.getsizeof(())"},
     fence("def size(t):\n    import sys\n    return sys.getsizeof(t)"), True),
    ("calls", CALLS, fence(GOOD), True),
    ("calls", CALLS, fence(METHOD), True),
    ("calls", CALLS, fence("def running_max(xs):\n    return tuple(max(xs[:i + 1]) for i in range(len(xs)))"), True),
    ("calls", CALLS, fence("def running_max(xs: List[int]) -> List[int]:\n    return list(accumulate(xs, max))"), True),
    ("calls", CALLS, fence(BAD), False),
    ("calls in lines", LINES, fence(GOOD), True),
    ("calls in lines", LINES, fence(BAD), False),
    ("a program", PROGRAM, fence(READER), True),
    ("a program", PROGRAM, fence(MAIN), True),
    ("a program", PROGRAM, f"Read the list.\n\n{READER}\n\nExample\nNote: linear\n", True),
    ("a program", PROGRAM, f"Read it:\n{fence(READER)}\nInput:\n{fence('3', '')}\nOutput:\n{fence('3', '')}", True),
    ("a program", PROGRAM, fence(READER + "\nexit(0)"), True),
    ("a program", PROGRAM, fence("input()\nprint(*accumulate(map(int, input().split()), max))"), True),
    ("a program", PROGRAM, f"{fence(GOOD)}\nthen\n{fence('input()' + chr(10) + 'print(*running_max(list(map(int, input().split()))))')}", True),
    ("a program", PROGRAM, f"{fence('print(input())')}\nFixed:\n{fence(READER)}", True),
    ("a program", PROGRAM, f"{fence(READER)}\nFinal:\n{fence('print(input())')}", False),
    ("a program", PROGRAM, fence(GOOD), False),
    ("a program", PROGRAM, "Keep the largest number.", False),
    ("test cases", CASES, fence(GOOD), True),
    ("test cases", CASES, fence("def running_max(xs):\n    return 1"), False),
    ("test functions", FUNCTIONS, fence(GOOD), True),
    ("test functions", FUNCTIONS, fence(BAD), False),
    ("a method", BY_METHOD, f"Use a loop.\n{fence(METHOD)}\nO(n).", True),
    ("a method", BY_METHOD, fence(GOOD), False),
    ("a name looked up", LOOKED_UP, fence(GOOD), True),
    ("a name looked up", LOOKED_UP, fence(METHOD), True),
    ("a name looked up", LOOKED_UP, f"Solution\n\n{GOOD}\n\nNote: linear\n", True),
    ("a name looked up", LOOKED_UP, fence(BAD), False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "verifier", "completion", "right"), KINDS)
def test_kinds_of_tests(kind: str, verifier: dict[str, Any], completion: str, right: bool):
    judgement = verify(completion, problem(verifier, prompt="Write running_max."))
    assert judgement.error is None
    assert (judgement.strict, judgement.lenient) == (right, right)


@pytest.mark.parametrize("completion", [BODY, WHOLE, fence(WHOLE), f"Sure!\n{fence(BODY.rstrip())}\nDone."])
def test_a_function_is_continued_or_whole(completion: str):
    assert verify(completion, problem(CHECKED, prompt=EVENS_PROMPT)).strict
    turns = (
        {"role": "system", "content": "You write code."},
        {"role": "user", "content": f"Complete this:\n\n{fence(EVENS_PROMPT)}"},
    )
    assert verify(completion, problem(CHECKED, prompt=None, messages=turns)).strict


@pytest.mark.parametrize(
    "completion",
    [
        "    import sys; sys.exit(0)\n",
        "    import os; os._exit(0)\n",
        "    raise SystemExit\n",
        "\x00",
        "    return '\ud800'\n",
    ],
)
def test_a_program_that_ends_before_its_tests_has_not_passed(completion: str):
    judgement = verify(completion, problem(CHECKED, prompt=EVENS_PROMPT))
    assert (judgement.strict, judgement.lenient, judgement.error) == (False, False, None)


def test_setup_stands_in_for_the_code_of_the_prompt():
    spec = {**CHECKED, "setup": "def is_even(n):\n    return n % 2 == 0\n"}
    assert verify("def evens(xs):\n" + BODY, problem(spec, prompt="Write evens.")).strict


def test_nothing_is_run_without_the_function(monkeypatch: pytest.MonkeyPatch):
    programs: list[str] = []

    def run(program: str, *, timeout_s: float) -> ProgramRun:
        programs.append(program)
        return ProgramRun(True, "")

    monkeypatch.setattr(code, "run_program", run)
    for completion in (
        "",
        "I cannot.",
        "Use `running_max`.",
        fence("def f(xs):\n    return xs"),
        f"<think>{fence(GOOD)}",
    ):
        assert not verify(completion, problem(PLAIN)).lenient
    assert programs == []
    assert verify(fence(GOOD), problem(PLAIN)).lenient
    assert len(programs) == 1


def test_long_thinking_before_short_code_is_read():
    assert verify(f"<think>{'hm ' * 40_000}</think>\n{fence(GOOD)}", problem(PLAIN)).strict
    assert not verify(f"{'# hm' * 20_000}\n{fence(GOOD)}", problem(PLAIN)).lenient


def _passing(program: str, *, timeout_s: float) -> ProgramRun:
    return ProgramRun(True, "")


BARE = "Write running_max. Reply with bare Python code, no markdown."
ONLY = "Write running_max. Return only the code, no explanation."
FENCED = "Write running_max. Put your code in a ```python block."
FORMS: list[tuple[str, str, bool]] = [
    ("Write running_max.", f"Sure:\n{fence(GOOD)}\nDone.", True),
    ("Write running_max. Explain your solution.", f"Sure:\n{fence(GOOD)}\nDone.", True),
    (BARE, GOOD, True),
    (BARE, f"# linear\n{GOOD}\n", True),
    (BARE, fence(GOOD), False),
    (BARE, f"{GOOD}\n\nThis is linear in the list.", False),
    ("Don't use markdown.", fence(GOOD), False),
    ("Do not wrap the code in backticks.", fence(GOOD), False),
    ("Output raw code without any formatting.", fence(GOOD), False),
    (ONLY, GOOD, True),
    (ONLY, fence(GOOD), True),
    (ONLY, f"{GOOD}\n```", True),
    (ONLY, f"Here you go: {fence(GOOD)}", False),
    (ONLY, f"{fence(GOOD)}\nIt is linear.", False),
    (ONLY, f"{GOOD}\nThis works for all lists.", False),
    ("Do not include any explanations.", f"{fence(GOOD)}\nIt is linear.", False),
    (FENCED, GOOD, False),
    (FENCED, f"Text.\n{fence(GOOD)}\nText.", True),
    ("Enclose your code within delimiters as follows.\n```python\n# YOUR CODE\n```", GOOD, False),
]


@pytest.mark.parametrize(("prompt", "completion", "keeps"), FORMS)
def test_the_form_that_a_prompt_demands(monkeypatch: pytest.MonkeyPatch, prompt: str, completion: str, keeps: bool):
    monkeypatch.setattr(code, "run_program", _passing)
    judgement = verify(completion, problem(PLAIN, prompt=prompt))
    assert (judgement.strict, judgement.lenient) == (keeps, True)


@pytest.mark.parametrize(
    "prompt",
    [
        "Write a function for a list that only contains numbers.",
        "Write a function that works for positive numbers only.",
        "Write a function that returns the text without any words.",
        "Write a function to remove code blocks from a text without using regex.",
        "Write a function using only one loop.",
        "Write a function. Use plain Python (no libraries).",
        "Fix this:\n```python\ndef f(x):\n    return x\n```",
    ],
)
def test_prompts_that_demand_no_form(prompt: str):
    assert demand_of(prompt) == "any"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, ["'test'", "'inputs'", "'outputs'"]),
        ({"test": "x", "inputs": [1], "outputs": [1]}, ["'test'"]),
        ({"inputs": [[1]], "outputs": []}, ["as many", "1 and 0"]),
        ({"inputs": ["not json"], "outputs": ["1"], "entry_point": "f"}, ["JSON value per line", "'not json'"]),
        ({"test": "x", "timeout_s": 0}, ["timeout_s", "0"]),
        ({"test": "x", "entry_point": "a b"}, ["function name", "'a b'"]),
        ({"test": 3}, ["'test' is a text", "int"]),
        ({"test": "x", "function": "f"}, ["does not take 'function'"]),
    ],
)
def test_unusable_verifiers(spec: dict[str, Any], says: list[str]):
    with pytest.raises(VerifierError) as caught:
        check_verifier(problem({"type": "code", **spec}))
    assert all(part in str(caught.value) for part in says), caught.value


def test_mbpp_plus_rows_run_their_longer_tests(jsonl: Write):
    row = {
        "task_id": 1,
        "prompt": "Write running_max.",
        "code": GOOD,
        "test_list": ["assert running_max([1]) == [1]"],
        "test": "for given, wanted in (([1, 3, 2], [1, 3, 3]), ([], [])):\n    assert running_max(given) == wanted",
    }
    (loaded,) = load_tasks(jsonl(row), allow_code=True).problems
    assert verify(loaded.demos[0], loaded).strict
    assert not verify("def running_max(xs):\n    return [1]", loaded).lenient
