"""What a recommendation rests on: the diagnosis in a few numbers, and what the user has to train with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from posttrain_probes.stopping import UNIFORM_SHARE, near_uniform

from posttrain_diag.evidence import MAIN, Evidence
from posttrain_diag.stages.record import Need, needs_met
from posttrain_diag.types import CLASSES, Bottleneck, Diagnosis, InstrumentStatus, Problem, ProblemClass

UNASKED_TEACHER = 0.7
"""Share of what the policy does not solve that a teacher is taken to solve, where it was not compared by
`analyze --teacher`."""


@dataclass(frozen=True)
class Resources:
    """What the user has to train with: demonstrations, pairs, other models, tasks to keep and a budget."""

    demos: int = 0
    """Number of training problems with a demonstration."""
    pairs: int = 0
    """Number of training problems with a preference pair."""
    verifier: bool = True
    teacher: bool = False
    siblings: bool = False
    """Whether there is another checkpoint of the same architecture."""
    retained: bool = False
    """Whether there are tasks whose pass rate should stay."""
    budget_tokens: int | None = None
    """Tokens that a stage may generate and train on; None: as many as it takes."""
    to_target: bool = False
    """Whether a stage is wanted even where nearly all problems are mastered, because a target is not reached."""

    @staticmethod
    def of_problems(problems: Sequence[Problem], **more: Any) -> Resources:
        """Read demonstrations and pairs off the problems to train on."""
        return Resources(sum(bool(p.demos) for p in problems), sum(bool(p.pairs) for p in problems), **more)

    @property
    def there(self) -> frozenset[Need]:
        """What stages may need and the user has."""
        return needs_met(
            demos=self.demos > 0,
            pairs=self.pairs > 0,
            teacher=self.teacher,
            siblings=self.siblings,
            retained=self.retained,
            verifier=self.verifier,
        )


@dataclass(frozen=True)
class Facts:
    """The diagnosis as a recommendation reads it; JSON-compatible, kept in a run as facts.json."""

    bottleneck: Bottleneck
    instrument: InstrumentStatus
    needed: str
    """What it would take to decide between verdicts; empty when decided."""
    problems: int
    pass_1: float
    """Mean success probability over problems."""
    headroom: Mapping[ProblemClass, float]
    """Mean over problems of posterior x (1 - p): what the class could gain in pass@1."""
    success: Mapping[ProblemClass, float]
    """Mean over problems of posterior x p: successes per rollout that the class gives."""
    taught: Mapping[ProblemClass, float]
    """The part of `headroom` on problems that a compared model solves; empty where none was compared."""
    mixed_groups: float | None
    """Share of the groups of 8 rollouts that hold both passes and failures."""
    expected_successes: float | None
    """Expected passing rollouts, pooled over problems, in one rollout budget."""
    rollout_budget: int
    level: float
    mean_tokens: float
    """Mean number of tokens per rollout."""
    n_parameters: int
    random_like: bool
    """Whether the policy is close to uniform on correct traces and knows no other way either."""
    counts_only: bool
    """Whether nothing but counts is known, so that there is no model to train."""
    passes: int | None = None
    """Strictly passing draws of the main arm; None: an earlier version made the run."""
    draws: int | None = None
    """Judged draws of the main arm; None: an earlier version made the run."""
    chat: bool | None = None
    """Whether prompts go through a chat template; None: an earlier version made the run, or it was imported."""

    @staticmethod
    def of(diagnosis: Diagnosis, evidence: Evidence) -> Facts:
        """Sum up a diagnosis and the evidence behind it."""
        rows = diagnosis.per_problem
        known = "posterior_support" in rows
        rows = rows[rows["p_mean"].notna()]
        headroom, success, taught = _sums(rows) if known and len(rows) else ({} for _ in range(3))
        drawn = int(evidence.main["drawn"].sum()) if evidence.counts is None else 0
        mixed, successes = (diagnosis.estimates.get(name) for name in ("mixed_groups@8", "expected_successes"))
        return Facts(
            bottleneck=diagnosis.bottleneck,
            instrument=diagnosis.instrument.status,
            needed="" if diagnosis.needed is None else diagnosis.needed.reason,
            problems=len(rows),
            pass_1=float(rows["p_mean"].mean()) if len(rows) else 0.0,
            headroom=headroom,
            success=success,
            taught=taught,
            mixed_groups=None if mixed is None else mixed.value,
            expected_successes=None if successes is None else successes.value,
            rollout_budget=evidence.settings.rollout_budget,
            level=evidence.settings.level,
            mean_tokens=evidence.tokens(MAIN) / drawn if drawn else 0.0,
            n_parameters=0 if evidence.model is None else evidence.model.n_parameters,
            random_like=_random_like(evidence),
            counts_only=evidence.counts is not None,
            passes=int(rows["c"].sum()),
            draws=int(rows["n"].sum()),
            chat=None if evidence.model is None else evidence.model.renderings[:1] == ("chat",),
        )

    def json(self) -> dict[str, Any]:
        """The facts in the form in which facts.json holds them."""
        return {"schema": 1, **asdict(self)}

    @staticmethod
    def read(data: Mapping[str, Any]) -> Facts:
        """Read the contents of facts.json, also those of earlier versions, which held more or knew no passes."""
        whole: dict[str, Any] = {"passes": None, "draws": None, "chat": None, **data}
        return Facts(**{f.name: whole[f.name] for f in fields(Facts)})

    def reachable(self, stage_teaches: bool, teacher: bool) -> Mapping[ProblemClass, float]:
        """Headroom by class, on the problems that a stage can work on.

        Args:
            stage_teaches: another model supplies the targets, so that only what it solves can be gained.
            teacher: there is such a model.
        """
        if not stage_teaches:
            return self.headroom
        if self.taught:
            return self.taught
        return {part: value * (UNASKED_TEACHER if teacher else 0.0) for part, value in self.headroom.items()}


def _sums(rows: Any) -> tuple[dict[ProblemClass, float], ...]:
    weights: dict[ProblemClass, Any] = {cls: rows[f"posterior_{cls}"].to_numpy() for cls in CLASSES}
    p_P = rows["p_mean"].to_numpy()
    solves_P = rows["other_solves"].to_numpy() if "other_solves" in rows else None
    headroom: dict[Any, float] = {cls: float((w * (1 - p_P)).mean()) for cls, w in weights.items()}
    success: dict[Any, float] = {cls: float((w * p_P).mean()) for cls, w in weights.items()}
    taught: dict[Any, float] = {}
    if solves_P is not None:
        # other models are asked only what the policy may not have mastered: of the rest nothing is known
        known_P = np.nan_to_num(solves_P, nan=UNASKED_TEACHER)
        taught = {cls: float((w * (1 - p_P) * known_P).mean()) for cls, w in weights.items()}
    return headroom, success, taught


def _random_like(evidence: Evidence) -> bool:
    """Whether the policy is near uniform on correct traces because it is undecided, not because it prefers others."""
    if evidence.model is None or not near_uniform(evidence):
        return False
    rows = [row.entropies for row in evidence.scores if row.kind == "demo:0" and len(row.entropies)]
    mean = float(np.mean([row.mean() for row in rows])) if rows else 0.0
    return mean >= UNIFORM_SHARE * float(np.log(evidence.model.vocab_size))
