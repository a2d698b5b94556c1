"""Load tasks: find the layout, read every row, decide what is compared, and refuse the file if any row is bad."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from posttrain_diag.errors import TaskError, UsageError, VerifierError, did_you_mean
from posttrain_diag.settings.tasks import TaskSettings
from posttrain_diag.tasks.problems.cells import Reader
from posttrain_diag.tasks.problems.columns import check_mapping, columns_of, detect_layout, otherwise_spelled
from posttrain_diag.tasks.problems.drafts import IDS, Draft
from posttrain_diag.tasks.problems.layouts import BOXED, LAYOUTS
from posttrain_diag.tasks.problems.named import refuse_unjudged
from posttrain_diag.tasks.problems.pairs import UNPAIRED, merge_unpaired
from posttrain_diag.tasks.problems.rows import BadRow, RawTable, Row, is_missing, read_table
from posttrain_diag.tasks.problems.several import accept_all
from posttrain_diag.tasks.problems.taskset import TaskSet, tasks_sha
from posttrain_diag.tasks.verifiers.defaults import WHY, default_verifier
from posttrain_diag.tasks.verifiers.numbers import iter_numbers
from posttrain_diag.tasks.verifiers.spec import TYPES, check_verifier, compile_verifier, needs_code
from posttrain_diag.types import Problem

_SHOWN_ROWS = 5
_NOTHING_TO_VERIFY = (
    "nothing to verify a completion with: add a column `answer` (or --map answer=COLUMN), a column `verifier`, or give "
    "--verifier path.py:function"
)
_ALONE = tuple(kind for kind in TYPES if kind not in ("regex", "python", "code", "any"))
"""Types of verifiers that need no more than their name."""
_ONLY_DEMOS = (
    "; the demonstration marks no answer of its own (were it a bare answer, --map answer=COLUMN would name it)"
)


def load_tasks(
    source: str,
    *,
    mapping: Mapping[str, str] | None = None,
    verifier: str | None = None,
    limit: int | None = None,
    allow_code: bool = False,
    demos_only: bool = False,
) -> TaskSet:
    """Load problems with their verifiers.

    Args:
        source: a .jsonl, .json, .csv, .tsv or .parquet file (also .gz, .bz2, .xz), tasks that are known by a name
            ("gsm8k"), a HF data set (directory, owner/name, owner/name:split or owner/name:config:split), or
            `builtin:zoo/NAME`.
        mapping: field -> column, before the layout is detected, e.g. {"prompt": "question"}.
        verifier: replaces every verifier: a type ("exact", "numeric", "choice", "contains"), "regex:PATTERN", a JSON
            object, or "path.py:function" / "package.module:function", which is consent to run that code.
        limit: read only the first rows.
        allow_code: accept verifiers of the file that run code.
        demos_only: the demonstrations are all that is wanted: rows need no answer, and problems have no verifier.

    Raises:
        TaskError: the file cannot be used; `rows` lists every bad row.
        VerifierError: `verifier` is not usable, or the file's verifiers run code and `allow_code` is off.
        UsageError: a mapping names an unknown field or column, or the limit is not positive.
        MissingExtra: a HF data set without the package `datasets`.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit on tasks must be at least 1, got {limit}")
    forced = None if verifier is None else parse_verifier(verifier)
    if forced is not None:
        compile_verifier(forced)
    judged = demos_only or forced is not None
    if not judged:
        refuse_unjudged(source)
    table = read_table(source, limit)
    columns = columns_of(table)
    if not table.rows and not table.bad:
        raise TaskError(f"{source} holds no rows: expected at least one problem")
    if not table.rows:
        raise _task_error(source, list(table.bad), len(table.bad))
    renamed = otherwise_spelled(columns, check_mapping(mapping or {}, columns, source))
    layout_name = detect_layout(table, columns, renamed, source)
    layout = LAYOUTS[layout_name]
    if layout.refused and not judged:
        raise TaskError(f"{source}: {layout.refused}")
    bad: list[BadRow] = list(table.bad)
    notes = [*table.notes, *([layout.note] if layout.note else [])]
    drafts = _read_drafts(table.rows, layout_name, renamed, judged, bad, notes)
    if layout_name == UNPAIRED:
        drafts = merge_unpaired(drafts)
    ids = _ids([row for row, _ in drafts], renamed, bad, notes)
    if not demos_only:
        read, drafts = drafts, _decide_verifiers(drafts, forced, notes)
        drafts = accept_all(read, drafts, lambda others: _decide_verifiers(others, forced, []), notes)
    used = {renamed.get(field, field) for field in layout.uses | set(IDS)}
    build = _Builder(table, renamed, tuple(sorted(columns - used)), "source" in layout.uses)
    problems = [build.problem(row, draft, name) for (row, draft), name in zip(drafts, ids, strict=True)]
    if not demos_only:
        if not (allow_code or forced is not None):
            _refuse_code(problems, source)
        bad += _unusable(problems, [row for row, _ in drafts])
    if bad:
        raise _task_error(source, bad, len(table.rows) + len(table.bad))
    if build.extra:
        notes.append(f"columns that were not read: {', '.join(build.extra)}")
    fields = {field: renamed.get(field, field) for field in sorted(layout.uses) if renamed.get(field, field) in columns}
    return TaskSet(tuple(problems), tasks_sha(problems), source, layout_name, fields, tuple(notes))


