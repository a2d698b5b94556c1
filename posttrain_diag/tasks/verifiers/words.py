"""The `words` verifier: does the completion answer with this word, name or short phrase?

    {"type": "words"}     gold "Paris", "New Delhi", "Au", "green", "William Shakespeare"

A sentence around the word, a remark after it, case, accents and articles do not matter; the word counts only whole, and
not where it is denied, compared with or one of several. Strict is the form that the prompt demands ("Answer with the
name only"): the name alone, a full stop allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from posttrain_diag.tasks.verifiers.options import Options, gold
from posttrain_diag.tasks.verifiers.reading import FinalPart, final_part
from posttrain_diag.tasks.verifiers.reading.form import keeps_form
from posttrain_diag.tasks.verifiers.reading.question import question_of
from posttrain_diag.tasks.verifiers.reading.read_word import gives_word, how_given, said_word
from posttrain_diag.tasks.verifiers.reading.word_forms import is_word, wanted_word
from posttrain_diag.tasks.verifiers.reading.word_in_sentence import Gives
from posttrain_diag.tasks.verifiers.reading.wrapping import json_value, unwrapped
from posttrain_diag.types import Judgement, Problem


def words(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that passes a completion which answers with the gold word."""
    options = Options.of(spec, compare="casefold")

    def judge(completion: str, problem: Problem) -> Judgement:
        return judge_word(final_part(completion), problem.prompt_text, options.stripped(gold(problem)))

    return judge


def judge_word(part: FinalPart, prompt: str, answer: str) -> Judgement:
    """Judge whether a final part answers with a word, and in the form that the prompt demands."""
    question = question_of(prompt)
    wanted = wanted_word(answer, question.words)
    text, marks = unwrapped(part.text, prompt)
    value = json_value(text)
    if not (is_word(value, wanted) if value is not None else gives_word(text, marks, question, wanted)):
        return Judgement(False, False, value if value is not None else said_word(text, marks))

    def right(marked: str) -> bool:
        return gives_word(marked, (), question, wanted)

    def alone(whole: str) -> bool:
        return is_word(whole, wanted) and not set(whole) & set('*`#[]{}<>"()') - set(answer)

    return Judgement(keeps_form(part.text, marks, prompt, right=right, alone=alone), True, answer)


def only_mentioned(completion: str, problem: Problem) -> bool:
    """Whether a completion that passes does no more than name the answer in a sentence about the question.

    Such a pass rests on the weakest of the readings. A verifier sees one problem only; whoever sees the draws of all of
    them can ask how often the answers of other problems are named there as well, and take that off.
    """
    part, answer = final_part(completion), gold(problem).strip()
    question = question_of(problem.prompt_text)
    text, marks = unwrapped(part.text, problem.prompt_text)
    return how_given(text, marks, question, wanted_word(answer, question.words)) is Gives.WEAKLY
