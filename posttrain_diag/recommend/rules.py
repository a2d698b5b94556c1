"""From the diagnosis to an ordered plan: every stage gets a forecast, the useful ones are proposed best first."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from posttrain_diag.diagnose.bottleneck import count_text
from posttrain_diag.recommend.facts import Facts, Resources
from posttrain_diag.recommend.forecast import LIKE, Forecast, chances, forecast
from posttrain_diag.recommend.form_first import FORM_WHY, form_is_open, free_steps, light_first, without_passes
from posttrain_diag.recommend.outcomes import Outcome, shipped_outcomes
from posttrain_diag.stages.catalogue import CATALOGUE, stage_record
from posttrain_diag.stages.record import StageRecord
from posttrain_diag.types import Cost, Estimate, Plan, ProblemClass, StageProposal

WORTH_IT = 0.02
"""Only stages whose expected utility is above this are proposed."""
ALIKE = 0.02
"""Utilities that differ by less than this are no reason to prefer one stage: then the cheaper one comes first."""
TEACHES = 0.1
"""A compared model that solves less than this share of what the policy does not solve is not taken as a teacher."""
OPTIONS: Mapping[str, str] = {"replay": "no stage by itself: mixed into every stage where there are tasks to retain"}
"""Stages that are never proposed by themselves."""
MOST_WISHED = 3
"""Of the stages that would be better and lack something, at most so many are named with what they need."""
MANY = 1000
"""Number of demonstrations or pairs that a stage without any is imagined to get."""
SURE_ENOUGH, MANY_PROBLEMS = 0.9, 30
"""Where the verdict is undecided, a stage is proposed that is worth it with at least this probability, if there are at
least so many problems."""
ROLES: Mapping[ProblemClass, str] = {"format": "repair", "guided": "expansion", "support": "expansion"}
"""The role that a gain on problems of a class stands for; on the classes not named here it is reshaping."""


def recommend(facts: Facts, has: Resources, run: str, outcomes: Sequence[Outcome] | None = None) -> Plan:
    """The stages that pay next, best first, and why the others do not.

    Args:
        facts: the diagnosis in numbers.
        has: what there is to train with.
        run: the run directory as the user would type it.
        outcomes: the precedents; None: those that come with the package.
    """
    reason = no_stage(facts, has)
    if reason:
        return Plan((), {record.name: reason for record in CATALOGUE}, free_steps(facts, run))
    return plan_from(forecast_all(facts, has, outcomes), facts, has, run)


def forecast_all(facts: Facts, has: Resources, outcomes: Sequence[Outcome] | None = None) -> dict[str, Forecast]:
    """Forecast every stage of the catalogue; one that lacks something is forecast as if that were there."""
    known = shipped_outcomes() if outcomes is None else outcomes
    return {stage.name: forecast(stage.name, facts, _with_needs(stage, has), known) for stage in CATALOGUE}


def lacking(stage: str, has: Resources) -> tuple[str, ...]:
    """What a stage needs and the user does not have, each in words."""
    return stage_record(stage).lacks(has.there)


def plan_from(
    found: Mapping[str, Forecast], facts: Facts, has: Resources, run: str, first: Collection[str] = ()
) -> Plan:
    """Order forecasts into a plan.

    Args:
        found: the forecast of every stage of the catalogue.
        facts: the diagnosis in numbers.
        has: what there is to train with.
        run: the run directory as the user would type it.
        first: stages that come before all others where they are worth it: those that pilots left.
    """
    lacks = {name: lacking(name, has) for name in found}
    ready = {name: f for name, f in found.items() if not lacks[name] and not without_passes(name, facts)}
    chance = chances(ready, ALIKE)
    sure = {n for n, f in ready.items() if float((f.utility_D > WORTH_IT).mean()) >= SURE_ENOUGH}
    able = sure if facts.bottleneck == "undetermined" else set(ready)
    order = _ordered({n: ready[n] for n in ready if n in able - set(OPTIONS) and ready[n].utility > WORTH_IT})
    light = form_is_open(facts)
    if light:
        order = light_first(order, {name: ready[name].utility for name in order})
    order.sort(key=lambda name: name not in first)
    best = max((ready[name].utility for name in order), default=0.0)
    if facts.bottleneck == "undetermined" and not order:
        reason = f"the verdict is open, and no stage gains whatever it is. {facts.needed}"
        return Plan((), dict.fromkeys(found, reason), free_steps(facts, run))
    better = max(best + ALIKE, WORTH_IT)
    wished = _ordered(
        {
            n: f
            for n, f in found.items()
            if lacks[n] and not without_passes(n, facts) and n not in OPTIONS
            if f.utility > (WORTH_IT if light and n == "sft" else better)
        }
    )
    if light:  # light SFT is named even where other stages do as well without demonstrations
        wished = light_first(wished, {name: found[name].utility for name in wished})
    chosen = (*order, *wished[:MOST_WISHED])
    proposals = [_proposal(found[n], lacks[n], chance.get(n, 0.0), facts, has, run) for n in chosen]
    rejected = {name: _against(f, lacks[name], best, facts) for name, f in found.items() if name not in chosen}
    return Plan(tuple(proposals), rejected, free_steps(facts, run))


def _with_needs(stage: StageRecord, has: Resources) -> Resources:
    """The resources as if the stage had what it needs, which shows what providing it would be worth."""
    given: dict[str, Any] = {"demos": MANY, "pairs": MANY, "teacher": True}
    return replace(has, **{need: given[need] for need in stage.needs if need in given and need not in has.there})


def _ordered(forecasts: Mapping[str, Forecast]) -> list[str]:
    """The names of the stages, best first; of stages that are alike the cheaper one comes first."""
    left = dict(forecasts)
    out: list[str] = []
    while left:
        best = max(f.utility for f in left.values())
        alike = {name: f for name, f in left.items() if f.utility >= best - ALIKE / 2}
        cheapest = min(alike, key=lambda name: (alike[name].sequences or 0.0, -alike[name].utility))
        out.append(cheapest)
        del left[cheapest]
    return out


def no_stage(facts: Facts, has: Resources) -> str:
    """Why no stage can be proposed at all; empty where one can."""
    if facts.instrument == "broken" or facts.bottleneck == "instrument":
        return "the instrument must be mended first: no stage can be judged by broken verdicts"
    if facts.bottleneck == "saturated" and not has.to_target:
        return "these tasks are mastered: no stage can gain on them; diagnose harder ones"
    if facts.headroom and (facts.bottleneck != "undetermined" or _known_enough(facts)):
        return ""
    why = "the evidence does not decide between the bottlenecks: draw more (see the alternatives) before training"
    return f"{why}. {facts.needed}" if facts.needed else why


def _known_enough(facts: Facts) -> bool:
    """Whether a plan is possible although the verdict is undecided: problems are many and the findings on them sound.

    Then the classes mix, and a stage is proposed only if it gains whatever the bottleneck is.
    """
    return facts.instrument == "ok" and facts.problems >= MANY_PROBLEMS


def _against(found: Forecast, needs: tuple[str, ...], best: float, facts: Facts) -> str:
    """Why a stage is not proposed, in numbers and words."""
    if found.stage in OPTIONS:
        return OPTIONS[found.stage]
    if _taught(found) and facts.taught and not needs:
        solved = sum(facts.taught.values()) / max(1e-9, sum(facts.headroom.values()))
        if solved < TEACHES:
            return f"the compared models solve {solved:.0%} of what this one does not"
    gain = found.gain
    expected = f"expected to change pass@1 by {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
    kept = found.kept.value or 0.0
    if kept < -0.02:
        expected += f" and other tasks by {kept:+.2f}"
    if not found.precedents:
        expected = "no known situation shows that it moves the classes found here"
    if without_passes(found.stage, facts):
        what = "change the prompt first" if form_is_open(facts) else "there is nothing to learn from"
        drawn = count_text(facts.draws or 0)
        return f"learns from the policy's own successes, and none of {drawn} draws passed: {what}"
    if needs:
        return f"needs {' and '.join(needs)}; {expected}"
    successes = facts.expected_successes
    if found.stage in {"grpo", "rloo", "rft", "online-preference"} and successes is not None and successes < 3:
        return f"learns from the policy's own successes, and {count_text(successes)} are expected; {expected}"
    return expected if found.utility <= WORTH_IT else f"{expected}, {best - found.utility:.2f} behind the best"


def _proposal(
    found: Forecast, needs: tuple[str, ...], chance: float, facts: Facts, has: Resources, run: str
) -> StageProposal:
    if facts.counts_only:
        needs += ("the model and the tasks: run `diag analyze MODEL --tasks FILE`; counts alone cannot be trained on",)
    gain, after = found.gain, found.after
    if facts.random_like and not _taught(found):
        reason = "the policy is close to uniform on correct traces: no outcome was ever measured on such a model"
        gain, after = (Estimate(None, e.low, e.high, e.level, e.n, "undefined", reason) for e in (gain, after))
    why = _why(found.stage, facts)
    if not has.retained and found.retention_risk >= 0.4:
        why += " Give tasks to retain (--retain FILE), which are then replayed: without them this stage forgets."
    return StageProposal(
        stage=found.stage,
        role=role(found, facts),
        expected_gain=gain,
        expected_after=after,
        expected_retention=found.kept,
        retention_risk=found.retention_risk,
        utility=found.utility,
        chance_best=chance,
        cost=_cost(found, facts),
        needs=needs,
        why=why,
        evidence=_evidence(found),
        command=f"diag train {shlex.quote(run)} --stage {found.stage}",
    )


def role(found: Forecast, facts: Facts) -> str:
    """The role a stage is expected to play, by where its gain comes from.

    consolidation: another model supplies what this one lacks; repair: most of the gain is on format-limited problems;
    reshaping or expansion: most of it is on problems inside, or outside, effective support.
    """
    if found.stage in {"merge", "replay"} or (_taught(found) and facts.bottleneck == "consolidation"):
        return "consolidation"
    room = facts.reachable(_taught(found), True)
    won: dict[str, float] = dict.fromkeys(("repair", "reshaping", "expansion"), 0.0)
    for part, weight in room.items():
        rows = [o.won for o in found.precedents if o.part in (part, LIKE.get(part))]
        won[ROLES.get(part, "reshaping")] += weight * (max(0.0, sum(rows) / len(rows)) if rows else 0.0)
    return max(won, key=lambda name: won[name])


def _taught(found: Forecast) -> bool:
    """Whether another model supplies the stage's targets."""
    return stage_record(found.stage).learns_from == "teacher"


