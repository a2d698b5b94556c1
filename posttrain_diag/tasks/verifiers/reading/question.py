"""What a prompt says about its answer: the words it asks with, its numbers, its unit."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from posttrain_diag.tasks.verifiers.numbers import iter_numbers
from posttrain_diag.tasks.verifiers.reading.listing import words
from posttrain_diag.tasks.verifiers.reading.number_words import iter_number_words
from posttrain_diag.tasks.verifiers.reading.sentences import sentences
from posttrain_diag.tasks.verifiers.reading.units import Measure, asked_measure

MAX_CHARS = 4000
"""Of longer prompts the end is read: the question stands there."""
_STOP_WORDS = frozenset(
    words(
        "a an the is are was were be been being am do does did done has have had will would can could shall "
        "should may might must of in on at to for from by with as into about over under between per than then "
        "that this these those it its they them their there here he she his her you your i my me we our us and or "
        "not no nor but if so what which who whom whose when where why how much many one ones some any all each "
        "every other another please answer answers reply give only just name write yes true false following "
        "question questions correct get gets got make makes say says les des une est sont que qui quel quelle "
        "dans pour der die das ein eine ist sind wie was wer und von den dem el los las una es son cual del por "
        "il lo gli che di da o os um uma"
    )
)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+", re.UNICODE)
_SPECIAL = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ß": "ss"})
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_FOCUS = re.compile(
    r"\b(?:what|which|who|name|give|state|quel(?:le)?|welche[rs]?|cuál|qual)\b(?:\s+(?:is|are|was|were|'s|one|of|these|"
    r"those|est|ist|es|è|é))*\s+(?:the\s+|a\s+|an\s+|la\s+|le\s+|el\s+|die\s+|der\s+|das\s+|il\s+)?"
    r"([^?.,:;\n]{1,60}?)(?=\s(?:is|are|was|were|do|does|did|has|have|had|can|will|would)\b|[?.,:;\n]|$)",
    re.IGNORECASE,
)

_NEGATIVE = re.compile(
    r"\b(?:not|except|odd one out|doesn't|isn't|aren't|don't|never|incorrect|false|untrue)\b", re.IGNORECASE
)
_ASKS_CHANGE = re.compile(r"\bby how (?:many|much)\b|\bby what (?:percent\w*|amount|factor)\b", re.IGNORECASE)
_LABEL = re.compile(r"(?:^|\n)[ \t*#]*(?:question|q|problem)[ \t]*\d*[ \t*]*:", re.IGNORECASE)
_ORDINAL = re.compile(
    r"\b(?:places?|positions?|rank\w*|floor|century|date|day|grade|finish\w*|birthday|anniversary|percentile|number|"
    r"\d*n?th|nth|term|row|street|avenue|which)\b",
    re.IGNORECASE,
)
_ASKS_YEAR = re.compile(r"\b(?:what|which) year\b|^\W*when\b|\byear of\b", re.IGNORECASE)
_ASKS_NOW = re.compile(r"\b(?:is|are|does|do|has|have)\b[^.?!]*\b(?:now|currently|today|at present)\b", re.IGNORECASE)
_PERCENT = re.compile(r"%|\bper ?cent|\bprozent|pour cent|por ciento", re.IGNORECASE)
_PERCENT_OF = re.compile(r"(?:%|per ?cent)\s*of\s+(?:a\s|the\s)?[$€£]?\d", re.IGNORECASE)
_ASKS_PERCENT = re.compile(
    r"\b(?:what|which|how many|how much|in|as an?|by how (?:many|much)|the|whole|nearest|find|calculate|"
    r"give) (?:\w+ ){0,2}"
    r"(?:%|per ?cent(?:age)?)|\bprozent\b|\brate\?|"
    r"\b(?:pass|interest|success|failure|growth|tax|tip|unemployment) rate|\b(?:chance|probability|likelihood|"
    r"proportion|share)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Question:
    """What is asked, as far as a reader of answers needs it."""

    words: frozenset[str]
    """Stems of its content words."""
    focus: frozenset[str]
    """Stems of the words that say what is asked for: `capital` of "What is the capital of France?"."""
    numbers: frozenset[Fraction]
    """Numbers it gives: they are less likely to be the answer."""
    asks_percent: bool
    """It asks for a percentage."""
    percent: bool
    """It speaks of percent, so that a percent sign may be left out or added: other than in "15% of 60"."""
    measure: Measure | None
    """The unit it asks for."""
    asks_change: bool
    """It asks by how much something changes."""
    ordinal: bool
    """It asks for a place in an order: the 3rd."""
    asks_year: bool
    """It asks for a year."""
    asks_now: bool
    """It asks how things stand now, and speaks of other times."""
    place: bool
    """It asks where, when, or by or with what: the answer may follow a preposition."""
    person: bool
    """It asks who."""
    negative: bool
    """It asks for what is not so: which is NOT a mammal?"""
    last: str
    """Key of its last content word, most often the verb: `end` of "When did the war end?"."""
    text: str
    """The question itself: the last sentence that asks, or the whole."""


@lru_cache(maxsize=4096)
def question_of(prompt: str) -> Question:
    """What a prompt asks."""
    text = prompt[-MAX_CHARS:]
    labels = list(_LABEL.finditer(text))
    text = text[labels[-1].start() :] if labels else text  # examples before it are other questions
    asked = [part.text for part in sentences(text) if part.asks]
    core = asked[-1] if asked else text
    focus = _FOCUS.search(core)
    focus_words = stems(focus[1])[:3] if focus else []
    numbers = {n.value for n in (*iter_numbers(text), *iter_number_words(text)) if n.value is not None}
    return Question(
        words=frozenset(stems(core)),
        focus=frozenset(focus_words[:2]),
        numbers=frozenset(numbers),
        asks_percent=_ASKS_PERCENT.search(core) is not None,
        percent=_PERCENT.search(text) is not None and _PERCENT_OF.search(core) is None,
        measure=asked_measure(text),
        asks_change=_ASKS_CHANGE.search(core) is not None,
        ordinal=_ORDINAL.search(core) is not None,
        asks_year=_ASKS_YEAR.search(core) is not None,
        asks_now=_ASKS_NOW.search(core) is not None,
        place=re.search(r"\b(?:where|when|whereabouts|(?:in|on|at|by|with|from|to) (?:which|what|whom))\b", core, re.I)
        is not None,
        person=re.search(r"\bwho(?:m|se)?\b", core, re.I) is not None,
        negative=_NEGATIVE.search(core) is not None,
        last=word_key(stems(core)[-1]) if stems(core) else "",
        text=core,
    )


def stems(text: str) -> list[str]:
    """The content words of a text, without accents, case and plural endings."""
    return [stem(word) for word in WORD.findall(unaccented(text).lower()) if word not in _STOP_WORDS]


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A word without its plural ending: lives, live; cities, city."""
    word = word.removesuffix("'s").removesuffix("’s")
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@lru_cache(maxsize=2048)
def unaccented(text: str) -> str:
    """The text without accents, in its own case."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed)).translate(_SPECIAL)


@lru_cache(maxsize=8192)
def word_key(word: str) -> str:
    """What the forms of a word share: sink, sank and sunk; live, lives and living; safe and safely."""
    for ending in ("ing", "ed", "ly"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word.removesuffix(ending)
            break
    word = word.rstrip("e")
    if len(word) < 4 or not word.isalpha():
        return word
    consonants = re.sub(r"(.)\1", r"\1", word[0] + re.sub("[aeiou]", "", word[1:]))
    return consonants if len(consonants) >= 3 else word