def load_problems(settings: TaskSettings) -> TaskSet:
    """The problems that settings name, with the demonstrations of `demos` joined to them by problem id.

    Raises:
        DiagError: a file cannot be used; see `load_tasks` and `with_demos`.
    """
    tasks = load_tasks(
        settings.tasks,
        mapping=settings.mapping or None,
        verifier=settings.verifier,
        limit=settings.limit,
        allow_code=settings.allow_code,
    )
    if settings.demos is None:
        return tasks
    (problems,) = with_demos(settings.demos, tasks.problems)
    return replace(tasks, problems=problems)


def with_demos(source: str, *sets: Sequence[Problem]) -> tuple[tuple[Problem, ...], ...]:
    """Each set of problems with the demonstrations of a file behind its own, joined by problem id.

    Args:
        source: a tasks file with the demonstrations, whose rows need no answers.
        *sets: problems; the file need not know all of them.

    Raises:
        UsageError: the file shares no id with any set.
        DiagError: the file cannot be used.
    """
    given = {p.id: p.demos for p in load_tasks(source, demos_only=True).problems if p.demos}
    known = [problem.id for problems in sets for problem in problems]
    if not given.keys() & set(known):
        raise UsageError(
            f"--demos {source}: none of its {len(given)} problem ids with a demonstration is among the tasks "
            f"(e.g. {next(iter(given), None)!r} against {known[0]!r}); use the same ids in both files"
        )
    return tuple(tuple(replace(p, demos=(*p.demos, *given.get(p.id, ()))) for p in problems) for problems in sets)


def parse_verifier(text: str) -> dict[str, Any]:
    """Read a verifier as the command line names it.

    Raises:
        VerifierError: it is none of a type, "regex:PATTERN", a JSON object, "path.py:function".
    """
    if text in _ALONE:
        return {"type": text}
    if text.startswith("regex:"):
        return {"type": "regex", "pattern": text.removeprefix("regex:")}
    if text.lstrip().startswith("{"):
        try:
            spec: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError as error:
            raise VerifierError(f"the verifier {text!r} is not a JSON object: {error}") from error
        return spec
    where, _, function = text.rpartition(":")
    if where and function.isidentifier():
        return {"type": "python", "function": _absolute(text, None)}
    raise VerifierError(
        f"unknown verifier {text!r}{did_you_mean(text, _ALONE)}: accepted are {', '.join(_ALONE)}, "
        "regex:PATTERN, a JSON object, path.py:function and package.module:function"
    )


