"""What an undetermined verdict still lacks: the posterior predictive of the verdict after more draws or problems.

A world is a joint posterior draw of every problem's p, of its share of failures that only format explains and of its
success after a prefix. Further counts are drawn from the world, the laws are reweighted by them, and the verdict is
read off as it will be then. Suffixes: `P` problems, `J` grid points, `L` laws, `S` draws of a world's posterior.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from posttrain_probes.format_gap import REPAIRABLE, repairable
from posttrain_probes.prefix_ladder import best_share_law
from scipy.special import logsumexp

from posttrain_diag.diagnose import one_draw
from posttrain_diag.diagnose.classes import members_of, shares_of
from posttrain_diag.evidence import Evidence
from posttrain_diag.stats import below
from posttrain_diag.stats.functionals import PGrid
from posttrain_diag.stats.mixing_law import coarsening
from posttrain_diag.types import Bottleneck, Needed

ENOUGH = 0.5
"""Samples are enough when they let the verdict be named with at least this probability."""
MOST_ROLLOUTS = 4096
"""Rollouts per problem beyond which only more problems can help."""
MOST_PROBLEMS = 64
"""At most this many times the present problems are asked for."""
PILOT = 64
"""Rollouts per problem of the forecast, where the present ones are too few however many problems there are."""
WORLDS = 40
SIMULATED = 160
"""Problems of a simulated world; larger sets are represented by a sample of this size, weighted up."""
FORM_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, REPAIRABLE)
"""Shares of the failures that are right in substance, beside eps, at which the class of a problem is asked for."""
LAWS = 200
DRAWS = 128
TINY = 1e-290

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
VerdictOfShares = Callable[[FloatArray, int], Bottleneck]
"""The verdict from draws of the shares, shape (S, 5), and the number of problems they stand for."""


@dataclass(frozen=True)
class _Rate:
    """One success probability per problem: its law, and the draws that tell about it."""

    law_LJ: FloatArray
    grid: PGrid
    cuts_KJ: FloatArray
    """For each threshold the share of each grid cell that lies below it, shape (K, J)."""
    n_P: IntArray
    c_P: IntArray

    @staticmethod
    def of(law_SJ: FloatArray, grid: PGrid, n_P: IntArray, c_P: IntArray, *thresholds: float) -> _Rate:
        """Carry a law's posterior over to the coarsest grid and put draws of these problems beside it.

        Args:
            law_SJ: posterior draws of the law, as masses on its grid.
            grid: that grid.
            n_P: draws of each problem, shape (P,).
            c_P: successes of each problem, shape (P,).
            *thresholds: probabilities at which `below` will cut.
        """
        coarse = PGrid.for_rollouts(1)
        joined = round(coarse.step / grid.step)
        law_LJ = law_SJ[:LAWS]
        if joined > 1:
            cell_J = np.clip(np.searchsorted(coarse.edges, grid.logit_J) - 1, 0, len(coarse.logit_J) - 1)
            body_LJ = np.zeros((len(law_LJ), len(coarse.logit_J)))
            np.add.at(body_LJ.T, cell_J, law_LJ[:, 1:].T)
            law_LJ = np.concatenate([law_LJ[:, :1], body_LJ], axis=1)
        cuts_KJ = np.stack([coarse.evaluate(below(threshold)) for threshold in thresholds])
        return _Rate(law_LJ, coarse, cuts_KJ, n_P, c_P)

    def take(self, rows_P: IntArray) -> _Rate:
        """The same law with the draws of some problems.

        Args:
            rows_P: positions of the problems, shape (P,); -1 stands for a problem that nobody has drawn yet.
        """
        new_P = rows_P < 0
        return replace(self, n_P=np.where(new_P, 0, self.n_P[rows_P]), c_P=np.where(new_P, 0, self.c_P[rows_P]))

    def likelihood(self, n_P: IntArray, c_P: IntArray) -> FloatArray:
        """Likelihood of each problem's draws on the grid, scaled to maximum 1.

        Args:
            n_P: draws, shape (P,).
            c_P: successes, shape (P,).

        Returns:
            Likelihoods, shape (P, J).
        """
        log_PJ = self.grid.log_likelihood(n_P.astype(np.float64), c_P.astype(np.float64))
        return np.exp(log_PJ - log_PJ.max(axis=1, keepdims=True))

    @cached_property
    def _now_PJ(self) -> FloatArray:
        return self.likelihood(self.n_P, self.c_P)

    @cached_property
    def _now_LP(self) -> FloatArray:
        return np.maximum(self.law_LJ @ self._now_PJ.T, TINY)

    def world(self, rng: np.random.Generator) -> FloatArray:
        """A joint posterior draw of the problems' p, shape (P,)."""
        mass_PJ = self._now_PJ * self.law_LJ[rng.integers(len(self.law_LJ))]
        cumulative_PJ = np.cumsum(mass_PJ, axis=1)
        at_P = rng.random(len(mass_PJ)) * cumulative_PJ[:, -1]
        cell_P = np.minimum((cumulative_PJ <= at_P[:, None]).sum(axis=1), mass_PJ.shape[1] - 1)
        return self.grid.scatter(cell_P[None, :], rng)[0]

    def below(self, n_P: IntArray, c_P: IntArray, weight: float, rng: np.random.Generator) -> BoolArray:
        """Joint draws of the event that p lies below each threshold, once these are the counts.

        Args:
            n_P: draws then, shape (P,).
            c_P: successes then, shape (P,).
            weight: power of the likelihood of the simulated problems in the weights of the laws.
            rng: source of randomness.

        Returns:
            Events, shape (K, DRAWS, P).
        """
        then_PJ = self.likelihood(n_P, c_P)
        then_LP = np.maximum(self.law_LJ @ then_PJ.T, TINY)
        log_L = weight * (np.log(then_LP) - np.log(self._now_LP)).sum(axis=1)
        weight_L = np.exp(log_L - logsumexp(log_L))
        picks = np.searchsorted(np.cumsum(weight_L), (rng.random() + np.arange(DRAWS)) / DRAWS)
        used, back_S = np.unique(np.minimum(picks, len(weight_L) - 1), return_inverse=True)
        chance_KLP = np.stack([(self.law_LJ[used] * cut_J) @ then_PJ.T / then_LP[used] for cut_J in self.cuts_KJ])
        return rng.random((DRAWS, len(n_P))) < chance_KLP[:, back_S]


