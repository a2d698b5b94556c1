"""`diag analyze` end to end: tasks → engine → store → probes → diagnosis → plan → report, in one screen.

    analyze(config)  →  Analysis   (everything is in the run directory as well)

The same command continues what was interrupted; a larger --rollouts tops up; nothing is drawn twice.
"""

from __future__ import annotations

import datetime
import gc
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import yaml
from posttrain_probes import all_probes, boundary
from posttrain_reports import ReportData, candidate_ids, write_report

from posttrain_diag.analysis.allocate import MainArm
from posttrain_diag.analysis.follow_up import follow_up
from posttrain_diag.analysis.pilot import keepsake, pilot_notes, pilot_specs, stored_cap
from posttrain_diag.analysis.report_data import add_texts, transcripts
from posttrain_diag.analysis.token_texts import keep_vocabulary, stored_vocabulary, tokens_by_draw
from posttrain_diag.diagnose import diagnose, diagnosis_json
from posttrain_diag.diagnose.contract import measurement_json
from posttrain_diag.engines.contract import Engine, EngineInfo
from posttrain_diag.evidence import Evidence, Settings
from posttrain_diag.recommend import Facts, Resources, recommend
from posttrain_diag.recommend.duration import with_times
from posttrain_diag.rollouts.collect import Collector
from posttrain_diag.rollouts.other_models import check_others, with_others
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.sibling_runs import SiblingRun, read_siblings
from posttrain_diag.rollouts.stored import current_evidence
from posttrain_diag.rollouts.token_cap import DEFAULT, TokenCap, token_cap
from posttrain_diag.settings.analysis import AnalyzeConfig
from posttrain_diag.store import RunDir, write_atomic
from posttrain_diag.store.speed import keep_speed, stored_speed
from posttrain_diag.tasks import TaskSet, load_problems, load_tasks, reference_completions, write_tasks
from posttrain_diag.tasks.problems.split import FEWEST, divide
from posttrain_diag.types import Diagnosis, Measurement, Plan, ProbeFailure, ProblemClass


@dataclass(frozen=True)
class Analysis:
    """The outcome of one run: what was found, what is recommended, and where it is stored."""

    diagnosis: Diagnosis
    plan: Plan
    evidence: Evidence
    json: Mapping[str, Any]
    run: RunDir


def load_engine(config: AnalyzeConfig) -> Engine:
    """Open the engine that a configuration names, with its model."""
    from posttrain_diag.engines.open import open_engine
    from posttrain_diag.zoo import resolve_model

    if not config.model.startswith("zoo:"):
        return open_engine(config, config.model)
    if config.dtype is None:  # the zoo's true probabilities are those in float32, whatever its weights are stored in
        config = config.model_copy(update={"dtype": "float32"})
    return open_engine(config, str(resolve_model(config.model)))


def load_other(config: AnalyzeConfig, model: str) -> Engine:
    """Open another model with the engine settings of a configuration."""
    return load_engine(config.model_copy(update={"model": model}))


def analyze(config: AnalyzeConfig, progress: Progress | None = None, command: str = "") -> Analysis:
    """Measure, diagnose, prescribe and report.

    Args:
        config: what was asked for.
        progress: shown while running; silent by default.
        command: the command line, for the report.

    Raises:
        DiagError: bad tasks, model, settings or run directory; what was computed before stays in the run directory.
    """
    progress = progress or Progress()
    check_others(config.model, config.teacher, config.sibling)
    progress.phase("load", config.model)
    tasks = load_problems(config)
    siblings = siblings_of(config, tasks)
    has = resources_of(config, tasks)
    with closing(load_engine(config)) as engine, RunDir(config.out, create=True).locked() as run:
        for warning in engine.info.warnings:
            progress.warn(warning)
        base = begin(config, tasks, engine, run, progress, command)
        for notice in engine.info.notices:
            progress.note(notice)
        with settled_heap():
            evidence = gather(config, base, engine, run, progress)
        engine.close()  # its memory is free before another model or the statistics begin
        if config.teacher or siblings:
            load = partial(load_other, config)
            evidence = with_others(evidence, config.teacher, siblings, load, run, progress)
        return conclude(evidence, tasks, run, progress, command, has)


