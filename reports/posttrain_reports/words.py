"""The report's vocabulary: one name, one sentence of meaning per class, bottleneck, stage and label."""

from __future__ import annotations

from typing import Final

CLASS_ORDER: Final = ("mastered", "reshaping", "format", "guided", "support", "unresolved")

CLASS_COLOUR: Final = {
    "mastered": "#009e73",
    "reshaping": "#0072b2",
    "format": "#e69f00",
    "guided": "#cc79a7",
    "support": "#d55e00",
    "unresolved": "#9aa3ae",
}
"""Okabe-Ito, plus grey: middle tones, readable on light and dark alike."""
CLASS_TITLE: Final = {
    "mastered": "Mastered",
    "reshaping": "Reshaping-limited",
    "format": "Format-limited",
    "guided": "Guided-reachable",
    "support": "Support-limited",
    "unresolved": "Unresolved",
    "consolidation": "Solved by another model",
}
CLASS_MEANING: Final = {
    "mastered": "success probability at or above the mastery level: nothing to gain",
    "reshaping": "right answers are drawn, but too rarely: on-policy training can raise them",
    "format": "the right answer is there and the strict reading rejects its form",
    "guided": "blind rollouts fail, rollouts after a prefix of a correct trace succeed",
    "support": "no right answer within the rollout budget and no useful prefix short of the answer",
    "unresolved": "no class reaches a posterior of .95: more rollouts would decide",
    "consolidation": "the guided-reachable and support-limited problems that another model solves; no class of its own",
}

BOTTLENECK_TITLE: Final = {
    "support": "Support",
    "reshaping": "Reshaping",
    "format": "Format",
    "guided": "Guided reachability",
    "consolidation": "Consolidation",
    "mixed": "Mixed",
    "saturated": "Saturated",
    "instrument": "Instrument",
    "undetermined": "Undetermined",
}
BOTTLENECK_SENTENCE: Final = {
    "support": "Right answers lie outside the model's effective support",
    "reshaping": "Right answers are within reach but drawn too rarely",
    "format": "The model finds right answers and writes them in a form the verifier rejects",
    "guided": "Blind rollouts fail, but the model finishes correct traces when given their start",
    "consolidation": "A teacher or another checkpoint solves what the model does not reach by itself",
    "mixed": "Several bottlenecks hold the model back at once",
    "saturated": "The model has mastered these tasks: training on them buys almost nothing",
    "instrument": "The measurement cannot be trusted yet",
    "undetermined": "The evidence does not decide which bottleneck holds the model back",
}
BOTTLENECK_CLASS: Final = {
    "support": "support",
    "reshaping": "reshaping",
    "format": "format",
    "guided": "guided",
    "consolidation": "consolidation",
    "saturated": "mastered",
}
"""The class whose share is quoted in the headline."""
BOTTLENECK_FALLBACK: Final = {
    "instrument": "Repair the instrument first; every number below may be wrong.",
    "undetermined": "Draw more rollouts before training anything.",
    "saturated": "Choose harder tasks.",
    "mixed": "Train in stages and diagnose again between them.",
}
"""What to do when the plan is empty, or (instrument, undetermined) before following any plan."""
COUNTS_UNDETERMINED: Final = (
    "Counts alone do not decide it: run diag analyze with the model and the tasks before training anything."
)

STAGE_TITLE: Final = {
    "sft": "Supervised fine-tuning on demonstrations",
    "sft-model-aware": "Model-aware fine-tuning on demonstrations",
    "preference": "Offline preference training",
    "distill-offline": "Distillation from teacher outputs",
    "grpo": "RL with the verifier (GRPO)",
    "rloo": "RL with the verifier (RLOO)",
    "online-preference": "Online preference training",
    "process-rl": "RL with process rewards",
    "rft": "Fine-tuning on verified own rollouts",
    "distill-onpolicy": "On-policy distillation from a teacher",
    "guided-rl": "Guided RL with demonstration prefixes",
    "interleaved": "Interleaved SFT and RL",
    "filter": "Demonstrations filtered by the verifier",
    "replay": "Replay of retained tasks",
    "merge": "Weight interpolation with an earlier checkpoint",
    "search-transfer": "Search, then transfer into the policy",
}
"""Short forms of the stage catalogue's titles, for a headline; an unknown stage keeps its name."""

