r"""Does a text say yes or no?

    Yes, the Sun is a star.    NO    The answer is yes.    Certainly, yes.    Certainly not.    Nein.
    The Sun is a star.                           yes to "Is the Sun a star?"
    It depends: yes or no.    I know nothing.    neither

An explicit word counts where it stands by itself (at the start, between commas, marked); else a plain statement of what
was asked, or of its opposite.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from posttrain_diag.tasks.verifiers.reading.marks import Mark, after_mark
from posttrain_diag.tasks.verifiers.reading.question import WORD, Question, stems
from posttrain_diag.tasks.verifiers.reading.read_word import fold_answer, plain
from posttrain_diag.tasks.verifiers.reading.sentences import HEDGES, REFUSES, Sentence, after_correction, sentences

_YES = r"yes|yeah|yep|yup|yea|aye|affirmative|true|correct|oui|si|ja|jo|da|да|sim|tak|ano|evet|ναι|是的?|对的?|對|はい|そうです|예|네|हाँ|हां|نعم|כן"
_NO = (
    r"no|nope|nah|nay|false|incorrect|untrue|wrong|non|nein|nee|nej|нет|nao|nie|ne|hayır|hayir|oxi|όχι|不是|不对|不對|否|いいえ|違います|아니요|"
    r"아니오|नहीं|لا|לא"
)
_SURE = r"absolutely|certainly|definitely|of\scourse|indeed|naturally|surely|obviously|clearly|exactly"
_WORDS = {
    True: frozenset(_YES.replace("?", "").split("|")) | {"y", "t", "是", "对"},
    False: frozenset(_NO.split("|")) | {"n", "f"},
}
_LEADING = re.compile(
    rf"""^[\W_]*(?:(?:well|so|in\sshort|in\sconclusion|therefore|thus|hence|answer|the\sanswer\sis|my\sanswer\sis|the\sanswer|short\sanswer|
    final\sanswer|i\s(?:think|believe|would\ssay)(?:\sthat)?|simply\sput|in\sfact|actually|overall|then|but|and|or|oh\smy\sgod|
    it\sis|it's|this\sis|that\sis|that's|that\swould\sbe|this\sstatement\sis|the\sstatement\sis|the\sclaim\sis|probably|likely|not\sreally|
    {_SURE})[\s,:;.!-]+)*
    (?:(?P<yes>{_YES}|yes\sindeed|that(?:'s|\sis)\s(?:right|true|correct))|(?P<no>{_NO}|not\sat\sall|not\b(?:\s(?:true|correct|right|really))?|never|
    that(?:'s|\sis)\s(?:not\s(?:right|true|correct)|false|wrong|incorrect)))
    (?=[^\w'-]|$|です|じゃ)""",
    re.IGNORECASE | re.VERBOSE,
)
_SURELY = re.compile(rf"^[\W_]*(?:{_SURE})\b\W*(?P<rest>not\b)?", re.IGNORECASE)
_BY_ITSELF = re.compile(
    rf"(?:[,:;(\"—–-]\s*|\b(?:is|so|be|but|and|to date|say|says)\s+[\"'*]*)(?:(?P<yes>{_YES})|(?P<no>{_NO}))(?=\s*(?:[,.!;:)\"'*—–-]|$))",
    re.IGNORECASE,
)
_NO_SUCH = re.compile(
    r"^[\W_]*no\s+(?:idea|problem|worries|one|clue|matter|need|way of|doubt|evidence|information|answer)\b", re.I
)
_NO_DOUBT = re.compile(r"\bno\s+doubt\b|\bwithout (?:a )?doubt\b|\bnot only\b|\bno longer in doubt\b", re.IGNORECASE)
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
    r"\b(?:not|false|untrue|wrong|incorrect|impossible|myth|no way|n['’]t (?:true|possible|correct))\b[^,.\"]{0,30}\b(?:that|for|to say)\s+"
    r"(?:the\s|an?\s)?\W*\Z|\b(?:no|neither|not a(?:ll|ny)?|never)\s+\Z",
    re.IGNORECASE,
)
_TRUE_OR_FALSE = re.compile(r"\btrue or false\b|\byes or no\b|\bor not\b", re.IGNORECASE)
_ELLIPTIC = re.compile(
    r"^\W*(?:it|they|he|she|that|this|there|we|you|i|these|those|one)\s+(?:really\s|indeed\s|actually\s|certainly\s)?"
    r"(?:(?:is|are|was|were|does|do|did|can|could|will|would|has|have|had|should|may|might|must)(?P<no>n['’]t|\snot|not)?|(?P<cannot>cannot))\W*$",
    re.IGNORECASE,
)
MAX_SPAN = 8
"""More other words between what was asked about are no plain statement of it."""
_BUT = re.compile(r"\s*(?:,\s*)?\b(?:but|whereas|while|however|although)\b\s*|\s*;\s*", re.IGNORECASE)
_THAN = re.compile(r"\bthan\b", re.IGNORECASE)


def truth_of(gold: str) -> bool | None:
    """What a gold answer says: True for yes, False for no, None where it is neither."""
    word = fold_answer(gold)
    return next((truth for truth, words in _WORDS.items() if word in words), None)


def read_truth(text: str, marks: Sequence[Mark], question: Question) -> bool | None:
    """Whether a final part says yes (True) or no (False); None where it says neither or both.

    Args:
        text: the final part of a completion.
        marks: the answers it marks, left to right.
        question: what was asked.
    """
    for i in range(len(marks) - 1, -1, -1):
        mark = marks[i]
        if not any(other.start < mark.end for other in marks[i + 1 :]):
            rest, corrected = after_correction(plain(after_mark(text, mark)))
            said = _from_sentences(rest if corrected else plain(mark.text), question)
            if said is not None or corrected or mark.kind in ("boxed", "tag"):
                return said
            break
    return _from_sentences(plain(text), question)


def _from_sentences(text: str, question: Question) -> bool | None:
    text, _ = after_correction(text)
    alone = truth_of(text)
    if alone is not None:
        return alone
    parts = sentences(text)
    stating = [part for part in parts if not part.asks]
    if stating and REFUSES.search(stating[0].text) and not _LEADING.match(stating[0].text):
        return None
    for i, part in enumerate(stating):
        if REFUSES.search(part.text) and not _LEADING.match(part.text):
            continue
        said = _explicit(part)
        if said is None:
            continue
        if HEDGES.search(part.text) and _both(part.text):
            return None
        return None if _contradicted(said, stating[i : i + 2], question) else said
    if any(HEDGES.search(part.text) for part in stating):
        return None
    for part in stating:
        if not REFUSES.search(part.text):
            stated = _statement(part.text, question)
            if stated is not None:
                return stated
    return None


def _both(text: str) -> bool:
    return (
        re.search(r"\byes\b", text, re.IGNORECASE) is not None and re.search(r"\bno\b", text, re.IGNORECASE) is not None
    )


def _explicit(part: Sentence) -> bool | None:
    """A yes or no that stands by itself in a sentence."""
    text = part.text
    if re.search(r"\byes\s+(?:or|and|nor)\s+no\b|\bneither\s+yes\b", text, re.IGNORECASE):
        return None
    if _NO_SUCH.match(text):
        return None
    leading = _LEADING.match(text)
    if leading is not None and not _NO_DOUBT.search(text[: leading.end() + 6]):
        return leading["yes"] is not None
    surely = _SURELY.match(text)
    if surely is not None:
        return surely["rest"] is None
    elliptic = _ELLIPTIC.match(text)
    if elliptic is not None:
        return elliptic["no"] is None and elliptic["cannot"] is None
    found = [match for match in _BY_ITSELF.finditer(text) if not _NO_DOUBT.match(text, match.start("no"))]
    said = {match["yes"] is not None for match in found}
    return said.pop() if len(said) == 1 else None


def _contradicted(said: bool, parts: Sequence[Sentence], question: Question) -> bool:
    """Whether the same or the next sentence plainly states the opposite."""
    for part in parts:
        for clause in _BUT.split(part.text):
            stated = _statement(_LEADING.sub("", clause), question)
            if stated is not None and stated != said:
                return True
    return False


def _statement(text: str, question: Question) -> bool | None:
    """Whether a sentence states what was asked (True) or its opposite (False); None where it speaks of something else."""
    if not question.words:
        return None
    for clause in _BUT.split(_QUOTED_QUESTION.sub("", text)):
        if _INDIRECT.search(clause) and not re.search(r"\b(?:whether|if)\b", question.text, re.IGNORECASE):
            continue
        span = _span(clause, question)
        if span is None:
            continue
        before, said, after = clause[: span[0]], clause[span[0] : span[1]], clause[span[1] :]
        if _SUBORDINATE.match(clause) or not (_SAYS.search(said) or _ASKS_WITH_DO.search(question.text)):
            continue
        count = len(_NEGATION.findall(_NO_DOUBT.sub("", said)))
        count += (_DENIES_WHAT_FOLLOWS.search(before) is not None) + (_IS_FALSE.match(after) is not None)
        asked = len(_NEGATION.findall(_TRUE_OR_FALSE.sub("", question.text)))
        negated = (count - asked) % 2 == 1
        return negated if _swapped(clause, question) else not negated
    return None


def _span(clause: str, question: Question) -> tuple[int, int] | None:
    """Where a clause names all that the question asks about, close together and its subject first."""
    places = {word: match for match in WORD.finditer(clause) for word in stems(match[0])}
    if not question.words <= set(places):
        return None
    subject = next((word for word in stems(question.text) if word in places), "")
    first: dict[str, int] = {}
    for match in WORD.finditer(clause):
        for word in stems(match[0]):
            first.setdefault(word, match.start())
    start = first[subject]
    ends = [next((m.end() for m in WORD.finditer(clause, start) if word in stems(m[0])), -1) for word in question.words]
    if min(ends) < 0:
        return (0, max(first[word] for word in question.words) + 1) if _THAN.search(clause) else None
    end = max(ends)
    return (start, end) if len(clause[start:end].split()) <= MAX_SPAN + len(question.words) else None


def _swapped(clause: str, question: Question) -> bool:
    """Whether a comparison names its two sides in the other order than the question."""
    if not _THAN.search(clause) or not _THAN.search(question.text):
        return False
    asked, said = _sides(question.text), _sides(clause)
    return bool(asked and said) and asked == said[::-1]


def _sides(text: str) -> list[str]:
    before, after = _THAN.split(text, maxsplit=1)
    first, second = stems(before), stems(after)
    return [first[0], second[0]] if first and second else []
