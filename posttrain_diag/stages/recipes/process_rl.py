"""RL whose reward is dense: what a prefix of a draw is worth is measured by continuing it.

    draw    t1 t2 | t3 t4 | t5 t6 | t7 stop        branches from each cut, by the policy as it is now
    value V0      V1      V2      V3      outcome  V0: the group's mean outcome; V1..V3: pass rate of the branches
    credit  V1-V0   V2-V1   V3-V2   outcome-V3     of each token in the segment

Gains of a potential sum to outcome - V0 over a draw, whatever the values are: the optimum stays the one of the plain
reward, and only the credit moves to the tokens that changed the outlook. A group without a pass still teaches where
some of its prefixes can be continued to one.

References: VinePPO (arXiv:2410.01679); potential-based shaping, Ng et al. 1999.
"""

from __future__ import annotations

from collections.abc import Sequence

from posttrain_diag.rollouts.live import Start, sample_from
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.reinforced import RLPlan, count_draws, fit_rl
from posttrain_diag.types import Rollout

CUTS = (0.25, 0.5, 0.75)
"""Shares of a draw's tokens after which its prefix is valued."""


def run(session: Session) -> None:
    """Train by policy optimization whose advantage is the gain in value along each draw."""
    values = BranchValues(session)
    zero_steps = session.config.zero_steps
    fit_rl(session, "process-rl", RLPlan("grpo", reward=values.rewards, credit=values.credit, zero_steps=zero_steps))


def outcome(draw: Rollout) -> float:
    """The reward of a whole draw: 1 for a pass, the verifier's partial credit where it gives one, else 0."""
    if draw.passed:
        return 1.0
    return draw.score if draw.verdict == "fail" and draw.score is not None else 0.0


def cuts_of(length: int) -> tuple[int, ...]:
    """Lengths of the prefixes that are valued of a draw with so many tokens; each leaves a token on both sides."""
    return tuple(sorted({round(share * length) for share in CUTS} - {0, length}))


class BranchValues:
    """Measures what the prefixes of the last step's draws are worth, by continuing them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.draws: Sequence[Rollout] = ()
        self.value_of: dict[tuple[str, tuple[int, ...]], float] = {}

    def rewards(self, draws: Sequence[Rollout], step: int) -> list[float]:
        """The outcomes of this process's draws; their prefixes are valued on the way."""
        session, self.draws = self.session, draws
        prefixes = list(
            dict.fromkeys((d.problem_id, d.token_ids[:cut]) for d in draws for cut in cuts_of(len(d.token_ids)))
        )
        process = session.processes.process_index
        states = [
            Start(session.problems[key], ids, f"branch|{step}|{process}|{key}|{','.join(map(str, ids))}")
            for key, ids in prefixes
        ]
        n = session.config.process_branches
        session.policy.sync()
        branches = sample_from(session.policy.engine, session.judge, states, n, session.params)
        self.value_of = {
            prefix: sum(outcome(draw) for draw in drawn) / n for prefix, drawn in zip(prefixes, branches, strict=True)
        }
        count_draws(session, [draw for drawn in branches for draw in drawn])
        return [outcome(draw) for draw in draws]

    def credit(self) -> list[list[float]]:
        """The advantage of each token of each draw of the last step: the gain in value over the token's segment."""
        groups: dict[str, list[float]] = {}
        for draw in self.draws:
            groups.setdefault(draw.problem_id, []).append(outcome(draw))
        return [self._gains(draw, sum(own := groups[draw.problem_id]) / len(own)) for draw in self.draws]

    def _gains(self, draw: Rollout, start: float) -> list[float]:
        ids = draw.token_ids
        cuts = cuts_of(len(ids))
        values = [start, *(self.value_of[draw.problem_id, ids[:cut]] for cut in cuts), outcome(draw)]
        ends = [0, *cuts, len(ids)]
        return [values[k + 1] - values[k] for k in range(len(ends) - 1) for _ in range(ends[k + 1] - ends[k])]