def _read_drafts(
    rows: Sequence[Row],
    layout: str,
    renamed: Mapping[str, str],
    judged: bool,
    bad: list[BadRow],
    notes: list[str],
) -> list[tuple[Row, Draft]]:
    """What the layout reads from every row.

    Args:
        rows: the rows of the source.
        layout: name of the layout.
        renamed: the columns of fields, where they differ.
        judged: whether golds may be missing, for the verifier does not come from the file.
        bad: what is wrong with rows is added here; these rows make no draft.
        notes: how rows were read is added here.
    """
    drafts: list[tuple[Row, Draft]] = []
    remarks: dict[str, list[int]] = {}
    for row in rows:
        reader = Reader(row.cells, renamed, judged=judged)
        draft = LAYOUTS[layout].read(reader)
        own, tags, aliases = reader.mapping("verifier"), reader.texts("tags"), reader.answers("aliases", listed=True)
        draft = replace(
            draft, verifier=own or draft.verifier, tags=tags or draft.tags, accepted=(*draft.accepted, *aliases)
        )
        for remark in dict.fromkeys(reader.remarks):
            remarks.setdefault(remark, []).append(row.line)
        if reader.problems:
            bad += [(row.line, field, problem) for field, problem in reader.problems]
        else:
            drafts.append((row, draft))
    notes += [f"{remark}: {len(lines)} rows, first line {lines[0]}" for remark, lines in remarks.items()]
    return drafts


def _ids(rows: Sequence[Row], renamed: Mapping[str, str], bad: list[BadRow], notes: list[str]) -> list[str]:
    """The ids of the rows: from the first column that has one in every row, else from the row numbers."""
    found: list[str] = []
    for column in (renamed["id"],) if "id" in renamed else (renamed.get(name, name) for name in IDS):
        values = [row.cells.get(column) for row in rows]
        if all(isinstance(v, (str, int)) and not isinstance(v, bool) and str(v).strip() for v in values):
            found = [str(v) for v in values]
            if column == "name" and len(set(found)) < len(found):
                notes.append("the column `name` is not unique: problems are named by their row")
                found = []
            break
        present = [v for v in values if not is_missing(v)]
        if present and column in ("id", renamed.get("id")):
            bad += [
                (row.line, column, f"expected a text or a whole number, got {value!r}")
                for row, value in zip(rows, values, strict=True)
                if not isinstance(value, (str, int)) or isinstance(value, bool) or not str(value).strip()
            ]
            break
    if not found:
        return [f"row-{row.line}" for row in rows]
    first: dict[str, int] = {}
    for row, name in zip(rows, found, strict=True):
        if name in first:
            bad.append((row.line, "id", f"expected a unique id, got {name!r} again (first on line {first[name]})"))
        first.setdefault(name, row.line)
    return found


def _decide_verifiers(
    drafts: Sequence[tuple[Row, Draft]], forced: Mapping[str, Any] | None, notes: list[str]
) -> list[tuple[Row, Draft]]:
    decided: list[tuple[Row, Draft]] = []
    if forced is not None:
        from_demo = 0
        for row, draft in drafts:
            answer = draft.answer
            if answer is None and draft.demos and not needs_code(forced):
                from_demo += 1
                answer = _answer_of_demo(draft.demos[0], forced)
            decided.append((row, replace(draft, verifier=forced, answer=answer)))
        notes.append(f"the verifier {forced.get('type')!r} was given and replaces those of the file")
        if from_demo:
            notes.append(f"{from_demo} problems have no answer: it was taken from their demonstration")
        return decided
    chosen: Counter[str] = Counter()
    for row, draft in drafts:
        if draft.verifier is not None or draft.answer is None:
            decided.append((row, draft))
            continue
        verifier = default_verifier(draft.answer, _prompt_of(draft), boxed=BOXED)
        chosen[str(verifier["type"])] += 1
        decided.append((row, replace(draft, verifier=verifier)))
    if chosen:
        notes.append(_what_was_chosen(chosen))
    return decided


def _prompt_of(draft: Draft) -> str:
    return draft.prompt or "\n".join(m["content"] for m in draft.messages or ())


def _what_was_chosen(chosen: Counter[str]) -> str:
    if len(chosen) == 1:
        (kind,) = chosen
        return f"verifier {kind!r} was chosen because {WHY[kind]}; --verifier changes it"
    counted = ", ".join(f"{kind!r} for {number}" for kind, number in chosen.most_common())
    return f"verifiers were chosen row by row, from answer and prompt: {counted}; --verifier changes them"


