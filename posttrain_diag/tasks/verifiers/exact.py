"""The verifiers that compare text: `exact`, `regex` and `contains`.

    {"type": "exact"}                               the final part is the answer
    {"type": "regex", "pattern": "#### (.*)"}       the first group of the last match is the answer
    {"type": "contains"}                            the answer occurs in the final part, whole and not denied

Strict compares as `compare` says; lenient asks for the substance (substance.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers import compare
from posttrain_diag.tasks.verifiers.guard import LIMIT_S, PatternTimeout, time_limit
from posttrain_diag.tasks.verifiers.numbers import iter_numbers, lone_number, same_number
from posttrain_diag.tasks.verifiers.options import Options, Verifier, gold
from posttrain_diag.tasks.verifiers.reading import final_part
from posttrain_diag.tasks.verifiers.reading.sentences import DENIED_AFTER, DENIED_BEFORE
from posttrain_diag.tasks.verifiers.substance import right_in_substance
from posttrain_diag.tasks.verifiers.text import fold, peel
from posttrain_diag.types import Judgement, Problem

_READS_THINKING = re.compile(r"think|thought|reason|channel|<\\?\||answer>", re.IGNORECASE)
"""Matches patterns that speak of thinking or of tags; these are applied to the whole completion."""


def exact(spec: Mapping[str, Any]) -> Verifier:
    """Make a verifier for which the final part is the answer: "18" passes, "The answer is 18." passes leniently."""
    options = Options.of(spec, compare="exact")

    def judge(completion: str, problem: Problem) -> Judgement:
        part = final_part(completion)
        answer, found = options.stripped(gold(problem)), options.stripped(part.text)
        strict = options.same(found, answer)
        lenient = strict or right_in_substance(part, problem.prompt_text, answer, (), options)
        return Judgement(strict, lenient, found)

    return judge


def regex(spec: Mapping[str, Any]) -> Verifier:
    """Make a verifier for which the first group of the last match is the answer; without a group, the whole match."""
    options = Options.of(spec, compare="exact")
    pattern = _pattern(spec)
    whole = _READS_THINKING.search(pattern.pattern) is not None

    def judge(completion: str, problem: Problem) -> Judgement:
        part = final_part(completion)
        answer = options.stripped(gold(problem))
        try:
            with time_limit():
                found = [options.stripped(m) for m in _extract(pattern, completion if whole else part.text)]
        except PatternTimeout:
            error = f"the pattern {pattern.pattern!r} took more than {LIMIT_S:g} s on one completion: simplify it"
            return Judgement(False, False, None, error=error)
        chosen = options.chosen(found)
        hit = next((f for f in chosen if options.same(f, answer)), None)
        extracted = hit if hit is not None else (chosen[-1] if chosen else None)
        lenient = hit is not None or right_in_substance(part, problem.prompt_text, answer, chosen, options)
        return Judgement(hit is not None, lenient, extracted)

    return judge


def contains(spec: Mapping[str, Any]) -> Verifier:
    """Make a verifier that finds the answer in the final part as a whole word, not denied.

    The lenient reading ignores case and white space.
    """
    options = Options.of(spec, compare="exact")

    def judge(completion: str, problem: Problem) -> Judgement:
        answer, text = options.stripped(gold(problem)), final_part(completion).text
        if options.compare == "numeric":
            target = lone_number(answer)
            strict = target is not None and any(same_number(n, target) for n in iter_numbers(text))
        elif options.compare == "casefold":
            strict = _occurs(answer.casefold(), text.casefold())
        elif options.compare == "latex":
            strict = compare.plain_latex(answer) in compare.plain_latex(text)
        else:
            strict = _occurs(answer, text)
        lenient = strict or _occurs(peel(answer).core, fold(text))
        return Judgement(strict, lenient, answer if strict or lenient else None)

    return judge


def _occurs(answer: str, text: str) -> bool:
    """Whether an answer stands in a text as a thing of its own (no part of a word or number), and is not denied."""
    at = text.find(answer)
    while at >= 0:
        end = at + len(answer)
        inside = _joined(text[:at], answer) or _joined(text[end:][::-1], answer[::-1])
        denied = DENIED_BEFORE.search(text[max(0, at - 40) : at]) or DENIED_AFTER.match(text[end : end + 60])
        if not inside and not denied:
            return True
        at = text.find(answer, at + 1)
    return False


def _joined(beside: str, answer: str) -> bool:
    """Whether the text beside an answer's edge makes one word or number with it: 1|4, rome|o, 12|.5."""
    if not beside or not answer[:1].isalnum():
        return False
    if beside[-1].isalnum() or beside[-1] == "_":
        return True
    return answer[0].isdigit() and beside[-1] in ".," and beside[-2:-1].isdigit()


def _pattern(spec: Mapping[str, Any]) -> re.Pattern[str]:
    source = spec.get("pattern")
    if not isinstance(source, str) or not source:
        raise VerifierError(
            f"a regex verifier needs 'pattern', a regular expression; got {source!r}. Example: "
            '{"type": "regex", "pattern": "#### (.*)"}'
        )
    try:
        return re.compile(source)
    except re.error as error:
        raise VerifierError(f"the pattern {source!r} is not a regular expression: {error}") from error


def _extract(pattern: re.Pattern[str], text: str) -> list[str]:
    """The text that each match captured. Empty matches (a pattern that also fits at the end) count only if all are."""
    matches = list(pattern.finditer(text))
    captured = [(m, next((g for g in m.groups() if g is not None), "" if pattern.groups else m[0])) for m in matches]
    full = [group for match, group in captured if match[0] or group]
    return full or [group for _, group in captured]
