"""From class posteriors to one bottleneck, with its probability, the alternatives, and the right to abstain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from posttrain_diag.diagnose import from_counts, one_draw
from posttrain_diag.diagnose.classes import ClassPosterior, class_posterior
from posttrain_diag.diagnose.needed import forecast
from posttrain_diag.evidence import Evidence
from posttrain_diag.types import (
    CLASSES,
    Alternative,
    Bottleneck,
    Diagnosis,
    Estimate,
    Finding,
    Instrument,
    InstrumentStatus,
    Measurement,
    ProbeFailure,
    ShareName,
)
from posttrain_diag.wording import vocabulary
from posttrain_diag.wording.estimates import bound_text, is_bound

SATURATED = 0.9
"""From this share of mastered problems on, no stage is worth its cost on these tasks."""
DOMINANT = 0.6
"""A bottleneck is named when it holds at least this share of the problems that are not mastered; else "mixed"."""
NAMED = 0.7
"""A bottleneck is named when it is at least this probable; else "undetermined"."""
GATE = 0.05
"""Share of affected problems or draws from which a broken instrument decides the verdict."""
SUSPECT = 0.25
"""Probability given to the instrument for each suspect finding: not enough to overrule, enough to be seen."""
PRIOR = 0.5
"""Pseudo-problems of mastered and of open problems (Jeffreys prior): the verdict speaks of the task family and not of
these problems alone, so three problems that agree are not yet a certainty."""
OPEN_PRIOR = 1.0
"""Pseudo-problems of all open classes together (Perks prior). With one or half of one per class most families would
count as mixed before any problem is seen."""
MIN_PROBLEMS = 5
"""With fewer different problems no bottleneck is named, however much they agree: they stand for no task family."""

_OPEN: tuple[Bottleneck, ...] = ("reshaping", "format", "guided", "support", "consolidation")
"""The verdict of each column of the shares after the first, which is mastered; the last column is there only when
models were compared."""
_LABELS: tuple[Bottleneck, ...] = ("saturated", *_OPEN, "mixed")

DRAWS_PER_SHARE = 4
"""Draws of the family's shares for each simulated draw of these problems' shares."""

_REPEATED = {("format", "strict_pass@1")}
"""Summaries that stand in diagnosis.json under another name already: this one is pass@1."""


def diagnose(
    evidence: Evidence, measurements: Sequence[Measurement], failures: Sequence[ProbeFailure] = ()
) -> Diagnosis:
    """Say which bottleneck holds the model back on these tasks.

    Args:
        evidence: what was drawn and scored.
        measurements: what the probes made of it.
        failures: the probes that raised an error.
    """
    by_name = {measurement.probe: measurement for measurement in measurements}
    findings = tuple(finding for measurement in measurements for finding in measurement.findings)
    instrument = Instrument(_status(findings, checked=evidence.counts is None), findings)
    level = evidence.settings.level
    posterior = class_posterior(evidence, by_name) if len(evidence.measured) else None
    told = True
    if posterior is None:
        shares: dict[ShareName, Estimate] = {
            name: Estimate.undefined("no rollout could be judged", level) for name in (*CLASSES, "unresolved")
        }
        probabilities: dict[Bottleneck, float] = {"undetermined": 1.0}
    else:
        shares = posterior.shares(level)
        probabilities, told = _labels(evidence, posterior)
    probabilities = _with_instrument(probabilities, instrument)
    if evidence.counts is not None and posterior is not None:
        probabilities = from_counts.spread(probabilities)
        shares = from_counts.shares_of_counts(shares, evidence.settings)
    if not told:
        unknown: dict[ShareName, Estimate] = {name: Estimate.undefined(one_draw.REASON, level) for name in shares}
        shares = {**unknown, "format": shares["format"]}
    bottleneck, confidence = _name(probabilities, distinct_prompts(evidence), told=told)
    needed = None
    if bottleneck == "undetermined" and posterior is not None and not evidence.teachers:
        # further draws of other models are not simulated
        needed = forecast(evidence, lambda shares_SC, problems: _judge(shares_SC, problems, evidence, instrument))
    alternatives = tuple(
        Alternative(name, round(value, 4))
        for name, value in sorted(probabilities.items(), key=lambda item: -item[1])
        if name != bottleneck and value >= 0.01
    )
    return Diagnosis(
        bottleneck=bottleneck,
        confidence=confidence,
        alternatives=alternatives,
        instrument=instrument,
        shares=shares,
        estimates=_estimates(by_name),
        per_problem=problem_table(evidence, by_name, posterior if told else None),
        reasons=(
            *(() if needed is None else (needed.reason,)),
            *(() if told else (one_draw.REASON,)),
            *reasons(evidence, shares, by_name, instrument),
        ),
        measurements=tuple(measurements),
        failures=tuple(failures),
        needed=needed,
    )


def _labels(evidence: Evidence, posterior: ClassPosterior) -> tuple[dict[Bottleneck, float], bool]:
    """Probability of each verdict, and whether the counts tell it and not the fitted law's prior alone."""
    problems, seed = distinct_prompts(evidence), evidence.settings.sampling.seed
    if not one_draw.only_mean_known(evidence):
        return label_probabilities(posterior.label_shares, problems, seed), True
    worlds = [
        label_probabilities(shares_SC, problems, seed)
        for shares_SC in one_draw.extreme_shares(evidence, posterior.label_shares)
    ]
    names: list[Bottleneck] = [name for name in _LABELS if any(name in world for world in worlds)]
    mean: dict[Bottleneck, float] = {name: float(np.mean([w.get(name, 0.0) for w in worlds])) for name in names}
    return mean, max(min(world.get(name, 0.0) for world in worlds) for name in names) >= NAMED


