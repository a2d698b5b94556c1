"""Offline verifier filter: SFT on the demonstrations that the verifier passes."""

from __future__ import annotations

from posttrain_diag.errors import UsageError
from posttrain_diag.rollouts.judge import Judge
from posttrain_diag.stages.data.rows import TokenRow, text_row
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import fit_rows


def run(session: Session) -> None:
    """Train on every demonstration that passes strictly; `details` counts what was dropped.

    Raises:
        UsageError: no demonstration passes.
    """
    fit_rows(session, "filter", session.rows_once("filtered", lambda: _rows(session)))


def _rows(session: Session) -> list[TokenRow]:
    judge = Judge(session.inputs.train)
    demos = [(problem, demo, judge(problem.id, demo)) for problem in session.inputs.train for demo in problem.demos]
    kept = [(problem, demo) for problem, demo, judged in demos if judged.strict]
    errors = [(problem.id, judged.error) for problem, _, judged in demos if judged.error is not None]
    if not kept:
        why = f"the verifier failed on {len(errors)} of them, e.g. {errors[0][0]!r}: {errors[0][1]}" if errors else ""
        raise UsageError(
            f"filter: none of the {len(demos)} demonstrations passes the verifier; "
            f"{why or 'check answers and verifiers with `diag check`, or train on the demonstrations as they are: sft'}"
        )
    session.state.extra["filter"] = {
        "demonstrations": len(demos),
        "kept": len(kept),
        "failed": len(demos) - len(kept) - len(errors),
        "verifier_errors": len(errors),
        "problems_left": len({problem.id for problem, _ in kept}),
    }
    return [text_row(session.policy.engine, problem, demo) for problem, demo in kept]
