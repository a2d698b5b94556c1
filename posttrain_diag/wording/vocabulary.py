"""The words for what the tool finds: one table per kind of thing, read by the terminal, the pages and Markdown.

The names (the keys) are the contract of the JSON files; everything else is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ClassWords:
    """The words and colours for a class of problems."""

    title: str
    """The class in the headings of a page."""
    word: str
    """The class in a line of the terminal."""
    cells: tuple[str, str]
    """Its cell in the terminal's bar, and the one in ASCII: colour is never the only sign."""
    colour: str
    """Its colour from Okabe-Ito, plus grey and violet: middle tones, readable on light and dark alike."""
    dark: str
    """The same colour on a dark page."""
    meaning: str
    reason: str = ""
    """Completes "12% of the problems are ..." in the reasons of a diagnosis; may name {budget} and {mastery:g}."""


CLASSES: Final[Mapping[str, ClassWords]] = {
    "mastered": ClassWords(
        "Mastered",
        "mastered",
        ("█", "#"),
        "#009e73",
        "#14b88a",
        "success probability at or above the mastery level: nothing to gain",
        "mastered (p >= {mastery:g})",
    ),
    "reshaping": ClassWords(
        "Reshaping-limited",
        "reshaping",
        ("▓", "="),
        "#0072b2",
        "#56b4e9",
        "right answers are drawn, but too rarely: on-policy training can raise them",
        "solved sometimes (1/{budget} <= p < {mastery:g})",
    ),
    "format": ClassWords(
        "Format-limited",
        "format",
        ("▒", "%"),
        "#e69f00",
        "#e9ab26",
        "the right answer is there and the strict reading rejects its form",
        "right in substance, wrong in format",
    ),
    "guided": ClassWords(
        "Guided-reachable",
        "guided",
        ("▚", "+"),
        "#cc79a7",
        "#d68db6",
        "blind rollouts fail, rollouts after a prefix of a correct trace succeed",
        "out of reach alone (p < 1/{budget}), reachable after a prefix of a correct trace",
    ),
    "support": ClassWords(
        "Support-limited",
        "support",
        ("░", "-"),
        "#d55e00",
        "#e8743b",
        "no right answer within the rollout budget and no useful prefix short of the answer",
        "out of effective support (p < 1/{budget}) and no tested prefix helps",
    ),
    "unresolved": ClassWords(
        "Unresolved",
        "open",
        ("·", "."),
        "#9aa3ae",
        "#76818f",
        "no class reaches a posterior of .95: more rollouts would decide",
    ),
}
"""The classes, in the order of every list, bar and legend."""

COUNTED_CLASSES: Final[Mapping[str, str]] = {
    "reshaping": "solved sometimes (1/{budget} <= p < {mastery:g}), whether or not format costs them passes",
    "support": "out of effective support (p < 1/{budget}): support-limited, or guided-reachable, or judged by a broken "
    "verifier, which counts alone cannot tell",
}
"""`ClassWords.reason` where counts alone were imported: they mean less than a full run."""

SHARES: Final[Mapping[str, ClassWords]] = {
    **CLASSES,
    "consolidation": ClassWords(
        "Solved by another model",
        "solved by another model",
        ("", ""),
        "#7a4fb8",
        "#a58be0",
        "the guided-reachable and support-limited problems that another model solves; no class of its own",
    ),
}
"""The words for the classes, and for the share that lies on top of two of them."""


@dataclass(frozen=True)
class VerdictWords:
    """The words for a verdict: the bottleneck that a diagnosis names."""

    title: str
    """The verdict in the headings of a page."""
    name: str
    """The verdict at the head of the terminal's box."""
    headline: str
    """What follows the name in the terminal's box."""
    sentence: str
    """The page's headline, without the share of problems that it is about."""
    hue: str
    """The class whose colour the verdict has on a page, or "instrument", "undetermined"."""
    style: str = "cyan"
    """Colour of the verdict's name in the terminal."""
    counted: str = ""
    """The class whose share the page's headline quotes; empty: none."""
    without_plan: str = ""
    """What to do when the plan is empty, or (instrument, undetermined) before following any plan."""