def _judge(shares_SC: NDArray[np.float64], problems: int, evidence: Evidence, instrument: Instrument) -> Bottleneck:
    """The verdict that these draws of the shares (shape (S, C)) would get, with the instrument as it is."""
    many_SC = np.repeat(shares_SC, DRAWS_PER_SHARE, axis=0)
    probabilities = label_probabilities(many_SC, problems, evidence.settings.sampling.seed)
    probabilities = _with_instrument(probabilities, instrument)
    return _name(from_counts.spread(probabilities) if evidence.counts is not None else probabilities, problems)[0]


def _status(findings: Sequence[Finding], *, checked: bool) -> InstrumentStatus:
    """The worst of the findings; an instrument that nobody could check is suspect, not sound."""
    severities = {finding.severity for finding in findings}
    if "broken" in severities:
        return "broken"
    return "suspect" if "suspect" in severities or not checked else "ok"


def distinct_prompts(evidence: Evidence) -> int:
    """How many independent problems were measured: a prompt under several ids is one, unknown prompts count each."""
    texts = {str(key): evidence.problems[str(key)].prompt_text.strip() for key in evidence.measured.index}
    return len({text or key for key, text in texts.items()})


def label_probabilities(shares_SC: NDArray[np.float64], n_problems: int, seed: int) -> dict[Bottleneck, float]:
    """Probability of each verdict for the task family that the problems stand for.

    Every posterior draw of the shares is widened to the family's shares (a Beta for mastered against open problems, a
    Dirichlet among the open ones), then labelled.

    Args:
        shares_SC: draws of the shares of these problems, shape (S, 5); with consolidation as the last column (S, 6).
        n_problems: how many problems the shares are of.
        seed: seeds the Dirichlet draws.
    """
    rng = np.random.default_rng(seed)
    count_SC = shares_SC * n_problems
    mastered_S = rng.beta(count_SC[:, 0] + PRIOR, count_SC[:, 1:].sum(axis=1) + PRIOR)
    open_SC = count_SC[:, 1:]
    gamma_SC = rng.standard_gamma(open_SC + OPEN_PRIOR / open_SC.shape[1])
    dominant_S = gamma_SC.max(axis=1) >= DOMINANT * gamma_SC.sum(axis=1)
    labels = np.where(dominant_S, np.asarray(_OPEN)[gamma_SC.argmax(axis=1)], "mixed")
    labels = np.where(mastered_S >= SATURATED, "saturated", labels)
    shares: dict[Bottleneck, float] = {name: float((labels == name).mean()) for name in _LABELS}
    return {name: share for name, share in shares.items() if share > 0}


def _with_instrument(probabilities: dict[Bottleneck, float], instrument: Instrument) -> dict[Bottleneck, float]:
    """Give the instrument its probability: a broken one by how surely it concerns more than GATE of the tasks."""
    if instrument.status == "ok":
        return probabilities
    if instrument.status == "broken":
        doubt = max(_prob_above(f.share, GATE) for f in instrument.findings if f.severity == "broken")
        doubt = max(doubt, NAMED)
    else:
        doubt = 1 - (1 - SUSPECT) ** sum(f.severity == "suspect" for f in instrument.findings)
        doubt = min(doubt, 0.5)
    out: dict[Bottleneck, float] = {name: value * (1 - doubt) for name, value in probabilities.items()}
    out["instrument"] = doubt
    return out


def _prob_above(share: Estimate, threshold: float) -> float:
    """Probability that the share exceeds the threshold, by a normal law that has the share's interval."""
    if share.value is None or share.low is None or share.high is None:
        return NAMED
    z = float(stats.norm.ppf((1 + share.level) / 2))
    spread = max((share.high - share.low) / (2 * z), 1e-6)
    return min(0.999, float(stats.norm.sf((threshold - share.value) / spread)))


def _name(probabilities: Mapping[Bottleneck, float], problems: int, *, told: bool = True) -> tuple[Bottleneck, float]:
    """The verdict and its probability.

    There is none below NAMED, on too few different problems, or where the counts do not tell it (see `one_draw`); a
    broken instrument is named whatever the counts.
    """
    best = max(probabilities, key=lambda name: probabilities[name])
    value = probabilities[best]
    few = (problems < MIN_PROBLEMS or not told) and best != "instrument"
    if best == "undetermined" or value < NAMED or few:
        return "undetermined", round(1 - value, 4) if best != "undetermined" else 1.0
    return best, round(value, 4)


