"""What practitioners use today to decide between training stages, as rules on the same draws `diag analyze` made.

Each rule says saturated, reshaping (train by reward) or support (bring demonstrations); none can say anything else.
Every rule is also given the threshold that would have been best on these very cases: hindsight no practitioner has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

SATURATED = 0.9
"""pass@1 from which every rule says saturated."""


@dataclass(frozen=True)
class Seen:
    """What the rules look at."""

    pass_1: float
    pass_k: float
    """Unbiased pass@k at k = 64, or at the fewest draws of a problem where that is less."""
    band: float
    """Share of problems solved in 10% to 70% of the draws."""
    demo_nats: float
    """Mean negative log-likelihood of the demonstrations, nats per token; NaN without demonstrations."""
    zero_groups: float
    """Expected share of groups of 8 draws without a pass."""


def seen(problems: pd.DataFrame, demo_nats: float) -> Seen:
    """Read the rules' statistics off problems.parquet."""
    from scipy.special import gammaln

    n, c = problems["n"].to_numpy(float), problems["c"].to_numpy(float)
    n, c = n[n > 0], c[n > 0]
    if not len(n):
        return Seen(0.0, 0.0, 0.0, demo_nats, 1.0)

    def none_of(k: float) -> np.ndarray:
        """Chance that k of the n draws, taken without replacement, hold no pass."""
        left = n - c
        safe = np.maximum(left - k, 0)
        log = gammaln(left + 1) - gammaln(safe + 1) + gammaln(n - k + 1) - gammaln(n + 1)
        return np.where(left >= k, np.exp(log), 0.0)

    rate = c / n
    band = float(((rate >= 0.1) & (rate <= 0.7)).mean())
    most, group = min(64.0, n.min()), min(8.0, n.min())
    return Seen(float(rate.mean()), float(1 - none_of(most).mean()), band, demo_nats, float(none_of(group).mean()))


@dataclass(frozen=True)
class Rule:
    """A one-number rule: from `threshold` on, `score` speaks for reward training."""

    name: str
    score: Callable[[Seen], float]
    threshold: float
    """As it is used."""

    def verdict(self, case: Seen, threshold: float | None = None) -> str:
        """What the rule says of a case."""
        if case.pass_1 >= SATURATED:
            return "saturated"
        return "reshaping" if self.score(case) >= (self.threshold if threshold is None else threshold) else "support"

    def best_threshold(self, cases: Sequence[Seen], truths: Sequence[Sequence[str]]) -> float:
        """The threshold with the highest accuracy on these cases."""
        scores = sorted({self.score(case) for case in cases if not np.isnan(self.score(case))})
        grid = [-np.inf, *[(a + b) / 2 for a, b in pairwise(scores)], np.inf]
        return max(grid, key=lambda t: accuracy(self, cases, truths, t))


def accuracy(
    rule: Rule, cases: Sequence[Seen], truths: Sequence[Sequence[str]], threshold: float | None = None
) -> float:
    """Share of cases in which the rule says one of the right verdicts."""
    return float(np.mean([rule.verdict(case, threshold) in right for case, right in zip(cases, truths, strict=True)]))


RULES: tuple[Rule, ...] = (
    Rule("pass@1 at least 5%", lambda s: s.pass_1, 0.05),
    Rule("pass@64 - pass@1 at least .2", lambda s: s.pass_k - s.pass_1, 0.2),
    Rule("a fifth of the problems in the 10-70% band", lambda s: s.band, 0.2),
    Rule("demonstrations at most 1 nat per token (perplexity 2.7)", lambda s: -s.demo_nats, -1.0),
    Rule("at most half of the groups of 8 all zero", lambda s: -s.zero_groups, -0.5),
)


def compare(cases: Sequence[Seen], truths: Sequence[Sequence[str]]) -> list[Mapping[str, float | str]]:
    """Accuracy of every rule, as used and with the best threshold in hindsight."""
    rows: list[Mapping[str, float | str]] = []
    for rule in RULES:
        best = rule.best_threshold(cases, truths)
        rows.append(
            {
                "rule": rule.name,
                "accuracy": accuracy(rule, cases, truths),
                "best_threshold": best,
                "best_accuracy": accuracy(rule, cases, truths, best),
            }
        )
    return rows
