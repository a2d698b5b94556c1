"""The `choice` verifier: which of the listed options does the completion choose?

    {"type": "choice"}                                  options are read from the prompt ("A) red", "(B) blue", ...)
    {"type": "choice", "options": ["red", "blue"]}      A = red, B = blue
    {"type": "choice", "options": {"A": "red"}}         the same by letter

The letter counts in any wording ("Option B", "I would pick B", "B is the correct answer"), and so do the option's own
words. Strict is the form that the prompt demands ("Answer with the letter only").
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.options import Options, gold, shortened
from posttrain_diag.tasks.verifiers.reading import FinalPart, final_part
from posttrain_diag.tasks.verifiers.reading.form import keeps_form
from posttrain_diag.tasks.verifiers.reading.option_mentions import Options as Listed
from posttrain_diag.tasks.verifiers.reading.option_mentions import option_alone
from posttrain_diag.tasks.verifiers.reading.question import question_of
from posttrain_diag.tasks.verifiers.reading.read_choice import read_choice
from posttrain_diag.tasks.verifiers.reading.wrapping import json_value, unwrapped
from posttrain_diag.types import Judgement, Problem

_IN_PROMPT = re.compile(r"(?:^|\n|\s)\(?([A-Z])[).:]\s+([^\n]+?)(?=\s+\(?[A-Z][).:]\s|\n|$)")
_BARE_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\].:]{0,2}")


def choice(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that passes a completion whose chosen option is the gold one."""
    options = Options.of(spec, compare="exact")
    declared = _declared(spec.get("options"))

    def judge(completion: str, problem: Problem) -> Judgement:
        shown = prompt_options(problem.prompt_text)
        texts = declared if declared is not None else shown
        answer = gold_letter(problem, texts)
        listed = Listed(texts, lettered=bool(shown) or declared is None)
        return judge_choice(final_part(completion), problem.prompt_text, answer, listed, first=options.which == "first")

    return judge


def judge_choice(part: FinalPart, prompt: str, answer: str, options: Listed, *, first: bool = False) -> Judgement:
    """Judge whether a final part chooses an option, and in the form that the prompt demands.

    Args:
        part: the final part of a completion.
        prompt: what was asked.
        answer: the letter of the right option.
        options: all options.
        first: the first marked answer counts instead of the last.
    """
    question = question_of(prompt)
    text, marks = unwrapped(part.text, prompt)
    value = json_value(text)
    if value is not None:
        found = option_alone(value, options)
    else:
        found = read_choice(text, marks[:1] if first else marks, options, question)
    if found != answer:
        return Judgement(False, False, found)

    def right(marked: str) -> bool:
        return read_choice(marked, (), options, question) == answer

    def alone(whole: str) -> bool:
        letter = _BARE_LETTER.fullmatch(whole)
        return letter is not None or (not options.lettered and option_alone(whole, options) == answer)

    return Judgement(keeps_form(part.text, marks, prompt, right=right, alone=alone), True, found)


@lru_cache(maxsize=4096)
def prompt_options(prompt: str) -> dict[str, str]:
    """The options that a prompt lists: consecutive letters from A, each with its text; empty for fewer than two.

    Of several lists (a prompt with solved examples) the last one counts.
    """
    last: dict[str, str] = {}
    found: dict[str, str] = {}
    for letter, text in cast("list[tuple[str, str]]", _IN_PROMPT.findall(prompt)):
        if letter == "A":
            found = {}
        if letter == string.ascii_uppercase[len(found)] if len(found) < 26 else False:
            found[letter] = text.strip()
        last = found if len(found) >= 2 else last
    return last


def gold_letter(problem: Problem, texts: Mapping[str, str]) -> str:
    """The letter of the right option, from an answer that is the letter ("B", "(b)") or the option's text.

    Raises:
        VerifierError: the answer names no option.
    """
    answer = gold(problem).strip()
    letter = _BARE_LETTER.fullmatch(answer)
    if letter is not None and (not texts or letter[1].upper() in texts):
        return letter[1].upper()
    named = option_alone(answer, Listed(texts, lettered=False)) if texts else None
    if named is None:
        known = ", ".join(texts) if texts else "a letter A-Z"
        raise VerifierError(
            f"a choice verifier needs an answer that names an option ({known}), got {shortened(answer)}: correct the "
            "answer, or list the options in the verifier"
        )
    return named


def _declared(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        entries = {str(k).upper(): str(v) for k, v in cast("dict[Any, Any]", value).items()}
    elif isinstance(value, list):
        texts = [str(v) for v in cast("list[Any]", value)]
        entries = dict(zip(string.ascii_uppercase, texts, strict=False)) if len(texts) <= 26 else {}
    else:
        entries = {}
    if len(entries) < 2 or any(len(k) != 1 or k not in string.ascii_uppercase for k in entries):
        raise VerifierError(
            "a choice verifier's 'options' is a list of 2 to 26 texts or an object {letter: text}; "
            f"got {str(value)[:80]!r}"
        )
    return entries
