"""The `list` verifier: does the completion answer with these items?

    {"type": "list"}     gold "2, 3, 5, 7", "red, green, blue", "[1, 4, 9]", "(2, 3)"

The list may stand in brackets, in bullets or in a sentence. Items are compared one by one, numbers by value. The order
counts for brackets [ ] and ( ), and where the prompt asks for one; else the items are a set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.options import Options, gold, shortened
from posttrain_diag.tasks.verifiers.reading import FinalPart, final_part
from posttrain_diag.tasks.verifiers.reading.form import keeps_form
from posttrain_diag.tasks.verifiers.reading.question import question_of
from posttrain_diag.tasks.verifiers.reading.read_list import (
    Listed,
    is_ordered,
    listed,
    names_list,
    read_list,
    same_list,
    without_words,
)
from posttrain_diag.tasks.verifiers.reading.wrapping import unwrapped
from posttrain_diag.types import Judgement, Problem


def list_(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that passes a completion which answers with the gold list."""
    options = Options.of(spec, compare="casefold")

    def judge(completion: str, problem: Problem) -> Judgement:
        return judge_list(final_part(completion), problem.prompt_text, gold_list(options.stripped(gold(problem))))

    return judge


def judge_list(part: FinalPart, prompt: str, wanted: Listed) -> Judgement:
    """Judge whether a final part answers with a list, and in the form that the prompt demands."""
    ordered = is_ordered(wanted, prompt)
    text, marks = unwrapped(part.text, prompt)
    words = question_of(prompt).words
    wanted = without_words(wanted, words)
    found = read_list(text, marks, bracket=wanted.bracket)
    found = None if found is None else without_words(found, words)
    extracted = None if found is None else ", ".join(found.items)
    same = found is not None and same_list(found, wanted, ordered=ordered)
    if not same and (wanted.bracket or not names_list(marks[-1].text if marks else text, wanted, ordered=ordered)):
        return Judgement(False, False, extracted)

    def right(marked: str) -> bool:
        inside = read_list(marked, (), bracket=wanted.bracket)
        return inside is not None and same_list(without_words(inside, words), wanted, ordered=ordered)

    def alone(whole: str) -> bool:
        own = listed(whole)
        return own is not None and same_list(without_words(own, words), wanted, ordered=ordered)

    return Judgement(keeps_form(part.text, marks, prompt, right=right, alone=alone), True, ", ".join(wanted.items))


def gold_list(answer: str) -> Listed:
    """The items of a gold answer.

    Raises:
        VerifierError: it is no list.
    """
    found = listed(answer)
    if found is None:
        raise VerifierError(
            f"a list verifier needs an answer of at least two items with commas between them, got {shortened(answer)}: "
            'correct the answer or use the verifier {"type": "words"}'
        )
    return found
