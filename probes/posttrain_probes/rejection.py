"""Instrument checks on what the verifier rejects: its own failures, and right answers in another spelling."""

from __future__ import annotations

import pandas as pd

from posttrain_diag.evidence import Evidence
from posttrain_diag.tasks.reread import MIN_REJECTED, REJECTED_SUSPECT
from posttrain_diag.types import Finding
from posttrain_probes.estimates import share_estimate

MIN_LENIENT = 3
"""Lenient passes of a problem from which they count."""
LOST_SUSPECT = 0.2
"""Share of the problems that pass only leniently from which the verifier is suspect."""
REJECTED_BROKEN = 0.3
"""Share of the right answers that is rejected, from which on no number can be read."""


def verifier_errors(evidence: Evidence) -> Finding | None:
    """Draws on which the verifier itself failed."""
    table = evidence.main
    errored, drawn = int(table["errored"].sum()), int(table["drawn"].sum())
    if errored == 0:
        return None
    share = share_estimate(errored, drawn, level=evidence.settings.level)
    rows = evidence.arm("main")
    messages = rows.loc[rows["verdict"] == "error", "error"].dropna()
    example = str(messages.iloc[0]) if len(messages) else "no message"
    return Finding(
        "verifier_error",
        "broken" if errored / drawn > 0.1 else "suspect",
        share,
        tuple(map(str, table.index[table["errored"] > 0])),
        f"The verifier failed on {errored} of {drawn} draws (first: {example[:200]}); these count as neither pass nor "
        "fail. Mend the verifier and rerun the same command: stored draws are judged again without new sampling.",
    )


def rejected_answers(evidence: Evidence) -> Finding | None:
    """Failed draws that give the right answer: the gold's, a demonstration's, or that of a draw which passed.

    What the lenient reading passes is not counted: that is the model's format, and the format probe's business. Neither
    is what passes as soon as it is written as the demonstrations are. The readings here are more forgiving than any
    verifier, so as many hits as on other problems' answers are taken off.
    """
    found = evidence.reread
    if not found.is_pattern(len(evidence.measured)):
        return None
    excess, right = found.excess, found.right + found.excess
    broken = max(0.0, excess - found.by_form)
    problems = tuple(found.rejected)
    level = evidence.settings.level
    if broken < max(MIN_REJECTED, REJECTED_SUSPECT * right):
        if not found.by_form:
            return None
        return Finding(
            "verifier_inconsistent",
            "note",
            share_estimate(min(round(right), found.by_form), round(right), level=level),
            tuple(found.misformed),
            f"{found.by_form} draws on {len(found.misformed)} problems give the right answer in another form than the "
            f"demonstrations: {found.form_example}. The verifier passes these answers in the demonstrated form, so "
            "they count as the model's format, not as a fault of the verifier.",
        )
    return Finding(
        "verifier_inconsistent",
        "broken" if broken >= REJECTED_BROKEN * right else "suspect",
        share_estimate(round(broken), round(right), level=level),
        problems,
        f"The verifier rejects about {round(broken)} of {round(right)} right answers, on {len(problems)} "
        f"problems, even leniently: {found.example}. Compare by value (numeric, math, words, or a regex that allows "
        "for surrounding text), drop units from the golds, and rerun the same command: stored draws are judged again.",
    )


def passed_only_leniently(evidence: Evidence) -> Finding | None:
    """Problems that never pass as demanded while their draws are right in substance, and nothing shows the form.

    Where a demonstration or the gold passes its verifier, the demanded form can be kept: then the format class says
    what the model lacks, however rarely it is right. Where none passes, that is a finding of its own. Only where there
    is no reference at all nobody knows whether anything in the right form would pass.
    """
    table, right = evidence.measured, evidence.right_in_substance
    unknown = pd.Series([str(key) not in evidence.gold_passes for key in table.index], index=table.index)
    lost = (table["c"] == 0) & (right >= MIN_LENIENT) & unknown
    if lost.sum() < LOST_SUSPECT * max(1, len(table)):
        return None
    passes, draws = int(right[lost].sum()), int(table.loc[lost, "n"].sum())
    return Finding(
        "verifier_inconsistent",
        "suspect",
        share_estimate(int(lost.sum()), len(table), level=evidence.settings.level),
        tuple(map(str, table.index[lost])),
        f"{int(lost.sum())} of {len(table)} problems never pass as the verifier demands, while {passes} of their "
        f"{draws} draws are right in substance, and no reference shows that anything passes. Give one demonstration "
        "for some of these problems: if they pass, the model lacks the form; if they do not, mend the verifier.",
    )
