from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from posttrain_diag.engines.contract import Prompt
from posttrain_diag.engines.model.prompts import plain_text
from posttrain_diag.engines.openai.wire import text_prompt
from posttrain_diag.errors import TaskError
from posttrain_diag.export.source import Source
from posttrain_diag.store import RunDir
from posttrain_diag.tasks import load_tasks
from posttrain_diag.tasks.problems.write import from_row, to_row
from tasks.conftest import Write

USER = {"role": "user", "content": "How warm is Rome?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "20 C", "tool_call_id": "c1"}
ANSWER = {"role": "assistant", "content": "20"}


def called(arguments: Any, content: Any = None) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"role": "assistant", "content": content, "tool_calls": [{**CALL, "function": function}]}


@pytest.mark.parametrize("arguments", ['{"city": "Rome"}', {"city": "Rome"}, {"city": "Rome", "unit": None}])
def test_tool_calls_are_kept_with_their_arguments_as_an_object(arguments: Any, jsonl: Write):
    row = {"messages": [USER, called(arguments), RESULT, ANSWER], "answer": "20"}
    (problem,) = load_tasks(jsonl(row)).problems
    assert problem.messages == (USER, CALLS, RESULT)
    assert problem.demos == ("20",)
    assert from_row(to_row(problem)) == problem


def test_tool_calls_reach_templates_servers_and_plain_prompts(jsonl: Write):
    (problem,) = load_tasks(jsonl({"messages": [USER, called('{"city": "Rome"}'), RESULT], "answer": "20"})).problems
    prompt = Prompt(None, problem.messages)
    sent = text_prompt("chat", prompt, "", None)["messages"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert sent[2] == RESULT
    plain = plain_text(prompt, None, None)
    assert plain.splitlines() == [
        "User: How warm is Rome?",
        'Assistant: {"name": "weather", "arguments": {"city": "Rome"}}',
        "Tool: 20 C",
        "Assistant:",
    ]
    assert "weather" in problem.prompt_text


@pytest.mark.parametrize("conversational", [True, False])
def test_tool_calls_survive_an_export(conversational: bool, jsonl: Write, tmp_path: Path):
    (problem,) = load_tasks(jsonl({"messages": [USER, called("{}"), RESULT], "answer": "20"})).problems
    source = Source(
        RunDir(tmp_path / "run", create=True), {problem.id: problem}, pd.DataFrame(), conversational, template=None, system="Be brief.",
        counted=False,
    )  # fmt: skip
    prompt = source.rendered(problem).prompt
    if conversational:
        assert isinstance(prompt, list)
        assert [turn["role"] for turn in prompt] == ["system", "user", "assistant", "tool"]
        assert prompt[2]["tool_calls"][0]["function"]["name"] == "weather" and prompt[3] == RESULT
    else:
        assert 'Assistant: {"name": "weather"' in prompt and "Tool: 20 C" in prompt


def test_a_conversation_that_ends_in_a_tool_call_has_no_demonstration(jsonl: Write):
    tasks = load_tasks(jsonl({"messages": [USER, called("{}")], "answer": "20"}))
    assert tasks.problems[0].messages == (USER,) and not tasks.problems[0].demos
    assert any("ends in a tool call" in note for note in tasks.notes)


def test_messages_without_an_answer_yet(jsonl: Write):
    for last in ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}):
        (problem,) = load_tasks(jsonl({"messages": [USER, last], "answer": "20"})).problems
        assert problem.messages == (USER,) and not problem.demos
    (problem,) = load_tasks(jsonl({"messages": [USER], "answer": "20"})).problems
    assert problem.messages == (USER,)


def test_text_parts_are_joined_and_others_refused(jsonl: Write):
    parts = [{"type": "text", "text": "How warm "}, {"type": "text", "text": "is Rome?"}]
    (problem,) = load_tasks(jsonl({"prompt": [{"role": "user", "content": parts}], "answer": "20"})).problems
    assert problem.messages == (USER,)
    image = {"role": "user", "content": [*parts, {"type": "image_url", "image_url": {"url": "x"}}]}
    with pytest.raises(TaskError, match="message 1: only text parts can be read"):
        load_tasks(jsonl({"prompt": [image], "answer": "20"}))


def test_sharegpt_turns_are_read_as_messages(jsonl: Write):
    said = [("system", "Be brief."), ("human", "How warm is Rome?"), ("function_call", '{"name": "weather"}'),
            ("observation", "20 C"), ("gpt", "The answer is 20.")]  # fmt: skip
    row = {"conversations": [{"from": who, "value": what} for who, what in said]}
    (problem,) = load_tasks(jsonl(row)).problems
    assert problem.messages is not None
    assert [m["role"] for m in problem.messages] == ["system", "user", "assistant", "tool"]
    assert problem.messages[2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {}}
    assert (problem.answer, problem.demos) == ("20", ("The answer is 20.",))


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        ({"role": "user", "content": None}, "message 2: expected a text content"),
        ({"role": "user", "content": {"a": 1}}, "a list of text parts"),
        ({"role": "robot", "content": "x"}, "expected a role"),
        (called("not json"), "expected a tool call"),
        ({"role": "assistant", "content": None, "tool_calls": [{"x": 1}]}, "expected a tool call"),
    ],
)
def test_turns_that_cannot_be_read_are_refused(turn: dict[str, Any], says: str, jsonl: Write):
    with pytest.raises(TaskError) as caught:
        load_tasks(jsonl({"messages": [USER, turn, USER], "answer": "20"}))
    assert says in str(caught.value)


def test_an_empty_turn_before_the_last_is_refused(jsonl: Write):
    with pytest.raises(TaskError, match="message 2: expected a text content, got null"):
        load_tasks(jsonl({"messages": [USER, {"role": "assistant", "content": None}, USER], "answer": "20"}))
