r"""The `math` verifier: is the answer of a completion the gold one as mathematics?

    {"type": "math"}      gold "\frac{14}{3}": \boxed{14/3}, "The answer is $4\tfrac23$ m.", "x = 14/3" are right

The answer is found (`found.py`), read into its structure (`answers.py`) and compared by value (`compare.py`). Formulas
that are not known here are judged by math-verify in worker processes (`workers.py`). The lenient reading is the
substance; the strict one also wants a box where the prompt demands one. An answer whose spelling leaves open whether it
is right is neither right nor wrong: the judgement says why it cannot be made (`error`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.math import forms, values
from posttrain_diag.tasks.verifiers.math.answers import Answer, Based, Group, Matrix, Quantity, Relation, Union, Words
from posttrain_diag.tasks.verifiers.math.compare import AnswerComparison, Sameness
from posttrain_diag.tasks.verifiers.math.context import Context, compact, context_of
from posttrain_diag.tasks.verifiers.math.found import Place, later_marks, places
from posttrain_diag.tasks.verifiers.math.nodes import is_name
from posttrain_diag.tasks.verifiers.math.reader import read
from posttrain_diag.tasks.verifiers.math.tokens import Token, Unreadable, rendered
from posttrain_diag.tasks.verifiers.math.workers import decide
from posttrain_diag.tasks.verifiers.numeric import gold_quantity, judge_number
from posttrain_diag.tasks.verifiers.options import Options, gold, shortened
from posttrain_diag.tasks.verifiers.reading import FinalPart, final_part
from posttrain_diag.tasks.verifiers.reading.demand import demanded_form
from posttrain_diag.types import Judgement, Problem

MAX_WORDS = 4
"""A text with more words than this is a sentence, not an answer in words."""
MAX_GOLD_CHARS = 300
MAX_ATOM = 4
"""A formula of so few characters has nothing to be worked out: a number that the question names may be its answer."""
_FORMULA = re.compile(
    r"\\[A-Za-z%$]|[\^_√π½¼¾±∞°≤≥²³]|(?<![<>=!])=(?!=)|(?<![A-Za-z])[a-z]\s*[-+*/]\s*[a-z\d]|(?<![A-Za-z])\d+[a-z](?![a-z])"
    r"|^\s*\(.*\]\s*$|^\s*\[.*\)\s*$|^[a-z]\s*[<>]"
)
_NEXT = 'Correct the answer, or use the verifier {"type": "exact"}'


def math(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that compares answers as mathematics: by value, not by spelling."""
    options = Options.of(spec, compare="latex")

    def judge(completion: str, problem: Problem) -> Judgement:
        return judge_math(final_part(completion), problem.prompt_text, options.stripped(gold(problem)))

    return judge


def looks_like_math(gold: str, prompt: str) -> bool:
    """Whether a gold answer wants this verifier: a formula in LaTeX or plain, or a value that goes into a box."""
    if len(gold) > MAX_GOLD_CHARS or "\n" in gold.strip() or not is_gold(gold, prompt):
        return False
    if _FORMULA.search(gold):
        return True
    return demanded_form(prompt) == "boxed" and not _all_words(read(gold, context_of(prompt).variables))


def is_gold(answer: str, prompt: str) -> bool:
    """Whether answers can be compared with this gold answer."""
    try:
        return is_readable(read(answer, context_of(prompt).variables))
    except Unreadable:
        return False


def check_gold(answer: str, prompt: str) -> None:
    """Refuse a gold answer with which no answer can be compared.

    Raises:
        VerifierError: it is no answer that is known here.
    """
    if not is_gold(answer, prompt):
        raise VerifierError(f"the math verifier cannot read the answer {shortened(answer)}. {_NEXT}")


@lru_cache(8192)
def same_answer(gold: str, answer: str, prompt: str) -> Sameness:
    """Whether an answer text is the gold answer of a prompt; remembered by text."""
    context = context_of(prompt)
    try:
        wanted = read(gold, context.variables)
    except Unreadable as error:
        return Sameness(None, f"the gold {gold[:60]} cannot be read: {error}")
    try:
        given = read(answer, context.variables, context.unit_letters() | _unit_letters(wanted))
        return AnswerComparison(context, decide).same(wanted, given)
    except Unreadable:
        return Sameness(False)
    except RecursionError:
        return Sameness(None, f"{answer[:60]} is nested too deeply")


def _repeats_question(answer: str, gold: str, context: Context) -> bool:
    r"""Whether a text is the formula that was to be worked out: `\sqrt{242}` of "Simplify $\sqrt{242}$"."""
    formula = compact(answer)
    return formula in context.to_work_out and len(formula) > MAX_ATOM and formula != compact(gold)


def _unit_letters(gold: Answer) -> frozenset[str]:
    """The letters that the gold answer uses for its unit."""
    if not isinstance(gold, Quantity) or gold.unit is None:
        return frozenset()
    return frozenset(name for name, _ in gold.unit.powers if len(name) == 1)


