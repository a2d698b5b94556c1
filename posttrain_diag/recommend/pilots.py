"""Pilots: short real runs of the most promising stages, by successive halving, that sharpen their forecasts.

    forecasts ──► candidates ──► short runs on training problems ──► forecasts given what they reached ──► plan

A pilot is trained on a subset of the training problems and measured on others of them, never on the held-out ones. Half
of the candidates, the better half, go on to runs three times as long (Jamieson & Talwalkar 2016, arXiv:1502.07943).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posttrain_diag.errors import UsageError
from posttrain_diag.recommend.forecast import DRAWS, Forecast, chances
from posttrain_diag.recommend.rules import ALIKE, WORTH_IT
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.stages import (
    Measured,
    StageConfig,
    StageInputs,
    StageResult,
    planned_steps,
    read_measured,
    tokens_so_far,
    train_stage,
)
from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.store import Store
from posttrain_diag.tasks.problems.split import some
from posttrain_diag.wording.estimates import share_text
from posttrain_diag.wording.numbers import percent

CANDIDATES = 4
"""Most stages that are tried."""
SERIOUS = 0.05
"""Only stages whose chance to be the best reaches this are tried."""
RUNGS = (0.12, 0.36)
"""Length of the runs of each rung, as a share of the whole stage's steps."""
TRAINED, MEASURED, ROLLOUTS = 256, 48, 16
"""Problems a pilot trains on, problems it is measured on, and draws of each of the latter."""
LATE = 0.2
"""Chance that a stage has won less of its gain than it has done of its steps: what is new is learned late, and at once.
By the looks of 197 whole runs on the zoo 17% had at 12% of the steps, 9% at 36%."""
NOISE = 0.03
"""Standard deviation of what a pilot reaches, beside the noise of sampling."""


@dataclass(frozen=True)
class PilotRun:
    """What one short run of a stage reached."""

    stage: str
    rung: int
    steps: int
    before: float
    after: float
    retention_change: float | None
    tokens: int
    """All its tokens: generated, trained on, and drawn for watching and measuring."""
    refused: str = ""
    """Why it could not run; then nothing was reached. Empty where it ran."""


@dataclass(frozen=True)
class Piloted:
    """What the pilots changed, and why they were made."""

    forecasts: Mapping[str, Forecast]
    runs: tuple[PilotRun, ...]
    reason: str
    """Why these stages were tried, or why none was."""
    last: tuple[str, ...] = ()
    """The stages of the longest runs, between which the choice is made. That less is known against stages that were
    dropped earlier is no reason to prefer those."""

    @property
    def tokens(self) -> int:
        """The tokens of all pilots together."""
        return sum(run.tokens for run in self.runs)


Attempt = Callable[[str, int], PilotRun]
"""Makes the short run of a stage on a rung, called with (stage, rung)."""


def run_pilots(
    forecasts: Mapping[str, Forecast],
    ready: Sequence[str],
    attempt: Attempt,
    *,
    least: float = WORTH_IT,
    say: Callable[[str], None] = lambda _: None,
) -> Piloted:
    """Try the stages between which the forecasts do not decide, where that matters.

    Args:
        forecasts: the forecasts of all stages.
        ready: the stages that can run.
        attempt: makes one run, e.g. `attempts`.
        least: nothing is tried where knowing what each stage does would be worth no more than this (`worth_knowing`).
        say: told a line per run.

    References:
        Jamieson & Talwalkar 2016, arXiv:1502.07943 (successive halving).
    """
    able = {name: forecasts[name] for name in ready}
    chance = chances(able, ALIKE)
    serious = [n for n, f in able.items() if f.utility > WORTH_IT and chance[n] >= SERIOUS]
    serious = sorted(serious, key=lambda name: -forecasts[name].utility)[:CANDIDATES]
    if len(serious) < 2:
        only = f"only {serious[0]}" if serious else "no stage"
        return Piloted(forecasts, (), f"nothing to try: {only} has a chance of {SERIOUS:.0%} or more to be the best")
    if (worth := worth_knowing(able)) <= least:
        text = (
            f"nothing to try: to know which stage is best would be worth {worth:.3f} of utility, no more than {least:g}"
        )
        return Piloted(forecasts, (), text)
    reason = "tried by chance to be the best: " + ", ".join(f"{name} {chance[name]:.0%}" for name in serious)
    say(reason)
    found, runs, last = dict(forecasts), list[PilotRun](), tuple[str, ...]()
    for rung, share in enumerate(RUNGS):
        last = tuple(serious)
        for name in serious:
            run = attempt(name, rung)
            runs.append(run)
            found[name] = updated(forecasts[name], run, share)  # two points of one curve are no two pieces of evidence
            say(
                f"pilot of {name}: {run.refused}"
                if run.refused
                else f"pilot of {name}, {run.steps} steps: pass@1 {percent(run.before)} → {percent(run.after)}; now "
                f"expected after the stage {share_text(found[name].after)}"
            )
        serious = sorted(serious, key=lambda name: -found[name].utility)[: math.ceil(len(serious) / 2)]
        if len(serious) < 2:
            break
    return Piloted(found, tuple(runs), reason, last)


def worth_knowing(forecasts: Mapping[str, Forecast]) -> float:
    """Utility expected to be lost by choosing on the forecasts, against knowing what each stage does.

    Pilots tell less than that, so they can win no more: this is the expected value of perfect information.

    References:
        Raiffa & Schlaifer 1961, Applied Statistical Decision Theory, ch. 4.
    """
    utility_SD = np.stack([f.utility_D for f in forecasts.values()])
    known = np.maximum(utility_SD.max(axis=0), 0.0).mean()  # doing nothing is worth 0
    return float(known - max(0.0, utility_SD.mean(axis=1).max()))


