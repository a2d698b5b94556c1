"""Replay as a stage of its own: what was forgotten is trained on again, beside what the policy does now."""

from __future__ import annotations

from posttrain_diag.stages.data.own import balanced, own_rows
from posttrain_diag.stages.data.rows import TokenRow, mixed
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import fit_rows

SHARE = 0.5
"""Share of a batch that holds retained tasks where the user sets none."""


def run(session: Session) -> None:
    """Train on the retained tasks (own passing draws, demonstrations where none passes) and on own passing draws.

    Without the latter the policy forgets in turn what the stages before it taught. `replay` sets the share of the
    retained tasks.
    """
    own, config = session.rows_once("kept", lambda: _kept(session)), session.config
    retained = session.replay_rows()
    rows = mixed(own, retained, config.replay or SHARE, seed=config.seed) if own else retained
    fit_rows(session, "replay", rows, replay=False)


def _kept(session: Session) -> list[TokenRow]:
    """Rows from what the policy does right on the training problems; empty where it does nothing right."""
    config = session.config
    drawn = session.own_draws(session.inputs.train, config.own_rollouts)
    found = own_rows(session.policy.engine, drawn, config.keep_per_problem)
    session.state.extra["replay"] = {"problems": len(drawn), "kept": len(found)}
    return balanced(found)
