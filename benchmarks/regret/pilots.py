"""The regret benchmark's pilots: short real runs, each made once and kept as a record, under the product's own halving.

    forecasts of a question ──► posttrain_diag.recommend.pilots.run_pilots ──► record of (variant, situation, flavour, rung)

A pilot of a stage is the same whatever else the user has, so questions share it. What a user pays is counted as if each
question stood alone: its pilots, and the measurement before training once, as `posttrain_diag.recommend.pilots.attempts` shares it.
"""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import Record, keep
from benchmarks.regret.world import ALIKE, BUDGET, Answer, Question, agreement, first_of, recipe_ahead, regret
from benchmarks.stages.cases import SMALL_BUDGET, Case, Variant, inputs_of
from benchmarks.stages.run import tokens_of, within
from posttrain_diag.autopilot.bill import MOST_PILOTS, PILOT_SHARE
from posttrain_diag.recommend import Facts, Resources
from posttrain_diag.recommend.forecast import Forecast
from posttrain_diag.recommend.pilots import MEASURED, ROLLOUTS, Piloted, PilotRun, run_pilot, run_pilots
from posttrain_diag.recommend.rules import OPTIONS, WORTH_IT, no_stage, plan_from
from posttrain_diag.stages import make_stage_config, tokens_so_far
from posttrain_diag.stages.catalogue import stage_record

WORK = Path("runs/bench-pilots")
"""Where records lie unless told otherwise."""
PUBLISHED = Path(__file__).parent / "pilots.jsonl"
"""Where they are kept for good."""


class NotRun(Exception):
    """A pilot that is asked for has no record, and none may be run."""


@dataclass(frozen=True)
class Pilots:
    """The records of pilots, and whether missing ones are run."""

    work: Path
    run: bool
    """Whether those that have no record are run."""
    least: float = WORTH_IT
    """As of `run_pilots`; 0: they are run wherever two stages have a chance to be the best."""

    def of(self, question: Question, found: Mapping[str, Forecast], facts: Facts) -> Piloted:
        """What the product's pilots would change in a question.

        Raises:
            NotRun: a record is missing.
        """
        if no_stage(facts, Resources()):
            return Piloted(found, (), "no stage can be proposed")
        if question.setting.small and not _affordable(facts):
            return Piloted(found, (), "measuring would take more than the share of the budget that is a pilot's")
        variants = {variant.stage: variant for variant in question.admissible()}
        seen: list[PilotRun] = []

        def attempt(stage: str, rung: int) -> PilotRun:
            record = self.record(question, variants[stage], rung)
            known = record["before_tokens"] if seen else 0  # the first one's measurement is the others'
            seen.append(PilotRun(**{**record["run"], "tokens": record["run"]["tokens"] - known}))
            return seen[-1]

        ready = [name for name in found if name in variants and name not in OPTIONS]
        return run_pilots(found, ready, attempt, least=self.least)

    def record(self, question: Question, variant: Variant, rung: int) -> Record:
        """One pilot, read where it was made before.

        Raises:
            NotRun: it was not made, and is not to be.
        """
        few = question.setting.few and "demos" in stage_record(variant.stage).needs
        case = Case(variant, question.situation, "16 demos" if few else "full")
        slug = "".join(c if c.isalnum() else "-" for c in case.name)
        path = self.work / f"{slug}-{rung}.json"
        if path.exists():
            return json.loads(path.read_text())
        if not self.run:
            raise NotRun(f"{case.name}, rung {rung}")
        folder, cpu = path.with_suffix(""), time.process_time()
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
        run = run_pilot(variant.stage, rung, inputs_of(case, 0), make_stage_config(**variant.settings), folder)
        record: Record = {
            "case": case.name,
            "run": asdict(run),
            "before_tokens": tokens_so_far(folder)["measured"],
            "cpu_s": time.process_time() - cpu,
        }
        shutil.rmtree(folder)
        gc.collect()  # a trainer and its callbacks hold each other, and the weights
        keep(record, path)
        print(f"pilot: {case.name}, rung {rung}: {record['cpu_s']:.0f} s", flush=True)
        return record


