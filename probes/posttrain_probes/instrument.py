"""Can the measurement be trusted at all? Nothing else is read before this."""

from __future__ import annotations

import pandas as pd

from posttrain_diag.engines.base import Engine
from posttrain_diag.evidence import Evidence, Needs
from posttrain_diag.tasks import corrupted_completions, verify
from posttrain_diag.types import Estimate, Finding, Measurement
from posttrain_probes import counted, golds, stopping
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import share_estimate
from posttrain_probes.synthetic import make_evidence, make_problem, rollout_row

CARD = ProbeCard(
    name="instrument",
    question="Can the verdicts be trusted: golds, verifier, token cap, stop token, template, draws?",
    method="References must pass and corrupted ones must fail; truncated draws are repeated with a longer cap; the "
    "stop token's probability is read after correct traces; answers of other problems give the guess rate; equal "
    "draws are tested against their own likelihood; failures that nothing but the gold explains are flagged.",
    chance_level="each check states its own null",
    cost="verifier calls, and up to 128 longer draws when draws were truncated",
    references=("SCIENCE.md rule 1", "github.com/volcengine/verl/issues/5635", "github.com/QwenLM/Qwen3/issues/927"),
)

CORRUPTED_PROBLEMS = 200
"""Problems whose corrupted references are judged."""
GUESS_FLOOR = 0.05
"""Guessing is reported from this chance level on."""
GUESS_P = 0.01
"""A permutation p-value above this means that the passes are no better than chance."""
GUESS_MIN_PROBLEMS = 8
IDENTICAL_LOG_P = -14.0
"""Equal draws are suspicious when their joint log-probability is below this (about one in a million)."""


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """Longer draws for truncated problems."""
    return stopping.plan(evidence, engine)


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


