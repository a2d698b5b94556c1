from __future__ import annotations

import json
from typing import Any

import pytest

from posttrain_diag.tasks import check_tasks, corrupted_completions, load_tasks, reference_completions, verify
from posttrain_diag.tasks.problems.references import altered_answer
from tasks.conftest import Write, problem

SPECS: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "exact"}, "abc", "xyz"),
    ({"type": "exact"}, "[abc]", "[xyz]"),
    ({"type": "numeric"}, "1,319", "7"),
    ({"type": "numeric"}, "-1/2", "7"),
    ({"type": "choice"}, "B", "C"),
    ({"type": "choice", "options": ["red", "blue"]}, "B", "A"),
    ({"type": "contains"}, "Paris", "Rome"),
    ({"type": "regex", "pattern": r"(?:^|\|)([^|]*)$"}, "abc", "xyz"),
    ({"type": "regex", "pattern": r"#### (.*)"}, "abc", "xyz"),
    ({"type": "regex", "pattern": r"Final:\s+<(.*?)>"}, "abc", "xyz"),
    ({"type": "regex", "pattern": r"answer is (\S+)\."}, "abc", "xyz"),
]


@pytest.mark.parametrize(("spec", "answer", "other"), SPECS)
def test_references_pass_and_corruptions_fail(spec: dict[str, Any], answer: str, other: str):
    mine, theirs = problem(spec, answer), problem(spec, other, id="q")
    references = reference_completions(mine)
    assert references
    assert all(verify(text, mine).strict for text in references)
    corrupted = corrupted_completions(mine, [mine, theirs])
    assert corrupted == corrupted_completions(mine, [mine, theirs])
    assert "" in corrupted and mine.prompt in corrupted
    assert len(corrupted) == 4 or answer == "B"
    for text in corrupted:
        assert not verify(text, mine).lenient, text


def test_a_demonstration_is_altered_where_its_answer_stands():
    worked = problem({"type": "numeric"}, "1319", demos=("1000+319 = $1,319.\n#### 1,319",))
    assert "1000+319 = $1320.\n#### 1320" in corrupted_completions(worked, [])


def test_a_prompt_that_gives_the_answer_away_is_no_corruption():
    given = problem({"type": "numeric"}, "10000", prompt="He walks 10,000 steps. How many?")
    assert given.prompt not in corrupted_completions(given, [])


def test_no_reference_where_none_can_be_made():
    assert reference_completions(problem({"type": "regex", "pattern": r"(\d+) apples and pears"}, "abc")) == ()
    assert reference_completions(problem({"type": "python", "test": "assert f()"})) == ()


@pytest.mark.parametrize(
    ("answer", "altered"),
    [("9", "10"), ("1/2", "3/2"), ("abz", "aba"), ("!!", "!!x"), ("é", "x"), ("٣", "4"), (None, None)],
)
def test_altered_answers_differ(answer: str | None, altered: str | None):
    assert altered_answer(problem({"type": "exact"}, answer)) == altered


def test_check_counts_golds_and_corruptions(jsonl: Write):
    rows = [{"question": f"Problem {'x' * i}?", "answer": f"it is {i}\n#### {i}"} for i in range(1, 41)]
    rows[4]["answer"] = "it is 5\n#### 5\nSee page 7"
    tasks = load_tasks(jsonl(*rows[:4], *rows[5:], {**rows[0]}, {**rows[1], "answer": "#### 77"}))
    check = check_tasks(tasks)
    numeric = check.types["numeric"]
    assert (check.problems, numeric.golds, numeric.golds_passed) == (41, 41, 41)
    assert numeric.corrupted_passed == numeric.corrupted_passed_leniently == 0
    assert numeric.corrupted >= 3 * 41
    assert check.duplicate_prompts.total == 2
    assert check.conflicting_answers.ids == ("row-41",)
    assert not check.ok
    assert (check.distinct_answers, check.most_common_answer) == (40, "1")
    assert check.guess_rate == pytest.approx(2 / 41)
    assert check.share_with_demos == 1.0 and check.share_with_pairs == 0.0
    assert len(check.examples) == 3
    assert json.loads(json.dumps(check.to_json()))["types"]["numeric"]["golds_passed"] == 41


def test_check_sees_a_broken_gold_set(jsonl: Write):
    rows = [
        {"id": f"p{i}", "prompt": f"q{'x' * i}", "answer": str(i if i % 3 else i + 1), "demos": [f"so {i}"],
         "verifier": {"type": "numeric"}}
        for i in range(60)
    ]  # fmt: skip
    check = check_tasks(load_tasks(jsonl(*rows)))
    assert check.golds_failing.total == check.types["numeric"].golds_failed == 20
    assert check.golds_failing.ids[:3] == ("p0", "p3", "p6") and len(check.golds_failing.ids) == 20
    assert check.golds_failing.reasons[0] == "expected '1', got '0'"


def test_check_sees_a_verifier_that_passes_anything(jsonl: Write, tmp_path: Any):
    (tmp_path / "v.py").write_text("def f(completion, problem):\n    return True\n")
    tasks = load_tasks(
        jsonl({"prompt": "a", "answer": "x"}, {"prompt": "b", "answer": "y"}), verifier=f"{tmp_path}/v.py:f"
    )
    check = check_tasks(tasks)
    assert check.corrupted_passing.total == 2
    assert check.types["python"].corrupted_passed == check.types["python"].corrupted == 7


def test_check_counts_an_erring_verifier_apart(jsonl: Write, tmp_path: Any):
    (tmp_path / "v.py").write_text("def f(completion, problem):\n    raise ValueError('boom')\n")
    check = check_tasks(load_tasks(jsonl({"prompt": "a", "answer": "x"}), verifier=f"{tmp_path}/v.py:f"))
    counted = check.types["python"]
    assert (counted.golds, counted.golds_passed, counted.golds_failed, counted.golds_errored) == (1, 0, 0, 1)
    assert counted.corrupted == counted.corrupted_errored > 0
    assert "boom" in check.golds_failing.reasons[0]


def test_a_gold_that_passes_only_leniently_is_a_failing_gold(jsonl: Write):
    row = {"prompt": "a", "answer": "[x]", "verifier": {"type": "exact"}, "demos": ["x"]}
    check = check_tasks(load_tasks(jsonl(row)))
    assert check.types["exact"].golds_failed == check.golds_failing.total == 1
    assert check.golds_failing.reasons == ("expected '[x]', got 'x', passes leniently",)
