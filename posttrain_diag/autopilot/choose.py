"""The next stage: the first of the plan that can run, was not rolled back from here, and is expected to gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain_diag.autopilot.state import Round
from posttrain_diag.stages import STAGES, StageConfig, StageInputs, StageResult
from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.stages.session.session import replay_share
from posttrain_diag.stages.session.watch import Look, rise_at_the_end

LEAST_GAIN = 0.02
"""A stage whose expected gain in pass@1 is not above this is not run."""
MOST_TOPUPS = 2
TOPUP_FACTOR = 4
"""An undetermined analysis is topped up at most so often, each time to at most so many times its rollouts."""
MOST_REPLAY = 0.9
LONGER = 2
"""Factor on the steps of a stage that goes on because it still rose when its steps were done."""


@dataclass(frozen=True)
class Option:
    """One stage of the plan, with what speaks for and against running it."""

    stage: str
    why: str
    against: str = ""
    """Why it is not run; empty when it can be run."""
    tokens: int | None = None
    """Tokens that it is expected to cost; None: unknown."""
    proposal: Mapping[str, Any] | None = None
    """The plan's proposal with its forecast; None where the run itself proposes the stage."""

    @property
    def text(self) -> str:
        """The forecast of the stage in words."""
        gain = None if self.proposal is None else self.proposal["expected_gain"]
        if gain is None or gain["value"] is None:
            return "no forecast of its gain"
        return f"expected gain {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"


def weigh(plan: Sequence[Mapping[str, Any]], inputs: StageInputs, tried: Mapping[str, Round]) -> tuple[Option, ...]:
    """Every proposal of a plan, in its order, and what speaks against it.

    Args:
        plan: the proposals for the current checkpoint.
        inputs: what a stage of this run gets: demonstrations, teachers, siblings.
        tried: the rounds that started from this checkpoint and were not kept, by stage.
    """
    return tuple(
        Option(p["stage"], p["why"], _against(p, inputs, tried), tokens=p["cost"]["tokens"], proposal=p) for p in plan
    )


def _against(proposal: Mapping[str, Any], inputs: StageInputs, tried: Mapping[str, Round]) -> str:
    stage, gain = str(proposal["stage"]), proposal["expected_gain"]["value"]
    if stage not in STAGES:
        return "`diag train` does not run it"
    if missing := inputs.missing(stage):
        return f"needs {' and '.join(missing)}"
    if stage in tried:
        return f"{tried[stage].outcome} from this checkpoint in round {tried[stage].number}"
    if gain is not None and gain <= LEAST_GAIN:
        return f"expected gain {gain:+.3f}, not above {LEAST_GAIN:g}"
    return ""


def rollouts_to_top_up(diagnosis: Mapping[str, Any], topups: int) -> int | None:
    """Rollouts per problem that an undetermined verdict asks for; None: more draws would not help, or were enough."""
    needed = diagnosis["needed"]
    if diagnosis["bottleneck"] != "undetermined" or needed is None or topups >= MOST_TOPUPS:
        return None
    per_problem = diagnosis["samples"]["rollouts"] / max(1, diagnosis["tasks"]["n"])
    asked = needed["rollouts_per_problem"]
    if asked is None or asked <= per_problem or (needed["problems"] or 0) > diagnosis["tasks"]["n"]:
        return None
    return min(int(asked), max(1, round(TOPUP_FACTOR * per_problem)))


def more_steps(found: StageResult, looks: Sequence[Look], config: StageConfig) -> tuple[int, float]:
    """Steps with which a stage that was kept goes on because its end came too early, and how much it still rose.

    The rate falls to 0 towards the end of a stage, so that what still rises there was cut off. 0 steps mean that it was
    not cut off, or that its length is the user's.

    Args:
        found: what the stage did.
        looks: its looks at the probe problems.
        config: its settings, without what the run itself set.
    """
    if config.steps is not None or found.stopped is not None or not stage_record(found.stage).trains:
        return 0, 0.0
    rise = rise_at_the_end(looks)
    return (LONGER * found.steps if found.best_step > 0.75 * found.steps and rise > LEAST_GAIN else 0), rise


def more_replay(tried: Round, inputs: StageInputs, config: StageConfig) -> tuple[float, str]:
    """The replay share with which a round that was rolled back for retention is tried once more, and why it is not.

    Args:
        tried: the round that was rolled back.
        inputs: what its stage got.
        config: its stage's settings.
    """
    if not inputs.retain:
        return 0.0, "no tasks to retain were given to replay more of"
    if tried.retry_of is not None:
        return 0.0, f"it had been tried with more replay than in round {tried.retry_of} already"
    if config.replay is not None:
        return 0.0, f"its replay share was set to {config.replay:g} by the user"
    if not stage_record(tried.stage).trains:
        return 0.0, "it trains nothing that replay could be mixed into"
    share = min(MOST_REPLAY, (1 + replay_share(config, inputs, stage_record(tried.stage).replay)) / 2)
    return share, ""
