"""The main arm: every problem alike, or in rounds that spend the budget where the classes are still open.

Adaptive rounds: a first block for all, refit the law of p, double the draws of problems whose class is unresolved,
again, until every class is resolved, the verdict cannot change within the budget, or the budget is spent. Each round
is decided from the draws of the rounds before alone, so an interrupted run goes through the same rounds again.
Posteriors stay valid under this stopping rule; c/n does not, and the probes know that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from posttrain_probes.golds import MIN_GROUP, separating_draws

from posttrain_diag.diagnose.bottleneck import label_probabilities
from posttrain_diag.evidence import MAIN, DrawSpec, Evidence, add_tallies
from posttrain_diag.rollouts.collect import Collector, Owed
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.stored import current_tallies, spans_of
from posttrain_diag.settings.analysis import RESOLVED, Allocation
from posttrain_diag.stats import FIRST_BLOCK, Counts, next_blocks
from posttrain_diag.types import ProblemClass

MIN_ROLLOUTS = 8
"""No early stop before every problem has this many draws: instrument and format checks need some of each."""
MAX_PER_BUDGET = 4
"""At most this many times the rollout budget B per problem: 3.3 B zeros certify p < 1/B."""
ZERO_RESERVE = 0.25
"""Share of the budget kept for problems that never passed: their bound is what pass@k at large k rests on."""
LEVEL = 32
"""Where some problems are solved and others never, all get at least this many draws: wrong golds hide in such
sets, and the instrument check that finds them compares the answers of both groups over equally many draws."""
LEVEL_MARGIN = 1.3
"""Factor on the draws that tell a wrong gold from a hard problem by the rates seen so far, which are noisy."""
OPEN_SHARE = 0.1
"""An early stop leaves at most this share of the problems unresolved."""
CHANGE = 0.01
"""The verdict is settled when perfect knowledge of the open problems would change it with at most this probability."""
OUTCOMES = 400
"""Number of simulated outcomes behind the probability that the verdict changes."""

IntArray = NDArray[np.int64]


def affordable_level(n_P: IntArray, budget: int, wanted: float) -> int:
    """The highest whole number up to `wanted` to which the budget can raise all problems; 0: there is none.

    Args:
        n_P: draws so far, shape (P,); what lies above the level stays.
        budget: draws in all.
        wanted: draws per problem.
    """
    if n_P.sum() >= budget:
        return 0
    falling_P = np.sort(n_P)[::-1]
    above_P = np.concatenate([[0], np.cumsum(falling_P)])[:-1]  # drawn by the problems that stay above
    levels_P = (budget - above_P) // np.arange(len(n_P), 0, -1)
    return int(min(wanted, levels_P[np.argmax(levels_P >= falling_P)]))


def classes_of(posterior_P3: NDArray[np.float64]) -> dict[ProblemClass, int]:
    """How many problems fall into each class by the success probability alone.

    Args:
        posterior_P3: probabilities of p < eps, eps <= p < mastery and p >= mastery, shape (P, 3).
    """
    best_P = np.where(posterior_P3.max(axis=1) >= RESOLVED, posterior_P3.argmax(axis=1), 3)
    support, reshaping, mastered, unresolved = np.bincount(best_P, minlength=4).tolist()
    return {"mastered": mastered, "reshaping": reshaping, "support": support, "unresolved": unresolved}


class MainArm:
    """Draws the main arm: every problem with its own prompt, uniformly or in adaptive rounds."""

    def __init__(self, collector: Collector, base: Evidence, mean_rollouts: int, allocation: Allocation) -> None:
        self.collector = collector
        self.base = base
        self.allocation: Allocation = allocation if mean_rollouts > FIRST_BLOCK else "uniform"
        self.mean_rollouts = mean_rollouts
        self.budget = mean_rollouts * len(base.problems)
        self._counted: dict[tuple[str, str], int] = {}
        """(prompt_sha, sampling_sha) -> draws that `_tallies` counts."""
        self._tallies: list[pd.DataFrame] = []

    def draw(self, progress: Progress) -> list[Owed]:
        """Make all draws of the main arm; returns the plan that they fulfil."""
        ids = list(self.base.problems)
        if self.allocation == "uniform":
            return self._draw(np.full(len(ids), self.mean_rollouts), progress)
        reserve = int(ZERO_RESERVE * self.budget)
        n_P = np.full(len(ids), FIRST_BLOCK)
        while True:
            owed = self._draw(n_P, progress)
            evidence = self._seen(owed)
            posterior_P3 = self._posterior(evidence)
            progress.resolved(classes_of(posterior_P3))
            left = self.budget - int(n_P.sum()) - reserve
            blocks_P = self._next(evidence, n_P, posterior_P3, max(0, left))
            if blocks_P.sum() == 0:
                break
            n_P = n_P + blocks_P
        for separate in (False, True):
            solved = evidence.measured[evidence.measured["c"] > 0]
            if min(len(solved), len(ids) - len(solved)) < MIN_GROUP:
                break
            level = max(LEVEL, LEVEL_MARGIN * separating_draws(solved)) if separate else LEVEL
            n_P = np.maximum(n_P, affordable_level(n_P, self.budget, min(level, self.mean_rollouts)))
            evidence = self._seen(self._draw(n_P, progress))
        zeros_P = evidence.main["c"].to_numpy() == 0
        if zeros_P.any():
            spare = max(0, min(self.budget - int(n_P.sum()), reserve)) // int(zeros_P.sum())
            cap_P = np.maximum(0, self._cap - n_P)
            n_P = n_P + np.where(zeros_P, np.minimum(spare, cap_P), 0)
        return self._draw(n_P, progress)

    @property
    def _cap(self) -> int:
        return max(self.mean_rollouts, MAX_PER_BUDGET * self.base.settings.rollout_budget)

    def _next(self, evidence: Evidence, n_P: IntArray, posterior_P3: NDArray[np.float64], left: int) -> IntArray:
        """The next round's draws per problem, shape (P,); all zero when sampling can stop."""
        short_P = np.maximum(0, min(MIN_ROLLOUTS, self.mean_rollouts) - n_P)
        if short_P.any():
            return short_P
        open_share = float((posterior_P3.max(axis=1) < RESOLVED).mean())
        if open_share <= OPEN_SHARE and self.change_probability(posterior_P3) <= CHANGE:
            return np.zeros_like(n_P)
        counts = Counts(n_P, np.minimum(evidence.main["c"].to_numpy(np.int64), n_P))
        return next_blocks(counts, posterior_P3, left, max_rollouts=self._cap)

    def change_probability(self, posterior_P3: NDArray[np.float64]) -> float:
        """How probable another verdict would be if every open problem's class were known exactly.

        Args:
            posterior_P3: probabilities of p < eps, eps <= p < mastery, p >= mastery; shape (P, 3).
        """
        rng = np.random.default_rng(self.base.settings.sampling.seed)
        problems = len(posterior_P3)
        cumulative_P3 = np.cumsum(posterior_P3, axis=1)
        labels: list[str] = []
        for _ in range(OUTCOMES):
            drawn_P = (rng.random((problems, 1)) > cumulative_P3[:, :2]).sum(axis=1)
            below, middle, mastered = np.bincount(drawn_P, minlength=3) / problems
            shares = np.array([[mastered, middle, 0.0, 0.0, below]])
            found = label_probabilities(np.repeat(shares, 64, axis=0), problems, seed=0)
            labels.append(max(found, key=lambda name: found[name]))
        _, counts = np.unique(labels, return_counts=True)
        return 1.0 - float(counts.max()) / OUTCOMES

    def _draw(self, n_P: IntArray, progress: Progress) -> list[Owed]:
        specs = [DrawSpec(key, MAIN, int(n)) for key, n in zip(self.base.problems, n_P, strict=True)]
        owed = self.collector.owed(specs)
        planned = self.budget if self.allocation == "adaptive" else int(n_P.sum())
        progress.plan(
            planned, int(n_P.sum()) - sum(len(item.missing) for item in owed), self.collector.params.max_new_tokens
        )
        self.collector.draw(owed, progress)
        return owed

    def _seen(self, owed: list[Owed]) -> Evidence:
        """The counts of exactly these draws, whatever else is stored; those of earlier rounds are not read again."""
        store, sha = self.collector.store, self.collector.engine.info.model_sha
        spans = spans_of(owed, exact=True)
        new = [replace(s, start=self._counted.get((s.prompt_sha, s.sampling_sha), 0)) for s in spans]
        found = current_tallies(store, sha, [span for span in new if span.start < span.stop], self.base.problems)
        self._tallies = [add_tallies(*self._tallies, found)]
        self._counted = {(s.prompt_sha, s.sampling_sha): s.stop for s in spans}
        return replace(self.base, tallies=self._tallies[0])

    def _posterior(self, evidence: Evidence) -> NDArray[np.float64]:
        """Class posterior of all problems, shape (P, 3); one third each where no draw could be judged."""
        posterior_P3 = np.full((len(evidence.problems), 3), 1 / 3)
        if len(evidence.measured):
            settings = evidence.settings
            where = evidence.main["n"].to_numpy() > 0
            posterior_P3[where] = evidence.law.class_posterior(settings.eps, settings.mastery)
        return posterior_P3
