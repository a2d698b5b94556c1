"""Instrument checks on stopping: the stop token, the token cap, and template artefacts in completions."""

from __future__ import annotations

import re

import numpy as np

from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import DrawSpec, Evidence, Needs
from posttrain_diag.store import ScoreRow
from posttrain_diag.types import Estimate, Finding
from posttrain_probes.estimates import share_estimate

LONGER_ARM = "longer"
LONGER_FACTOR = 4
"""Truncated draws are repeated with this many times the cap (as far as the context allows)."""
LONGER_PROBLEMS = 32
LONGER_DRAWS = 4
TRUNCATED_NOTE = 0.05
TRUNCATED_GATE = 0.2
"""From this share of truncated draws on, a verdict needs evidence that the cap does not matter."""
UNIFORM_SHARE = 0.6
"""A policy is near-uniform on references when its NLL per token exceeds this share of ln(vocabulary)."""
STOP_PROBABILITY = 0.05
"""A policy that stops less often than this after a correct trace has not learnt to stop."""

ARTEFACTS = re.compile(
    r"<\|[a-z_]+\|>|\[/?INST\]|<<SYS>>|<start_of_turn>|<end_of_turn>"
    r"|^\s*(?:user|human|assistant)\s*:|### (?:Human|Instruction)",
    re.IGNORECASE | re.MULTILINE,
)


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """Ask for draws of some truncated problems with a longer cap."""
    table = evidence.main
    if int(table["truncated"].sum()) < TRUNCATED_NOTE * max(1, int(table["drawn"].sum())):
        return Needs()
    worst = table[table["truncated"] > 0].index.tolist()
    step = max(1, len(worst) // LONGER_PROBLEMS)
    cap = evidence.settings.sampling.max_new_tokens
    context = engine.info.context_length
    if context is not None and "tokens" in engine.info.lacks:
        return Needs(notes=(f"no longer draws: {engine.info.lacks['tokens']}, so the room in the context is unknown",))
    draws: list[DrawSpec] = []
    for key in map(str, worst[::step][:LONGER_PROBLEMS]):
        problem = evidence.problems[key]
        longer = LONGER_FACTOR * cap
        if context is not None:
            from posttrain_diag.engines.contract import Prompt

            room = context - len(engine.prompt_ids(Prompt(problem.prompt, problem.messages)))
            longer = min(longer, room)
        if longer > cap:
            draws.append(DrawSpec(key, LONGER_ARM, LONGER_DRAWS, max_new_tokens=longer))
    notes = () if draws else ("no longer draws: the token cap already fills the model's context",)
    return Needs(draws=tuple(draws), notes=notes)


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
    table = evidence.main
    drawn, truncated = int(table["drawn"].sum()), int(table["truncated"].sum())
    if drawn == 0 or truncated < TRUNCATED_NOTE * drawn:
        return None
    share = share_estimate(truncated, drawn, level=evidence.settings.level)
    problems = tuple(map(str, table.index[table["truncated"] > 0]))
    cap = evidence.settings.sampling.max_new_tokens
    head = f"{truncated} of {drawn} draws were cut at {cap} tokens"
    if near_uniform(evidence):
        advice = (
            f"{head}, but the policy is close to uniform on the references, so no longer window would change the "
            "verdict; the cut draws count as not passed."
        )
        return Finding("truncation", "note", share, problems, advice)
    longer = evidence.table(LONGER_ARM)
    longer = longer[longer["n"] > 0]
    again, ended, passed = (int(longer[column].sum()) for column in ("n", "failed", "c"))
    if again == 0:
        tried = "The context leaves no room for longer draws."
    else:
        tried = f"With a longer cap {passed} of {again} repeated draws passed and {ended + passed} ended by themselves."
    if truncated >= TRUNCATED_GATE * drawn:
        severity = "broken"
    elif passed > 0:
        severity = "suspect"
    else:
        severity = "note"
    fit = needed_tokens(evidence)
    size = f" References need up to {fit} tokens." if fit is not None and fit > cap else ""
    advice = f"{head}. {tried}{size} Raise --max-new-tokens (or shorten the prompt) and rerun into a new --out."
    return Finding("truncation", severity, share, problems, advice)


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
