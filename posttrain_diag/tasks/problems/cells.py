"""Reading the cells of one row: each method returns what a layout asked for, or notes what is wrong with it.

A reader never raises on bad data: it collects (field, problem) so that one pass lists everything there is to correct.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from posttrain_diag.tasks.problems.rows import is_missing
from posttrain_diag.tasks.problems.turns import TurnError, hh_turns, read_turns, split_last
from posttrain_diag.types import Message, Pair

_SEVERAL = ("target", "value", "text", "aliases", "answers")
"""Keys under which an object lists accepted answers, as in verl's search tasks, TriviaQA and SQuAD."""


class Reader:
    """Reads one row and collects what is wrong in it."""

    def __init__(self, cells: Mapping[str, Any], columns: Mapping[str, str], *, judged: bool = False) -> None:
        """Wrap a row.

        Args:
            cells: the row's cells by column.
            columns: the column of each field that a mapping renamed.
            judged: the verifier is given apart from the file, so that a gold that cannot be read is no fault.
        """
        self._cells = cells
        self._columns = columns
        self.judged = judged
        self.problems: list[tuple[str, str]] = []
        self.remarks: list[str] = []
        """What a reader of the results must know of how the row was read."""

    def get(self, field: str) -> Any:
        """The cell as it is; None when it is missing, NaN or empty."""
        value = self._cells.get(self._columns.get(field, field))
        return None if is_missing(value) else value

    def bad(self, field: str, problem: str) -> None:
        """Note what is wrong with a field."""
        self.problems.append((self._columns.get(field, field), problem))

    def bad_gold(self, field: str, problem: str) -> None:
        """Note what is wrong with a gold answer or its tests, unless the verifier comes from elsewhere."""
        if not self.judged:
            self.bad(field, problem)

    def remark(self, text: str) -> None:
        """Note how the row was read; the same remarks of several rows are counted."""
        if text:
            self.remarks.append(text)

    def text(self, field: str, *, required: bool = True) -> str | None:
        """A non-empty text; None (and noted, if it is required) where there is none."""
        value = self.get(field)
        if value is None:
            if required:
                self.bad(field, f"expected a text, got {self._absent(field)}")
            return None
        if not isinstance(value, str) or not value.strip():
            self.bad(field, f"expected a non-empty text, got {shown(value)}")
            return None
        return value

    def answers(self, field: str, *, required: bool = False, listed: bool = False) -> tuple[str, ...]:
        """The gold answers that are accepted, the first one being the one to show.

        They are a text or a number, a list of these, or an object that lists them: {"target": [...]},
        {"value": ..., "aliases": [...]}, {"text": [...]}.

        Args:
            field: the field that holds them.
            required: note it when there is none.
            listed: a text that is a JSON list is a list; without it that text is the answer itself.
        """
        value = self._json(field) if listed else self.get(field)
        if value is None or value in ([], {}):
            name = self._columns.get(field, field)
            if required or (name in self._cells and _is_nan(self._cells[name])):
                self.bad_gold(field, f"expected an answer (text or number), got {self._absent(field)}")
            return ()
        found = accepted(value)
        if found is None:
            self.bad_gold(
                field,
                "expected an answer (text or number), a list of accepted answers, or an object that lists them as "
                f'{{"target": [...]}} or {{"value": ..., "aliases": [...]}}; got {shown(value)}',
            )
            return ()
        return found

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of texts; a single text counts as a list of one."""
        value = self._json(field)
        if value is None:
            return ()
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            self.bad(field, f"expected texts, got {shown(items)}")
            return ()
        return tuple(items)

    def mapping(self, field: str, *, required: bool = False) -> dict[str, Any] | None:
        """A JSON object; the nulls that Parquet fills structs with are dropped."""
        value = self._json(field)
        if value is None and not required:
            return None
        if not isinstance(value, dict):
            self.bad(field, f"expected an object, got {self._absent(field) if value is None else shown(value)}")
            return None
        return {str(k): v for k, v in cast("dict[Any, Any]", value).items() if v is not None}

    def pairs(self, field: str) -> tuple[Pair, ...]:
        """A list of {"chosen", "rejected"} objects."""
        value = self._json(field)
        found: list[Pair] = []
        for item in cast("list[Any]", value if isinstance(value, list) else [] if value is None else [value]):
            pair = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
            chosen, rejected = pair.get("chosen"), pair.get("rejected")
            if not isinstance(chosen, str) or not isinstance(rejected, str):
                self.bad(field, f'expected {{"chosen": text, "rejected": text}}, got {shown(item)}')
                return ()
            found.append(Pair(chosen, rejected))
        return tuple(found)

    def turns(self, field: str) -> tuple[Message, ...] | None:
        """A conversation whose last turn may have yet to be written (content None); None (and noted) when it is none.

        A text in the form "Human: ... Assistant: ..." is a conversation too.
        """
        value = self._json(field)
        if isinstance(value, str) and (turns := hh_turns(value)) is not None:
            return turns
        if not isinstance(value, list) or not value:
            self.bad(
                field, f"expected a list of messages, got {self._absent(field) if value is None else shown(value)}"
            )
            return None
        try:
            return read_turns(cast("list[Any]", value))
        except TurnError as error:
            self.bad(field, str(error))
            return None

    def messages(self, field: str) -> tuple[Message, ...] | None:
        """Chat turns that each say something; None (and noted) when they are not."""
        turns = self.turns(field)
        if turns is not None and turns[-1]["content"] is None:
            self.bad(field, f"message {len(turns)}: expected a text content, got null in a turn that calls no tool")
            return None
        return turns

    def conversation(self, field: str, *, begun: bool = False) -> tuple[tuple[Message, ...], str | None]:
        """A conversation as what is asked and what the assistant answers in the end (or None).

        Args:
            field: the field that holds the conversation.
            begun: what is asked may stand elsewhere, so that an answer alone is fine.
        """
        turns = self.turns(field)
        if turns is None:
            return (), None
        asked, answered, remark = split_last(turns)
        self.remark(remark)
        if not asked and not begun:
            self.bad(field, "expected a user's message before the assistant's, got none")
        return asked, answered

    def prompt(self, field: str = "prompt") -> tuple[str | None, tuple[Message, ...] | None]:
        """A prompt, which is a text or chat turns."""
        if isinstance(self.get(field), list):
            messages = self.messages(field)
            if messages is not None and not any(m["content"].strip() for m in messages):
                self.bad(field, "expected a prompt, got messages without any content")
            return None, messages
        return self.text(field), None

    def completion(self, field: str, *, required: bool = True) -> str | None:
        """A completion, which is a text or chat turns whose last one is the assistant's."""
        if not isinstance(self.get(field), list):
            return self.text(field, required=required)
        messages = self.messages(field)
        if messages is None:
            return None
        if messages[-1]["role"] != "assistant":
            self.bad(field, f"expected the last message to be the assistant's, got role {messages[-1]['role']!r}")
            return None
        if messages[-1].get("tool_calls"):
            self.bad(field, "expected the assistant's last message to be a text, got a tool call")
            return None
        return messages[-1]["content"]

    def _json(self, field: str) -> Any:
        """The cell; a text that is a JSON list or object (CSV has no other way) is decoded."""
        value = self.get(field)
        if isinstance(value, str) and value[:1] in ("[", "{"):
            try:
                return json.loads(value)
            except (json.JSONDecodeError, RecursionError):
                return value
        return value

    def json(self, field: str) -> Any:
        """The cell, decoded where it is the text of a JSON list or object."""
        return self._json(field)

    def _absent(self, field: str) -> str:
        name = self._columns.get(field, field)
        if name not in self._cells:
            return "no such column in this row"
        value = self._cells[name]
        return "NaN" if _is_nan(value) else "an empty cell" if value is None or value == "" else shown(value)


def accepted(value: Any) -> tuple[str, ...] | None:
    """The answers that a gold accepts, repeats left out; None when the value is no gold."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        lists = [accepted(fields[key]) for key in _SEVERAL if not is_missing(fields.get(key)) and fields[key] != []]
        if not lists or any(each is None for each in lists):
            return None
        return tuple(dict.fromkeys(text for each in lists for text in each or ()))
    if isinstance(value, list):
        texts = [_one_answer(item) for item in cast("list[Any]", value) if not is_missing(item)]
        known = [text for text in texts if text is not None]
        return tuple(dict.fromkeys(known)) if known and len(known) == len(texts) else None
    text = _one_answer(value)
    return None if text is None else (text,)


def _one_answer(value: Any) -> str | None:
    if isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return value if isinstance(value, str) and value.strip() else None


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def shown(value: Any) -> str:
    """A value with its type, short enough for a message."""
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else text[:77] + "..."
