"""What a run does next from its current checkpoint: the same stage again, pilots, or the first stage of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from posttrain_diag.autopilot.bill import MOST_PILOTS, PILOT_SHARE, WORTH_BEGINNING, measuring_a_pilot, set_aside
from posttrain_diag.autopilot.choose import LEAST_GAIN, Option, more_replay, more_steps, weigh
from posttrain_diag.autopilot.run import AutopilotRun
from posttrain_diag.autopilot.state import AutopilotState, Round
from posttrain_diag.stages.session.watch import read_looks


def retry(run: AutopilotRun, state: AutopilotState) -> AutopilotState | None:
    """Open the last stage once more with more replay, where its round was rolled back for retention alone."""
    last = state.rounds[-1] if state.rounds else None
    if last is None or last.cause != "retention":
        return None
    prepared = run.prepared(last.stage)
    share, against = more_replay(last, prepared.inputs, prepared.config)
    why = f"rolled back in round {last.number} for retention alone; tried once more with replay {share}"
    spent = run.tokens(last.number)
    option = Option(last.stage, why, against, tokens=spent.generated + spent.trained)
    budget, too_dear = (None, "") if against else _afford(run, state, option, {"replay": share})
    if against or too_dear:
        text = f"round {last.number}: {last.stage} is not tried again: {against or too_dear}"
        run.journal.tell("no retry", text, round=last.number)
        return None
    return _begin(run, state, option, {"replay": share, **(budget or {})}, retry_of=last.number)


def go_on(run: AutopilotRun, state: AutopilotState) -> AutopilotState | None:
    """Open the same stage again, for longer, where the last round was kept and its steps ended while it still rose."""
    last = state.rounds[-1] if state.rounds else None
    found = run.result(last.number) if last is not None and last.outcome == "kept" else None
    if last is None or found is None:
        return None
    looks = read_looks(run.folder(last.number) / "stage")
    steps, rise = more_steps(found, looks, run.prepared(last.stage).config)
    if not steps:
        return None
    why = f"on the probe problems it still rose by {rise:.3f} in the last quarter of its {found.steps} steps"
    tokens = steps * (found.generated_tokens + found.trained_tokens) // max(1, found.steps)
    option = Option(last.stage, why, tokens=tokens)
    budget, too_dear = _afford(run, state, option, {"steps": steps})
    if too_dear:
        text = f"round {last.number}: {last.stage} does not go on, though {why}: {too_dear}"
        run.journal.tell("not longer", text, round=last.number)
        return None
    return _begin(run, state, option, {"steps": steps, **(budget or {})})


def to_pilots(run: AutopilotRun, state: AutopilotState, found: Mapping[str, Any]) -> AutopilotState | None:
    """Go on to pilots, where they were asked for and there is enough left for them."""
    if not run.config.pilot or state.piloted or not found["plan"]:
        return None
    if (left := run.left) is None:
        return state.at("pilot")
    each = round(PILOT_SHARE * left / MOST_PILOTS)
    if each < measuring_a_pilot(found):
        text = (
            f"round {state.current}: no pilots: {left:,} tokens are left, {each:,} for each, which measuring would take"
        )
        run.journal.tell("no pilots", text, round=state.current, left=left)
        return None
    return replace(state, phase="pilot", pilot_tokens=each)


def from_plan(run: AutopilotRun, state: AutopilotState, found: Mapping[str, Any]) -> AutopilotState:
    """Open the first stage of the plan that nothing speaks against."""
    tried = {r.stage: r for r in state.rounds if r.start == state.current and r.outcome != "kept"}
    planned = found if state.piloted else run.steps.plan(run.analysis(state.current), run.resources)
    plan, others = planned["plan"], dict(planned["not_proposed"])
    options = weigh(plan, run.prepared(plan[0]["stage"]).inputs, tried) if plan else ()
    chosen, settings, dear = None, {}, False
    for option in options:
        against = option.against
        if not against and chosen is None:
            budget, against = _afford(run, state, option, {})
            dear = dear or bool(against)
            chosen, settings = (None, {}) if against else (option, budget or {})
        if option is not chosen:
            others[option.stage] = against or f"comes after {chosen.stage if chosen else ''}: {option.text}"
    if chosen is not None:
        return _begin(run, state, chosen, settings, others=others)
    if found["bottleneck"] == "undetermined" and not plan:
        return state.ended("undetermined", (found["needed"] or {}).get("reason") or "the evidence does not decide")
    against = "; ".join(f"{option.stage}: {others[option.stage]}" for option in options)
    if dear:
        return state.ended(
            "budget", f"{run.left or 0:,} tokens are left of {run.config.budget_tokens or 0:,}: {against}"
        )
    what = against or "; ".join(dict.fromkeys(others.values()))
    if found["bottleneck"] == "saturated":
        value = found["estimates"]["pass@1"]["value"]
        return state.ended("saturated", f"nearly all held-out problems are mastered, pass@1 {value:.3f}: {what}")
    return state.ended("no gain", f"no stage is expected to gain more than {LEAST_GAIN:g} and can run: {what}")


def with_more(run: AutopilotRun, state: AutopilotState, found: Mapping[str, Any]) -> str:
    """What the run would do next if it might run another stage."""
    tried = {r.stage: r for r in state.rounds if r.start == state.current and r.outcome != "kept"}
    plan = (found if state.piloted else run.steps.plan(run.analysis(state.current), run.resources))["plan"]
    options = weigh(plan, run.prepared(plan[0]["stage"]).inputs, tried) if plan else ()
    option = next((option for option in options if not option.against), None)
    return "nothing would follow" if option is None else f"next would be {option.stage}, {option.text}"


def _afford(
    run: AutopilotRun, state: AutopilotState, option: Option, settings: Mapping[str, Any]
) -> tuple[Mapping[str, int] | None, str]:
    """The stage's own token budget as a setting (None: no limit), or why what is left is too little for it."""
    left = run.left
    if left is None:
        return None, ""
    prepared = run.prepared(option.stage)
    config = prepared.config.model_copy(update=dict(settings))
    known = run.measured(state.current) is not None
    diagnosis, drawn = run.diagnosis(state.current), run.tokens(state.current).analysis
    aside = set_aside(diagnosis, drawn, option.stage, prepared.inputs, config, known=known)
    most = min(left - aside, config.budget_tokens or left)
    if most < max(1, WORTH_BEGINNING * (option.tokens or 0)):
        takes = "" if option.tokens is None else f", and it about {option.tokens:,} itself"
        return None, f"judging it would take about {aside:,} tokens{takes}"
    return {"budget_tokens": most}, ""


def _begin(
    run: AutopilotRun,
    state: AutopilotState,
    option: Option,
    settings: Mapping[str, Any],
    *,
    others: Mapping[str, str] | None = None,
    retry_of: int | None = None,
) -> AutopilotState:
    """Open a round with this stage."""
    number = len(state.rounds) + 1
    run.journal.tell(
        "chosen",
        f"round {number}: {option.stage}, {option.text if retry_of is None else 'again'}: {option.why}",
        round=number,
        stage=option.stage,
        from_round=state.current,
        proposal=option.proposal,
        expected_tokens=option.tokens,
        settings=settings,
        not_chosen=others or {},
    )
    begun = Round(number, option.stage, state.current, settings, option.why, retry_of)
    return state.begin(begun)
