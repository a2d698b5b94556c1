r"""How does a sentence give a word?

    The capital of France is Paris.   It's Paris.   Paris, France   Paris is the capital.     plainly
    After Sunday comes Monday.                                  weakly: it speaks of what was asked
    The capital of France is Lyon.   Lyon.                                                    another
    Paris or Lyon   Some say Paris.                                                           open
    Lyon is larger than Paris.   not Paris                                                    no

A clause is read by where the word stands in it: at its beginning, after a verb of being, or elsewhere.
"""

from __future__ import annotations

import re
from enum import Enum

from posttrain_diag.tasks.verifiers.reading.listing import words
from posttrain_diag.tasks.verifiers.reading.question import Question, stems
from posttrain_diag.tasks.verifiers.reading.sentences import DENIED_AFTER, DENIED_BEFORE, HEDGES, REFUSES
from posttrain_diag.tasks.verifiers.reading.word_forms import Wanted

_LEAD = re.compile(
    r"""^[\W_]*(?:(?:sure|certainly|of\scourse|okay|ok|well|yes|yeah|right|great|good|absolutely|alright|indeed|so|thus|hence|
    therefore|then|answer|ans|a|final\sanswer|the\sanswer|my\sanswer|result|response|i\sthink|i\sbelieve|
    i(?:'d|\swould)\s(?:say|guess|go\swith)|i(?:'m|\sam)\s(?:pretty\s|quite\s|fairly\s)?(?:sure|certain)(?:\sthat)?|probably|clearly|
    obviously|definitely|surely|simply|perhaps|maybe|possibly|now|today|currently|nowadays|in\s(?:short|conclusion|summary)|
    the\scorrect\s(?:answer|word|name)|here(?:\sis|'s)(?:\sthe)?(?:\sanswer)?|good\squestion|great\squestion|actually|
    it\sis\scalled|it'?s\scalled|called|namely|also|donc|alors|bien\ssûr|claro|natürlich|answer\sis|the\sanswer\sis|reply|output)
    [\s,:;!.=-]+)+""",
    re.IGNORECASE | re.VERBOSE,
)
_IT_IS = re.compile(
    r"""^(?:(?:it|that|this|he|she|they|these|those|there|which|c'est|es|das|ce|esto|eso|isso|questo|это|c')\s*
    (?:'s|'re|\s?is|\s?are|\s?was|\s?were|\s?would\sbe|\s?must\sbe|\s?should\sbe|\s?has\sto\sbe|\s?will\sbe|\s?can\sonly\sbe|
    \s?could\sbe|\s?might\sbe|\s?may\sbe|est|ist|es|è|é)\b|c'est\b|il\ss'agit\sd(?:e\s|')|es\sist\b|das\sist\b)\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_COPULA = re.compile(
    r"(?:\b(?:is|are|was|were|be|been|being|becomes?|remains?|means?|equals?|comes?|follows?|called|named|named after|"
    r"known as|"
    r"titled|spelled|written as|say|says|said|chose|choose|pick|select|use|uses|est|sont|était|s'appelle|ist|sind|war|"
    r"heißt|heisst|lautet|"
    r"es|son|fue|se llama|è|e|sono|era|si chiama|é|são|foi|chama-se|это|является|är|er|on|zijn|heet|jest|to)\b|"
    r"\b(?:stands?|refers?|belongs?|goes|known) (?:for|to|as)\b|\b(?:made|consists?|composed|"
    r"made up)\s(?:\w+ly\s)?(?:of|from|out of)\b|\b(?:denotes?|represents?|signif(?:y|ies))\b|"
    r"[:=→は是为為는은]|->|=>|'s\b)\s*$",
    re.IGNORECASE,
)
_BY = re.compile(r"\bby\s*$", re.IGNORECASE)
_PASSIVE = re.compile(r"\b(?:is|are|was|were|been|be)\s+(?:\w+\s+){1,3}by\s*$", re.IGNORECASE)
_LOCATED = re.compile(
    r"\b(?:is|are|was|were|stands?|lies|sits|located|situated|found|lives?|live|happens?|happened|took place|"
    r"takes place|held|born|"
    r"see|find (?:it|them)|find|go|went|comes?|came|built|made|won|ended|began|started|opened|died|played)\s+"
    r"(?:\w+\s+){0,3}?(?:in|at|on|near|by|from|to|with)\s*$",
    re.IGNORECASE,
)
_PLACE_FIRST = re.compile(r"^\s*(?:in|at|on|near|to|from|by|with)\s*$", re.IGNORECASE)
_FILLER = re.compile(
    r"""(?:\b(?:indeed|actually|definitely|clearly|of\scourse|simply|most\slikely|probably|certainly|just|now|currently|therefore|
    thus|then|also|generally|usually|typically|commonly|officially|known\sas|called|named|considered|believed\sto\sbe|said\sto\sbe|
    thought\sto\sbe|to\sbe|as|a|an|the|le|la|les|el|los|las|der|die|das|il|lo|o|os|exactly|
    (?:word|name|city|town|country|color|colour|letter|symbol|term|planet|element|animal|state|river|language|day|month|season|
    number|answer|gas|metal|bird|fish|plant|instrument|company|continent|ocean|mountain|lake|island|god|goddess|sport|food|drug)(?:\sof)?|
    beautiful|famous|great|mighty|legendary|well-known|popular|modern|big|large|small|little|common|\w+(?:ese|ish|ian|ican|ous|ful)|
    artist|painter|writer|author|poet|playwright|novelist|scientist|physicist|chemist|mathematician|composer|singer|actor|actress|
    president|king|queen|emperor|philosopher|inventor|explorer|general|leader|architect|director|astronaut|engineer|sculptor|
    sir|dr\.?|mr\.?|mrs\.?|ms\.?|prof\.?|professor|captain|lord|lady|dame|mainly|mostly|primarily|largely|chiefly|musician|band|player|footballer|lovely|wonderful)\s+|["'(\[]\s*|l')$""",
    re.IGNORECASE | re.VERBOSE,
)
_BESIDE = re.compile(
    r"\b(?:than|like|such as|including|unlike|where|whose|near|alongside|besides|beside|outside|compared (?:to|with)|"
    r"opposite of|"
    r"next to|close to|similar to|as (?:big|large|much|many|well) as|confused with|mistaken for|about|for example|"
    r"e\.g\.|rival of|"
    r"followed by|ahead of|behind|second to|rival)\s+(?:the\s+|a\s+|an\s+)?[\"'(]*$",
    re.IGNORECASE,
)
"""What only compares with the word, or stands beside it."""
_PREPOSITION = re.compile(
    r"\b(?:of|in|with|to|by|via|for|from|between|at|on|before|after|around)\s+(?:the\s+|a\s+|an\s+)?[\"'(]*$",
    re.IGNORECASE,
)
_DENIED_VERB = re.compile(
    r"(?:\bnot|\bnever|n['’]t)\s(?!only\b|just\b)(?:\w+\s){1,3}(?:by|in|at|on|from|to|as|for|of|with)\s(?:the\s)?[\"'(]*$",
    re.IGNORECASE,
)
"""What denies the word through a verb: was not written by."""
_NEVER_DID = re.compile(
    r"[\"')]*\s(?:never|did\snot|didn['’]t|had\snot|hadn['’]t|has\snot|had\snothing)\b", re.IGNORECASE
)
_BY_ANOTHER = re.compile(r"\bby\s(?:the\s\w+\s)?[A-Z][\w.'-]+(?:\s[A-Z][\w.'-]+)*,")
"""Another name that the sentence gives; what follows the comma only tells of it."""
_TITLED = re.compile(r"^\W*the\s[^,.;:]*[a-z]\s$", re.IGNORECASE)
"""What a name is introduced with: The Italian Renaissance artist Michelangelo."""
_CLAUSE = re.compile(
    r"\s*(?:,\s*(?:but|and|yet|while|whereas|although|though|however|so|because|since(?!\s\d)|as|not|(?:of\s|in\s|to\s|from\s)?(?:which|whom|whose)|who|where)\b|;|\s-\s|"
    r"\b(?:but|whereas|while|although|though|because|since(?!\s\d)|however|yet)\b)\s*",
    re.IGNORECASE,
)
_REASONING = re.compile(
    r"\b(?:because|since|although|though|while|whereas|which|whom|whose|who|where|as)\b", re.IGNORECASE
)
_CONTRAST = re.compile(r"\b(?:but|yet|however)\b", re.IGNORECASE)
HEAD_END = re.compile(
    r"[,;:()\[\]]|\s-\s|\s(?:because|since|which|who|where|as|while|and is|and has|and it|whose|with|located|in the|"
    r"for)\s",
    re.IGNORECASE,
)
"""Where the head of a marked answer ends."""
_ALTERNATIVE = re.compile(
    r"^[\s,\"')]*(?:\b(?:or|oder|ou|o|или)\b|/)\s*(?!so\b|less\b|more\b|rather\b|not\b|later\b|simply\b|just\b)(?=\w|['\"])",
    re.IGNORECASE,
)
_ALTERNATIVE_BEFORE = re.compile(
    r"(?:\b(?:or|oder|ou|или)\b|/)\s*(?:maybe\s|perhaps\s|possibly\s|it\sis\s|it's\s|the\s|a\s|an\s|[\"'(])*$",
    re.IGNORECASE,
)
_ADDED = re.compile(
    r"""^\s*(?:,\s*)?(?:and|&|und|et|y)\s+(?!(?:it|its|it's|is|has|was|they|their|he|she|you|we|there|this|that|these|then|not|the|so|
    also|can|will|are|were|have|had|i|in|for|as|one|often|usually|many|lies|sits|stands|serves|comes)\b)
    (?:the\s|an?\s)?\w+(?:\s\w+)?\s*(?:$|[.,;:!?)])
    | ^\s*,\s*(?!\s|with\b|which\b|who\b|where\b|located\b|in\b|on\b|at\b|from\b|followed\b|an?\b|
    the\b)[^,.;]{1,25}(?:,[^,.;]{1,25})*,?\s+(?:and|&)\s+\w+(?:\s\w+)?\s*(?:$|[.!])""",
    re.IGNORECASE | re.VERBOSE,
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|do|does|did|can|could|will|would|may|might|must|should|isn't|aren't|wasn't|est|sont|ist|"
    r"sind|es|son|è|sono|é|são|\w+(?:ed|ing)|lies|lives|comes|goes|makes|gives|takes|follows|means|wrote|needs?|know|knows|think|"
    r"like|see|saw|let|call|called|depends|works|contains|found)\b|'(?:s|re|m|ve|d|ll|t)\b",
    re.IGNORECASE,
)
_INTERJECTION = re.compile(
    r"^\W*(?:sure|certainly|of course|okay|ok|well|great|good|thanks?|thank you|hello|hi|hey|absolutely|alright|right|"
    r"indeed|yes|"
    r"no|hmm+|let|here|answer|explanation|note|reason|solution|final answer|step|question|great question|good question|"
    r"interesting|easy|simple|no problem|my pleasure|response)\b",
    re.IGNORECASE,
)
_QUALIFIER_BEFORE = re.compile(
    r"\b(?:new|north|northern|south|southern|east|eastern|west|western|old|upper|lower|greater|port|san|santa|saint|"
    r"st\.?|mid|anti|non|ex|pre|half)[\s-]+$",
    re.IGNORECASE,
)
"""What makes another name of a name: New Mexico, South Korea."""
_FOLLOWING_NAME = re.compile(r"[ ]([A-Z][a-z]+)")
_NAME_BEFORE = re.compile(r"(?:^|\s)([A-Z][a-z]+)\s$")
_GENERIC = frozenset(
    words(
        "city town ocean sea river lake mount mt mountain mountains island islands desert street state republic "
        "kingdom county province president king queen sir dr mr mrs ms professor lady lord saint prince princess "
        "emperor the planet capital country district metropolitan territory"
    )
)
_OBJECT = re.compile(
    r"^(?:in\s\w+,?\s)?(?:they|people|we|you|it|he|she|one|[A-Z]\w+)\s(?:\w+\s)?(?!and\b|or\b|is\b|was\b|are\b|not\b|the\b|likes?\b|hates?\b|loves?\b|saw\b|know)"
    r"[a-z]+\s(?:the\s|an?\s)?$",
    re.IGNORECASE,
)
"""A short statement of which the word is the object: `Brazilians speak`, `They make`."""
MAX_FRAGMENT = 4
"""More words than this without a verb are no short answer."""


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


def sentence_gives(text: str, question: Question, wanted: Wanted, *, first: bool) -> Gives:
    """How a sentence gives the wanted word.

    Args:
        text: the sentence, plain.
        question: what was asked.
        wanted: the word.
        first: nothing stands before the sentence: a word alone then is an answer.
    """
    if REFUSES.search(text):
        _, contrast, text = text.rpartition(" but ")
        if not contrast or REFUSES.search(text):
            return Gives.NO
    if not found_in(text, wanted, question):
        return _other(text, question, first=first)
    return Gives.OPEN if HEDGES.search(text) else clauses_give(text, question, wanted, first=first)


def clauses_give(text: str, question: Question, wanted: Wanted, *, first: bool = True) -> Gives:
    """What the clauses of a sentence give; what follows a `but` overrules what comes before.

    Args:
        text: the sentence, plain.
        question: what was asked.
        wanted: the word.
        first: nothing stands before the sentence.
    """
    given = Gives.NO
    at = 0
    subordinate = contrast = False
    for end in [*_CLAUSE.finditer(text), None]:
        clause = text[at : end.start() if end else len(text)]
        verdict = _clause(clause, question, wanted, subordinate=subordinate, first=first and at == 0)
        if verdict in (Gives.PLAINLY, Gives.OPEN) or (verdict is Gives.WEAKLY and given in (Gives.NO, Gives.WEAKLY)):
            if given in (Gives.NO, Gives.WEAKLY) or contrast or (verdict is Gives.PLAINLY and given is not Gives.OTHER):
                given = verdict
        elif verdict is Gives.OTHER and (given in (Gives.NO, Gives.WEAKLY) or contrast):
            given = Gives.OTHER
        if end is not None:
            subordinate = _REASONING.search(end[0]) is not None
            contrast = _CONTRAST.search(end[0]) is not None
            at = end.start() + end[0].lower().index("not") if re.search(r"\bnot\b", end[0], re.I) else end.end()
    return given


def found_in(text: str, wanted: Wanted, question: Question) -> list[re.Match[str]]:
    """Where the word stands in a text; where a person is asked for, the last name will do."""
    found = list(wanted.pattern.finditer(text))
    if not found and wanted.surname is not None and question.person:
        found = list(wanted.surname.finditer(text))
    return found[:8]


def stands_for_itself(text: str, match: re.Match[str], question: Question) -> bool:
    """Whether the word is not denied, no alternative, and no part of another name (Paris Hilton, New Mexico)."""
    before, after = text[: match.start()], text[match.end() :]
    if _denied(text, match) or _open(text, match) or _QUALIFIER_BEFORE.search(before):
        return False
    if not match[0][:1].isupper() or question.person:
        return True
    names = [m[1] for m in (_FOLLOWING_NAME.match(after), _NAME_BEFORE.search(before)) if m is not None]
    if names and names[-1] == before.strip() and not _FOLLOWING_NAME.match(after) and not _is_name_like(names[-1]):
        names.pop()
    return all(_belongs(name, question) for name in names)


def _belongs(name: str, question: Question) -> bool:
    """Whether a capitalised word beside the word does not make another name of it."""
    own = stems(name)
    if name.lower() in _GENERIC or not own or _FILLER.fullmatch(f"{name} ") is not None:
        return True
    return any(word[:4] == own[0][:4] for word in question.words)


def _is_name_like(word: str) -> bool:
    return _INTERJECTION.match(word) is None and _LEAD.match(f"{word} ") is None


def _clause(text: str, question: Question, wanted: Wanted, *, subordinate: bool, first: bool) -> Gives:
    found = found_in(text, wanted, question)
    if not found:
        return Gives.NO if subordinate or not text.strip() else _other(text, question, first=first)
    verdict = Gives.NO
    for match in found:
        if _denied(text, match):
            continue
        if _open(text, match):
            return Gives.OPEN
        if not stands_for_itself(text, match, question):
            continue
        one = _position(text, match, question, subordinate=subordinate, first=first)
        if one is Gives.PLAINLY:
            return one
        verdict = one if verdict is Gives.NO else verdict
    return verdict


def _denied(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 40) : match.start()]
    return (
        DENIED_BEFORE.search(before) is not None
        or _DENIED_VERB.search(before) is not None
        or DENIED_AFTER.match(text[match.end() : match.end() + 60]) is not None
        or _NEVER_DID.match(text, match.end()) is not None
    )


def _open(text: str, match: re.Match[str]) -> bool:
    """Whether the word is one of several alternatives, or one of several things together."""
    before, after = text[max(0, match.start() - 40) : match.start()], text[match.end() :]
    return bool(_ALTERNATIVE.match(after) or _ALTERNATIVE_BEFORE.search(before) or _ADDED.match(after))


def _position(text: str, match: re.Match[str], question: Question, *, subordinate: bool, first: bool) -> Gives:
    """How a clause gives a word, by where the word stands in it."""
    left = text[: match.start()]
    trimmed = left
    for _ in range(6):
        shorter = _FILLER.sub("", trimmed)
        if shorter == trimmed:
            break
        trimmed = shorter
    body = _IT_IS.sub("", _LEAD.sub("", trimmed))
    if question.place:
        body = _PLACE_FIRST.sub("", body)
    if not subordinate and not any(char.isalnum() for char in body):
        return _as_subject(text, match, question, is_it=body != _LEAD.sub("", trimmed))
    if _says_so(trimmed, question) or _COPULA.search(left):
        return Gives.NO if subordinate and not question.focus & set(stems(text)) else Gives.PLAINLY
    if first and not subordinate and _OBJECT.match(left) and not _PREPOSITION.search(left) and not _BESIDE.search(left):
        return Gives.WEAKLY
    overlap = set(stems(text)) & (question.words - set(stems(match[0])))
    if not overlap or _BESIDE.search(left) or (subordinate and not question.focus & overlap):
        return Gives.NO
    strong = len(overlap) >= 2 or 2 * len(overlap) >= len(question.words)
    if not (strong or question.focus & overlap) or (_PREPOSITION.search(left) and not (strong or question.place)):
        return Gives.NO
    by_another = question.person and _BY_ANOTHER.search(left) is not None
    return Gives.NO if by_another or _rival_first(left, question) else Gives.WEAKLY


def _says_so(left: str, question: Question) -> bool:
    """Whether what stands before the word says that this is it."""
    if _COPULA.search(left) or _PASSIVE.search(left) or (question.person and _BY.search(left)):
        return True
    return question.place and _LOCATED.search(left) is not None


def _rival_first(left: str, question: Question) -> bool:
    """Whether another answer stands before the word: a first item of a list (Nice, Paris), another complement."""
    items = left.split(",")
    if len(items) == 1 and _TITLED.search(left) and not _VERB.search(left):
        return False
    if len(items) > 1 and not _VERB.search(left) and len(items[0].split()) <= MAX_FRAGMENT:
        return any(char.isalpha() for char in items[0]) and not set(stems(items[0])) <= question.words
    return not _LOCATED.search(left) and _other(left, question, first=True) is Gives.OTHER


def _as_subject(text: str, match: re.Match[str], question: Question, *, is_it: bool) -> Gives:
    """The word opens the clause (after `it is`, `sure`): it is the whole of it, or what the clause is about."""
    after = text[match.end() :].strip(" \"'*)")
    if not after or is_it or re.match(r"^[,:;()\[.!-]", after):
        return Gives.PLAINLY
    overlap = set(stems(after)) & question.words
    if not _VERB.search(after):
        return Gives.WEAKLY if overlap or len(after.split()) <= 3 else Gives.NO
    if overlap & question.focus or 2 * len(overlap) >= len(question.words):
        return Gives.PLAINLY
    return Gives.WEAKLY if overlap else Gives.NO


def is_fragment(text: str) -> bool:
    """Whether a text is a few words without a verb."""
    return not _VERB.search(text) and len(text.split()) <= MAX_FRAGMENT


def _other(text: str, question: Question, *, first: bool) -> Gives:
    """Whether a sentence without the word answers with another one."""
    body = _LEAD.sub("", text).strip()
    if not body or DENIED_AFTER.search(body) or re.search(r"\bnot\b|n't\b", body) or _INTERJECTION.match(body):
        return Gives.NO
    if first and is_fragment(body) and not set(stems(body)) <= question.words:
        return Gives.OTHER
    said = _IT_IS.match(body)
    if said is not None:
        complement = HEAD_END.split(body[said.end() :], maxsplit=1)[0].split()
        named = bool(complement) and len(complement) <= 4 and (complement[0][:1].isupper() or len(complement) <= 2)
        return Gives.OTHER if named else Gives.NO
    if not question.focus & set(stems(body)):
        return Gives.NO
    copula = re.search(r"\b(?:is|are|was|were|est|ist|es|è|é)\b\s+(?:called\s+|named\s+|the\s+|a\s+)*(?=\w)", body)
    if copula is None or not question.focus & set(stems(body[: copula.start()])):
        return Gives.NO
    complement_stems = set(stems(body[copula.end() :]))
    return Gives.OTHER if complement_stems and not complement_stems <= question.words else Gives.NO
