"""Instrument checks on stopping: the stop token, the token cap, and template artefacts in completions."""

from __future__ import annotations

import re

import numpy as np

from posttrain_diag.evidence import Evidence
from posttrain_diag.store import ScoreRow
from posttrain_diag.types import Estimate, Finding
from posttrain_probes.estimates import share_estimate
from posttrain_probes.truncation import TRUNCATED_GATE, TRUNCATED_NOTE, truncation_finding

UNIFORM_SHARE = 0.6
"""A policy is near-uniform on references when its NLL per token exceeds this share of ln(vocabulary)."""
STOP_PROBABILITY = 0.05
"""A policy that stops less often than this after a correct trace has not learnt to stop."""

ARTEFACTS = re.compile(
    r"<\|[a-z_]+\|>|\[/?INST\]|<<SYS>>|<start_of_turn>|<end_of_turn>"
    r"|^\s*(?:user|human|assistant)\s*:|### (?:Human|Instruction)",
    re.IGNORECASE | re.MULTILINE,
)


def _demo_rows(evidence: Evidence) -> list[ScoreRow]:
    return [row for row in evidence.scores if row.kind == "demo:0"]


def near_uniform(evidence: Evidence) -> bool:
    """Whether the policy is hardly better than uniform on the references; then neither cap nor stop token matters."""
    rows = _demo_rows(evidence)
    if not rows or evidence.model is None:
        return False
    content = slice(None, -1 if evidence.model.stop_token_ids else None)  # the stop position is judged on its own
    nll = float(np.mean([-row.logprobs[content].mean() for row in rows if len(row.logprobs[content])] or [0.0]))
    return nll >= UNIFORM_SHARE * float(np.log(evidence.model.vocab_size))


def stop_probability(evidence: Evidence) -> float | None:
    """Mean probability of stopping after a correct trace; None where no reference was scored."""
    rows = _demo_rows(evidence)
    if not rows or evidence.model is None or not evidence.model.stop_token_ids:
        return None
    return float(np.mean([np.exp(row.logprobs[-1]) for row in rows]))


def no_stop_token(evidence: Evidence) -> Finding | None:
    """A model without a stop token, or one that never uses it after a right answer."""
    level = evidence.settings.level
    model = evidence.model
    ended_by_text = bool(evidence.settings.sampling.stop) or (model is not None and bool(model.stop_texts))
    if model is not None and not model.stop_token_ids and not ended_by_text and "tokens" not in model.lacks:
        return Finding(
            "no_eos",
            "broken",
            share_estimate(len(evidence.problems), len(evidence.problems), level=level),
            evidence.ids,
            "The model directory names no stop token (generation_config.eos_token_id, tokenizer.eos_token, the chat "
            "template's turn end): every draw runs to the token cap. Set the token the model was trained to end with, "
            "or give --stop TEXT, and rerun.",
        )
    drawn, truncated = int(evidence.main["drawn"].sum()), int(evidence.main["truncated"].sum())
    stop = stop_probability(evidence)
    if drawn == 0 or truncated < 0.8 * drawn or stop is None or stop >= STOP_PROBABILITY or near_uniform(evidence):
        return None
    return Finding(
        "no_eos",
        "broken",
        share_estimate(truncated, drawn, level=level),
        tuple(map(str, evidence.main.index[evidence.main["truncated"] > 0])),
        f"The model knows the references but stops after them with probability {stop:.2g}, and {truncated} of {drawn} "
        "draws ran to the token cap: the configured stop token is not the one it was trained with, or the template "
        "differs from training. Check generation_config.eos_token_id and the chat template.",
    )


def truncation(evidence: Evidence) -> Finding | None:
    """Draws cut at the token cap, and whether that can have changed the verdict."""
    return truncation_finding(evidence, uniform=near_uniform(evidence), needed=needed_tokens(evidence))


def needed_tokens(evidence: Evidence) -> int | None:
    """Number of tokens of the longest scored reference, stop token included; None where none was scored."""
    rows = _demo_rows(evidence)
    return max((len(row.logprobs) for row in rows), default=None)


def template(evidence: Evidence) -> Finding | None:
    """Completions that carry chat markup or go on with the user's next turn; a doubled BOS at loading."""
    level = evidence.settings.level
    rows = evidence.arm("main")
    marked = rows[rows["text"].str.contains(ARTEFACTS)] if len(rows) else rows
    notices = [note for note in (evidence.model.notices if evidence.model else ()) if "template" in note.lower()]
    if len(marked) < TRUNCATED_NOTE * max(1, len(rows)):
        if not notices:
            return None
        return Finding("template", "note", Estimate.undefined("a fact about loading", level), (), " ".join(notices))
    share = share_estimate(len(marked), len(rows), level=level)
    return Finding(
        "template",
        "broken" if len(marked) >= TRUNCATED_GATE * len(rows) else "suspect",
        share,
        tuple(map(str, marked["problem_id"].unique())),
        f"{len(marked)} of {len(rows)} draws contain chat markup or begin another turn: the prompt template or the "
        "stop tokens differ from training. Check the chat template (--template, --no-chat-template) and stop tokens.",
    )
