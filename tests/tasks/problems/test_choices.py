from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from posttrain_diag.errors import TaskError
from posttrain_diag.tasks import load_tasks, verify
from posttrain_diag.types import Problem
from tasks.conftest import Write

ROW: dict[str, Any] = {"question": "2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1}
LISTED = "2 + 2?\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer:"


def one(path: str, **kw: Any) -> Problem:
    (problem,) = load_tasks(path, **kw).problems
    return problem


def refusal(path: str) -> str:
    with pytest.raises(TaskError) as caught:
        load_tasks(path)
    return str(caught.value)


def test_an_index_is_never_the_gold_number(jsonl: Write):
    problem = one(jsonl(ROW))
    assert (problem.prompt, problem.answer) == (LISTED, "B")
    assert problem.verifier == {"type": "choice", "options": {"A": "3", "B": "4", "C": "5", "D": "6"}}
    assert verify("B", problem).strict
    assert not verify("A", problem).lenient and not verify("1", problem).lenient


@pytest.mark.parametrize("gold", [1, 1.0, "B", "b", "(B)", "B.", "4"])
def test_a_gold_is_an_index_a_letter_or_the_text(gold: Any, jsonl: Write):
    assert one(jsonl({**ROW, "answer": gold})).answer == "B"


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"answer": 4}, "got 4 (do the numbers count from 1?"),
        ({"answer": 7}, "a number from 0 to 3"),
        ({"answer": "E"}, "a letter up to D"),
        ({"answer": -1}, "take the validation split"),
        ({"answer": True}, "got bool True"),
        ({"answer": "3"}, "may mean option A or D"),  # the option "3", or the index 3
        ({"answer": ["A", "B"]}, "got list ['A', 'B']"),
        ({"choices": "3, 4"}, "expected a list of options"),
        ({"choices": ["3"]}, "2 to 26 options"),
        ({"choices": ["3", {"x": 1}]}, "each a text"),
        ({"choices": {"text": ["3", "4"], "label": ["A"]}}, "one label for each"),
    ],
)
def test_what_does_not_say_which_option_is_refused(cells: dict[str, Any], says: str, jsonl: Write):
    assert says in refusal(jsonl({**ROW, **cells}))


def test_columns_that_name_different_options_are_refused(jsonl: Write):
    row = {"question": "2 + 2?", "options": ["3", "4"], "answer": "B", "answer_index": 0}
    assert "name the same option" in refusal(jsonl(row))


def test_labels_of_the_file_are_letters_here(jsonl: Write):
    row = {"question": "2 + 2?", "choices": {"text": ["3", "4"], "label": ["1", "2"]}, "answerKey": "1"}
    assert one(jsonl(row)).answer == "A"
    by_letter = {"question": "2 + 2?", "options": {"A": "3", "B": "4", "C": None}, "answer": "4", "answer_idx": "B"}
    assert one(jsonl(by_letter)).verifier["options"] == {"A": "3", "B": "4"}


def test_a_prompt_that_lists_the_options_stays_as_it_is(jsonl: Write):
    for listed in ("2 + 2?\nA. 3\nB. 4", "2 + 2? (A) 3 (B) 4", r"2 + 2? $\textbf{(A) }3\qquad\textbf{(B) }4$"):
        problem = one(jsonl({"question": listed, "choices": ["3", "4"], "answer": 1}))
        assert (problem.prompt, problem.answer) == (listed, "B")
    turned = one(jsonl({"question": "2 + 2?\nA. 4\nB. 3", "choices": ["3", "4"], "answer": 1}))
    assert (turned.answer, turned.verifier["options"]) == ("A", {"A": "4", "B": "3"})


def test_where_the_right_option_comes_first_the_order_is_drawn_from_the_question(jsonl: Write):
    def row(i: int) -> dict[str, Any]:
        wrong = {f"Incorrect Answer {k}": f"wrong {k}" for k in (1, 2, 3)}
        return {"Question": f"Question {i}?", "Correct Answer": "right", **wrong}

    problems = load_tasks(jsonl(*(row(i) for i in range(80)))).problems
    again = load_tasks(jsonl(*(row(i) for i in reversed(range(80))))).problems
    assert {p.prompt: p.answer for p in problems} == {p.prompt: p.answer for p in again}
    letters = [p.answer for p in problems]
    assert all(10 <= letters.count(letter) <= 30 for letter in "ABCD")
    for problem in problems:
        assert problem.verifier["options"][problem.answer] == "right"


def test_numbers_of_winogrande_and_siqa_count_from_one(jsonl: Write):
    row = {"sentence": "It is in _.", "option1": "bag", "option2": "box"}
    assert [one(jsonl({**row, "answer": str(n)})).answer for n in (1, 2)] == ["A", "B"]
    assert "a number from 1 to 2" in refusal(jsonl({**row, "answer": "0"}))


def test_options_survive_csv_and_parquet(tmp_path: Path):
    pd.DataFrame([ROW]).to_csv(tmp_path / "a.csv", index=False)  # writes the list as Python does
    pd.DataFrame([ROW] * 2).to_parquet(tmp_path / "a.parquet")
    row = {"question": "2 + 2?", "choices": {"text": ["3", "4", "5", "6"], "label": list("ABCD")}, "answerKey": "B"}
    pd.DataFrame([row]).to_parquet(tmp_path / "b.parquet")
    assert one(str(tmp_path / "a.csv")).prompt == LISTED
    assert load_tasks(str(tmp_path / "a.parquet")).problems[1].prompt == LISTED
    assert one(str(tmp_path / "b.parquet")).answer == "B"


def test_several_options_of_one_text_do_not_hide_the_letter(jsonl: Write):
    assert one(jsonl({**ROW, "choices": ["4", "4"], "answer": "A"})).answer == "A"
