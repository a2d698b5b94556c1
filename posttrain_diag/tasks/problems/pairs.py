"""Layouts of preference data: pairs of answers to one prompt, and single answers with a label.

    unpaired    {"prompt": "Two plus two?", "completion": "4", "label": true, "answer": "4"}
    preference  {"prompt": "Two plus two?", "chosen": "4", "rejected": "5", "answer": "4"}
                {"chosen": [{"role": "user", ...}, {"role": "assistant", ...}], "rejected": [...]}
                {"chosen": "Human: ... Assistant: ...", "rejected": "Human: ... Assistant: ..."}

A pair compares two answers to the same prompt. Conversations that part before their last turn hold no such pair and
are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from posttrain_diag.tasks.problems.cells import Reader
from posttrain_diag.tasks.problems.drafts import Draft, Layout, gold, layout
from posttrain_diag.tasks.problems.rows import Row
from posttrain_diag.tasks.problems.turns import hh_turns
from posttrain_diag.types import Message, Pair

UNPAIRED = "unpaired"
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def _unpaired(row: Reader) -> Draft:
    prompt, messages = row.prompt()
    completion = row.completion("completion") or ""
    label = _TRUTH.get(str(row.get("label")).lower())
    if label is None:
        row.bad("label", f"expected true or false, got {row.get('label')!r}")
    # A rejected completion waits in `pairs` until the rows of one prompt are merged.
    pairs = () if label else (Pair("", completion),)
    return Draft(prompt, messages, demos=(completion,) if label else (), pairs=pairs, **gold(row, "answer"))


def merge_unpaired(drafts: Sequence[tuple[Row, Draft]]) -> list[tuple[Row, Draft]]:
    """One problem per prompt: its good completions are demos, good and bad ones together make pairs."""
    merged: dict[tuple[Any, ...], tuple[Row, Draft]] = {}
    for row, draft in drafts:
        turns = None if draft.messages is None else repr(draft.messages)
        key = (draft.prompt, turns, draft.answer)
        first, sofar = merged.get(key, (row, replace(draft, demos=(), pairs=())))
        both = replace(sofar, demos=sofar.demos + draft.demos, pairs=sofar.pairs + draft.pairs)
        merged[key] = (first, both)
    return [
        (row, replace(draft, pairs=tuple(Pair(good, bad.rejected) for good in draft.demos for bad in draft.pairs)))
        for row, draft in merged.values()
    ]


def _preference(row: Reader) -> Draft:
    prompt, messages = row.prompt() if row.get("prompt") is not None else (None, None)
    given = prompt is not None or messages is not None
    answers = {field: _answer(row, field, given) for field in ("chosen", "rejected")}
    before = {field: turns for field, (turns, _) in answers.items() if turns}
    if len(before) == 2 and before["chosen"] != before["rejected"]:
        row.bad("rejected", _parted(before["chosen"], before["rejected"]))
    if given:
        asked = messages or ({"role": "user", "content": prompt or ""},)
        for field, turns in before.items():
            if not _continues(turns, asked):
                row.bad(field, "expected a conversation that begins with the prompt, got another one")
    elif not row.problems:
        messages = before.get("chosen")
        if not messages:
            row.bad("prompt", "expected a prompt, or messages in `chosen` that begin with one")
    pair = Pair(answers["chosen"][1], answers["rejected"][1])
    return Draft(prompt, messages, pairs=(pair,), **gold(row, "answer"))


def _answer(row: Reader, field: str, given: bool) -> tuple[tuple[Message, ...], str]:
    """(what stands before the answer, the answer): texts have nothing before, unless they are whole conversations."""
    value = row.get(field)
    if isinstance(value, str) and (given or hh_turns(value) is None):
        if not given:
            row.bad(field, 'expected a list of messages (or "Human: ... Assistant: ..."): the row has no prompt')
        return (), value
    asked, answered = ((), row.completion(field)) if value is None else row.conversation(field, begun=given)
    if answered is None and not row.problems:
        row.bad(field, "expected the last message to be the assistant's, with a text")
    return asked, answered or ""


def _parted(chosen: Sequence[Message], rejected: Sequence[Message]) -> str:
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    return (
        f"expected the same turns as in `chosen` but for the last one, got conversations that part at turn {same + 1} "
        f"(of {len(chosen) + 1} and {len(rejected) + 1}): cut both to that turn, or leave the row out"
    )


def _continues(turns: Sequence[Message], asked: Sequence[Message]) -> bool:
    """Whether the turns before an answer are those of the prompt; a system prompt may stand before them."""
    own = [turn for turn in turns if turn["role"] != "system"]
    wanted = [turn for turn in asked if turn["role"] != "system"]
    return [(t["role"], t["content"].strip()) for t in own] == [(t["role"], t["content"].strip()) for t in wanted]


PAIRS: dict[str, Layout] = {
    UNPAIRED: layout("prompt completion label", "", _unpaired),
    "preference": layout("chosen rejected", "prompt", _preference),
}
"""Layouts of preference data."""
