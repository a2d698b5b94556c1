from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posttrain_diag.errors import TaskError
from posttrain_diag.tasks import load_tasks
from posttrain_diag.tasks.problems import formats

ROW = json.dumps({"prompt": "x" * 1000, "answer": "b"}) + "\n"


def refusal(path: Path, **kw: int) -> str:
    with pytest.raises(TaskError) as caught:
        load_tasks(str(path), **kw)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "prompt", "answer"),
    [
        ("a.csv", "prompt;answer\nWhat, is 2,5 + 2?;4,5\nAnd 1?;1\n", "What, is 2,5 + 2?", "4,5"),
        ("a.csv", "prompt\tanswer\nA, b; c?\td\n", "A, b; c?", "d"),
        ("a.tsv", "prompt\tanswer\nA, b; c?\td\n", "A, b; c?", "d"),
        ("a.csv", "prompt|answer\nA, b?|d\n", "A, b?", "d"),
        ("a.csv", 'prompt,answer\n"a;b;c",d\n', "a;b;c", "d"),
        ("a.csv", 'prompt;answer\n"two\nlines; quoted";d\n', "two\nlines; quoted", "d"),
        ("a.csv", "\ufeffprompt,answer\na,d\n", "a", "d"),
        ("a.csv", "\ufeffprompt;answer\r\na;d\r\n", "a", "d"),
    ],
)
def test_the_separator_of_cells_is_found(name: str, content: str, prompt: str, answer: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content.encode())
    problem = load_tasks(str(tmp_path / name)).problems[0]
    assert (problem.prompt, problem.answer) == (prompt, answer)


def test_a_small_compressed_file_cannot_take_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formats, "MAX_TEXT", 4 * formats.MIB)
    monkeypatch.setattr(formats, "MAX_ROW", formats.MIB)
    monkeypatch.setattr(formats, "MAX_WHOLE", 2 * formats.MIB)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(ROW.encode() * 50_000))
    (tmp_path / "line.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "' + b"x" * (50 * formats.MIB)))
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"prompt,answer\n" + b"x" * 999 + b",b\n" * 50_000))
    (tmp_path / "whole.json.gz").write_bytes(gzip.compress(b"[" + b" " * (50 * formats.MIB)))
    for name, says in (
        ("rows.jsonl.gz", "more than 4 MiB of text (unpacked)"),
        ("line.jsonl.gz", "more than 4 MiB of text (unpacked)"),
        ("whole.json.gz", "write one row per line as .jsonl"),
    ):
        tracemalloc.start()
        assert says in refusal(tmp_path / name), name
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 24 * formats.MIB, (name, peak)
    assert len(load_tasks(str(tmp_path / "rows.jsonl.gz"), limit=3).problems) == 3


def test_one_row_may_not_hold_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formats, "MAX_ROW", 100)
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps({"prompt": "x" * 500, "answer": "b"}) + "\n" + json.dumps({"prompt": "y", "answer": "b"})
    )
    assert "line 1: expected at most 0 MiB in one row" in refusal(path)
    assert "1 of 2 rows" in refusal(path)


def test_parquet_is_read_in_batches_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formats, "MAX_TEXT", 4 * formats.MIB)
    table = pa.table({"prompt": ["x" * 10_000] * 2000, "answer": ["b"] * 2000})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")  # dictionary-encoded: a few hundred bytes
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    assert "more than 4 MiB" in refusal(tmp_path / "a.parquet")
    assert len(load_tasks(str(tmp_path / "a.parquet"), limit=70).problems) == 70


def test_compressed_parquet_and_deep_json(tmp_path: Path):
    pq.write_table(pa.table({"prompt": ["a"], "answer": ["b"]}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert load_tasks(str(tmp_path / "a.parquet.gz")).problems[0].answer == "b"
    (tmp_path / "a.json").write_text("[" * 100_000)
    assert "invalid JSON" in refusal(tmp_path / "a.json")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(ROW.encode() * 100)[:-20])
    assert "cannot read" in refusal(tmp_path / "cut.jsonl.gz")