def _estimates(by_name: Mapping[str, Measurement]) -> dict[str, Estimate]:
    """The summaries of all probes, built-in or not."""
    return {
        name: value
        for probe, measurement in by_name.items()
        for name, value in measurement.summary.items()
        if (probe, name) not in _REPEATED
    }


def problem_table(
    evidence: Evidence, by_name: Mapping[str, Measurement], posterior: ClassPosterior | None
) -> pd.DataFrame:
    """The rows of problems.parquet, in the order of the tasks file.

    Args:
        evidence: what was drawn and scored.
        by_name: what the probes found, by their name.
        posterior: the classes of the problems; None where nothing tells them.
    """
    columns = ("drawn", "n", "c", "failed", "truncated", "errored", "lenient")
    table = evidence.main[[name for name in columns if name not in evidence.unrecorded]].copy()
    for column in ("p_mean", "p_low", "p_high"):
        table[column] = np.nan
    table["class"] = "unresolved"
    index = evidence.measured.index
    if len(index):
        interval_P2 = evidence.law.posterior_interval(evidence.settings.level)
        table.loc[index, "p_mean"] = evidence.law.posterior_mean()
        table.loc[index, "p_low"] = interval_P2[:, 0]
        table.loc[index, "p_high"] = interval_P2[:, 1]
    if posterior is not None:
        table.loc[index, "class"] = posterior.classes
        for name in CLASSES:
            table.loc[index, f"posterior_{name}"] = posterior.posterior[name]
        if posterior.consolidation is not None:
            table.loc[index, "posterior_consolidation"] = posterior.consolidation
    for measurement in by_name.values():
        for column in measurement.per_problem.columns:
            if column not in table:
                table[column] = measurement.per_problem[column].reindex(table.index)
    return table.reset_index(names="id")


def count_text(count: float) -> str:
    """An expected number of rollouts as text: whole from 10 on, with two digits below."""
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def share_text(value: float, low: float | None, high: float | None) -> str:
    """A share with its interval in whole percent as text; an interval that reads like the value is left out."""
    ends = [f"{end:.0%}" for end in (low, high) if end is not None]
    return f"{value:.0%}" + ("" if set(ends) <= {f"{value:.0%}"} else f" [{', '.join(ends)}]")


def reasons(
    evidence: Evidence,
    shares: Mapping[ShareName, Estimate],
    by_name: Mapping[str, Measurement],
    instrument: Instrument,
) -> tuple[str, ...]:
    """The evidence for the verdict in sentences, strongest first.

    Args:
        evidence: what was drawn and scored.
        shares: share of the problems in each class.
        by_name: what the probes found, by their name.
        instrument: what was found about the instrument.
    """
    settings = evidence.settings
    out = [finding.advice for finding in instrument.findings if finding.severity != "note"]
    drawn, problems = int(evidence.main["drawn"].sum()), len(evidence.problems)
    passed = int(evidence.main["c"].sum())
    out.append(f"{passed} of {drawn} draws on {problems} problems passed.")
    ranked = sorted(CLASSES, key=lambda name: -(shares[name].value or 0.0))
    words = {name: one.reason for name, one in vocabulary.CLASSES.items()}
    if evidence.counts is not None:
        words |= vocabulary.COUNTED_CLASSES
    for name in ranked:
        share = shares[name]
        if share.value is not None and share.value >= 0.02 and share.low is not None and share.high is not None:
            told = words[name].format(budget=settings.rollout_budget, mastery=settings.mastery)
            out.append(f"{share_text(share.value, share.low, share.high)} of the problems are {told}.")
    elsewhere = shares.get("consolidation")
    if elsewhere is not None and elsewhere.value is not None:
        rates = {name: by_name["consolidation"].summary.get(f"teacher_pass@1[{name}]") for name in evidence.teachers}
        told = ", ".join(f"{name} {rate.value:.0%}" for name, rate in rates.items() if rate and rate.value is not None)
        out.append(
            f"{share_text(elsewhere.value, elsewhere.low, elsewhere.high)} of the problems are out of reach here "
            f"and solved by another model (pass@1 on the problems compared: {told})."
        )
    successes = by_name["signal"].summary.get("expected_successes") if "signal" in by_name else None
    if successes is not None and (successes.value is not None or is_bound(successes)):
        number = (
            f"{count_text(successes.value)} successes are"
            if successes.value is not None
            else (f"{bound_text(successes, 'expected_successes').capitalize()} successes are")
        )
        out.append(f"{number} expected when every problem is drawn {settings.rollout_budget} times.")
    out.extend(
        note for measurement in by_name.values() for note in measurement.notes if measurement.probe == "instrument"
    )
    return tuple(out)
