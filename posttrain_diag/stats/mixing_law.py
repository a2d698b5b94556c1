"""How the success probabilities of a benchmark are spread, and every forecast that follows from it.

`fit_mixing_law(counts)` learns the law from which the problems' p seem to come and, with it, a posterior for each
problem at hand. Every answer is about these P problems (the finite benchmark), not about a population of them.
Suffixes: `P` problems, `R` unique (n, c) rows, `S` posterior draws of the law, `J` grid points, `F` functionals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, logsumexp

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.bounds import assumption_free_bounds
from posttrain_diag.stats.counts import Counts, FloatArray
from posttrain_diag.stats.forecast_families import FORECAST_FAMILIES
from posttrain_diag.stats.functionals import (
    Functional,
    PGrid,
    below,
    mixed_group,
    pass_at,
    solve_rate,
)
from posttrain_diag.stats.intervals import check_level
from posttrain_diag.stats.mixing_components import COMPONENTS
from posttrain_diag.stats.mixing_prior import FAMILIES, FamilyPosterior, LawFamily, Likelihood, sample_family
from posttrain_diag.types import Estimate, Label

_DRAWS = 700
"""Proposal draws per family."""
_KEPT = 400
"""Posterior draws of the law that are kept."""
_COARSENING = 600.0
_EXACT_PROBLEMS = 4000
"""Up to this many problems means over problems are drawn exactly; beyond, they are normal given the law."""
_EXACT_CELLS = 400_000
"""Draws x problems of the exact draws, within 400 to 1,600 draws."""
_OWN_WAY = 0.2
"""Probability that one problem's p does not come from the common law, in per-problem intervals. At 0 the worst of 6 zoo
sets had 77% coverage of nominal 90 (family H), at .2 the worst had 85% for widths 3-13% larger (n = 64)."""
_NEVER = 1e-300
_ROUNDING = 1e-9
"""Intervals are widened by what the arithmetic cannot resolve: pass@k so near 1 that it rounds to 1."""
_TEMPER = 0.6
"""Power of the evidence in the weights of families for intervals: families that fit nearly as well keep a say."""


def fit_mixing_law(
    counts: Counts,
    *,
    seed: int = 0,
    families: tuple[LawFamily, ...] | None = None,
    grid: PGrid | None = None,
    power: float | None = None,
) -> MixingLaw:
    """Learn how the problems' success probabilities are spread.

    The likelihood is raised to alpha/(alpha + P): no family is the truth, and the coarsening keeps intervals
    honest where an exact posterior would shrink around the wrong law. Valid under optional stopping.

    Args:
        counts: rollouts of every problem, at least one in all; n may differ between problems.
        seed: seeds the importance draws; the same counts and seed give the same law.
        families: priors over laws, averaged by their evidence, for every question; when absent, those of this module
            for classes and shares, and `FORECAST_FAMILIES` for pass@k.
        grid: the grid of success probabilities; None: one that is fine enough for these counts.
        power: power to which the likelihood is raised; None: that of so many problems and rollouts.

    Returns:
        The posterior of the law and of every problem's p.

    References:
        Coarsened posterior: Miller and Dunson 2019, doi:10.1080/01621459.2018.1469995. Mixing laws of
        success probabilities behind pass@k: arXiv:2502.17578, arXiv:2510.05197.
    """
    given, families = families is not None, families or (*FAMILIES, *COMPONENTS)
    rng = np.random.default_rng(seed)
    table = counts.table
    n_R, c_R = table.n_R.astype(np.float64), table.c_R.astype(np.float64)
    power = power_of(counts) if power is None else power
    grid = grid or PGrid.for_rollouts(int(counts.n_P.max()))
    data = Likelihood.build(grid, n_R, c_R, table.weight_R * power)
    posteriors: list[FamilyPosterior] = []
    start_D = families[0].start_D(data)
    for family in families:
        if not family.continues or len(start_D) != family.n_parameters:
            start_D = family.start_D(data)
        posteriors.append(sample_family(family, data, start_D, _DRAWS, rng))
        start_D = posteriors[-1].mode_D
    law_SJ, slack_S = _keep(posteriors, [f.weight for f in families], _TEMPER, rng)
    return MixingLaw(
        counts=counts,
        grid=grid,
        law_SJ=law_SJ,
        slack_S=slack_S,
        point_law_SJ=_keep(posteriors, [f.point_weight for f in families], 1.0, rng)[0],
        share_law_SJ=_keep(posteriors, [f.share_weight for f in families], 1.0, rng)[0],
        likelihood_RJ=data.value_RJ,
        log_evidence=float(logsumexp([q.log_evidence for q in posteriors], b=[f.share_weight for f in families])),
        seed=seed,
        forecasts=given,
    )


def coarsening(mean_n: float) -> float:
    """Alpha of the coarsened likelihood at this many rollouts per problem on average."""
    return _COARSENING * min(1.0, float(np.sqrt(32.0 / max(mean_n, 1e-9))))


def _is_solving(functional: Functional) -> bool:
    """Whether the functional is a pass@k with k above 1."""
    at_0, at_half, at_1 = functional.of(np.array([0.0, 0.5, 1.0])).tolist()
    return functional.threshold is None and at_0 == 0.0 and at_half > 0.5 and at_1 > 0.999 and functional.depth > 1


def power_of(counts: Counts) -> float:
    """The power to which the likelihood of so many problems and rollouts is raised."""
    alpha = coarsening(counts.n_rollouts / len(counts))
    return alpha / (alpha + len(counts))


def _normalised(mass_RJ: FloatArray) -> FloatArray:
    return mass_RJ / mass_RJ.sum(axis=1, keepdims=True)


def _keep(
    posteriors: list[FamilyPosterior], prior: list[float], temper: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw equally likely laws from all families, each family weighted by prior x evidence.

    Returns:
        Cell masses of the kept laws, shape (S, J), and the slack of each, shape (S,).
    """
    log_weight = np.log(np.maximum(prior, _NEVER)) + temper * np.asarray([q.log_evidence for q in posteriors])
    share = np.exp(log_weight - logsumexp(log_weight))
    weight_S = np.concatenate([w * q.weight_S for w, q in zip(share, posteriors, strict=True)])
    slack_S = np.repeat([q.family.slack for q in posteriors], [len(q.weight_S) for q in posteriors])
    picks = np.searchsorted(np.cumsum(weight_S), (rng.random() + np.arange(_KEPT)) / _KEPT)
    chosen = rng.permutation(np.minimum(picks, len(weight_S) - 1))
    return np.concatenate([q.law_SJ for q in posteriors])[chosen], slack_S[chosen]


