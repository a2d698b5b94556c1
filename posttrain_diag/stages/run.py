"""Runs one stage from inputs to checkpoint and result: measure, train, watch, keep the best, measure again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from posttrain_diag.errors import StoreError, UsageError
from posttrain_diag.rollouts.judge import Judge
from posttrain_diag.rollouts.live import counts_of, sample_judged, truncated_share
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.token_cap import token_cap
from posttrain_diag.settings.stage import StageConfig, present_names
from posttrain_diag.stages.catalogue import STAGES, default_steps, learning_rate, stage_record
from posttrain_diag.stages.inputs import StageInputs
from posttrain_diag.stages.policy.policy import Policy, load_policy
from posttrain_diag.stages.policy.sharding import check_launch
from posttrain_diag.stages.session.session import Session, replay_share
from posttrain_diag.stages.trainers.memory import settle_micro_batch
from posttrain_diag.stages.trainers.trl import processes_of, require_trl, require_vllm
from posttrain_diag.stats import pass_at_k
from posttrain_diag.store import Store, write_atomic
from posttrain_diag.tasks.problems.split import some
from posttrain_diag.types import Estimate, Problem, Rollout, SamplingParams
from posttrain_diag.wording.estimates import share_text
from posttrain_diag.wording.numbers import plain

RETENTION_ROLLOUTS = 8


@dataclass(frozen=True)
class Measured:
    """What a policy reached on the held-out problems and on the retained ones."""

    estimates: dict[str, Estimate]
    """pass@1, pass@4, ... up to the draws per problem, by name."""
    retention: Estimate | None
    """Mean pass rate on the retained problems that were not replayed; None where none were given."""
    truncated: float
    counts: dict[str, tuple[int, int]]
    """Passes and judged draws of each held-out problem, by its id."""
    retained_counts: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Passes and judged draws of each retained problem, by its id."""
    tokens: int = 0
    """Tokens generated for measuring; 0 where the measurement was taken over from another stage."""


@dataclass(frozen=True)
class StageResult:
    """What a stage did, measured on held-out problems alone."""

    stage: str
    checkpoint: str
    """Directory of the model that the stage made."""
    before: Measured
    after: Measured
    steps: int
    best_step: int
    """Step of the weights in `checkpoint`: the best look on the probe problems."""
    stopped: str | None
    """Why the stage ended before its steps were done; empty where it did not."""
    collapse: bool
    """Whether pass@k had fallen at the end while pass@1 had risen, both beyond chance."""
    generated_tokens: int
    trained_tokens: int
    watched_tokens: int
    rollouts: int
    cpu_s: float
    wall_s: float
    """Seconds that this process took; a resumed run counts its last part alone."""
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    """A stage's own numbers, e.g. the problems that own draws solved."""

    @property
    def tokens(self) -> int:
        """All tokens of the stage: generated, trained, and drawn for watching and measuring."""
        measured = self.before.tokens + self.after.tokens
        return self.generated_tokens + self.trained_tokens + self.watched_tokens + measured


def check_stage(stage: str, inputs: StageInputs, config: StageConfig) -> None:
    """Refuse a stage that lacks what it needs, before anything is loaded.

    Raises:
        UsageError: something is missing; the message says what, and which stages are possible.
    """
    record = stage_record(stage)
    missing = inputs.missing(stage)
    if config.replay and not inputs.retain:
        missing = (*missing, "tasks to retain, for the replay that was asked for (--retain FILE)")
    if missing:
        possible = [name for name in STAGES if not inputs.missing(name)]
        raise UsageError(f"{stage} needs {' and '.join(missing)}; possible with what is there: {', '.join(possible)}")
    if record.samples and config.use_vllm:
        require_vllm()
    if config.lora_rank and not record.trains:
        raise UsageError(f"{stage} combines whole weights and trains no adapter: leave lora_rank at 0")
    if not inputs.train:
        raise UsageError(f"{stage}: there are no training problems")
    ids = [problem.id for problem in (*inputs.train, *inputs.watched, *inputs.held_out)]
    if len(set(ids)) < len(ids):
        twice = next(key for key in ids if ids.count(key) > 1)
        raise UsageError(f"problem {twice!r} is in two of the training, probe and held-out sets: give it once")


