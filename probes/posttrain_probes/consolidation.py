"""Does another model solve what the policy cannot reach by itself?

Suffixes: P compared problems, S posterior draws, M models.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.evidence import Evidence, fit_law, tally
from posttrain_diag.stats import Counts, MixingLaw, pass_at_k
from posttrain_diag.types import Estimate, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import not_in_counts
from posttrain_probes.synthetic import frame_of, make_evidence, rollout_row

CARD = ProbeCard(
    name="consolidation",
    question="Does another model (a teacher, a sibling, an earlier checkpoint) solve what the policy cannot reach?",
    method="The other models draw on every problem that the policy has not surely mastered, under the same prompt and "
    "sampling law. Per model the law of p gives P(p >= mastery) for each problem; a problem is solved elsewhere with "
    "the probability that some model's p is that high. Only problems with p < eps under the policy count: what its "
    "own rollouts reach is headroom for reshaping.",
    chance_level="that of the tasks (coverage probe): a guess rate far below mastery solves nothing",
    cost="16 draws (thorough: 32) per model and problem that is not surely mastered",
    references=("arXiv:2604.07941", "arXiv:2306.13649"),
)

DRAWS = 400
"""Number of joint posterior draws behind the intervals."""
CUT = 0.05
"""From this share of truncated draws on, the probe notes that a model may solve more than it could show."""
LEAST = 0.5
"""With fewer problems expected out of the policy's reach there is nothing whose share could be taken."""

FloatArray = NDArray[np.float64]
COLUMNS = ("other_best", "other_p_mean", "other_solves")


def measure(evidence: Evidence) -> Measurement:
    """Find each problem's best other model and how probably another model solves it, and what the others add."""
    if evidence.counts is not None:
        why = "comparing with another model needs rollouts of both"
        return not_in_counts(CARD.name, CARD.question, "solved_elsewhere_share", why, evidence)
    level = evidence.settings.level
    asked = {name: evidence.teacher_table(name) for name in evidence.teachers}
    tables = {name: table[table["n"] > 0] for name, table in asked.items() if table["n"].any()}
    if not tables:
        reason = _nothing(evidence)
        undefined = {"solved_elsewhere_share": Estimate.undefined(reason, level)}
        notes = (reason,) if evidence.teachers else ()
        return Measurement(CARD.name, CARD.question, pd.DataFrame(index=list(evidence.ids)), undefined, notes=notes)
    laws = {name: fit_law(table, seed=evidence.settings.sampling.seed) for name, table in tables.items()}
    per_problem = _per_problem(evidence, tables, laws)
    summary = {f"teacher_pass@1[{name}]": _pass_at_1(table, laws[name], level) for name, table in tables.items()}
    summary |= _joint(evidence, tables, laws, per_problem["other_solves"])
    return Measurement(CARD.name, CARD.question, per_problem, summary, notes=_cut(tables))


def _pass_at_1(table: pd.DataFrame, law: MixingLaw, level: float) -> Estimate:
    """pass@1 of one model; by its law where draws were stopped by their outcomes, as in a sibling's own analysis."""
    counts = Counts(table["n"].to_numpy(), table["c"].to_numpy())
    return pass_at_k(counts, 1, level=level) if counts.is_uniform else law.pass_at_k(1, level=level)


