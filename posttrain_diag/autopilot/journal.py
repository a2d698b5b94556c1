"""events.jsonl: every decision once, with its reason and the numbers it rests on; told on the terminal as well."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from posttrain_diag.store import write_atomic


class Journal:
    """Writes the events of a run, in order.

    Args:
        path: path of events.jsonl; a last line that a kill cut off is removed.
        say: told the sentence of every new event.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._known: set[str] = set()
        if not path.exists():
            return
        whole, newline, cut_off = path.read_text(encoding="utf-8").rpartition("\n")
        if cut_off:
            write_atomic(path, whole + newline)
        self._known = {_key(json.loads(line)) for line in whole.splitlines()}

    def tell(self, event: str, text: str, *, round: int, once: Any = None, **numbers: Any) -> None:  # noqa: A002
        """Write an event, unless it is there already: a phase that was cut off after its event decides the same again.

        Args:
            event: the kind of event.
            text: the sentence a person reads.
            round: the round it belongs to.
            once: tells events of one kind and round apart.
            **numbers: what the event rests on.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        row = {"time": now, "event": event, "round": round, "once": once, "text": text, **numbers}
        if _key(row) in self._known:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False, default=str) + "\n")
        self._known.add(_key(row))
        self._say(text)


def _key(row: dict[str, Any]) -> str:
    return json.dumps([row["event"], row["round"], row["once"]])
