"""Wrong answers that look right: what a sound verifier rejects, by both of its readings.

For the gold 1319: 1320, 13190, -1319, 131, the answer of another problem, "The answer is not 1319.", each as the
reference writes it (the demonstration with its answer altered) and in a sentence. Letters, truth values and code have
mistakes of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from posttrain_diag.tasks.check.forms import whole_program
from posttrain_diag.tasks.check.kinds import LONG_CHARS, TRUTH, AnswerKind, Trial, kind_of, options_of
from posttrain_diag.tasks.problems.references import accepts, altered_answer, in_reference, reference_completions
from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.types import Problem

MAX_OTHERS = 2
"""Most other problems whose answers are tried."""
MAX_OPTIONS = 4
"""Most wrong options that are tried."""
MAX_MISSES = 6
"""Most formulas near the right one that are tried."""
_RETURN = re.compile(r"\breturn\b[^\n]*")


def wrong_answers(problem: Problem, others: Sequence[Problem]) -> list[Trial]:
    """Completions that are wrong, each with the name of its mistake.

    Args:
        problem: what is asked.
        others: problems to borrow answers from.
    """
    kind = kind_of(problem)
    if kind == "code":
        trials = list(_code(problem, others))
    else:
        trials = [*_altered(problem, kind), *_of_others(problem, others)]
        if kind not in ("none", "long"):
            trials += _twisted(problem, [trial.text for trial in _mistakes(problem, kind)])
    right = set(reference_completions(problem))
    return [trial for trial in {trial.text: trial for trial in reversed(trials)}.values() if trial.text not in right][
        ::-1
    ]


def _altered(problem: Problem, kind: AnswerKind) -> Iterator[Trial]:
    """Wrong answers of the same kind, bare or in the reference's words, and in a sentence."""
    for mistake in _mistakes(problem, kind):
        for text in in_reference(problem, mistake.text) or [mistake.text]:
            yield Trial(mistake.kind, text)
        if kind not in ("long", "none"):
            yield Trial(mistake.kind, f"The answer is {mistake.text}.")


def _mistakes(problem: Problem, kind: AnswerKind) -> list[Trial]:
    """Wrong answers, each with what is wrong; none is accepted by a comparison of texts."""
    gold = (problem.answer or "").strip()
    if not gold:
        return []
    found = [*_OF_KIND.get(kind, _text)(problem, gold)]
    return [trial for trial in found if trial.text.strip() and not accepts(problem, trial.text)]


def _number(problem: Problem, gold: str) -> Iterator[Trial]:
    number = lone_number(gold)
    if number is None or number.value is None:
        return
    value = number.value
    yield Trial("near number", _spelled(value + 1))
    yield Trial("near number", _spelled(value - 1))
    if value:
        yield Trial("other sign", _spelled(-value))
    digits = re.sub(r"\D", "", gold)
    if re.fullmatch(r"-?\d+", gold):
        yield Trial("digits more or less", f"{gold}0" if value else "10")
        if len(digits) > 1:
            yield Trial("digits more or less", gold[:-1])


def _spelled(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):g}" if 10**6 % value.denominator == 0 else f"{value.numerator}/{value.denominator}"


def _choice(problem: Problem, gold: str) -> Iterator[Trial]:
    options = options_of(problem) or dict.fromkeys("ABCD", "")
    right = gold.strip("(). ").upper()
    wrong = [letter for letter, text in options.items() if letter != right and text.casefold() != gold.casefold()]
    for letter in wrong[:MAX_OPTIONS]:
        yield Trial("other option", letter)
    if wrong and (text := options[wrong[0]]) and text.casefold() != options.get(right, "").casefold():
        yield Trial("text of another option", text)


def _truth(problem: Problem, gold: str) -> Iterator[Trial]:
    other = TRUTH[gold.casefold()]
    yield Trial("opposite", other.capitalize() if gold[:1].isupper() else other)


def _formula(problem: Problem, gold: str) -> Iterator[Trial]:
    from posttrain_diag.tasks.verifiers.math.respell import near_misses

    misses = near_misses(gold, problem.prompt_text)[:MAX_MISSES]
    for kind, text in misses:
        yield Trial(f"formula: {kind}", text)
    if not misses:
        yield from _text(problem, gold)


def _value(problem: Problem, gold: str) -> Iterator[Trial]:
    altered = altered_answer(problem)
    if altered is not None:
        yield Trial("another value", altered)
    if gold[:1] in "[({" and len(gold) > 2:
        yield Trial("another value", gold[1:-1])
        yield Trial("another value", f"[{gold}]")


def _text(problem: Problem, gold: str) -> Iterator[Trial]:
    altered = altered_answer(problem)
    if altered is not None:
        yield Trial("one character changed", altered)
    if len(gold) > 3 and gold[-2:].isalpha():
        yield Trial("cut short", gold[:-1])
        yield Trial("part of a longer word", f"{gold}opolis")


_OF_KIND: dict[AnswerKind, Callable[[Problem, str], Iterator[Trial]]] = {
    "number": _number,
    "choice": _choice,
    "truth": _truth,
    "formula": _formula,
    "value": _value,
}


def _of_others(problem: Problem, others: Sequence[Problem]) -> Iterator[Trial]:
    """Answers that are right for other problems and wrong for this one."""
    tried = 0
    for other in others:
        if other.id == problem.id or other.answer is None or accepts(problem, other.answer):
            continue
        references = reference_completions(other)
        if references:
            yield Trial("another problem's answer", references[0])
            tried += 1
        if tried == MAX_OTHERS:
            return


def _twisted(problem: Problem, wrong: Sequence[str]) -> Iterator[Trial]:
    """Completions that state the gold and take it back."""
    gold = (problem.answer or "").strip()
    yield Trial("denied", f"The answer is not {gold}.")
    spelled = next(iter(reference_completions(problem)), "").strip()
    if gold not in spelled and 0 < len(spelled) <= LONG_CHARS and "\n" not in spelled:
        yield Trial("denied", f"It is not {spelled}.")
    if wrong:
        yield Trial("two answers", f"The answer is {gold} or {wrong[0]}.")
        yield Trial("corrected to a wrong one", f"The answer is {gold}. No, that is wrong: the answer is {wrong[0]}.")


def _code(problem: Problem, others: Sequence[Problem]) -> Iterator[Trial]:
    references = reference_completions(problem)
    if references:
        broken = _RETURN.sub("return NotImplemented", references[0])
        if broken != references[0]:
            yield Trial("returns nothing of use", broken)
            yield Trial("returns nothing of use", f"```python\n{whole_program(problem, broken).strip()}\n```")
    for other in others:
        theirs = reference_completions(other)
        if other.id != problem.id and other.verifier != problem.verifier and theirs:
            yield Trial("another problem's code", theirs[0])
            return
