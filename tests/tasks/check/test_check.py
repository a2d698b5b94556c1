from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posttrain_diag.cli.app import app
from posttrain_diag.tasks import check_tasks, load_tasks
from posttrain_diag.tasks.check import Tried
from tasks.conftest import Write

NUMBERS = [{"id": f"p{i}", "prompt": f"Problem {'x' * i}?", "answer": str(1000 + 37 * i)} for i in range(12)]
CITIES = ("Paris", "Rome", "Lima", "Oslo", "Cairo", "Quito", "Accra", "Dhaka", "Hanoi", "Tunis")
WORDS = [{"id": f"w{i}", "prompt": f"City {'x' * i}?", "answer": name} for i, name in enumerate(CITIES)]


def with_verifier(rows: list[dict[str, Any]], **spec: Any) -> list[dict[str, Any]]:
    return [{**row, "verifier": spec} for row in rows]


def accepted(tried: dict[str, Tried]) -> dict[str, int]:
    return {kind: each.lenient for kind, each in tried.items() if each.lenient}


def test_counts_of_golds_and_what_stands_out(jsonl: Write):
    rows = [{"question": f"Problem {'x' * i}?", "answer": f"it is {i}\n#### {i}"} for i in range(1, 41)]
    tasks = load_tasks(jsonl(*rows, {**rows[0]}, {**rows[1], "answer": "#### 77"}))
    check = check_tasks(tasks)
    numeric = check.types["numeric"]
    assert (check.problems, numeric.golds, numeric.golds_passed) == (42, 42, 42)
    assert check.duplicate_prompts.total == 2
    assert check.conflicting_answers.ids == ("row-42",)
    assert (check.distinct_answers, check.most_common_answer) == (41, "1")
    assert check.guess_rate == pytest.approx(2 / 42)
    assert check.share_with_demos == 1.0 and check.share_with_pairs == 0.0
    assert len(check.examples) == 3
    found = json.loads(json.dumps(check.to_json()))
    assert found["types"]["numeric"]["golds_passed"] == 42 and "right" in found and "faults" in found


def test_golds_that_fail_are_a_fault(jsonl: Write):
    rows = [
        {"id": f"p{i}", "prompt": f"q{'x' * i}", "answer": str(i if i % 3 else i + 1), "demos": [f"so {i}"],
         "verifier": {"type": "numeric"}}
        for i in range(60)
    ]  # fmt: skip
    check = check_tasks(load_tasks(jsonl(*rows)))
    assert check.golds_failing.total == check.types["numeric"].golds_failed == 20
    assert check.golds_failing.ids[:3] == ("p0", "p3", "p6") and len(check.golds_failing.ids) == 20
    assert check.golds_failing.reasons[0] == "expected '1', got '0'"
    assert not check.ok and check.faults[0] == "the verifier rejects 20 of 60 golds"


def test_a_gold_that_passes_only_leniently_is_a_failing_gold(jsonl: Write):
    row = {"prompt": "a", "answer": "[x]", "verifier": {"type": "exact"}, "demos": ["x"]}
    check = check_tasks(load_tasks(jsonl(row)))
    assert check.golds_failing.reasons == ("expected '[x]', got 'x', passes leniently",)


def test_a_verifier_that_raises_is_a_fault(jsonl: Write, tmp_path: Path):
    (tmp_path / "v.py").write_text("def f(completion, problem):\n    raise ValueError('boom')\n")
    check = check_tasks(load_tasks(jsonl(*WORDS), verifier=f"{tmp_path}/v.py:f"))
    counted = check.types["python"]
    assert (counted.golds, counted.golds_passed, counted.golds_failed, counted.golds_errored) == (10, 0, 0, 10)
    assert "fails on 10 of 10 golds" in check.faults[0] and "boom" in check.faults[0]
    assert all(each.errored == each.n and each.lenient == 0 for each in (*check.wrong.values(), *check.right.values()))


def test_a_verifier_that_raises_on_other_completions_only_is_a_fault_too(jsonl: Write, tmp_path: Path):
    (tmp_path / "v.py").write_text(
        "def f(completion, problem):\n    if not completion.strip():\n        raise ValueError('empty')\n"
        "    return problem.answer in completion.split()\n"
    )
    check = check_tasks(load_tasks(jsonl(*WORDS), verifier=f"{tmp_path}/v.py:f"))
    assert check.attacks["empty"].errored == 20
    assert any("fails on 20 completions" in fault and "empty" in fault for fault in check.faults)


def test_a_verifier_that_passes_anything_is_a_fault(jsonl: Write, tmp_path: Path):
    (tmp_path / "v.py").write_text("def f(completion, problem):\n    return True\n")
    check = check_tasks(load_tasks(jsonl(*WORDS), verifier=f"{tmp_path}/v.py:f"))
    for each in (*check.wrong.values(), *check.attacks.values()):
        assert each.strict == each.lenient == each.n > 0
    assert not check.golds_failing.total and not check.ok
    assert len(check.faults) == len(check.wrong) + len(check.attacks)


