"""What a diagnosis may say when only counts were imported: classes that counts cannot tell apart stay undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from posttrain_diag.evidence import Settings
from posttrain_diag.types import Bottleneck, Estimate, ShareName

UNTOLD: Mapping[Bottleneck, Mapping[Bottleneck, float]] = {
    "support": {"support": 0.5, "guided": 0.25, "instrument": 0.25},
    "reshaping": {"reshaping": 0.8, "format": 0.1, "instrument": 0.1},
    "mixed": {"mixed": 0.8, "instrument": 0.2},
    "saturated": {"saturated": 0.9, "instrument": 0.1},
}
"""Where the probability of a verdict goes when neither golds, verifier, prefixes nor the lenient reading were seen.

Judgement, not measurement. Never passing looks the same for a missing ability, for one that a prefix would unlock and
for a verifier that rejects everything, so `support` stays below the threshold at which a verdict is named: there is no
support verdict before the instrument was checked. Passes vouch for most of an instrument, not for all of it."""


def spread(probabilities: Mapping[Bottleneck, float]) -> dict[Bottleneck, float]:
    """The probabilities of the verdicts, with that of verdicts which counts cannot tell apart shared out among them."""
    out: dict[Bottleneck, float] = {}
    for name, value in probabilities.items():
        for told, share in UNTOLD.get(name, {name: 1.0}).items():
            out[told] = out.get(told, 0.0) + value * share
    return out


def shares_of_counts(shares: Mapping[ShareName, Estimate], settings: Settings) -> dict[ShareName, Estimate]:
    """Class shares with a note on what they leave open; classes that need more than counts are undefined."""
    bound = f"p < 1/{settings.rollout_budget}"
    return {
        **shares,
        "reshaping": replace(shares["reshaping"], reason="includes format-limited problems: counts cannot tell"),
        "support": replace(
            shares["support"], reason=f"all problems with {bound}, guided-reachable ones included: counts cannot tell"
        ),
        "format": Estimate.undefined(
            "not measured: the lenient reading needs the texts; counted as reshaping-limited", settings.level
        ),
        "guided": Estimate.undefined(
            "not measured: needs rollouts after prefixes of correct traces; counted as support-limited", settings.level
        ),
    }