def _cut(tables: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Which models were cut at the token cap, and how often."""
    cut = {name: (int(table["truncated"].sum()), int(table["drawn"].sum())) for name, table in tables.items()}
    return tuple(
        f"{name}: {truncated} of {drawn} draws were cut at the token cap and count as not passed; a longer cap "
        "(--max-new-tokens) may show that it solves more"
        for name, (truncated, drawn) in cut.items()
        if truncated >= CUT * drawn
    )


def _nothing(evidence: Evidence) -> str:
    """Why no other model was compared."""
    if not evidence.teachers:
        return "no other model was compared: give --teacher M (a teacher or an earlier checkpoint) or --sibling M"
    if all(len(tallies) == 0 for tallies in evidence.teachers.values()):
        return "every problem is mastered, so the other models were asked nothing"
    return "no rollout of the other models could be judged"


def _per_problem(evidence: Evidence, tables: Mapping[str, pd.DataFrame], laws: Mapping[str, MixingLaw]) -> pd.DataFrame:
    """The columns COLUMNS for all problems; cells are empty where no other model was asked."""
    ids, mastery = list(evidence.ids), evidence.settings.mastery
    means = {name: pd.Series(law.posterior_mean(), tables[name].index) for name, law in laws.items()}
    probabilities = {name: pd.Series(law.prob_at_least(mastery), tables[name].index) for name, law in laws.items()}
    mean, solves = pd.DataFrame(means).reindex(ids), pd.DataFrame(probabilities).reindex(ids)
    asked = mean.notna().any(axis=1)
    best = pd.Series(None, index=ids, dtype=object)
    best[asked] = mean[asked].idxmax(axis=1)
    some = 1 - (1 - solves.fillna(0.0)).prod(axis=1)
    return pd.DataFrame(dict(zip(COLUMNS, (best, mean.max(axis=1), some.where(asked)), strict=True)), index=ids)


def _joint(
    evidence: Evidence, tables: Mapping[str, pd.DataFrame], laws: Mapping[str, MixingLaw], solves: pd.Series
) -> dict[str, Estimate]:
    """Estimates that rest on the policy and the others together, over the problems where both were judged."""
    settings, rng = evidence.settings, np.random.default_rng(evidence.settings.sampling.seed)
    measured = evidence.measured.index
    index = measured[measured.isin(solves.index[solves.notna()])]
    if len(index) == 0:
        undefined = Estimate.undefined("no problem has judged rollouts of both the policy and another", settings.level)
        return {"solved_elsewhere_share": undefined}

    def draws(law: MixingLaw, of: pd.Index[str]) -> FloatArray:
        """Posterior draws of p on the compared problems; 0 where the model was not judged. Shape (S, P)."""
        p_SP = law.sample_p(DRAWS, rng=rng)
        place_P = of.get_indexer(index)
        return np.where(place_P >= 0, p_SP[:, place_P], 0.0)

    own_SP = draws(evidence.law, measured)
    best_SP = np.maximum.reduce([draws(law, tables[name].index) for name, law in laws.items()])
    out = {
        "best_of_models_pass@1": _estimate(np.maximum(own_SP, best_SP).mean(axis=1), len(index), settings.level),
        "bare_pass@1_compared": _estimate(own_SP.mean(axis=1), len(index), settings.level),
    }
    low_SP, solved_SP = own_SP < settings.eps, best_SP >= settings.mastery
    low_S = low_SP.sum(axis=1)
    if low_S.mean() < LEAST:
        reason = f"no problem is out of the policy's reach (p < 1/{settings.rollout_budget})"
        return out | {"solved_elsewhere_share": Estimate.undefined(reason, settings.level)}
    share_S = (low_SP & solved_SP).sum(axis=1)[low_S > 0] / low_S[low_S > 0]
    return out | {"solved_elsewhere_share": _estimate(share_S, round(float(low_S.mean())), settings.level)}


def _estimate(draws_S: FloatArray, n: int, level: float) -> Estimate:
    """Mean and equal-tailed interval of posterior draws."""
    low, high = np.quantile(draws_S, [(1 - level) / 2, (1 + level) / 2])
    value = float(draws_S.mean())
    return Estimate(value, min(float(low), value), max(float(high), value), level, n, "estimated")


def validate() -> None:
    """Check the probe on a policy that never passes and a model that always solves p0..p19 and never p20..p39."""
    rows = [rollout_row(f"p{i}", j, verdict="pass" if i < 20 else "fail") for i in range(40) for j in range(16)]
    found = measure(make_evidence([(256, 0)] * 40, teachers={"t": tally(frame_of(rows))}))
    solves = found.per_problem["other_solves"]
    assert solves["p0"] > 0.9 and solves["p30"] < 0.01, solves
    share = found.summary["solved_elsewhere_share"]
    assert share.value is not None and abs(share.value - 0.5) < 0.05, share


PROBE = Probe(CARD, measure, validate)
