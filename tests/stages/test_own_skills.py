"""Where no tasks to retain are given, what the model solves of the training problems is replayed beside foreign rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from posttrain_diag.stages.data.rows import TokenRow, demo_rows
from posttrain_diag.stages.session.session import Session
from posttrain_diag.zoo import problems
from stages.open_session import open_session

SOLVED = tuple(problems("R", 6, split="training"))
OUT_OF_REACH = tuple(problems("T", 18, split="training"))


def session_of(folder: Path, train: Any, **values: Any) -> Session:
    return open_session(folder, train, **{"default_replay": 0.5, **values})


def foreign(session: Session) -> list[TokenRow]:
    return demo_rows(session.policy.engine, OUT_OF_REACH)


def test_solved_problems_are_replayed_in_their_proportion(tmp_path: Path) -> None:
    session = session_of(tmp_path, (*SOLVED, *OUT_OF_REACH))
    rows = foreign(session)
    mixed = session.with_replay(rows)
    added = mixed[len(rows) :]
    assert mixed[: len(rows)] == rows
    assert {row.problem_id for row in added} == {problem.id for problem in SOLVED}
    assert len(added) == pytest.approx(len(rows) / 3, abs=1), "a quarter of the problems is solved"
    assert session.state.extra["solved_before"] == {"problems": 6, "of": 24}
    answers = {problem.id: problem.answer for problem in SOLVED}
    assert all(answers[row.problem_id] in session.policy.engine.decode(row.response_ids) for row in added)


def test_the_share_is_no_more_than_the_stages_own(tmp_path: Path) -> None:
    session = session_of(tmp_path, (*SOLVED, *OUT_OF_REACH[:2]), default_replay=0.2)
    rows = foreign(session)
    assert len(session.with_replay(rows)) == len(rows) + round(len(rows) * 0.2 / 0.8)


@pytest.mark.parametrize(
    ("values", "own"),
    [({"replay": 0.0}, False), ({"default_replay": 0.0}, False), ({}, True)],
    ids=["set to nothing", "a stage without replay", "rows of its own"],
)
def test_nothing_is_added_where_nothing_is_to_be_kept(tmp_path: Path, values: dict[str, Any], own: bool) -> None:
    session = session_of(tmp_path, SOLVED, **values)
    rows = foreign(session)
    assert session.with_replay(rows, own=own) == rows
    assert session.state.rollouts == 0


def test_nothing_is_added_where_nothing_is_solved(tmp_path: Path) -> None:
    session = session_of(tmp_path, OUT_OF_REACH[:6])
    rows = foreign(session)
    assert session.with_replay(rows) == rows


def test_tasks_to_retain_come_first(tmp_path: Path) -> None:
    session = session_of(tmp_path, SOLVED, retain=tuple(problems("P", 4)))
    added = session.with_replay(foreign(session))[len(OUT_OF_REACH) :]
    assert added
    assert {row.problem_id for row in added} <= {problem.id for problem in problems("P", 4)}
