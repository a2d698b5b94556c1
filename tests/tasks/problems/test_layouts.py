from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from posttrain_diag.errors import DiagError
from posttrain_diag.tasks import load_tasks, reference_completions, verify
from posttrain_diag.tasks.problems.layouts import LAYOUTS
from posttrain_diag.types import Pair
from tasks.conftest import Write
from tasks.problems.layout_rows import ASSISTANT, ROWS, USER


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_is_detected_and_its_gold_passes(layout: str, jsonl: Write):
    row, expected = ROWS[layout]
    tasks = load_tasks(jsonl(row), allow_code=True, verifier="exact" if LAYOUTS[layout].refused else None)
    assert tasks.layout == layout
    (problem,) = tasks.problems
    for name, value in expected.items():
        assert getattr(problem, name) == value, name
    if layout != "math":
        for completion in reference_completions(problem):
            assert verify(completion, problem).strict


def test_math_without_an_answer_takes_the_last_box(jsonl: Write):
    row = {"problem": "1+1?", "solution": "Not \\boxed{1} but \\boxed{\\frac{4}{2}}."}
    (problem,) = load_tasks(jsonl(row)).problems
    assert problem.answer == "\\frac{4}{2}"
    assert verify(problem.demos[0], problem).strict
    assert verify("\\boxed{\\dfrac{4}{2}}", problem).strict
    assert not verify("\\boxed{\\frac{4}{3}}", problem).lenient


def test_unpaired_rows_of_one_prompt_become_one_problem(jsonl: Write):
    rows = [
        {"prompt": "2+2=", "completion": c, "label": label, "answer": "4"}
        for c, label in (("4", True), ("5", False), ("four", "true"), ("6", 0))
    ]
    (problem,) = load_tasks(jsonl(*rows, {**rows[0], "prompt": "3+1="})).problems[:1]
    assert problem.demos == ("4", "four")
    assert problem.pairs == tuple(Pair(c, r) for c in ("4", "four") for r in ("5", "6"))


def test_preference_without_a_prompt_column(jsonl: Write):
    wrong = {"role": "assistant", "content": "5"}
    (problem,) = load_tasks(jsonl({"chosen": [USER, ASSISTANT], "rejected": [USER, wrong], "answer": 4})).problems
    assert problem.messages == (USER,)
    assert problem.pairs == (Pair("4", "5"),)


@pytest.mark.parametrize(
    ("rows", "kind", "why"),
    [
        ([{"prompt": "a", "answer": "1,319"}, {"prompt": "b", "answer": 0.5}], "numeric", "answers are numbers"),
        ([{"prompt": "Q\nA) x\nB) y", "answer": "B"}], "choice", "list options"),
        ([{"prompt": "Q (A) x (B) y", "answer": "(A)"}], "choice", "list options"),
        ([{"prompt": "Which of the following is right?", "answer": "B"}], "choice", "list options"),
        ([{"prompt": "Which letter?", "answer": "B"}], "words", "words or names"),
        ([{"prompt": "Is it?", "answer": "yes"}, {"prompt": "Is it?", "answer": False}], "yesno", "yes or no"),
        ([{"prompt": "Name them.", "answer": "red, green"}], "list", "lists"),
        ([{"prompt": "How far?", "answer": "5 km"}], "numeric", "numbers"),
        ([{"prompt": "a. Put it in \\boxed{}.", "answer": "x^2"}], "math", "ask for \\boxed"),
        ([{"prompt": "Tell me.", "answer": "word " * 20}], "exact", "longer texts"),
    ],
)
def test_the_verifier_that_is_chosen_is_said(rows: list[dict[str, Any]], kind: str, why: str, jsonl: Write):
    tasks = load_tasks(jsonl(*rows))
    assert {p.verifier["type"] for p in tasks.problems} == {kind}
    assert any(repr(kind) in note and why in note for note in tasks.notes)


def test_a_mix_of_answers_is_judged_row_by_row(jsonl: Write):
    rows = [{"prompt": "7 + 5?", "answer": "12"}, {"prompt": "Capital of France?", "answer": "Paris"}]
    tasks = load_tasks(jsonl(*rows))
    assert [p.verifier["type"] for p in tasks.problems] == ["numeric", "words"]
    assert any("'numeric' for 1, 'words' for 1" in note for note in tasks.notes)
    number, word = tasks.problems
    assert verify("The sum is 12.", number).strict and not verify("The sum is 13.", number).lenient
    assert verify("It is Paris.", word).strict and not verify("It is Lyon.", word).lenient