VERDICTS: Final[Mapping[str, VerdictWords]] = {
    "support": VerdictWords(
        "Support",
        "support-limited",
        "the right traces are not in the policy's effective support",
        "Right answers lie outside the model's effective support",
        "support",
        counted="support",
    ),
    "reshaping": VerdictWords(
        "Reshaping",
        "reshaping-limited",
        "right answers are drawn, not often enough",
        "Right answers are within reach but drawn too rarely",
        "reshaping",
        counted="reshaping",
    ),
    "format": VerdictWords(
        "Format",
        "format-limited",
        "the answers are right, the format is not",
        "The model finds right answers and writes them in a form the verifier rejects",
        "format",
        counted="format",
    ),
    "guided": VerdictWords(
        "Guided reachability",
        "guided-reachable",
        "out of reach alone, reachable from prefixes of correct traces",
        "Blind rollouts fail, but the model finishes correct traces when given their start",
        "guided",
        counted="guided",
    ),
    "consolidation": VerdictWords(
        "Consolidation",
        "consolidation-limited",
        "a teacher or another checkpoint solves what this model does not reach",
        "A teacher or another checkpoint solves what the model does not reach by itself",
        "consolidation",
        counted="consolidation",
    ),
    "mixed": VerdictWords(
        "Mixed",
        "mixed",
        "no single bottleneck explains most of the open problems",
        "Several bottlenecks hold the model back at once",
        "unresolved",
        without_plan="Train in stages and diagnose again between them.",
    ),
    "saturated": VerdictWords(
        "Saturated",
        "saturated",
        "these tasks are mastered",
        "The model has mastered these tasks: training on them buys almost nothing",
        "mastered",
        "green",
        counted="mastered",
        without_plan="Choose harder tasks.",
    ),
    "instrument": VerdictWords(
        "Instrument",
        "instrument",
        "the measurement is broken, nothing else can be concluded yet",
        "The measurement cannot be trusted yet",
        "instrument",
        "red",
        without_plan="Repair the instrument first; every number below may be wrong.",
    ),
    "undetermined": VerdictWords(
        "Undetermined",
        "undetermined",
        "the evidence does not decide",
        "The evidence does not decide which bottleneck holds the model back",
        "undetermined",
        "yellow",
        without_plan="Draw more rollouts before training anything.",
    ),
}
COUNTS_UNDETERMINED: Final = (
    "Counts alone do not decide it: run diag analyze with the model and the tasks before training anything."
)
"""What to do about an undetermined verdict of imported counts."""


@dataclass(frozen=True)
class RoleWords:
    """The words for the role that a stage played, as a comparison measures it."""

    title: str
    meaning: str
    hue: str
    """The class whose colour the role has on a page, or "instrument", "undetermined"."""
    style: str = "cyan"
    """Colour of the role's name in the terminal."""


ROLES: Final[Mapping[str, RoleWords]] = {
    "expansion": RoleWords(
        "Expansion", "most of the gain lies on problems that were out of effective support", "support"
    ),
    "reshaping": RoleWords("Reshaping", "most of the gain lies on problems that were in support before", "reshaping"),
    "consolidation": RoleWords(
        "Consolidation", "what another model, or an earlier state, could do was brought back", "consolidation"
    ),
    "repair": RoleWords(
        "Repair of the format", "most of the gain lies on answers that were right and wrongly formatted", "format"
    ),
    "attrition": RoleWords("Attrition", "support was lost, and no gain of pass@1 makes up for it", "instrument", "red"),
    "none": RoleWords("None", "no useful change of pass@1", "unresolved", "yellow"),
    "undetermined": RoleWords("Undetermined", "the role cannot be told", "undetermined", "yellow"),
}


@dataclass(frozen=True)
class StatusWords:
    """The words for whether the instrument can be trusted."""

    title: str
    meaning: str
    style: str
    """Colour in the terminal."""


INSTRUMENT: Final[Mapping[str, StatusWords]] = {
    "ok": StatusWords("sound", "No fault found in verifier, token cap, stop token, template or draws.", "green"),
    "suspect": StatusWords(
        "suspect", "Something below may bend the numbers: read the findings before acting.", "yellow"
    ),
    "broken": StatusWords(
        "broken",
        "The numbers measure the instrument as much as the model: repair it, then analyse again.",
        "red",
    ),
}

