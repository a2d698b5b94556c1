r"""Does a text answer with a given word or name?

    The capital of France is Paris.    It's Paris!    Paris, France    **Paris**    After Sunday comes Monday.     yes
    Lyon. It is larger than Paris.     not Paris      Paris or Lyon    New Delhi... no, sorry: Mumbai.             no

Words are compared without case, accents and articles, and only whole. A sentence gives the word where it says so (it is
the word; the word is what was asked) or where it speaks of what was asked and names the word as no one else does. The
first answer counts; a correction overrules it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from posttrain_diag.tasks.verifiers.reading.marks import Mark, after_mark
from posttrain_diag.tasks.verifiers.reading.question import Question, stems, unaccented
from posttrain_diag.tasks.verifiers.reading.sentences import (
    CONCLUDES,
    DENIED_AFTER,
    DENIED_BEFORE,
    HEDGES,
    REFUSES,
    Sentence,
    after_correction,
    second_thought,
    sentences,
)

MAX_WORDS = 12
"""A longer gold is a text of its own: it must stand alone or be marked."""

_ARTICLE = r"(?:the|an?|le|la|les|l['’]|el|los|las|der|die|das|il|lo|gli|o|os|as)"
_ARTICLE_FIRST = re.compile(rf"^{_ARTICLE}\s+(?=\S)|^l['’](?=\w)", re.IGNORECASE)
_ARTICLE_LEFT = re.compile(rf"^\s*{_ARTICLE}\s*$", re.IGNORECASE)
_PASSIVE = re.compile(r"\b(?:is|are|was|were|been|be)\s+(?:\w+\s+){1,3}by\s+(?:the\s+|an?\s+)?[\"'(]*$", re.IGNORECASE)
_MARKUP = re.compile(r"\*{1,3}|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)|`+|~~|^\s*#{1,6}\s+|\$", re.MULTILINE)
_LATEX = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|boxed|fbox|mbox|emph)\s*\{([^{}]*)\}")
_TAGS = re.compile(r"</?[A-Za-z_][\w-]{0,30}>")
_QUOTES = str.maketrans({c: '"' for c in "“”„«»‟"} | {c: "'" for c in "’‘‚`´"} | dict.fromkeys("‐‑‒–—−", "-"))
_SPACE = re.compile(r"[ \t\u00a0\u202f\u2009]+")
_LEAD = re.compile(
    r"""^[\W_]*(?:(?:sure|certainly|of\scourse|okay|ok|well|yes|yeah|right|great|good|absolutely|alright|indeed|so|thus|hence|
    therefore|then|answer|ans|a|final\sanswer|the\sanswer|my\sanswer|result|response|i\sthink|i\sbelieve|i(?:'d|\swould)\s(?:say|guess|go\swith)|
    i(?:'m|\sam)\s(?:pretty\s|quite\s|fairly\s)?(?:sure|certain)(?:\sthat)?|probably|clearly|obviously|definitely|surely|simply|
    perhaps|maybe|possibly|now|today|currently|nowadays|in\s(?:short|conclusion|summary)|the\scorrect\s(?:answer|word|name)|here(?:\sis|'s)(?:\sthe)?(?:\sanswer)?|
    good\squestion|great\squestion|actually|it\sis\scalled|it'?s\scalled|called|namely|also|donc|alors|also|bien\ssûr|claro|natürlich|
    answer\sis|the\sanswer\sis|reply|output)
    [\s,:;!.=-]+)+""",
    re.IGNORECASE | re.VERBOSE,
)
_IT_IS = re.compile(
    r"^(?:(?:it|that|this|he|she|they|these|those|there|which|c'est|es|das|ce|esto|eso|isso|questo|это|c')\s*"
    r"(?:'s|'re|\s?is|\s?are|\s?was|\s?were|\s?would be|\s?must be|\s?should be|\s?has to be|\s?will be|\s?can only be|\s?could be|"
    r"\s?might be|\s?may be|est|ist|es|è|é)\b|c'est\b|es ist\b|das ist\b|i(?:t|s)'s\b)\s*"
    r"(?:(?:called|named|known as|indeed|actually|definitely|clearly|of course|simply|most likely|probably|certainly|the word|"
    r"the name|the city of|the color|the colour)\s+)*",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?:\b(?:is|are|was|were|be|been|being|becomes?|remains?|means?|equals?|comes?|follows?|called|named|named after|known as|titled|"
    r"spelled|written as|say|says|said|chose|choose|pick|select|est|sont|était|s'appelle|ist|sind|war|heißt|lautet|es|son|fue|se llama|"
    r"è|sono|era|si chiama|é|são|foi|chama-se|это|является|är|er|on|zijn|heet|jest|to)\b|\b(?:stands?|refers?|belongs?|goes|known) (?:for|to|as)\b|\b(?:denotes?|represents?|signif(?:y|ies))\b|[:=→]|->|=>|'s\b)\s*$",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:\b(?:indeed|actually|definitely|clearly|of course|simply|most likely|probably|certainly|just|now|currently|therefore|thus|"
    r"then|also|generally|usually|typically|commonly|known as|called|named|the (?:word|name|city|town|country|color|colour|letter|"
    r"symbol|term|planet|element|animal|state|river|language|day|month|season|number|answer|beautiful|famous|great|gas|metal)(?: of)?|"
    r"considered|believed to be|said to be|thought to be|to be|as|a|an|the|le|la|les|l'|el|los|las|der|die|das|il|lo|o|os|as|"
    r"exactly|by|from|in|with|on|at)\s+|[\"'(\[]\s*|l')$",
    re.IGNORECASE,
)
_IN_FRONT = re.compile(
    r"\b(?:than|like|such as|including|unlike|where|whose|from|near|alongside|besides|beside|outside|compared (?:to|with)|"
    r"opposite of|next to|close to|similar to|as (?:big|large|much|many|well) as|confused with|mistaken for|about|for example|"
    r"e\.g\.|of|in|with|to|by|via|for|between|at|on|before|after|around)\s+(?:the\s+|a\s+|an\s+)?[\"'(]*$",
    re.IGNORECASE,
)
_NAMING_OF = re.compile(
    r"\b(?:city|town|name|word|color|colour|letter|state|country|island|planet|number|kingdom|republic|"
    r"capital|bay|gulf|sea|lake|river)\s+of\s+[\"'(]*$",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"\s*(?:,\s*(?:but|and|yet|while|whereas|although|though|however|so|because|since|as|not|which|who|where)\b|;|\s-\s|"
    r"\b(?:but|whereas|while|although|though|because|since|however|yet)\b)\s*",
    re.IGNORECASE,
)
_REASONING = re.compile(r"\b(?:because|since|although|though|while|whereas|which|who|where|as)\b", re.IGNORECASE)
_CONTRAST = re.compile(r"\b(?:but|yet|however)\b", re.IGNORECASE)
_HEAD_END = re.compile(
    r"[,;:()\[\]]|\s-\s|\s(?:because|since|which|who|where|as|while|and is|and has|and it|whose|with|located|in the|for)\s",
    re.I,
)
_ALTERNATIVE = re.compile(
    r"^[\s,\"')]*(?:\b(?:or|oder|ou|o|или)\b|/)\s*(?!so\b|less\b|more\b|rather\b|not\b|later\b)(?=\w|['\"])",
    re.IGNORECASE,
)
_ALTERNATIVE_BEFORE = re.compile(
    r"(?:\b(?:or|oder|ou|или)\b|/)\s*(?:maybe\s|perhaps\s|possibly\s|it\sis\s|it's\s|the\s|a\s|an\s|[\"'(])*$",
    re.IGNORECASE,
)
_ADDED = re.compile(
    r"^\s*(?:,\s*)?(?:and|&|und|et|y)\s+(?!(?:it|its|it's|is|has|was|they|their|he|she|you|we|there|this|that|these|then|not|the|so|also|"
    r"can|will|are|were|have|had|i|in|for|as|one|often|usually|many|lies|sits|stands|serves|comes)\b)(?=\w)",
    re.IGNORECASE,
)
_ADDED_BEFORE = re.compile(r"(?:\w+)\s+(?:and|&|und|et)\s+(?:the\s|a\s|an\s)?[\"'(]*$", re.IGNORECASE)
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|do|does|did|can|could|will|would|may|might|must|should|isn't|aren't|wasn't|est|sont|ist|"
    r"sind|es|son|è|sono|é|são|\w+(?:ed|ing)|lies|lives|comes|goes|makes|gives|takes|follows|means|wrote|needs|know|knows|think|"
    r"like|see|saw|let|call|called|depends|works|contains|found)\b|'(?:s|re|m|ve|d|ll|t)\b",
    re.IGNORECASE,
)
_INTERJECTION = re.compile(
    r"^\W*(?:sure|certainly|of course|okay|ok|well|great|good|thanks?|thank you|hello|hi|hey|absolutely|alright|right|indeed|yes|"
    r"no|hmm+|let|here|answer|explanation|note|reason|solution|final answer|step|question|great question|good question|"
    r"interesting|easy|simple|no problem|my pleasure|response)\b",
    re.IGNORECASE,
)
_QUALIFIER_BEFORE = re.compile(
    r"\b(?:new|north|northern|south|southern|east|eastern|west|western|old|upper|lower|great|greater|little|port|san|santa|saint|"
    r"st\.?|el|los|las|mid|anti|non|ex|pre|half)[\s-]+$",
    re.IGNORECASE,
)
_GENERIC = frozenset(
    "city town ocean sea river lake mount mt mountain mountains island islands desert street state republic kingdom county province "
    "president king queen sir dr mr mrs ms professor lady lord saint prince princess emperor the planet capital country "
    "district metropolitan territory".split()
)
_NAME_PARTICLES = frozenset("de da di du van von der den la le del della bin al el ibn y e".split())


_KINDS = {"mount": "mountain", "mt": "mountain", "mountain": "mountain"} | {
    kind: kind for kind in "lake river ocean sea desert island president king queen planet street".split()
}
"""Words of a name that a question asks for by themselves."""


class Gives(Enum):
    """How plainly a sentence gives the wanted word."""

    NO = 0
    WEAKLY = 1
    """It speaks of what was asked and names the word."""
    PLAINLY = 2
    """It says that this is it."""
    OTHER = 3
    """It answers with something else."""
    OPEN = 4
    """It names the word as one of several."""


@dataclass(frozen=True)
class Wanted:
    """A gold word, ready to be looked for."""

    core: str
    """Folded, without an article."""
    pattern: re.Pattern[str]
    surname: re.Pattern[str] | None
    """The last name of a gold that is a full name."""
    words: int
    kinds: frozenset[str]
    """Words for what the name names, which the question has: they may be left out, or added."""


def plain(text: str) -> str:
    """A text without markup, accents and special quotes; case and punctuation stay."""
    if "\\" in text:
        for _ in range(3):
            text = _LATEX.sub(r"\1", text)
        text = text.replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "").replace("\\ ", " ")
    text = _TAGS.sub(" ", _MARKUP.sub("", text)) if re.search(r"[*_`~#$<]", text) else text
    text = unaccented(text.translate(_QUOTES))
    return _SPACE.sub(" ", text).strip()


def fold_answer(text: str) -> str:
    """A short answer as it is compared: plain, no case, no article, no punctuation around it."""
    core = plain(text).strip(" \t\r\n.,;:!?\"'()[]{}<>*").casefold()
    core = _ARTICLE_FIRST.sub("", core)
    core = re.sub(r"[\s-]+", " ", core)
    return re.sub(r"(?<=\w)\.(?=\w\b)|(?<=\b\w)\.(?=\s|$)", "", core)


@lru_cache(maxsize=4096)
def wanted_word(gold: str, asked: frozenset[str] = frozenset()) -> Wanted:
    """A gold answer as something that can be looked for in texts.

    Args:
        gold: the answer.
        asked: content words of the question: asked for a mountain, "Everest" is "Mount Everest".
    """
    kinds = frozenset(word for word, kind in _KINDS.items() if kind in asked)
    cased = _ARTICLE_FIRST.sub("", plain(gold).strip(" \t\r\n.,;:!?\"'()[]{}<>*")) or plain(gold).strip()
    cased = without_kind(cased, kinds)
    core = fold_answer(cased) or cased.casefold()
    short = len(cased) <= 2
    pieces = [re.escape(piece) for piece in re.split(r"[\s-]+", cased) if piece]
    left = r"(?<![\w])" if cased[:1].isalnum() else ""
    right = r"(?![\w])(?!'s\b(?! the| it| a| an| called|\s*$))(?!-\w)" if cased[-1:].isalnum() else ""
    named = "|".join(sorted(kinds))
    before, after = (rf"(?:(?:{named})\.?\s+)?", rf"(?:\s+(?:{named}))?") if kinds else ("", "")
    body = r"[\s-]+".join(pieces)
    pattern = re.compile(f"{left}{before}{body}{after}{right}", 0 if short else re.IGNORECASE)
    parts = cased.split()
    surname = None
    if (
        2 <= len(parts) <= 4
        and all(part[:1].isupper() or part.lower() in _NAME_PARTICLES for part in parts)
        and len(parts[-1]) > 3
    ):
        surname = re.compile(rf"(?<!\w){re.escape(parts[-1])}(?!\w)")
    return Wanted(core, pattern, surname, len(pieces), kinds)


def without_kind(text: str, kinds: frozenset[str]) -> str:
    """A name without the word for what it names: Mount Everest, Everest; Pacific Ocean, Pacific."""
    words = text.split()
    if len(words) > 1 and words[0].lower().rstrip(".") in kinds:
        words = words[1:]
    if len(words) > 1 and words[-1].lower() in kinds:
        words = words[:-1]
    return " ".join(words) if kinds else text


def is_word(text: str, wanted: Wanted) -> bool:
    """Whether a text is the wanted word and nothing else."""
    return without_kind(fold_answer(text), wanted.kinds) == wanted.core


def gives_word(text: str, marks: Sequence[Mark], question: Question, wanted: Wanted) -> bool:
    """Whether a final part answers with the wanted word.

    Args:
        text: the final part of a completion.
        marks: the answers it marks, left to right.
        question: what was asked.
        wanted: the gold word.
    """
    if is_word(text, wanted):
        return True
    marked = _from_marks(text, marks, question, wanted)
    if marked is not None:
        return marked
    return _from_sentences(text, question, wanted)


def _from_marks(text: str, marks: Sequence[Mark], question: Question, wanted: Wanted) -> bool | None:
    for i in range(len(marks) - 1, -1, -1):
        mark = marks[i]
        if not mark.closed and mark.kind == "boxed":
            return False
        if any(other.start < mark.end for other in marks[i + 1 :]):
            continue
        rest, corrected = after_correction(plain(after_mark(text, mark)))
        again = rest if corrected else second_thought(rest)
        if again is not None:
            return _from_sentences(again, question, wanted)
        parts = sentences(plain(mark.text))
        if not parts or (parts[0].asks and len(parts) == 1):
            continue
        if is_word(mark.text, wanted):
            return True
        if mark.kind in ("boxed", "tag"):
            return _marked(plain(mark.text), question, wanted)
        return _marked(parts[0].text, question, wanted) or (
            len(parts) > 1 and not _is_fragment(parts[0].text) and _from_sentences(plain(mark.text), question, wanted)
        )
    return None


def _marked(text: str, question: Question, wanted: Wanted) -> bool:
    """Whether what is marked is the word: its head names it, or it is a sentence that says so."""
    stated = _clauses(text, question, wanted)
    if stated is Gives.PLAINLY:
        return True
    if stated is Gives.OPEN or len(text.split()) > 40:
        return False
    head = _HEAD_END.split(text, maxsplit=1)[0]
    found = _found(head, wanted, question)
    return bool(found) and len(head.split()) <= wanted.words + 5 and all(_usable(head, m, question) for m in found)


def _from_sentences(text: str, question: Question, wanted: Wanted) -> bool:
    text, corrected = after_correction(plain(text))
    if is_word(text, wanted):
        return True
    given = Gives.NO
    parts = sentences(text)
    stating = [part for part in parts if not part.asks]
    for i, part in enumerate(stating):
        verdict = _sentence(part, question, wanted, first=i == 0)
        if verdict is Gives.NO:
            continue
        concludes = CONCLUDES.search(part.text) is not None
        if given is Gives.NO:
            given = verdict
        elif verdict is Gives.OTHER and given in (Gives.PLAINLY, Gives.WEAKLY):
            if concludes or (given is Gives.WEAKLY and i == len(stating) - 1) or _names_focus(part.text, question):
                given = Gives.OTHER
        elif verdict is Gives.PLAINLY and (
            given in (Gives.WEAKLY, Gives.OPEN) or concludes or _says_focus(part.text, question)
        ):
            given = Gives.PLAINLY
        elif verdict is Gives.WEAKLY and given in (Gives.OTHER, Gives.OPEN) and concludes:
            given = Gives.WEAKLY
    return given in (Gives.PLAINLY, Gives.WEAKLY)


def _names_focus(text: str, question: Question) -> bool:
    return (
        bool(question.focus) and question.focus <= set(stems(text)) and re.search(r"\b(?:is|are)\b", text) is not None
    )


def _says_focus(text: str, question: Question) -> bool:
    return bool(question.focus & set(stems(text)))


def _sentence(part: Sentence, question: Question, wanted: Wanted, *, first: bool) -> Gives:
    text = part.text
    if REFUSES.search(text):
        return Gives.NO
    if not wanted.pattern.search(text) and not (wanted.surname and question.person and wanted.surname.search(text)):
        return _other(text, question, first=first)
    if HEDGES.search(text):
        return Gives.OPEN
    return _clauses(text, question, wanted)


def _clauses(text: str, question: Question, wanted: Wanted) -> Gives:
    """What the clauses of a sentence give; what follows a `but` overrules what comes before."""
    given = Gives.NO
    at = 0
    subordinate = contrast = False
    for end in [*_CLAUSE.finditer(text), None]:
        clause = text[at : end.start() if end else len(text)]
        verdict = _clause(clause, question, wanted, subordinate=subordinate, before=text[:at])
        if verdict in (Gives.PLAINLY, Gives.OPEN) or (verdict is Gives.WEAKLY and given in (Gives.NO, Gives.WEAKLY)):
            if given in (Gives.NO, Gives.WEAKLY) or contrast or verdict is Gives.PLAINLY and given is not Gives.OTHER:
                given = verdict
        elif verdict is Gives.OTHER and (given is Gives.NO or contrast):
            given = Gives.OTHER
        if end is not None:
            subordinate = _REASONING.search(end[0]) is not None
            contrast = _CONTRAST.search(end[0]) is not None
            at = end.end()
            if re.search(r"\bnot\b", end[0], re.IGNORECASE):
                at = end.start() + end[0].lower().index("not")
    return given


def _clause(text: str, question: Question, wanted: Wanted, *, subordinate: bool, before: str) -> Gives:
    found = _found(text, wanted, question)
    if not found:
        return Gives.NO if subordinate or not text.strip() else _other(text, question, first=not before)
    verdict = Gives.NO
    for match in found:
        if _denied(text, match):
            continue
        if _open(text, match):
            return Gives.OPEN
        if not _usable(text, match, question):
            continue
        one = _position(text, match, question, wanted, subordinate=subordinate, before=before)
        if one is Gives.PLAINLY:
            return one
        verdict = one if verdict is Gives.NO else verdict
    return verdict


def _found(text: str, wanted: Wanted, question: Question) -> list[re.Match[str]]:
    found = list(wanted.pattern.finditer(text))
    if not found and wanted.surname is not None and question.person:
        found = list(wanted.surname.finditer(text))
    return found[:8]


def _denied(text: str, match: re.Match[str]) -> bool:
    return (
        DENIED_BEFORE.search(text[max(0, match.start() - 40) : match.start()]) is not None
        or DENIED_AFTER.match(text[match.end() : match.end() + 60]) is not None
    )


def _open(text: str, match: re.Match[str]) -> bool:
    """Whether the word is one of several alternatives, or one of several things together."""
    before, after = text[max(0, match.start() - 40) : match.start()], text[match.end() :]
    return (
        _ALTERNATIVE.match(after) is not None
        or _ALTERNATIVE_BEFORE.search(before) is not None
        or _ADDED.match(after) is not None
    )


def _usable(text: str, match: re.Match[str], question: Question) -> bool:
    """Whether the word stands for itself, and is not a part of another name (Paris Hilton, New Mexico)."""
    before, after = text[: match.start()], text[match.end() :]
    if _denied(text, match) or _open(text, match) or _QUALIFIER_BEFORE.search(before):
        return False
    if not match[0][:1].isupper():
        return True
    following = re.match(r"[ ]([A-Z][a-z]+)", after)
    if following is not None and before.strip():
        word = following[1].lower()
        return word in _GENERIC or question.person or stems(word)[:1] == [] or set(stems(word)) <= question.words
    if following is not None:
        word = following[1].lower()
        return word in _GENERIC or question.person or set(stems(word)) <= question.words
    return True


def _position(
    text: str, match: re.Match[str], question: Question, wanted: Wanted, *, subordinate: bool, before: str
) -> Gives:
    """How a clause gives a word, by where the word stands in it."""
    left = text[: match.start()]
    body = _LEAD.sub("", left)
    body = _ARTICLE_LEFT.sub("", _IT_IS.sub("", body))
    if not body.strip(" \"'([-:") and not subordinate:
        return _as_subject(text, match, question, is_it=bool(left.strip()))
    trimmed = left
    for _ in range(4):
        shorter = _FILLER.sub("", trimmed)
        if shorter == trimmed:
            break
        trimmed = shorter
    if _COPULA.search(trimmed) or _COPULA.search(left) or _PASSIVE.search(left):
        if subordinate and not _says_focus(text, question):
            return Gives.NO
        return Gives.PLAINLY
    overlap = set(stems(text)) & (question.words - set(stems(match[0])))
    in_front = _IN_FRONT.search(left) is not None and not _NAMING_OF.search(left)
    if not overlap or (in_front and not question.place) or subordinate and not (question.focus & overlap):
        return Gives.NO
    enough = question.focus & overlap or 2 * len(overlap) >= len(question.words)
    if not enough or _rival_first(left, question):
        return Gives.NO
    return Gives.WEAKLY


def _rival_first(left: str, question: Question) -> bool:
    """Whether another answer stands before the word: a first item of a list (Nice, Paris), another complement."""
    items = left.split(",")
    if (
        len(items) > 1
        and not _VERB.search(left)
        and not set(stems(items[0])) & question.words
        and len(items[0].split()) <= 4
    ):
        return any(char.isalpha() for char in items[0])
    return _other(left, question, first=True) is Gives.OTHER


def _as_subject(text: str, match: re.Match[str], question: Question, *, is_it: bool) -> Gives:
    """The word opens the clause (after `it is`, `sure`): it is the whole of it, or what the clause is about."""
    after = text[match.end() :].strip(" \"'*)")
    if not after or is_it or re.match(r"^[,:;()\[.!-]", after):
        return Gives.PLAINLY
    overlap = set(stems(after)) & question.words
    if _VERB.search(after):
        return (
            Gives.PLAINLY
            if overlap & question.focus or 2 * len(overlap) >= len(question.words)
            else (Gives.WEAKLY if overlap else Gives.NO)
        )
    return Gives.WEAKLY if overlap or len(after.split()) <= 3 else Gives.NO


def _is_fragment(text: str) -> bool:
    return not _VERB.search(text) and len(text.split()) <= 6


def _other(text: str, question: Question, *, first: bool) -> Gives:
    """Whether a sentence without the word answers with another one."""
    body = _LEAD.sub("", text).strip()
    if not body or DENIED_AFTER.search(body) or re.search(r"\bnot\b|n't\b", body):
        return Gives.NO
    if _INTERJECTION.match(body):
        return Gives.NO
    if first and _is_fragment(body) and not (set(stems(body)) & question.words):
        return Gives.OTHER
    said = _IT_IS.match(body)
    if said is not None:
        complement = _HEAD_END.split(body[said.end() :], maxsplit=1)[0].split()
        named = bool(complement) and len(complement) <= 4 and (complement[0][:1].isupper() or len(complement) <= 2)
        return Gives.OTHER if named else Gives.NO
    if question.focus and question.focus & set(stems(body)):
        copula = re.search(r"\b(?:is|are|was|were|est|ist|es|è|é)\b\s+(?:called\s+|named\s+|the\s+|a\s+)*(\w+)", body)
        if copula is not None and question.focus & set(stems(body[: copula.start()])):
            complement = set(stems(body[copula.end(1) - len(copula[1]) :]))
            return Gives.OTHER if complement and not complement <= question.words else Gives.NO
    return Gives.NO


def said_word(text: str, marks: Sequence[Mark]) -> str | None:
    """What a text that does not give the wanted word says instead, where that is short enough to be told."""
    said = plain(marks[-1].text if marks else text)
    first = sentences(said)[:1]
    return first[0].text if first and len(first[0].text) <= 80 else None