def attempts(
    inputs: StageInputs,
    config_of: Callable[[str], StageConfig],
    folder: Path,
    *,
    store: Callable[[], Store] | None = None,
    progress: Progress | None = None,
) -> Attempt:
    """What makes the pilots of a checkpoint in a folder; a rerun goes on where it stopped.

    All are measured on the same problems, so what the first one measured before training holds for the others.

    Args:
        inputs: what each stage gets.
        config_of: the settings of a stage; `max_new_tokens` is set.
        folder: where the runs go; each is a stage's folder.
        store: opens the store whose draws of the model all may use, as in `train_stage`.
        progress: shown while rollouts are drawn.
    """

    def attempt(stage: str, rung: int) -> PilotRun:
        known = sorted(folder.glob("*/before.json"))
        before = read_measured(json.loads(known[0].read_text(encoding="utf-8"))) if known else None
        config = config_of(stage)
        within = "" if config.budget_tokens is None else f"-{config.budget_tokens}"
        own = folder / f"{rung}-{stage}{within}"
        return run_pilot(stage, rung, inputs, config, own, store=store, before=before, progress=progress)

    return attempt


def run_pilot(
    stage: str,
    rung: int,
    inputs: StageInputs,
    config: StageConfig,
    folder: Path,
    *,
    store: Callable[[], Store] | None = None,
    before: Measured | None = None,
    progress: Progress | None = None,
) -> PilotRun:
    """Train for a while, then measure on problems that are not trained on.

    Args:
        stage: name of the stage.
        rung: index into RUNGS.
        inputs: what the whole stage gets.
        config: settings of the whole stage.
        folder: folder of this run, as of any stage.
        store: opens the store whose draws of the model may be used, as in `train_stage`.
        before: the model as another pilot of these inputs measured it; None: measure it.
        progress: shown while rollouts are drawn.

    Raises:
        StoreError: the folder holds a pilot of other inputs or settings.
    """
    measured = some(inputs.train, min(MEASURED, len(inputs.train) // 4), seed=config.seed + 1)
    kept = {problem.id for problem in measured}
    rest = tuple(problem for problem in inputs.train if problem.id not in kept)
    steps = max(5, round(RUNGS[rung] * planned_steps(stage, inputs, config)))
    short = config.model_copy(
        update={
            "steps": steps,
            "warmup_steps": min(config.warmup_steps, steps // 4),
            "watch_every": max(1, steps // 2),
            "eval_problems": MEASURED,
            "eval_rollouts": ROLLOUTS,
            "rounds": 1,
        }
    )
    small = replace(
        inputs, train=some(rest, TRAINED, seed=config.seed) if _draws_first(stage) else rest, held_out=measured
    )
    try:
        result = train_stage(stage, small, short, folder, store=store, before=before, progress=progress)
    except UsageError as error:
        return PilotRun(stage, rung, 0, 0.0, 0.0, None, sum(tokens_so_far(folder).values()), str(error))
    return PilotRun(
        stage,
        rung,
        result.steps,
        _pass_1(result.before),
        _pass_1(result.after),
        _retention_change(result),
        result.tokens,
    )


def _draws_first(stage: str) -> bool:
    """Whether the cost of a stage grows with the problems it draws from before it begins."""
    record = stage_record(stage)
    return record.learns_from == "own passes" and "pairs" not in record.needs


def _pass_1(measured: Measured) -> float:
    value = measured.estimates["pass@1"].value
    return 0.0 if value is None else float(value)


def _retention_change(result: StageResult) -> float | None:
    before, after = result.before.retention, result.after.retention
    if before is None or after is None or before.value is None or after.value is None:
        return None
    return after.value - before.value


def updated(found: Forecast, run: PilotRun, share: float, *, seed: int = 0) -> Forecast:
    """A forecast given what a pilot reached: its draws are weighed by how well they foretell it, and drawn again.

    A stage that wins g in the end has won g x u after a share of its steps, u uniform from that share to 1, or, of a
    late one, from 0 to that share. What it did to other tasks by then is taken as a draw of what it does to them.

    Args:
        found: the forecast before the pilot.
        run: what the pilot reached.
        share: the share of the whole stage's steps that the pilot made.
        seed: seeds the draws.
    """
    if run.refused:
        return replace(found, after_D=np.full(DRAWS, found.before), kept_D=np.zeros(DRAWS))
    rng = np.random.default_rng(seed + run.rung)
    won = run.after - run.before
    gain_D = found.after_D - found.before
    part_D = np.where(rng.random(DRAWS) < LATE, rng.uniform(0, share, DRAWS), rng.uniform(share, 1, DRAWS))
    error = math.sqrt(NOISE**2 + 0.25 / MEASURED)
    log_D = -0.5 * ((won - gain_D * part_D) / error) ** 2
    if run.retention_change is not None:
        log_D += -0.5 * ((run.retention_change - found.kept_D) / 0.1) ** 2
    weight_D = np.exp(log_D - log_D.max())
    index_D = rng.choice(DRAWS, DRAWS, p=weight_D / weight_D.sum())
    return replace(found, after_D=found.after_D[index_D], kept_D=found.kept_D[index_D])
