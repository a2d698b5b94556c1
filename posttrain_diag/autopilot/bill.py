"""Tokens: what each round has cost, what is left of the budget, and what must be set aside for judging a stage."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from posttrain_diag.recommend.pilots import MEASURED, ROLLOUTS
from posttrain_diag.rollouts.progress import Phase, Progress
from posttrain_diag.stages import StageConfig, StageInputs, planned_steps, read_result, tokens_so_far
from posttrain_diag.stages.run import RETENTION_ROLLOUTS
from posttrain_diag.stages.session.watch import MOST_RETAINED
from posttrain_diag.stages.session.watch import RETENTION_ROLLOUTS as WATCHED_ROLLOUTS
from posttrain_diag.store import RunDir
from posttrain_diag.types import ProblemClass

WORTH_BEGINNING = 0.25
"""A stage is not begun when less than this share of its expected tokens is left for it."""


PILOT_SHARE, MOST_PILOTS = 0.25, 6
"""The pilots of a checkpoint, at most so many, take at most this share of what is left for training."""


class BudgetSpent(Exception):
    """An analysis has used up the run's budget; what was drawn is stored."""


@dataclass(frozen=True)
class Tokens:
    """A bill, by what the tokens were for."""

    analysis: int = 0
    """Drawn to diagnose: all arms, other models included."""
    pilot: int = 0
    generated: int = 0
    """Drawn for training."""
    trained: int = 0
    watched: int = 0
    """Drawn to watch a stage."""
    measured: int = 0
    """Drawn to measure before and after a stage."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(asdict(self).values())

    def __add__(self, other: Tokens) -> Tokens:
        mine, theirs = asdict(self), asdict(other)
        return Tokens(**{name: mine[name] + theirs[name] for name in mine})

    def json(self) -> dict[str, int]:
        """With the total."""
        return {**asdict(self), "total": self.total}


def analysis_tokens(run: Path, problems: Collection[str]) -> Tokens:
    """What the analysis in a run directory has drawn, finished or not.

    Args:
        run: may not be there yet.
        problems: ids of the held-out problems: stages keep draws of training problems in the same store.
    """
    if not (run / "run.json").exists() or not (found := RunDir(run)).rollouts_path.exists():
        return Tokens()
    store = found.store()
    try:
        counts = [store.tallies(sha, store.spans(sha)) for sha in store.models()]
    finally:
        store.close()
    return Tokens(analysis=sum(int(c.loc[c["problem_id"].isin(problems), "tokens"].sum()) for c in counts))


def stage_tokens(folder: Path) -> Tokens:
    """What a stage has used; its folder may not be there yet."""
    if not (folder / "result.json").exists():
        return Tokens(**tokens_so_far(folder))
    result = read_result(folder)
    return Tokens(
        generated=result.generated_tokens,
        trained=result.trained_tokens,
        watched=result.watched_tokens,
        measured=result.before.tokens + result.after.tokens,
    )


def pilot_tokens(folder: Path) -> Tokens:
    """What the pilots of a checkpoint have used, whatever for."""
    runs = (stage_tokens(path.parent) for path in folder.glob("*/stage.json"))
    return Tokens(pilot=sum(tokens.total for tokens in runs))


def measuring_a_pilot(diagnosis: Mapping[str, Any]) -> int:
    """Tokens that measuring before and after a pilot is expected to take."""
    return round(2 * MEASURED * ROLLOUTS * _per_draw(diagnosis))


def _per_draw(diagnosis: Mapping[str, Any]) -> float:
    samples = diagnosis["samples"]
    return samples["tokens"] / max(1, samples["rollouts_all_arms"])


def set_aside(
    diagnosis: Mapping[str, Any], analysis: int, stage: str, inputs: StageInputs, config: StageConfig, *, known: bool
) -> int:
    """Tokens that judging a stage is expected to take: watching it, measuring it, analysing its checkpoint.

    Args:
        diagnosis: diagnosis.json of the model it starts from.
        analysis: tokens which that took.
        stage: its name.
        inputs: what it gets.
        config: its settings.
        known: the model was measured before.
    """
    retained = len(inputs.retained)
    measured = min(config.eval_problems, len(inputs.held_out)) * config.eval_rollouts + RETENTION_ROLLOUTS * retained
    look = len(inputs.watched) * config.watch_rollouts + WATCHED_ROLLOUTS * min(MOST_RETAINED, retained)
    looks = 1 + -(-planned_steps(stage, inputs, config) // config.watch_every)
    return analysis + round(_per_draw(diagnosis) * (measured * (1 if known else 2) + look * looks))


class Metered(Progress):
    """Shows what another progress shows, and stops the work once it has drawn too many tokens.

    Args:
        shown: told everything.
        limit: tokens; None: no limit.

    Raises:
        BudgetSpent: from the thread that made it, when more were drawn.
    """

    def __init__(self, shown: Progress, limit: int | None) -> None:
        self._shown = shown
        self._limit = limit
        self._drawn = 0
        self._owner = threading.get_ident()

    def phase(self, name: Phase, detail: str) -> None:
        """A phase begins."""
        self._shown.phase(name, detail)
        if name in ("sample", "probe"):
            self._check()

    def plan(self, draws: int, done: int, cap: int) -> None:
        """So many draws are planned."""
        self._shown.plan(draws, done, cap)
        if draws > done:
            self._check()

    def tell(self, line: str) -> None:
        """Something was settled."""
        self._shown.tell(line)

    def advance(self, rollouts: int, tokens: int) -> None:
        """Rollouts became durable; told from whichever thread wrote them."""
        self._shown.advance(rollouts, tokens)
        self._drawn += tokens
        self._check()

    def steps(self, done: int, total: int, tokens: int) -> None:
        """So many optimizer steps are done."""
        self._shown.steps(done, total, tokens)

    def resolved(self, classes: Mapping[ProblemClass, int]) -> None:
        """Problems per class."""
        self._shown.resolved(classes)

    def _check(self) -> None:
        if self._limit is not None and self._drawn >= self._limit and threading.get_ident() == self._owner:
            raise BudgetSpent(f"{self._drawn:,} tokens drawn")
