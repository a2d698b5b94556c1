"""No pass at all: what is known then is a bound, whatever estimator was asked."""

from __future__ import annotations

from dataclasses import replace

from posttrain_diag.stats.counts import Counts
from posttrain_diag.types import Estimate


def as_bound(estimate: Estimate, counts: Counts, *, counted: bool) -> Estimate:
    """The estimate as an upper bound where no draw passed, else as it is.

    Without a pass the counts say how high a success probability can be, and nothing of how low: a posterior mean above
    0 is then the prior's alone. `high` is kept, an upper limit that holds with probability (1 + level) / 2.

    Args:
        estimate: of a quantity that is 0 where every p is 0 and rises with p.
        counts: the draws that it rests on.
        counted: the quantity was counted in these draws, and 0 is what was seen (pass@k with k <= n). Otherwise there
            is no value at all.
    """
    if counts.n_passed > 0 or estimate.value is None:
        return estimate
    seen = f"0 of {counts.n_rollouts:,} draws passed"
    return replace(estimate, value=0.0 if counted else None, low=0.0, label="bound", reason=seen)