def _answer_of_demo(demo: str, spec: Mapping[str, Any]) -> str | None:
    if spec.get("type") != "numeric":
        return demo.strip()
    numbers = list(iter_numbers(demo))
    return numbers[-1].text if numbers else None


@dataclass(frozen=True)
class _Builder:
    """What all problems of a source share."""

    table: RawTable
    renamed: Mapping[str, str]
    extra: tuple[str, ...]
    """Columns that the layout does not read: a callable may want them."""
    keeps_source: bool
    """Whether a column `source` says where a row came from."""

    def problem(self, row: Row, draft: Draft, problem_id: str) -> Problem:
        """A row as a problem."""
        spec: dict[str, Any] = dict(draft.verifier or {})
        if isinstance(spec.get("function"), str):
            spec["function"] = _absolute(spec["function"], self.table.base)
            columns = {name: row.cells[name] for name in self.extra if not is_missing(row.cells.get(name))}
            columns |= self._golds(row)
            spec |= {"columns": columns} if columns and "columns" not in spec else {}
        given = row.cells.get(self.renamed.get("source", "source")) if self.keeps_source else None
        source = given if isinstance(given, str) else f"{self.table.name}:{row.line}"
        return Problem(
            id=problem_id,
            prompt=draft.prompt,
            messages=draft.messages,
            answer=draft.answer,
            verifier=spec,
            demos=draft.demos,
            pairs=draft.pairs,
            tags=draft.tags,
            source=source,
        )

    def _golds(self, row: Row) -> dict[str, Any]:
        """Golds that are no plain text as they stand in the row: a callable of the user's knows what they mean."""
        reward: Any = row.cells.get(self.renamed.get("reward_model", "reward_model"))
        truth = cast("dict[str, Any]", reward).get("ground_truth") if isinstance(reward, dict) else None
        found = {"answer": row.cells.get(self.renamed.get("answer", "answer")), "ground_truth": truth}
        return {name: value for name, value in found.items() if isinstance(value, (list, dict))}


def _absolute(function: str, base: Path | None) -> str:
    """A callable's file as an absolute path: beside the tasks file first, then in the working directory."""
    where, _, name = function.rpartition(":")
    if not where.endswith(".py"):
        return function
    path = Path(where).expanduser()
    beside = base / path if base is not None else path
    return f"{(beside if beside.is_file() else path).resolve()}:{name}"


def _refuse_code(problems: Sequence[Problem], source: str) -> None:
    running = [problem for problem in problems if needs_code(problem.verifier)]
    if running:
        raise VerifierError(
            f"{source}: the verifiers of {len(running)} of {len(problems)} problems run code (first: "
            f"{running[0].id!r}): add --allow-code if you trust this file and the model's code may run in a sandbox"
        )


def _unusable(problems: Sequence[Problem], rows: Sequence[Row]) -> list[BadRow]:
    """The rows of problems whose verifier is missing or does not fit their answer."""
    found: list[BadRow] = []
    for problem, row in zip(problems, rows, strict=True):
        if not problem.verifier:
            demonstrated = _ONLY_DEMOS if problem.demos else ""
            found.append((row.line, "answer", _NOTHING_TO_VERIFY + demonstrated))
            continue
        try:
            check_verifier(problem)
        except VerifierError as error:
            found.append((row.line, "verifier", str(error)))
    return found


def _task_error(source: str, bad: list[BadRow], n_rows: int) -> TaskError:
    bad = sorted(bad, key=lambda row: row[0])
    n_bad = len({line for line, _, _ in bad})
    reasons = {(field, why) for _, field, why in bad}
    shown = bad[:1] if len(reasons) == 1 else bad[:_SHOWN_ROWS]
    listed = "; ".join(f"line {line}{', ' + field if field else ''}: {why}" for line, field, why in shown)
    more = len(bad) - len(shown)
    rest = f"; and {more} more{' of the same' if len(reasons) == 1 else ''}" if more else ""
    return TaskError(f"{source}: {n_bad} of {n_rows} rows cannot be used: {listed}{rest}", tuple(bad))
