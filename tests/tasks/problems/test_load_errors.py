from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain_diag.errors import DiagError, MissingExtra, TaskError, UsageError, VerifierError
from posttrain_diag.tasks import load_tasks
from posttrain_diag.tasks.problems.cells import Reader
from posttrain_diag.tasks.problems.layouts import LAYOUTS
from tasks.conftest import FIXED, Write

GOOD = {"prompt": "a", "answer": "x"}


def fails(path: str, **kw: Any) -> TaskError:
    with pytest.raises(TaskError) as caught:
        load_tasks(path, **kw)
    assert "\n" not in str(caught.value)
    return caught.value


def test_every_bad_row_is_listed_with_line_field_and_reason(jsonl: Write):
    error = fails(
        jsonl(
            GOOD,
            "{not json",
            {"prompt": "", "answer": "x"},
            {"prompt": "a"},
            {"prompt": 7, "answer": {"x": "y"}},
            "[1]",
            {"answer": "x"},
            {"prompt": [{"role": "robot", "content": "a"}], "answer": "x"},
            {"prompt": "a", "answer": float("nan")},
            GOOD,
        )
    )
    assert [(line, field) for line, field, _ in error.rows] == [
        (2, ""), (3, "prompt"), (4, "answer"), (5, "prompt"), (5, "answer"), (6, ""), (7, "prompt"), (8, "prompt"),
        (9, "answer"),
    ]  # fmt: skip
    why = {(line, field): problem for line, field, problem in error.rows}
    assert "one JSON object per line" in why[2, ""] and "not json" in why[2, ""]
    assert why[3, "prompt"] == "expected a text, got an empty cell"
    assert "nothing to verify" in why[4, "answer"] and "--verifier" in why[4, "answer"]
    assert "int 7" in why[5, "prompt"]
    assert "dict {'x': 'y'}" in why[5, "answer"] and '{"target": [...]}' in why[5, "answer"]
    assert "expected a JSON object" in why[6, ""]
    assert why[7, "prompt"] == "expected a text, got no such column in this row"
    assert "system, developer, user, assistant, tool" in why[8, "prompt"]
    assert "NaN" in why[9, "answer"]
    assert "8 of 10 rows" in str(error)
    assert "and 4 more" in str(error)


def test_nothing_to_verify_says_how_to_give_a_verifier(jsonl: Write):
    error = fails(jsonl({"prompt": "a", "completion": "b"}, {"prompt": "b", "completion": "c"}))
    assert "--verifier path.py:function" in str(error)
    assert "2 of 2 rows" in str(error)
    assert "1 more of the same" in str(error)


def test_duplicate_ids(jsonl: Write):
    error = fails(jsonl({**GOOD, "id": "a"}, {**GOOD, "id": "b"}, {**GOOD, "id": "a"}))
    assert error.rows == ((3, "id", "expected a unique id, got 'a' again (first on line 1)"),)


def test_ids_of_a_wrong_kind(jsonl: Write):
    error = fails(jsonl({**GOOD, "id": "a"}, {**GOOD, "id": None}, {**GOOD, "id": 1.5}))
    assert [(line, field) for line, field, _ in error.rows] == [(2, "id"), (3, "id")]


def test_a_column_name_that_is_not_unique_is_no_id(jsonl: Write):
    tasks = load_tasks(jsonl({**GOOD, "name": "Ann"}, {**GOOD, "name": "Ann"}))
    assert [p.id for p in tasks.problems] == ["row-1", "row-2"]
    assert any("`name` is not unique" in note for note in tasks.notes)


@pytest.mark.parametrize(
    ("verifier", "says"),
    [
        ({"type": "fuzzy"}, "unknown verifier type 'fuzzy'"),
        ({"type": "exact", "pattern": "x"}, "does not take 'pattern'"),
        ({"type": "regex", "pattern": "("}, "not a regular expression"),
        ({"type": "numeric"}, "needs an answer that is one number"),
    ],
)
def test_bad_verifiers_are_bad_rows(verifier: dict[str, Any], says: str, jsonl: Write):
    error = fails(jsonl({**GOOD, "verifier": {"type": "exact"}}, {**GOOD, "verifier": verifier}))
    ((line, field, why),) = error.rows
    assert (line, field) == (2, "verifier")
    assert says in why