@dataclass(frozen=True, eq=False)
class MixingLaw:
    """Posterior of the mixing law and of each problem's success probability."""

    counts: Counts
    grid: PGrid
    law_SJ: FloatArray
    """Posterior draws of the law for intervals: masses on the grid, shape (S, J)."""
    slack_S: FloatArray
    """How far, in logit(p), each law leaves the place of a problem beside a threshold open, shape (S,)."""
    point_law_SJ: FloatArray
    """Posterior draws of the law for point values, with more weight on the simple beta family."""
    share_law_SJ: FloatArray
    """Posterior draws of the law from the smooth families alone, for shares below a threshold."""
    likelihood_RJ: FloatArray
    """Likelihood of each unique row on the grid, scaled to maximum 1."""
    log_evidence: float
    """Log marginal likelihood of the counts, raised to the power of the fit, under the families for shares."""
    seed: int
    forecasts: bool = False
    """Whether this law answers pass@k itself; otherwise one of `FORECAST_FAMILIES` is fitted when it is asked for."""

    @cached_property
    def _evidence_SR(self) -> FloatArray:
        return np.maximum(self.law_SJ @ self.likelihood_RJ.T, 1e-290)

    @cached_property
    def _posterior_RJ(self) -> FloatArray:
        """Posterior cell masses of p for each unique row, averaged over the laws for points, shape (R, J)."""
        return self._averaged(self.point_law_SJ)

    @cached_property
    def share_posterior_RJ(self) -> FloatArray:
        """Posterior cell masses of p for each unique row, averaged over the laws for shares, shape (R, J)."""
        return self._averaged(self.share_law_SJ)

    def _averaged(self, law_SJ: FloatArray) -> FloatArray:
        evidence_SR = np.maximum(law_SJ @ self.likelihood_RJ.T, 1e-290)
        return _normalised(self.likelihood_RJ * ((1.0 / evidence_SR).T @ law_SJ))

    @cached_property
    def _wide_posterior_RJ(self) -> FloatArray:
        """Posterior cell masses of p for each unique row, averaged over the laws for intervals, shape (R, J)."""
        return _normalised(self.likelihood_RJ * ((1.0 / self._evidence_SR).T @ self.law_SJ))

    @cached_property
    def _p_draws_SP(self) -> FloatArray:
        draws = int(np.clip(_EXACT_CELLS // len(self.counts), _KEPT, 4 * _KEPT))
        return self.sample_p(draws, np.random.default_rng([self.seed, 1]))

    @cached_property
    def _forecast(self) -> MixingLaw:
        """The law that pass@k is forecast from: other families, with a prior learned from real models."""
        if self.forecasts:
            return self
        return fit_mixing_law(self.counts, seed=self.seed, families=FORECAST_FAMILIES)

    @property
    def _is_small(self) -> bool:
        return len(self.counts) <= _EXACT_PROBLEMS

    # -- each problem ------------------------------------------------------------------------------------

    def posterior_mean(self) -> FloatArray:
        """Expected success probability of each problem, shape (P,)."""
        return self.mean_per_problem(solve_rate())

    def mean_per_problem(self, functional: Functional) -> FloatArray:
        """Posterior mean of h(p) for each problem, shape (P,)."""
        if _is_solving(functional) and not self.forecasts:
            return self._forecast.mean_per_problem(functional)
        h_J = self.grid.evaluate(functional)
        posterior_RJ = self._posterior_RJ if functional.threshold is None else self.share_posterior_RJ
        return np.clip(posterior_RJ @ h_J, h_J.min(), h_J.max())[self.counts.table.row_P]

    def posterior_interval(self, level: float = 0.9) -> FloatArray:
        """Interval for the success probability of each problem.

        Equal tails; a problem that never passed reaches down to 0 and one that never failed up to 1. With probability
        `_OWN_WAY` a problem is taken to be unlike the others (Jeffreys prior, its own rollouts alone): the common law
        borrows strength, and where it is fitted too narrow the intervals of single problems would miss too often. A
        never-passed problem's upper end also holds given p > 0: no number of other problems shows that this one is
        impossible.

        Args:
            level: nominal coverage, on average over problems.

        Returns:
            Lower and upper ends, shape (P, 2).
        """
        tail = (1.0 - check_level(level)) / 2.0
        table = self.counts.table
        p_J = np.clip(self.grid.evaluate(solve_rate()), 0.0, 1.0)
        own_RJ = self.likelihood_RJ * np.sqrt(p_J * (1.0 - p_J))
        own_RJ /= own_RJ.sum(axis=1, keepdims=True)
        posterior_RJ = (1.0 - _OWN_WAY) * self._wide_posterior_RJ + _OWN_WAY * own_RJ
        low_R = self.grid.quantiles(posterior_RJ, tail)
        high_R = self.grid.quantiles(posterior_RJ, 1.0 - tail)
        possible_RJ = posterior_RJ.copy()
        possible_RJ[:, 0] = 0.0
        high_R = np.where(table.c_R == 0, np.maximum(high_R, self.grid.quantiles(possible_RJ, level)), high_R)
        low_R = np.where(table.c_R == 0, 0.0, low_R)
        high_R = np.where(table.c_R == table.n_R, 1.0, high_R)
        return np.stack([low_R, high_R], axis=1)[table.row_P]

    def prob_at_least(self, threshold: float) -> FloatArray:
        """Posterior probability that p >= threshold for each problem, shape (P,)."""
        return 1.0 - self.mean_per_problem(below(threshold))

    def class_posterior(self, eps: float, mastery: float = 0.8) -> FloatArray:
        """Posterior of the three classes of each problem.

        Args:
            eps: 1 / (rollouts per problem the on-policy stage can afford).
            mastery: success probability from which a problem counts as mastered.

        Returns:
            Probabilities of p < eps, eps <= p < mastery, p >= mastery; shape (P, 3), rows sum to 1.

        Raises:
            StatsError: not 0 < eps < mastery < 1.
        """
        if not 0.0 < eps < mastery < 1.0:
            raise StatsError(f"eps = {eps} and mastery = {mastery}: 0 < eps < mastery < 1 is needed")
        low_P = self.mean_per_problem(below(eps))
        top_P = self.prob_at_least(mastery)
        return np.stack([low_P, np.clip(1.0 - low_P - top_P, 0.0, 1.0), top_P], axis=1)

    def prob_at_least_given_law(self, threshold: float) -> FloatArray:
        """Posterior probability that p >= threshold for each unique row under each drawn law, shape (S, R).

        Rows are those of `counts.table`. What is unsure about the law moves all problems together, which the mean
        over the laws (`prob_at_least`) hides.
        """
        below_J = self.grid.evaluate(below(threshold))
        return np.clip(1.0 - (self.law_SJ * below_J) @ self.likelihood_RJ.T / self._evidence_SR, 0.0, 1.0)

    def sample_p(self, n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Joint posterior draws of every problem's success probability.

        Each draw first picks a law, then every problem's p given it, so that what is unsure about the law moves
        all problems together.

        Args:
            n_draws: the number of draws.
            rng: source of randomness.

        Returns:
            Probabilities, shape (n_draws, P).
        """
        row_P = self.counts.table.row_P
        n_rows, n_cells = self.likelihood_RJ.shape
        cell = np.empty((n_draws, len(row_P)), dtype=np.int64)
        for draw in range(n_draws):
            mass_RJ = self.likelihood_RJ * self.law_SJ[draw % len(self.law_SJ)]
            cumulative_RJ = np.cumsum(mass_RJ, axis=1)
            cumulative_RJ /= cumulative_RJ[:, -1:]
            stacked = (cumulative_RJ + np.arange(n_rows)[:, None]).reshape(-1)
            found_P = np.searchsorted(stacked, row_P + rng.random(len(row_P)), side="right")
            cell[draw] = np.clip(found_P - row_P * n_cells, 0, n_cells - 1)
        return self.grid.scatter(cell, rng)

    # -- means over the problems -------------------------------------------------------------------------

    def _moments(self, h_FJ: FloatArray, weight_R: FloatArray, square_R: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean (S, F) and covariance (S, F, F) of sum_i weight_i h_f(p_i) given each law."""
        first_FSR = np.stack([(self.law_SJ * h) @ self.likelihood_RJ.T / self._evidence_SR for h in h_FJ])
        mean_SF = (first_FSR @ weight_R).T
        n_f = len(h_FJ)
        covariance_SFF = np.empty((len(self.law_SJ), n_f, n_f))
        for i in range(n_f):
            for j in range(i + 1):
                second_SR = (self.law_SJ * (h_FJ[i] * h_FJ[j])) @ self.likelihood_RJ.T / self._evidence_SR
                covariance_SFF[:, i, j] = (second_SR - first_FSR[i] * first_FSR[j]) @ square_R
                covariance_SFF[:, j, i] = covariance_SFF[:, i, j]
        return mean_SF, covariance_SFF

    def posterior_draws(self, *functionals: Functional, weights: ArrayLike | None = None) -> FloatArray:
        """Joint posterior draws of means over the problems.

        For shares of classes that compete, the share of draws in which one is largest is its probability.

        Args:
            *functionals: the quantities h whose means are asked for.
            weights: weight of each problem, shape (P,); 1/P each when absent.

        Returns:
            Draws, shape (draws, F). Exact for up to 4,000 problems, normal given the law beyond.
        """
        if not self.forecasts and all(_is_solving(f) for f in functionals):
            return self._forecast.posterior_draws(*functionals, weights=weights)
        problems = len(self.counts)
        weight_P = np.full(problems, 1.0 / problems) if weights is None else np.asarray(weights, dtype=np.float64)
        if self._is_small:
            return np.stack([f.of(self._p_draws_SP) @ weight_P for f in functionals], axis=1)
        row_P, rows = self.counts.table.row_P, len(self.counts.table.n_R)
        weight_R = np.bincount(row_P, weight_P, rows).astype(np.float64)
        square_R = np.bincount(row_P, weight_P**2, rows).astype(np.float64)
        h_FJ = np.stack([self.grid.evaluate(f) for f in functionals])
        mean_SF, covariance_SFF = self._moments(h_FJ, weight_R, square_R)
        values_SF, vectors_SFF = np.linalg.eigh(covariance_SFF)
        rng = np.random.default_rng([self.seed, 2])
        noise_SF = np.sqrt(np.maximum(values_SF, 0.0)) * rng.standard_normal(mean_SF.shape)
        return mean_SF + np.einsum("sij,sj->si", vectors_SFF, noise_SF)

    def mean(self, functional: Functional) -> float:
        """Posterior mean of the mean of h(p) over the problems."""
        h_P = self.mean_per_problem(functional)
        return float(np.clip(h_P.mean(), h_P.min(), h_P.max()))

    def interval(self, functional: Functional, level: float = 0.9) -> tuple[float, float]:
        """Interval for the mean of h(p) over the problems; always holds the point value.

        On which side of a threshold a heap of problems lies is known no finer than the heap's place, so the interval
        of a share holds for every threshold within the slack of each law. An upper end of pass@k beyond the rollouts
        drawn that leaves less than one problem unsolved is 1. Where no rollout passed the interval holds the value
        at p = 0, and where none failed that at p = 1.
        """
        tail = (1.0 - check_level(level)) / 2.0
        value = self.mean(functional)
        if functional.threshold is None:
            low_S = high_S = self.posterior_draws(functional)[:, 0]
        else:
            low_S, high_S = self._share_draws(functional.threshold)
        low = float(np.clip(np.quantile(low_S, tail), 0.0, 1.0))
        high = float(np.clip(np.quantile(high_S, 1.0 - tail), 0.0, 1.0))
        held = [value]
        if self._forecasts_solving(functional) and len(self.counts) * (1.0 - high) < 1.0:
            held.append(1.0)
        if self.counts.n_passed == 0:
            held.append(float(functional.of(np.zeros(1))[0]))
        if self.counts.n_passed == self.counts.n_rollouts:
            held.append(float(functional.of(np.ones(1))[0]))
        return max(0.0, min(low, *held) - _ROUNDING), min(1.0, max(high, *held) + _ROUNDING)

    def _forecasts_solving(self, functional: Functional) -> bool:
        """Whether the functional is a pass@k with k beyond the rollouts drawn."""
        return _is_solving(functional) and self.label(functional.depth) != "measured"

    def _share_draws(self, threshold: float) -> tuple[FloatArray, FloatArray]:
        """Draws of the share of problems below a threshold, with each law's slack taken off it and added to it."""
        cut = float(logit(threshold))
        slacks = np.unique(self.slack_S)
        ends: list[FloatArray] = []
        for sign in (-1.0, 1.0):
            draws_SF = self.posterior_draws(*(below(float(expit(cut + sign * slack))) for slack in slacks))
            slack_S = np.resize(self.slack_S, len(draws_SF))
            ends.append(draws_SF[np.arange(len(draws_SF)), np.searchsorted(slacks, slack_S)])
        return ends[0], ends[1]

    def estimate(self, functional: Functional, level: float = 0.9) -> Estimate:
        """Mean of h(p) over the problems, with its interval and label.

        Args:
            functional: the quantity, from `stats.functionals`.
            level: nominal coverage.

        Returns:
            An estimate labelled measured while the quantity's depth is within every problem's n, estimated up to 4n,
            and model-dependent beyond (the reason then states the assumption-free bounds).
        """
        value = self.mean(functional)
        low, high = self.interval(functional, level)
        label = self.label(functional.depth)
        reason, free = "", None
        if label == "model-dependent":
            bounds = self.bounds(functional, level)
            free = None if bounds.low is None or bounds.high is None else (bounds.low, bounds.high)
            reason = f"{functional.name} lies beyond 4 x the rollouts drawn, so it rests on the fitted law; " + (
                f"without it: {bounds.low:.3f} to {bounds.high:.3f}" if bounds.low is not None else bounds.reason
            )
        return Estimate(
            value, min(float(low), value), max(float(high), value), level, len(self.counts), label, reason, free
        )

    def label(self, depth: float) -> Label:
        """The label of a figure that needs this many rollouts per problem: measured, estimated or model-dependent.

        The rollouts that count are those of the problems that never passed: nine in ten of them have at least
        the n that is compared with the depth.
        """
        n_P = self.counts.n_P
        if depth <= int(n_P.min()):
            return "measured"
        open_P = self.counts.c_P == 0
        reach = float(np.quantile(n_P[open_P] if open_P.any() else n_P, 0.1, method="lower"))
        return "estimated" if depth <= 4 * reach else "model-dependent"

    def bounds(self, functional: Functional, level: float = 0.9) -> Estimate:
        """Bounds of the mean of h(p) that assume no mixing law, as `assumption_free_bounds` finds them."""
        return assumption_free_bounds(self.counts, functional, level=level)

    def pass_at_k(self, k: int, level: float = 0.9) -> Estimate:
        """Mean pass@k over the problems, for any k."""
        return self.estimate(pass_at(k), level)

    def share_below(self, eps: float, level: float = 0.9) -> Estimate:
        """Share of the problems with p < eps."""
        return self.estimate(below(eps), level)

    def share_at_least(self, threshold: float, level: float = 0.9) -> Estimate:
        """Share of the problems with p >= threshold."""
        e = self.share_below(threshold, level)
        value, low, high = (1.0 - x if x is not None else None for x in (e.value, e.high, e.low))
        free = None if e.bounds is None else (1.0 - e.bounds[1], 1.0 - e.bounds[0])
        reason = e.reason.partition("; without it")[0].replace("below", "at least")
        if free is not None:
            reason += f"; without it: {free[0]:.3f} to {free[1]:.3f}"
        return Estimate(value, low, high, level, e.n, e.label, reason, free)

    def mixed_groups(self, group: int, level: float = 0.9) -> Estimate:
        """Expected share of groups of G rollouts that hold both a pass and a fail."""
        return self.estimate(mixed_group(group), level)

    def expected_successes(self, budget_per_problem: ArrayLike, level: float = 0.9) -> Estimate:
        """Expected passing rollouts, pooled over all problems, in a planned rollout budget.

        Far below one, on-policy RL has nothing to learn from; a few are enough to start.

        Args:
            budget_per_problem: rollouts planned per problem, one number or shape (P,).
            level: nominal coverage of the interval for the expectation (not for the random number itself).

        Returns:
            A number of rollouts >= 0, not a probability.

        Raises:
            StatsError: a budget that is negative or not a finite number.
        """
        problems = len(self.counts)
        budget_P = np.broadcast_to(np.asarray(budget_per_problem, dtype=np.float64), (problems,))
        if not np.isfinite(budget_P).all() or (budget_P < 0).any():
            raise StatsError(f"budget_per_problem is {budget_per_problem!r}: give finite numbers >= 0")
        tail = (1.0 - check_level(level)) / 2.0
        value = float(self.posterior_mean() @ budget_P)
        draws = self.posterior_draws(solve_rate(), weights=budget_P)[:, 0]
        low, high = np.maximum(np.quantile(draws, [tail, 1.0 - tail]), 0.0)
        low = low if self.counts.n_passed > 0 else 0.0
        label: Label = "estimated" if self.counts.n_passed > 0 else "model-dependent"
        reason = "" if self.counts.n_passed > 0 else "no rollout passed: the value rests on the prior over laws"
        return Estimate(value, min(float(low), value), max(float(high), value), level, problems, label, reason)
