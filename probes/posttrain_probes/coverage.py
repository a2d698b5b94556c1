"""Which problems are in effective support, and how much of that is luck?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from posttrain_diag.evidence import Evidence
from posttrain_diag.stats import Counts, as_bound, certified_below, certified_share
from posttrain_diag.types import Estimate, Figure, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.synthetic import make_evidence

CARD = ProbeCard(
    name="coverage",
    question="What share of the problems is in effective support (p >= eps), and how much of it is guessing?",
    method="1 - F(eps) under the fitted law of p; chance floor by judging the draws of one problem against the "
    "answers of others (permutation null); how many passes luck explains by wrong answers, those of problems with "
    "another gold and the problem's own; certified zeros by an anytime-valid e-process with e-BH at FDR 10%.",
    chance_level="the permutation null itself",
    cost="none beyond the main arm (verifier calls only)",
    references=("arXiv:2510.15020", "arXiv:2009.02824"),
)


FIGURE_PROBLEMS = 20_000
"""With more problems than this the figure's data leaves out their p, which problems.parquet holds."""


def measure(evidence: Evidence) -> Measurement:
    """Measure the coverage at eps, its chance floor, distinct correct texts and certified zeros."""
    settings = evidence.settings
    table = evidence.measured
    if len(table) == 0:
        undefined = Estimate.undefined("no rollout could be judged", settings.level)
        return Measurement(CARD.name, CARD.question, pd.DataFrame(index=list(evidence.ids)), {"coverage": undefined})
    law = evidence.law
    counts = Counts(table["n"].to_numpy(np.int64), table["c"].to_numpy(np.int64))
    covered = as_bound(law.share_at_least(settings.eps, settings.level), counts, counted=False)
    summary: dict[str, Estimate] = {"coverage": covered}
    notes: list[str] = []
    floor = evidence.chance
    if floor is not None:
        p_value = floor.p_value
        summary["chance_pass@1"] = floor.floor
        if evidence.luck is not None:
            summary["corrected_pass@1"] = evidence.luck.known
            summary["luck_share"] = evidence.luck.share
        summary["chance_p_value"] = Estimate(p_value, p_value, p_value, settings.level, len(evidence.chance_ids))
    elif evidence.counts is not None:
        notes.append("chance floor not measured: exchanging answers needs the texts, and only counts were imported")
    else:
        notes.append("chance floor not measured: fewer than two problems have a gold answer and finished draws")
    zeros = certified_below(counts, settings.eps)
    summary["certified_zero_share"] = certified_share(counts, settings.eps)
    per_problem = pd.DataFrame({"certified_zero": zeros}, index=table.index)
    if evidence.counts is None:
        per_problem.insert(0, "distinct_correct", distinct_correct(evidence, table.index))
    p_mean = law.posterior_mean().tolist() if len(table) <= FIGURE_PROBLEMS else None
    figure = Figure(
        "p_distribution",
        "Success probability per problem",
        {"p_mean": p_mean, "eps": settings.eps, "mastery": settings.mastery},
    )
    return Measurement(CARD.name, CARD.question, per_problem, summary, (figure,), notes=tuple(notes))


def distinct_correct(evidence: Evidence, index: pd.Index[str]) -> pd.Series:
    """How many different texts passed, per problem."""
    passed = evidence.arm("main")
    passed = passed[passed["verdict"] == "pass"]
    return passed.groupby("problem_id")["text"].nunique().reindex(index, fill_value=0)


def validate() -> None:
    """Check the probe where half the problems have p = 1/2 and half never pass: coverage is 1/2."""
    found = measure(make_evidence([(64, 32)] * 20 + [(1024, 0)] * 20)).summary["coverage"]
    assert found.value is not None and abs(found.value - 0.5) < 0.08, found


PROBE = Probe(CARD, measure, validate)