def test_a_verifier_that_is_not_an_object(jsonl: Write):
    error = fails(jsonl({**GOOD, "verifier": "exact"}))
    assert "expected an object" in str(error)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"", "holds no rows"),
        ("a.jsonl", b"\n\n", "holds no rows"),
        ("a.json", b"[]", "holds no rows"),
        ("a.csv", b"prompt,answer\n", "holds no rows"),
        ("a.json", b'{"prompt": "a"}', "expected a JSON list"),
        ("a.json", b'{"prompt": "a"}\n{"prompt": "b"}', "name the file .jsonl"),
        ("a.json", b"[1", "invalid JSON at line 1"),
        ("a.json", b'["\xff"]', "expected UTF-8"),
        ("a.jsonl", '{"prompt": "é"}'.encode("latin-1"), "expected UTF-8 text, got the byte 0xe9 at position 12"),
        ("a.csv", b"prompt,answer\na,\xe9\n", "a.csv:2: expected UTF-8"),
        ("a.csv", b"prompt,answer,prompt\na,b,c\n", "'prompt' more than once"),
        ("a.csv", b"prompt,answer\na,b,c\n", "line 2: expected 2 cells (prompt, answer), got 3"),
        ("a.csv", b"prompt,answer\nnan,b\n", "line 2, prompt: expected a text, got an empty cell"),
        ("a.parquet", b"not parquet", "not a readable Parquet file"),
        ("a.jsonl.gz", b"not gzip", "cannot read"),
        ("a.jsonl.xz", b"not xz", "cannot read"),
        ("a.txt", b"prompt", "unknown kind of file '.txt'"),
        ("a.jsonl", b'{"a": 1, "b": 2}', "the columns are a, b"),
    ],
)
def test_files_that_cannot_be_used(name: str, content: bytes, says: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    assert says in str(fails(str(tmp_path / name)))


def test_nan_in_parquet(tmp_path: Path):
    pd.DataFrame({"prompt": ["a", "b"], "answer": [1.0, float("nan")]}).to_parquet(tmp_path / "a.parquet")
    ((line, field, _),) = fails(str(tmp_path / "a.parquet")).rows
    assert (line, field) == (2, "answer")


def test_no_layout_fits_names_columns_and_the_way_out(jsonl: Write):
    error = fails(jsonl({"name": "t", "formal_statement": "theorem", "goal": "x"}))
    assert "formal_statement, goal, name" in str(error)
    assert "--map prompt=COLUMN" in str(error)


def test_missing_files(tmp_path: Path):
    assert "no tasks file" in str(fails(str(tmp_path / "absent.jsonl")))
    assert "builtin:zoo/NAME" in str(fails("absent"))


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="datasets is installed here")
def test_hf_data_sets_need_the_extra(tmp_path: Path):
    for source in ("openai/gsm8k", str(tmp_path)):
        with pytest.raises(MissingExtra, match="datasets"):
            load_tasks(source)


def test_unknown_builtins_list_the_known_ones():
    with pytest.raises(UsageError, match="unknown builtin tasks 'builtin:zoo/absent': accepted are "):
        load_tasks("builtin:zoo/absent")
    with pytest.raises(UsageError, match="builtin:other"):
        load_tasks("builtin:other")


def test_mapping_errors(jsonl: Write):
    path = jsonl(GOOD)
    with pytest.raises(UsageError, match=r"unknown field 'promt'.*accepted are .*prompt"):
        load_tasks(path, mapping={"promt": "answer"})
    with pytest.raises(UsageError, match=r"no column 'q'; it has answer, prompt"):
        load_tasks(path, mapping={"prompt": "q"})
    with pytest.raises(UsageError, match="at least 1"):
        load_tasks(path, limit=0)


@pytest.mark.parametrize("verifier", ["fuzzy", "regex", "python", "{bad", '{"type": "x"}', "absent.py:f", "regex:("])
def test_given_verifiers_that_cannot_be_used(verifier: str, jsonl: Write):
    with pytest.raises(VerifierError):
        load_tasks(jsonl(GOOD), verifier=verifier)


def test_code_needs_consent(jsonl: Write):
    row = {"prompt": "def f():\n", "entry_point": "f", "test": "def check(c): pass"}
    with pytest.raises(VerifierError, match="--allow-code"):
        load_tasks(jsonl(row))


CELL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(FIXED, max_examples=150)
@given(st.sampled_from(sorted(LAYOUTS)), st.data())
def test_any_cell_is_a_value_or_a_noted_problem(layout: str, data: st.DataObject):
    cells = {name: data.draw(CELL, label=name) for name in sorted(LAYOUTS[layout].uses)}
    reader = Reader(cells, {})
    LAYOUTS[layout].read(reader)
    reader.mapping("verifier")
    reader.texts("tags")
    assert all(isinstance(field, str) and problem for field, problem in reader.problems)


@settings(FIXED, max_examples=100)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.builds(lambda c: json.dumps({"prompt": c, "answer": c}).encode(), CELL)),
        max_size=4,
    )
)
def test_any_bytes_load_or_fail_with_our_error(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]):
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    try:
        tasks = load_tasks(str(path))
    except DiagError as error:
        assert str(error)
    else:
        assert tasks.problems
