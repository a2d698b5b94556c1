"""Instrument checks when only counts were imported: what they show of the draws, and what nobody can check."""

from __future__ import annotations

import numpy as np
import pandas as pd

from posttrain_diag.evidence import Evidence
from posttrain_diag.stats import Counts, SamplingFlaw, sampling_flaws
from posttrain_diag.types import Estimate, Finding, Measurement
from posttrain_probes.card import ProbeCard
from posttrain_probes.estimates import share_estimate

NOT_CHECKED = (
    "Only counts were imported: golds, verifier, stop token, prompt template and guessing were not checked, so the "
    "instrument counts as suspect rather than sound. Never-solved problems may as well be a broken verifier. Run `diag "
    "tasks check FILE` on the tasks, or `diag analyze MODEL --tasks FILE`, before spending on training."
)
UNSEEN = (
    "Not measured, because only counts were imported: golds, verifier, stop token, format, prefix ladder, likelihood "
    "of correct traces, chance floor. The instrument counts as suspect until they are."
)
TRUNCATED_NOTE = 0.05
"""From this share of truncated draws on, they are reported."""
ERRORED_BROKEN = 0.1


def sampling_findings(evidence: Evidence) -> tuple[Finding, ...]:
    """What the counts betray of how the draws were made."""
    table = evidence.measured
    counts = Counts(table["n"].to_numpy(np.int64), table["c"].to_numpy(np.int64))
    return tuple(_finding(flaw, len(table), evidence.settings.level) for flaw in sampling_flaws(counts))


def _finding(flaw: SamplingFlaw, n_problems: int, level: float) -> Finding:
    """A flaw as a finding; what would be fatal was refused at import, so that only copies of one draw may be left."""
    share = share_estimate(round(flaw.share * n_problems), n_problems, level=level)
    if flaw.kind == "unequal_n":
        return Finding("unequal_n", "note", share, (), f"Rollouts per problem differ: {flaw.advice}.")
    return Finding("duplicate_draws", "broken" if flaw.fatal else "suspect", share, (), f"Draws: {flaw.advice}.")


def truncation(evidence: Evidence) -> Finding | None:
    """Draws that the file calls truncated."""
    drawn, cut = int(evidence.main["drawn"].sum()), int(evidence.main["truncated"].sum())
    if cut < TRUNCATED_NOTE * drawn:
        return None
    return Finding(
        "truncation",
        "suspect",
        share_estimate(cut, drawn, level=evidence.settings.level),
        tuple(map(str, evidence.main.index[evidence.main["truncated"] > 0])),
        f"{cut} of {drawn} draws were truncated; they count as not passed, and a longer token cap may turn them into "
        "passes.",
    )


def verifier_errors(evidence: Evidence) -> Finding | None:
    """Draws that the file says the verifier failed on."""
    drawn, errored = int(evidence.main["drawn"].sum()), int(evidence.main["errored"].sum())
    if errored == 0:
        return None
    return Finding(
        "verifier_error",
        "broken" if errored > ERRORED_BROKEN * drawn else "suspect",
        share_estimate(errored, drawn, level=evidence.settings.level),
        tuple(map(str, evidence.main.index[evidence.main["errored"] > 0])),
        f"The verifier failed on {errored} of {drawn} draws; these count as neither pass nor fail.",
    )


def measure(evidence: Evidence, card: ProbeCard) -> Measurement:
    """What can be said of the instrument from counts, and a note that the rest was not checked."""
    level = evidence.settings.level
    reason = "not measured: only counts were imported"
    missing = Finding("not_checked", "note", Estimate.undefined(reason, level), (), NOT_CHECKED)
    found = (verifier_errors(evidence), truncation(evidence), *sampling_findings(evidence), missing)
    drawn = int(evidence.main["drawn"].sum())
    summary = {
        "gold_pass_rate": Estimate.undefined(reason, level),
    }
    for name, column in (("truncated_rate", "truncated"), ("verifier_error_rate", "errored")):
        if column in evidence.unrecorded:
            summary[name] = Estimate.undefined(f"not measured: the file has no column {column!r}", level)
        else:
            summary[name] = share_estimate(int(evidence.main[column].sum()), drawn, level=level)
    return Measurement(
        card.name,
        card.question,
        pd.DataFrame(index=list(evidence.ids)),
        summary,
        findings=tuple(finding for finding in found if finding is not None),
        notes=(UNSEEN,),
    )
