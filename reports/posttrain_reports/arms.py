"""Two small tables of the page: the tokens of every arm with what they decided, and how steadily the policy passes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from posttrain_diag.wording.estimates import is_bound, share_text
from posttrain_diag.wording.numbers import UNDEFINED, class_percent, count, finite, percent, token_count
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import FINDINGS, verdict_title
from posttrain_reports.actions import NAME_LIMIT
from posttrain_reports.blocks import Table
from posttrain_reports.data import as_mapping

MAX_ARMS = 20
Diagnosis = Mapping[str, Any]


def tokens_by_arm(diagnosis: Diagnosis) -> Table | None:
    """Draws, tokens and share of all tokens by arm, the dearest first, with what each was for and what it decided.

    Returns:
        The table; None where the run did not record tokens by arm.
    """
    samples = as_mapping(diagnosis.get("samples"))
    drawn = as_mapping(samples.get("rollouts_by_arm"))
    tokens = {str(arm): finite(n) or 0.0 for arm, n in as_mapping(samples.get("tokens_by_arm")).items()}
    if not tokens:
        return None
    total = sum(tokens.values())
    order = sorted(tokens, key=lambda arm: (-tokens[arm], arm))
    rows = tuple(_row(arm, drawn.get(arm), tokens[arm], total, diagnosis) for arm in order[:MAX_ARMS])
    headers = ("arm", "draws", "tokens", "share", "what it was for", "what it decided")
    return Table(headers, rows, max(len(order) - MAX_ARMS, 0))


def _row(arm: str, drawn: object, tokens: float, total: float, diagnosis: Diagnosis) -> tuple[str, ...]:
    purpose, decided = ARMS.get(arm, ("", _nothing))
    n = finite(drawn)
    return (
        clip(arm, NAME_LIMIT),
        UNDEFINED if n is None else count(n),
        token_count(tokens),
        percent(tokens / total) if total else UNDEFINED,
        purpose,
        decided(diagnosis),
    )


def _nothing(_: Diagnosis) -> str:
    return UNDEFINED


def _main(diagnosis: Diagnosis) -> str:
    verdict, confidence = (
        clip(verdict_title(str(diagnosis.get("bottleneck"))), NAME_LIMIT),
        finite(diagnosis.get("confidence")),
    )
    return f"verdict {verdict}" + ("" if confidence is None else f", confidence {class_percent(confidence)}")


def _pilot(diagnosis: Diagnosis) -> str:
    cap = finite(as_mapping(diagnosis.get("sampling")).get("max_new_tokens"))
    return UNDEFINED if cap is None else f"token cap {count(cap)}"


def _prefix(diagnosis: Diagnosis) -> str:
    reach = as_mapping(as_mapping(diagnosis.get("estimates")).get("reach"))
    if finite(reach.get("value")) is not None:
        return f"reach {share_text(reach)} of {count(finite(reach.get('n')) or 0)} problems"
    guided = as_mapping(as_mapping(diagnosis.get("shares")).get("guided"))
    return UNDEFINED if finite(guided.get("value")) is None else f"guided-reachable: {share_text(guided)} of problems"


def _deep(diagnosis: Diagnosis) -> str:
    bounded = as_mapping(as_mapping(diagnosis.get("estimates")).get("bounded"))
    value, n = finite(bounded.get("value")), finite(bounded.get("n"))
    return UNDEFINED if value is None or n is None else f"a lower bound of p on {value * n:.0f} of {count(n)} problems"


def _hint(diagnosis: Diagnosis) -> str:
    hinted = as_mapping(as_mapping(diagnosis.get("estimates")).get("hinted_pass@1"))
    return UNDEFINED if finite(hinted.get("value")) is None else f"pass@1 after it {share_text(hinted)}"


def _check(kind: str) -> Callable[[Diagnosis], str]:
    """What a check of the instrument found: its finding with the severity, or that there is none."""

    def decided(diagnosis: Diagnosis) -> str:
        for finding in map(as_mapping, as_mapping(diagnosis.get("instrument")).get("findings") or ()):
            if finding.get("kind") == kind:
                title = FINDINGS.get(kind, kind)
                return clip(f"{title} ({finding.get('severity')})", NAME_LIMIT)
        return "nothing to object: instrument sound here"

    return decided


ARMS: Mapping[str, tuple[str, Callable[[Diagnosis], str]]] = {
    "main": ("success probabilities, classes and the verdict", _main),
    "pilot": ("how long responses are, before the token cap was set", _pilot),
    "prefix": ("success after a part of a correct trace, with controls", _prefix),
    "deep": ("bounds of p where no draw passed", _deep),
    "format_hint": ("success after the first words of the demanded form", _hint),
    "longer": ("whether draws that were cut end under a longer cap", _check("truncation")),
    "template": ("the prompts with or without the chat template", _check("template")),
}
"""For each kind of draws what it is for, and how to read off the diagnosis what it decided."""


def steadiness(diagnosis: Diagnosis) -> Table | None:
    """pass@k beside G-pass@k, mG-pass@k and Bayes@N, each with one sentence of what it means.

    Returns:
        The table; None where the run estimated none of the three.
    """
    estimates = {str(name): as_mapping(block) for name, block in as_mapping(diagnosis.get("estimates")).items()}
    found = {name: said for name in estimates if (said := _steady_words(name)) is not None}
    if not found:
        return None
    curve = {"pass@1": ("pass@1", "chance that a single draw passes, averaged over problems")}
    for k in dict.fromkeys(match.group(1) for name in found if (match := re.search(r"g_pass@(\d+)", name))):
        curve[f"pass@{k}"] = (f"pass@{k}", f"chance that at least one of {k} draws passes")
    rows = tuple(
        (title, _shown(estimates[name]), meaning)
        for name, (title, meaning) in {**curve, **found}.items()
        if name in estimates
    )
    return Table(("quantity", "value", "what it means"), rows)


def _shown(block: Mapping[str, Any]) -> str:
    known = finite(block.get("value")) is not None or is_bound(block)
    return share_text(block) if known else UNDEFINED


def _steady_words(name: str) -> tuple[str, str] | None:
    """Title and meaning of an estimate of steadiness; None for any other estimate."""
    if (found := re.fullmatch(r"g_pass@(\d+)\[([\d.]+)\]", name)) is not None:
        k, tau = found.group(1), float(found.group(2))
        return f"G-pass@{k}, τ = {tau:g}", f"chance that at least {tau:.0%} of {k} draws pass: right again and again"
    if (found := re.fullmatch(r"mg_pass@(\d+)", name)) is not None:
        k = found.group(1)
        return f"mG-pass@{k}", f"G-pass@{k} averaged over τ from 50% to 100%: 1 only where every draw passes"
    if (found := re.fullmatch(r"bayes@(\d+)", name)) is not None:
        return (
            f"Bayes@{found.group(1)}",
            "pass@1 if every p were as likely beforehand: few draws rank models more stably",
        )
    return None