FINDINGS: Final[Mapping[str, str]] = {
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
"""The title of each kind of instrument finding; what to do about it comes with the finding."""

LABELS: Final[Mapping[str, str]] = {
    "measured": "counted directly from rollouts",
    "estimated": "computed under mild assumptions from the counts",
    "model-dependent": "rests on an assumed law beyond what was drawn",
    "bound": "an upper limit: no draw passed",
    "undefined": "does not exist for this run",
}
"""What an estimate with each label rests on, in words."""


@dataclass(frozen=True)
class FateWords:
    """The words for what became of a problem between two runs."""

    title: str
    meaning: str
    hue: str
    """The class whose colour it has."""


FATES: Final[Mapping[str, FateWords]] = {
    "gained": FateWords("Gained", "newly in effective support", "mastered"),
    "lost": FateWords("Lost", "no longer in effective support", "support"),
    "kept": FateWords("Kept", "in effective support before and after", "reshaping"),
    "outside": FateWords("Outside", "in effective support neither before nor after", "unresolved"),
    "unresolved": FateWords("Unresolved", "no fate reaches a probability of .95: more rollouts would decide", "format"),
}
"""The fates, in the order of every list, bar and legend."""


@dataclass(frozen=True)
class QuantityWords:
    """The words for a quantity of a comparison."""

    title: str
    meaning: str
    symbol: str = ""


PARTS: Final[Mapping[str, QuantityWords]] = {
    "reshaping": QuantityWords("reshaping", "on problems supported before and after"),
    "expansion": QuantityWords("expansion", "on newly supported problems"),
    "attrition": QuantityWords("attrition", "taken off on problems whose support was lost"),
    "outside": QuantityWords("outside support", "on problems supported neither before nor after"),
    "forgetting": QuantityWords("forgetting", "taken off on retained tasks"),
}
"""The parts of a change of pass@1; forgetting is no part of it and stands beside them."""

SUPPORT: Final[Mapping[str, QuantityWords]] = {
    "preserved": QuantityWords("Preserved", "problems supported before and after", "P"),
    "expanded": QuantityWords("Expanded", "newly supported", "E"),
    "shrunk": QuantityWords("Shrunk", "support lost", "S"),
    "outside": QuantityWords("Outside", "supported neither before nor after", "O"),
    "srr": QuantityWords("Support retention", "P / (P + S)", "SRR"),
    "ndr": QuantityWords("Discovery", "E / (P + E)", "NDR"),
    "nscr": QuantityWords("Net support change", "(E − S) / (P + E + S)", "NSCR"),
}
"""The numbers of problems that a comparison shows, then the rates made of them."""
SUPPORT_COUNTS: Final = ("preserved", "expanded", "shrunk", "outside")

OUTCOMES: Final[Mapping[str, str]] = {"kept": "ok", "rolled back": "broken", "failed": "broken"}
"""For what became of a round of the autopilot, the instrument status whose colour it has."""
ENDS: Final[Mapping[str, str]] = {
    "target": "The target was reached",
    "saturated": "Nothing is left to gain",
    "instrument": "The measurement is broken",
    "undetermined": "The evidence does not decide",
    "budget": "The token budget is used up",
    "stages": "The number of stages is used up",
    "no gain": "No stage is expected to gain",
}
"""Why an autopilot run ended, in words."""

STAGES: Final[Mapping[str, str]] = {
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
"""Short forms of the stages' titles, for a headline."""


def stage_title(stage: str) -> str:
    """The name of a stage in words; an unknown stage keeps its name."""
    return STAGES.get(stage, stage)


_ESTIMATES: Final[Mapping[str, tuple[str, str]]] = {
    "coverage": ("Coverage of effective support", "in support"),
    "expected_successes": ("Expected successes in the rollout budget", "expected successes"),
}
"""For the name of an estimate its title on a page, and the one in the terminal."""


def estimate_title(name: str, *, short: bool = False) -> str:
    """The name of an estimate as a table prints it; `short` for the terminal."""
    if name in _ESTIMATES:
        return _ESTIMATES[name][short]
    if name.startswith("mixed_groups@") and not short:
        return f"Mixed reward groups, G = {name.split('@', 1)[1]}"
    return name.replace("_", " ")


def verdict_title(verdict: str) -> str:
    """The title of a verdict on a page; an unknown one keeps its name."""
    return VERDICTS[verdict].title if verdict in VERDICTS else verdict


def role_title(role: str, *, support_lost: bool = False) -> str:
    """The title of a role on a page; an unknown one keeps its name.

    Args:
        role: as a comparison measured it.
        support_lost: lost support exceeded its null, which the title of any other role than attrition says too.
    """
    return played_role(ROLES[role].title if role in ROLES else role, support_lost=support_lost)


def played_role(role: str, *, support_lost: bool) -> str:
    """A role's name as it is told: "reshaping with attrition" where support was lost beyond noise beside it."""
    return f"{role} with attrition" if support_lost and role.casefold() != "attrition" else role


def hue(name: str) -> str:
    """The colour of a verdict, role or end on a page: a class, "instrument" or "undetermined"."""
    if name in VERDICTS:
        return VERDICTS[name].hue
    if name in ROLES:
        return ROLES[name].hue
    return {"target": "mastered"}.get(name, "unresolved")
