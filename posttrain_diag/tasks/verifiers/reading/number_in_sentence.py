r"""Which of the numbers of a sentence does it give?

7 + 5 = 12            12 = 7 + 5               what stands alone beside the last equals sign
She sold 18 of 25 eggs in 2 days.              18: the others follow a preposition
It is 18, since 9 * 2 = 18 and not 20.         18: the reason does not count
The price falls by $120 to $680.               680: where a change leads to
8 weeks = 56 days = 1344 hours                 the one in the unit that is asked for
It is 12 or 13.    12 is not the sum.          none
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from posttrain_diag.tasks.verifiers.numbers import Number, iter_numbers, western_digits
from posttrain_diag.tasks.verifiers.reading.number_words import HINT, iter_foreign_words, iter_number_words
from posttrain_diag.tasks.verifiers.reading.question import Question, stem, stems, word_key
from posttrain_diag.tasks.verifiers.reading.sentences import DENIED_AFTER, DENIED_BEFORE, HEDGES, concludes
from posttrain_diag.tasks.verifiers.reading.units import CURRENCIES, Measure, measure_after, scale_after

_OPENED = r"[$€£(\"'*_\\]*\Z"
"""What may stand between a word and the number after it."""
EQUALS = re.compile(r"(?<![<>!=:])=(?!=)|≈|≃|\\approx|\bequals?\b(?: to)?|\\Rightarrow|\\implies")
_OPERATOR = (
    r"(?:[-+*×·÷/−⋅^]|\\times|\\cdot|\\div|(?<=[\d\s)])[x×]|\btimes\b|\bplus\b|\bminus\b|\b(?:multiplied|divided) by\b)"
)
_OPERATOR_AFTER = re.compile(
    rf"\s*(?:[a-zA-Z°$%]+\s*)?{_OPERATOR}\s*[($€£]*(?:[\d.\\]|(?:two|three|four|five|six|seven|eight|nine|ten)\b)|"
    r"\s*[-+*×÷/]\s*\Z",
    re.IGNORECASE,
)
_OPERATOR_BEFORE = re.compile(rf"{_OPERATOR}\s*[($€£]*\Z", re.IGNORECASE)
_PREPOSITION = re.compile(
    r"\b(?:in|of|out of|for|with|per|at|among|each|every|from|by|between|within|on|over|after|before|into|than|as|to|"
    r"en|de|par|pour|avec|für|mit|von|aus|zu|con|di|da|por)\s+"
    rf"(?:(?:the|a|an|its|these|those|each|only|les|des|den|dem|der|los|las)\s+)?{_OPENED}",
    re.IGNORECASE,
)
_RESULT_PREPOSITION = re.compile(
    r"\b(?:results?|resulting|ends? up|equivalent|is|are|be|comes?|adds?|amounts?|up|equal|sums?|works? out|leads?|"
    r"sells?|sold|"
    r"brings?|brought|bringing|takes?|took|rakes?|pulls?|pulled|go(?:es)?|total(?:s|ing)?|sum|number|speed|price|cost|value|average|rate|amount|weight|length|height|width|area|volume|"
    r"distance|age|profit|score|balance|result|answer|rides?|runs?|travels?|moves?|drives?|walks?|boils?|freezes?|melts?|stands?|"
    r"rounds?|simplif(?:y|ies)|evaluates?|converts?|multiple|ratio)\s+(?:in|to|of|at|for|from|on|as)\s+"
    rf"(?:(?:a|the|about|exactly|approximately|roughly|just|around)\s+)*{_OPENED}",
    re.IGNORECASE,
)
_CHANGED_TO = re.compile(
    r"\b(?:rises?|risen|rose|grows?|grew|grown|falls?|fell|fallen|drops?|dropped|reduc\w+|increas\w+|decreas\w+|goes|went|gone|"
    r"brings?|brought|lower\w*|rais\w+|discounted|cut|down|up|shrinks?|climb\w*|rounds?|rounded|simplif\w+|comes?)\b[^.;]{0,60}?"
    rf"\bto\s+(?:(?:a|the|about|just|only|exactly)\s+)*{_OPENED}",
    re.IGNORECASE,
)
_RESULT_VERB = re.compile(
    r"(?:\b(?:is|are|was|were|be|been|equals?|gives?|giving|makes?|making|yields?|totals?|comes? to|becomes?|"
    r"amounts? to|"
    r"results? in|resulting in|adds? up to|leaves?|leaving|get|gets|got|have|has|had|needs?|costs?|earns?|pays?|"
    r"takes?|lasts?|"
    r"brings?|means|contains?|total of|sum of|appears?|occurs?|est|sont|font|fait|donne|ist|sind|ergibt|macht|beträgt|"
    r"es|son|"
    r"hay|da|è|sono|fa|são|dá)|['’](?:s|re)|:)\s+"
    r"(?:(?:a|an|the|about|exactly|only|just|approximately|roughly|around|now|then|also|therefore|thus|indeed|still|"
    rf"equal|to|total|of|actually|simply|at|least|up|\w+ly)\s+){{0,4}}{_OPENED}",
    re.IGNORECASE,
)
_LABEL_BEFORE = re.compile(
    r"\b(?:step|option|figure|fig\.|example|method|part|question|equation|eq\.|case|page|chapter|section|problem|exercise|note|"
    r"way|day|week|attempt|try|no\.|line|item|choice|point|schritt|étape|paso|passo|shape|table)\s*\#?\Z|\#\Z",
    re.IGNORECASE,
)
_REASON = re.compile(
    r",\s(?:even\s)?(?:though|although|if)\b|,\sas\s(?!well\b|much\b|many\b)|"
    r",?\s+\b(?:since|because|given that|considering that|due to|parce que|weil|denn|porque|puisque)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"^\W*(?:since|because|as|if|when|given|after|before|while|although|with)\b[^,]*(?:,\d+[^,]*)*,\s", re.IGNORECASE
)
_CONCLUSION = re.compile(
    r"[,;:]\s(?:and\s)?(?:so(?!\s(?:do|does|did|is|are|was|were|can|will|would|has|have)\b)|thus|hence|therefore)\b",
    re.IGNORECASE,
)
_OTHER_TIME = re.compile(
    r"\b(?:was|were|had|will|would|ago|earlier|later|from now|in \w+ (?:years?|months?|days?))\b", re.IGNORECASE
)
"""What speaks of another time than now."""
_CLAUSES = re.compile(r"[,;()]\s|\s(?:and|but|so|while)\s")
_COMPARED = re.compile(
    r"\s*(?:of|more|less|fewer|higher|lower|larger|smaller|bigger|off|discount|increase|decrease|cheaper)\b|"
    r"\s*(?:times|more|less|fewer)\s+(?:than|as|the)\b",
    re.IGNORECASE,
)
_OR = re.compile(
    r"^[^,.;:=()\d]{0,25}?[,*_\s$\"'”)]*\b(?:or|oder|ou|o bien|или)\b\s*(?:(?:maybe|perhaps|possibly|even|else|is it|"
    r"it is|it's|about|"
    r"x\s*=|y\s*=|is|-)\s*)*[$€£(\"'*_\\-]*\Z",
    re.IGNORECASE,
)
_EITHER = re.compile(r"\b(?:or|oder|ou|o)\b")
_AND = re.compile(r"^[\s*_$\"')]*(?:\band\b|&|\bund\b|\bet\b|\by\b)[\s*_$\"'(]*\Z", re.IGNORECASE)
_PARENTHESES = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit)\s*\{([^{}]*)\}")
_MINUS_WORD = re.compile(r"(?:^|[^\d\s)]\s+|[:=]\s*)(?:minus|negative|moins|menos|meno)\s+[$€£]?\Z", re.IGNORECASE)
_BELOW_ZERO = re.compile(
    r"\s*(?:°\s?[CF]?|degrees?(?:\s(?:celsius|fahrenheit|C|F))?)?\s*(?:below|under)\s(?:zero|freezing|0\b)",
    re.IGNORECASE,
)
_DECIMAL_COMMA = re.compile(r"(?<![\d,.])(\d+),(\d{1,2}|\d{4,})(?![\d,.]{0,40}\d)(?!\s*[-+*/=×])")
MAX_SENTENCE = 1500
"""Characters of a sentence that are read: its end, or the beginning of what is marked."""
_HYPHENED = re.compile(r"(?<![\d.,/+*=-])(\d+)-(\d+/\d+)(?=\s*(?:[A-Za-z]|$))")
"""A mixed number as in recipes: 1-1/2 cups."""
_CLOCK = re.compile(r"(?<![\d:])(\d{1,2}):([0-5]\d)(?=\s?(?:h\b|hours?\b|hrs?\b))")
"""Hours and minutes: 2:30 hours."""
_PARTS = {"a half": "1/2", "one half": "1/2", "a third": "1/3", "a quarter": "1/4", "three quarters": "3/4"}
_AND_A_PART = re.compile(rf"(?<![\d.,/])(\d+) and ({'|'.join(_PARTS)})\b", re.IGNORECASE)
"""Digits and a part in words: 2 and a half."""
_TIME = re.compile(r"(?<![\d:])\d{1,2}:[0-5]\d(?![\d:])")
"""A time of day: no number of what is asked, where there are others."""
_JOINS = re.compile(r"\s*(?:,|\band\b|, and\b|\bund\b|\bet\b)?\s*")
_CENTS = re.compile(r"\d\d\W*")
_SIDE_BY_SIDE = re.compile(r"(?:^|=|####)\s*[\d.]+(?:\s+[\d.]+)+\s*$")
_SCALE_OF_DIGITS = re.compile(r"\d\s?(?:hund|thou|mill|bill|tril|doze)\Z", re.IGNORECASE)
_OF_ZERO = re.compile(r"\b(?:below|under|above)\s\Z", re.IGNORECASE)
_HALF_OF = re.compile(r"\s+(?:of|the|as|an?|his|her|its|their|that|this|way)\b", re.IGNORECASE)
_MAY_HOLD = re.compile(rf"[\d¼-¾⅐-⅞]|{HINT.pattern}", re.IGNORECASE)
_BY_NUMBER = re.compile(rf"\bby\s+(?:(?:about|exactly|just|only|around)\s+)*{_OPENED}", re.IGNORECASE)
_YEAR = re.compile(r"\d{3,4}")
_RATE = re.compile(r"[\s$€£*_]*[\d.,]+\s*(?:\w+\s)?(?:per|every|each|an?|a\spiece|apiece)\b", re.IGNORECASE)
_SUBJECT = re.compile(
    r"(?:^|,|\band\b|\bwhile\b|\bbut\b|\bwhereas\b)\s*(?:an?|the|each|every)\s+(\w+)\s+(?:has|have|had|is|are|was|weighs|costs|"
    r"makes|gives|holds)\b",
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
    """Another value the same writing may have: 3.5 million, in millions."""


class Undecided:
    """Several answers of which none is chosen."""


UNDECIDED: Final = Undecided()
Found = Quantity | Undecided | None


def in_sentence(text: str, question: Question, *, head: bool = False, whole: bool = False) -> Found:
    """The number that a sentence, or what is marked, gives.

    Args:
        text: the sentence.
        question: what was asked.
        head: what comes first is meant, as in a marked answer; else what comes last.
        whole: the text must be the answer and nothing else, as in a box: other digits beside it make it unreadable.
    """
    text = text[-MAX_SENTENCE:] if not head else text[:MAX_SENTENCE]
    text = _DECIMAL_COMMA.sub(r"\1.\2", western_digits(text).replace("**", "  "))
    text = _HYPHENED.sub(r"\1 \2", text)
    text = _AND_A_PART.sub(lambda m: f"{m[1]} {_PARTS[m[2].lower()]}", text) if " and " in text else text
    text = _CLOCK.sub(lambda m: f"{int(m[1])} {int(m[2])}/60", text) if ":" in text else text
    if ":" in text and may_hold_number(timeless := _TIME.sub(lambda m: " " * len(m[0]), text)):
        text = timeless
    outside = _PARENTHESES.sub(lambda m: " " * len(m[0]), text)
    numbers = numbers_of(outside) or numbers_of(text)
    if len(numbers) > 1:
        text = _main_clause(text, numbers)
        numbers = [number for number in numbers if number.end <= len(text)]
    if not question.ordinal:
        numbers = [n for n in numbers if not _ORDINAL.match(text, n.end)]
    if question.asks_now and not (head or whole):
        numbers = _of_now(text, numbers)
    if not numbers:
        return None
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
    several = len({number.value for number in numbers}) > 1
    if several and head and _both(text, numbers):
        return UNDECIDED
    if several and (_alternatives(text, numbers) or (whole and not re.search("[A-Za-z]{3}", text))):
        return UNDECIDED
    return quantity_at(text, _best(text, numbers, question, head=head))


def _of_now(text: str, numbers: Sequence[Number]) -> list[Number]:
    """The numbers of the clauses that speak of now, where others speak of another time: 7 eight years ago."""
    ends = [cut.start() for cut in _CLAUSES.finditer(text)]
    spans = list(zip([0, *ends], [*ends, len(text)], strict=True))
    other = [span for span in spans if _OTHER_TIME.search(text, *span)]
    return [number for number in numbers if not any(start <= number.start < end for start, end in other)]


def may_hold_number(text: str) -> bool:
    """Whether a text has a digit or a word that may be a number."""
    return _MAY_HOLD.search(text) is not None


def numbers_of(text: str) -> list[Number]:
    """Numbers in digits and in words; labels (Step 2) and the second part of 2 hours 15 minutes are left out."""
    digits = list(iter_numbers(text))
    words = [
        number
        for number in iter_number_words(text)
        if not _SCALE_OF_DIGITS.search(text[max(0, number.start - 12) : number.start + 4])
        and not _OF_ZERO.search(text[: number.start])
        and not (number.text.lower() == "half" and _HALF_OF.match(text, number.end))
    ]
    if not digits and not words:
        return list(iter_foreign_words(text))
    both = sorted((*digits, *words), key=lambda number: number.start) if words else digits
    if len(both) < 2:
        return both
    kept = [n for n in both if _LABEL_BEFORE.search(text, max(0, n.start - 12), n.start) is None]
    return _without_smaller_parts(text, kept or both)


def quantity_at(text: str, number: Number) -> Quantity:
    """A number with the unit, the scale word and the percent sign that stand beside it."""
    value, end, other = number.value, number.end, None
    if value is not None and value > 0:
        before = text[max(0, number.start - 20) : number.start]
        value = -value if _BELOW_ZERO.match(text, end) or _MINUS_WORD.search(before) else value
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
        value += _smaller_part(text, measure.end, measure)[0]
    return Quantity(number.text, value, percent, None if percent else measure, other)


def joined_by_or(between: str) -> bool:
    """Whether the short text between two answers makes them alternatives."""
    return len(between) < 20 and _EITHER.search(between) is not None


def _smaller_part(text: str, at: int, measure: Measure) -> tuple[Fraction, int]:
    """(what a second, smaller unit adds, where it ends): 37 dollars and 50 cents, 2 hours 30 minutes."""
    gap = _JOINS.match(text, at)
    start = gap.end() if gap else at
    following = text[start : start + 30]
    numbers = iter_numbers(following) if following[:1].isdigit() else iter_number_words(following)
    number = next(numbers, None)
    if number is None or number.start or number.value is None:
        return Fraction(0), at
    smaller = measure_after(text, start + number.end)
    if smaller is None and measure.dimension in CURRENCIES and _CENTS.fullmatch(following):
        return number.value / 100, start + number.end
    if smaller is None or smaller.dimension != measure.dimension or smaller.factor >= measure.factor:
        return Fraction(0), at
    share = Fraction(smaller.factor / measure.factor).limit_denominator(10**6)
    return number.value * share, smaller.end


def _without_smaller_parts(text: str, numbers: list[Number]) -> list[Number]:
    kept = numbers[:1]
    for one, two in itertools.pairwise(numbers):
        between = text[one.end : two.start]
        if 1 < len(between) < 20 and any(char.isalpha() for char in between):
            measure = measure_after(text, one.end)
            if measure is not None and two.start < _smaller_part(text, measure.end, measure)[1]:
                continue
        kept.append(two)
    return kept


def _main_clause(text: str, numbers: Sequence[Number]) -> str:
    """The text up to the reason that it gives for its number: "It is 18, since 9 * 2 = 18 and not 20"."""
    reason = _REASON.search(text, numbers[0].end)
    if reason is None or concludes(text[reason.end() :]):
        return text
    before = [number for number in numbers if number.end <= reason.start()]
    return text[: reason.start()] if any(not _OPERATOR_AFTER.match(text, n.end) for n in before) else text


def _denied(text: str, number: Number) -> bool:
    return (
        DENIED_BEFORE.search(text[max(0, number.start - 40) : number.start]) is not None
        or DENIED_AFTER.match(text[number.end : number.end + 60]) is not None
    )


def _after_equals(text: str, numbers: Sequence[Number], question: Question) -> Found:
    """What stands alone on one side of the last equation."""
    signs = list(EQUALS.finditer(text))
    if not signs:
        return None
    right = [number for number in numbers if number.start >= signs[-1].end()]
    if not right and len(signs) > 1:
        right = [n for n in numbers if signs[-2].end() <= n.start < signs[-1].start()]
    if not right:
        return None
    first = right[0]
    if len(right) > 1 and _OPERATOR_AFTER.match(text, first.end):
        left = [number for number in numbers if number.end <= signs[0].start()]
        alone = len(left) == 1 and not re.search("[A-Za-z]", text[: signs[0].start()])
        return quantity_at(text, left[0]) if alone else None
    if _alternatives(text, right[:2]):
        return UNDECIDED
    if len(signs) > 1 and joined_by_or(text[max(0, first.start - 12) : first.start]):
        values = {n.value for n in numbers if EQUALS.search(text, max(0, n.start - 10), n.start)}
        if len(values) > 1:
            return UNDECIDED
    in_unit = (
        _in_asked_unit(text, [n for n in numbers if n.start >= signs[0].end()], question) if len(signs) > 1 else []
    )
    if in_unit:
        return quantity_at(text, in_unit[-1])
    later = _later_result(text, right, question)
    if later is not None:
        return quantity_at(text, later)
    return None if _denied(text, first) else quantity_at(text, first)


def _later_result(text: str, right: Sequence[Number], question: Question) -> Number | None:
    """A result that a later clause draws from an equation: "16 - 3 = 13 eggs, so she makes 26 dollars"."""
    first = right[0]
    later = [
        n for n in right[1:] if concludes(text[first.end : n.start]) or _RESULT_VERB.search(text[first.end : n.start])
    ]
    if not later or later[-1].value in question.numbers:
        return None
    return later[-1] if re.search(r"[,;]|\band\b|\bthen\b", text[first.end : later[-1].start]) else None


def _in_asked_unit(text: str, numbers: Sequence[Number], question: Question) -> list[Number]:
    """The numbers that stand in the unit the question asks for, where others stand in other units of its kind."""
    if question.measure is None or len(numbers) < 2:
        return []
    measures = [(number, measure_after(text, number.end)) for number in numbers]
    own = [number for number, measure in measures if measure is not None and measure.same(question.measure)]
    others = [m for _, m in measures if m is not None and m.dimension == question.measure.dimension]
    return own if len(own) < len(others) == len(numbers) else []


def _alternatives(text: str, numbers: Sequence[Number]) -> bool:
    """Whether two numbers stand beside each other as alternatives, or a hedge leaves open which one is meant."""
    for one, two in itertools.pairwise(numbers):
        if one.value != two.value and _OR.match(text[one.end : two.start]) and not _says_the_same(text, one, two):
            return True
    return len({number.value for number in numbers}) > 1 and HEDGES.search(text) is not None


def _both(text: str, numbers: Sequence[Number]) -> bool:
    """Whether what is marked begins with two numbers together: `56 and 54`."""
    one, two = numbers[:2]
    return (
        one.value != two.value and not text[: one.start].strip(" $*(") and bool(_AND.match(text[one.end : two.start]))
    )


def _says_the_same(text: str, one: Number, two: Number) -> bool:
    """Whether the second of two numbers puts the first in other words: 56 days, or 8 weeks; 56, or 8 times 7."""
    if _RATE.match(text, two.start) or _OPERATOR_AFTER.match(text, two.end):
        return True
    a, b = measure_after(text, one.end), measure_after(text, two.end)
    return a is not None and b is not None and a.dimension == b.dimension and not a.same(b)


def _best(text: str, numbers: Sequence[Number], question: Question, *, head: bool) -> Number:
    """The number most likely meant as the answer of a sentence."""
    special = _special(text, numbers, question)
    if special is not None:
        return special
    numbers = (
        _after_conclusion(text, numbers)
        or _after_condition(text, numbers)
        or _of_the_subject(text, numbers, question)
        or numbers
    )
    plain: list[Number] = []
    linked = False
    for i, number in enumerate(numbers):
        before = text[max(0, number.start - 70) : number.start]
        linked = linked and i > 0 and _AND.match(text[numbers[i - 1].end : number.start]) is not None
        led = _RESULT_PREPOSITION.search(before) or _CHANGED_TO.search(before)
        trailing = _PREPOSITION.search(before) is not None and led is None
        operand = _OPERATOR_AFTER.match(text, number.end) is not None or _OPERATOR_BEFORE.search(before) is not None
        if not (trailing or operand or linked):
            plain.append(number)
        linked = trailing or linked
    if not plain:
        return numbers[0] if head else numbers[-1]
    plain = [number for number in plain if question.asks_percent or not _compares(text, number)] or plain
    plain = _in_asked_unit(text, plain, question) or plain
    changed = [n for n in plain if _CHANGED_TO.search(text[max(0, n.start - 70) : n.start])]
    if changed and not question.asks_change:
        return changed[-1]
    if head:
        return plain[0]
    stated = [n for n in plain if _RESULT_VERB.search(text[max(0, n.start - 60) : n.start])] or plain
    fresh = [n for n in stated if n.value not in question.numbers] or stated
    return fresh[-1]


def _compares(text: str, number: Number) -> bool:
    """Whether a percentage or a factor relates the answer to something else: 85% of $800, 3 times as many."""
    after = _COMPARED.match(text, number.end)
    return after is not None and (number.percent or not after[0].strip().startswith("of"))


def _special(text: str, numbers: Sequence[Number], question: Question) -> Number | None:
    """The number that a question of its own kind asks for: by how much something changes, in which year it was."""
    if question.asks_change:
        by = [number for number in numbers if _BY_NUMBER.search(text[: number.start])]
        return by[-1] if by else None
    years = [number for number in numbers if _YEAR.fullmatch(number.text)] if question.asks_year else []
    if not years:
        return None
    starts = [0, *(year.end for year in years)]
    before = [{word_key(w) for w in stems(text[at : year.start])} for at, year in zip(starts, years, strict=False)]
    asked = {word_key(word) for word in question.words}
    overlap = [len(keys & asked) + 2 * (question.last in keys) for keys in before]
    return years[overlap.index(max(overlap))]


def _after_conclusion(text: str, numbers: Sequence[Number]) -> list[Number]:
    """The numbers after the last `so` of a sentence: "3 hours are 180 minutes and half an hour is 30, so 210"."""
    cues = list(_CONCLUSION.finditer(text))
    return [number for number in numbers if number.start >= cues[-1].end()] if cues else []


def _after_condition(text: str, numbers: Sequence[Number]) -> list[Number]:
    """The numbers of the main clause of a sentence that begins with a reason: "Since 9 are left, she makes 18"."""
    condition = _CONDITION.match(text)
    return [] if condition is None else [number for number in numbers if number.start >= condition.end()]


def _of_the_subject(text: str, numbers: Sequence[Number], question: Question) -> list[Number]:
    """Of a sentence about several things (a hexagon has 6 sides, a pentagon 5), the numbers of what is asked about."""
    subjects = list(_SUBJECT.finditer(text))
    if len(subjects) < 2:
        return []
    kept: list[Number] = []
    for subject, following in zip(subjects, [*subjects[1:], None], strict=True):
        if stem(subject[1].lower()) in question.words:
            end = len(text) if following is None else following.start()
            kept += [number for number in numbers if subject.start() <= number.start < end]
    return kept
