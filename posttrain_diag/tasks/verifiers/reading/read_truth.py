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
from posttrain_diag.tasks.verifiers.reading.question import Question
from posttrain_diag.tasks.verifiers.reading.sentences import HEDGES, REFUSES, Sentence, after_correction, sentences
from posttrain_diag.tasks.verifiers.reading.statements import CLAUSES, NO_DOUBT, stated
from posttrain_diag.tasks.verifiers.reading.word_forms import fold_answer, plain

_YES = (
    r"yes|yeah|yep|yup|yea|aye|affirmative|true|correct|oui|si|ja|jo|da|да|sim|tak|ano|evet|ναι|是的?|对的?|對|はい|"
    r"そうです|예|네|हाँ|हां|نعم|כן"
)
_NO = (
    r"no|nope|nah|nay|false|incorrect|untrue|wrong|non|nein|nee|nej|нет|nao|nie|ne|hayır|hayir|oxi|όχι|不是|不对|不對|否|いいえ|違います|아니요|"
    r"아니오|नहीं|لا|לא"
)
_SURE = (
    r"positively|undoubtedly|without\s(?:a\s)?doubt|absolutely|certainly|definitely|of\scourse|indeed|naturally|surely|"
    r"obviously|clearly|exactly"
)
_WORDS = {
    True: frozenset(_YES.replace("?", "").split("|")) | {"y", "t", "right", "是", "对"},
    False: frozenset(_NO.split("|")) | {"n", "f"},
}
_LEADING = re.compile(
    rf"""^[\W_]*(?:(?:well|so|in\sshort|in\sconclusion|therefore|thus|hence|answer|the\sanswer\sis|my\sanswer\sis|the\sanswer|short\sanswer|
    final\sanswer|i\s(?:think|believe|would\ssay)(?:\sthat)?|simply\sput|in\sfact|actually|overall|then|but|and|or|oh\smy\sgod|
    it\sis|it's|this\sis|that\sis|that's|that\swould\sbe|this\sstatement\sis|the\sstatement\sis|the\sclaim\sis|probably|likely|not\sreally|
    {_SURE})[\s,:;.!-]+)*
    (?:(?P<yes>{_YES}|yes\sindeed|that(?:'s|\sis)\s(?:right|true|correct)|i\s(?:think|believe)\sso)|(?P<no>{_NO}|not\sat\sall|not(?:\s(?:true|correct|right|really))?(?=\W*$|[,.;:!])|
    not(?=\s(?:in|on|for|at|by|usually|always|anymore|yet|quite|exactly|necessarily|unless|if|without)\b)|never|
    that(?:'s|\sis)\s(?:not\s(?:right|true|correct)|false|wrong|incorrect)|i\s(?:do\snot|don['’]t)\s(?:think|believe)\sso|i\sdoubt\sit))
    (?=[^\w'-]|$|です|じゃ)""",
    re.IGNORECASE | re.VERBOSE,
)
_ASSESSES = re.compile(
    r"^\W*(?:(?:that|this|it|which)(?:['’]s|\sis|\swas)|(?:that|this|the)\s(?:statement|claim|sentence|assertion)\s(?:is|was))\s"
    r"(?:\w+ly\s)?(?:wrong|incorrect|false|untrue|a\smistake|not\s(?:quite\s)?(?:right|correct|true|it|so|the\scase))",
    re.IGNORECASE,
)
_SURELY = re.compile(rf"^[\W_]*(?:{_SURE})\b\W*(?P<rest>not\b)?", re.IGNORECASE)
_BY_ITSELF = re.compile(
    rf"(?:[,:;(\"—–-]\s*|\b(?:is|so|be|but|and|to date|say|says)\s+[\"'*]*)(?:(?P<yes>{_YES})|"
    rf"(?P<no>{_NO}))(?=\s*(?:[,.!;:)\"'*—–-]|$))",
    re.IGNORECASE,
)
_NO_SUCH = re.compile(
    r"^[\W_]*no\s+(?:idea|problem|worries|one|clue|matter|need|way of|evidence|information|answer)\b", re.I
)
_ELLIPTIC = re.compile(
    r"^\W*(?:i(?:'m|\sam)\s(?:\w+\s)?sure(?:\sthat)?\s|i\s(?:think|believe|guess)(?:\sthat)?\s)?(?:it|they|he|she|that|this|there|we|you|i|these|those|one|sure)\s+(?:really\s|indeed\s|actually\s|certainly\s)?"
    r"(?:(?:is|are|was|were|does|do|did|can|could|will|would|has|have|had|should|may|might|must)(?P<no>n['’]t|\snot|not)?|(?P<cannot>cannot))\W*$",
    re.IGNORECASE,
)


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
            rest, corrected = after_correction(plain(after_mark(text, mark)), answered=True)
            said = _from_sentences(rest if corrected else plain(mark.text), question)
            if said is not None or corrected or mark.kind in ("boxed", "tag"):
                return said
            break
    return _from_sentences(plain(text), question)


def _from_sentences(text: str, question: Question) -> bool | None:
    text, _ = after_correction(_without_assessment(text))
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
            meant = stated(part.text, question)
            if meant is not None:
                return meant
    return None


def _without_assessment(text: str) -> str:
    """A text that begins with no, without words that say it again, as in `No, that is not correct`.

    After another answer such words take it back.
    """
    leading = _LEADING.match(text)
    if leading is None or leading["no"] is None:
        return text
    return text[: leading.end()] + _ASSESSES.sub("", text[leading.end() :], count=1)


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
    if leading is not None and not NO_DOUBT.search(text[: leading.end() + 6]):
        return leading["yes"] is not None
    surely = _SURELY.match(text)
    if surely is not None:
        return surely["rest"] is None
    elliptic = _ELLIPTIC.match(text)
    if elliptic is not None:
        return elliptic["no"] is None and elliptic["cannot"] is None
    found = [m for m in _BY_ITSELF.finditer(text) if m["yes"] or not NO_DOUBT.match(text, m.start("no"))]
    said = {match["yes"] is not None for match in found}
    return said.pop() if len(said) == 1 else None


def _contradicted(said: bool, parts: Sequence[Sentence], question: Question) -> bool:
    """Whether the same or the next sentence plainly states the opposite."""
    for part in parts:
        for clause in CLAUSES.split(part.text):
            meant = stated(_LEADING.sub("", clause), question, named=True)
            if meant is not None and meant != said:
                return True
    return False
