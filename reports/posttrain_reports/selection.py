"""Chooses what a report of bounded size shows of a run of any size, and says what it left out."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.wording.numbers import finite
from posttrain_diag.wording.text import clip, visible
from posttrain_diag.wording.vocabulary import CLASSES, FATES
from posttrain_reports.figdata import numeric_column, problem_classes

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 3000
STATIC_ROWS = 25
"""Number of rows of the problem table written as plain HTML, for readers without JavaScript and for print."""
MIN_PER_CLASS = 150
"""Rows of every class that are kept before the rest is filled in proportion."""
ROW_BYTES = 1_100_000
TRANSCRIPT_BYTES = 1_600_000
MAX_TRANSCRIPT_PROBLEMS = 600
TEXT_LIMIT = 1600
PROMPT_LIMIT = 700
ANSWER_LIMIT = 160
ID_LIMIT = 120
PER_VERDICT = 2
"""Rollouts shown per problem and verdict in the arm "main"; other arms show one per verdict."""
MAX_PER_PROBLEM = 10
MAX_PIECES = 300
"""Most tokens of a rollout that are shown with their probabilities."""
COUNT_COLUMNS = ("n", "c", "drawn", "failed", "truncated", "errored", "n_before", "c_before", "n_after", "c_after")

NUMBER_COLUMNS = ("n", "c", "drawn", "failed", "truncated", "errored", "p_mean", "p_low", "p_high")
DETAIL_COLUMNS = (
    "strict_rate",
    "lenient_rate",
    "strict",
    "lenient",
    "min_token_prob",
    "demo_logprob_nats",
    "hint_depth",
    "posterior_consolidation",
    "other_p_mean",
)
COMPARED_COLUMNS = ("n_before", "c_before", "p_before", "p_before_low", "p_before_high",
                    "n_after", "c_after", "p_after", "p_after_low", "p_after_high",
                    "change", "preserved", "expanded", "shrunk", "outside")  # fmt: skip
_TABLE_FILE = {"class": "problems.parquet", "fate": "comparison.parquet"}
_VERDICT_ORDER = {"pass": 0, "fail": 1, "truncated": 2, "error": 3}


@dataclass(frozen=True)
class TableRows:
    """The problems that a page embeds."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    positions: tuple[int, ...]
    """Positions of the embedded rows in problems.parquet, shape (rows,)."""
    total: int
    group_totals: Mapping[str, int]
    """Number of problems of the whole run by class, or by fate."""
    note: str

    def named(self) -> list[dict[str, Any]]:
        """The first rows by column name, which are written as plain HTML."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows[:STATIC_ROWS]]


def table_payload(table: TableRows, titles: Mapping[str, str]) -> dict[str, Any]:
    """The table in the form in which table.js reads it; `titles` are those of its groups, in their order."""
    _, group, *_ = table.columns
    return {
        "columns": ["group" if name == group else name for name in table.columns],
        "rows": table.rows,
        "groups": [{"name": name, "title": titles[name]} for name in table.group_totals],
        "groupTotals": table.group_totals,
    }


@dataclass(frozen=True)
class TranscriptChoice:
    """The rollouts that a page embeds."""

    by_row: Mapping[int, tuple[Mapping[str, Any], ...]]
    """For an index into TableRows.rows the rollouts of that problem."""
    shown: int
    given: int
    note: str


def _chosen_positions(group_P: NDArray[np.object_], order: Sequence[str], limit: int) -> NDArray[np.int64]:
    """All problems, or a seeded sample stratified by group in file order. Shape (rows,)."""
    if len(group_P) <= limit:
        return np.arange(len(group_P))
    rng = np.random.default_rng(0)
    drawn = {name: rng.permutation(np.flatnonzero(group_P == name)) for name in order}
    floor = min(MIN_PER_CLASS, limit // len(order))
    left = limit - sum(min(len(own), floor) for own in drawn.values())
    rest = sum(max(len(own) - floor, 0) for own in drawn.values())
    kept: list[NDArray[np.int64]] = []
    for own in drawn.values():
        extra = max(len(own) - floor, 0) * left // max(rest, 1)
        kept.append(own[: floor + extra])
    return np.sort(np.concatenate(kept))


def candidate_ids(problems: pd.DataFrame) -> list[str]:
    """Ids of the problems that a page can show, whatever its budget: no others need texts or rollouts.

    Args:
        problems: the rows of problems.parquet, or of comparison.parquet (with a column fate).
    """
    compared = "fate" in problems.columns
    group_P = problems["fate"].to_numpy(dtype=object) if compared else problem_classes(problems)
    positions = _chosen_positions(group_P, tuple(FATES if compared else CLASSES), MAX_ROWS)
    return [str(one) for one in problems["id"].iloc[positions].tolist()]


def _cell(name: str, value: object) -> object:
    number = finite(value)
    if number is None:
        return None
    if name in COUNT_COLUMNS:
        return int(number)
    return float(f"{number:.6g}")


def _texts(problems: pd.DataFrame, name: str, positions: NDArray[np.int64], limit: int) -> list[str]:
    if name not in problems.columns:
        return [""] * len(positions)
    return [
        "" if value is None or value != value else clip(str(value), limit)  # noqa: PLR0124  # NaN is unequal to itself
        for value in problems[name].iloc[positions].tolist()
    ]


def choose_rows(problems: pd.DataFrame, limit: int = MAX_ROWS, budget: int = ROW_BYTES) -> TableRows:
    """The rows that the table of problems embeds: all, or a sample stratified by class.

    Args:
        problems: the rows of problems.parquet.
        limit: most rows.
        budget: most bytes that they may take.
    """
    wanted = (*NUMBER_COLUMNS, *DETAIL_COLUMNS, *posterior_columns(problems))
    numbers = [name for name in wanted if name in problems.columns]
    return _choose(problems, ("class", problem_classes(problems), tuple(CLASSES)), numbers, limit, budget)


def choose_comparison_rows(problems: pd.DataFrame, limit: int, budget: int) -> TableRows:
    """The rows that the table of a comparison embeds: all, or a sample stratified by fate.

    Args:
        problems: the rows of comparison.parquet, with `prompt` and `answer` where known.
        limit: most rows.
        budget: most bytes that they may take.
    """
    fate_P = problems["fate"].to_numpy(dtype=object)
    return _choose(problems, ("fate", fate_P, tuple(FATES)), COMPARED_COLUMNS, limit, budget)


def _choose(
    problems: pd.DataFrame,
    grouped: tuple[str, NDArray[np.object_], Sequence[str]],
    numbers: Sequence[str],
    limit: int,
    budget: int,
) -> TableRows:
    group, group_P, order = grouped
    columns = ("id", group, "prompt", "answer", "certified_zero", *numbers)
    values = {name: numeric_column(problems, name) for name in numbers}
    has_flag = "certified_zero" in problems.columns
    while True:
        positions = _chosen_positions(group_P, order, limit)
        ids = _texts(problems, "id", positions, ID_LIMIT)
        prompts = _texts(problems, "prompt", positions, PROMPT_LIMIT)
        answers = _texts(problems, "answer", positions, ANSWER_LIMIT)
        flags = problems["certified_zero"].iloc[positions].tolist() if has_flag else [None] * len(positions)
        rows = tuple(
            (ids[i], group_P[at], prompts[i], answers[i], _flag(flags[i]),
             *(_cell(name, values[name][at]) for name in numbers))
            for i, at in enumerate(positions.tolist())
        )  # fmt: skip
        size = encoded_size(rows)
        if size <= budget or limit <= 1:
            break
        limit = max(1, min(limit, len(rows)) * budget // (size + size // 20))
    totals = {name: int(np.count_nonzero(group_P == name)) for name in order}
    note = _row_note(len(rows), len(problems), group)
    return TableRows(columns, rows, tuple(positions.tolist()), len(problems), totals, note)


def posterior_columns(problems: pd.DataFrame) -> dict[str, str]:
    """The class of each column that holds a class posterior: the class name, bare or after a usual prefix."""
    prefixes = ("", "post_", "posterior_", "prob_", "p_")
    wanted = {f"{prefix}{name}": name for name in CLASSES for prefix in prefixes}
    return {str(column): wanted[str(column)] for column in problems.columns if str(column) in wanted}


def _flag(value: object) -> int | None:
    number = finite(value) if not isinstance(value, bool | np.bool_) else float(value)
    return None if number is None else int(number)


def _row_note(shown: int, total: int, group: str) -> str:
    if shown == total:
        return f"All {total:,} problems of the run." if total != 1 else "The one problem of the run."
    return (
        f"{shown:,} of {total:,} problems: a random sample (seed 0) that keeps every {group} present and is not "
        f"proportional where one is small. The full table is in {_TABLE_FILE[group]}."
    )


def encoded_size(value: object) -> int:
    """Bytes the value takes in the page."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _interest(group: Sequence[Mapping[str, Any]]) -> int:
    """How much a reader learns from this problem's rollouts: disagreement first, then near misses."""
    verdicts = {str(t["verdict"]) for t in group}
    near_miss = any(t.get("lenient") and t["verdict"] == "fail" for t in group)
    return 2 * (len(verdicts) > 1) + 2 * near_miss + ("error" in verdicts) + ("truncated" in verdicts)