@dataclass(frozen=True)
class _Present:
    """What is known now, and what a run with other numbers of problems and rollouts would draw."""

    main: _Rate
    format: _Rate | None
    """Strict failures that pass leniently, cut at `form_cuts`; None where no failure is right in substance."""
    form_cuts: tuple[float, ...]
    eps: float
    reach: _Rate | None
    """Success after the most helpful prefix, per problem; None where no prefix helps more than its controls."""
    ladder_rollouts: int
    seed: int
    judge: VerdictOfShares

    @staticmethod
    def of(evidence: Evidence, judge: VerdictOfShares) -> _Present:
        """Read what is known now from the evidence."""
        settings, table = evidence.settings, evidence.measured
        n_P, c_P = table["n"].to_numpy(np.int64), table["c"].to_numpy(np.int64)
        main = _Rate.of(evidence.law.law_SJ, evidence.law.grid, n_P, c_P, settings.eps, settings.mastery)
        form, law = None, evidence.format_law
        cuts = (settings.eps, *(step for step in FORM_STEPS if step > settings.eps))
        if law is not None:
            form = _Rate.of(law.law_SJ, law.grid, law.counts.n_P, law.counts.c_P, *cuts)
        reach, coarse = None, PGrid.for_rollouts(1)
        best = best_share_law(evidence, coarse)
        if best is not None:
            arm, share_law_SJ = best
            drawn = evidence.table(arm).reindex(table.index, fill_value=0)
            reach = _Rate.of(
                share_law_SJ, coarse, drawn["n"].to_numpy(np.int64), drawn["c"].to_numpy(np.int64), settings.eps
            )
        return _Present(main, form, cuts, settings.eps, reach, settings.ladder_rollouts, settings.sampling.seed, judge)

    @property
    def problems(self) -> int:
        """The number of measured problems."""
        return len(self.main.n_P)

    @property
    def mean(self) -> float:
        """The mean number of rollouts per problem."""
        return float(self.main.n_P.mean())

    def verdicts(self, problems: int, rollouts: float) -> Counter[Bottleneck]:
        """The verdicts of simulated runs.

        Args:
            problems: size of the task set then; problems beyond the present ones come from the same laws.
            rollouts: rollouts per problem then, on average.
        """
        rows_P = np.linspace(0, problems - 1, min(problems, SIMULATED)).round().astype(np.int64)
        rows_P = np.where(rows_P < self.problems, rows_P, -1)
        parts = [None if rate is None else rate.take(rows_P) for rate in (self.main, self.format, self.reach)]
        more_P = np.where(rows_P < 0, round(rollouts), max(0, round(rollouts - self.mean)))
        found: Counter[Bottleneck] = Counter()
        for world in range(WORLDS):
            rng = np.random.default_rng([self.seed, 4, world])
            found[self._verdict(parts, rows_P < 0, more_P, problems, rng)] += 1
        return found

    def _verdict(
        self,
        parts: list[_Rate | None],
        new_P: BoolArray,
        more_P: IntArray,
        problems: int,
        rng: np.random.Generator,
    ) -> Bottleneck:
        """Simulate one world: draw it, draw the further counts, judge them."""
        main, form, reach = parts
        assert main is not None
        p_P = main.world(rng)
        phi_P = form.world(rng) if form is not None else None
        q_P = reach.world(rng) if reach is not None else None
        passed_P = rng.binomial(more_P, p_P)
        upweight = problems / len(new_P)

        def power(n_P: IntArray) -> float:
            alpha = coarsening(float(n_P.mean()))
            return upweight * alpha / (alpha + problems)

        n_P = main.n_P + more_P
        low_SP, open_SP = main.below(n_P, main.c_P + passed_P, power(n_P), rng)
        format_SP = reach_SP = np.zeros_like(low_SP)
        if form is not None and phi_P is not None:
            failed_P = more_P - passed_P
            tried_P = form.n_P + failed_P
            below_KSP = form.below(tried_P, form.c_P + rng.binomial(failed_P, phi_P), power(tried_P), rng)
            rate_P = (main.c_P + passed_P + 0.5) / (n_P + 1.0)
            needed_P = np.searchsorted(self.form_cuts, repairable(np.maximum(rate_P, self.eps), self.eps) - TINY)
            cut_P = np.minimum(needed_P, len(self.form_cuts) - 1)
            out_SP = np.where(low_SP, below_KSP[0], below_KSP[cut_P, :, np.arange(len(cut_P))].T)
            format_SP = ~out_SP
        if reach is not None and q_P is not None:
            laddered_P = np.where(new_P, self.ladder_rollouts, 0)
            n_P = reach.n_P + laddered_P
            reach_SP = ~reach.below(n_P, reach.c_P + rng.binomial(laddered_P, q_P), power(n_P), rng)[0]
        return self.judge(shares_of(members_of(~open_SP, low_SP, format_SP, reach_SP)), problems)


