"""Self-improvement on verified own draws: rejection sampling fine-tuning, in rounds (STaR, ReST)."""

from __future__ import annotations

from functools import partial

from posttrain_diag.errors import UsageError
from posttrain_diag.stages.data.own import balanced, nothing_passed, own_rows
from posttrain_diag.stages.data.rows import TokenRow, load_rows
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import fit_rows


def run(session: Session) -> None:
    """Draw, keep what passes, train on it; each further round draws from the weights of the round before.

    Of each problem at most `keep_per_problem` different passing draws are kept, and every solved problem weighs alike.
    A problem that no draw of a later round passes keeps the rows of the round before. Rounds go on from the trained
    weights and share the stage's steps evenly.

    Raises:
        UsageError: no draw passes, or fewer steps than rounds.

    References:
        Yuan et al. 2023, arXiv:2308.01825; Zelikman et al. 2022, arXiv:2203.14465; Gulcehre et al. 2023,
        arXiv:2308.08998.
    """
    rounds = session.config.rounds
    if session.steps < rounds:
        raise UsageError(f"rft: {session.steps} steps cannot be shared by {rounds} rounds; set steps to at least that")
    for number in range(1, rounds + 1):
        if session.state.stopped:
            return
        rows = session.rows_once(f"rft-{number}", partial(_rows, session, number))
        steps = session.steps * number // rounds - session.steps * (number - 1) // rounds
        fit_rows(session, f"rft-{number}", rows, steps=steps, own=True)


def _rows(session: Session, number: int) -> list[TokenRow]:
    """The rows that round `number` trains on."""
    config, problems = session.config, session.inputs.train
    drawn = session.own_draws(problems, config.own_rollouts, version="" if number == 1 else f"+rft-{number - 1}")
    found = own_rows(session.policy.engine, drawn, config.keep_per_problem)
    solved = len(found)
    if number > 1:
        earlier: dict[str, dict[TokenRow, None]] = {}
        for row in load_rows(session.folder / f"rft-{number - 1}.jsonl"):
            earlier.setdefault(row.problem_id, {})[row] = None
        found = {key: list(own) for key, own in earlier.items()} | found
    if not found:
        raise nothing_passed(session, "rft", config.own_rollouts * len(problems), len(problems))
    rows = balanced(found)
    passed = sum(draw.passed for draws in drawn.values() for draw in draws)
    session.state.extra[f"rft-{number}"] = {
        "problems": len(problems),
        "solved": solved,
        "draws": config.own_rollouts * len(problems),
        "passed": passed,
        "rows": len(rows),
    }
    return rows
