"""What a stage will do: pass@1 after it and what it costs other tasks, as a distribution.

pass@1 after = pass@1 now + sum over classes of (headroom of the class) x (share of the headroom that the stage wins)

The headroom comes from the diagnosis: class posteriors and success probabilities of every problem, and for a teacher of
what it solves. The share won is drawn from what the stage did on problems of that class in known situations
(`outcomes`), read at the user's number of demonstrations and token budget; a Dirichlet process keeps some mass for what
no precedent shows, the more the fewer there are (Ferguson 1973). Stages that learn from the policy's own passes win
nothing where no pass is likely before they stop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.recommend.facts import Facts, Resources
from posttrain_diag.recommend.outcomes import Outcome
from posttrain_diag.settings.stage import RETENTION_WEIGHT
from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.types import CLASSES, Estimate, ProblemClass

Floats = NDArray[np.float64]
DRAWS = 4000
NEW_SITUATION = 0.25
"""Weight of situations that were never seen, against 1 for each known one (the concentration of the Dirichlet process).
"""
SPREAD = 0.02
"""Standard deviation of the share won between situations that look alike."""
FIRST_DRAWS = 6400
"""Draws within which an on-policy stage must see a pass: 50 steps of 128, after which it stops."""
LIKE: dict[ProblemClass, ProblemClass] = {"format": "reshaping"}
"""The class whose precedents stand in where a class has none: a format is drawn sometimes, like any answer."""
NO_REPLAY_LOSS = {"grpo": 0.03, "rloo": 0.03, "rft": 0.05, "search-transfer": 0.05, "process-rl": 0.03}
"""Mean pass rate that these stages lose on other tasks where nothing can be replayed, as measured on the zoo."""
NO_REPLAY_LOSS_ELSE = 0.5
"""The same loss for every other stage: foreign rows and hints were measured to cost .3 to 1."""


@dataclass(frozen=True)
class Forecast:
    """What a stage may do, as draws from its distribution; arrays have shape (DRAWS,)."""

    stage: str
    before: float
    after_D: Floats
    """pass@1 over all problems after the stage, shape (DRAWS,)."""
    kept_D: Floats
    """Change of the mean pass rate on other tasks, shape (DRAWS,)."""
    sequences: float | None
    """Cost in responses generated and trained on; None: there is no precedent to read it from."""
    precedents: tuple[Outcome, ...]
    """The precedents it rests on: the stage on problems of the classes that matter here."""
    level: float

    @cached_property
    def utility_D(self) -> Floats:
        """Gain in pass@1 less half of what other tasks lose, shape (DRAWS,)."""
        return self.after_D - self.before - RETENTION_WEIGHT * np.maximum(0.0, -self.kept_D)

    @property
    def utility(self) -> float:
        """Mean of the utility over the draws."""
        return float(self.utility_D.mean())

    @property
    def gain(self) -> Estimate:
        """Change of pass@1 that the stage is expected to bring."""
        return self._estimate(self.after_D - self.before)

    @property
    def after(self) -> Estimate:
        """pass@1 that is expected after the stage."""
        return self._estimate(self.after_D)

    @property
    def kept(self) -> Estimate:
        """Change of the mean pass rate on other tasks that is expected."""
        return self._estimate(self.kept_D)

    @property
    def retention_risk(self) -> float:
        """Probability that other tasks lose more than 5 points."""
        return float((self.kept_D < -0.05).mean())

    def _estimate(self, values_D: Floats) -> Estimate:
        low, high = (float(np.quantile(values_D, q)) for q in ((1 - self.level) / 2, (1 + self.level) / 2))
        n = len({o.situation for o in self.precedents})
        reason = f"what the stage did in {n} known situations with such problems" if n else "no precedent"
        return Estimate(float(values_D.mean()), low, high, self.level, n, "model-dependent", reason)


def forecast(stage: str, facts: Facts, has: Resources, outcomes: Sequence[Outcome], *, seed: int = 0) -> Forecast:
    """Forecast what a stage will do.

    Args:
        stage: name of a stage of the catalogue.
        facts: the diagnosis in numbers.
        has: what there is to train with.
        outcomes: the precedents.
        seed: seeds the draws; equal seeds compare stages on the same situations.

    References:
        Ferguson 1973, doi:10.1214/aos/1176342360 (Dirichlet processes).
    """
    record, own = stage_record(stage), [o for o in outcomes if o.stage == stage]
    room = facts.reachable(record.learns_from == "teacher", has.teacher)
    rng = np.random.default_rng(seed)
    pick_D, new_D = rng.random(DRAWS), rng.random(DRAWS)
    after_D = np.full(DRAWS, facts.pass_1)
    used: list[Outcome] = []
    demos = has.demos if "demos" in record.needs else None
    for part in CLASSES:
        if room.get(part, 0.0) <= 0:
            continue
        rows = [o for o in own if o.part == part] or [o for o in own if o.part == LIKE.get(part)]
        won_D = _won(_by_situation(rows, demos, has.budget_tokens, facts), pick_D, new_D, rng)
        if record.learns_from == "own passes" and part in {"reshaping", "format"}:
            expected = FIRST_DRAWS * sum(facts.success.get(p, 0.0) for p in ("reshaping", "format"))
            won_D = np.where(rng.random(DRAWS) < 1 - np.exp(-expected), won_D, 0.0)
        after_D += room[part] * won_D
        if room[part] >= 0.1 * max(room.values()):
            used += rows
    kept_D = _kept(own, stage, facts, has, pick_D, rng)
    costs = [o.sequences for o in own if not o.limited]
    sequences = float(np.median(costs)) if costs else None
    return Forecast(stage, facts.pass_1, after_D.clip(0, 1), kept_D, sequences, tuple(used), facts.level)


def _by_situation(rows: Sequence[Outcome], demos: int | None, budget: int | None, facts: Facts) -> Floats:
    """Share of the headroom won in each known situation, read at this number of demonstrations and this budget."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for row in rows:
        found.setdefault((row.situation, row.family), []).append(row)
    return np.array([_at(group, demos, budget, facts) for group in found.values()])