def test_what_a_loose_verifier_lets_through_is_named_by_its_kind(jsonl: Write):
    check = check_tasks(load_tasks(jsonl(*with_verifier(WORDS, type="contains"))))
    assert {"two answers", "all answers listed"} <= set(accepted(check.wrong)) | set(accepted(check.attacks))
    (fault,) = [fault for fault in check.faults if "all answers listed" in fault]
    assert "10 of 10 problems" in fault and "at most 5% may" in fault
    assert check.attacks["all answers listed"].example_id == "w0"


def test_a_sound_verifier_is_fit(jsonl: Write):
    check = check_tasks(load_tasks(jsonl(*with_verifier(WORDS, type="exact"))))
    assert check.ok, check.faults
    assert not accepted(check.wrong) and not accepted(check.attacks)
    assert check.right["bare"].strict == 10 and check.right["bold"].lenient == 10


def test_what_a_strict_verifier_rejects_is_named_by_its_form(jsonl: Write):
    pattern = r"^#### (\d+)$"
    rows = [{**row, "demos": [f"#### {row['answer']}"]} for row in NUMBERS]
    check = check_tasks(load_tasks(jsonl(*with_verifier(rows, type="regex", pattern=pattern))))
    assert check.ok, check.faults
    assert check.right["The answer is X."].strict == 0
    assert check.right["bare"].n == 12


def test_the_prompt_that_holds_the_answer_is_tried_apart(jsonl: Write):
    rows = [
        {
            "id": f"p{i}",
            "prompt": f"Copy {1000 + 37 * i}",
            "answer": str(1000 + 37 * i),
            "verifier": {"type": "numeric"},
        }
        for i in range(12)
    ]
    check = check_tasks(load_tasks(jsonl(*rows)))
    assert check.attacks["prompt echoed, the answer in it"].strict == 12
    assert "prompt echoed" not in check.attacks
    assert any("the answer in it" in fault for fault in check.faults)


def test_the_share_is_of_problems_and_can_be_set(jsonl: Write, tmp_path: Path):
    (tmp_path / "v.py").write_text(
        "def f(completion, problem):\n"
        "    return completion.strip() == problem.answer or (problem.id == 'w0' and not completion.strip())\n"
    )
    tasks = load_tasks(jsonl(*WORDS), verifier=f"{tmp_path}/v.py:f")
    check = check_tasks(tasks)
    assert check.attacks["empty"].problems == 1 and check.attacks["empty"].strict == 2
    assert any("on 1 of 10 problems (empty)" in fault for fault in check.faults)
    assert check_tasks(tasks, max_false_positives=0.1).ok


def test_large_files_are_tried_in_part_and_golds_in_whole(jsonl: Write):
    rows = [
        {"id": f"p{i}", "prompt": f"{i}+1=", "answer": str(i + 1), "verifier": {"type": "exact"}} for i in range(300)
    ]
    check = check_tasks(load_tasks(jsonl(*rows)))
    assert check.tried == 100 and check.types["exact"].golds == 300
    assert any("were tried for 100 problems" in note for note in check.notes)


# the command


def run(*args: str) -> Any:
    return CliRunner().invoke(app, ["tasks", "check", *args])


def test_exit_codes(jsonl: Write, tmp_path: Path):
    sound = jsonl(*with_verifier(WORDS, type="exact"))
    loose = jsonl(*with_verifier(WORDS, type="contains"), name="loose.jsonl")
    wrong = jsonl(*with_verifier([{**WORDS[0], "demos": ["Rome"]}], type="exact"), name="wrong.jsonl")
    (tmp_path / "v.py").write_text("def f(completion, problem):\n    raise ValueError('boom')\n")
    assert run(sound).exit_code == 0
    assert run(loose).exit_code == 1
    assert run(loose, "--max-false-positives", "1").exit_code == 0
    assert run(wrong).exit_code == 1
    assert run(sound, "--verifier", f"{tmp_path}/v.py:f").exit_code == 1
    assert run(wrong, "--max-false-positives", "2").exception is not None


def test_json_and_table_say_the_same(jsonl: Write):
    loose = jsonl(*with_verifier(WORDS, type="contains"))
    found = json.loads(run(loose, "--json").stdout)
    assert found["ok"] is False and found["attacks"]["all answers listed"]["strict"] == 10
    shown = run(loose).stdout
    assert "golds as they are" in shown and "10/10" in shown
    for kind in (*found["right"], *found["wrong"], *found["attacks"]):
        assert f"  {kind}" in shown
    assert shown.count("not fit: ") == len(found["faults"])


def test_the_list_of_known_tasks():
    shown = CliRunner().invoke(app, ["tasks", "list"])
    assert shown.exit_code == 0 and "openai/gsm8k:main:test" in shown.stdout
    assert json.loads(CliRunner().invoke(app, ["tasks", "list", "--json"]).stdout)["gsm8k"]["split"] == "test"
