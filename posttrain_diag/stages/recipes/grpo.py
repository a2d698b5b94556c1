"""RL with the verifier's verdict as reward: GRPO and RLOO."""

from __future__ import annotations

from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.reinforced import RLPlan, fit_rl


def run(session: Session) -> None:
    """Train by group-relative policy optimization (GRPO).

    References:
        Shao et al. 2024, arXiv:2402.03300.
    """
    fit_rl(session, "grpo", RLPlan("grpo", zero_steps=session.config.zero_steps))


def run_rloo(session: Session) -> None:
    """Train by REINFORCE with a leave-one-out baseline (RLOO).

    References:
        Ahmadian et al. 2024, arXiv:2402.14740.
    """
    fit_rl(session, "rloo", RLPlan("rloo", zero_steps=session.config.zero_steps))