def train_stage(
    stage: str,
    inputs: StageInputs,
    config: StageConfig,
    out: Path,
    *,
    store: Callable[[], Store] | None = None,
    before: Measured | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> StageResult:
    """Run a stage; the same call goes on where a killed one stopped.

    Args:
        stage: name in `STAGES`.
        inputs: model, problems and other models.
        config: the stage's settings.
        out: folder of the stage: `checkpoint/` (a normal Hugging Face directory), `result.json`, and `metrics.jsonl`
            under `watch/`.
        store: opens the rollout store whose draws of the same model may be used and topped up; None: one in `out`.
        before: the same model measured on the same problems under the same settings, as another stage did: draws are
            seeded, so measuring it again would give these numbers; None: measure it.
        progress: shown while rollouts are drawn.
        say: told a line now and then: what was measured, what the watcher sees.

    Raises:
        DiagError: something is missing or cannot be used; the message says what to do.
    """
    require_trl()
    check_stage(stage, inputs, config)
    check_launch(config)
    record = stage_record(stage)
    if os.environ.get("RANK", "0") == "0":  # the others come to their first barrier only after this one
        _claim(out, stage, inputs, config)
    if (out / "result.json").exists():
        return read_result(out)
    started, cpu = time.perf_counter(), time.process_time()
    policy = load_policy(inputs.model, config)
    cap = settled_cap(config, policy, inputs, out, progress or Progress())
    params = sampling_of(config, cap)
    rate = config.learning_rate or learning_rate(record, policy.n_parameters, lora=policy.lora)
    session = Session(
        inputs,
        config,
        policy,
        params,
        out,
        steps=planned_steps(stage, inputs, config),
        learning_rate=rate,
        default_replay=record.replay,
        store=store,
        progress=progress,
        say=say,
    )
    for warning in policy.engine.info.warnings:
        session.say(f"warning: {warning}")
    for notice in policy.engine.info.notices:
        session.say(f"note: {notice}")
    taken_over = None if before is None else replace(before, tokens=0)

    def measured_before() -> Measured:
        found = taken_over or measure(policy, inputs, config, params)
        return replace(found, tokens=found.tokens + cap.drawn)

    measured = _once(out / "before.json", measured_before, session)
    session.say(f"{stage}: before {_text(measured)}; {session.steps} steps at learning rate {plain(rate)}")
    session.config = settle_micro_batch(stage, session)
    if session.is_main:
        session.watcher.begin()
    session.processes.wait_for_everyone()
    record.runner()(session)
    return _finish(stage, session, measured, out, started, cpu)


def planned_steps(stage: str, inputs: StageInputs, config: StageConfig) -> int:
    """Optimizer steps of a stage if nothing stops it early."""
    record = stage_record(stage)
    by_demos = "demos" in record.needs
    learned_from = sum(bool(problem.demos) or not by_demos for problem in inputs.train)
    replay = replay_share(config, inputs, record.replay)
    return config.steps or default_steps(record, learned_from, config.batch_size, replay)


def _finish(stage: str, session: Session, before: Measured, out: Path, started: float, cpu: float) -> StageResult:
    """Save the best weights as a model, measure them, write the result."""
    session.processes.wait_for_everyone()
    session.watcher.reload()
    policy, watched = session.policy, session.watcher.seen
    last = watched.looks[-1]
    if session.inputs.watched and watched.best_step != session.state.steps:
        policy.load_weights(out / "watch" / "best")
    checkpoint = out / "checkpoint"
    if session.is_main:
        policy.save(checkpoint)
        if policy.lora:
            policy.save_adapter(out / "adapter")
    session.processes.wait_for_everyone()
    after = _once(out / "after.json", lambda: measure(policy, session.inputs, session.config, session.params), session)
    result = StageResult(
        stage=stage,
        checkpoint=str(checkpoint),
        before=before,
        after=after,
        steps=session.state.steps,
        best_step=watched.best_step if session.inputs.watched else session.state.steps,
        stopped=session.state.stopped,
        collapse=last.collapse,
        generated_tokens=session.state.generated_tokens,
        trained_tokens=session.state.trained_tokens,
        watched_tokens=watched.tokens,
        rollouts=session.state.rollouts,
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - started,
        details=session.state.extra,
    )
    if session.is_main:
        write_atomic(out / "result.json", json.dumps({"schema": 1, **asdict(result)}, indent=1) + "\n")
    return result


def measure(policy: Policy, inputs: StageInputs, config: StageConfig, params: SamplingParams) -> Measured:
    """Measure pass@k on held-out problems, and the pass rate on retained ones.

    Args:
        policy: the model with its weights as they are now.
        inputs: which problems are held out and which are retained.
        config: how many problems and draws per problem.
        params: the sampling law.
    """
    policy.sync()
    problems = some(inputs.held_out, config.eval_problems, seed=config.seed)
    judge = Judge([*problems, *inputs.retained])

    def draw(tasks: tuple[Problem, ...], n: int, name: str) -> dict[str, list[Rollout]]:
        return sample_judged(policy.engine, judge, tasks, n, params, seed_text=name)

    held = draw(problems, config.eval_rollouts, "measure")
    ks = [k for k in (1, 4, 16, 64, 256) if k <= config.eval_rollouts]
    kept = draw(inputs.retained, RETENTION_ROLLOUTS, "retained") if inputs.retained else {}
    return Measured(
        {f"pass@{k}": pass_at_k(counts_of(held), k) for k in ks},
        pass_at_k(counts_of(kept), 1) if kept else None,
        truncated_share(held),
        _passes(held),
        _passes(kept),
        sum(len(d.token_ids) for drawn in (held, kept) for own in drawn.values() for d in own),
    )


def _passes(drawn: Mapping[str, Sequence[Rollout]]) -> dict[str, tuple[int, int]]:
    """Passes and judged draws by problem."""
    return {key: (sum(d.passed for d in own), sum(d.verdict != "error" for d in own)) for key, own in drawn.items()}


@dataclass(frozen=True)
class SettledCap:
    """The token cap of a stage, kept in its folder: a restart takes the same."""

    tokens: int
    said: str = ""
    drawn: int = 0
    """Tokens of the pilot draws behind it; they are on the bill of the first measurement."""


def sampling_of(config: StageConfig, cap: SettledCap) -> SamplingParams:
    """The sampling law of a stage's own draws."""
    return SamplingParams(config.temperature, max_new_tokens=cap.tokens, seed=config.seed, stop=config.stop)


def settled_cap(config: StageConfig, policy: Policy, inputs: StageInputs, out: Path, progress: Progress) -> SettledCap:
    """The token cap of the stage: what is set for it, else what an analysis would take; one process settles it for all.

    Args:
        config: a stage of a run has the cap of the run's analysis in it.
        policy: as it starts.
        inputs: whose problems and prompts decide.
        out: folder of the stage.
        progress: told of pilot draws.
    """
    if config.max_new_tokens is not None:
        return SettledCap(config.max_new_tokens)
    path, processes = out / "token_cap.json", processes_of(policy.device)
    if processes.is_main_process and not path.exists():
        law = SamplingParams(config.temperature, seed=config.seed, stop=config.stop)
        problems = (*inputs.train, *inputs.held_out)
        prompted = (*problems, *inputs.watched, *inputs.retain)
        found = token_cap(policy.engine, problems, law, progress, prompted=prompted)
        drawn = 0 if found.pilot is None else found.pilot.tokens
        write_atomic(path, json.dumps(asdict(SettledCap(found.tokens, found.said, drawn))) + "\n")
        progress.tell(found.said)
    processes.wait_for_everyone()
    return SettledCap(**json.loads(path.read_text(encoding="utf-8")))


def _text(measured: Measured) -> str:
    """The measured figures in one line of text."""
    found = dict(measured.estimates)
    if measured.retention is not None:
        found["retention"] = measured.retention
    return ", ".join(f"{name} {share_text(e)}" for name, e in found.items() if e.value is not None)


def _once(path: Path, make: Callable[[], Measured], session: Session) -> Measured:
    """A measurement that the main process makes once and that every restart reads back."""
    if session.is_main and not path.exists():
        write_atomic(path, json.dumps(asdict(make())))
    session.processes.wait_for_everyone()
    return read_measured(json.loads(path.read_text()))


def read_measured(data: dict[str, Any]) -> Measured:
    """Read a measurement from the contents of before.json or after.json in the folder of a stage."""
    estimates = {name: Estimate(**value) for name, value in data.pop("estimates").items()}
    kept = data.pop("retention")
    counts = {
        name: {key: (passed, judged) for key, (passed, judged) in data.pop(name, {}).items()}
        for name in ("counts", "retained_counts")
    }
    return Measured(estimates, None if kept is None else Estimate(**kept), **counts, **data)


def read_result(out: Path) -> StageResult:
    """Read the result from the folder of a finished stage."""
    data: dict[str, Any] = json.loads((out / "result.json").read_text())
    before, after = read_measured(data.pop("before")), read_measured(data.pop("after"))
    data.pop("schema")
    return StageResult(before=before, after=after, **data)


def tokens_so_far(out: Path) -> dict[str, int]:
    """What a stage that did not end has on its bill: generated, watched and measured tokens.

    How much it trained on is known only for a stage that ended.
    """

    def count(pattern: str, key: str) -> int:
        return max((int(json.loads(path.read_text())[key]) for path in out.glob(pattern)), default=0)

    return {
        "generated": count("*.bill.json", "generated_tokens"),  # each holds what was drawn until then
        "watched": count("watch/watch.json", "tokens"),
        "measured": count("before.json", "tokens"),
    }


def _claim(out: Path, stage: str, inputs: StageInputs, config: StageConfig) -> None:
    """Bind the folder to this stage, model and settings.

    Raises:
        StoreError: the folder holds another stage's work.
    """
    from posttrain_diag.tasks.problems.taskset import tasks_sha

    identity = {
        "stage": stage,
        "model": inputs.model,
        "train": tasks_sha(inputs.train),
        "held_out": tasks_sha(inputs.held_out),
        "retain": tasks_sha(inputs.retain),
        "teachers": list(inputs.teachers),
        "siblings": list(inputs.siblings),
        "config": config.model_dump(mode="json"),
    }
    path = out / "stage.json"
    if path.exists():
        known = json.loads(path.read_text())
        # a setting that came later is at its default in a folder that does not know it
        known["config"] = {**StageConfig().model_dump(mode="json"), **present_names(known.get("config") or {})}
        changed = [key for key in identity if known.get(key) != identity[key]]
        if changed:
            raise StoreError(
                f"{out}: holds a stage with another {' and '.join(changed)}; choose another --out (nothing was changed)"
            )
    else:
        if out.is_dir() and any(out.iterdir()):
            raise StoreError(f"{out}: not empty and not a stage's folder; choose another --out")
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(identity, indent=1) + "\n")
    # what may measure the stage and what may not: `diag compare` leaves the trained and watched problems out
    split = {name: [problem.id for problem in getattr(inputs, name)] for name in ("train", "watched", "held_out")}
    write_atomic(out / "problems.json", json.dumps(split, indent=1) + "\n")
