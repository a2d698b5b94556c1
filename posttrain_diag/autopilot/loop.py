"""The run loop: analyse, choose, train, analyse again, compare, keep or roll back, until nothing is left to gain.

    autopilot(config, out)  →  result   (result.json; everything is in the folder as well)

The same command goes on where it stopped, after `kill -9` too: see `state`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from posttrain_reports import write_autopilot_report

from posttrain_diag.autopilot.bill import (
    MOST_PILOTS,
    PILOT_SHARE,
    WORTH_BEGINNING,
    BudgetSpent,
    Metered,
    measuring_a_pilot,
    set_aside,
)
from posttrain_diag.autopilot.choose import LEAST_GAIN, Option, more_replay, more_steps, rollouts_to_top_up, weigh
from posttrain_diag.autopilot.commands import analyze_command
from posttrain_diag.autopilot.config import AutopilotConfig
from posttrain_diag.autopilot.judge import judge
from posttrain_diag.autopilot.result import write_result
from posttrain_diag.autopilot.run import Run, open_run
from posttrain_diag.autopilot.state import Phase, Round, State
from posttrain_diag.autopilot.steps import Steps
from posttrain_diag.errors import EngineError, ModelError, UsageError
from posttrain_diag.stages.watch import read_looks
from posttrain_diag.stored import stored_autopilot


def autopilot(config: AutopilotConfig, out: Path, steps: Steps | None = None) -> Mapping[str, Any]:
    """Diagnose and train until the target, the budget, or no stage that is expected to gain.

    Args:
        config: what was asked for.
        out: folder of the run.
        steps: what is called to analyse, train and compare, and who is told.

    Returns:
        result.json.

    Raises:
        DiagError: inputs that cannot be used; what was computed before stays in the folder.
    """
    with open_run(config, out, steps or Steps()) as run:
        _greet(run)
        while run.state.phase != "done":
            run.save(PHASES[run.state.phase](run, run.state))
        result = write_result(run)
        write_autopilot_report(stored_autopilot(run.out))
        return result


def _greet(run: Run) -> None:
    say, state = run.steps.say, run.state
    for note in run.problems.notes:
        say(note)
    if state.phase == "done":
        say(f"{run.out}: has ended already")
    elif state.rounds or (run.out / "events.jsonl").exists():
        say(f"{run.out}: goes on at round {len(state.rounds)}, {state.phase}")


def analyze(run: Run, state: State) -> State:
    """Analyse the checkpoint of the open round; without one the current checkpoint, or more of it."""
    begun = state.open_round
    number = begun.number if begun else state.current
    config = run.analysis_config(number)
    left = run.left
    try:
        with run.steps.progress() as progress:
            run.steps.analyze(config, Metered(progress, left), analyze_command(config))
    except BudgetSpent:
        spent = f"the budget of {run.config.budget_tokens:,} tokens was used up while {config.model} was analysed"
        run.journal.tell("cut off", spent, round=number, once=state.topups, tokens=run.spent.total)
        return state.at("compare") if begun else state.ended("budget", spent)
    found = run.diagnosis(number)
    pass_1, samples = found["estimates"].get("pass@1"), found["samples"]
    run.journal.tell(
        "analysed",
        f"round {number}: {config.model}: {found['bottleneck']}, confidence {found['confidence']:.0%}, "
        f"pass@1 {_interval(pass_1)} on {found['tasks']['n']} held-out problems, {samples['rollouts']:,} rollouts",
        round=number,
        once=state.topups,
        bottleneck=found["bottleneck"],
        confidence=found["confidence"],
        alternatives=found["alternatives"],
        instrument=found["instrument"]["status"],
        pass_1=pass_1,
        samples=samples,
        run=str(config.out),
    )
    return state.at("compare" if begun else "choose")


def choose(run: Run, state: State) -> State:
    """Name the next stage, ask for more draws, or end the run."""
    number = state.current
    if not run.analysed(number):  # kept, and the budget ended while its checkpoint was analysed
        return _budget_spent(run, state)
    found = run.diagnosis(number)
    value = found["estimates"]["pass@1"]["value"] if "pass@1" in found["estimates"] else None
    if found["bottleneck"] == "instrument":
        advice = " ".join(f["advice"] for f in found["instrument"]["findings"] if f["severity"] != "note")
        return state.ended("instrument", f"the measurement is broken, mend it first: {advice}")
    if value is not None and value >= run.config.target:
        return state.ended("target", f"pass@1 {value:.3f} has reached the target of {run.config.target:g}")
    if found["bottleneck"] == "saturated":
        return state.ended("saturated", f"nearly all held-out problems are mastered, pass@1 {_text(value)}")
    if run.left == 0:
        return _budget_spent(run, state)
    if (rollouts := rollouts_to_top_up(found, state.topups)) is not None:
        text = f"round {number}: undetermined: {rollouts} rollouts per problem are drawn. {found['needed']['reason']}"
        run.journal.tell("top up", text, round=number, once=state.topups, rollouts=rollouts, needed=found["needed"])
        return replace(state, phase="analyze", rollouts=rollouts, topups=state.topups + 1)
    if len(state.rounds) >= run.config.max_stages:
        return state.ended("stages", f"{len(state.rounds)} stages were run, which is the limit (--max-stages)")
    return _retry(run, state) or _go_on(run, state) or _to_pilots(run, state, found) or _from_plan(run, state, found)


def _retry(run: Run, state: State) -> State | None:
    """Once more with more replay, where the last round was rolled back for retention alone."""
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


def _go_on(run: Run, state: State) -> State | None:
    """The same stage again, for longer, where the last round was kept and its steps ended while it still rose."""
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


def _to_pilots(run: Run, state: State, found: Mapping[str, Any]) -> State | None:
    """Short runs first, where they were asked for and there is enough left for them."""
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


def _from_plan(run: Run, state: State, found: Mapping[str, Any]) -> State:
    """The first stage of the plan that nothing speaks against."""
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
    return state.ended("no gain", f"no stage is expected to gain more than {LEAST_GAIN:g} and can run: {what}")


def _afford(
    run: Run, state: State, option: Option, settings: Mapping[str, Any]
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
    run: Run,
    state: State,
    option: Option,
    settings: Mapping[str, Any],
    *,
    others: Mapping[str, str] | None = None,
    retry_of: int | None = None,
) -> State:
    """Open a round."""
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


def _budget_spent(run: Run, state: State) -> State:
    return state.ended("budget", f"the budget of {run.config.budget_tokens:,} tokens is used up")


def pilot(run: Run, state: State) -> State:
    """Short runs of the stages between which the plan of the current checkpoint does not decide."""
    number, each, request = state.current, state.pilot_tokens, run.next_request("grpo")
    has, settings = dict(run.resources), dict(request.settings)
    if each is not None and run.left is not None:
        has["budget_tokens"] = run.left + run.tokens(number).pilot  # as before the first of them
        settings["budget_tokens"] = min(each, settings.get("budget_tokens") or each)
    with run.steps.progress() as progress:
        say = _indented(run.steps.say)
        run.steps.pilot(run.analysis(number), has, replace(request, settings=settings), progress, say)
    tried, tokens = run.diagnosis(number)["pilots"], run.tokens(number).pilot
    text = f"round {number}: {len(tried['runs'])} pilots, {tokens:,} tokens: {tried['reason']}"
    run.journal.tell("piloted", text, round=number, pilots=tried, tokens=tokens)
    return replace(state, phase="choose", piloted=True)


def train(run: Run, state: State) -> State:
    """Run the stage of the open round; what it cannot do is a failed round, not the end."""
    begun = state.rounds[-1]
    try:
        run.steps.train(run.request(begun), _indented(run.steps.say), run.measured(begun.start))
    except (UsageError, ModelError, EngineError) as error:
        text = f"round {begun.number}: {begun.stage} could not be run: {error}"
        run.journal.tell("failed", text, round=begun.number, stage=begun.stage)
        return state.close("failed", str(error))
    found = run.result(begun.number)
    assert found is not None
    run.journal.tell(
        "trained",
        f"round {begun.number}: {begun.stage}: {found.steps} steps, weights of step {found.best_step}"
        + (f", stopped: {found.stopped}" if found.stopped else ""),
        round=begun.number,
        stage=begun.stage,
        steps=found.steps,
        best_step=found.best_step,
        stopped=found.stopped,
        collapse=found.collapse,
        tokens=run.tokens(begun.number).json(),
    )
    return state.at("decide" if found.best_step == 0 else "analyze")


def compare(run: Run, state: State) -> State:
    """What the stage did to every problem and which role it played, from the two analyses."""
    begun = state.rounds[-1]
    out = run.comparison(begun.number)
    if run.analysed(begun.number):
        if not out.exists():
            run.steps.compare(run.analysis(begun.start), run.analysis(begun.number), out, run.config.seed)
        found = json.loads(out.read_text(encoding="utf-8"))
        run.journal.tell(
            "compared",
            f"round {begun.number}: role of {begun.stage}: {found['role']}: {found['reason']}",
            round=begun.number,
            role=found["role"],
            forecast=found["forecast"],
            decomposition=found["decomposition"],
        )
    return state.at("decide")


def decide(run: Run, state: State) -> State:
    """Keep the checkpoint of the open round, or go on from the one before it."""
    begun = state.rounds[-1]
    found, start = run.result(begun.number), run.measured(0)
    assert found is not None
    assert start is not None
    if found.best_step == 0:
        reason = "no look at the probe problems was better than the one before training: its weights are the start's"
        run.journal.tell(
            "rolled back", f"round {begun.number}: {begun.stage} rolled back: {reason}", round=begun.number
        )
        return state.close("rolled back", reason, "weights")
    verdict = judge(found.before, found.after, start, keep=run.config.keep, seed=run.config.seed)
    outcome = "kept" if verdict.keep else "rolled back"
    run.journal.tell(
        outcome,
        f"round {begun.number}: {begun.stage} {outcome}: {verdict.reason}",
        round=begun.number,
        stage=begun.stage,
        verdict=asdict(verdict),
        tokens=run.tokens(begun.number).json(),
    )
    return state.close(outcome, verdict.reason, verdict.cause)


def finish(run: Run, state: State) -> State:
    """Copy the checkpoint that the run ends with, and say why it ended."""
    if state.current:
        target, scratch = run.out / "checkpoint", run.out / ".checkpoint"
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.exists():
            shutil.copytree(run.model(state.current), scratch)
            scratch.rename(target)
        several = state.rounds[state.current - 1].start > 0
        if several and run.analysed(state.current) and not run.comparison(0).exists():  # what they did together
            run.steps.compare(run.analysis(0), run.analysis(state.current), run.comparison(0), run.config.seed)
    tokens = run.spent.json()
    run.journal.tell("ended", f"ended: {state.reason}", round=len(state.rounds), end=state.end, tokens=tokens)
    return state.at("done")


PHASES: Mapping[Phase, Callable[[Run, State], State]] = {
    "analyze": analyze,
    "choose": choose,
    "pilot": pilot,
    "train": train,
    "compare": compare,
    "decide": decide,
    "finish": finish,
}


def _indented(say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda text: say(f"  {text}")


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "undefined"
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
