"""The policy's own right draws as training rows: what the self-training stages share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from posttrain_diag.engines.contract import Engine
from posttrain_diag.errors import UsageError
from posttrain_diag.stages.data.rows import TokenRow, taught_ids
from posttrain_diag.stages.session.session import Session
from posttrain_diag.types import Rollout

BEYOND_DRAWS = ("sft", "sft-model-aware", "guided-rl", "interleaved", "distill-offline")
"""Stages that teach answers which the model does not draw itself."""


def passing(draws: Iterable[Rollout], most: int) -> list[Rollout]:
    """The first `most` distinct draws that pass; frequent ones tend to be among them and stay the policy's habit."""
    return list({draw.token_ids: draw for draw in reversed(list(draws)) if draw.passed}.values())[::-1][:most]


def own_rows(engine: Engine, drawn: Mapping[str, Sequence[Rollout]], most: int) -> dict[str, list[TokenRow]]:
    """Training rows from passing draws, by problem; each problem gets at most `most` different ones.

    Problems without a passing draw are left out.
    """
    kept = {key: passing(draws, most) for key, draws in drawn.items()}
    rows = {key: [TokenRow(key, d.prompt_ids, taught_ids(engine, d)) for d in own] for key, own in kept.items()}
    return {key: list(dict.fromkeys(own)) for key, own in rows.items() if own}


def balanced(rows: Mapping[str, Sequence[TokenRow]]) -> list[TokenRow]:
    """As many rows of every problem as of the one with the most: where few differ, they are repeated in turn.

    Plain rejection sampling weighs a problem by its pass rate, so that what is solved anyway fills the batches. Here
    every solved problem weighs alike, however rare its right draws are.

    References:
        Tong et al. 2024, arXiv:2407.13690 (the uniform variant).
    """
    most = max((len(own) for own in rows.values()), default=0)
    return [own[i % len(own)] for own in rows.values() for i in range(most)]


def nothing_passed(session: Session, stage: str, draws: int, problems: int) -> UsageError:
    """The error of a stage that found no right draw to learn from; it is returned, for the caller to raise.

    Args:
        session: the stage in progress, whose inputs say which other stages are possible.
        stage: name of the stage.
        draws: how many draws were made.
        problems: on how many problems.
    """
    open_now = [name for name in BEYOND_DRAWS if name != stage and not session.inputs.missing(name)]
    instead = (
        f"use a stage that brings answers the model does not draw: {', '.join(open_now)}"
        if open_now
        else "give demonstrations or a teacher, for stages that bring answers the model does not draw"
    )
    return UsageError(
        f"{stage}: none of {draws:,} draws on {problems} problems passed, so there is nothing of the model's own to "
        f"learn from; {instead}; or raise own_rollouts (now {session.config.own_rollouts})"
    )
