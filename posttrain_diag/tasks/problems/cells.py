"""Reading the cells of one row: each method returns what a layout asked for, or notes what is wrong with it.

A reader never raises on bad data: it collects (field, problem) so that one pass lists everything there is to correct.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from posttrain_diag.tasks.problems.rows import is_missing
from posttrain_diag.types import Message, Pair

ROLES = ("system", "developer", "user", "assistant", "tool")


class Reader:
    """One row, with what was found wrong in it."""

    def __init__(self, cells: Mapping[str, Any], columns: Mapping[str, str]) -> None:
        """Wrap a row.

        Args:
            cells: column -> value.
            columns: field -> column, for the fields that a mapping renamed.
        """
        self._cells = cells
        self._columns = columns
        self.problems: list[tuple[str, str]] = []

    def get(self, field: str) -> Any:
        """The cell as it is; None when it is missing, NaN or empty."""
        value = self._cells.get(self._columns.get(field, field))
        return None if is_missing(value) else value

    def bad(self, field: str, problem: str) -> None:
        """Note what is wrong with a field."""
        self.problems.append((self._columns.get(field, field), problem))

    def text(self, field: str, *, required: bool = True) -> str | None:
        """A non-empty text."""
        value = self.get(field)
        if value is None:
            if required:
                self.bad(field, f"expected a text, got {self._absent(field)}")
            return None
        if not isinstance(value, str) or not value.strip():
            self.bad(field, f"expected a non-empty text, got {_shown(value)}")
            return None
        return value

    def answer(self, field: str, *, required: bool = False) -> str | None:
        """A gold answer: a text or a number (also as the only element of a list)."""
        value = self.get(field)
        if isinstance(value, list) and len(cast("list[Any]", value)) == 1:
            value = cast("list[Any]", value)[0]
        if value is None:
            name = self._columns.get(field, field)
            if required or (name in self._cells and _is_nan(self._cells[name])):
                self.bad(field, f"expected an answer (text or number), got {self._absent(field)}")
            return None
        if isinstance(value, (bool, int)):
            return str(value)
        if isinstance(value, float) and math.isfinite(value):
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        if isinstance(value, str) and value.strip():
            return value
        self.bad(field, f"expected an answer (text or number), got {_shown(value)}")
        return None

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of texts; a single text counts as a list of one."""
        value = self._json(field)
        if value is None:
            return ()
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            self.bad(field, f"expected a list of texts, got {_shown(value)}")
            return ()
        return tuple(cast("list[str]", items))

    def mapping(self, field: str, *, required: bool = False) -> dict[str, Any] | None:
        """A JSON object; the nulls that Parquet fills structs with are dropped."""
        value = self._json(field)
        if value is None and not required:
            return None
        if not isinstance(value, dict):
            self.bad(field, f"expected an object, got {self._absent(field) if value is None else _shown(value)}")
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
                self.bad(field, f'expected {{"chosen": text, "rejected": text}}, got {_shown(item)}')
                return ()
            found.append(Pair(chosen, rejected))
        return tuple(found)

    def messages(self, field: str) -> tuple[Message, ...] | None:
        """Chat turns [{"role", "content"}, ...]; None (and noted) when they are not."""
        value = self._json(field)
        if not isinstance(value, list) or not value:
            self.bad(
                field, f"expected a list of messages, got {self._absent(field) if value is None else _shown(value)}"
            )
            return None
        turns: list[Message] = []
        for i, item in enumerate(cast("list[Any]", value)):
            turn = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
            role, content = turn.get("role"), turn.get("content")
            if role not in ROLES or not isinstance(content, str):
                self.bad(
                    field,
                    f"message {i + 1}: expected a role ({', '.join(ROLES)}) and a text content, got {_shown(item)}",
                )
                return None
            turns.append({"role": cast("str", role), "content": content})
        return tuple(turns)

    def prompt(self, field: str = "prompt") -> tuple[str | None, tuple[Message, ...] | None]:
        """A prompt: a text, or chat turns."""
        if isinstance(self.get(field), list):
            messages = self.messages(field)
            if messages is not None and not any(m["content"].strip() for m in messages):
                self.bad(field, "expected a prompt, got messages without any content")
            return None, messages
        return self.text(field), None

    def completion(self, field: str, *, required: bool = True) -> str | None:
        """A completion: a text, or chat turns whose last one is the assistant's."""
        if not isinstance(self.get(field), list):
            return self.text(field, required=required)
        messages = self.messages(field)
        if messages is None:
            return None
        if messages[-1]["role"] != "assistant":
            self.bad(field, f"expected the last message to be the assistant's, got role {messages[-1]['role']!r}")
            return None
        return messages[-1]["content"]

    def _json(self, field: str) -> Any:
        """The cell; a text that is a JSON list or object (CSV has no other way) is decoded."""
        value = self.get(field)
        if isinstance(value, str) and value[:1] in ("[", "{"):
            try:
                return json.loads(value)
            except json.JSONDecodeError:
                return value
        return value

    def _absent(self, field: str) -> str:
        name = self._columns.get(field, field)
        if name not in self._cells:
            return "no such column in this row"
        value = self._cells[name]
        return "NaN" if _is_nan(value) else "an empty cell" if value is None or value == "" else _shown(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _shown(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else text[:77] + "..."
