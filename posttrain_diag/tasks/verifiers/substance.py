"""Is an answer right in substance, whatever its form? The lenient reading of `exact` and `regex`.

A gold is read as what it is (defaults.py): a number by value, a word in its sentence, yes or no, an option, a list.
Texts that are no running text (symbols, codes) are only compared as a whole and where they are marked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from posttrain_diag.tasks.verifiers.choice import judge_choice, prompt_options
from posttrain_diag.tasks.verifiers.defaults import kind_of
from posttrain_diag.tasks.verifiers.lists import gold_list, judge_list
from posttrain_diag.tasks.verifiers.numeric import gold_quantity, judge_number
from posttrain_diag.tasks.verifiers.options import Options
from posttrain_diag.tasks.verifiers.reading import FinalPart
from posttrain_diag.tasks.verifiers.reading.option_mentions import Options as Listed
from posttrain_diag.tasks.verifiers.reading.option_mentions import option_alone
from posttrain_diag.tasks.verifiers.reading.read_truth import truth_of
from posttrain_diag.tasks.verifiers.text import MAX_CHARS, readings, same_leniently
from posttrain_diag.tasks.verifiers.words import judge_word
from posttrain_diag.tasks.verifiers.yesno import judge_truth

_RUNNING = re.compile(
    r"\b(?:the|is|are|was|it|that|this|answer|of|and|in|to|because|think|believe|yes|no|we|you|they|he|she|there|for|with|would|must|"
    r"la|le|el|est|es|die|der|das|ist|il|è|é|respuesta|réponse|antwort)\b|['’]s\b|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]",
    re.IGNORECASE,
)


def right_in_substance(part: FinalPart, prompt: str, answer: str, found: Iterable[str], options: Options) -> bool:
    """Whether a final part gives the gold answer, whatever the form.

    Args:
        part: the final part of a completion.
        prompt: what was asked.
        answer: the gold answer.
        found: texts that the verifier took for the answer.
        options: how the verifier compares.
    """
    first = options.which == "first"
    for text in (*found, *readings(part.text, first=first)):
        if options.same(options.stripped(text), answer) or same_leniently(text, answer):
            return True
    return _RUNNING.search(part.text[-MAX_CHARS:]) is not None and _read(part, prompt, answer)


def _read(part: FinalPart, prompt: str, answer: str) -> bool:
    """The verdict of the verifier that reads this kind of answer best."""
    kind = kind_of(answer, prompt)
    if kind == "numeric":
        quantity = gold_quantity(answer)
        return quantity is not None and judge_number(part, prompt, quantity).lenient
    if kind == "yesno":
        truth = truth_of(answer)
        return truth is not None and judge_truth(part, prompt, truth).lenient
    if kind == "choice":
        listed = Listed(prompt_options(prompt), lettered=True)
        letter = option_alone(answer, listed)
        return letter is not None and judge_choice(part, prompt, letter, listed).lenient
    if kind == "math":
        from posttrain_diag.tasks.verifiers.math.verifier import judge_math

        return judge_math(part, prompt, answer).lenient
    if kind == "list":
        return judge_list(part, prompt, gold_list(answer)).lenient
    return kind == "words" and judge_word(part, prompt, answer).lenient
