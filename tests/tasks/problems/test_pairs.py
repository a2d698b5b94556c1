from __future__ import annotations

from typing import Any

import pytest

from posttrain_diag.errors import TaskError
from posttrain_diag.tasks import load_tasks
from posttrain_diag.types import Pair
from tasks.conftest import Write


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def refusal(path: str) -> str:
    with pytest.raises(TaskError) as caught:
        load_tasks(path)
    return str(caught.value)


def test_pairs_that_part_before_the_last_turn_are_refused(jsonl: Write):
    row = {
        "chosen": [user("a"), said("x"), user("b"), said("y")],
        "rejected": [user("a"), said("z"), user("b"), said("w")],
        "answer": "y",
    }
    assert "part at turn 2 (of 4 and 4)" in refusal(jsonl(row))
    row["rejected"] = [user("a"), said("w")]
    assert "part at turn 2 (of 4 and 2)" in refusal(jsonl(row))


def test_conversations_with_one_beginning_are_a_pair(jsonl: Write):
    start = [user("a"), said("x"), user("b")]
    (problem,) = load_tasks(
        jsonl({"chosen": [*start, said("y")], "rejected": [*start, said("w")], "answer": "y"})
    ).problems
    assert problem.messages == tuple(start) and problem.pairs == (Pair("y", "w"),)


@pytest.mark.parametrize("prompt", ["a", [user("a")], [{"role": "system", "content": "s"}, user("a")]])
def test_conversations_beside_a_prompt_must_begin_with_it(prompt: Any, jsonl: Write):
    row = {"prompt": prompt, "chosen": [user("a"), said("y")], "rejected": [user("a"), said("w")], "answer": "y"}
    (problem,) = load_tasks(jsonl(row)).problems
    assert problem.pairs == (Pair("y", "w"),)
    other = {**row, "rejected": [user("b"), said("w")]}
    assert "begins with the prompt" in refusal(jsonl(other))


def test_answers_alone_beside_a_prompt(jsonl: Write):
    row = {"prompt": [user("a")], "chosen": [said("y")], "rejected": [said("w")], "answer": "y"}
    (problem,) = load_tasks(jsonl(row)).problems
    assert problem.messages == (user("a"),) and problem.pairs == (Pair("y", "w"),)


def test_conversations_as_one_text(jsonl: Write):
    row = {"chosen": "\n\nHuman: hi\n\nAssistant: yo", "rejected": "\n\nHuman: hi\n\nAssistant: no", "answer": "yo"}
    (problem,) = load_tasks(jsonl(row)).problems
    assert problem.messages == (user("hi"),) and problem.pairs == (Pair("yo", "no"),)
    assert "the row has no prompt" in refusal(jsonl({"chosen": "yo", "rejected": "no", "answer": "yo"}))
    parted = "\n\nHuman: hi\n\nAssistant: eh\n\nHuman: what\n\nAssistant: no"
    assert "part at turn 2" in refusal(jsonl({**row, "rejected": parted}))
