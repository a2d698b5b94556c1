"""Does the policy have the answer and lose it to the format?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import DrawSpec, Evidence, Needs
from posttrain_diag.stats import Counts, as_bound, joint_class_posterior, pass_at_k, solve_rate
from posttrain_diag.types import Estimate, Figure, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import not_in_counts
from posttrain_probes.pass_at_k import pass_estimate
from posttrain_probes.synthetic import make_evidence, rollout_row

CARD = ProbeCard(
    name="format",
    question="Does the policy have the answer and lose it to the required format?",
    method="Strict and lenient readings of the same draws, each with a mixing law over the problems. A problem is "
    "format-limited when its right answers are within the rollout budget and their form is what fails: at least half "
    "of its failures are right in substance, or at most a quarter of its right answers are in form. "
    "Where all demonstrations begin "
    "with the same tokens, a retry that gives the model this beginning shows what the format alone is worth.",
    chance_level="the lenient reading's own guess rate (coverage probe)",
    cost="none beyond the main arm; the retry adds a few draws per problem",
    references=("arXiv:2402.03300",),
)

HINT_ARM = "format_hint"
HINT_DRAWS = 8
HINT_PROBLEMS = 64
REPAIRABLE = 0.5
"""A problem is format-limited when format alone explains at least this share of its failures ..."""
IN_FORM = 0.25
"""... or when at most this share of its right answers is in form, however rare right answers are."""


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


def repairable(p: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """From which share of strict failures that are right in substance on a problem is format-limited.

    With p the chance to pass and f that share, s = p + (1 - p) f is the chance of a right answer in whatever form.
    Format is what a problem lacks where f >= REPAIRABLE, or where s >= eps (right answers are within the rollout
    budget) and p <= IN_FORM s (they are hardly ever in form). Both ask for f to be large enough.

    Args:
        p: chance to pass strictly, any shape.
        eps: 1 / rollout budget.

    Returns:
        The least f, strictly between 0 and 1, in the shape of p.
    """
    p = np.minimum(p, REPAIRABLE)  # beyond it the first condition decides
    right = np.maximum(eps, p / IN_FORM)
    return np.minimum(REPAIRABLE, (right - p) / (1.0 - p))


def format_by_class(evidence: Evidence) -> NDArray[np.float64]:
    """P(format-limited, and p in a class) per measured problem, shape (P, 3): p < eps, eps <= p < mastery, mastered.

    Zero where no failure is right in substance.
    """
    settings, law = evidence.settings, evidence.format_law
    if law is None:
        return np.zeros((len(evidence.measured), 3))
    cuts = (settings.eps, settings.mastery)
    return joint_class_posterior(evidence.class_law, law, lambda p: repairable(p, settings.eps), cuts)


def format_posterior(evidence: Evidence) -> pd.Series:
    """P(not mastered and format-limited) per measured problem."""
    return pd.Series(format_by_class(evidence)[:, :2].sum(axis=1), index=evidence.measured.index)


def substance_pass_at_1(evidence: Evidence) -> Estimate:
    """Mean chance of a right answer in whatever form.

    With equal numbers of draws it is counted. Else draws were stopped by their outcomes, which biases shares of
    draws; then it is pass@1 by its law plus the part of the failures that is right in substance by theirs, which
    is never below pass@1.
    """
    table, level = evidence.measured, evidence.settings.level
    n_P, right_P = table["n"].to_numpy(np.int64), evidence.right_in_substance.to_numpy(np.int64)
    counts = Counts(n_P, right_P)
    if counts.is_uniform:
        return as_bound(pass_at_k(counts, 1, level=level), counts, counted=True)
    if counts.n_passed == 0:
        return as_bound(evidence.law.pass_at_k(1, level=level), counts, counted=True)
    strict = evidence.law.pass_at_k(1, level=level)
    form = evidence.format_law
    if form is None or strict.value is None:
        return strict
    weight_P = (1.0 - evidence.law.posterior_mean()) / len(table)
    extra_S = form.posterior_draws(solve_rate(), weights=weight_P)[:, 0]
    both_S = np.resize(evidence.law.posterior_draws(solve_rate())[:, 0], len(extra_S)) + extra_S
    value = min(1.0, strict.value + float(form.posterior_mean() @ weight_P))
    low, high = np.clip(np.quantile(both_S, [(1 - level) / 2, (1 + level) / 2]), 0.0, 1.0)
    return Estimate(value, min(float(low), value), max(float(high), value), level, len(table), "estimated")


def measure(evidence: Evidence) -> Measurement:
    """Measure strict and lenient pass@1, their gap per problem, and the value of the shared beginning."""
    if evidence.counts is not None:
        why = "the lenient reading needs the texts, so format-limited cannot be told from the other classes"
        return not_in_counts(CARD.name, CARD.question, "lenient_pass@1", why, evidence)
    level = evidence.settings.level
    table = evidence.measured
    if len(table) == 0:
        undefined = Estimate.undefined("no rollout could be judged", level)
        return Measurement(CARD.name, CARD.question, pd.DataFrame(index=list(evidence.ids)), {"strict": undefined})
    strict = pass_estimate(evidence, 1)
    substance = evidence.right_in_substance
    lenient = substance_pass_at_1(evidence)
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
            "format_posterior": format_posterior(evidence),
        },
        index=table.index,
    )
    figure = Figure("format", "Strict and lenient pass@1", {"strict": _bar(strict), "lenient": _bar(lenient)})
    return Measurement(CARD.name, CARD.question, per_problem, summary, (figure,))


def _bar(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def validate() -> None:
    """All failures of p0 are right in substance and none of p1's; p2 is right now and then, and never in form."""
    extra = [rollout_row("p0", 100 + i, lenient=True) for i in range(30)]
    extra += [rollout_row("p2", 100 + i, lenient=True) for i in range(6)]
    found = measure(make_evidence([(2, 2), (32, 2), (26, 0)], extra=extra)).per_problem["format_posterior"]
    assert found["p0"] > 0.99 and found["p1"] < 0.02 and found["p2"] > 0.8, found


PROBE = Probe(CARD, measure, validate, plan, requires=("tokens", "prefixes"))