def _informative(group: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A few different rollouts per arm and verdict: near misses first, then the likeliest text."""

    def key(t: Mapping[str, Any]) -> tuple[bool, float, int]:
        logprob, n_tokens = finite(t.get("logprob")), finite(t.get("n_tokens")) or 1
        typical = -logprob / n_tokens if logprob is not None else float("inf")
        return (not (t.get("lenient") and t["verdict"] == "fail"), typical, int(finite(t.get("sample_idx")) or 0))

    chosen: list[Mapping[str, Any]] = []
    taken: dict[tuple[str, str], int] = defaultdict(int)
    seen: set[tuple[str, str]] = set()
    for t in sorted(group, key=key):
        arm, verdict = str(t.get("arm") or "main"), str(t["verdict"])
        text = (arm, str(t["text"])[:TEXT_LIMIT])
        if text in seen or taken[arm, verdict] >= (PER_VERDICT if arm == "main" else 1):
            continue
        seen.add(text)
        taken[arm, verdict] += 1
        chosen.append(t)
    chosen.sort(key=lambda t: (t.get("arm", "main") != "main", _VERDICT_ORDER.get(str(t["verdict"]), 9)))
    return chosen[:MAX_PER_PROBLEM]


def shown_transcript(t: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """One rollout as the page embeds it; short keys keep the page small."""
    extracted = t.get("extracted")
    logprob = finite(t.get("logprob"))
    return {
        "arm": visible(str(t.get("arm") or "main")),
        "i": int(finite(t.get("sample_idx")) or 0),
        "text": clip(str(t["text"]), limit),
        "verdict": visible(str(t["verdict"])),
        "lenient": bool(t.get("lenient")),
        "extracted": None if extracted is None else clip(str(extracted), ANSWER_LIMIT),
        "finish": visible(str(t.get("finish_reason") or "")),
        "tokens": int(finite(t.get("n_tokens")) or 0),
        "logprob": None if logprob is None else float(f"{logprob:.4g}"),
    }


def token_pieces(t: Mapping[str, Any], vocabulary: Mapping[int, str]) -> list[tuple[str, float]]:
    """The first tokens of a rollout as (text, log-probability in nats); empty where they are not known."""
    ids, logprobs = t.get("token_ids"), t.get("token_logprobs")
    if ids is None or logprobs is None or not vocabulary:
        return []
    first = ids[:MAX_PIECES].tolist()
    if any(token not in vocabulary for token in first):
        return []
    pairs = zip(first, logprobs[:MAX_PIECES].tolist(), strict=True)
    return [(visible(vocabulary[token]), float(f"{logprob:.3g}")) for token, logprob in pairs]


def choose_transcripts(
    transcripts: Sequence[Mapping[str, Any]],
    table: TableRows,
    ids: Sequence[str],
    budget: int = TRANSCRIPT_BYTES,
    limit: int = TEXT_LIMIT,
    *,
    total: int | None = None,
    store: str = "rollouts.sqlite",
    vocabulary: Mapping[int, str] | None = None,
) -> TranscriptChoice:
    """Rollouts to embed, problem by problem in turn over the classes, until the byte budget is spent.

    Args:
        transcripts: every rollout given to the report.
        table: the embedded rows; rollouts of other problems are left out.
        ids: untouched problem ids, one per embedded row (the rows hold clipped ones).
        budget: bytes that all embedded rollouts may take.
        limit: most characters shown of one rollout.
        total: number of rollouts of the run, where fewer were given.
        store: name of the store that holds all of them.
        vocabulary: texts of tokens by id; tokens may take half as many bytes again as the rollouts.
    """
    row_of = {problem_id: index for index, problem_id in enumerate(ids)}
    groups: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for transcript in transcripts:
        index = row_of.get(str(transcript["problem_id"]))
        if index is not None:
            groups[index].append(transcript)
    by_row: dict[int, tuple[dict[str, Any], ...]] = {}
    spent, shown, tokens_left = 0, 0, budget // 2
    for index in _turns(groups, table):
        chosen = _informative(groups[index])
        embedded = tuple(shown_transcript(t, limit) for t in chosen)
        size = encoded_size(embedded)
        if spent + size > budget or len(by_row) >= MAX_TRANSCRIPT_PROBLEMS:
            continue
        by_row[index] = embedded
        spent += size
        shown += len(embedded)
        for one, t in zip(embedded, chosen, strict=True):
            pieces = token_pieces(t, vocabulary or {})
            if pieces and (size := encoded_size(pieces)) <= tokens_left:
                one |= {"pieces": pieces, "piecesLeft": len(t["token_ids"]) - len(pieces)}
                tokens_left -= size
    note = _transcript_note(shown, len(transcripts), len(by_row), total, store)
    return TranscriptChoice(by_row, shown, len(transcripts), note)


def _turns(groups: Mapping[int, Sequence[Mapping[str, Any]]], table: TableRows) -> list[int]:
    """Row indices, the most informative problem of every class first, then the second of every class, ..."""
    queues: dict[str, list[int]] = defaultdict(list)
    for index in sorted(groups, key=lambda i: (-_interest(groups[i]), i)):
        queues[table.rows[index][1]].append(index)
    order = list(table.group_totals)
    ranked = [(turn, order.index(name), index) for name, queue in queues.items() for turn, index in enumerate(queue)]
    return [index for _, _, index in sorted(ranked)]


def _transcript_note(shown: int, given: int, problems: int, total: int | None, store: str) -> str:
    if given == 0:
        return f"No transcripts were given to this report; the rollout store ({store}) holds them."
    if total is not None and total > given:
        return (
            f"{shown:,} of {total:,} rollouts, chosen to differ among the first draws of these problems ({given:,}): "
            f"up to {PER_VERDICT} per problem and verdict, near misses and likely texts first, {TEXT_LIMIT:,} "
            f"characters each. The rest is in {store}."
        )
    if shown == given:
        return f"All {given:,} rollouts given to this report, of {problems:,} problem(s)."
    return (
        f"{shown:,} of {given:,} rollouts, chosen to differ: up to {PER_VERDICT} per problem and verdict, near "
        f"misses and likely texts first, {TEXT_LIMIT:,} characters each. The rest is in {store}."
    )
