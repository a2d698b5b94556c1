"""When a row that names no verifier is read as mathematics, and how the type is named."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks import load_tasks, verify
from posttrain_diag.tasks.problems.load import parse_verifier
from posttrain_diag.tasks.problems.references import corrupted_completions, reference_completions
from posttrain_diag.tasks.verifiers.math.verifier import looks_like_math
from posttrain_diag.tasks.verifiers.spec import check_verifier
from posttrain_diag.types import Problem
from tasks.conftest import Write

BOX = "Put your final answer in \\boxed{}."


@pytest.mark.parametrize(
    ("gold", "prompt", "math"),
    [
        ("\\frac{14}{3}", "How long is it?", True),
        ("x^2", "What is it?", True),
        ("90^\\circ", "What is it?", True),
        ("(3, 4]", "Where is it?", True),
        ("y = 2x + 3", "Which line?", True),
        ("52_8", "Convert.", True),
        ("5", f"What is 2 + 3? {BOX}", True),
        ("2, 3", f"Find the roots. {BOX}", True),
        ("5", "What is 2 + 3?", False),
        ("Paris", "What is the capital of France?", False),
        ("Paris", f"What is the capital of France? {BOX}", False),
        ("\\text{east}", f"Where to? {BOX}", True),
        ("18 apples and 3 \\frac{", "How many?", False),
        ("a\nb", "Which letters?", False),
        ("the theorem follows from x^2 \\ge 0 because squares are never negative", "Prove it.", False),
    ],
)
def test_which_golds_look_like_math(gold: str, prompt: str, math: bool):
    assert looks_like_math(gold, prompt) is math


def test_rows_of_a_file_get_the_verifier_that_suits_each(jsonl: Write):
    rows: list[dict[str, Any]] = [
        {"prompt": f"How long? {BOX}", "answer": "\\frac{14}{3}"},
        {"prompt": f"What is 2 + 3? {BOX}", "answer": "5"},
        {"prompt": "What is 2 + 3?", "answer": "5"},
    ]
    assert [p.verifier["type"] for p in load_tasks(jsonl(*rows)).problems] == ["math", "math", "numeric"]


def test_the_math_layout_is_compared_as_mathematics(jsonl: Write):
    row = {"problem": "Find it.", "solution": "It is $\\boxed{\\dfrac{1}{2}}$.", "answer": "\\frac12"}
    (task,) = load_tasks(jsonl(row)).problems
    assert task.verifier == {"type": "math"}
    assert [verify(text, task).strict for text in (*task.demos, "\\boxed{0.5}", "It is $1/2$.")] == [True, True, True]


def test_a_math_row_whose_answer_is_no_mathematics_keeps_the_box(jsonl: Write):
    row = {"problem": "Say it.", "solution": "$\\boxed{1 2 \\cdot}$", "answer": "1 2 \\cdot"}
    (task,) = load_tasks(jsonl(row)).problems
    assert task.verifier["type"] == "regex"
    assert verify("\\boxed{1 2 \\cdot}", task).strict


def test_the_command_line_names_the_type():
    assert parse_verifier("math") == {"type": "math"}
    with pytest.raises(VerifierError, match="math"):
        parse_verifier("maths")


def test_a_gold_that_cannot_be_read_is_refused():
    with pytest.raises(VerifierError, match="cannot read the answer"):
        check_verifier(Problem("x", "?", None, "1 +", {"type": "math"}))


@pytest.mark.parametrize("gold", ["\\frac{3}{8}", "(3, 4]", "\\text{east}", "x = 5", "\\sqrt{5}", "12"])
def test_references_pass_and_corruptions_fail(gold: str):
    task = Problem("x", f"Find it. {BOX}", None, gold, {"type": "math"})
    other = Problem("y", f"Find the other. {BOX}", None, "\\frac{7}{9}", {"type": "math"})
    assert [verify(text, task).strict for text in reference_completions(task)] == [True]
    wrong = corrupted_completions(task, [other])
    assert len(wrong) >= 3
    assert [text for text in wrong if verify(text, task).lenient] == []
