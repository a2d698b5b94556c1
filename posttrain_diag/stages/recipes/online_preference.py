"""Online preference optimization: pairs mined from the policy's own verified draws, trained on, mined again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from posttrain_diag.engines.contract import Engine
from posttrain_diag.errors import UsageError
from posttrain_diag.stages.data.rows import TokenPair, taught_ids
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.paired import fit_pairs
from posttrain_diag.types import Rollout


def run(session: Session) -> None:
    """Train in rounds of draws, pairs and DPO; each round's reference is the policy that made its draws.

    References:
        Pang et al. 2024, arXiv:2404.19733 (iterative reasoning preference optimization).
    """
    rounds = min(session.config.rounds, session.steps)
    for number in range(rounds):
        pairs = session.pairs_once(f"pairs-{number}", lambda n=number: _mined(session, n))
        if not pairs:
            session.state.stopped = f"before round {number + 1} no problem had both passing and failing draws"
            return
        steps = session.steps * (number + 1) // rounds - session.steps * number // rounds
        fit_pairs(session, f"round-{number}", pairs, steps=steps)
        if session.state.stopped:
            return


def _mined(session: Session, number: int) -> list[TokenPair]:
    """The pairs of one round; only later rounds may have none, where the policy has learned or lost what there was.

    Raises:
        UsageError: in the first round no problem has both passing and failing draws.
    """
    config = session.config
    version = f"+round-{number}" if number else ""
    drawn = session.own_draws(session.inputs.train, config.own_rollouts, version=version)
    pairs = mine_pairs(session.policy.engine, drawn, config.keep_per_problem, seed_text=f"{config.seed}|{number}")
    if not pairs and number == 0:
        passing = sum(any(draw.passed for draw in draws) for draws in drawn.values())
        raise UsageError(
            f"online-preference: none of {len(drawn)} problems has both a passing and a finished failing draw among "
            f"{config.own_rollouts} ({passing} have a passing one): "
            + (
                "raise own_rollouts or the temperature, or give harder problems"
                if passing
                else "raise own_rollouts or the temperature, or run a stage that shows the policy what is right "
                "(sft, guided-rl, distill-offline) first"
            )
        )
    return pairs


def mine_pairs(engine: Engine, drawn: Mapping[str, Sequence[Rollout]], most: int, *, seed_text: str) -> list[TokenPair]:
    """Make pairs of distinct passing and distinct finished failing draws of the same problem.

    Args:
        engine: that drew them.
        drawn: draws by problem.
        most: pairs per problem; fewer where the distinct draws do not make so many.
        seed_text: seeds the choice, together with the problem's id.
    """
    out: list[TokenPair] = []
    for key, draws in drawn.items():
        passing = {taught_ids(engine, draw): draw for draw in draws if draw.passed}
        failing = list(dict.fromkeys(taught_ids(engine, draw) for draw in draws if draw.verdict == "fail"))
        both = [(draw, right, wrong) for right, draw in passing.items() for wrong in failing]
        for draw, right, wrong in random.Random(f"{seed_text}|{key}").sample(both, min(most, len(both))):
            out.append(TokenPair(key, draw.prompt_ids, right, wrong))
    return out
