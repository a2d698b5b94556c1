"""The stages of the plan in words: what each is expected to reach, what it may cost elsewhere, and the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from posttrain_diag.wording.estimates import points_ends, points_text, share_text
from posttrain_diag.wording.numbers import (
    UNDEFINED,
    class_percent,
    duration,
    finite,
    percent,
    scientific,
    signed_points,
    token_count,
)
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import stage_title
from posttrain_reports.data import as_mapping

MAX_ACTIONS = 3
MAX_LIST = 12
MAX_PLAN = 40
LONG_TEXT = 1200
NAME_LIMIT = 160

BarSpan = tuple[float, float, float]
"""Where a bar's interval begins, its value, and where the interval ends, in percent of a bar from 0 to 100%."""


@dataclass(frozen=True)
class Action:
    """One stage of the plan, in the words that a page prints."""

    rank: int
    stage: str
    title: str
    role: str
    gain: str
    gain_interval: str
    gain_reason: str
    after: str
    """Expected pass@1 after the stage, with its interval; empty where the plan has none."""
    after_bar: BarSpan | None
    now: float | None
    """pass@1 before the stage, in percent of the same bar."""
    now_words: str
    retention: str
    """Expected change of pass@1 on other tasks, in points; empty where the plan has none."""
    risk: str
    chance_best: str
    cost: tuple[tuple[str, str], ...]
    needs: tuple[str, ...]
    why: str
    evidence: str
    command: str


@dataclass(frozen=True)
class FreeAction:
    """What to try before any training, in the words that a page prints."""

    title: str
    why: str
    commands: tuple[str, ...]


def free_steps(diagnosis: Mapping[str, Any]) -> tuple[FreeAction, ...]:
    """What to try before the first stage, ready to be printed."""
    steps = map(as_mapping, (diagnosis.get("before_training") or ())[:MAX_ACTIONS])
    return tuple(
        FreeAction(
            clip(str(step.get("title") or ""), NAME_LIMIT),
            clip(str(step.get("why") or ""), LONG_TEXT),
            tuple(clip(str(command), LONG_TEXT) for command in (step.get("commands") or ())[:MAX_LIST]),
        )
        for step in steps
    )


def actions(diagnosis: Mapping[str, Any]) -> tuple[Action, ...]:
    """The plan's stages in order, ready to be printed."""
    now = finite(as_mapping(as_mapping(diagnosis.get("estimates")).get("pass@1")).get("value"))
    plan = (diagnosis.get("plan") or ())[:MAX_PLAN]
    return tuple(_action(rank, as_mapping(block), now) for rank, block in enumerate(plan, 1))


def _action(rank: int, block: Mapping[str, Any], now: float | None) -> Action:
    gain = as_mapping(block.get("expected_gain"))
    value = finite(gain.get("value"))
    reached = as_mapping(block.get("expected_after"))
    after, after_low, after_high = (finite(reached.get(key)) for key in ("value", "low", "high"))
    risk, best = finite(block.get("retention_risk")), finite(block.get("chance_best"))
    return Action(
        rank=rank,
        stage=clip(str(block.get("stage")), NAME_LIMIT),
        title=clip(stage_title(str(block.get("stage"))), NAME_LIMIT),
        role=clip(str(block.get("role") or ""), NAME_LIMIT),
        gain=UNDEFINED if value is None else f"{signed_points(value)} points",
        gain_interval="" if value is None else points_ends(gain),
        gain_reason=clip(str(gain.get("reason") or ""), LONG_TEXT) if value is None else "",
        after="" if after is None else share_text(reached),
        after_bar=None if after is None else span(after_low, after, after_high),
        now=None if now is None else 100 * now,
        now_words="" if now is None else percent(now),
        retention=_retention(as_mapping(block.get("expected_retention"))),
        risk=UNDEFINED if risk is None else class_percent(risk),
        chance_best="" if best is None else class_percent(best),
        cost=cost_words(as_mapping(block.get("cost"))),
        needs=tuple(clip(str(n), LONG_TEXT) for n in (block.get("needs") or ())[:MAX_LIST]),
        why=clip(str(block.get("why") or ""), LONG_TEXT),
        evidence=clip(str(block.get("evidence") or ""), LONG_TEXT),
        command=clip(str(block.get("command") or ""), LONG_TEXT),
    )


def _retention(block: Mapping[str, Any]) -> str:
    return "" if finite(block.get("value")) is None else points_text(block)


def span(low: float | None, value: float | None, high: float | None) -> BarSpan:
    """A share with its interval in percent of a bar; a missing end is drawn at 0."""
    held = [min(max(100 * (v or 0.0), 0.0), 100.0) for v in (low, value, high)]
    return held[0], held[1], held[2]


def cost_words(block: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The parts of a cost block (tokens, FLOPs, time) in words, each as (what, how much)."""
    tokens, flops, time_s = (finite(block.get(key)) for key in ("tokens", "flops", "time_s"))
    return (
        ("tokens", UNDEFINED if tokens is None else token_count(tokens)),
        ("FLOPs", UNDEFINED if flops is None else scientific(flops)),
        ("time", "not measured" if time_s is None else duration(time_s)),
    )
