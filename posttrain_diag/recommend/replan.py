"""`diag recommend`: the plan of a run again, with other resources or after pilots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import yaml

from posttrain_diag.diagnose.contract import free_json, plan_json
from posttrain_diag.errors import UsageError, did_you_mean
from posttrain_diag.recommend.facts import Facts, Resources
from posttrain_diag.recommend.form_first import without_passes
from posttrain_diag.recommend.pilots import RUNGS, Piloted, attempts, run_pilots
from posttrain_diag.recommend.rules import OPTIONS, forecast_all, lacking, no_stage, plan_from, recommend
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.settings.stage import StageConfig, make_stage_config, said_settings
from posttrain_diag.stages.catalogue import STAGES, stage_record
from posttrain_diag.stages.inputs import StageInputs
from posttrain_diag.stages.prepare import TrainRequest, prepare
from posttrain_diag.stages.record import COMMON
from posttrain_diag.store import RunDir, write_atomic
from posttrain_diag.types import Plan


def replan(
    path: Path,
    changes: Mapping[str, Any],
    *,
    pilot: bool = False,
    request: TrainRequest | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Recommend again from what a run has stored; loads no model unless there are pilots.

    Args:
        path: the run directory.
        changes: changes to the run's resources, by field name of `Resources`.
        pilot: try the best stages in short runs; then the new plan becomes the run's.
        request: how stages would be trained; None: as `diag train RUN` would, each pilot within the longest one's
            share of the budget.
        progress: shown while pilots draw.
        say: told a line per pilot.

    Returns:
        {"schema", "resources", "plan", "before_training", "not_proposed", "pilots"}: the plan as in diagnosis.json.

    Raises:
        UsageError: unknown resources, or a run that an older version made.
    """
    run = RunDir(path)
    if not (path / "facts.json").exists():
        raise UsageError(f"{path}: holds no facts.json; make the diagnosis again: the same `diag analyze` goes on")
    data = run.read_json("facts.json")
    facts, has = Facts.read(data), _changed(Resources(**data["resources"]), changes)
    if not pilot or no_stage(facts, has):
        return _json(recommend(facts, has, str(path)), has, None)
    with run.locked():
        plan, piloted = piloted_plan(path, facts, has, request or _request(path, has), progress, say)
        found, diagnosis = _json(plan, has, piloted), run.read_json("diagnosis.json")
        run.write_json("diagnosis.json", {**diagnosis, **{k: found[k] for k in ("plan", "not_proposed", "pilots")}})
        write_atomic(path / "plan.yaml", yaml.safe_dump(found["plan"], sort_keys=False, allow_unicode=True))
        run.event("pilot", reason=piloted.reason, tokens=piloted.tokens, first=found["plan"][:1])
        return found


def _request(path: Path, has: Resources) -> TrainRequest:
    most = None if has.budget_tokens is None else max(1, round(RUNGS[-1] * has.budget_tokens))
    return TrainRequest(run=path, settings={} if most is None else {"budget_tokens": most})


def _json(plan: Plan, has: Resources, piloted: Piloted | None) -> dict[str, Any]:
    runs = [] if piloted is None else [asdict(one) for one in piloted.runs]
    return {
        "schema": 1,
        "resources": asdict(has),
        "plan": plan_json(plan),
        "before_training": free_json(plan),
        "not_proposed": dict(plan.rejected),
        "pilots": None if piloted is None else {"reason": piloted.reason, "runs": runs, "tokens": piloted.tokens},
    }


def piloted_plan(
    path: Path,
    facts: Facts,
    has: Resources,
    request: TrainRequest,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Plan, Piloted]:
    """The plan after short runs of the stages between which the forecasts do not decide.

    Args:
        path: the run directory; the pilots go into a folder of it.
        facts: the diagnosis in numbers.
        has: what there is to train with.
        request: how stages would be trained.
        progress: shown while pilots draw.
        say: told a line per pilot.

    Returns:
        The plan, and what the pilots changed.
    """
    forecasts = forecast_all(facts, has)
    ready = [name for name in forecasts if name in STAGES and name not in OPTIONS and not lacking(name, has)]
    ready = [name for name in ready if not without_passes(name, facts)]
    inputs, config_of = inputs_and_configs(path, request)
    able = [name for name in ready if not inputs.missing(name)]
    attempt = attempts(inputs, config_of, path / "pilots", store=RunDir(path).store, progress=progress)
    piloted = run_pilots(forecasts, able, attempt, say=say)
    return plan_from(piloted.forecasts, facts, has, str(path), piloted.last), piloted


def inputs_and_configs(path: Path, request: TrainRequest) -> tuple[StageInputs, Callable[[str], StageConfig]]:
    """The inputs of all stages, and a function that gives the settings of each: those in the request that it reads."""
    said = said_settings(request.config_file, request.settings)
    common = {name: said[name] for name in COMMON if name in said}
    # the inputs, and what a run gives as defaults, are those of any stage
    prepared = prepare(replace(request, stage="grpo", out=path / "unused", config_file=None, settings=common))
    known = prepared.config.model_dump(include=set(COMMON))
    return prepared.inputs, lambda stage: make_stage_config(**{**known, **stage_record(stage).read_of(said)})


def _changed(has: Resources, changes: Mapping[str, Any]) -> Resources:
    known = {f.name: f for f in fields(Resources)}
    for name, value in changes.items():
        if name not in known:
            raise UsageError(
                f"--set {name}: there is no such resource{did_you_mean(name, known)}; there are {', '.join(known)}"
            )
        if isinstance(getattr(has, name), bool):
            right, kind = isinstance(value, bool), "yes or no"
        else:
            right, kind = type(value) is int and value >= 0, "a number of at least 0"
        if not right:
            raise UsageError(f"--set {name}={value}: expected {kind}")
    return Resources(**{**asdict(has), **changes})
