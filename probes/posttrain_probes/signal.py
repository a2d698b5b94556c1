"""Is there anything for on-policy RL to learn from today?"""

from __future__ import annotations

import pandas as pd

from posttrain_diag.evidence import Evidence
from posttrain_diag.stats import as_bound
from posttrain_diag.types import Estimate, Figure, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import share_estimate
from posttrain_probes.synthetic import make_evidence

CARD = ProbeCard(
    name="signal",
    question="How much learning signal would on-policy RL get from this policy today?",
    method="Share of groups of G draws that hold both passes and failures, mean_i[1 - p_i^G - (1-p_i)^G], and the "
    "successes expected in one planned budget of B draws per prompt, both under the fitted law of p. "
    "Partial credit: share of failed draws to which the verifier gives a score above 0.",
    chance_level="0 for a policy that never or always passes",
    cost="none beyond the main arm",
    references=("arXiv:2402.03300", "arXiv:2310.20703"),
)

GROUP_SIZES = (4, 8, 16, 32, 64)


def measure(evidence: Evidence) -> Measurement:
    """Measure mixed-group shares for G = 4..64, expected successes and partial credit."""
    level = evidence.settings.level
    if len(evidence.measured) == 0:
        undefined = Estimate.undefined("no rollout could be judged", level)
        return Measurement(
            CARD.name, CARD.question, pd.DataFrame(index=list(evidence.ids)), {"expected_successes": undefined}
        )
    law = evidence.law
    counts = law.counts
    groups = {size: as_bound(law.mixed_groups(size, level=level), counts, counted=False) for size in GROUP_SIZES}
    summary = {f"mixed_groups@{size}": estimate for size, estimate in groups.items()}
    expected = law.expected_successes(evidence.settings.rollout_budget, level=level)
    summary["expected_successes"] = as_bound(expected, counts, counted=False)
    summary["partial_credit"] = partial_credit(evidence)
    figure = Figure(
        "mixed_groups",
        "Share of groups with learning signal",
        {
            "G": list(GROUP_SIZES),
            "value": [groups[size].value for size in GROUP_SIZES],
            "low": [groups[size].low for size in GROUP_SIZES],
            "high": [groups[size].high for size in GROUP_SIZES],
        },
    )
    p_P = law.posterior_mean()
    per_problem = pd.DataFrame({"mixed_group_8": 1 - p_P**8 - (1 - p_P) ** 8}, index=evidence.measured.index)
    return Measurement(CARD.name, CARD.question, per_problem, summary, (figure,))


def partial_credit(evidence: Evidence) -> Estimate:
    """Share of failed draws with a verifier score above 0."""
    level = evidence.settings.level
    if evidence.counts is not None:
        return Estimate.undefined("not measured: partial scores are not in the counts", level)
    rows = evidence.arm("main")
    failed = rows[(rows["verdict"] == "fail") & rows["score"].notna()]
    if len(failed) == 0:
        return Estimate.undefined("the verifier gives no partial scores", level)

    return share_estimate(int((failed["score"] > 0).sum()), len(failed), level=level)


def validate() -> None:
    """Check that at p = 1/2 nearly every group of 8 is mixed (99.2%), and that at p = 0 none is."""
    half = measure(make_evidence([(64, 32)] * 30)).summary["mixed_groups@8"].value
    none = measure(make_evidence([(64, 0)] * 30)).summary["mixed_groups@8"].high
    assert half is not None and half > 0.95, half
    assert none is not None and none < 0.3, none


PROBE = Probe(CARD, measure, validate)