def begin(
    config: AnalyzeConfig, tasks: TaskSet, engine: Engine, run: RunDir, progress: Progress, command: str
) -> Evidence:
    """Bind the run directory to this model and sampling law, and return the evidence before the main arm's first draw.

    Args:
        config: what was asked for.
        tasks: the problems to be drawn.
        engine: the engine with the model.
        run: the run directory, locked.
        progress: told of the token cap and of the pilot draws behind it.
        command: the command line, for the event log.

    Raises:
        StoreError: the directory belongs to another model or sampling law.
    """
    cap = cap_of(config, tasks, engine, progress)
    sampling = config.sampling(cap.tokens)
    identity = {"model_sha": engine.info.model_sha, "sampling": sampling.identity()}
    named = {"model": config.model, "tasks": config.tasks, "tasks_sha": tasks.sha, "store": config.store}
    resumed = run.claim({**identity, **named, **keepsake(cap)})
    save_inputs(run, config, tasks, engine.info)
    if cap.said:
        progress.tell(cap.said)
        run.event("token_cap", said=cap.said)
    if cap.pilot is not None:
        with closing(run.store()) as store:
            store.add_many(cap.pilot.made)
    run.event("analyze", resumed=resumed, command=command, rollouts=config.rollouts_per_problem)
    return Evidence(
        problems={problem.id: problem for problem in tasks.problems},
        rollouts=pd.DataFrame(),
        scores=(),
        settings=Settings.of(config, sampling),
        model=replace(engine.info, model=config.model),
        references=references_of(tasks),
        notes=pilot_notes(run),
    )


