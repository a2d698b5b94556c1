"""Per-problem classes: how probably is each problem mastered, reshaping-, format-, guided- or support-limited?

Suffixes: P problems, S posterior draws, C classes in the order of `types.CLASSES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from posttrain_probes.format_gap import format_by_class, repairable
from posttrain_probes.prefix_ladder import reach_draws

from posttrain_diag.evidence import Evidence
from posttrain_diag.settings.analysis import RESOLVED
from posttrain_diag.stats import below
from posttrain_diag.types import CLASSES, Estimate, Measurement, ProblemClass, ShareName

BoolArray = NDArray[np.bool_]

DRAWS = 1000
"""Number of joint posterior draws behind the intervals of the shares."""


@dataclass(frozen=True)
class ClassPosterior:
    """The class that each problem probably has, and the joint uncertainty of the classes' shares."""

    posterior: pd.DataFrame
    """Class probabilities: a row per problem id, a column per class, rows sum to 1."""
    shares_SC: NDArray[np.float64]
    """Posterior draws of the share of these problems in each class, shape (DRAWS, 5)."""
    consolidation: pd.Series | None = None
    """Per problem the probability that the policy does not reach it and another model solves it; part of guided and
    support, not a class beside them. None when no other model was compared."""
    elsewhere_SC: NDArray[np.float64] | None = None
    """The part of `shares_SC` that another model solves."""

    @property
    def classes(self) -> pd.Series:
        """The class to which each problem is resolved, else "unresolved"."""
        best = self.posterior.idxmax(axis=1)
        return best.where(self.posterior.max(axis=1) >= RESOLVED, "unresolved")

    @property
    def label_shares(self) -> NDArray[np.float64]:
        """Draws of the shares that a verdict is made of.

        Their shape is (DRAWS, 5), or (DRAWS, 6) when another model was compared.

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
    """The mean posterior over problems (shape (P,)), with the interval of the share's draws (shape (S,))."""
    low, high = np.quantile(share_S, [(1 - level) / 2, 1 - (1 - level) / 2])
    value = float(posterior_P.mean())
    return Estimate(value, min(float(low), value), max(float(high), value), level, len(posterior_P), "estimated")


def class_posterior(evidence: Evidence, measurements: Mapping[str, Measurement]) -> ClassPosterior:
    """Combine the law of p with the format and the prefix evidence.

    mastered: p >= mastery. Of the rest, format-limited with the probability that right answers are there and their
    form is not (`repairable`), however rare they are; else reshaping-limited when p >= eps. What is left passes less
    often than eps in form and in substance: guided-reachable with the probability that some prefix of a correct trace
    lifts success to eps, else support-limited. Of the last two the part that another model solves is consolidation.

    Args:
        evidence: rollouts; needs at least one measured problem.
        measurements: by probe name; `format`, `prefix_ladder` and `consolidation` are used where they are there.
    """
    settings = evidence.settings
    index = evidence.measured.index
    law = evidence.class_law
    reach_P = _reach(measurements, index)
    below_P, middle_P, mastered_P = law.class_posterior(settings.eps, settings.mastery).T
    read = "format_posterior" in measurements["format"].per_problem if "format" in measurements else False
    low_format_P, middle_format_P, _ = format_by_class(evidence).T if read else np.zeros((3, len(index)))
    low_format_P, middle_format_P = np.minimum(low_format_P, below_P), np.minimum(middle_format_P, middle_P)
    out_P = below_P - low_format_P
    posterior = pd.DataFrame(
        {
            "mastered": mastered_P,
            "reshaping": middle_P - middle_format_P,
            "format": low_format_P + middle_format_P,
            "guided": out_P * reach_P,
            "support": out_P * (1 - reach_P),
        },
        index=index,
    )
    if evidence.counts is not None:
        return ClassPosterior(posterior, _shares_by_threshold(evidence))
    rng = np.random.default_rng(settings.sampling.seed)
    p_SP = law.sample_p(DRAWS, rng=rng)
    mastered_SP = p_SP >= settings.mastery
    low_SP = p_SP < settings.eps
    format_SP = reach_SP = np.zeros_like(low_SP)
    if read and (form := evidence.format_law) is not None:
        format_SP = form.sample_p(DRAWS, rng=rng) >= repairable(p_SP, settings.eps)
    del p_SP
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
    consolidation = pd.Series(out_P * solved_P, index)
    return ClassPosterior(posterior, shares_SC, consolidation, elsewhere_SC)


def members_of(
    mastered_SP: BoolArray, low_SP: BoolArray, format_SP: BoolArray, reach_SP: BoolArray
) -> dict[ProblemClass, BoolArray]:
    """Which problems are in which class, in each draw.

    Args:
        mastered_SP: p >= mastery, shape (S, P).
        low_SP: p < eps.
        format_SP: right answers are there, and their form is what fails (`repairable`).
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
    """Share of the problems in each class, in each draw, shape (S, 5).

    Args:
        members: for each class a mask of shape (S, P).
    """
    return np.stack([members[name].mean(axis=1) for name in CLASSES], axis=1).astype(np.float64)


def _coins(rng: np.random.Generator, chance_P: NDArray[np.float64]) -> BoolArray:
    """Independent events per problem, shape (DRAWS, P); drawn by rows, for uniforms take eight times the memory."""
    return np.stack([rng.random(len(chance_P)) < chance_P for _ in range(DRAWS)])


def _shares_by_threshold(evidence: Evidence) -> NDArray[np.float64]:
    """Draws of the shares when p alone decides the class, shape (S, 5).

    Nothing of the size draws x problems is held in memory.
    """
    settings = evidence.settings
    below_S, open_S = evidence.law.posterior_draws(below(settings.eps), below(settings.mastery)).T
    below_S = np.clip(below_S, 0.0, 1.0)
    open_S = np.clip(open_S, below_S, 1.0)
    none_S = np.zeros_like(open_S)
    return np.stack([1 - open_S, open_S - below_S, none_S, none_S, below_S], axis=1)


def _reach(measurements: Mapping[str, Measurement], index: pd.Index[str]) -> NDArray[np.float64]:
    """Probability that a prefix reaches each problem, shape (P,).

    Problems outside the ladder's sample get the mean of those inside.
    """
    found = measurements.get("prefix_ladder")
    if found is None or "reach" not in found.per_problem or not found.per_problem["reach"].notna().any():
        return np.zeros(len(index))
    reach = found.per_problem["reach"].astype(float)
    return np.asarray(reach.reindex(index).fillna(float(reach.mean())), dtype=np.float64)
