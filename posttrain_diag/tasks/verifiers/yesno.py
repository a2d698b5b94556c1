"""The `yesno` verifier: does the completion say yes or no?

    {"type": "yesno"}     gold "yes", "no", "true", "false", also in other languages

"Yes, the Sun is a star." says yes, "Certainly not." says no, and so does a plain statement of what was asked or of its
opposite. Yes and no together are no answer. Strict is the form that the prompt demands ("Answer yes or no"): the word
alone, case and punctuation free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.options import Options, gold, shortened
from posttrain_diag.tasks.verifiers.reading import FinalPart, final_part
from posttrain_diag.tasks.verifiers.reading.form import keeps_form
from posttrain_diag.tasks.verifiers.reading.question import question_of
from posttrain_diag.tasks.verifiers.reading.read_truth import read_truth, truth_of
from posttrain_diag.tasks.verifiers.reading.wrapping import json_value, unwrapped
from posttrain_diag.types import Judgement, Problem


def yesno(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that passes a completion which says what the gold answer says."""
    options = Options.of(spec, compare="casefold")

    def judge(completion: str, problem: Problem) -> Judgement:
        return judge_truth(final_part(completion), problem.prompt_text, gold_truth(options.stripped(gold(problem))))

    return judge


def judge_truth(part: FinalPart, prompt: str, wanted: bool) -> Judgement:
    """Judge whether a final part says yes (or no), and in the form that the prompt demands."""
    question = question_of(prompt)
    text, marks = unwrapped(part.text, prompt)
    value = json_value(text)
    said = read_truth(text, marks, question) if value is None else truth_of(value)
    extracted = None if said is None else "yes" if said else "no"
    if said is not wanted:
        return Judgement(False, False, extracted)

    def right(marked: str) -> bool:
        return read_truth(marked, (), question) is wanted

    def alone(whole: str) -> bool:
        return truth_of(whole) is wanted

    return Judgement(keeps_form(part.text, marks, prompt, right=right, alone=alone), True, extracted)


def gold_truth(answer: str) -> bool:
    """Whether a gold answer says yes.

    Raises:
        VerifierError: it says neither yes nor no.
    """
    truth = truth_of(answer)
    if truth is None:
        raise VerifierError(
            f"a yesno verifier needs an answer that says yes or no (or true or false), got {shortened(answer)}: "
            f"correct the "
            'answer or use the verifier {"type": "words"}'
        )
    return truth
