"""Counts files: the layouts that are read, every kind of bad row, and what stays out."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain_diag.errors import TaskError, UsageError
from posttrain_diag.importers import read_counts


def write(folder: Path, text: str, name: str = "counts.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_plain_counts(tmp_path: Path) -> None:
    table = read_counts(write(tmp_path, "problem_id,n,c\na,10,3\nb,20,0\n"))
    assert table.counts.index.tolist() == ["a", "b"]
    assert table.counts.loc["a"].to_dict() == {
        "drawn": 10, "c": 3, "failed": 7, "truncated": 0, "errored": 0, "n": 10,
    }  # fmt: skip
    assert table.outcomes is None and not table.notes


def test_synonyms_bom_and_unread_columns(tmp_path: Path) -> None:
    table = read_counts(write(tmp_path, "\ufeffTask_ID, n_samples ,correct,subset\r\nx,4,1,hard\r\n"))
    assert table.columns == {"problem_id": "Task_ID", "n": "n_samples", "c": "correct"}
    assert table.notes == ("columns that were not read: subset",)


def test_errored_draws_leave_n_and_truncated_ones_stay(tmp_path: Path) -> None:
    row = read_counts(write(tmp_path, "id,n,c,truncated,errored\na,10,3,2,1\n")).counts.loc["a"]
    assert (row["n"], row["failed"], row["drawn"]) == (9, 4, 10)


def test_replicates_are_problems_of_their_own(tmp_path: Path) -> None:
    table = read_counts(write(tmp_path, "prompt_sha12,replicate,n,c\nab,0,8,1\nab,1,8,7\ncd,0,8,0\n"))
    assert table.counts.index.tolist() == ["ab", "ab#1", "cd"]
    assert "1 of 3 rows are replicates" in table.notes[0]


def test_outcomes_are_kept_and_checked(tmp_path: Path) -> None:
    assert read_counts(write(tmp_path, "task_id,n,c,bits\na,3,1,010\nb,3,0,000\n")).outcomes == ("010", "000")
    with pytest.raises(TaskError, match="2 outcomes with 1 passes contradict n = 3, c = 1"):
        read_counts(write(tmp_path, "task_id,n,c,bits\na,3,1,01\n"))
    with pytest.raises(TaskError, match="only 0 and 1"):
        read_counts(write(tmp_path, "task_id,n,c,bits\na,3,1,01x\n"))


def test_same_counts_from_csv_gz_and_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"problem_id": ["a", "b"], "n": [4.0, 5.0], "c": [1, 5]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress((tmp_path / "x.csv").read_bytes()))
    tables = [read_counts(str(tmp_path / name)) for name in ("x.csv", "x.parquet", "x.csv.gz")]
    assert len({table.sha for table in tables}) == 1
    assert tables[0].counts["n"].tolist() == [4, 5]


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ("a,4,5", "c", "c = 5 exceeds n = 4"),
        ("a,-4,0", "n", "got -4"),
        ("a,4,nan", "c", "got NaN"),
        ("a,4,", "c", "an empty cell"),
        ("a,4,1.5", "c", "got 1.5"),
        ("a,inf,1", "n", "got inf"),
        ("a,4,many", "c", "got 'many'"),
        ("a,99999999999,1", "n", "at most"),
        (",4,1", "problem_id", "empty cell"),
        ("first,4,1", "problem_id", "stands on line 2 already"),
        ("a,4", "", "expected 3 cells as in the header, got 2"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, field: str, problem: str) -> None:
    with pytest.raises(TaskError) as caught:
        read_counts(write(tmp_path, f"problem_id,n,c\nfirst,4,1\n{row}\n"))
    (line, name, what), *rest = caught.value.rows
    assert (line, name) == (3, field) and problem in what and not rest
    assert "1 of 2 rows cannot be used" in str(caught.value)


def test_every_bad_row_is_listed(tmp_path: Path) -> None:
    rows = "\n".join(f"p{i},4,{i}" for i in range(10))
    with pytest.raises(TaskError, match="5 of 10 rows cannot be used") as caught:
        read_counts(write(tmp_path, f"problem_id,n,c\n{rows}\n"))
    assert [line for line, _, _ in caught.value.rows] == [7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("problem_id,n,c\n", "holds no rows"),
        ("problem_id,n,solved\na,4,1\n", "no column for c among problem_id, n, solved"),
        ("problem_id,n,n,c\na,4,4,1\n", "more than once"),
        ("problem_id,n,c,errored\na,4,0,4\n", "no draw has a verdict"),
        ("problem_id,n,c,truncated\na,4,3,2\n", "exceeds n = 4"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(TaskError, match=problem):
        read_counts(write(tmp_path, text))


def test_files_that_are_no_counts(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no counts file"):
        read_counts(str(tmp_path / "none.csv"))
    with pytest.raises(TaskError, match="unknown kind"):
        read_counts(write(tmp_path, "x", "counts.docx"))
    (tmp_path / "bad.csv").write_bytes(b"problem_id,n,c\n\xff\xfe,1,1\n")
    with pytest.raises(TaskError, match="cannot be read"):
        read_counts(str(tmp_path / "bad.csv"))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"problem_id,n,c\na,1,1\n" * 500)[:-20])
    with pytest.raises(TaskError, match="cannot be read"):
        read_counts(str(tmp_path / "cut.csv.gz"))
    with pytest.raises(TaskError, match="as Parquet"):
        read_counts(write(tmp_path, "not parquet", "x.parquet"))


def test_mapping_names_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "name,n,c,solved\na,4,9,2\n")
    assert read_counts(path, mapping={"problem_id": "name", "c": "solved"}).counts.loc["a", "c"] == 2
    with pytest.raises(UsageError, match="unknown field"):
        read_counts(path, mapping={"d": "c"})
    with pytest.raises(UsageError, match="no column 'e'"):
        read_counts(path, mapping={"c": "e"})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=5), st.text(max_size=5)), max_size=4))
def test_any_cells_are_counts_or_a_task_error(cells: list[tuple[str, str, str]]) -> None:
    import csv
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
            csv.writer(file).writerows([("problem_id", "n", "c"), *cells])
        try:
            counts = read_counts(str(path)).counts
        except TaskError:
            return
        assert ((counts["c"] >= 0) & (counts["c"] <= counts["drawn"])).all() and counts.index.is_unique
