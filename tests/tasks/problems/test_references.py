from __future__ import annotations

from typing import Any

import pytest

from posttrain_diag.tasks import corrupted_completions, reference_completions, verify
from posttrain_diag.tasks.problems.references import altered_answer
from tasks.conftest import problem

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