def accepts_corrupted(evidence: Evidence) -> Finding | None:
    """Corrupted references that the verifier lets pass."""
    problems = list(evidence.problems.values())
    step = max(1, len(problems) // CORRUPTED_PROBLEMS)
    wrong: list[str] = []
    judged = 0
    for problem in problems[::step]:
        if problem.verifier.get("type") == "python":
            continue  # running arbitrary code on corrupted golds costs a sandbox each; golds were run by golds.py
        texts = corrupted_completions(problem, problems[:200])
        judged += bool(texts)
        if any(verify(text, problem).strict for text in texts):
            wrong.append(problem.id)
    if not wrong:
        return None
    share = share_estimate(len(wrong), judged, level=evidence.settings.level)
    return Finding(
        "verifier_error",
        "broken" if len(wrong) > 0.1 * judged else "suspect" if len(wrong) > 0.02 * judged else "note",
        share,
        tuple(wrong),
        f"The verifier passes corrupted references on {len(wrong)} of {judged} problems (another problem's answer, an "
        "empty completion or the prompt itself). Make it stricter before believing any pass rate.",
    )


def guessable(evidence: Evidence) -> Finding | None:
    """Passes that are no better than giving this problem the answers drawn for others."""
    floor = evidence.chance
    if floor is None or floor.floor.value is None or floor.floor.value < GUESS_FLOOR:
        return None
    chance, p_value, chosen = floor.floor.value, floor.p_value, evidence.chance_ids
    at_chance = p_value > GUESS_P
    # few problems allow few permutations: then a large p is no evidence of guessing
    severity = "note" if not at_chance else "broken" if len(chosen) >= GUESS_MIN_PROBLEMS else "suspect"
    return Finding(
        "guessable",
        severity,
        floor.floor,
        tuple(chosen) if at_chance else (),
        f"Draws made for other problems pass {chance:.0%} of the time"
        + (
            f" and the model is no better than that (permutation p = {p_value:.2g}): its passes are luck, and pass@k "
            "grows by luck too. Use tasks with more possible answers, or judge the reasoning, before reading pass@k."
            if at_chance
            else f"; the model is better than chance (permutation p = {p_value:.2g}), but pass@k at large k is "
            "inflated: read the chance-corrected numbers."
        ),
    )


def duplicate_draws(evidence: Evidence) -> Finding | None:
    """Problems whose draws are all equal although their own likelihood says that cannot be chance."""
    if evidence.settings.sampling.temperature == 0.0:
        return Finding(
            "duplicate_draws",
            "broken",
            share_estimate(len(evidence.main), len(evidence.main), level=evidence.settings.level),
            evidence.ids,
            "Temperature is 0: all draws of a problem are the same draw, so pass@k and support cannot be measured. "
            "Sample at temperature 1 (or the temperature your RL rollouts will use).",
        )
    rows = evidence.arm("main")
    rows = rows[rows["verdict"] != "error"]
    by_problem = rows.groupby("problem_id")
    alike = pd.DataFrame({"texts": by_problem["text"].nunique(), "n": by_problem.size()})
    first = rows.drop_duplicates("problem_id").set_index("problem_id")["logprob"].astype(float)  # NaN: not told
    surprise = first.reindex(alike.index) * (alike["n"] - 1)
    suspicious = (alike["n"] > 1) & (alike["texts"] == 1) & (surprise < IDENTICAL_LOG_P)
    equal = [str(key) for key in alike.index[suspicious]]
    if not equal:
        return None
    share = share_estimate(len(equal), len(evidence.measured), level=evidence.settings.level)
    return Finding(
        "duplicate_draws",
        "broken" if len(equal) > 0.2 * len(evidence.measured) else "suspect",
        share,
        tuple(equal),
        f"All draws are identical on {len(equal)} problems although the model gives that text a low probability: the "
        "sampler repeats itself (greedy decoding, a cache, one seed for all); its counts are not independent draws.",
    )


CHECKS = (
    golds.failing_references,
    golds.unexplained_failures,
    accepts_corrupted,
    verifier_errors,
    stopping.no_stop_token,
    stopping.truncation,
    stopping.template,
    guessable,
    duplicate_draws,
)


def measure(evidence: Evidence) -> Measurement:
    """All findings, and the rates behind them."""
    if evidence.counts is not None:
        return counted.measure(evidence, CARD)
    findings = tuple(finding for check in CHECKS if (finding := check(evidence)) is not None)
    level = evidence.settings.level
    drawn = int(evidence.main["drawn"].sum())
    summary: dict[str, Estimate] = {"gold_pass_rate": golds.pass_rate(evidence)}
    if drawn:
        summary["truncated_rate"] = share_estimate(int(evidence.main["truncated"].sum()), drawn, level=level)
        summary["verifier_error_rate"] = share_estimate(int(evidence.main["errored"].sum()), drawn, level=level)
    per_problem = pd.DataFrame(
        {"gold_passes": pd.Series(dict(evidence.gold_passes), dtype=object)}, index=list(evidence.ids)
    )
    rate = summary["gold_pass_rate"]
    notes = (f"golds: {golds.sentence(evidence)}",) if rate.value is not None else (f"golds: {rate.reason}",)
    return Measurement(CARD.name, CARD.question, per_problem, summary, findings=findings, notes=notes)


def validate() -> None:
    """Clean evidence has no finding; wrong golds and identical unlikely draws are found."""
    clean = make_evidence([(16, 8)] * 12)
    assert not measure(clean).findings, measure(clean).findings
    problems = {f"p{i}": make_problem(i, demos=("right-p0",)) for i in range(12)}
    wrong = make_evidence([(16, 8)] * 12, problems=problems, references=dict.fromkeys(problems, ("right-p0",)))
    assert measure(wrong).findings[0].kind == "gold_fails", measure(wrong).findings
    same = [rollout_row("p12", i, text="same", logprob=-4.0) for i in range(16)]
    again = make_evidence([(16, 8)] * 12 + [(0, 0)], extra=same)
    assert "duplicate_draws" in {finding.kind for finding in measure(again).findings}


PROBE = Probe(CARD, measure, validate, plan)
