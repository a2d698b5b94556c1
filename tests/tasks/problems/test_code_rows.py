from __future__ import annotations

import json
from typing import Any

import pytest

from posttrain_diag.errors import TaskError, VerifierError
from posttrain_diag.tasks import load_tasks, verify
from posttrain_diag.tasks.problems.code import code_tests_in
from posttrain_diag.types import Problem
from tasks.conftest import Write

VERL = {"data_source": "apps", "ability": "code", "prompt": [{"role": "user", "content": "Write f, which adds one."}]}
RIGHT, WRONG = "def f(x):\n    return x + 1\n", "def f(x):\n    return 2\n"


def verl(truth: Any, **kw: Any) -> dict[str, Any]:
    return {**VERL, "reward_model": {"style": "rule", "ground_truth": truth}, **kw}


def one(path: str, **kw: Any) -> Problem:
    (problem,) = load_tasks(path, allow_code=True, **kw).problems
    return problem


@pytest.mark.parametrize(
    "truth",
    [
        "assert f(1) == 2\nassert f(2) == 3",
        ["assert f(1) == 2", "assert f(2) == 3"],
        json.dumps({"assert_case": ["assert f(1) == 2", "assert f(2) == 3"]}),
        json.dumps({"fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 3]}),
        json.dumps({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[2], [3]]}),
        json.dumps({"fn_name": "f", "inputs": ["1", "2"], "outputs": ["2", "3"]}),
        {"functional": "assert f(1) == 2\nassert f(2) == 3"},
    ],
)
def test_code_tests_in_verl_are_run(truth: Any, jsonl: Write):
    problem = one(jsonl(verl(truth)))
    assert problem.answer is None
    assert verify(RIGHT, problem).strict
    assert not verify(WRONG, problem).lenient


def test_methods_of_a_class_are_called_too(jsonl: Write):
    problem = one(jsonl(verl(json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [2]}))))
    assert verify("class Solution:\n    def f(self, x):\n        return x + 1\n", problem).strict


def test_tests_that_cannot_be_run_are_refused(jsonl: Write):
    stdin = verl(json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]}))
    for row, says in (
        (stdin, "standard input"),
        (verl("42"), "expected tests of code for 'apps'"),
        (verl(json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": []})), "as many outputs as inputs"),
    ):
        with pytest.raises(TaskError) as caught:
            load_tasks(jsonl(row), allow_code=True)
        assert says in str(caught.value) and "reward_model.ground_truth" in str(caught.value)


def test_verls_own_scorer_is_given_the_ground_truth_as_it_stands(jsonl: Write, tmp_path: Any):
    (tmp_path / "v.py").write_text(
        "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n"
        "    return float(data_source == 'apps' and ground_truth['inputs'] == ['1'])\n"
    )
    problem = one(jsonl(verl({"inputs": ["1"], "outputs": ["2"]})), verifier=f"{tmp_path}/v.py:compute_score")
    assert verify("anything", problem).strict


def test_code_of_verl_needs_consent(jsonl: Write):
    with pytest.raises(VerifierError, match="--allow-code"):
        load_tasks(jsonl(verl("assert f(1) == 2")))


def test_an_answer_is_no_test():
    for truth in ("42", "[1, 2]", '{"a": 1}', ["4", "four"], {"target": ["Ann"]}, None, "{broken"):
        assert code_tests_in(truth) is None


def test_the_longer_code_tests_in_mbpp_plus_are_run(jsonl: Write):
    row = {
        "task_id": 2, "code": RIGHT, "prompt": "Write f.", "test_imports": [], "test_list": ["assert f(1) == 2"],
        "test": "for i in range(9):\n    assert f(i) == i + 1\n", "source_file": "b",
    }  # fmt: skip
    problem = one(jsonl(row))
    assert verify(RIGHT, problem).strict
    assert not verify(WRONG, problem).lenient  # passes the short list
    assert problem.prompt is not None and "range(9)" not in problem.prompt


def test_programs_of_apps_that_read_input_are_refused(jsonl: Write):
    row = {"question": "Add one.", "input_output": json.dumps({"inputs": ["1"], "outputs": ["2"]}), "solutions": "[]"}
    with pytest.raises(TaskError, match="standard input"):
        load_tasks(jsonl(row), allow_code=True)


def test_the_worked_answer_of_verl_is_a_demonstration(jsonl: Write):
    extra = {"split": "train", "answer": "1 + 1 = 2\n#### 2"}
    problem = one(jsonl(verl("2", data_source="openai/gsm8k", ability="math", extra_info=extra)))
    assert (problem.answer, problem.demos) == ("2", ("1 + 1 = 2\n#### 2",))
    other = one(jsonl(verl("3", data_source="openai/gsm8k", ability="math", extra_info=extra)))
    assert other.demos == ()
