"""Replay as a stage of its own: training on tasks to retain until they are there again."""

from __future__ import annotations

from posttrain_diag.stages.session import Session
from posttrain_diag.stages.supervised import fit_rows


def run(session: Session) -> None:
    """Train on the policy's own passing draws of the retained tasks; on demonstrations where none passes."""
    fit_rows(session, "replay", session.replay_rows())
