r"""What a plain statement says of a question that asks for yes or no.

    Is 17 a prime number?              17 is a prime number.   It is a prime number.              yes
    Is ice hotter than steam?          Steam is hotter than ice.   Ice is not hotter than steam.   no
    Can pigs fly without help?         It is impossible for pigs to fly without help.             no

A statement names all that the question asks about, its subject first and the rest close by; its negations are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from posttrain_diag.tasks.verifiers.reading.listing import words
from posttrain_diag.tasks.verifiers.reading.question import WORD, Question, stem, stems, unaccented, word_key

_NEGATION = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|none|nothing|nobody|hardly|rarely|seldom|impossible|unable|false|untrue|incorrect|"
    r"wrong|myth|incapable|fails?|lacks?|refuse[sd]?|pas|nicht|kein(?:e|er|en)?|keine|jamais|nunca|нельзя|не)\b|n['’]t\b",
    re.IGNORECASE,
)
_INDIRECT = re.compile(
    r"\b(?:whether|if|question|asks?|asked|wonder|assume|suppose|claim|thought|maybe|might|could be)\b", re.IGNORECASE
)
_QUOTED_QUESTION = re.compile(r"\"[^\"]*\?[\"]")
_SAYS = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|do|does|did|can|could|will|would|may|might|must|should|cannot|est|sont|ist|sind|es|"
    r"son|è|é|são)\b|n['’]t\b|['’](?:s|re)\b",
    re.IGNORECASE,
)
_ASKS_WITH_DO = re.compile(
    r"^\W*(?:\w+[,:]\s)*(?:do|does|did|can|could|will|would|may|might|must|should|has|have|had)\b", re.IGNORECASE
)
_IS_FALSE = re.compile(
    r"^\W*(?:is|would be)\s+(?:a\s+)?(?:false|wrong|incorrect|untrue|not\s+(?:true|right|correct)|myth)\b",
    re.IGNORECASE,
)
_SUBORDINATE = re.compile(r"^\W*(?:while|although|though|when|unless|because|since)\b", re.IGNORECASE)
_DENIES_WHAT_FOLLOWS = re.compile(
    r"\b(?:not|false|untrue|wrong|incorrect|impossible|myth|no way|n['’]t (?:true|possible|"
    r"correct))\b[^,.\"]{0,30}\b(?:that|for|to say)\s+"
    r"(?:the\s|an?\s)?\W*\Z|\b(?:no|neither|not a(?:ll|ny)?|never)\s+\Z",
    re.IGNORECASE,
)
_TRUE_OR_FALSE = re.compile(r"\btrue or false\b|\byes or no\b|\bor not\b", re.IGNORECASE)
_THAN = re.compile(r"\bthan\b", re.IGNORECASE)


NO_DOUBT = re.compile(r"\bno\s+doubt\b|\bwithout (?:a )?doubt\b|\bnot only\b|\bno longer in doubt\b", re.IGNORECASE)
CLAUSES = re.compile(r"(?<=\S)\s*(?:,\s*)?\b(?:but|whereas|while|however|although)\b\s*|\s*;\s*", re.IGNORECASE)
_NEGATIVE_PREFIX = re.compile(r"^(?:il(?=l)|im(?=[mp])|ir(?=r)|in|un|dis|non)")
_NON = re.compile(r"\bnon[- ]?(?=\w)", re.IGNORECASE)
_ASKS_OF_IT = re.compile(r"^\W*(?:is|was|are|were|will|would|can|could)\s(?:it|there|this|that)\b", re.IGNORECASE)
_PRONOUN = re.compile(
    r"^\W*(?:it|they|this|that|these|those|he|she|we|you|i|the\s(?:statement|claim|sentence|number|answer|text|passage))\b",
    re.IGNORECASE,
)
_GENERIC = frozenset(
    words(
        "number thing kind type sort one example animal person place word member statement mount city country state "
        "river lake"
    )
)
"""Words of a question that a statement may leave out: "Zero is not positive" speaks of a positive number."""
MAX_SPAN = 8
"""More other words between what was asked about are no plain statement of it."""


def stated(text: str, question: Question, *, named: bool = False) -> bool | None:
    """Whether a sentence states what was asked (True) or its opposite (False); None where it speaks of something else.

    Args:
        text: the sentence, plain.
        question: what was asked.
        named: the sentence must name the subject of the question; a pronoun will not do.
    """
    asked = list(dict.fromkeys(word_key(word) for word in stems(question.text)))
    if not asked:
        return None
    compared = [word_key(word) for word in stems(_THAN.split(question.text)[0])] if _THAN.search(question.text) else []
    impersonal = _ASKS_OF_IT.match(question.text) is not None
    predicate = compared[-1:]  # of "Is A higher than B?" a pronoun need only say: it is higher
    for clause in CLAUSES.split(_QUOTED_QUESTION.sub("", text)):
        if _SUBORDINATE.match(clause) or (_INDIRECT.search(clause) and not _INDIRECT.search(question.text)):
            continue
        span = _span(clause, asked, predicate, named=named, impersonal=impersonal)
        if span is None:
            continue
        before, said, after = clause[: span[0]], clause[span[0] : span[1]], clause[span[1] :]
        if not (_SAYS.search(said) or _ASKS_WITH_DO.search(question.text)):
            continue
        if not named:  # what only looks like the opposite contradicts nothing
            said = _NON.sub("not ", said)
        negative = 0 if named else sum(_negated(word, asked) for word in stems(said))
        count = negative + len(_NEGATION.findall(NO_DOUBT.sub("", said)))
        count += (_DENIES_WHAT_FOLLOWS.search(before) is not None) + (_IS_FALSE.match(after) is not None)
        count -= len(_NEGATION.findall(_TRUE_OR_FALSE.sub("", question.text)))
        return (count % 2 == 1) == _swapped(clause, question)
    return None


def _span(
    clause: str, asked: list[str], predicate: list[str], *, named: bool, impersonal: bool
) -> tuple[int, int] | None:
    """Where a clause names all that is asked about: from its subject to the last of the other words."""
    places = list(_places(clause))
    here = {key for key, _, _ in places}
    needed = [key for key in asked if key not in _GENERIC_KEYS] or asked
    start = next((begin for key, begin, _ in places if key == needed[0]), -1)
    if impersonal:
        needed, start = (needed[:1] if not named and _PRONOUN.match(clause) and needed[0] in here else needed), 0
    if start < 0 and not named and len(asked) > 1 and _PRONOUN.match(clause):
        needed, start = predicate or [key for key in needed if key != needed[0]] or asked[1:], 0
    if start < 0 or not set(needed) <= here:
        return None
    ends = [next((end for key, begin, end in places if key == need and begin >= start), -1) for need in needed]
    if min(ends) < 0:
        return (0, max(end for _, _, end in places)) if _THAN.search(clause) else None
    end = max(ends)
    return (start, end) if len(clause[start:end].split()) <= MAX_SPAN + len(needed) else None


def _places(clause: str) -> Iterator[tuple[str, int, int]]:
    """(key, start, end) of each content word."""
    for match in WORD.finditer(clause):
        for word in stems(match[0]):
            yield word_key(word), match.start(), match.end()
            if (bare := _NEGATIVE_PREFIX.sub("", word)) != word and len(bare) > 3:
                yield word_key(bare), match.start(), match.end()


def _negated(word: str, asked: list[str]) -> bool:
    """Whether a word is one that was asked about with a prefix that denies it: illegal, impossible, dishonest."""
    bare = _NEGATIVE_PREFIX.sub("", word)
    return bare != word and word_key(bare) in asked and word_key(word) not in asked


_GENERIC_KEYS = frozenset(word_key(stem(unaccented(word))) for word in _GENERIC)


def _swapped(clause: str, question: Question) -> bool:
    """Whether a comparison names its two sides in the other order than the question."""
    if not _THAN.search(clause) or not _THAN.search(question.text):
        return False
    asked, said = _sides(question.text), _sides(clause)
    return bool(asked and said) and asked == said[::-1]


def _sides(text: str) -> list[str]:
    before, after = _THAN.split(text, maxsplit=1)
    first, second = stems(before), stems(after)
    apart = [word for word in first if word not in second], [word for word in second if word not in first]
    return [apart[0][0], apart[1][0]] if all(apart) else []
