from __future__ import annotations

import pytest

from posttrain_diag.tasks import load_tasks
from posttrain_diag.tasks.problems.golds import OTHER_BOX, boxed, final_answer, hashed
from tasks.conftest import Write


@pytest.mark.parametrize(
    ("solution", "answer", "contradicts"),
    [
        (r"so \boxed{5}", "5", False),
        (r"so $\boxed 5$.", "5", False),
        (r"so \boxed5.", "5", False),
        (r"so \boxed -12, done", "-12", False),
        (r"so \fbox{\frac{1}{2}}", r"\frac{1}{2}", False),
        (r"\boxed{1} or \boxed{2}", "2", True),
        (r"\boxed{0.5}, that is \boxed{1/2}", "1/2", False),
        (r"\boxed{2} and an open \boxed{3", "2", False),
        (r"\boxed{} and \boxed{ 4 }", "4", False),
    ],
)
def test_the_last_box_counts_and_others_are_said(solution: str, answer: str, contradicts: bool):
    found = boxed(solution)
    assert found is not None
    assert (found.answer, found.remark) == (answer, OTHER_BOX if contradicts else "")


def test_a_solution_without_a_mark_gives_no_answer():
    assert boxed("no box {5}") is None
    for text in ("It is 5.", "Once upon a time.", "", "####", "#### \n"):
        assert final_answer(text) is None


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("2 + 2 = 4\n#### 4", "4"),
        ("a #### 3\nb #### 4\nSee page 7", "4"),
        ("So we have it.\nThe answer is: 4", "4"),
        ("The answer is **4**.", "4"),
        (r"The answer is 3? No: \boxed{4}", "4"),
    ],
)
def test_final_answers(solution: str, answer: str):
    found = final_answer(solution)
    assert found is not None and found.answer == answer


def test_hashes():
    assert hashed("#### 1,000 ") == "1,000"
    assert hashed("no hashes") is None


def test_rows_whose_solution_boxes_two_answers_are_noted(jsonl: Write):
    rows = [{"problem": f"p{i}", "solution": rf"\boxed{{{i}}}"} for i in range(3)]
    rows.append({"problem": "q", "solution": r"\boxed{1} or \boxed 2"})
    tasks = load_tasks(jsonl(*rows))
    assert [p.answer for p in tasks.problems] == ["0", "1", "2", "2"]
    (note,) = [note for note in tasks.notes if OTHER_BOX in note]
    assert note.endswith("1 rows, first line 4")


def test_the_answer_column_goes_before_the_box(jsonl: Write):
    (problem,) = load_tasks(jsonl({"problem": "p", "solution": r"\boxed{1}", "answer": "2"})).problems
    assert problem.answer == "2"


def test_demonstrations_that_mark_no_answer_are_refused_as_golds(jsonl: Write):
    from posttrain_diag.errors import TaskError

    with pytest.raises(TaskError, match="marks no answer of its own"):
        load_tasks(jsonl({"instruction": "Tell a story.", "input": "", "output": "Once upon a time."}))