def _at(group: Sequence[Outcome], demos: int | None, budget: int | None, facts: Facts) -> float:
    whole = [o for o in group if not o.limited]
    cut = [o for o in group if o.limited]
    if not whole:
        return cut[0].won if cut else 0.0
    value = whole[0].won
    if demos is not None:
        value = _interpolate([(o.demos, o.won) for o in whole], demos)
    most = max(whole, key=lambda o: o.demos)
    if budget is not None and facts.mean_tokens > 0:
        sequences = budget / facts.mean_tokens
        if sequences < most.sequences:
            points = [(o.sequences, o.won) for o in (*cut, most)]
            value = min(value, _interpolate(points, sequences))
    return value


def _interpolate(points: Sequence[tuple[float, float]], x: float) -> float:
    """Interpolate linearly in log x between the points; proportional to x below the first, constant above the last."""
    known = sorted(points)
    first, value = known[0]
    if x < first:
        return value * x / first if first else value
    xs, ys = zip(*known, strict=True)
    return float(np.interp(np.log(max(x, 1e-9)), np.log(xs), ys))


def _won(values: Floats, pick_D: Floats, new_D: Floats, rng: np.random.Generator) -> Floats:
    """Draws of the share of the headroom won: that of a known situation, or rarely anything up to the best known.

    Without any precedent it is nothing: a stage is not proposed on hope.
    """
    if not len(values):
        return np.zeros(DRAWS)
    known_D = values[(pick_D * len(values)).astype(int)] + SPREAD * rng.standard_normal(DRAWS)
    unseen_D = rng.random(DRAWS) * max(0.0, float(values.max()))
    drawn_D = np.where(new_D < NEW_SITUATION / (NEW_SITUATION + len(values)), unseen_D, known_D)
    return drawn_D.clip(-1.0, 1.0)


def _kept(
    own: Sequence[Outcome], stage: str, facts: Facts, has: Resources, pick_D: Floats, rng: np.random.Generator
) -> Floats:
    """Draws of the change on other tasks, shape (DRAWS,).

    They are taken from situations of the class that weighs most, where there are some.
    """
    if not has.retained:
        loss = NO_REPLAY_LOSS.get(stage, NO_REPLAY_LOSS_ELSE)
        return -loss * rng.gamma(2.0, 0.5, DRAWS).clip(max=1 / loss)
    whole = [o for o in own if not o.limited]
    most = max(facts.headroom.values(), default=0.0)
    main = {part for part, room in facts.headroom.items() if room == most}
    rows = [o for o in whole if o.part in main] or whole
    if not rows:
        return -rng.random(DRAWS) * 0.2
    values = np.array([o.kept for o in rows])
    return (values[(pick_D * len(values)).astype(int)] + 0.005 * rng.standard_normal(DRAWS)).clip(-1, 1)


def chances(forecasts: Mapping[str, Forecast], tolerance: float) -> dict[str, float]:
    """Probability of each stage to come within `tolerance` of the best utility, where doing nothing has utility 0."""
    if not forecasts:
        return {}
    utility_SD = np.stack([f.utility_D for f in forecasts.values()])
    best_D = np.maximum(utility_SD.max(axis=0), 0.0)
    return {name: float((u_D >= best_D - tolerance).mean()) for name, u_D in zip(forecasts, utility_SD, strict=True)}
