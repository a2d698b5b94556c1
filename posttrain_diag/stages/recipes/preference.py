"""Offline preference optimization on the pairs that the tasks carry."""

from __future__ import annotations

from posttrain_diag.stages.data.rows import text_pairs
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.paired import fit_pairs


def run(session: Session) -> None:
    """Train on every pair of the training problems."""
    pairs = session.pairs_once("pairs", lambda: text_pairs(session.policy.engine, session.inputs.train))
    fit_pairs(session, "preference", pairs)
