"""Tells whether a text states a value: for answers that were asked for as JSON and came as prose."""

from __future__ import annotations

from posttrain_diag.tasks.verifiers.numeric import gold_quantity, judge_number
from posttrain_diag.tasks.verifiers.reading import FinalPart
from posttrain_diag.tasks.verifiers.reading.read_truth import truth_of
from posttrain_diag.tasks.verifiers.text import same_leniently
from posttrain_diag.tasks.verifiers.words import judge_word
from posttrain_diag.tasks.verifiers.yesno import judge_truth


def states(part: FinalPart, prompt: str, value: str | int | float | bool | None) -> bool:
    """Whether a final part answers with this value, in whatever words.

    Args:
        part: the final part of a completion.
        prompt: what was asked.
        value: a text, a number or a truth value; nothing states that there is none.
    """
    if value is None:
        return False
    if isinstance(value, bool):
        return judge_truth(part, prompt, value).lenient
    text = str(value).strip()
    if same_leniently(part.text, text):
        return True
    quantity = gold_quantity(text)
    if quantity is not None:
        return judge_number(part, prompt, quantity).lenient
    truth = truth_of(text)
    if truth is not None:
        return judge_truth(part, prompt, truth).lenient
    return bool(text) and judge_word(part, prompt, text).lenient
