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
"""The pilots of a checkpoint take at most this share of what is left for training, and there are at most so many."""


class BudgetSpent(Exception):
    """Raised when an analysis has used up the run's budget; what was drawn until then is stored."""


@dataclass(frozen=True)
class Tokens:
    """A bill of tokens, by what they were for."""

    analysis: int = 0
    """Tokens drawn to diagnose, in all arms, those of other models included."""
    pilot: int = 0
    generated: int = 0
    """Tokens drawn for training."""
    trained: int = 0
    watched: int = 0
    """Tokens drawn to watch a stage."""
    measured: int = 0
    """Tokens drawn to measure before and after a stage."""

    @property
    def total(self) -> int:
        """The sum of all parts of the bill."""
        return sum(asdict(self).values())

    def __add__(self, other: Tokens) -> Tokens:
        mine, theirs = asdict(self), asdict(other)
        return Tokens(**{name: mine[name] + theirs[name] for name in mine})

    def json(self) -> dict[str, int]:
        """The bill with its total, in the form in which result.json holds it."""
        return {**asdict(self), "total": self.total}


def analysis_tokens(run: Path, problems: Collection[str]) -> Tokens:
    """What the analysis in a run directory has drawn, finished or not.

    Args:
        run: the run directory; it may not be there yet.
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
    """What the pilots of a checkpoint have used, whatever it was for."""
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
        diagnosis: contents of diagnosis.json for the model that it starts from.
        analysis: tokens that this diagnosis took.
        stage: name of the stage.
        inputs: what the stage gets.
        config: the stage's settings.
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
        shown: the other progress; it is told everything.
        limit: most tokens; None: no limit.

    Raises:
        BudgetSpent: from the thread that made this object, when more were drawn.
    """

    def __init__(self, shown: Progress, limit: int | None) -> None:
        self._shown = shown
        self._limit = limit
        self._drawn = 0
        self._owner = threading.get_ident()

    def phase(self, name: Phase, detail: str) -> None:
        """Pass on that a phase begins, unless too many tokens were drawn."""
        self._shown.phase(name, detail)
        if name in ("sample", "probe"):
            self._check()

    def warn(self, text: str) -> None:
        """Something that the user can mend was seen."""
        self._shown.warn(text)

    def note(self, text: str) -> None:
        """A fact that a reader must know."""
        self._shown.note(text)

    def plan(self, draws: int, done: int, cap: int) -> None:
        """Pass on how many draws are planned, unless too many tokens were drawn."""
        self._shown.plan(draws, done, cap)
        if draws > done:
            self._check()

    def tell(self, line: str) -> None:
        """Something was settled."""
        self._shown.tell(line)

    def advance(self, rollouts: int, tokens: int) -> None:
        """Count rollouts that became durable, and pass them on; called from whichever thread wrote them."""
        self._shown.advance(rollouts, tokens)
        self._drawn += tokens
        self._check()

    def steps(self, done: int, total: int, tokens: int) -> None:
        """Pass on how many optimizer steps are done."""
        self._shown.steps(done, total, tokens)

    def resolved(self, classes: Mapping[ProblemClass, int]) -> None:
        """Pass on how many problems are in each class."""
        self._shown.resolved(classes)

    def _check(self) -> None:
        if self._limit is not None and self._drawn >= self._limit and threading.get_ident() == self._owner:
            raise BudgetSpent(f"{self._drawn:,} tokens drawn")
