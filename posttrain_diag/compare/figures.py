"""What two sides' counts say: support gained and lost, the change of pass@k, and what the change is made of.

Suffixes: `P` problems, `S` posterior draws, `4` fates in the order of `stats.FATES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.compare.types import Decomposition, NullControl, PassChange, SupportChange
from posttrain_diag.settings.analysis import RESOLVED
from posttrain_diag.stats import (
    FATES,
    Counts,
    Crossing,
    MixingLaw,
    as_bound,
    crossing,
    fit_mixing_law,
    null_resample,
    paired_difference,
    pass_at,
    pass_at_k,
    pass_at_k_per_problem,
)
from posttrain_diag.types import Estimate, Label

FloatArray = NDArray[np.float64]

KS = (1, 4, 16, 64, 256, 1024)
FATE_NAMES = dict(zip(FATES, ("kept", "gained", "lost", "outside"), strict=True))
"""What a problem is called in reports that is resolved to a fate."""


@dataclass(frozen=True)
class Figures:
    """The statistics of a pair of runs over the same problems in the same order."""

    before: Counts
    after: Counts
    rollout_budget: int
    level: float
    seed: int
    clusters: Sequence[str] | None = None
    """The cluster of each problem; those of one cluster (one prompt under several ids) are resampled together."""

    @property
    def eps(self) -> float:
        """The threshold on p from which a problem counts as supported."""
        return 1.0 / self.rollout_budget

    @cached_property
    def laws(self) -> tuple[MixingLaw, MixingLaw]:
        """The mixing laws of the two runs."""
        return fit_mixing_law(self.before, seed=self.seed), fit_mixing_law(self.after, seed=self.seed)

    @cached_property
    def change_P(self) -> FloatArray:
        """Change of each problem's pass rate from the first run to the second, shape (P,)."""
        values = self._values_P(1)
        return values[1] - values[0]

    @cached_property
    def crossing(self) -> Crossing:
        """The posterior of what happened to each problem's support."""
        return crossing(*self.laws, self.eps, self.change_P, seed=self.seed)

    def _measured(self, k: int) -> bool:
        """Whether pass@k of both runs can be read off the counts without a law."""
        return all(run.is_uniform and k <= int(run.n_P[0]) for run in (self.before, self.after))

    def _values_P(self, k: int) -> tuple[FloatArray, FloatArray]:
        """pass@k of each problem, before and after, shape (P,) each.

        Unbiased from the counts where all problems of a run have the same n >= k; else the laws' posterior means,
        which stay valid where the number of rollouts depended on their outcomes.
        """
        if self._measured(k):
            return pass_at_k_per_problem(self.before, k), pass_at_k_per_problem(self.after, k)
        before, after = (law.mean_per_problem(pass_at(k)) for law in self.laws)
        return before, after

    def pass_change(self, k: int) -> PassChange:
        """pass@k before and after, with a paired test over problems, or one by the laws where it is not measured."""
        sides = self.before, self.after
        if self._measured(k):
            found = paired_difference(*self._values_P(k), seed=self.seed, clusters=self.clusters, level=self.level)
            before, after = (self._bounded(pass_at_k(run, k, level=self.level), run, k) for run in sides)
            return PassChange(k, before, after, found.difference, found.p_value)
        laws = zip(self.laws, sides, strict=True)
        before, after = (self._bounded(law.pass_at_k(k, self.level), run, k) for law, run in laws)
        change, p_value = self._change_by_laws(k)
        return PassChange(k, before, after, replace(change, label=_weaker(before.label, after.label)), p_value)

    @staticmethod
    def _bounded(estimate: Estimate, run: Counts, k: int) -> Estimate:
        return as_bound(estimate, run, counted=k <= int(run.n_P.min()))

    def _change_by_laws(self, k: int) -> tuple[Estimate, float]:
        """Change of pass@k from posterior draws of the two laws, and twice its smaller tail beyond 0.

        A paired test of posterior means would miss what is unsure about the laws, which moves all problems together:
        with adaptive draws of one model it rejected in up to a fifth of the runs at 5% (`benchmarks/compare`).
        """
        value_P = np.subtract(*self._values_P(k)[::-1])
        one_S, other_S = (law.posterior_draws(pass_at(k))[:, 0] for law in self.laws)
        change_S = np.random.default_rng([self.seed, 5]).permutation(other_S) - one_S  # the laws share their seeds
        tail = (1.0 - self.level) / 2.0
        low, high = np.quantile(change_S, [tail, 1.0 - tail])
        value = float(value_P.mean())
        beyond = min((change_S >= 0).sum(), (change_S <= 0).sum())
        p_value = min(1.0, 2.0 * (1 + int(beyond)) / (1 + len(change_S)))
        found = Estimate(value, min(float(low), value), max(float(high), value), self.level, len(value_P), "estimated")
        return found, p_value

    def pass_changes(self) -> tuple[PassChange, ...]:
        """The changes of pass@k for every k that the rollouts of both runs bear, up to 4n."""
        asked = sorted({*KS, self.rollout_budget})
        return tuple(self.pass_change(k) for k in asked if k == 1 or self._borne(k))

    def _borne(self, k: int) -> bool:
        return all(law.label(float(k)) != "model-dependent" for law in self.laws)

    def support(self) -> SupportChange:
        """Numbers of problems whose support was preserved, expanded, shrunk or never there, and rates made of them."""
        kept_S, gained_S, lost_S, _ = self.crossing.count_S4.T
        value_4 = self.crossing.fate_P4.sum(axis=0)
        counts = [
            self._estimate(float(v), draws_S) for v, draws_S in zip(value_4, self.crossing.count_S4.T, strict=True)
        ]
        kept, gained, lost, _ = value_4
        return SupportChange(
            *counts,
            srr=self._ratio("no problem was supported before", kept, kept + lost, kept_S, kept_S + lost_S),
            ndr=self._ratio("no problem is supported after", gained, kept + gained, gained_S, kept_S + gained_S),
            nscr=self._ratio(
                "no problem is supported before or after",
                gained - lost,
                kept + gained + lost,
                gained_S - lost_S,
                kept_S + gained_S + lost_S,
            ),
        )

    def _estimate(self, value: float, draws_S: FloatArray) -> Estimate:
        tail = (1.0 - self.level) / 2.0
        low, high = np.quantile(draws_S, [tail, 1.0 - tail])
        labels = [law.label(self.rollout_budget) for law in self.laws]
        label: Label = "model-dependent" if "model-dependent" in labels else "estimated"
        far = f"p = 1/{self.rollout_budget} lies beyond 4 x the rollouts drawn: it rests on the fitted laws"
        reason = "" if label == "estimated" else far
        return Estimate(
            value, min(float(low), value), max(float(high), value), self.level, len(self.before), label, reason
        )

    def _ratio(self, without: str, top: float, bottom: float, top_S: FloatArray, bottom_S: FloatArray) -> Estimate:
        """A ratio of numbers of problems; undefined where the denominator is more likely none than one."""
        there_S = bottom_S > 0
        if bottom < 0.5 or not there_S.any():
            return Estimate.undefined(f"{without} (expected number {bottom:.2g})", self.level)
        return self._estimate(float(top / bottom), top_S[there_S] / bottom_S[there_S])

    def null(self) -> tuple[NullControl, NullControl]:
        """Expanded and shrunk support beside what two draws of one model show."""
        found = null_resample(self.before, self.after, self.eps, seed=self.seed)
        expanded, shrunk = (
            NullControl(
                observed=found.observed[i],
                expected=float(found.null_B2[:, i].mean()),
                high=float(np.quantile(found.null_B2[:, i], 0.95)),
                p_value=found.p_values[i],
                resamples=len(found.null_B2),
            )
            for i in (0, 1)
        )
        return expanded, shrunk

    def decomposition(self, change: Estimate, forgetting: Estimate | None) -> Decomposition:
        """What the change of pass@1 is made of.

        A problem's change counts towards its fates in proportion to their probabilities, so the parts sum to the
        change. Their intervals are those of joint posterior draws of the fates and of the pass rates.

        Args:
            change: the change of pass@1, from `pass_change(1)`.
            forgetting: loss on retained tasks; None where it is not known.
        """
        assert change.value is not None
        part_4 = self.change_P @ self.crossing.fate_P4 / len(self.change_P)
        kept, gained, lost = (float(part) for part in part_4[:3])
        rest = change.value - (kept + gained + lost)
        signs = (1.0, 1.0, -1.0, 1.0)
        parts = [
            self._estimate(sign * part + 0.0, sign * draws_S)
            for part, sign, draws_S in zip((kept, gained, lost, rest), signs, self.crossing.moved_S4.T, strict=True)
        ]
        lost_elsewhere = 0.0 if forgetting is None or forgetting.value is None else forgetting.value
        return Decomposition(change, *parts, forgetting=forgetting, net=change.value - lost_elsewhere)

    def per_problem(self, ids: Sequence[str]) -> pd.DataFrame:
        """A table with one row per problem: counts, posterior means and fates."""
        table = pd.DataFrame({"id": list(ids)})
        for name, run, law in zip(("before", "after"), (self.before, self.after), self.laws, strict=True):
            table[f"n_{name}"], table[f"c_{name}"] = run.n_P, run.c_P
            interval_P2 = law.posterior_interval(self.level)
            table[f"p_{name}"] = law.posterior_mean()
            table[f"p_{name}_low"], table[f"p_{name}_high"] = interval_P2.T
        table["change"] = self.change_P
        for fate, chance_P in zip(FATES, self.crossing.fate_P4.T, strict=True):
            table[fate] = chance_P
        surest = table[[*FATES]].idxmax(axis=1).map(FATE_NAMES)
        table["fate"] = surest.where(table[[*FATES]].max(axis=1) >= RESOLVED, "unresolved")
        return table


def _weaker(*labels: Label) -> Label:
    """Of several labels the one that promises least."""
    order: tuple[Label, ...] = ("bound", "measured", "estimated", "model-dependent", "undefined")
    return max(labels, key=order.index)