@contextmanager
def settled_heap() -> Generator[None]:
    """While open, spare the garbage collector the objects that exist already.

    Rollouts make many objects, and every full pass over what was loaded before costs .2 s. Leave the context before the
    model is let go, because the model's memory must be collectable.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def conclude(
    evidence: Evidence, tasks: TaskSet, run: RunDir, progress: Progress, command: str, has: Resources
) -> Analysis:
    """Do everything that follows sampling: probes, diagnosis, plan, files and report. Needs no model.

    Args:
        evidence: everything that was measured.
        tasks: the problems with their provenance.
        run: the run directory that the files go into.
        progress: told about the phases.
        command: the command line, for the report.
        has: what there is to train with, for the plan.
    """
    progress.phase("diagnose", "probes, posteriors, verdict")
    measurements: list[Measurement] = []
    failures: list[ProbeFailure] = []
    for probe in all_probes():
        outcome = boundary(probe, evidence)
        if isinstance(outcome, Measurement):
            measurements.append(outcome)
        else:
            failures.append(outcome)
    diagnosis = diagnose(evidence, measurements, failures)
    found: list[ProblemClass] = diagnosis.per_problem["class"].tolist()
    progress.resolved(Counter(found))
    facts = Facts.of(diagnosis, evidence)
    plan = recommend(facts, has, str(run.path))
    data = diagnosis_json(diagnosis, plan, evidence, tasks=task_card(tasks))
    run.write_parquet("problems.parquet", diagnosis.per_problem)
    shown = report_data(diagnosis, data, measurements, evidence, run, command)
    made = {"command": command, "created": shown.created, "measurements": list(shown.measurements)}
    run.write_json("measurements.json", made)
    write_atomic(run.path / "plan.yaml", yaml.safe_dump(data["plan"], sort_keys=False, allow_unicode=True))
    run.write_json("facts.json", {**facts.json(), "resources": asdict(has)})
    run.write_json("diagnosis.json", data)
    progress.phase("report", "report.html")
    write_report(shown, run.path)
    run.event("diagnosis", bottleneck=diagnosis.bottleneck, confidence=diagnosis.confidence)
    return Analysis(diagnosis, plan, evidence, data, run)


def task_card(tasks: TaskSet) -> dict[str, Any]:
    """What diagnosis.json says of the tasks: their source, and how many problems each kind of verifier judges."""
    kinds = Counter(str(problem.verifier["type"]) for problem in tasks.problems if "type" in problem.verifier)
    return {"source": tasks.source, "sha": tasks.sha, "verifiers": dict(kinds.most_common())}


def siblings_of(config: AnalyzeConfig, tasks: TaskSet) -> dict[str, SiblingRun | None]:
    """The other checkpoints by name, with their run where they were analysed already.

    Raises:
        UsageError: a run was on other tasks or under another sampling law.
    """
    return dict.fromkeys(config.sibling) | read_siblings(config.sibling, tasks.problems, config.sampling(DEFAULT))


def resources_of(config: AnalyzeConfig, tasks: TaskSet) -> Resources:
    """What there is to train with, as far as this command tells: `diag train` on this run trains on these problems."""
    given = None
    if config.train_tasks is not None:
        apart = {"tasks": config.train_tasks, "demos": None, "limit": None}
        given = load_problems(config.model_copy(update=apart)).problems
    if given is None and len(tasks.problems) < FEWEST:
        problems = tasks.problems  # too few to train on; `diag train` says what to give
    else:
        problems = divide(tasks.problems, given, seed=config.seed).train
    if config.retain is not None:
        load_tasks(config.retain, allow_code=config.allow_code)  # a file that cannot be read is an error now
    others = {"teacher": bool(config.teacher), "siblings": bool(config.sibling)}
    return Resources.of_problems(problems, **others, retained=config.retain is not None)


def gather(config: AnalyzeConfig, base: Evidence, engine: Engine, run: RunDir, progress: Progress) -> Evidence:
    """Draw the main arm, ask the probes what else they need, then draw and score that.

    Args:
        config: what was asked for.
        base: the evidence before the first draw.
        engine: the engine with the model.
        run: the run directory that the draws are stored in.
        progress: told about the phases and the draws.

    Returns:
        The evidence with all draws and scores.
    """
    store = run.store()
    try:
        collector = Collector(engine, store, base.problems, base.settings.sampling)
        progress.phase("sample", f"main arm, {config.allocation}")
        owed = MainArm(collector, base, config.rollouts_per_problem, config.allocation).draw(progress)
        owed += collector.owed(pilot_specs(run, base.problems))  # those that are stored: no more are made
        found = follow_up(owed, collector, config.effort, lambda made: current_evidence(base, store, made), progress)
        found = replace(found, notes=(*engine.info.warnings, *base.notes, *found.notes))
        keep_vocabulary(run, engine, store, found.rollouts)
        told = () if base.model is None else base.model.notices
        if news := [notice for notice in engine.info.notices if notice not in told]:
            run.event("engine", notices=news)
            for notice in news:
                progress.note(notice)
        keep_speed(run, engine.info.engine, engine.info.device, collector.tokens, collector.time_s)
        return found
    finally:
        store.close()


def references_of(tasks: TaskSet) -> dict[str, tuple[str, ...]]:
    """Completions that a sound verifier passes, for the problems that have any."""
    return {p.id: references for p in tasks.problems if (references := reference_completions(p))}


def cap_of(config: AnalyzeConfig, tasks: TaskSet, engine: Engine, progress: Progress) -> TokenCap:
    """The token cap: what the user says, else what the run directory holds, else what `token_cap` settles."""
    if config.max_new_tokens is not None:
        return TokenCap(config.max_new_tokens)
    if (known := stored_cap(config.out)) is not None:
        return TokenCap(known)
    return token_cap(engine, tasks.problems, config.sampling(DEFAULT), progress)


def save_inputs(run: RunDir, config: AnalyzeConfig, tasks: TaskSet, info: EngineInfo) -> None:
    """Write config.yaml, the tasks and the model's card, from which a report can be rendered again.

    Args:
        run: the run directory.
        config: what was asked for.
        tasks: the problems with their provenance.
        info: what the engine says of itself and its model.
    """
    write_atomic(run.config_path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    write_tasks(tasks.problems, run.path / "tasks.jsonl")
    run.write_json("model.json", asdict(info))


def report_data(
    diagnosis: Diagnosis,
    data: Mapping[str, Any],
    measurements: list[Measurement],
    evidence: Evidence,
    run: RunDir,
    command: str,
) -> ReportData:
    """Collect what the report shows, as plain data.

    Args:
        diagnosis: the verdict with the per-problem table.
        data: the contents of diagnosis.json.
        measurements: what the probes found.
        evidence: everything that was measured, for texts and rollouts.
        run: the run directory, for the tokens of draws and the speed.
        command: the command line.
    """
    problems = diagnosis.per_problem.copy()
    add_texts(problems, evidence.problems)
    rollouts = evidence.rollouts[evidence.rollouts["problem_id"].isin(candidate_ids(problems))]
    tokens = None
    if evidence.model is not None and run.rollouts_path.exists():
        with closing(run.store()) as store:
            tokens = tokens_by_draw(store, evidence.model.model_sha, rollouts)
    return ReportData(
        diagnosis={**data, "plan": with_times(data["plan"], stored_speed(run))},
        problems=problems,
        measurements=[measurement_json(m) for m in measurements],
        failures=data["failures"],
        transcripts=transcripts(rollouts, tokens),
        command=command,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        rollouts=evidence.drawn,
        store=run.rollouts_path.name,
        vocabulary=stored_vocabulary(run),
    )
