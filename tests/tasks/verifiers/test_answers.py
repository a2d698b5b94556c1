"""Answers as people and models write them, right and wrong: every reading must be a careful human's.

answers/NAME.json holds tasks as a user writes them, each with completions: `right` (no form is demanded, or it is open),
`keeps_form` and `breaks_form` (right, and the demanded form is kept or broken), `wrong`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrain_diag.tasks import load_tasks, verify

FILES = sorted((Path(__file__).parent / "answers").glob("*.json"))


def groups() -> Iterator[Any]:
    for path in FILES:
        for i, group in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            yield pytest.param(group, id=f"{path.stem}-{i}")


@pytest.mark.parametrize("group", list(groups()))
def test_answers_are_read_as_a_careful_human_reads_them(group: dict[str, Any], tmp_path: Path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(group["task"], ensure_ascii=False) + "\n", encoding="utf-8")
    (problem,) = load_tasks(str(path)).problems
    read = {text: verify(text, problem) for kind in group if kind != "task" for text in group[kind]}
    assert [text for text, judged in read.items() if judged.error is not None] == []
    right = [text for kind in ("right", "keeps_form", "breaks_form") for text in group.get(kind, ())]
    assert [text for text in right if not read[text].lenient] == []
    assert [text for text in group.get("wrong", ()) if read[text].lenient] == []
    assert [text for text in group.get("keeps_form", ()) if not read[text].strict] == []
    assert [text for text in group.get("breaks_form", ()) if read[text].strict] == []
    assert [text for text, judged in read.items() if judged.strict and not judged.lenient] == []