def _affordable(facts: Facts) -> bool:
    """Whether the autopilot would run pilots at all with little compute; measuring before and after is what costs."""
    return 2 * MEASURED * ROLLOUTS * facts.mean_tokens <= PILOT_SHARE * SMALL_BUDGET / MOST_PILOTS


def with_pilot(
    question: Question,
    found: Mapping[str, Forecast],
    facts: Facts,
    has: Resources,
    worth: Mapping[str, float],
    records: Sequence[Record],
    pilots: Pilots,
) -> dict[str, Any] | None:
    """What we pick after pilots, what it is worth, and what the pilots took; None: not all of them were run."""
    try:
        piloted = pilots.of(question, found, facts)
    except NotRun:
        return None
    plan = None if no_stage(facts, has) else plan_from(piloted.forecasts, facts, has, "RUN", piloted.last)
    pick = first_of(plan, worth)
    chosen = [run for v in question.admissible() if v.stage == pick for run in question.runs_of(v, records)]
    tokens = [tokens_of(within(run, BUDGET)) for run in chosen if "refused" not in run]
    return {
        "pick": pick,
        "utility": worth[pick],
        "reason": piloted.reason,
        "runs": [asdict(run) for run in piloted.runs],
        "tokens": piloted.tokens,
        "stage_tokens": float(np.mean(tokens)) if tokens else None,
    }


def pilot_summary(answers: Sequence[Answer], name: str) -> dict[str, Any] | None:
    """Ours beside ours with one way of pilots, where all of these were run; None: nowhere."""
    rows = [
        {**a, "pilot": pilot, "utilities": {**a["utilities"], name: pilot["utility"]}}
        for a in answers
        if (pilot := a["pilots"][name]) is not None
    ]
    if not rows:
        return None
    tried = [a for a in rows if a["pilot"]["runs"]]
    moved = [a["pilot"]["utility"] - a["utilities"]["ours"] for a in tried if a["pilot"]["pick"] != a["picks"]["ours"]]
    shares = [a["pilot"]["tokens"] / a["pilot"]["stage_tokens"] for a in tried if a["pilot"]["stage_tokens"]]
    figures = {"regret": regret, "agreement": agreement, "recipe ahead": recipe_ahead}
    return {
        "questions": len(rows),
        "tried": len(tried),
        "runs": sum(len(a["pilot"]["runs"]) for a in tried),
        **{n: {who: f(rows, who) for who in ("ours", name)} for n, f in figures.items()},
        "where tried": {n: {who: f(tried, who) for who in ("ours", name)} for n, f in figures.items() if tried},
        "changed": len(moved),
        "better": sum(change > ALIKE for change in moved),
        "worse": sum(change < -ALIKE for change in moved),
        "mean change": float(np.mean(moved)) if moved else 0.0,
        "median share of tokens": float(np.median(shares)) if shares else None,
    }


def pilot_page(name: str, found: Mapping[str, Any] | None) -> list[str]:
    """Markdown of one way of pilots."""
    if found is None:
        return [f"## {name.capitalize()}", "", "No pilots were run.", ""]
    share = found["median share of tokens"]
    taken = "" if share is None else f" They took {share:.0%} of the tokens of the stage finally chosen, in the median."
    return [
        f"## {name.capitalize()}",
        "",
        f"{found['questions']} questions whose pilots were run; stages were tried in {found['tried']} of them, in "
        f"{found['runs']} runs.{taken} The pick changed in {found['changed']}: better by more than {ALIKE} in "
        f"{found['better']}, worse in {found['worse']}, by {found['mean change']:+.3f} in the mean.",
        "",
        "| | ours, rules only | with pilot | where tried: rules only | with pilot |",
        "|---|---|---|---|---|",
        *(
            f"| {figure} | "
            + " | ".join(
                f"{value:.3f}"
                for rows in (found, found["where tried"])
                for value in rows.get(figure, {"ours": float("nan"), name: float("nan")}).values()
            )
            + " |"
            for figure in ("regret", "agreement", "recipe ahead")
        ),
        "",
    ]
