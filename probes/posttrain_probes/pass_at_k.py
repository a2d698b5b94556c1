"""How often does the policy solve a problem, and how does that grow with the number of draws?"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from posttrain_diag.evidence import Evidence
from posttrain_diag.stats import (
    Counts,
    as_bound,
    bayes_at_n,
    g_pass,
    g_pass_at_k,
    maj_at_k,
    mg_pass,
    mg_pass_at_k,
    pass_at_k,
    pass_hat,
    pass_hat_k,
)
from posttrain_diag.types import Estimate, Figure, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.synthetic import make_evidence

CARD = ProbeCard(
    name="pass_at_k",
    question="How often does the policy solve a problem in k draws, and what would more draws add?",
    method="Unbiased estimator where k <= n and all problems have the same n (measured); the fitted mixing law of p "
    "beyond (estimated up to 4n, model-dependent further out). pass^k: all k draws pass; maj@n: the most "
    "frequent answer is right; G-pass@k[tau]: at least tau of k draws pass, mG-pass@k its mean over tau of .5 to 1; "
    "Bayes@n: pass@1 under a uniform prior of every problem.",
    chance_level="see coverage: permutation null of the verifier",
    cost="none beyond the main arm",
    references=("arXiv:2107.03374", "arXiv:2407.21787", "arXiv:2510.05197", "arXiv:2412.13147", "arXiv:2510.04265"),
)

CURVE_TO = 64
"""The curve is drawn up to this multiple of n."""

STEADY_K = 16
"""G-pass@k is given at this k, as by its authors, or at n where fewer were drawn."""
STEADY_TAUS = (0.5, 0.75)


def curve_ks(n: int) -> list[int]:
    """The k at which the curve is drawn: powers of two up to CURVE_TO * n, and n."""
    ks = [1]
    while ks[-1] * 2 <= CURVE_TO * n:
        ks.append(ks[-1] * 2)
    return sorted({*ks, n})


def pass_estimate(evidence: Evidence, k: int) -> Estimate:
    """pass@k by the best estimator that is valid for k; an upper bound where no draw passed."""
    table = evidence.measured
    if len(table) == 0:
        return Estimate.undefined("no rollout could be judged", evidence.settings.level)
    n_P = table["n"].to_numpy(np.int64)
    counts = Counts(n_P, table["c"].to_numpy(np.int64))
    counted = k <= int(n_P.min())
    if counts.is_uniform and counted:
        found = pass_at_k(counts, k, level=evidence.settings.level)
    else:  # draws that were stopped by their outcomes bias c/n; the law's posterior is valid under stopping
        found = evidence.law.pass_at_k(k, level=evidence.settings.level)
    return as_bound(found, counts, counted=counted)


def measure(evidence: Evidence) -> Measurement:
    """Measure the pass@k curve, pass^k and maj@n."""
    level = evidence.settings.level
    table = evidence.measured
    if len(table) == 0:
        undefined = Estimate.undefined("no rollout could be judged", level)
        return Measurement(CARD.name, CARD.question, pd.DataFrame(index=list(evidence.ids)), {"pass@1": undefined})
    n_min = int(table["n"].min())
    counts = Counts(table["n"].to_numpy(np.int64), table["c"].to_numpy(np.int64))
    ks = curve_ks(n_min)
    asked = {16, 256, evidence.settings.rollout_budget, *evidence.settings.ks}
    curve: dict[int, Estimate] = {}
    for k in sorted({*ks, *asked}):
        curve[k] = pass_estimate(evidence, k)
    summary = {f"pass@{k}": estimate for k, estimate in curve.items()}
    for k in (4, n_min):
        if 1 < k <= n_min:
            uniform = counts.is_uniform
            found = pass_hat_k(counts, k, level=level) if uniform else evidence.law.estimate(pass_hat(k), level)
            summary[f"pass^{k}"] = as_bound(found, counts, counted=True)
    summary.update(_steadiness(evidence, counts, min(n_min, STEADY_K)))
    votes = min(n_min, votes_at_hand(evidence))
    summary[f"maj@{votes}"] = majority(evidence, votes)
    figure = Figure(
        "pass_at_k",
        "pass@k",
        {
            "k": ks,
            "value": [curve[k].value for k in ks],
            "low": [curve[k].low for k in ks],
            "high": [curve[k].high for k in ks],
            "label": [curve[k].label for k in ks],
            "n": n_min,
        },
    )
    per_problem = pd.DataFrame({"pass_rate": table["c"] / table["n"]}, index=table.index)
    return Measurement(CARD.name, CARD.question, per_problem, summary, (figure,))


def _steadiness(evidence: Evidence, counts: Counts, k: int) -> dict[str, Estimate]:
    """G-pass@k at two tau, mG-pass@k and Bayes@n; from the law where draws depended on the outcomes."""
    level = evidence.settings.level
    # a posterior is the same under every stopping rule, so Bayes@n takes adaptive draws as they are
    found = {f"bayes@{int(counts.n_P.min())}": bayes_at_n(counts, level=level)}
    if k < 2:
        return found
    for tau in STEADY_TAUS:
        found[f"g_pass@{k}[{tau:g}]"] = (
            g_pass_at_k(counts, k, tau, level=level)
            if counts.is_uniform
            else evidence.law.estimate(g_pass(k, tau), level)
        )
    found[f"mg_pass@{k}"] = (
        mg_pass_at_k(counts, k, level=level) if counts.is_uniform else evidence.law.estimate(mg_pass(k), level)
    )
    return found


def votes_at_hand(evidence: Evidence) -> int:
    """Draws whose answers are at hand for every problem; as many as were drawn unless only a sample was read."""
    if not evidence.sampled:
        return int(evidence.measured["n"].min())
    rows = evidence.arm("main")
    return max(1, int(rows[rows["verdict"] != "error"].groupby("problem_id").size().min()))


def majority(evidence: Evidence, k: int) -> Estimate:
    """maj@k from the answers that the verifier extracted; undefined where it extracts none."""
    level = evidence.settings.level
    if evidence.counts is not None:
        return Estimate.undefined("not measured: voting needs the answers, and only counts were imported", level)
    rows = evidence.arm("main")
    rows = rows[rows["verdict"].isin(["pass", "fail", "truncated"])]
    answered = rows[rows["extracted"].notna()]
    if len(answered) == 0:
        return Estimate.undefined("the verifier extracts no answers to vote on", level)
    answers: list[dict[str, int]] = []
    correct: list[set[str]] = []
    columns = (rows[name].tolist() for name in ("problem_id", "extracted", "verdict"))
    drawn: dict[str, list[tuple[object, str]]] = {}
    for problem_id, extracted, verdict in zip(*columns, strict=True):
        drawn.setdefault(problem_id, []).append((extracted, verdict))
    for group in drawn.values():
        read = [(answer, verdict) for answer, verdict in group if isinstance(answer, str)]
        tally = dict(Counter(answer for answer, _ in read).most_common())
        # a draw whose answer could not be read votes for nothing: each counts as its own wrong answer
        tally.update({f"\0unread {i}": 1 for i in range(len(group) - len(read))})
        answers.append(tally)
        correct.append({answer for answer, verdict in read if verdict == "pass"})
    return maj_at_k(answers, correct, k, level=level)


def validate() -> None:
    """Check 8 problems x 8 draws with 4 passes each: pass@1 = .5, pass@2 = 1 - C(4,2)/C(8,2)."""
    found = measure(make_evidence([(8, 4)] * 8)).summary
    assert found["pass@1"].value == 0.5, found["pass@1"]
    pass_2 = found["pass@2"].value
    assert pass_2 is not None and abs(pass_2 - (1 - 6 / 28)) < 1e-9, pass_2
    assert found["pass@16"].label == "estimated", found["pass@16"]


PROBE = Probe(CARD, measure, validate)
