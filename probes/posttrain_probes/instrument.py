"""Can the measurement be trusted at all? Nothing else is read before this."""

from __future__ import annotations

import pandas as pd

from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import Evidence, Needs
from posttrain_diag.types import Estimate, Measurement
from posttrain_probes import (
    acceptance,
    counted,
    golds,
    problem_set,
    reasoning,
    rejection,
    rendering,
    repeats,
    stopping,
    truncation,
)
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import share_estimate
from posttrain_probes.synthetic import make_evidence, make_problem, rollout_row

CARD = ProbeCard(
    name="instrument",
    question="Can the verdicts be trusted: golds, verifier, token cap, stop token, template, draws?",
    method="References must pass and corrupted ones must fail; draws are read again, more forgivingly, for right "
    "answers that fail and wrong ones that pass; truncated draws are repeated with a longer cap, and some prompts "
    "with (or without) the chat template; the stop token's probability is read after correct traces; answers of other "
    "problems give the guess rate; written-out arithmetic must hold; equal draws are tested against their own "
    "likelihood; failures that nothing but the gold explains, repeated prompts and prompts that hold the answer are "
    "flagged.",
    chance_level="each check states its own null",
    cost="verifier calls; up to 128 longer draws when draws were truncated; up to 256 draws of the other rendering "
    "where there is a chat template and most draws fail",
    references=("github.com/volcengine/verl/issues/5635", "github.com/QwenLM/Qwen3/issues/927"),
)


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """Ask for longer draws of truncated problems, and for some in the prompt's other rendering."""
    parts = (truncation.plan(evidence, engine), rendering.plan(evidence, engine))
    return Needs(
        draws=tuple(spec for part in parts for spec in part.draws),
        notes=tuple(note for part in parts for note in part.notes),
    )


CHECKS = (
    golds.failing_references,
    golds.unexplained_failures,
    problem_set.contradicted_golds,
    acceptance.accepts_corrupted,
    acceptance.accepts_other_answers,
    rejection.verifier_errors,
    rejection.rejected_answers,
    rejection.passed_only_leniently,
    stopping.no_stop_token,
    stopping.truncation,
    stopping.template,
    problem_set.markup_in_prompts,
    rendering.other_rendering,
    acceptance.guessable,
    acceptance.accepts_others_by_code,
    problem_set.one_answer,
    problem_set.answer_in_prompt,
    reasoning.false_equations,
    repeats.duplicate_draws,
    repeats.near_greedy,
    problem_set.repeated_problems,
)


def measure(evidence: Evidence) -> Measurement:
    """Collect all findings, and the rates behind them."""
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
    """Check that clean evidence has no finding, and that wrong golds and identical unlikely draws are found."""
    clean = make_evidence([(16, 8)] * 12)
    assert not measure(clean).findings, measure(clean).findings
    problems = {f"p{i}": make_problem(i, demos=("right-p0",)) for i in range(12)}
    wrong = make_evidence([(16, 8)] * 12, problems=problems, references=dict.fromkeys(problems, ("right-p0",)))
    assert measure(wrong).findings[0].kind == "gold_fails", measure(wrong).findings
    same = [rollout_row("p12", i, text="same", logprob=-4.0) for i in range(16)]
    again = make_evidence([(16, 8)] * 12 + [(0, 0)], extra=same)
    assert "duplicate_draws" in {finding.kind for finding in measure(again).findings}


PROBE = Probe(CARD, measure, validate, plan)