def test_mapping_overrides_detection(jsonl: Write):
    path = jsonl({"question": "How many?", "answer": "3 + 4\n#### 7", "final": 7, "key": "k1"})
    tasks = load_tasks(path, mapping={"prompt": "question", "answer": "final", "id": "key"})
    (problem,) = tasks.problems
    assert (tasks.layout, problem.id, problem.prompt, problem.answer) == ("prompt", "k1", "How many?", "7")
    assert tasks.columns["prompt"] == "question"


def test_unread_columns_are_said(jsonl: Write):
    assert any(
        "difficulty" in note for note in load_tasks(jsonl({"prompt": "a", "answer": "b", "difficulty": 3})).notes
    )


def test_the_same_rows_in_every_format_are_the_same_tasks(tmp_path: Path):
    rows = [{"id": f"p{i}", "prompt": f"Say {i}, “{i}”\nplease", "answer": f"word {i}"} for i in range(5)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n\r\n"))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.json").write_text(json.dumps({"version": 1, "data": rows}))
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    found = {path.name: load_tasks(str(path)) for path in sorted(tmp_path.iterdir())}
    assert len(found) == 7
    assert len({tasks.sha for tasks in found.values()}) == 1
    assert found["a.jsonl"].problems[2].source == "a.jsonl:3"
    assert found["a.csv"].problems[2].source == "a.csv:6"


def test_nested_cells_survive_csv_and_parquet(tmp_path: Path):
    row, _ = ROWS["native"]
    cells = {k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in row.items()}
    pd.DataFrame([cells]).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame([row, {**row, "id": "b", "verifier": {"type": "regex", "pattern": "x"}}]).to_parquet(
        tmp_path / "a.parquet"
    )
    (from_csv,) = load_tasks(str(tmp_path / "a.csv")).problems
    from_parquet, other = load_tasks(str(tmp_path / "a.parquet")).problems
    assert from_csv == from_parquet
    assert from_csv.pairs == (Pair("bcdea", "edcba"),)
    assert other.verifier == {"type": "regex", "pattern": "x"}


def test_verl_parquet(tmp_path: Path):
    pd.DataFrame([ROWS["verl"][0]] * 2).to_parquet(tmp_path / "train.parquet")
    tasks = load_tasks(str(tmp_path / "train.parquet"))
    assert tasks.layout == "verl"
    assert tasks.problems[1].messages == (USER,)


def test_limit_reads_the_first_rows_only(jsonl: Write):
    path = jsonl({"prompt": "a", "answer": "x"}, {"prompt": "b", "answer": "y"}, "not json")
    assert [p.prompt for p in load_tasks(path, limit=2).problems] == ["a", "b"]


def test_given_verifiers_replace_those_of_the_file(jsonl: Write, tmp_path: Path):
    path = jsonl({"prompt": "a", "completion": "so it is 7", "difficulty": 3})
    (problem,) = load_tasks(path, verifier="numeric").problems
    assert (problem.verifier, problem.answer) == ({"type": "numeric"}, "7")
    (problem,) = load_tasks(path, verifier="regex:is (\\d)").problems
    assert problem.verifier == {"type": "regex", "pattern": "is (\\d)"}
    (problem,) = load_tasks(path, verifier='{"type": "exact", "strip": false}').problems
    assert problem.verifier == {"type": "exact", "strip": False}
    (tmp_path / "v.py").write_text("def f(prompts, completions, difficulty):\n    return [float(difficulty[0] == 3)]\n")
    (problem,) = load_tasks(path, verifier=f"{tmp_path / 'v.py'}:f").problems
    assert verify("anything", problem).strict


def test_a_callable_beside_the_tasks_file_needs_consent(jsonl: Write, tmp_path: Path):
    (tmp_path / "v.py").write_text("def f(completion, problem):\n    return completion == 'x'\n")
    path = jsonl({"prompt": "a", "verifier": {"type": "python", "function": "v.py:f"}})
    with pytest.raises(DiagError, match="--allow-code"):
        load_tasks(path)
    (problem,) = load_tasks(path, allow_code=True).problems
    assert verify("x", problem).strict
