from __future__ import annotations

import pytest

from posttrain_diag.errors import TaskError, UsageError
from posttrain_diag.tasks import load_tasks
from tasks.conftest import Write


@pytest.mark.parametrize(
    ("columns", "meant"),
    [
        (("promt", "anwser"), "--map prompt=promt --map answer=anwser"),
        (("nr", "question", "solution"), "--map prompt=question --map answer=solution"),
        (("Query", "Expected Answer"), "--map prompt=Query --map answer=Expected Answer"),
    ],
)
def test_columns_of_no_layout_are_asked_about(columns: tuple[str, ...], meant: str, jsonl: Write):
    with pytest.raises(TaskError) as caught:
        load_tasks(jsonl(dict.fromkeys(columns, "x")))
    assert f"(did you mean {meant}?)" in str(caught.value)


def test_near_misses_in_a_mapping_are_asked_about(jsonl: Write):
    path = jsonl({"prompt": "a", "answer": "b"})
    with pytest.raises(UsageError, match=r"unknown field 'promt' \(did you mean 'prompt'\?\)"):
        load_tasks(path, mapping={"promt": "prompt"})
    with pytest.raises(UsageError, match=r"no column 'anwser' \(did you mean 'answer'\?\)"):
        load_tasks(path, mapping={"answer": "anwser"})


def test_case_and_blanks_of_a_column_do_not_matter(jsonl: Write):
    tasks = load_tasks(jsonl({"ID": "2024-I-1", "Problem": "1 + 1?", "Answer": 2}))
    (problem,) = tasks.problems
    assert (problem.id, problem.prompt, problem.answer) == ("2024-I-1", "1 + 1?", "2")
    assert tasks.columns["prompt" if "prompt" in tasks.columns else "problem"] == "Problem"


def test_results_are_no_tasks(jsonl: Write):
    with pytest.raises(TaskError, match=r"these are results, not tasks.*diag import counts"):
        load_tasks(jsonl({"task_id": "a", "completion": "x", "passed": True}))


def test_a_passage_beside_a_question_is_part_of_the_prompt(jsonl: Write):
    (problem,) = load_tasks(jsonl({"Body": "Ann has 3.", "Question": "How many?", "Answer": 3.0})).problems
    assert problem.prompt == "Ann has 3.\n\nHow many?"
    with pytest.raises(TaskError, match="context: expected a text"):
        load_tasks(jsonl({"question": "How many?", "context": {"title": ["a"]}, "answer": "3"}))


def test_truth_values_are_asked_for_as_yes_and_no(jsonl: Write):
    tasks = load_tasks(jsonl({"question": "Is it red?", "answer": True}, {"question": "Is it blue?", "answer": False}))
    assert [p.answer for p in tasks.problems] == ["yes", "no"]
    assert any("read as yes and no: 2 rows" in note for note in tasks.notes)
    (problem,) = load_tasks(jsonl({"question": "True or false: it is red?", "answer": True})).problems
    assert problem.answer == "True"


def test_rows_without_answers_are_demonstrations(jsonl: Write):
    from posttrain_diag.tasks import with_demos

    tasks = load_tasks(jsonl({"id": "a", "prompt": "Tell a story.", "answer": "x"})).problems
    demos = jsonl({"id": "a", "prompt": "Tell a story.", "completion": "Once upon a time."}, name="demos.jsonl")
    (joined,) = with_demos(demos, tasks)
    assert joined[0].demos == ("Once upon a time.",)
