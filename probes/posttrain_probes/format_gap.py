"""Does the policy have the answer and lose it to the format?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import DrawSpec, Evidence, Needs, fit_law
from posttrain_diag.stats import Counts, pass_at_k
from posttrain_diag.types import Estimate, Figure, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import not_in_counts
from posttrain_probes.pass_at_k import pass_estimate
from posttrain_probes.synthetic import make_evidence, rollout_row

CARD = ProbeCard(
    name="format",
    question="Does the policy have the answer and lose it to the required format?",
    method="Strict and lenient readings of the same draws; per problem the probability that at least half of the "
    "draws that fail strictly pass leniently, or, where almost none pass strictly (p < eps), at least a share eps of "
    "them, one of which was seen: then the answer is in effective support and its form is not (mixing law over the "
    "problems' failures). Where all demonstrations begin with the same tokens, a retry that gives the model this "
    "beginning shows what the format alone is worth.",
    chance_level="the lenient reading's own guess rate (coverage probe)",
    cost="none beyond the main arm; the retry adds a few draws per problem",
    references=("arXiv:2402.03300",),
)

HINT_ARM = "format_hint"
HINT_DRAWS = 8
HINT_PROBLEMS = 64
REPAIRABLE = 0.5
"""A problem in effective support is format-limited when format alone explains at least this share of its failures.

One that is not (p < eps) is so already from a share eps on, once a draw was right in substance: its answer is drawn
often enough, its form is not.
"""


def common_prefix(sequences: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Longest common beginning of token sequences."""
    first, last = min(sequences), max(sequences)
    size = 0
    while size < min(len(first), len(last)) and first[size] == last[size]:
        size += 1
    return first[:size]


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """Retry a sample of problems with the beginning that all demonstrations share, if there is one."""
    ids = [key for key in evidence.ids if evidence.references.get(key)]
    if len(ids) < 4:
        return Needs(notes=("format retry not run: fewer than 4 problems have a reference completion",))
    sequences = [engine.response_ids(evidence.references[key][0]) for key in ids]
    prefix = common_prefix(sequences)
    if not prefix or len(prefix) >= min(map(len, sequences)):
        return Needs(notes=("format retry not run: the reference completions share no beginning",))
    step = max(1, len(ids) // HINT_PROBLEMS)
    return Needs(draws=tuple(DrawSpec(key, HINT_ARM, HINT_DRAWS, prefix) for key in ids[::step][:HINT_PROBLEMS]))


def format_posteriors(evidence: Evidence) -> pd.DataFrame:
    """Per measured problem the probability that enough of the strict failures pass leniently; 0 where nothing failed.

    `format_posterior`: at least half of them. `substance_posterior`: at least a share eps where some draw did so, for
    without one the lenient reading says no more than the strict one; there it is the same as the other.
    """
    law = evidence.format_law
    if law is None:
        return pd.DataFrame(0.0, evidence.measured.index, ["format_posterior", "substance_posterior"])
    half_P, some_P = law.prob_at_least(REPAIRABLE), law.prob_at_least(evidence.settings.eps)
    columns = {"format_posterior": half_P, "substance_posterior": np.where(law.counts.c_P > 0, some_P, half_P)}
    return pd.DataFrame(columns, evidence.measured.index)


def measure(evidence: Evidence) -> Measurement:
    """Strict and lenient pass@1, their gap per problem, the value of the shared beginning."""
    if evidence.counts is not None:
        why = "the lenient reading needs the texts, so format-limited cannot be told from the other classes"
        return not_in_counts(CARD.name, CARD.question, "lenient_pass@1", why, evidence)
    level = evidence.settings.level
    table = evidence.measured
    if len(table) == 0:
        undefined = Estimate.undefined("no rollout could be judged", level)
        return Measurement(CARD.name, CARD.question, pd.DataFrame(index=list(evidence.ids)), {"strict": undefined})
    substance = evidence.right_in_substance
    strict, lenient = pass_estimate(evidence, 1), _lenient(evidence, substance)
    summary = {"strict_pass@1": strict, "lenient_pass@1": lenient}
    hinted = evidence.table(HINT_ARM)
    hinted = hinted[hinted["n"] > 0]
    if len(hinted):
        counts = Counts(hinted["n"].to_numpy(), hinted["c"].to_numpy())
        summary["hinted_pass@1"] = pass_at_k(counts, 1, level=level)
    per_problem = pd.DataFrame(
        {
            "strict_rate": table["c"] / table["n"],
            "lenient_rate": substance / table["n"],
        },
        index=table.index,
    ).join(format_posteriors(evidence))
    figure = Figure("format", "Strict and lenient pass@1", {"strict": _bar(strict), "lenient": _bar(lenient)})
    return Measurement(CARD.name, CARD.question, per_problem, summary, (figure,))


def _lenient(evidence: Evidence, substance: pd.Series) -> Estimate:
    """Pass@1 of the lenient reading, estimated as that of the strict one is, so that it never lies below it."""
    table, level = evidence.measured, evidence.settings.level
    if (substance == table["c"]).all():
        return pass_estimate(evidence, 1)
    counts = Counts(table["n"].to_numpy(np.int64), substance.to_numpy(np.int64))
    if counts.is_uniform:
        return pass_at_k(counts, 1, level=level)
    law = fit_law(pd.DataFrame({"n": counts.n_P, "c": counts.c_P}), seed=evidence.settings.sampling.seed)
    return law.pass_at_k(1, level=level)


def _bar(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def validate() -> None:
    """All failures of p0 pass leniently, none of p1's do."""
    extra = [rollout_row("p0", 100 + i, lenient=True) for i in range(30)]
    found = measure(make_evidence([(2, 2), (32, 2)], extra=extra)).per_problem["format_posterior"]
    assert found["p0"] > 0.99 and found["p1"] < 0.01, found


PROBE = Probe(CARD, measure, validate, plan, requires=("tokens", "prefixes"))