def is_readable(answer: Answer) -> bool:
    """Whether all formulas of an answer can be read, as far as can be told without math-verify."""
    match answer:
        case Words():
            return len(answer.text.split()) <= MAX_WORDS
        case Based():
            return True
        case Quantity():
            return values.is_readable(answer.tokens) or forms.has_unknown_command(answer.tokens)
        case Group():
            return all(map(is_readable, answer.items))
        case Union():
            return all(map(is_readable, answer.parts))
        case Relation():
            return all(map(is_readable, answer.sides))
        case Matrix():
            return all(is_readable(cell) for row in answer.rows for cell in row)


def judge_math(part: FinalPart, prompt: str, gold: str) -> Judgement:
    """Judge whether a final part answers with the gold answer, and in a box where the prompt demands one."""
    if part.open_thought:
        return Judgement(False, False, None)
    marks = [mark for mark in part.marks() if mark.text.strip() or not mark.closed]
    for place in places(part.text, marks):
        text = _answer_text(place, gold, prompt)
        if text is None and not place.boxed:
            continue
        text = place.texts[0] if text is None else text
        verdict = same_answer(gold, text, prompt)
        if verdict.same is None:
            return Judgement(False, False, text, error=f"cannot judge: {verdict.why}")
        if not verdict.same or _contradicted(later_marks(part.text, marks), text, gold, prompt):
            return Judgement(False, False, text)
        strict = place.boxed or demanded_form(prompt) != "boxed"
        return Judgement(strict, True, _plain(text, prompt))
    wanted = gold_quantity(gold)
    if wanted is None or any(mark.kind == "boxed" for mark in marks):
        return Judgement(False, False, None)
    return judge_number(part, prompt, wanted)  # a number that only stands somewhere in a sentence


def _contradicted(marks: Iterable[Place], text: str, gold: str, prompt: str) -> bool:
    """Whether an answer marked after the box is another one."""
    others = (_answer_text(place, gold, prompt) for place in marks)
    return any(other is not None and same_answer(text, other, prompt).same is False for other in others)


def _answer_text(place: Place, gold: str, prompt: str) -> str | None:
    """The first text of a place that can be read as an answer of the gold's sort."""
    context = context_of(prompt)
    variables = context.variables
    letters, in_words = _letters_of(gold, variables)
    unknown = "\\" in gold and not _is_known(gold, variables)
    for text in place.texts:
        try:
            given = read(text, variables)
        except Unreadable:
            continue
        if place.prose and _repeats_question(text, gold, context):
            continue
        if place.boxed or (
            _may_be_answer(given, letters | variables, in_words=in_words) and (unknown or _has_known_formulas(given))
        ):
            return text
    return None


def _has_known_formulas(answer: Answer) -> bool:
    """Whether no formula of an answer needs math-verify; in running language such a formula is work, no answer."""
    return not forms.has_unknown_command(tuple(_tokens(answer)))


def _is_known(gold: str, variables: frozenset[str]) -> bool:
    try:
        return _has_known_formulas(read(gold, variables))
    except Unreadable:
        return False


@lru_cache(4096)
def _letters_of(gold: str, variables: frozenset[str]) -> tuple[frozenset[str], bool]:
    """The letters that the gold is made of, and whether it is one in words."""
    try:
        return frozenset(filter(str.isalpha, gold)), _all_words(read(gold, variables))
    except Unreadable:
        return frozenset(), True


def _may_be_answer(answer: Answer, letters: frozenset[str], *, in_words: bool) -> bool:
    """Whether a text of running language is an answer: of the gold's sort, and no words taken for products."""
    if _all_words(answer):
        return in_words and is_readable(answer)
    return is_readable(answer) and all(
        len(token.text) == 1 or is_name(token.text) or set(token.text) <= letters
        for token in _tokens(answer)
        if token.kind == "word"
    )


def _tokens(answer: Answer) -> Iterator[Token]:
    """The tokens of all formulas of an answer."""
    match answer:
        case Quantity():
            yield from answer.tokens
        case Words() | Based():
            return
        case Group():
            yield from (token for item in answer.items for token in _tokens(item))
        case Union():
            yield from (token for part in answer.parts for token in _tokens(part))
        case Relation():
            yield from (token for side in answer.sides for token in _tokens(side))
        case Matrix():
            yield from (token for row in answer.rows for cell in row for token in _tokens(cell))


def _all_words(answer: Answer) -> bool:
    match answer:
        case Words():
            return True
        case Group():
            return any(map(_all_words, answer.items))
        case Quantity():
            return all(token.kind in ("word", "text") for token in answer.tokens)
        case _:
            return False


def _plain(text: str, prompt: str) -> str:
    """One spelling for the answers that are plainly equal, so that they can be counted."""
    found = read(text, context_of(prompt).variables)
    if not isinstance(found, Quantity):
        return text
    value = forms.value_of(found.tokens)
    unit = "" if found.unit is None else " " + found.unit.name
    return (rendered(found.tokens) if value is None else str(value)) + unit
