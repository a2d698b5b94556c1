"""What a format problem asks for before, and among, the stages: a changed prompt, light SFT, a reward for the form."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from posttrain_diag.recommend.facts import Facts
from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.types import FreeStep

FORM_ORDER: Mapping[str, int] = {"sft": 0, "filter": 1, "sft-model-aware": 2, "rft": 3, "grpo": 4, "rloo": 4}
"""Of stages that repair a form about equally well: first SFT on given answers in the demanded form, then SFT on the
policy's own passes, then RL whose reward is the strict verdict; all others come later."""
AS_GOOD = 0.15
"""Utilities that differ by less than this are about equal where the form is the problem: every stage wins most of it
there, and the lighter one is preferred."""
FORM_WHY: Mapping[str, str] = {
    "sft": "The content is right and the format is not: a light SFT on correctly formatted answers repairs it. "
    "Where the reference answer alone is the demanded form, it can be the demonstration; no stage rewrites the "
    "model's own rejected answers into the form.",
    "filter": "As sft, on those demonstrations alone that the verifier passes: each of them shows the demanded form.",
    "rft": "Some answers are drawn in the demanded form: a light SFT on these alone teaches it in the model's own "
    "words.",
    "grpo": "Some answers are drawn in the demanded form, and the strict verdict rewards only these: RL with it is RL "
    "with a reward for the form.",
    "rloo": "As grpo: the strict verdict rewards only answers in the demanded form.",
}
"""Why a stage is proposed where the form is the problem."""


def form_is_open(facts: Facts) -> bool:
    """Whether the form holds back most: by the verdict, or as the largest open class where the verdict names none."""
    if facts.instrument == "broken" or facts.bottleneck not in ("format", "mixed", "undetermined"):
        return False
    room = facts.headroom.get("format", 0.0)
    return facts.bottleneck == "format" or (room > 0 and room == max(facts.headroom.values()))


def free_steps(facts: Facts, run: str) -> tuple[FreeStep, ...]:
    """What to try before any training: another prompt where the form is the problem, else nothing.

    Args:
        facts: the diagnosis in numbers.
        run: the run directory as the user would type it.
    """
    if not form_is_open(facts) or facts.counts_only:
        return ()
    flag = "--template 'TEXT THAT SHOWS THE FORM {prompt}'"  # without a chat template there is no system turn
    if facts.chat is not False:
        flag = "--system-prompt 'TEXT THAT SHOWS THE FORM'"
    new = shlex.quote(f"{run}-prompt")
    why = (
        "The answers are right and the form is not: a prompt that shows the demanded form, with one or two answers in "
        "it, may be all it takes, and no training is spent. Keep the tasks file and the other flags of this run, so "
        "that the comparison shows what the prompt changed: problems whose own text changes are left out of it."
    )
    return (
        FreeStep(
            "Change the prompt or the few-shot examples",
            why,
            (
                f"diag analyze MODEL --tasks FILE {flag} --out {new}",
                f"diag compare {shlex.quote(run)} {new}",
            ),
        ),
    )


def without_passes(stage: str, facts: Facts) -> bool:
    """Whether a stage learns from the policy's own passes, and none of its draws passed strictly."""
    record = stage_record(stage)
    return facts.passes == 0 and record.learns_from == "own passes" and "pairs" not in record.needs


def light_first(order: Sequence[str], utility: Mapping[str, float]) -> list[str]:
    """An order of stages in which, of those about as good as the best, the lighter repair of a form comes first.

    Args:
        order: the stages, best first.
        utility: expected utility by stage.
    """
    least = max((utility[name] for name in order), default=0.0) - AS_GOOD
    last = max(FORM_ORDER.values()) + 1
    return sorted(order, key=lambda name: FORM_ORDER.get(name, last) if utility[name] >= least else last + 1)
