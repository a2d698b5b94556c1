"""Per-problem classes: how probable is it that problem i is mastered, reshaping-, format-, guided- or support-limited?

Suffixes: P problems, S posterior draws, C classes in the order of `types.CLASSES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from posttrain_probes.format_gap import REPAIRABLE
from posttrain_probes.prefix_ladder import reach_draws

from posttrain_diag.evidence import Evidence
from posttrain_diag.settings.analysis import RESOLVED
from posttrain_diag.stats import below
from posttrain_diag.types import CLASSES, Estimate, Measurement, ProblemClass, ShareName

BoolArray = NDArray[np.bool_]

DRAWS = 1000
"""Joint posterior draws behind the intervals of the shares."""


@dataclass(frozen=True)
class ClassPosterior:
    """What each problem probably is, and the joint uncertainty of the shares."""

    posterior: pd.DataFrame
    """Indexed by problem id, one column per class, rows sum to 1."""
    shares_SC: NDArray[np.float64]
    """Posterior draws of the share of these problems in each class, shape (DRAWS, 5)."""
    consolidation: pd.Series | None = None
    """Per problem the probability that the policy does not reach it and another model solves it; part of guided and
    support, not a class beside them. None when no other model was compared."""
    elsewhere_SC: NDArray[np.float64] | None = None
    """Of `shares_SC` the part that another model solves."""

    @property
    def classes(self) -> pd.Series:
        """The resolved class per problem, else "unresolved"."""
        best = self.posterior.idxmax(axis=1)
        return best.where(self.posterior.max(axis=1) >= RESOLVED, "unresolved")

    @property
    def label_shares(self) -> NDArray[np.float64]:
        """Draws of the shares a verdict is made of, shape (DRAWS, 5), or (DRAWS, 6) when another model was compared.

        What another model solves is taken out of its class into the last column.
        """
        if self.elsewhere_SC is None:
            return self.shares_SC
        return np.column_stack([self.shares_SC - self.elsewhere_SC, self.elsewhere_SC.sum(axis=1)])

    def shares(self, level: float) -> dict[ShareName, Estimate]:
        """Share of problems per class with intervals, the share left unresolved, and that of consolidation."""
        n = len(self.posterior)
        out: dict[ShareName, Estimate] = {
            name: _share(self.shares_SC[:, index], self.posterior[name], level) for index, name in enumerate(CLASSES)
        }
        unresolved = float((self.classes == "unresolved").mean())
        out["unresolved"] = Estimate(unresolved, unresolved, unresolved, level, n, "measured")
        if self.consolidation is not None and self.elsewhere_SC is not None:
            out["consolidation"] = _share(self.elsewhere_SC.sum(axis=1), self.consolidation, level)
        return out


def _share(share_S: NDArray[np.float64], posterior_P: pd.Series, level: float) -> Estimate:
    """The mean posterior over problems, with the interval that draws of the share give."""
    low, high = np.quantile(share_S, [(1 - level) / 2, 1 - (1 - level) / 2])
    value = float(posterior_P.mean())
    return Estimate(value, min(float(low), value), max(float(high), value), level, len(posterior_P), "estimated")


def class_posterior(evidence: Evidence, measurements: Mapping[str, Measurement]) -> ClassPosterior:
    """Combine the law of p with the format and the prefix evidence.

    mastered: p >= mastery. Of the rest, those with p >= eps are format-limited with the probability that format
    explains at least half of the strict failures, else reshaping-limited. Below eps a problem of which some draw is
    right in substance is format-limited with the probability that a share eps of its failures is, for then its answer
    is in effective support and only its form is not; else guided-reachable with the probability that some prefix of a
    correct trace lifts success to eps, else support-limited. Of the last two the part that another model solves is
    consolidation.

    Args:
        evidence: rollouts; needs at least one measured problem.
        measurements: by probe name; `format`, `prefix_ladder` and `consolidation` are used where they are there.
    """
    settings = evidence.settings
    index = evidence.measured.index
    law = evidence.law
    half_P = _column(measurements, "format", "format_posterior", index)
    some_P = _column(measurements, "format", "substance_posterior", index)
    reach_P = _reach(measurements, index)
    below_P, middle_P, mastered_P = law.class_posterior(settings.eps, settings.mastery).T
    unreached_P = below_P * (1 - some_P)
    posterior = pd.DataFrame(
        {
            "mastered": mastered_P,
            "reshaping": middle_P * (1 - half_P),
            "format": middle_P * half_P + below_P * some_P,
            "guided": unreached_P * reach_P,
            "support": unreached_P * (1 - reach_P),
        },
        index=index,
    )
    if evidence.counts is not None:
        return ClassPosterior(posterior, _shares_by_threshold(evidence))
    rng = np.random.default_rng(settings.sampling.seed)
    p_SP = law.sample_p(DRAWS, rng=rng)
    mastered_SP = p_SP >= settings.mastery
    low_SP = p_SP < settings.eps
    del p_SP
    format_SP = reach_SP = np.zeros_like(low_SP)
    if some_P.any() and (form := evidence.format_law) is not None:
        half_SR, some_SR = (form.prob_at_least_given_law(share) for share in (REPAIRABLE, settings.eps))
        row_P = form.counts.table.row_P
        some_SR = np.where(form.counts.table.c_R > 0, some_SR, half_SR)
        format_SP = np.where(low_SP, _coins(rng, some_SR, row_P), _coins(rng, half_SR, row_P))
    if reach_P.any():
        reach_SP = reach_draws(evidence, DRAWS)
    members = members_of(mastered_SP, low_SP, format_SP, reach_SP)
    shares_SC = shares_of(members)
    solved = measurements["consolidation"].per_problem.get("other_solves") if "consolidation" in measurements else None
    if solved is None:
        return ClassPosterior(posterior, shares_SC)
    solved_P = solved.reindex(index).fillna(0.0).to_numpy(np.float64)
    solved_SP = _coins(rng, solved_P)
    elsewhere_SC = np.zeros_like(shares_SC)
    for name in ("guided", "support"):
        elsewhere_SC[:, CLASSES.index(name)] = (members[name] & solved_SP).mean(axis=1)
    consolidation = pd.Series(unreached_P * solved_P, index)
    return ClassPosterior(posterior, shares_SC, consolidation, elsewhere_SC)


def members_of(
    mastered_SP: BoolArray, low_SP: BoolArray, format_SP: BoolArray, reach_SP: BoolArray
) -> dict[ProblemClass, BoolArray]:
    """Which problems are in which class, in each draw.

    Args:
        mastered_SP: p >= mastery, shape (S, P).
        low_SP: p < eps.
        format_SP: format explains enough of the strict failures: half, or where p < eps and one is seen a share eps.
        reach_SP: some prefix of a correct trace lifts success to eps.
    """
    open_SP = ~mastered_SP & ~format_SP
    return {
        "mastered": mastered_SP,
        "reshaping": open_SP & ~low_SP,
        "format": ~mastered_SP & format_SP,
        "guided": open_SP & low_SP & reach_SP,
        "support": open_SP & low_SP & ~reach_SP,
    }


def shares_of(members: Mapping[ProblemClass, BoolArray]) -> NDArray[np.float64]:
    """Share of the problems in each class, in each draw, shape (S, 5)."""
    return np.stack([members[name].mean(axis=1) for name in CLASSES], axis=1).astype(np.float64)


def _coins(
    rng: np.random.Generator, chance: NDArray[np.float64], row_P: NDArray[np.int64] | slice = slice(None)
) -> BoolArray:
    """Events per problem, shape (DRAWS, P); drawn by rows, for uniforms take eight times the memory.

    Args:
        rng: source of randomness.
        chance: per problem, shape (P,); or per law and unique row, shape (S, R): every draw takes one law, for what
            is unsure about the law is unsure about all problems at once.
        row_P: the row of each problem.
    """
    chance_SR = np.atleast_2d(chance)
    rows = (chance_SR[draw % len(chance_SR)][row_P] for draw in range(DRAWS))
    return np.stack([rng.random(len(chance_P)) < chance_P for chance_P in rows])


def _shares_by_threshold(evidence: Evidence) -> NDArray[np.float64]:
    """Draws of the shares when p alone decides the class, shape (S, 5): nothing of size draws x problems is made."""
    settings = evidence.settings
    below_S, open_S = evidence.law.posterior_draws(below(settings.eps), below(settings.mastery)).T
    below_S = np.clip(below_S, 0.0, 1.0)
    open_S = np.clip(open_S, below_S, 1.0)
    none_S = np.zeros_like(open_S)
    return np.stack([1 - open_S, open_S - below_S, none_S, none_S, below_S], axis=1)


def _column(
    measurements: Mapping[str, Measurement], probe: str, column: str, index: pd.Index[str]
) -> NDArray[np.float64]:
    """A probe's per-problem column in the order of `index`; 0 where the probe did not run."""
    found = measurements.get(probe)
    if found is None or column not in found.per_problem:
        return np.zeros(len(index))
    return found.per_problem[column].reindex(index).fillna(0.0).to_numpy(np.float64)


def _reach(measurements: Mapping[str, Measurement], index: pd.Index[str]) -> NDArray[np.float64]:
    """Reach posterior per problem; problems outside the ladder's sample get the mean of those inside."""
    found = measurements.get("prefix_ladder")
    if found is None or "reach" not in found.per_problem or not found.per_problem["reach"].notna().any():
        return np.zeros(len(index))
    reach = found.per_problem["reach"].astype(float)
    return np.asarray(reach.reindex(index).fillna(float(reach.mean())), dtype=np.float64)
