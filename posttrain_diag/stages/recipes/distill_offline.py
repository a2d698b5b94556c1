"""Off-policy distillation: the teachers' passing responses, as texts or with the laws they were drawn from."""

from __future__ import annotations

from collections.abc import Sequence

from posttrain_diag.stages.data.rollouts import Rollouts
from posttrain_diag.stages.data.rows import TokenRow, check_lengths
from posttrain_diag.stages.data.teaching import lessons, routes, taught_rows
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.distilled import FORWARD_KL, fit_teachers
from posttrain_diag.stages.trainers.supervised import fit_rows


def run(session: Session) -> None:
    """Sequence-level (arXiv:1606.07947) or word-level (arXiv:1503.02531) knowledge distillation.

    Raises:
        UsageError: a teacher passes nowhere, or targets are logits and its tokens are not the student's.
    """
    config = session.config
    logits = config.target == "logits"
    found = lessons(session, config.own_rollouts, keep=config.keep_per_problem, same_tokens=logits)
    route = routes(found, seed=config.seed)
    rows = taught_rows(session, found, route)
    if not logits:
        fit_rows(session, "distill-offline", rows)
        return
    check_lengths(rows, session.policy.engine.info.context_length)
    keys = [str(i) for i in range(len(rows))]
    written = _Written(session, rows)
    fit_teachers(
        session, "distill-offline", written, keys, lambda key: route[rows[int(key)].problem_id], beta=FORWARD_KL
    )


class _Written(Rollouts):
    """Serves written rows to a trainer in place of draws; the key of a row is its number."""

    def __init__(self, session: Session, rows: Sequence[TokenRow]) -> None:
        super().__init__(session)
        self.rows = rows

    def prompt_ids(self, problem_id: str) -> tuple[int, ...]:
        """Token ids of the prompt of the row with this number."""
        return self.rows[int(problem_id)].prompt_ids

    def sample(self, asked: Sequence[str]) -> list[list[int]]:
        """The responses of the rows that are asked for, as token ids."""
        return [list(self.rows[int(key)].response_ids) for key in asked]
