"""Scores of the verifiers on labelled answers: files of answers, and recorded draws of a model."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain_diag.errors import DiagError
from posttrain_diag.tasks import load_tasks, verify
from posttrain_diag.types import Judgement, Problem


@dataclass(frozen=True)
class Judged:
    """A labelled answer and what its verifier says."""

    id: str
    kind: str
    right: bool
    strict: bool | None
    """What the label says of the form; None where no form is demanded or it is open."""
    stretch: bool
    judgement: Judgement
    verifier: str


@dataclass
class Tally:
    """Counts of one kind, stretch rows left out."""

    right: int = 0
    right_accepted: int = 0
    wrong: int = 0
    wrong_accepted: int = 0
    labelled: int = 0
    agree: int = 0
    """Strict readings that agree with their label."""
    stretch: int = 0
    stretch_agree: int = 0
    errors: int = 0
    misses: list[str] = field(default_factory=list)

    def add(self, row: Judged) -> None:
        """Count one answer."""
        accepted = row.judgement.lenient
        self.errors += row.judgement.error is not None
        if row.stretch:
            self.stretch += 1
            self.stretch_agree += accepted == row.right
            return
        self.right += row.right
        self.right_accepted += row.right and accepted
        self.wrong += not row.right
        self.wrong_accepted += accepted and not row.right
        if row.strict is not None:
            self.labelled += 1
            self.agree += row.judgement.strict == row.strict
        if accepted != row.right or (row.strict is not None and row.judgement.strict != row.strict):
            self.misses.append(row.id)

    def shares(self) -> dict[str, float | None]:
        """The three shares that are asked for; None where nothing was counted."""
        return {
            "right accepted": _share(self.right_accepted, self.right),
            "wrong accepted": _share(self.wrong_accepted, self.wrong),
            "strict agrees": _share(self.agree, self.labelled),
        }


def judge_answers(path: Path) -> list[Judged]:
    """Judge a file of labelled answers: the tasks of each `file` are loaded together, as a user would."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    by_file: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_file[row["file"]].append(row)
    judged: list[Judged] = []
    for name, own in by_file.items():
        problems = _problems(name, [row["task"] for row in own])
        judged += [
            Judged(
                row["id"],
                row["kind"],
                row["right"],
                row["strict"],
                row.get("stretch", False),
                verify(row["completion"], problem),
                str(problem.verifier["type"]),
            )
            for row, problem in zip(own, problems, strict=True)
        ]
    return judged


def judge_draws(path: Path) -> list[list[Judged]]:
    """Judge the recorded draws of one kind of task: one list per problem."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    problems = _problems(path.stem, [row["task"] for row in rows])
    return [
        [
            Judged(
                f"{row['id']}#{i}",
                path.stem,
                draw["right"],
                draw["strict"],
                False,
                verify(draw["text"], problem),
                str(problem.verifier["type"]),
            )
            for i, draw in enumerate(row["draws"])
        ]
        for row, problem in zip(rows, problems, strict=True)
    ]


def by_kind(judged: list[Judged]) -> dict[str, Tally]:
    """Tallies per kind, in the order of the file, and of all."""
    tallies: dict[str, Tally] = {}
    for row in judged:
        tallies.setdefault(row.kind, Tally()).add(row)
    total = Tally()
    for row in judged:
        total.add(row)
    return {**tallies, "all": total}


def draw_scores(draws: list[list[Judged]]) -> dict[str, float]:
    """Agreement of both readings with the labels, and both pass@1, of one kind of task."""
    rows = list(_flat(draws))
    labelled = [row for row in rows if row.strict is not None]
    return {
        "draws": len(rows),
        "substance agrees": sum(row.judgement.lenient == row.right for row in rows) / len(rows),
        "strict agrees": sum(row.judgement.strict == row.strict for row in labelled) / max(1, len(labelled)),
        "pass@1 labelled": sum(row.right for row in rows) / len(rows),
        "pass@1 substance": sum(row.judgement.lenient for row in rows) / len(rows),
    }


def _flat(draws: list[list[Judged]]) -> Iterator[Judged]:
    for rows in draws:
        yield from rows


def _problems(name: str, tasks: list[dict[str, Any]]) -> list[Problem]:
    """The problem of each task; tasks that occur several times are written once, in order."""
    lines = list(dict.fromkeys(json.dumps(task, ensure_ascii=False) for task in tasks))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        try:
            problems = load_tasks(str(path), allow_code=True).problems
        except DiagError as error:
            raise SystemExit(f"answers: the tasks of {name!r} cannot be loaded: {error}") from error
    known = dict(zip(lines, problems, strict=True))
    return [known[json.dumps(task, ensure_ascii=False)] for task in tasks]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