def forecast(evidence: Evidence, judge: VerdictOfShares) -> Needed:
    """The samples after which the verdict is likely to be named: more rollouts if they can do it, else more problems.

    Args:
        evidence: what an undetermined verdict rests on; needs at least one measured problem.
        judge: names the verdict, as the diagnosis does; the instrument is taken to stay as it is.
    """
    present = _Present.of(evidence, judge)
    problems, mean = present.problems, present.mean
    least = one_draw.ENOUGH_DRAWS if one_draw.only_mean_known(evidence) else 0
    most = max(MOST_ROLLOUTS, round(4 * mean))

    def by_rollouts(rollouts: int) -> Counter[Bottleneck]:
        return present.verdicts(problems, rollouts)

    found = _search(by_rollouts, [number for number in _ladder(mean, most) if number >= least])
    if found is not None:
        return _needed(evidence, found[0], problems, found[1])
    outlook = by_rollouts(most)
    for rollouts in sorted({max(least, round(mean)), max(PILOT, round(mean))}):

        def by_problems(count: int, rollouts: int = rollouts) -> Counter[Bottleneck]:
            return present.verdicts(count, rollouts)

        found = _search(by_problems, _ladder(problems, MOST_PROBLEMS * problems))
        if found is not None:
            return _needed(evidence, rollouts, found[0], found[1])
    share = _shares(outlook)
    text = ", ".join(f"{name} {value:.0%}" for name, value in share.items())
    reason = (
        f"Undetermined, and more samples of this kind would not decide: at {most:,} rollouts per problem the verdict "
        f"would be {text}, and {MOST_PROBLEMS} times as many problems do not settle it either."
    )
    if evidence.counts is not None:
        reason += " Counts cannot tell what is missing: run `diag analyze MODEL --tasks FILE`."
    return Needed(None, None, None, round(_probability(outlook), 4), share, reason)


