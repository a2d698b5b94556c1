"""The `numeric` verifier: which number does the completion answer with?

    {"type": "numeric"}     gold "18", "-3", "7/4", "2 1/2", "25%", "5 km"

Numbers are compared by value, in whatever spelling (numbers.py). A unit may be left out, another unit is another
answer; a percent sign counts unless the question is about percent. With `which` (first or any number of the text) or a
`compare` of its own the numbers of the text are taken as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.numbers import iter_numbers, lone_number
from posttrain_diag.tasks.verifiers.options import Options, gold
from posttrain_diag.tasks.verifiers.reading import FinalPart, Mark, final_part
from posttrain_diag.tasks.verifiers.reading.form import keeps_form
from posttrain_diag.tasks.verifiers.reading.number_in_sentence import Quantity, in_sentence, quantity_at
from posttrain_diag.tasks.verifiers.reading.question import Question, question_of
from posttrain_diag.tasks.verifiers.reading.read_number import read_number
from posttrain_diag.tasks.verifiers.reading.units import CURRENCIES, converted
from posttrain_diag.tasks.verifiers.reading.wrapping import json_value, unwrapped
from posttrain_diag.types import Judgement, Problem

_PLAIN = question_of("")


def numeric(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that passes a completion which answers with the gold number."""
    options = Options.of(spec, compare="numeric")
    as_they_come = "which" in spec or options.compare != "numeric"

    def judge(completion: str, problem: Problem) -> Judgement:
        answer = options.stripped(gold(problem))
        wanted = gold_quantity(answer)
        if wanted is None:
            return Judgement(False, False, None, error=f"the answer {answer!r} is not a number")
        if as_they_come:
            return _any_number(completion, answer, wanted, options)
        return judge_number(final_part(completion), problem.prompt_text, wanted)

    return judge


def judge_number(part: FinalPart, prompt: str, wanted: Quantity) -> Judgement:
    """Judge whether a final part answers with a number, and in the form that the prompt demands."""
    question = question_of(prompt)
    text, marks = unwrapped(part.text, prompt)
    found = read(text, marks, question)
    extracted = None if found is None else plain_number(found)
    if found is None or not same_quantity(found, wanted, question):
        return Judgement(False, False, extracted)

    def right(marked: str) -> bool:
        inside = in_sentence(marked, question, head=True)
        return isinstance(inside, Quantity) and same_quantity(inside, wanted, question)

    def alone(whole: str) -> bool:
        return lone_number(whole) is not None

    return Judgement(keeps_form(part.text, marks, prompt, right=right, alone=alone), True, extracted)


def read(text: str, marks: Sequence[Mark], question: Question) -> Quantity | None:
    """The number that a text answers with."""
    value = json_value(text)
    if value is not None:
        inside = in_sentence(value, question, head=True)
        return inside if isinstance(inside, Quantity) else None
    return read_number(text, marks, question)


@lru_cache(maxsize=4096)
def gold_quantity(answer: str) -> Quantity | None:
    """The quantity that a gold answer is: a number, alone or with a known unit."""
    answer = answer.strip()
    numbers = list(iter_numbers(answer))
    if len(numbers) == 1 and lone_number(answer) is not None:
        return quantity_at(answer, numbers[0])
    if len(numbers) != 1 or numbers[0].start > 2 or len(answer) > 60:
        return None
    found = quantity_at(answer, numbers[0])
    if found.measure is None and not found.percent:
        return None
    rest = answer[numbers[0].end :].strip()
    return found if found.measure is None or len(rest.split()) <= 4 else None


def same_quantity(found: Quantity, wanted: Quantity, question: Question) -> bool:
    """Whether two quantities are the same answer to a question."""
    if found.value is None or wanted.value is None:
        return found.value is wanted.value and found.text == wanted.text
    target = wanted.measure if wanted.measure is not None else question.measure
    if found.measure is not None and target is not None and not found.measure.same(target):
        if wanted.measure is None:
            if found.measure.dimension == target.dimension or {found.measure.dimension, target.dimension} <= CURRENCIES:
                return False
        elif not _one_of_a_rate(found, wanted):
            value = converted(found.value, found.measure, target) if question.measure is None else None
            return value is not None and abs(value - float(wanted.value)) <= 1e-9 * abs(value)
    values = {found.value} if found.other is None else {found.value, found.other}
    if found.percent == wanted.percent:
        return wanted.value in values
    if found.percent:
        return found.value / 100 == wanted.value or (
            (question.percent or question.asks_percent) and found.value == wanted.value
        )
    return found.value == wanted.value or (not question.asks_percent and found.value == wanted.value / 100)


def _one_of_a_rate(found: Quantity, wanted: Quantity) -> bool:
    """Whether only the upper unit of a rate was read: 18 km (in 1 hour) for 18 km/h."""
    one, two = found.measure, wanted.measure
    if one is None or two is None:
        return True
    if {one.unit.name, two.unit.name} == {"lb", "pound"}:
        return True
    return two.below is not None and one.below is None and one.unit.name == two.unit.name


def plain_number(number: Quantity) -> str:
    """One spelling for each whole number, so that equal answers can be counted: "1,319.0" becomes "1319"."""
    if number.value is None or number.percent or number.value.denominator != 1 or abs(number.value) > 10**18:
        return number.text
    return str(number.value.numerator)


def _any_number(completion: str, answer: str, wanted: Quantity, options: Options) -> Judgement:
    """Judge by the first, the last or any number of the text, compared as `compare` says."""
    text = final_part(completion).text
    chosen = options.chosen(list(iter_numbers(text)))
    for number in chosen:
        found = quantity_at(number.text, number)
        same = (
            same_quantity(found, wanted, _PLAIN) if options.compare == "numeric" else options.same(number.text, answer)
        )
        if same:
            return Judgement(True, True, plain_number(found))
    return Judgement(False, False, plain_number(quantity_at(chosen[-1].text, chosen[-1])) if chosen else None)


def check_gold(problem: Problem, spec: Mapping[str, Any]) -> None:
    """Make sure that the gold answer is a number.

    Raises:
        VerifierError: it is none.
    """
    answer = Options.of(spec, compare="numeric").stripped(gold(problem))
    if gold_quantity(answer) is None:
        shown = repr(answer) if len(answer) <= 76 else repr(answer[:73]) + "..."
        raise VerifierError(
            f"a numeric verifier needs an answer that is one number, got {shown}: correct the answer or use the "
            'verifier {"type": "exact"}'
        )