INSTRUMENT_TITLE: Final = {"ok": "sound", "suspect": "suspect", "broken": "broken"}
INSTRUMENT_MEANING: Final = {
    "ok": "No fault found in verifier, token cap, stop token, template or draws.",
    "suspect": "Something below may bend the numbers: read the findings before acting.",
    "broken": "The numbers measure the instrument as much as the model: repair it, then analyse again.",
}
FINDING_TITLE: Final = {
    "gold_fails": "Gold answers fail their own verifier",
    "truncation": "Rollouts are cut off at the token cap",
    "no_eos": "The model does not stop by itself",
    "template": "The prompt template is wrong",
    "guessable": "The answers can be guessed",
    "duplicate_draws": "Draws repeat each other",
    "verifier_error": "The verifier itself fails",
    "verifier_inconsistent": "The verifier rejects right answers",
    "wrong_reasoning": "Answers pass with wrong reasoning",
    "duplicate_problems": "Problems repeat each other",
    "degenerate": "The tasks can be passed without solving them",
    "unequal_n": "Problems were drawn unequally often",
    "not_checked": "The instrument was not checked",
}

LABEL_MEANING: Final = {
    "measured": "counted directly from rollouts",
    "estimated": "computed under mild assumptions from the counts",
    "model-dependent": "rests on an assumed law beyond what was drawn",
    "undefined": "does not exist for this run",
}

ESTIMATE_TITLE: Final = {
    "coverage": "Coverage of effective support",
    "expected_successes": "Expected successes in the rollout budget",
}
VERDICT_TITLE: Final = {"pass": "pass", "fail": "fail", "truncated": "truncated", "error": "verifier error"}


def stage_title(stage: str) -> str:
    """The stage in words; an unknown one keeps its name."""
    return STAGE_TITLE.get(stage, stage)


def estimate_title(name: str) -> str:
    """The estimate's name as the key-number table prints it."""
    if name in ESTIMATE_TITLE:
        return ESTIMATE_TITLE[name]
    if name.startswith("mixed_groups@"):
        return f"Mixed reward groups, G = {name.split('@', 1)[1]}"
    return name.replace("_", " ")


ROLE_TITLE: Final = {
    "expansion": "Expansion",
    "reshaping": "Reshaping",
    "consolidation": "Consolidation",
    "repair": "Repair of the format",
    "none": "None",
    "undetermined": "Undetermined",
}
ROLE_MEANING: Final = {
    "expansion": "most of the gain lies on problems that were out of effective support",
    "reshaping": "most of the gain lies on problems that were in support before",
    "consolidation": "what another model, or an earlier state, could do was brought back",
    "repair": "most of the gain lies on answers that were right and wrongly formatted",
    "none": "no useful change of pass@1",
    "undetermined": "the role cannot be told",
}
FATE_TITLE: Final = {
    "gained": "Gained",
    "lost": "Lost",
    "kept": "Kept",
    "outside": "Outside",
    "unresolved": "Unresolved",
}
FATE_ORDER: Final = tuple(FATE_TITLE)
FATE_MEANING: Final = {
    "gained": "newly in effective support",
    "lost": "no longer in effective support",
    "kept": "in effective support before and after",
    "outside": "in effective support neither before nor after",
    "unresolved": "no fate reaches a probability of .95: more rollouts would decide",
}
PART_TITLE: Final = {
    "reshaping": "reshaping",
    "expansion": "expansion",
    "attrition": "attrition",
    "outside": "outside support",
}
PART_MEANING: Final = {
    "reshaping": "on problems supported before and after",
    "expansion": "on newly supported problems",
    "attrition": "taken off on problems whose support was lost",
    "outside": "on problems supported neither before nor after",
    "forgetting": "taken off on retained tasks",
}
SUPPORT_TITLE: Final = {
    "preserved": ("Preserved, P", "problems supported before and after"),
    "expanded": ("Expanded, E", "newly supported"),
    "shrunk": ("Shrunk, S", "support lost"),
    "outside": ("Outside, O", "supported neither before nor after"),
    "srr": ("Support retention, SRR", "P / (P + S)"),
    "ndr": ("Discovery, NDR", "E / (P + E)"),
    "nscr": ("Net support change, NSCR", "(E − S) / (P + E + S)"),
}
OUTCOME_TITLE: Final = {"kept": "kept", "rolled back": "rolled back", "failed": "failed"}
END_TITLE: Final = {
    "target": "The target was reached",
    "saturated": "Nothing is left to gain",
    "instrument": "The measurement is broken",
    "undetermined": "The evidence does not decide",
    "budget": "The token budget is used up",
    "stages": "The number of stages is used up",
    "no gain": "No stage is expected to gain",
}
