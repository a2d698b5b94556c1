"""Parquet shards of rollouts: written whole or not at all, read column by column, counted run by run.

A run is a stretch of rows of one prompt, sampling law, problem, arm and verifier. Suffixes: N rows, R runs of a table.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.errors import StoreError
from posttrain_diag.store.base import TALLIED, Span, VerdictOf
from posttrain_diag.store.columns import IDENTITY, REPEATED, arrow_schema, clean_or_none

ROW_GROUP = 16_384
"""Rows of a row group, which is what is in memory at a time while a shard is read."""
COUNTED = (*IDENTITY, "problem_id", "arm", "verifier_sha", "verdict", "lenient", "n_tokens")
"""Columns that counting reads."""

NAMED = (*IDENTITY, "problem_id")
"""Columns that say which problem a prompt is of."""

Wanted = Mapping[tuple[str, str], tuple[int, int]]
"""For each (prompt_sha, sampling_sha) the (start, stop) of the sample indices asked for."""

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def wanted(spans: Iterable[Span]) -> Wanted:
    """Turn spans into a look-up by prompt and sampling law."""
    return {(s.prompt_sha, s.sampling_sha): (s.start, s.stop) for s in spans}


def sorted_rows(table: Any) -> Any:
    """A table in the order of its rows' identity."""
    return table.sort_by([(name, "ascending") for name in IDENTITY])


def write_shard(path: Path, table: Any) -> None:
    """Write a table under a temporary name, flush it to disk, rename, flush the directory.

    Raises:
        StoreError: it cannot be written.
    """
    import pyarrow.parquet as pq

    temporary = path.with_suffix(".tmp")
    layout: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": [*REPEATED, "extracted", "error"],
        "use_byte_stream_split": ["token_logprobs.list.element"],
        "write_statistics": [*IDENTITY],
        "row_group_size": ROW_GROUP,
    }
    try:
        pq.write_table(table, temporary, **layout)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error}); make room or mend the disk and rerun the same command: what was "
            "stored before stays"
        ) from error


def sync(path: Path) -> None:
    """Flush a file or directory to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_groups(path: Path, columns: Iterable[str]) -> Iterator[Any]:
    """Some columns of a shard, one row group after the other.

    Raises:
        StoreError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for index in range(file.num_row_groups):
                yield file.read_row_group(index, [*columns])
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(
            f"{path}: not a shard of rollouts ({error}); move it away and rerun the same command: only its draws are "
            "made again"
        ) from error


def _codes(column: Any) -> tuple[IntArray, list[Any]]:
    """A string column as codes, shape (N,), and the strings that the codes stand for."""
    found = column.combine_chunks().dictionary_encode()
    return found.indices.to_numpy(zero_copy_only=False).astype(np.int64), found.dictionary.to_pylist()


def numbers(table: Any, name: str) -> IntArray:
    """An integer or boolean column as an array of shape (N,)."""
    return table.column(name).to_numpy().astype(np.int64)


def runs(table: Any, columns: Iterable[str]) -> tuple[IntArray, list[tuple[str, ...]]]:
    """Where runs of equal values begin in a table that is not empty, shape (R,), and the values of each run."""
    coded = [_codes(table.column(name)) for name in columns]
    new_N = np.zeros(table.num_rows, bool)
    new_N[0] = True
    for code_N, _ in coded:
        new_N[1:] |= code_N[1:] != code_N[:-1]
    start_R = np.flatnonzero(new_N)
    values = zip(*([strings[code] for code in code_N[start_R].tolist()] for code_N, strings in coded), strict=True)
    return start_R, list(values)


def bitmaps(table: Any) -> Iterator[tuple[tuple[str, ...], int]]:
    """For each run of rows (model_sha, prompt_sha, sampling_sha) and its sample indices as bits of one number."""
    index_N = numbers(table, "sample_idx")
    start_R, keys = runs(table, IDENTITY[:3])
    stop_R = np.append(start_R[1:], len(index_N))
    for key, start, stop in zip(keys, start_R.tolist(), stop_R.tolist(), strict=True):
        first, last = int(index_N[start]), int(index_N[stop - 1])
        if last - first + 1 == stop - start:  # rows are in order, so this is a range
            yield key, ((1 << (stop - start)) - 1) << first
        else:
            yield key, sum(1 << index for index in set(index_N[start:stop].tolist()))