def _cost(found: Forecast, facts: Facts) -> Cost:
    """Tokens and FLOPs that a stage is expected to take.

    They follow from what it took in known situations, at this model's length of responses and size.
    """
    if found.sequences is None or not facts.mean_tokens:
        return Cost(None, None, None)
    tokens = found.sequences * facts.mean_tokens
    # most are trained on (6 FLOPs per weight and token); those that are only drawn cost 2
    return Cost(int(tokens), 6.0 * facts.n_parameters * tokens or None, None)


def _evidence(found: Forecast) -> str:
    """The precedents of a forecast, in a sentence."""
    rows = [o for o in found.precedents if not o.limited]
    if not rows:
        return "no precedent"
    shown = sorted(rows, key=lambda o: (o.part, o.situation, -o.demos))[:6]
    cases = ", ".join(
        f"{o.model} {o.family} ({o.part}{f', {o.demos} demos' if 'demos' in stage_record(o.stage).needs else ''}): "
        f"{o.before:.2f} to {o.after:.2f}, other tasks {o.kept:+.2f}"
        for o in shown
    )
    return f"held-out pass@1 in known situations: {cases}"


def _why(name: str, facts: Facts) -> str:
    """One or two sentences that tie the stage to what was measured."""
    groups = "an unknown share" if facts.mixed_groups is None else f"{facts.mixed_groups:.0%}"
    count = "an unknown number of" if facts.expected_successes is None else count_text(facts.expected_successes)
    if facts.bottleneck == "consolidation" and name in _CONSOLIDATES:
        return _CONSOLIDATES[name]
    if name in FORM_WHY and form_is_open(facts):
        return FORM_WHY[name]
    if name == "sft" and facts.bottleneck == "reshaping":
        return (
            "Demonstrations inside the policy's support sharpen it as well as reward does, and cost no draws; with "
            "replay the rest is kept."
        )
    texts = {
        "grpo": f"The right answers are drawn sometimes: {groups} of groups of 8 hold both passes and failures, and "
        f"{count} successes are expected in {facts.rollout_budget} draws per problem, so reward has something to "
        "select.",
        "rft": f"{count} verified own rollouts are expected in {facts.rollout_budget} draws per problem; training on "
        "them keeps the model's own style.",
        "preference": "Passes and failures of the same problem make pairs; the SFT term on the chosen side keeps the "
        "likelihood of right answers from falling too.",
        "online-preference": "Passes and failures among the policy's own draws make pairs, mined anew in each round.",
        "guided-rl": "Rollouts that begin with a part of a demonstration succeed where blind ones do not: shorten the "
        "part as success rises.",
        "sft": "The model does not produce what the demonstrations show, and more sampling will not change that.",
        "sft-model-aware": "Demonstrations rewritten by the model itself stay close to what it draws, and less of the "
        "rest is forgotten.",
        "filter": "Only the demonstrations that pass the verifier are learned from.",
        "distill-onpolicy": "A teacher that scores the student's own states teaches token by token where the reward "
        "is silent; it needs shared top tokens.",
        "distill-offline": "A teacher that solves these tasks can supply the traces that the model never draws.",
        "interleaved": "Some problems give mixed groups and others never pass: RL on the former, demonstrations on the "
        "latter, in one run.",
        "search-transfer": "A search over the policy's own draws finds right answers: train on what it finds.",
        "process-rl": "Rewards for prefixes, from continued rollouts, say where in a trace success dies.",
        "rloo": f"As grpo, with another baseline: {groups} of groups of 8 hold both passes and failures.",
        "replay": "What the model solves of the tasks to retain is trained on again.",
        "merge": "Interpolation with another checkpoint; the weight is chosen by probing.",
    }
    return texts[name]


_CONSOLIDATES: Mapping[str, str] = {
    "distill-offline": "Another model solves what this one does not reach: train on its verified samples, mixed with "
    "replay of what this model does.",
    "distill-onpolicy": "Route each problem to the model that solves it, this one for what it must keep, and let that "
    "model score the student's rollouts; where they share no top tokens begin with the teacher's samples.",
}
