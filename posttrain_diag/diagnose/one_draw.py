"""One draw per problem: what a verdict may rest on when only the mean success over problems is known.

With a single draw of each problem the counts say how often problems are solved on average, and nothing else: 82 passes
on 164 problems come as well from 82 problems that always pass and 82 that never do as from 164 that pass half of the
time. The fitted law still gives each a probability, which is its prior and no evidence. So the verdict is taken under
the two extremes among the laws with that mean, and named only where both agree. What agrees: nearly all passes
(saturated), next to none on very many problems (support), and answers that are right in substance and not in form.

Suffixes: S posterior draws, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.evidence import Evidence
from posttrain_diag.types import CLASSES

REPEATED = 0.5
"""From this share of problems with two or more draws on, the draws of one problem tell how success is spread."""
ENOUGH_DRAWS = 8
"""Rollouts per problem that are asked for at least, as many as an analysis makes before it may stop."""
REASON = (
    "With one draw per problem only the mean success is known: problems that are solved always or never and problems "
    "that are all solved sometimes give the same counts, so no class can be told."
)

FloatArray = NDArray[np.float64]


def only_mean_known(evidence: Evidence) -> bool:
    """Whether too few problems have a second draw for anything but the mean success to be known."""
    table = evidence.measured
    return len(table) > 0 and float((table["n"] >= 2).mean()) < REPEATED


def extreme_shares(evidence: Evidence, shares_SC: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Draws of the shares under the two extreme laws of p that have the mean which was seen.

    Under the first every p is 0 or 1. Under the second as many problems as the mean allows lie between 1/B and mastery.
    The share of format-limited problems, and how those out of reach are divided, are taken as they were found: they
    rest on other evidence than the spread of p. Both laws concern the problems that are not format-limited, to which
    all passes are given.

    Args:
        evidence: rollouts, with about one draw per problem.
        shares_SC: draws of the shares by the fitted law, shape (S, 5), or (S, 6) with consolidation as the last column.

    Returns:
        Draws of the shares under both laws, each in the shape of `shares_SC`.
    """
    settings, table = evidence.settings, evidence.measured
    rng = np.random.default_rng([settings.sampling.seed, 6])
    passed, problems = float((table["c"] / table["n"]).sum()), len(table)
    format_S = shares_SC[:, CLASSES.index("format")]
    rest_S = np.maximum(1.0 - format_S, 1e-9)
    mean_S = rng.beta(passed + 0.5, problems - passed + 0.5, len(shares_SC))
    mean_S = np.minimum(mean_S / rest_S, 1.0)
    mastered_S = np.maximum(0.0, (mean_S - settings.mastery) / (1.0 - settings.mastery))
    low_S = np.maximum(0.0, 1.0 - mean_S / settings.eps)
    apart = _shares(shares_SC, rest_S * mean_S, rest_S * (1.0 - mean_S))
    between = _shares(shares_SC, rest_S * mastered_S, rest_S * low_S)
    return apart, between


def _shares(shares_SC: FloatArray, mastered_S: FloatArray, low_S: FloatArray) -> FloatArray:
    """Shares with these mastered and out of reach, shape of `shares_SC`; what remains is reshaping."""
    out_SC = np.zeros_like(shares_SC)
    columns = [CLASSES.index("guided"), CLASSES.index("support"), *range(len(CLASSES), shares_SC.shape[1])]
    found_SK = shares_SC[:, columns]
    total_S = found_SK.sum(axis=1)
    support_K = (np.asarray(columns) == CLASSES.index("support")).astype(float)
    parts_SK = np.where(total_S[:, None] > 0, found_SK / np.maximum(total_S, 1e-300)[:, None], support_K)
    out_SC[:, columns] = low_S[:, None] * parts_SK
    out_SC[:, CLASSES.index("mastered")] = mastered_S
    out_SC[:, CLASSES.index("format")] = shares_SC[:, CLASSES.index("format")]
    out_SC[:, CLASSES.index("reshaping")] = np.maximum(0.0, 1.0 - out_SC.sum(axis=1))
    return out_SC
