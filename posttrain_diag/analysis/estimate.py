"""What `diag analyze` would cost (`--dry-run`): draws made for it tell how long one is and how fast it is made."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from posttrain_diag.analysis import analyze as analysis
from posttrain_diag.analysis.budget import CHECK_SHARE, PROBE_SHARE
from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import MAIN, DrawSpec, Settings
from posttrain_diag.rollouts.collect import Collector
from posttrain_diag.rollouts.other_models import check_others
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.stored import spans_of
from posttrain_diag.rollouts.token_cap import Pilot, pilot_draws
from posttrain_diag.settings.analysis import AnalyzeConfig
from posttrain_diag.store import RunDir
from posttrain_diag.store.speed import stored_speed
from posttrain_diag.tasks import load_problems
from posttrain_diag.tasks.problems.traces import trace_tokens
from posttrain_diag.types import Problem, SamplingParams

TIMED_DRAWS = 64
"""Made now to tell the length and the speed of a draw."""
FASTER_AT_ONCE = 1.25
"""Speed of many rows at once against that of `TIMED_DRAWS`, in the middle case of benchmarks/real on two cores."""
SPENT_BY_CHECKS, SPENT_BY_PROBES = 0.15, 0.4
"""What probes draw in the middle case of benchmarks/real, as a multiple of the main arm's tokens: the checks of the
instrument where no demonstration shows a trace, and all probes where some does."""


@dataclass(frozen=True)
class CostEstimate:
    """What a run would cost, as far as it can be told before it."""

    problems: int
    rollouts: int
    """Of the main arm; sampling stops before where the verdict is settled."""
    stored: int
    """Of these, drawn already."""
    max_new_tokens: int
    said: str
    """What decided that cap; empty where the user or an earlier run said it."""
    pilot_rollouts: int
    """Made to tell this, those for the cap among them, and kept nowhere."""
    most_tokens: int
    """Of the missing draws if every one ran to the cap."""
    tokens: int
    """Of the missing draws at the mean length of the draws made now, or of those that are stored."""
    time_s: float | None
    """Of these tokens and `probe_tokens` at the speed of the draws made now, or of the run so far; None: neither told
    one."""
    flops: float
    """Of these tokens and `probe_tokens`."""
    probe_tokens: int
    """Of the draws that probes are expected to ask for beyond the main arm."""
    most_probe_tokens: int
    """Their budget, by effort; only that of the checks of the instrument where no demonstration shows a trace, because
    the other probes then ask for hardly any."""
    probe_share: float
    """The same as a multiple of the main arm's tokens."""
    teacher_rollouts: int
    """At most: other models are asked only what the policy may not have mastered, and a sibling's run nothing."""
    teacher_tokens: int
    """Of these rollouts at the mean length of the policy's."""


@dataclass(frozen=True)
class Stored:
    """The draws of the main arm that a run directory holds."""

    rollouts: int
    tokens: int
    """Generated for all stored draws of these prompts."""
    drawn: int
    """How many those are."""
    speed: float | None
    """Tokens per second that the run has drawn."""


def estimate_cost(config: AnalyzeConfig, progress: Progress | None = None) -> CostEstimate:
    """What a run would draw and cost; loads the model and makes a few draws, writes nothing.

    Args:
        config: what was asked for.
        progress: told of these draws.
    """
    progress = progress or Progress()
    check_others(config.model, config.teacher, config.sibling)
    tasks = load_problems(config)
    drawn_from = len(config.teacher) + sum(known is None for known in analysis.siblings_of(config, tasks).values())
    with closing(analysis.load_engine(config)) as engine:
        cap = analysis.cap_of(config, tasks, engine, progress)
        sampling = config.sampling(cap.tokens)
        problems = {problem.id: problem for problem in tasks.problems}
        n = config.rollouts_per_problem
        stored = stored_draws(config, engine, problems, sampling)
        traced = any(shows_trace(problem, engine) for problem in tasks.problems)
        timed: Pilot | None = None
        if not stored.drawn:
            draws = min(TIMED_DRAWS, n * len(problems))
            what = "draws that tell length and speed"
            timed = pilot_draws(engine, tasks.problems, sampling, (cap.tokens,), progress, draws=draws, what=what)
    if timed is None:
        mean, speed = stored.tokens / stored.drawn, stored.speed
    else:
        mean, speed = timed.mean_length(cap.tokens), timed.tokens / timed.time_s
        speed *= FASTER_AT_ONCE if n * len(problems) >= 4 * TIMED_DRAWS else 1.0
    most = PROBE_SHARE[config.effort] if traced else min(CHECK_SHARE, PROBE_SHARE[config.effort])
    missing = n * len(problems) - stored.rollouts
    tokens = round(missing * mean)
    probes = round((SPENT_BY_PROBES if traced else SPENT_BY_CHECKS) * mean * n * len(problems))
    others = drawn_from * Settings.of(config, sampling).teacher_rollouts * len(problems)
    return CostEstimate(
        problems=len(problems),
        rollouts=n * len(problems),
        stored=stored.rollouts,
        max_new_tokens=cap.tokens,
        said=cap.said,
        pilot_rollouts=sum(0 if made is None else len(made.made) for made in (cap.pilot, timed)),
        most_tokens=missing * cap.tokens,
        tokens=tokens,
        time_s=(tokens + probes) / speed if speed else None,
        flops=2.0 * engine.info.n_parameters * (tokens + probes),
        probe_tokens=probes,
        most_probe_tokens=round(most * mean * n * len(problems)),
        probe_share=most,
        teacher_rollouts=others,
        teacher_tokens=round(others * mean),
    )


def shows_trace(problem: Problem, engine: Engine) -> bool:
    """Whether a beginning of the problem's demonstration can be given away, so that probes have something to draw."""
    if not problem.demos or "tokens" in engine.info.lacks:
        return False
    demo = problem.demos[0]
    return trace_tokens(problem, demo, engine.response_ids(demo), engine.decode) > 0


def stored_draws(
    config: AnalyzeConfig, engine: Engine, problems: Mapping[str, Problem], sampling: SamplingParams
) -> Stored:
    """What the run directory holds of the main arm already."""
    if not (config.out / "run.json").exists() or not (run := RunDir(config.out)).rollouts_path.exists():
        return Stored(0, 0, 0, None)
    n = config.rollouts_per_problem
    with closing(run.store()) as store:
        owed = Collector(engine, store, problems, sampling).owed(DrawSpec(key, MAIN, n) for key in problems)
        counts = store.tallies(engine.info.model_sha, spans_of(owed))
    drawn = int(counts[["c", "failed", "truncated", "errored"]].to_numpy().sum())
    return Stored(sum(n - len(item.missing) for item in owed), int(counts["tokens"].sum()), drawn, stored_speed(run))
