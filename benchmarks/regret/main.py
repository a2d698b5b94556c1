"""Does the recommendation pick the stage that someone picks who ran them all?

`make bench-regret` or `python -m benchmarks regret [--seeds=1] [--jobs=2] [--done [--run-pilots]] [--resume] [--work=DIR]
[--pilots=DIR]`. A rerun goes on where the last one stopped; the records are those of the stages benchmark, in the same
DIR, and pilots; on another machine, `--resume` takes those of the repository first. Writes benchmarks/regret/.

14 situations x what the user has (everything; no demonstrations; 16 only; pairs and no verifier; a teacher; little
compute). Every admissible stage is run at its defaults, within 1.5 million generated and trained tokens, or, with little
compute, 120,000. Utility = held-out pass@1 gained - .5 x retention lost; doing nothing is worth 0. The recommendation
sees the diagnosis of the held-out problems and precedents that were not measured on these families of this model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.outcomes.main import outcomes_of, part_of
from benchmarks.records import Record, publish, restore
from benchmarks.regret import pilots as regret_pilots
from benchmarks.regret.pilots import Pilots, pilot_page, pilot_summary, with_pilot
from benchmarks.regret.world import (
    ALIKE,
    BUDGET,
    NOTHING,
    OPEN,
    RECIPES,
    Question,
    agreement,
    by_setting,
    first_of,
    fixed,
    questions,
    recipe_ahead,
    regret,
    utilities,
)
from benchmarks.stages import report as stages_report
from benchmarks.stages import run as stages_run
from benchmarks.stages.cases import (
    SITUATIONS,
    SMALL_BUDGET,
    STAGES,
    Situation,
    held_out,
    inputs_of,
    regret_cases,
    table_cases,
)
from benchmarks.stages.cases import Case as StageCase
from posttrain_diag.recommend import Facts
from posttrain_diag.recommend.forecast import Forecast
from posttrain_diag.recommend.outcomes import Outcome, apart_from
from posttrain_diag.recommend.rules import ROLES, forecast_all, no_stage, plan_from, role

BY_NAME_ONLY = "takes hours"

WITH_PILOT = "ours with pilot"
MARKS = {"regret": 0.05, "agreement": 0.9, "recipe ahead": 0.05, "coverage": 0.85, "role": 0.9}


def facts_of(situation: Situation, work: Path) -> Facts:
    """The diagnosis of the situation's held-out problems, made once."""
    from posttrain_diag.analysis.analyze import analyze
    from posttrain_diag.settings.analysis import make_config
    from posttrain_diag.tasks import write_tasks

    folder = work / "diagnoses" / situation.name
    if not (folder / "run" / "facts.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_tasks(held_out(situation, 0), folder / "tasks.jsonl")
        others = tuple(name for name in situation.teachers if name != situation.model)
        analyze(
            make_config(model=situation.model, tasks=str(folder / "tasks.jsonl"), out=folder / "run", teacher=others)
        )
    return Facts.read(json.loads((folder / "run" / "facts.json").read_text()))


@cache
def demos_of(situation: Situation) -> int:
    """Training problems with a demonstration, where all have one."""
    return len(inputs_of(StageCase(STAGES[0], situation), 0).train)


def answer(
    question: Question,
    worth: Mapping[str, float],
    facts: Facts,
    records: Sequence[Record],
    outcomes: Sequence[Outcome],
    ways: Mapping[str, Pilots],
) -> dict[str, Any]:
    """What we, the recipes and the oracle do in one question, and what it is worth."""
    situation = question.situation
    has = question.setting.resources(situation, demos_of(situation))
    found = forecast_all(facts, has, outcomes)
    plan = None if no_stage(facts, has) else plan_from(found, facts, has, "RUN")
    able = [stage for stage in worth if stage != NOTHING]
    picks = {"ours": first_of(plan, worth)}
    picks |= {name: fixed(name, facts.pass_1, able) for name in RECIPES}
    values = {name: worth[stage] for name, stage in picks.items()}
    values["random"] = float(np.mean(list(worth.values())))
    best = max(worth, key=lambda stage: worth[stage])
    return {
        "situation": situation.name,
        "setting": question.setting.name,
        "bottleneck": facts.bottleneck,
        "oracle": best,
        "oracle_utility": worth[best],
        "picks": picks,
        "utilities": values,
        "worth": dict(worth),
        "forecasts": _checked(question, found, facts, records),
        "pilots": {n: with_pilot(question, found, facts, has, worth, records, way) for n, way in ways.items()},
    }


def _checked(
    question: Question, found: dict[str, Forecast], facts: Facts, records: Sequence[Record]
) -> list[dict[str, Any]]:
    """Every forecast of a stage that was run, beside what the run did; whole runs only."""
    out: list[dict[str, Any]] = []
    if question.setting.small:
        return out
    for variant in question.admissible():
        for run in question.runs_of(variant, records):
            if "refused" in run:
                continue
            gain = found[variant.stage].gain
            observed = run["pass@1"][1] - run["pass@1"][0]
            out.append(
                {
                    "stage": variant.stage,
                    "expected": [gain.low, gain.value, gain.high],
                    "observed": observed,
                    "held": bool(gain.low - ALIKE <= observed <= gain.high + ALIKE),
                    "role": [role(found[variant.stage], facts), _role_of(run, question.situation)],
                }
            )
    return out


def _role_of(run: Record, situation: Situation) -> str:
    """The role a run had: the class, known by construction, that gave most of its gain; "none" below 5 points."""
    won: dict[str, float] = {}
    for family, (before, after) in run["families"].items():
        part = part_of(situation, family)
        name = ROLES.get(part, "reshaping")
        won[name] = won.get(name, 0.0) + (after - before) / len(run["families"])
    best = max(won, key=lambda name: won[name])
    if won[best] < 0.05:
        return "none"
    return "consolidation" if situation.siblings and run["stage"].startswith("distill") else best


def summary(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures that the issue asks for."""
    names = list(answers[0]["utilities"])
    checks = [check for a in answers for check in a["forecasts"]]
    moved = [c for c in checks if c["role"][1] != "none"]
    return {
        "questions": len(answers),
        "with something to gain": sum(a["oracle_utility"] > OPEN for a in answers),
        "regret": {name: regret(answers, name) for name in names},
        "agreement": {name: agreement(answers, name) for name in names},
        "same stage": float(np.mean([a["picks"]["ours"] == a["oracle"] for a in answers])),
        "by setting": by_setting(answers),
        "recipe ahead": recipe_ahead(answers, "ours"),
        "coverage": float(np.mean([c["held"] for c in checks])) if checks else float("nan"),
        "forecasts": len(checks),
        "role": float(np.mean([c["role"][0] == c["role"][1] for c in moved])) if moved else float("nan"),
        "roles": len(moved),
        "pilots": {name: pilot_summary(answers, name) for name in answers[0]["pilots"]},
    }


def page(found: dict[str, Any], answers: Sequence[dict[str, Any]], records: Sequence[Record]) -> list[str]:
    """The Markdown page."""
    seeds = sorted({r["seed"] for r in records})
    return [
        f"{found['questions']} of {found['asked']} questions ({len({a['situation'] for a in answers})} "
        f"situations; the others have stages that were not run yet), {len(records)} runs, seeds {seeds}; every "
        f"stage within {BUDGET:,} tokens, with little compute {SMALL_BUDGET:,}. Precedents of the same families of the same model are left out of each forecast.",
        "",
        "| | asked | reached |",
        "|---|---|---|",
        f"| mean regret, share of the oracle's utility | <= .05 | {found['regret']['ours']:.3f} |",
        f"| agreement with the oracle (utility within {ALIKE}) | >= .90 | {found['agreement']['ours']:.3f} "
        f"(the very same stage: {found['same stage']:.2f}) |",
        f"| a fixed recipe ahead of us in a setting, at most | <= .05 | {found['recipe ahead']:+.3f} |",
        f"| 90% intervals of the gain that hold it | >= .85 | {found['coverage']:.3f} of {found['forecasts']} |",
        f"| role predicted = role measured | >= .90 | {found['role']:.3f} of {found['roles']} |",
        "",
        "| | regret | agreement |",
        "|---|---|---|",
        *(f"| {n} | {found['regret'][n]:.3f} | {found['agreement'][n]:.3f} |" for n in found["regret"]),
        "",
        *(line for name, figures in found["pilots"].items() for line in pilot_page(name, figures)),
        "## Mean utility by setting",
        "",
        "| setting | " + " | ".join(next(iter(found["by setting"].values()))) + " |",
        "|---" * (1 + len(next(iter(found["by setting"].values())))) + "|",
        *(
            f"| {name} | " + " | ".join(f"{v:.3f}" for v in values.values()) + " |"
            for name, values in found["by setting"].items()
        ),
        "",
        "## Questions",
        "",
        "| situation | setting | diagnosis | ours | with pilot | oracle | utility: ours, with pilot, oracle |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {a['situation']} | {a['setting']} | {a['bottleneck']} | {a['picks']['ours']} | {_piloted(a, 'pick')} | "
            f"{a['oracle']} | {a['utilities']['ours']:.3f}, {_piloted(a, 'utility')}, {a['oracle_utility']:.3f} |"
            for a in answers
        ),
    ]


def _piloted(one: dict[str, Any], what: str) -> str:
    pilot = one["pilots"][WITH_PILOT]
    if pilot is None:
        return "not run"
    if not pilot["runs"]:
        return "-"
    return pilot[what] if what == "pick" else f"{pilot[what]:.3f}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--done", action="store_true", help="run no stage: results of the runs that are there")
    parser.add_argument("--run-pilots", action="store_true", help="with --done: run the pilots that are not there")
    parser.add_argument("--resume", action="store_true", help="start from the records in the repository")
    parser.add_argument("--work", type=Path, default=stages_run.WORK)
    parser.add_argument("--pilots", type=Path, default=regret_pilots.WORK, help="records of pilots")
    options = parser.parse_args()
    work, place = options.work.resolve(), options.pilots.resolve()
    if options.resume:
        restore(stages_run.PUBLISHED, work)
        restore(regret_pilots.PUBLISHED, place)
    cases = [*table_cases(STAGES), *regret_cases()]
    jobs = [stages_run.Job(case, seed, work) for seed in range(options.seeds) for case in cases]
    records = stages_run.done(jobs) if options.done else stages_run.run_all(jobs, options.jobs, stages_report.line)
    outcomes = outcomes_of(records)
    facts = {name: facts_of(situation, work) for name, situation in SITUATIONS.items()}
    run = options.run_pilots or not options.done
    ways = {
        WITH_PILOT: Pilots(place, run),
        "ours with pilot wherever two stages have a chance": Pilots(place, run, 0.0),
    }
    asked, answers = list(questions()), list[dict[str, Any]]()
    for question in asked:
        situation, worth = question.situation, utilities(question, records)
        if len(worth) > 1:
            known = apart_from(outcomes, situation.model, situation.families)
            answers.append(answer(question, worth, facts[situation.name], records, known, ways))
    publish(work, stages_run.PUBLISHED)
    publish(place, regret_pilots.PUBLISHED)
    found = summary(answers) | {"asked": len(asked)}
    lines = page(found, answers, records)
    machine.write("regret", "Does the recommendation pick what pays?", {"summary": found, "questions": answers}, lines)
    print("\n".join(lines))
    missed = [
        name
        for name, ok in (
            ("regret", found["regret"]["ours"] <= MARKS["regret"]),
            ("agreement", found["agreement"]["ours"] >= MARKS["agreement"]),
            ("recipe ahead", found["recipe ahead"] <= MARKS["recipe ahead"]),
            ("coverage", found["coverage"] >= MARKS["coverage"]),
            ("role", found["role"] >= MARKS["role"]),
        )
        if not ok
    ]
    sys.exit(f"short of the mark: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
