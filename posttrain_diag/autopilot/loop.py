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

from posttrain_diag.analysis.report_data import stored_autopilot
from posttrain_diag.autopilot.bill import BudgetSpent, Metered
from posttrain_diag.autopilot.choose import rollouts_to_top_up
from posttrain_diag.autopilot.commands import analyze_command
from posttrain_diag.autopilot.judge import judge
from posttrain_diag.autopilot.next_round import from_plan, go_on, retry, to_pilots, with_more
from posttrain_diag.autopilot.result import write_result
from posttrain_diag.autopilot.run import AutopilotRun, open_run
from posttrain_diag.autopilot.state import AutopilotState, RunPhase
from posttrain_diag.autopilot.steps import Steps
from posttrain_diag.errors import EngineError, ModelError, UsageError
from posttrain_diag.settings.autopilot import AutopilotConfig


def autopilot(config: AutopilotConfig, out: Path, steps: Steps | None = None) -> Mapping[str, Any]:
    """Diagnose and train until the target, the budget, or no stage that is expected to gain.

    Args:
        config: what was asked for.
        out: folder of the run.
        steps: what is called to analyse, train and compare, and who is told.

    Returns:
        The contents of result.json.

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


def _greet(run: AutopilotRun) -> None:
    say, state = run.steps.say, run.state
    for note in run.problems.notes:
        say(note)
    if state.phase == "done":
        say(f"{run.out}: has ended already")
    elif state.rounds or (run.out / "events.jsonl").exists():
        say(f"{run.out}: goes on at round {len(state.rounds)}, {state.phase}")


def analyze(run: AutopilotRun, state: AutopilotState) -> AutopilotState:
    """Analyse the checkpoint of the open round; where no round is open, the current checkpoint, with more draws."""
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


def choose(run: AutopilotRun, state: AutopilotState) -> AutopilotState:
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
    if run.left == 0:
        return _budget_spent(run, state)
    if (rollouts := rollouts_to_top_up(found, state.topups)) is not None:
        text = f"round {number}: undetermined: {rollouts} rollouts per problem are drawn. {found['needed']['reason']}"
        run.journal.tell("top up", text, round=number, once=state.topups, rollouts=rollouts, needed=found["needed"])
        return replace(state, phase="analyze", rollouts=rollouts, topups=state.topups + 1)
    if len(state.rounds) >= run.config.max_stages:
        why = f"{len(state.rounds)} stages were run, which is the limit (--max-stages)"
        return state.ended("stages", f"{why}; {with_more(run, state, found)}")
    return retry(run, state) or go_on(run, state) or to_pilots(run, state, found) or from_plan(run, state, found)


def _budget_spent(run: AutopilotRun, state: AutopilotState) -> AutopilotState:
    return state.ended("budget", f"the budget of {run.config.budget_tokens:,} tokens is used up")


def pilot(run: AutopilotRun, state: AutopilotState) -> AutopilotState:
    """Make short runs of the stages between which the plan of the current checkpoint does not decide."""
    number, each, request = state.current, state.pilot_tokens, run.pilot_request()
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


def train(run: AutopilotRun, state: AutopilotState) -> AutopilotState:
    """Run the stage of the open round; what it cannot do is a failed round, not the end."""
    begun = state.rounds[-1]
    try:
        with run.steps.progress() as progress:
            progress.phase("train", begun.stage)
            run.steps.train(run.request(begun), progress, _indented(run.steps.say), run.measured(begun.start))
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


def compare(run: AutopilotRun, state: AutopilotState) -> AutopilotState:
    """Find out from the two analyses what the stage did to every problem and which role it played."""
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


def decide(run: AutopilotRun, state: AutopilotState) -> AutopilotState:
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


def finish(run: AutopilotRun, state: AutopilotState) -> AutopilotState:
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


PHASES: Mapping[RunPhase, Callable[[AutopilotRun, AutopilotState], AutopilotState]] = {
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


def _interval(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "undefined"
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
