"""Chat turns as the field writes them, brought to one form: {"role", "content"} with a text as content.

    OpenAI, TRL  {"role": "user", "content": "..."}
                 {"role": "user", "content": [{"type": "text", "text": "..."}]}
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
                 {"role": "tool", "tool_call_id": "1", "content": "..."}
    ShareGPT     {"from": "human", "value": "..."}

Tool calls are kept with their arguments as an object, as chat templates want them; content without a text (null beside
tool calls) becomes an empty text, which every template accepts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from posttrain_diag.types import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
_ROLE_OF = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "model", "bot", "chatgpt", "function_call"), "assistant"),
    **dict.fromkeys(("observation", "function", "function_response"), "tool"),
}
"""Other names of the roles, among them those of ShareGPT."""
_KEPT = ("name", "tool_call_id", "reasoning_content")
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
"""How a turn begins in the preference data of Bai et al. 2022, arXiv:2204.05862: one text for the conversation."""


class TurnError(ValueError):
    """A turn that cannot be read; the message says what was expected. Internal: readers note it as a bad cell."""


def read_turns(value: Sequence[Any]) -> tuple[Message, ...]:
    """Chat turns from a list of them.

    The content of the last turn may be None, where an assistant has yet to answer; that of all others is a text.

    Raises:
        TurnError: an item is no turn, or holds something that is no text (an image).
    """
    turns = tuple(_turn(item, at) for at, item in enumerate(value, start=1))
    for at, turn in enumerate(turns[:-1], start=1):
        if turn["content"] is None:
            raise TurnError(f"message {at}: expected a text content, got null in a turn that calls no tool")
    return turns


def split_last(turns: Sequence[Message]) -> tuple[tuple[Message, ...], str | None, str]:
    """Divide a conversation into what is asked and what the assistant answers in the end.

    Returns:
        The turns before the answer, the answer or None, and what a reader must know of it or an empty text.
    """
    last = turns[-1]
    if last["role"] != "assistant":
        return tuple(turns), None, ""
    if last.get("tool_calls"):
        return tuple(turns[:-1]), None, "the conversation ends in a tool call, which is not read as a demonstration"
    return tuple(turns[:-1]), last["content"] or None, ""


def hh_turns(text: str) -> tuple[Message, ...] | None:
    """The turns of a text "Human: ... Assistant: ..."; None for any other text."""
    pieces = _HH_TURN.split(text)
    if len(pieces) < 5 or pieces[0].strip() or pieces[1] != "Human":
        return None
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(
        {"role": roles[role], "content": content.strip()}
        for role, content in zip(pieces[1::2], pieces[2::2], strict=True)
    )


def _turn(item: Any, at: int) -> Message:
    turn = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    named = turn.get("role") or turn.get("from")
    role = _ROLE_OF.get(str(named), named)
    if role not in ROLES:
        raise TurnError(f"message {at}: expected a role ({', '.join(ROLES)}) and a content, got {_shown(item)}")
    content = turn.get("content", turn.get("value"))
    kept: dict[str, Any] = {key: turn[key] for key in _KEPT if turn.get(key) is not None}
    if named == "function_call":
        calls, content = (_call(content, at),), None
    else:
        calls = tuple(_call(call, at) for call in _listed(turn.get("tool_calls")) + _listed(turn.get("function_call")))
    text = _text(content, at)
    if text is None and (role != "assistant"):
        raise TurnError(f"message {at}: expected a text content, got {_shown(item)}")
    if calls:
        return {"role": role, "content": text or "", "tool_calls": list(calls), **kept}
    return {"role": role, "content": text, **kept}


def _listed(value: Any) -> tuple[Any, ...]:
    return () if not value else tuple(cast("list[Any]", value)) if isinstance(value, list) else (value,)


def _text(content: Any, at: int) -> str | None:
    """The content as one text: text parts are joined."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TurnError(f"message {at}: expected a text content or a list of text parts, got {_shown(content)}")
    texts: list[str] = []
    for part in cast("list[Any]", content):
        fields = cast("dict[str, Any]", part) if isinstance(part, dict) else {"type": "text", "text": part}
        text = fields.get("text")
        if fields.get("type", "text") not in ("text", "input_text", "output_text") or not isinstance(text, str):
            raise TurnError(
                f"message {at}: only text parts can be read, got {_shown(part)}: images and sound are not supported"
            )
        texts.append(text)
    return "".join(texts)


def _call(call: Any, at: int) -> dict[str, Any]:
    """A tool call as {"type": "function", "function": {"name", "arguments": object}}."""
    fields = _object(call)
    function = _object(fields.get("function", fields))
    name, arguments = function.get("name"), function.get("arguments")
    given = {} if arguments in (None, "") else _object(arguments)
    if not isinstance(name, str) or not name or (arguments not in (None, "", "{}") and arguments != {} and not given):
        raise TurnError(
            f'message {at}: expected a tool call {{"function": {{"name": text, "arguments": object}}}}, '
            f"got {_shown(call)}"
        )
    if isinstance(arguments, dict):  # Parquet fills structs with nulls
        given = {key: value for key, value in given.items() if value is not None}
    known = {"id": str(fields["id"])} if fields.get("id") is not None else {}
    return {**known, "type": "function", "function": {"name": name, "arguments": given}}


def _object(value: Any) -> Mapping[str, Any]:
    """An object, also one that is written as JSON; empty for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _shown(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else text[:77] + "..."
