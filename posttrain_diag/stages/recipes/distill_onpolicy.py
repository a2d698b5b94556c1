"""On-policy distillation: the student draws, and the teacher that solves the problem best scores every token."""

from __future__ import annotations

from posttrain_diag.stages.data.rollouts import Rollouts
from posttrain_diag.stages.data.teaching import lessons, routes
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.distilled import REVERSE_KL, fit_teachers
from posttrain_diag.stages.trainers.vllm import vllm_arguments

ROUTING_DRAWS = 8
"""Draws of each teacher per training problem, which show which problems it solves and how often."""


def run(session: Session) -> None:
    """Train by the reverse KL to the teacher on the student's own draws, on problems that a teacher solves.

    Raises:
        UsageError: a teacher passes on no training problem, or its tokens are not the student's.

    References:
        Agarwal et al. 2023, arXiv:2306.13649 (on-policy distillation).
    """
    found = lessons(session, ROUTING_DRAWS, keep=0, same_tokens=True)  # the student's draws are trained on, not these
    route = routes(found, seed=session.config.seed)

    def count_draws(draws: int, tokens: int) -> None:
        state = session.state
        state.rollouts += draws
        state.generated_tokens += tokens

    fit_teachers(
        session,
        "distill-onpolicy",
        Rollouts(session),
        list(route),
        route.__getitem__,
        beta=REVERSE_KL,
        vllm=vllm_arguments(session),
        count_draws=count_draws,
    )