def _ladder(start: float, most: int) -> list[int]:
    """Whole numbers above `start` up to `most`, half an octave apart."""
    steps = np.arange(1, int(2 * np.log2(most / start)) + 1)
    return sorted({number for number in np.ceil(start * 2 ** (steps / 2)).astype(int).tolist() if number > start})


def _search(
    verdicts: Callable[[int], Counter[Bottleneck]], numbers: list[int]
) -> tuple[int, Counter[Bottleneck]] | None:
    """The smallest number at which the verdict is likely to be named; None: at none of them.

    The search goes upwards, not by bisection: the chance often rises to just above ENOUGH early and stays there.
    """
    for number in numbers:
        outcome = verdicts(number)
        if _probability(outcome) >= ENOUGH:
            return number, outcome
    return None


def _probability(outcome: Counter[Bottleneck]) -> float:
    return 1.0 - outcome["undetermined"] / outcome.total()


def _shares(outcome: Counter[Bottleneck]) -> dict[Bottleneck, float]:
    return {name: count / outcome.total() for name, count in outcome.most_common()}


def _needed(evidence: Evidence, rollouts: int, problems: int, outcome: Counter[Bottleneck]) -> Needed:
    """The number of rollouts or problems that is needed, with its sentence."""
    measured = len(evidence.measured)
    probability, share = _probability(outcome), _shares(outcome)
    named = ", ".join(f"{name} {value:.0%}" for name, value in share.items() if name != "undetermined")
    likely = "" if one_draw.only_mean_known(evidence) else f" ({named})"  # which one is the law's guess as yet
    drawn = int(evidence.main["drawn"].sum())
    more = max(1, rollouts * (len(evidence.problems) if problems == measured else problems) - drawn)
    by_counts = evidence.counts is not None
    if problems == measured:
        act = "import counts with as many" if by_counts else f"rerun the same command with --rollouts {rollouts}"
        samples = f"about {rollouts:,} rollouts per problem ({more:,} more draws)"
    else:
        act = "import the counts of more" if by_counts else f"add problems to the tasks, and --rollouts {rollouts}"
        samples = (
            f"more rollouts on these {measured} problems would not decide, about {problems:,} problems like them at "
            f"{rollouts:,} rollouts each ({more:,} more draws)"
        )
    reason = f"Undetermined: {samples} would decide with probability {probability:.0%}{likely}: {act}."
    return Needed(rollouts, problems, more, round(probability, 4), share, reason)
