"""How long a stage takes on this device: its tokens at the speed that the run's own sampling reached.

Training a token costs three times the FLOPs of drawing it (6 against 2 per weight). On the zoo (187 stages, one CPU
thread, 162k weights; benchmarks/stages) a stage took 1.25 times that in the median, .90 to 2.1 times in nine of ten:
looks, loading and the optimizer take the rest. On a GPU sampling is bound by memory and training is relatively faster,
so that the figure is too long there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TRAINED, BESIDE = 3.0, 1.25
"""How many drawn tokens a trained token is worth in time, and the factor for everything beside sampling and training.
"""


def stage_seconds(tokens: float, tokens_per_s: float) -> float:
    """Seconds of a stage that generates and trains on `tokens`, where sampling makes `tokens_per_s`."""
    return BESIDE * TRAINED * tokens / tokens_per_s


def with_times(plan: Sequence[Mapping[str, Any]], tokens_per_s: float | None) -> list[dict[str, Any]]:
    """A plan as in diagnosis.json with `time_s` of every cost filled in, where tokens and speed are known."""
    timed: list[dict[str, Any]] = []
    for proposal in plan:
        cost = dict(proposal["cost"])
        if cost.get("time_s") is None and cost.get("tokens") and tokens_per_s:
            cost["time_s"] = stage_seconds(cost["tokens"], tokens_per_s)
        timed.append({**proposal, "cost": cost})
    return timed
