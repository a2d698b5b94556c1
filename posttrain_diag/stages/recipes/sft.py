"""SFT on demonstrations: cross-entropy on the response alone."""

from __future__ import annotations

from posttrain_diag.stages.data.rows import demo_rows
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import fit_rows


def run(session: Session) -> None:
    """Train on every demonstration of the training problems."""
    rows = session.rows_once("demos", lambda: demo_rows(session.policy.engine, session.inputs.train))
    fit_rows(session, "sft", rows)
