from __future__ import annotations

from typing import Any

import pytest

from posttrain_diag.errors import TaskError, VerifierError
from posttrain_diag.tasks import check_verifier, load_tasks, verifier_sha, verify
from posttrain_diag.tasks.problems.write import from_row, to_row
from posttrain_diag.tasks.verifiers.spec import needs_code
from posttrain_diag.types import Problem
from tasks.conftest import Write, problem


def one(path: str, **kw: Any) -> Problem:
    (found,) = load_tasks(path, **kw).problems
    return found


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2?", "answer": ["4", "four"]},
        {"prompt": "2 + 2?", "answer": {"target": ["4", "four"]}},
        {"prompt": "2 + 2?", "answer": {"value": "4", "aliases": ["four"], "type": "x"}},
        {"prompt": "2 + 2?", "answer": 4, "aliases": ["four"]},
        {"question": "2 + 2?", "answers": ["4", "four", "4"]},
        {"question": "2 + 2?", "possible_answers": '["4", "four"]'},
        {
            "data_source": "x",
            "prompt": [{"role": "user", "content": "2 + 2?"}],
            "reward_model": {"style": "rule", "ground_truth": {"target": ["4", "four"]}},
        },
    ],
)
def test_any_accepted_answer_passes(row: dict[str, Any], jsonl: Write):
    tasks = load_tasks(jsonl(row))
    (found,) = tasks.problems
    assert found.answer == "4"
    assert verify("4", found).strict and verify("four", found).strict
    assert verify("Four", found).lenient
    for wrong in ("5", "five", "", "fourteen"):
        assert not verify(wrong, found).lenient, wrong
    assert any("1 of 1 problems accept several answers" in note for note in tasks.notes)


def test_each_answer_is_compared_in_its_own_way(jsonl: Write):
    found = one(jsonl({"prompt": "2 + 2?", "answer": ["4", "four"]}))
    assert [entry["answer"] for entry in found.verifier["of"]] == ["4", "four"]
    assert verify("2 + 2 = 4", found).strict
    assert from_row(to_row(found)) == found


def test_a_verifier_of_the_row_is_that_of_every_answer(jsonl: Write):
    row = {"prompt": "2 + 2?", "answer": ["IV", "four"], "verifier": {"type": "exact", "strip": False}}
    found = one(jsonl(row))
    assert found.verifier["of"] == [
        {"type": "exact", "strip": False, "answer": "IV"},
        {"type": "exact", "strip": False, "answer": "four"},
    ]
    assert verify("four", found).strict and not verify(" four", found).strict


def test_answers_that_a_given_verifier_cannot_take_are_left_out_and_said(jsonl: Write):
    tasks = load_tasks(jsonl({"prompt": "2 + 2?", "answer": ["four", "4"]}), verifier="numeric")
    (found,) = tasks.problems
    assert (found.answer, found.verifier) == ("4", {"type": "numeric"})
    assert any("1 accepted answers were left out" in note for note in tasks.notes)
    with pytest.raises(TaskError, match="needs an answer that is one number"):
        load_tasks(jsonl({"prompt": "2 + 2?", "answer": ["four", "vier"]}), verifier="numeric")


def test_callables_are_given_the_cell_as_it_stands(jsonl: Write, tmp_path: Any):
    (tmp_path / "v.py").write_text(
        "def f(prompts, completions, answer):\n    return [float(c in a) for c, a in zip(completions, answer)]\n"
    )
    found = one(jsonl({"prompt": "2 + 2?", "answer": ["4", "four"]}), verifier=f"{tmp_path}/v.py:f")
    assert verify("four", found).strict and not verify("5", found).strict


def test_what_no_gold_is_stays_refused(jsonl: Write):
    for gold in ({"x": 1}, [["4"]], [{"a": "b"}], {"target": [{}]}):
        with pytest.raises(TaskError, match="a list of accepted answers"):
            load_tasks(jsonl({"prompt": "2 + 2?", "answer": gold}))
    with pytest.raises(TaskError, match="nothing to verify"):
        load_tasks(jsonl({"prompt": "2 + 2?", "answer": []}))


def test_an_error_counts_only_where_no_answer_passes():
    slow = {"type": "regex", "pattern": "(a+)+b", "answer": "x"}
    both = problem({"type": "any", "of": [slow, {"type": "exact", "answer": "a" * 40}]}, "x")
    assert verify("a" * 40, both).strict
    assert verify("a" * 41, both).error is not None


def test_an_any_verifier_is_checked_and_hashed_by_its_parts(tmp_path: Any):
    for of, says in (
        ([], "a list of verifiers"),
        (None, "a list of verifiers"),
        ([{"type": "any", "of": []}], "other types"),
        ([{"type": "exact", "answer": 4}], "are texts"),
        ([{"type": "fuzzy", "answer": "4"}], "unknown verifier type 'fuzzy'"),
        ([{"type": "numeric", "answer": "four"}], "one number"),
    ):
        with pytest.raises(VerifierError, match=says):
            check_verifier(problem({"type": "any", "of": of}, "4"))
    path = tmp_path / "v.py"
    path.write_text("def f(completion, problem):\n    return True\n")
    spec = {"type": "any", "of": [{"type": "python", "function": f"{path}:f"}]}
    before = verifier_sha(problem(spec, "4"))
    path.write_text("def f(completion, problem):\n    return False\n")
    assert needs_code(spec) and verifier_sha(problem(spec, "4")) != before
