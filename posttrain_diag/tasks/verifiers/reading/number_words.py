"""Numbers written as English words: `twelve`, `twenty-five`, `one hundred and five`, `two and a half`, `twice`.

A bare `one` is a pronoun more often than a number and is left out, and so are ordinals (`third`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from posttrain_diag.tasks.verifiers.numbers import Number
from posttrain_diag.tasks.verifiers.reading.listing import words

_SMALL = {
    word: value
    for value, word in enumerate(
        words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
}
_TENS = {
    word: 10 * (i + 2) for i, word in enumerate(words("twenty thirty forty fifty sixty seventy eighty ninety"))
} | {"fourty": 40}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_TIMES = {"once": 1, "twice": 2, "thrice": 3}
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7} | {
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
}
_PART_NAMES = {**_PARTS, **{f"{name}s": size for name, size in _PARTS.items() if name != "halves"}}
_WORD = "|".join(
    sorted((*_SMALL, *_TENS, *_SCALES, *_TIMES, *_PART_NAMES, "a", "an", "and", "point"), key=len, reverse=True)
)
_RUN = re.compile(
    rf"(?<![\w'-])(?:(?:minus|negative)\s+)?(?:{_WORD})(?:(?:\s*-\s*|\s+)(?:{_WORD}))*(?![\w-])(?!'\w)", re.IGNORECASE
)
_TOKEN = re.compile(r"[a-z]+", re.IGNORECASE)
HINT = re.compile(
    r"zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|teen|ty|hundred|thousand|million|billion|"
    r"trillion|dozen|once|twice|thrice|hal[fv]|third|quarter|fifth|tenth|ninth|sixth",
    re.IGNORECASE,
)


_SPELLED = {value: word for word, value in {**_TENS, **_SMALL}.items() if word != "fourty"}
_FOREIGN = {
    word: value
    for names in (
        "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
        "sechzehn siebzehn "
        "achtzehn neunzehn zwanzig",
        "zéro - deux trois quatre cinq - sept huit neuf dix onze douze treize quatorze quinze seize - - - vingt",
        "cero - dos tres cuatro cinco seis siete ocho nueve diez - doce trece catorce quince dieciséis "
        "diecisiete dieciocho "
        "diecinueve veinte",
        "- - - tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici "
        "diciassette "
        "diciotto diciannove venti",
        "- - dois três quatro - - sete oito - dez - doze treze quatorze quinze dezesseis dezessete dezoito "
        "dezenove vinte",
        "- - twee drie - vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien zeventien "
        "achttien "
        "negentien twintig",
    )
    for value, word in enumerate(names.split())
    if word != "-"
}
"""Small numbers in other languages, without the words that mean something else in English."""
_FOREIGN_WORD = re.compile(
    rf"(?<![\w'-])(?:{'|'.join(sorted(_FOREIGN, key=len, reverse=True))})(?![\w'-])", re.IGNORECASE
)


def iter_foreign_words(text: str) -> Iterator[Number]:
    """Small numbers that are written as words of other languages."""
    for match in _FOREIGN_WORD.finditer(text):
        yield Number(match[0], Fraction(_FOREIGN[match[0].lower()]), False, match.start(), match.end())


def lone_number_word(text: str) -> Number | None:
    """The number that a text spells and nothing else."""
    words = list(iter_number_words(text)) if HINT.search(text) else []
    return words[0] if len(words) == 1 and words[0].text == text.strip() else None


def spelled(value: int) -> str | None:
    """The English word of a small whole number: 6, six."""
    return _SPELLED.get(value)


def iter_number_words(text: str) -> Iterator[Number]:
    """All numbers of a text that are written as words, left to right."""
    if HINT.search(text) is None:
        return
    for run in _RUN.finditer(text):
        tokens = [(m[0].lower(), run.start() + m.start(), run.start() + m.end()) for m in _TOKEN.finditer(run[0])]
        negative = tokens[0][0] in ("minus", "negative")
        yield from _numbers(text, tokens[negative:], tokens[0][1] if negative else None)


def _numbers(text: str, tokens: list[tuple[str, int, int]], minus_at: int | None) -> Iterator[Number]:
    """The numbers that a run of number words spells, most often one."""
    at = 0
    while at < len(tokens):
        if tokens[at][0] in ("and", "a", "an", "point") and not _opens(tokens, at):
            at += 1
            continue
        value, size = _read([word for word, _, _ in tokens[at:]])
        if value is not None:
            first = tokens[at][1] if minus_at is None or at else minus_at
            last = tokens[at + size - 1][2]
            signed = -value if minus_at is not None and at == 0 else value
            yield Number(text[first:last], signed, False, first, last)
        at += size


def _opens(tokens: list[tuple[str, int, int]], at: int) -> bool:
    """Whether an article begins a number: `a hundred`, `a half`."""
    following = tokens[at + 1][0] if at + 1 < len(tokens) else ""
    return tokens[at][0] in ("a", "an") and (following in _SCALES or following in ("half", "third", "quarter", "fifth"))


def _read(words: list[str]) -> tuple[Fraction | None, int]:
    """(the value of the number at the beginning, how many words it takes); None where it is no number by itself."""
    first = words[0]
    if first in _TIMES:
        return Fraction(_TIMES[first]), 1
    if first in _PART_NAMES:
        return (Fraction(1, 2), 1) if first == "half" else (None, 1)
    value, size = _whole(words)
    decimals = _decimals(words[size:])
    if decimals:
        return value + Fraction(int(decimals), 10 ** len(decimals)), size + 1 + len(decimals)
    if size == len(words):
        return (None, size) if words[:size] in (["one"], ["a"], ["an"]) else (value, size)
    part = _part(words[size:], value)
    if part is not None:
        return value + part[0] if part[1] > 1 else part[0], size + part[1]
    return (None, size) if words[:size] in (["one"], ["a"], ["an"]) else (value, size)


def _decimals(words: list[str]) -> str:
    """The digits after `point`: two point five."""
    if words[:1] != ["point"]:
        return ""
    digits = ""
    for word in words[1:]:
        if _SMALL.get(word, 10) > 9:
            break
        digits += str(_SMALL[word])
    return digits


def _part(words: list[str], value: Fraction) -> tuple[Fraction, int] | None:
    """What a fraction after a whole number adds (`and a half`) or makes of it (`three quarters`)."""
    if words[0] in _PART_NAMES:
        return value / _PART_NAMES[words[0]], 1
    if len(words) >= 3 and words[0] == "and" and words[2] in _PART_NAMES and words[1] in {"a", "an", *_SMALL}:
        return Fraction(_SMALL.get(words[1], 1), _PART_NAMES[words[2]]), 3
    return None


def _whole(words: list[str]) -> tuple[Fraction, int]:
    """The whole number at the beginning of the words and how many it takes."""
    total, current, at = 0, 0, 0
    room = 10**15
    while at < len(words):
        word = words[at]
        if word in _SMALL or word in _TENS:
            value = _SMALL.get(word, _TENS.get(word, 0))
            if at and value >= room:
                break
            current += value
            room = 10 if word in _TENS else 1
        elif word in _SCALES:
            scale = _SCALES[word]
            if at and words[at - 1] == "and":
                break
            if scale == 100 or word == "dozen":
                current = max(current, 1) * scale
                room = 100 if scale == 100 else 1
            else:
                total += max(current, 1) * scale
                current, room = 0, scale
        elif word in ("a", "an") and at == 0:
            current = 0
        elif word == "and" and room >= 100 and _continues(words, at):
            pass
        else:
            break
        at += 1
    return Fraction(total + current if words[0] not in ("a", "an") or at > 1 else 1), max(at, 1)


def _continues(words: list[str], at: int) -> bool:
    """Whether `and` joins a smaller number to hundreds or thousands: `one hundred and five`."""
    following = words[at + 1] if at + 1 < len(words) else ""
    after = words[at + 2] if at + 2 < len(words) else ""
    return (following in _SMALL or following in _TENS) and after not in _PART_NAMES and words[at - 1] in _SCALES
