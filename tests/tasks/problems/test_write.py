from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain_diag.errors import StoreError
from posttrain_diag.tasks import find_written, load_tasks, write_tasks
from posttrain_diag.types import Pair, Problem
from tasks.conftest import FIXED

TEXT = st.text(st.characters(codec=None, exclude_categories=[]), max_size=20)
SOLID = TEXT.filter(lambda s: s.strip() != "")
VERIFIERS: list[dict[str, Any]] = [
    {"type": "exact"},
    {"type": "exact", "strip": False, "compare": "casefold"},
    {"type": "regex", "pattern": "#### (.*)", "which": "first"},
    {"type": "contains"},
]


@st.composite
def problems(draw: st.DrawFn) -> list[Problem]:
    ids = draw(st.lists(SOLID, min_size=1, max_size=4, unique=True))
    turn = st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": SOLID})
    found: list[Problem] = []
    for name in ids:
        chat = draw(st.booleans())
        found.append(
            Problem(
                id=name,
                prompt=None if chat else draw(SOLID),
                messages=tuple(draw(st.lists(turn, min_size=1, max_size=3))) if chat else None,
                answer=draw(SOLID),
                verifier=draw(st.sampled_from(VERIFIERS)),
                demos=tuple(draw(st.lists(TEXT, max_size=3))),
                pairs=tuple(draw(st.lists(st.builds(Pair, TEXT, TEXT), max_size=2))),
                tags=tuple(draw(st.lists(TEXT, max_size=2))),
                source=draw(TEXT),
            )
        )
    return found


@settings(FIXED, max_examples=60)
@given(problems())
def test_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, written: list[Problem]):
    path = tmp_path_factory.mktemp("round") / "tasks.jsonl"
    write_tasks(written, path)
    tasks = load_tasks(str(path))
    assert list(tasks.problems) == written
    again = path.with_name("again.jsonl")
    write_tasks(tasks.problems, again)
    assert again.read_bytes() == path.read_bytes()
    assert load_tasks(str(again)).sha == tasks.sha
    some = {p.id for p in written[::2]} | {"not there"}
    assert find_written(path, some) == {p.id: p for p in written if p.id in some}


def test_a_row_is_found_wherever_its_id_stands(tmp_path: Path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"prompt": "q", "verifier": {"type": "exact"}, "source": "s", "id": "a"}\n', encoding="utf-8")
    assert find_written(path, ["a"])["a"].prompt == "q"
    for damage in ('{"id": "a", "prompt": "q"}', '{"id": "a", "pro', "[]", "{}"):
        path.write_text(damage + "\n", encoding="utf-8")
        with pytest.raises(StoreError, match="not the problems of a run"):
            find_written(path, ["a"])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "tasks.jsonl"
    good = Problem("a", "q", None, "x", {"type": "exact"})
    write_tasks([good], path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_tasks([good, Problem("b", "q", None, "x", {"type": object()})], path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["tasks.jsonl"]