def chosen(table: Any, model_sha: str, spans: Wanted) -> BoolArray:
    """Mask of the rows that some spans ask for, shape (N,)."""
    start_R, keys = runs(table, IDENTITY[:3])
    size_R = np.diff(np.append(start_R, table.num_rows))
    bounds = [spans.get((prompt, law), (0, 0)) if model == model_sha else (0, 0) for model, prompt, law in keys]
    low_R2 = np.asarray(bounds, np.int64).reshape(-1, 2)
    index_N = numbers(table, "sample_idx")
    return (index_N >= np.repeat(low_R2[:, 0], size_R)) & (index_N < np.repeat(low_R2[:, 1], size_R))


def tally(tables: Iterable[Any], model_sha: str, spans: Wanted) -> pd.DataFrame:
    """Exact counts per problem, arm and verifier over tables with the columns of COUNTED."""
    counts: dict[tuple[str, ...], NDArray[np.int64]] = {}
    for table in tables:
        keep_N = chosen(table, model_sha, spans)
        if not keep_N.any():
            continue
        start_R, keys = runs(table, ("prompt_sha", "problem_id", "arm", "verifier_sha"))
        code_N, names = _codes(table.column("verdict"))
        is_N = [(code_N == (names.index(name) if name in names else -1)) & keep_N for name in _VERDICTS]
        finished_N = is_N[0] | is_N[1]
        tokens_N = numbers(table, "n_tokens") * keep_N
        columns = [*is_N, finished_N & (numbers(table, "lenient") > 0), tokens_N]
        sums_RC = np.stack([np.add.reduceat(column.astype(np.int64), start_R) for column in columns], axis=1)
        drawn_R = np.add.reduceat(keep_N.astype(np.int64), start_R)
        for key, sums_C, drawn in zip(keys, sums_RC, drawn_R, strict=True):
            if drawn:
                group = key[1:]
                counts[group] = counts[group] + sums_C if group in counts else sums_C
    return pd.DataFrame(
        [(*key, *values.tolist()) for key, values in counts.items()],
        columns=["problem_id", "arm", "verifier_sha", *TALLIED],
    )


_VERDICTS = ("pass", "fail", "truncated", "error")


def prompts_of(table: Any, model_sha: str, problem_ids: Collection[str]) -> Iterator[tuple[str, str]]:
    """(prompt_sha, sampling_sha) of the rows that belong to some problems; the table has the columns NAMED."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(problem_ids), pa.string())
    of_problems = pc.is_in(table.column("problem_id"), wanted)  # pyright: ignore[reportAttributeAccessIssue]
    kept = table.filter(of_problems)
    if kept.num_rows:
        for model, prompt, law in runs(kept, IDENTITY[:3])[1]:
            if model == model_sha:
                yield prompt, law


def stale(table: Any, model_sha: str, spans: Wanted, shas: Mapping[str, str]) -> BoolArray:
    """Mask of the rows of some spans that another verifier than today's judged.

    Args:
        table: the rows, with the columns that identify a draw and its verifier.
        model_sha: the model that drew.
        spans: the draws in question.
        shas: today's verifier_sha by problem id.

    Returns:
        The mask, shape (N,).
    """
    keep_N = chosen(table, model_sha, spans)
    start_R, keys = runs(table, ("problem_id", "verifier_sha"))
    old_R = np.asarray([shas.get(problem_id, sha) != sha for problem_id, sha in keys], bool)
    return keep_N & np.repeat(old_R, np.diff(np.append(start_R, table.num_rows)))


def rejudged(table: Any, stale_N: BoolArray, shas: Mapping[str, str], judge: VerdictOf) -> Any:
    """The whole table with new verdicts in its stale rows.

    Args:
        table: rows with all columns of a rollout.
        stale_N: which rows to judge again, shape (N,).
        shas: today's verifier_sha by problem id.
        judge: gives the new verdict.
    """
    import pyarrow as pa

    schema = arrow_schema()
    names = ("verdict", "strict", "lenient", "extracted", "score", "error", "verifier_sha")
    new = {name: table.column(name).to_pylist() for name in names}
    where = np.flatnonzero(stale_N).tolist()
    asked = table.select(["problem_id", "text", "finish_reason"]).take(pa.array(where, pa.int64()))
    for index, row in zip(where, asked.to_pylist(), strict=True):
        verdict, judged = judge(row["problem_id"], row["text"], row["finish_reason"])
        extracted, error = clean_or_none(judged.extracted), clean_or_none(judged.error)
        values = (verdict, judged.strict, judged.lenient, extracted, judged.score, error, shas[row["problem_id"]])
        for name, value in zip(names, values, strict=True):
            new[name][index] = value
    for name, values in new.items():
        position = schema.get_field_index(name)
        table = table.set_column(position, schema.field(position), pa.array(values, schema.field(position).type))
    return table
