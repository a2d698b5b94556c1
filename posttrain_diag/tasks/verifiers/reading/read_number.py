r"""Which number does a text answer with?

    7 + 5 = 12. This is a simple case of adding 7 and 5.      12: a remark that only names what was given
    **Answer:** 18 dollars per day (9 eggs at $2 each)         18: the head of what is marked
    All in all 42 seats in 7 rows.                             42: 7 follows a preposition
    It is 12 or 13.    12 is not the sum.                      none
    7 + 5 = 11. Wait, that is wrong: 7 + 5 = 12.               12: the correction

Marked answers come first, then the last sentence that answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from posttrain_diag.tasks.verifiers.numbers import Number, iter_numbers, western_digits
from posttrain_diag.tasks.verifiers.reading.marks import Mark, after_mark
from posttrain_diag.tasks.verifiers.reading.number_words import iter_number_words
from posttrain_diag.tasks.verifiers.reading.question import Question, stem
from posttrain_diag.tasks.verifiers.reading.sentences import (
    CONCLUDES,
    DENIED_AFTER,
    DENIED_BEFORE,
    HEDGES,
    REMARKS,
    after_correction,
    second_thought,
    sentences,
)
from posttrain_diag.tasks.verifiers.reading.units import Measure, measure_after, scale_after

_EQUALS = re.compile(r"(?<![<>!=:])=(?!=)|≈|≃|\\approx|\bequals?\b(?: to)?|\\Rightarrow|\\implies")
_OPERATOR = (
    r"(?:[-+*×·÷/−⋅^]|\\times|\\cdot|\\div|(?<=[\d\s)])[x×]|\btimes\b|\bplus\b|\bminus\b|\b(?:multiplied|divided) by\b)"
)
_OPERATOR_AFTER = re.compile(
    rf"\s*(?:[a-zA-Z°$%]+\s*)?{_OPERATOR}\s*[($€£]*(?:[\d.\\]|(?:two|three|four|five|six|seven|eight|nine|ten)\b)|\s*[-+*×÷/]\s*\Z",
    re.IGNORECASE,
)
_OPERATOR_BEFORE = re.compile(rf"{_OPERATOR}\s*[($€£]*\Z", re.IGNORECASE)
_PREPOSITION = re.compile(
    r"\b(?:in|of|out of|for|with|per|at|among|each|every|from|by|between|within|on|over|after|before|into|than|as|to|"
    r"en|de|par|pour|avec|für|mit|von|aus|zu|con|di|da|per|por)\s+"
    r"(?:(?:the|a|an|its|these|those|each|only|les|des|den|dem|der|los|las)\s+)?[$€£(\"'*_]*\Z",
    re.IGNORECASE,
)
_RESULT_PREPOSITION = re.compile(
    r"\b(?:results?|resulting|ends? up|equivalent|is|are|be|comes?|adds?|amounts?|up|equal|sums?|works? out|leads?|increase[sd]?|"
    r"rise[sn]?|rose|grows?|grew|drops?|dropped|falls?|fell|reduced?|decrease[sd]?|brings?|sells?|sold|go(?:es)?|total(?:s|ing)?|"
    r"sum|number|speed|price|cost|value|average|rate|amount|weight|length|height|width|area|volume|distance|age|profit|score|"
    r"balance|result|answer|rides?|runs?|travels?|moves?|drives?|walks?|boils?|freezes?|melts?|stands?|rounds?|"
    r"simplif(?:y|ies)|evaluates?|converts?|reduces?|multiple|ratio)\s+"
    r"(?:(?:in|to|of|at|for|from|by|on|as)\s+)(?:(?:a|the|about|exactly|approximately|roughly|just|around)\s+)*[$€£(\"'*_]*\Z",
    re.IGNORECASE,
)
_RESULT_VERB = re.compile(
    r"(?:\b(?:is|are|was|were|be|been|equals?|gives?|giving|makes?|making|yields?|totals?|comes? to|becomes?|amounts? to|"
    r"results? in|resulting in|adds? up to|leaves?|leaving|get|gets|got|have|has|had|needs?|costs?|earns?|pays?|takes?|lasts?|"
    r"brings?|means|contains?|total of|sum of|appears?|occurs?|est|sont|font|fait|donne|ist|sind|ergibt|macht|beträgt|es|son|"
    r"hay|da|è|sono|fa|são|dá)|['’](?:s|re)|:)\s+"
    r"(?:(?:a|an|the|about|exactly|only|just|approximately|roughly|around|now|then|also|therefore|thus|indeed|still|"
    r"equal|to|total|of|actually|simply|at|least|up|\w+ly)\s+){0,4}[$€£(\"'*_\\]*\Z",
    re.IGNORECASE,
)
_LABEL_BEFORE = re.compile(
    r"\b(?:step|option|figure|fig\.|example|method|part|question|equation|eq\.|case|page|chapter|section|problem|exercise|note|"
    r"way|day|week|attempt|try|no\.|line|item|choice|point|schritt|étape|paso|passo|shape|table)\s*\#?\Z|\#\Z",
    re.IGNORECASE,
)
_REASON = re.compile(
    r",?\s+\b(?:since|because|given that|considering that|due to|parce que|car|weil|da|denn|porque|puisque)\b", re.I
)
_OR = re.compile(
    r"^[^,.;:=()\d]{0,25}?[,*_\s$\"'”)]*\b(?:or|oder|ou|o bien|или)\b\s*(?:(?:maybe|perhaps|possibly|even|else|is it|it is|it's|about|x\s*=|"
    r"y\s*=|is|-)\s*)*[$€£(\"'*_\\-]*\Z",
    re.IGNORECASE,
)
_AND = re.compile(r"^[\s*_$\"')]*(?:\band\b|&|\bund\b|\bet\b|\by\b)[\s*_$\"'(]*\Z", re.IGNORECASE)
_PARENTHESES = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_LIST_LABEL = re.compile(r"^[ \t]*(?:\*\*)?(\d{1,2})[.):](?:\*\*)?\s+(?=\S)", re.MULTILINE)
_VERIFIES = re.compile(
    r"^\W{0,4}(?:(?:let(?:'s| us| me)|to|we can|i(?:'ll| will)|now|and|as a|quick|a|sanity|double)[\s-]+)*(?:verif\w+|double-?check\w*|"
    r"check(?:ing)?\s*(?::|this|that|the (?:answer|result|work|math)|our|my|it\b|,|-|$)|proof\b|explanation\b|explication\b|probe\b|"
    r"vérif\w+|comprob\w+|verifica\b|проверк\w+|検算|验证)",
    re.IGNORECASE,
)
LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit)\s*\{([^{}]*)\}")
_MINUS_WORD = re.compile(r"(?:^|[^\d\s)]\s+|[:=]\s*)(?:minus|negative|moins|menos|meno)\s+[$€£]?\Z", re.IGNORECASE)
_BELOW_ZERO = re.compile(
    r"\s*(?:°\s?[CF]?|degrees?(?:\s(?:celsius|fahrenheit|C|F))?)?\s*(?:below|under)\s(?:zero|freezing|0\b)",
    re.IGNORECASE,
)
_DECIMAL_COMMA = re.compile(r"(?<![\d,.])(\d+),(\d{1,2}|\d{4,})(?![\d,.]*\d)(?!\s*[-+*/=×])")
_JOINS = re.compile(r"\s*(?:,|\band\b|, and\b|\bund\b|\bet\b)?\s*")
_SIDE_BY_SIDE = re.compile(r"(?:^|=|####)\s*[\d.]+(?:\s+[\d.]+)+\s*$")
_SCALE_OF_DIGITS = re.compile(r"\d\s?(?:hund|thou|mill|bill|tril|doze)\Z", re.IGNORECASE)
_OF_ZERO = re.compile(r"\b(?:below|under|above)\s\Z", re.IGNORECASE)
_RATE = re.compile(r"[\s$€£*_]*[\d.,]+\s*(?:\w+\s)?(?:per|every|each|an?|a\spiece|apiece)\b", re.IGNORECASE)
_SUBJECT = re.compile(
    r"(?:^|,|\band\b|\bwhile\b|\bbut\b|\bwhereas\b)\s*(?:an?|the|each|every)\s+(\w+)\s+(?:has|have|had|is|are|was|weighs|costs|makes|gives|holds)\b",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Quantity:
    """A number that a text gives, with what it is measured in."""

    text: str
    value: Fraction | None
    percent: bool
    measure: Measure | None
    other: Fraction | None = None
    """Another value the same writing may have: `1.319` as thousands, `3.5 million` in millions."""


class Undecided:
    """Several answers of which none is chosen."""


UNDECIDED: Final = Undecided()
Found = Quantity | Undecided | None


def read_number(text: str, marks: Sequence[Mark], question: Question) -> Quantity | None:
    """The number that a final part answers with; None where it gives none, or several.

    Args:
        text: the final part of a completion.
        marks: the answers it marks, left to right.
        question: what was asked.
    """
    found = _from_marks(text, marks, question) if marks else None
    if found is None:
        found = _from_sentences(text, question)
    return found if isinstance(found, Quantity) else None


def _from_marks(text: str, marks: Sequence[Mark], question: Question) -> Found:
    last = marks[-1]
    if not last.closed and last.kind == "boxed":
        return UNDECIDED
    rest, corrected = after_correction(after_mark(text, last))
    if corrected and rest.strip():
        again = _from_sentences(rest, question)
        if again is not None:
            return again
    elif corrected:
        return UNDECIDED
    else:
        again = second_thought(rest)
        found = None if again is None else _from_sentences(again, question)
        if found is not None:
            return found
    for i in range(len(marks) - 1, -1, -1):
        mark = marks[i]
        inner = [other for other in marks[i + 1 :] if other.start < mark.end]
        found = None if inner else _marked(mark, question)
        if found is not None:
            before = marks[i - 1] if i else None
            if before is not None and _joined_by_or(text[before.end : mark.start]):
                earlier = _marked(before, question)
                if isinstance(earlier, Quantity) and isinstance(found, Quantity) and earlier.value != found.value:
                    return UNDECIDED
            return found
        if mark.kind in ("boxed", "tag") and mark.text.strip() and not inner:
            return UNDECIDED  # what is marked is no number
    return None


def _joined_by_or(between: str) -> bool:
    return len(between) < 20 and re.search(r"\b(?:or|oder|ou|o)\b", between) is not None


def _marked(mark: Mark, question: Question) -> Found:
    if mark.kind in ("boxed", "tag"):
        return in_sentence(LATEX_TEXT.sub(r" \1 ", mark.text).strip(), question, head=True, whole=True)
    for sentence in sentences(mark.text)[:2]:
        found = in_sentence(sentence.text, question, head=True)
        if found is not None:
            return None if sentence.asks else found
        if mark.kind == "hash":
            break
    return None


def _from_sentences(text: str, question: Question) -> Found:
    text, _ = after_correction(text)
    parts = sentences(_without_labels(text))
    asked = [part for part in parts if not part.asks]
    current: Found = None
    checking = False
    for part in asked:
        concludes = CONCLUDES.search(part.text) is not None
        if current is not None and not concludes:
            checking = checking or _VERIFIES.match(part.text) is not None
            if checking or REMARKS.match(part.text):
                continue
        found = in_sentence(part.text, question)
        if found is None:
            continue
        if isinstance(current, Quantity) and not concludes and _only_given(part.text, question):
            continue
        current = found
        checking = checking and not concludes
    return current


def _only_given(text: str, question: Question) -> bool:
    """Whether a sentence names only numbers that the question gave, and works nothing out."""
    if _EQUALS.search(text):
        return False
    values = [number.value for number in _numbers(western_digits(text))]
    return bool(question.numbers) and all(value in question.numbers for value in values)


def _without_labels(text: str) -> str:
    """The text without the numbers of a numbered list: 1. ... 2. ..."""
    labels = list(_LIST_LABEL.finditer(text))
    if len(labels) < 2 or [int(label[1]) for label in labels[:2]] != [1, 2]:
        return text
    return _LIST_LABEL.sub("", text)


def in_sentence(text: str, question: Question, *, head: bool = False, whole: bool = False) -> Found:
    """The number that a sentence, or what is marked, gives.

    Args:
        text: the sentence.
        question: what was asked.
        head: what comes first is meant, as in a marked answer; else what comes last.
        whole: the text must be the answer and nothing else, as in a box: other digits beside it make it unreadable.
    """
    text = _DECIMAL_COMMA.sub(r"\1.\2", western_digits(text))
    outside = _PARENTHESES.sub(lambda m: " " * len(m[0]), text)
    numbers = _numbers(outside) or _numbers(text)
    if not numbers:
        return None
    if len(numbers) == 1 and not whole:
        one = numbers[0]
        return None if _denied(text, one) else quantity_at(text, one)
    main = _main_clause(text, numbers)
    numbers, text = [number for number in numbers if number.end <= len(main)], main
    if len(numbers) == 1 and not whole:
        return None if _denied(text, numbers[0]) else quantity_at(text, numbers[0])
    if _SIDE_BY_SIDE.search(text):
        return quantity_at(text, numbers[-1])  # figures in a row say nothing of each other
    equal = _after_equals(text, numbers, question)
    if equal is not None:
        return equal
    numbers = [number for number in numbers if not _denied(text, number)]
    if not numbers:
        return None
    if (
        whole
        and len(numbers) > 1
        and len({number.value for number in numbers}) > 1
        and not re.search("[A-Za-z]{3}", text)
    ):
        return UNDECIDED
    if _alternatives(text, numbers):
        return UNDECIDED
    return quantity_at(text, _best(text, numbers, question, head=head))


def _main_clause(text: str, numbers: Sequence[Number]) -> str:
    """The text up to the reason that it gives for its number: "It is 18, since 9 * 2 = 18 and not 20"."""
    reason = _REASON.search(text, numbers[0].end)
    if reason is None or CONCLUDES.search(text[reason.end() :]):
        return text
    only = [number for number in numbers if number.end <= reason.start()]
    return text[: reason.start()] if any(not _OPERATOR_AFTER.match(text, n.end) for n in only) else text


def _of_the_subject(text: str, numbers: Sequence[Number], question: Question) -> list[Number]:
    """Of a sentence about several things (a hexagon has 6 sides, a pentagon 5), the numbers of the one that is asked about."""
    subjects = list(_SUBJECT.finditer(text))
    if len(subjects) < 2:
        return []
    kept: list[Number] = []
    for subject, following in zip(subjects, [*subjects[1:], None], strict=True):
        if stem(subject[1].lower()) in question.words:
            end = len(text) if following is None else following.start()
            kept += [number for number in numbers if subject.start() <= number.start < end]
    return kept


def _numbers(text: str) -> list[Number]:
    """Numbers in digits and in words, labels (Step 2) left out."""
    digits = list(iter_numbers(text))
    words = list(iter_number_words(text))
    words = [
        n
        for n in words
        if not _SCALE_OF_DIGITS.search(text[max(0, n.start - 12) : n.start + 4])
        and not _OF_ZERO.search(text[: n.start])
    ]
    both = sorted((*digits, *words), key=lambda number: number.start) if words else digits
    if len(both) < 2:
        return both
    kept = [n for n in both if _LABEL_BEFORE.search(text, max(0, n.start - 12), n.start) is None]
    kept = [n for n in kept if not _ORDINAL.match(text, n.end)] or kept
    return kept or both


def _denied(text: str, number: Number) -> bool:
    return (
        DENIED_BEFORE.search(text[max(0, number.start - 40) : number.start]) is not None
        or DENIED_AFTER.match(text[number.end : number.end + 60]) is not None
    )


def _after_equals(text: str, numbers: Sequence[Number], question: Question) -> Found:
    """What stands alone on one side of the last equation."""
    signs = [match for match in _EQUALS.finditer(text)]
    if not signs:
        return None
    right = [number for number in numbers if number.start >= signs[-1].end()]
    left = [number for number in numbers if number.end <= signs[0].start()]
    if not right:
        right = [n for n in numbers if len(signs) > 1 and signs[-2].end() <= n.start < signs[-1].start()]
    if not right:
        return None
    first = right[0]
    if len(right) > 1 and _OPERATOR_AFTER.match(text, first.end):
        before = text[: signs[0].start()]
        return quantity_at(text, left[0]) if len(left) == 1 and not re.search("[A-Za-z]", before) else None
    if _alternatives(text, right[:2]) and right[0].value != right[1].value:
        return UNDECIDED
    if len(signs) > 1 and _joined_by_or(text[first.start - 12 : first.start]):
        values = {n.value for n in numbers if _EQUALS.search(text, max(0, n.start - 10), n.start)}
        if len(values) > 1:
            return UNDECIDED
    later = [
        n
        for n in right[1:]
        if CONCLUDES.search(text[first.end : n.start]) or _RESULT_VERB.search(text[first.end : n.start])
    ]
    if (
        later
        and later[-1].value not in question.numbers
        and re.search(r"[,;]|\band\b|\bthen\b", text[first.end : later[-1].start])
    ):
        return quantity_at(text, later[-1])
    return None if _denied(text, first) else quantity_at(text, first)


def _alternatives(text: str, numbers: Sequence[Number]) -> bool:
    """Whether two numbers stand beside each other as alternatives, or a hedge leaves open which one is meant."""
    for one, two in zip(numbers, numbers[1:], strict=False):
        if one.value != two.value and _OR.match(text[one.end : two.start]) and not _RATE.match(text, two.start):
            return True
    return len({number.value for number in numbers}) > 1 and HEDGES.search(text) is not None


def _best(text: str, numbers: Sequence[Number], question: Question, *, head: bool) -> Number:
    """The number most likely meant as the answer of a sentence."""
    numbers = _of_the_subject(text, numbers, question) or numbers
    plain: list[Number] = []
    linked = False
    for i, number in enumerate(numbers):
        before = text[max(0, number.start - 50) : number.start]
        linked = linked and i > 0 and _AND.match(text[numbers[i - 1].end : number.start]) is not None
        trailing = _PREPOSITION.search(before) is not None and _RESULT_PREPOSITION.search(before) is None
        operand = _OPERATOR_AFTER.match(text, number.end) is not None or _OPERATOR_BEFORE.search(before) is not None
        if not (trailing or operand or linked):
            plain.append(number)
        linked = trailing or linked
    if not plain:
        return numbers[0] if head else numbers[-1]
    if head:
        return plain[0]
    stated = [n for n in plain if _RESULT_VERB.search(text[max(0, n.start - 60) : n.start])] or plain
    fresh = [n for n in stated if n.value not in question.numbers] or stated
    return fresh[-1]


def quantity_at(text: str, number: Number) -> Quantity:
    """A number with the unit, the scale word and the percent sign that stand beside it."""
    value, end, other = number.value, number.end, None
    below = _BELOW_ZERO.match(text, end)
    if (
        value is not None
        and value > 0
        and (below or _MINUS_WORD.search(text[max(0, number.start - 20) : number.start]))
    ):
        value = -value
    scale = scale_after(text, end)
    if scale is not None and value is not None:
        other = value
        value, end = value * scale[0], scale[1]
    measure = measure_after(text, end)
    percent = number.percent or (measure is not None and measure.dimension == "percent")
    if measure is None:
        sign = re.search(r"[$€£¥₹]", text[max(0, number.start - 3) : number.start + 2])
        measure = measure_after(sign[0], 0) if sign else None
    elif value is not None and not percent:
        value += _smaller_part(text, measure.end, measure)
    return Quantity(number.text, value, percent, None if percent else measure, other)


def _smaller_part(text: str, at: int, measure: Measure) -> Fraction:
    """What a second, smaller unit adds: 37 dollars and 50 cents, 2 hours 30 minutes, 5 feet 6 inches."""
    gap = _JOINS.match(text, at)
    start = gap.end() if gap else at
    number = next(iter_numbers(text[start : start + 20]), None)
    if number is None or number.start or number.value is None:
        return Fraction(0)
    smaller = measure_after(text, start + number.end)
    if smaller is None or smaller.dimension != measure.dimension or smaller.factor >= measure.factor:
        return Fraction(0)
    return number.value * Fraction(smaller.factor / measure.factor).limit_denominator(10**6)
