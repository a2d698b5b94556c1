"""`diag export` end to end: a run → training rows, or its rollouts and problems, in a file that appears at once."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain_diag.errors import UsageError
from posttrain_diag.export.rows import SETS, ExportRow, Left, pair_rows, prompt_rows, sft_rows
from posttrain_diag.export.source import ExportSplit, Form, Source, open_source
from posttrain_diag.store import write_atomic

MAKERS: dict[str, Callable[[Source, int, Left], Iterator[ExportRow]]] = {
    "sft": sft_rows,
    "pairs": pair_rows,
    "prompts": prompt_rows,
}
TARGETS = (*MAKERS, "parquet")
SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True)
class Exported:
    """The outcome of an export: what was written, and what was left out."""

    paths: tuple[Path, ...]
    rows: int
    sets: dict[str, int]
    """How many rows each set has; empty for --to parquet."""
    left_out: dict[str, int]
    """How many problems gave no row, by the reason why."""
    conversational: bool
    notes: tuple[str, ...]


def export(
    run: Path,
    to: str,
    *,
    out: Path | None = None,
    per_problem: int = 4,
    sets: Sequence[str] = (),
    form: Form = "auto",
    split: ExportSplit = "all",
) -> Exported:
    """Write what a run recommends, as data.

    Args:
        run: run directory of `diag analyze`.
        to: sft, pairs, prompts or parquet.
        out: a .jsonl or .parquet file; for --to parquet a folder. None: RUN/export/TO.jsonl, RUN/export.
        per_problem: most rows per problem.
        sets: only rows of these sets; all when empty.
        form: form of the prompts.
        split: train leaves out the problems that `diag train` holds out.

    Raises:
        UsageError: a bad argument, a run without what is asked for, or nothing to write.
    """
    _check("--to", to, TARGETS)
    _check("--format", form, ("auto", "text", "conversational"))
    _check("--split", split, ("all", "train"))
    for name in sets:
        _check("--set", name, tuple(dict.fromkeys(SETS.values())))
    if per_problem < 1:
        raise UsageError(f"--per-problem {per_problem}: give at least 1")
    source = open_source(run, form=form, split=split)
    if to == "parquet":
        return _tables(source, out or run / "export")
    path = out or run / "export" / f"{to}.jsonl"
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--out {path}: name a file that ends with {' or '.join(SUFFIXES)}")
    left = Left()
    rows = [row for row in MAKERS[to](source, per_problem, left) if not sets or row["set"] in sets]
    reasons = {why: n for why, n in left.reasons.most_common() if not sets or why.partition(":")[0] in sets}
    if not rows:
        told = "; ".join(f"{n} problems, {why}" for why, n in reasons.items()) or "none of the asked sets has problems"
        raise UsageError(f"{run}: --to {to} gives no row: {told}")
    write_atomic(path, _parquet(rows) if path.suffix == ".parquet" else _json_lines(rows))
    counts = Counter(str(row["set"]) for row in rows)
    named = {name: counts[name] for name in dict.fromkeys(SETS.values()) if counts[name]}
    return Exported((path,), len(rows), named, reasons, source.conversational, _notes(source, to, split))


def _check(flag: str, value: str, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise UsageError(f"{flag} {value}: accepted are {', '.join(accepted)}")


def _notes(source: Source, to: str, split: ExportSplit) -> tuple[str, ...]:
    notes: list[str] = []
    if split == "all":
        notes.append(
            "the rows are of all problems of the run: once trained on, these measure nothing any more (--split train "
            "leaves out what `diag train` holds out)"
        )
    if to == "prompts" and not source.conversational:
        notes.append("prompts are plain text, as the model was measured; verl wants --format conversational")
    return tuple(notes)


def _json_lines(rows: Sequence[ExportRow]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _parquet(rows: Sequence[ExportRow]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def _tables(source: Source, folder: Path) -> Exported:
    """Write rollouts.parquet (every arm, read and written a piece at a time), problems.parquet and problems.csv."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source.need_draws("--to parquet")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}: is a file; --to parquet writes into a folder")
    folder.mkdir(parents=True, exist_ok=True)
    rollouts, part = folder / "rollouts.parquet", folder / ".rollouts.parquet.part"
    rows = 0
    writer: pq.ParquetWriter | None = None
    try:
        for frame in source.all_draws():
            table = pa.Table.from_pandas(frame, schema=None if writer is None else writer.schema, preserve_index=False)
            writer = writer or pq.ParquetWriter(part, table.schema)
            writer.write_table(table)
            rows += len(frame)
        if writer is None:
            raise UsageError(f"{source.run.path}: the store holds no draws")
        writer.close()
        part.replace(rollouts)
    finally:
        part.unlink(missing_ok=True)
    problems = source.problem_table()
    buffer = io.BytesIO()
    problems.to_parquet(buffer, index=False)
    write_atomic(folder / "problems.parquet", buffer.getvalue())
    write_atomic(folder / "problems.csv", problems.to_csv(index=False))
    paths = (rollouts, folder / "problems.parquet", folder / "problems.csv")
    return Exported(paths, rows, {}, {}, source.conversational, ())
