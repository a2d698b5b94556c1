"""The `choice` verifier: which of the lettered options did the completion choose?

    {"type": "choice"}                                  options are read from the prompt ("A) red", "(B) blue", ...)
    {"type": "choice", "options": ["red", "blue"]}      A = red, B = blue
    {"type": "choice", "options": {"A": "red"}}         the same by letter

Strict wants the capital letter alone ("B", "(B)", "B.", "B) blue") or marked ("The answer is B"). Lenient also takes
a small letter and the option's own text ("blue"); a letter somewhere in a sentence is never taken.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.options import Options
from posttrain_diag.tasks.verifiers.text import marked_answer, peel
from posttrain_diag.types import Judgement, Problem

_LETTER = re.compile(r"\s*[\s*_$\"'`(\[{]*(?:\\(?:text|boxed|mathrm)\{)?(?:option\s+)?\(?([A-Za-z])(?![\w'])(.*)", re.S)
_CLOSED = re.compile(r"[\s*_$\"'`)\]}.:]*\Z")
_LABELLED = re.compile(r"[*_\"'`]*[)\].:](?:\s|\Z)")
_IN_PROMPT = re.compile(r"(?:^|\n|\s)\(?([A-Z])[).:]\s+([^\n]+?)(?=\s+\(?[A-Z][).:]\s|\n|$)")


def choice(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """The chosen letter is the answer."""
    options = Options.of(spec, compare="exact")
    declared = _declared(spec.get("options"))

    def judge(completion: str, problem: Problem) -> Judgement:
        texts = declared if declared is not None else prompt_options(problem.prompt_text)
        answer = gold_letter(problem, texts)
        first = options.which == "first"
        whole, marked = completion.strip(), marked_answer(completion, first=first)
        found = [_letter(marked, texts, marked=True) if marked is not None else None, _letter(whole, texts)]
        letters = [letter for letter in found if letter is not None]
        if options.which != "any":
            letters = letters[:1]
        strict = any(options.same(letter, answer) for letter in letters)
        lenient = strict or any(letter.upper() == answer for letter in letters)
        if not letters:
            named = (_named(text, texts) for text in (marked, whole) if text is not None)
            letters = [letter for letter in named if letter is not None][:1]
            lenient = answer in letters
        return Judgement(strict, lenient, letters[0].upper() if letters else None)

    return judge


def prompt_options(prompt: str) -> dict[str, str]:
    """The options a prompt lists: consecutive letters from A, each with its text; empty when there are no two."""
    found: dict[str, str] = {}
    for letter, text in cast("list[tuple[str, str]]", _IN_PROMPT.findall(prompt)):
        if letter == string.ascii_uppercase[len(found)] if len(found) < 26 else False:
            found[letter] = text.strip()
    return found if len(found) >= 2 else {}


def gold_letter(problem: Problem, texts: Mapping[str, str]) -> str:
    """The letter of the right option, from an answer that is the letter ("B", "(b)") or the option's text.

    Raises:
        VerifierError: the answer names no option.
    """
    answer = peel(problem.answer or "").core.upper()
    if len(answer) == 1 and answer in string.ascii_uppercase and (not texts or answer in texts):
        return answer
    named = _named(problem.answer or "", texts)
    if named is None:
        known = ", ".join(texts) if texts else "a letter A-Z"
        raise VerifierError(
            f"a choice verifier needs an answer that names an option ({known}), got {problem.answer!r}: correct the "
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


def _letter(text: str, texts: Mapping[str, str], *, marked: bool = False) -> str | None:
    """The letter a text gives as its choice, in the case it was written; None when it gives none."""
    match = _LETTER.match(text[:2000])
    if match is None:
        return None
    letter, rest = match[1], match[2]
    if texts and letter.upper() not in texts:
        return None
    closed = _CLOSED.match(rest) is not None
    # "B) blue" and "B. Because ..." choose B; "A dog" does not choose A.
    labelled = letter.isupper() and _LABELLED.match(rest) is not None
    # "The answer is B because ..." chooses B; "The answer is A dog" does not choose A.
    stated = marked and letter.isupper() and (rest[:1] in ",;" or letter not in "AI")
    return letter if closed or labelled or stated else None


def _named(text: str, texts: Mapping[str, str]) -> str | None:
    """The letter of the only option whose text this is."""
    core = peel(text).core
    hits = [letter for letter, option in texts.items() if peel(option).core == core]
    return hits[0] if len(hits) == 1 else None
