r"""The right answer in other words: what a sound verifier accepts.

For the gold 1319: `1319`, `The answer is 1319.`, `**1319**`, `So we get $\boxed{1319}$.`, `1,319`, `1319.0`, the same
after a closed thought, ... Letters, truth values, formulas and code have forms of their own. Whether such a form is the
one that the task demands is the strict reading's business; that the answer is right is for the lenient one to see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

from posttrain_diag.tasks.check.kinds import AnswerKind, Trial, kind_of, options_of
from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.types import Problem

THOUGHT = "<think>\nLet me work this out step by step.\n</think>\n\n"
MAX_RESPELLED = 6
"""Most other spellings of a formula that are tried."""


def right_forms(problem: Problem, reference: str | None) -> list[Trial]:
    """Completions that give the right answer, each with the name of its form.

    Args:
        problem: what is asked.
        reference: a completion that the verifier should pass as it is; None where there is none.
    """
    kind = kind_of(problem)
    if kind == "code":
        trials = [] if reference is None else list(_code(problem, reference))
    else:
        trials = list(_answer(problem, kind))
        if reference is not None and reference.strip() != (problem.answer or "").strip():
            trials.append(Trial("worked answer, after a thought", THOUGHT + reference))
    return list({trial.text: trial for trial in reversed(trials)}.values())[::-1]


def _answer(problem: Problem, kind: AnswerKind) -> Iterator[Trial]:
    gold = (problem.answer or "").strip()
    if kind == "none":
        return
    yield Trial("bare", gold)
    yield Trial("after a thought", THOUGHT + gold)
    yield Trial("fenced", f"```\n{gold}\n```")
    if kind == "long":
        return
    said = f"${gold}$" if kind == "formula" and "$" not in gold else gold
    yield Trial("full stop", f"{gold}.")
    yield Trial("bold", f"**{said}**")
    yield Trial("The answer is X.", f"The answer is {said}.")
    yield Trial("Answer: X", f"Answer: {said}")
    yield Trial("boxed", f"So we get $\\boxed{{{gold.strip('$')}}}$.")
    yield Trial("with a remark", f"The answer is {said}. I hope this helps!")
    yield from _OF_KIND.get(kind, _nothing)(problem, gold)


def _nothing(problem: Problem, gold: str) -> Iterator[Trial]:
    yield from ()


def _number(problem: Problem, gold: str) -> Iterator[Trial]:
    number = lone_number(gold)
    if number is None or number.value is None or not re.fullmatch(r"-?[\d,]*\.?\d+", gold):
        return
    value = number.value
    yield Trial("in a sentence", f"Altogether that makes {gold}.")
    if value.denominator == 1:
        if abs(value) >= 1000:
            yield Trial("separators", f"{value.numerator:,}" if "," not in gold else str(value.numerator))
        yield Trial("decimal zeros", f"{value.numerator}.0" if "." not in gold else str(value.numerator))
    elif _is_decimal(value):
        yield Trial("decimal zeros", f"{gold}0")


def _is_decimal(value: Fraction) -> bool:
    return 10**12 % value.denominator == 0


def _choice(problem: Problem, gold: str) -> Iterator[Trial]:
    options = options_of(problem)
    letter = gold.strip("(). ").upper()
    if len(letter) != 1:
        letter = next((each for each, text in options.items() if text.casefold() == gold.casefold()), letter)
    if len(letter) != 1:
        return
    yield Trial("(X)", f"({letter})")
    yield Trial("in a sentence", f"The correct option is {letter}.")
    yield Trial("in a sentence", f"I would pick {letter}, because the others do not fit.")
    text = options.get(letter)
    if text:
        yield Trial("letter and text", f"{letter}. {text}")
        if [each.casefold() for each in options.values()].count(text.casefold()) == 1:
            yield Trial("text of the option", text)


def _truth(problem: Problem, gold: str) -> Iterator[Trial]:
    word = gold.capitalize()
    if word in ("Yes", "No"):
        yield Trial("in a sentence", f"{word}, that is {'right' if word == 'Yes' else 'not right'}.")
    else:
        yield Trial("in a sentence", f"The statement is {gold.casefold()}.")


def _words(problem: Problem, gold: str) -> Iterator[Trial]:
    yield Trial("in a sentence", f"It is {gold}.")
    if gold != gold.casefold():
        yield Trial("small letters", gold.casefold())


def _formula(problem: Problem, gold: str) -> Iterator[Trial]:
    from posttrain_diag.tasks.verifiers.math.respell import respellings

    for _, text in respellings(gold, problem.prompt_text)[:MAX_RESPELLED]:
        yield Trial("another spelling", f"$\\boxed{{{text}}}$")


_OF_KIND: dict[AnswerKind, Callable[[Problem, str], Iterator[Trial]]] = {
    "number": _number,
    "choice": _choice,
    "truth": _truth,
    "words": _words,
    "formula": _formula,
}


def _code(problem: Problem, reference: str) -> Iterator[Trial]:
    whole = whole_program(problem, reference)
    fenced = f"```python\n{whole.strip()}\n```"
    yield Trial("fenced", fenced)
    yield Trial("fence without a language", f"```\n{whole.strip()}\n```")
    yield Trial("fence in prose", f"Here is the function:\n\n{fenced}\n\nIt handles all cases.")
    yield Trial("after a thought", THOUGHT + fenced)
    if whole != reference:
        yield Trial("whole function", whole)


def whole_program(problem: Problem, reference: str) -> str:
    """A reference that can stand alone: one that goes on with the prompt's code has the prompt before it."""
    entry_point = problem.verifier.get("entry_point")
    if not isinstance(entry_point, str) or re.search(
        rf"^\s*(?:async )?(?:def|class) {re.escape(entry_point)}\b", reference, re.M
    ):
        return reference
    return problem.prompt_text + reference
