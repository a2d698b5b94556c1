r"""Does a text answer with a given word or name?

    The capital of France is Paris.    It's Paris!    Paris, France    **Paris**    After Sunday comes Monday.     yes
    Lyon. It is larger than Paris.     not Paris      Paris or Lyon    New Delhi... no, sorry: Mumbai.             no

Marked answers come first, then the sentences (word_in_sentence.py says how each gives the word). The first answer
counts; a correction overrules it, and so does a conclusion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from posttrain_diag.tasks.verifiers.reading.marks import Mark, after_mark
from posttrain_diag.tasks.verifiers.reading.question import Question, stems
from posttrain_diag.tasks.verifiers.reading.sentences import after_correction, concludes, second_thought, sentences
from posttrain_diag.tasks.verifiers.reading.word_forms import Wanted, is_word, plain
from posttrain_diag.tasks.verifiers.reading.word_in_sentence import (
    HEAD_END,
    Gives,
    clauses_give,
    found_in,
    is_fragment,
    sentence_gives,
    stands_for_itself,
)

_IS = re.compile(r"\b(?:is|are)\b")


def gives_word(text: str, marks: Sequence[Mark], question: Question, wanted: Wanted) -> bool:
    """Whether a final part answers with the wanted word.

    Args:
        text: the final part of a completion.
        marks: the answers it marks, left to right.
        question: what was asked.
        wanted: the gold word.
    """
    return how_given(text, marks, question, wanted) in (Gives.PLAINLY, Gives.WEAKLY)


def how_given(text: str, marks: Sequence[Mark], question: Question, wanted: Wanted) -> Gives:
    """How plainly a final part answers with the wanted word; arguments as of `gives_word`."""
    if is_word(text, wanted):
        return Gives.PLAINLY
    marked = _from_marks(text, marks, question, wanted)
    return _from_sentences(text, question, wanted) if marked is None else marked


def said_word(text: str, marks: Sequence[Mark]) -> str | None:
    """What a text that does not give the wanted word says instead, where that is short enough to be told."""
    said = plain(marks[-1].text if marks else text)
    first = sentences(said)[:1]
    return first[0].text if first and len(first[0].text) <= 80 else None


def _from_marks(text: str, marks: Sequence[Mark], question: Question, wanted: Wanted) -> Gives | None:
    for i in range(len(marks) - 1, -1, -1):
        mark = marks[i]
        if not mark.closed and mark.kind == "boxed":
            return Gives.NO
        if any(other.start < mark.end for other in marks[i + 1 :]):
            continue
        rest, corrected = after_correction(plain(after_mark(text, mark)), answered=True)
        again = rest if corrected else second_thought(rest)
        if again is not None:
            return _from_sentences(again, question, wanted)
        said = plain(mark.text)
        parts = sentences(said)
        if not parts or (parts[0].asks and len(parts) == 1):
            continue
        if is_word(said, wanted):
            return Gives.PLAINLY
        if mark.kind in ("boxed", "tag"):
            return Gives.PLAINLY if _marked(said, question, wanted) else Gives.NO
        if _marked(parts[0].text, question, wanted):
            return Gives.PLAINLY
        goes_on = len(parts) > 1 and not is_fragment(parts[0].text)
        return _from_sentences(said, question, wanted) if goes_on else Gives.NO
    return None


def _marked(text: str, question: Question, wanted: Wanted) -> bool:
    """Whether what is marked is the word: its head names it, or it is a sentence that says so."""
    stated = clauses_give(text, question, wanted)
    if stated is Gives.PLAINLY:
        return True
    if stated is Gives.OPEN or len(text.split()) > 40:
        return False
    head = HEAD_END.split(text, maxsplit=1)[0]
    found = found_in(head, wanted, question)
    short = len(head.split()) <= wanted.words + 5
    return bool(found) and short and all(stands_for_itself(head, match, question) for match in found)


def _from_sentences(text: str, question: Question, wanted: Wanted) -> Gives:
    text, _ = after_correction(plain(text))
    if is_word(text, wanted):
        return Gives.PLAINLY
    given = Gives.NO
    parts = [part for part in sentences(text) if not part.asks]
    for i, part in enumerate(parts):
        verdict = sentence_gives(part.text, question, wanted, first=i == 0)
        if verdict is not Gives.NO:
            given = _together(given, verdict, part.text, question, last=i == len(parts) - 1)
    return given


def _together(given: Gives, verdict: Gives, text: str, question: Question, *, last: bool) -> Gives:
    """What an answer so far and a further sentence give together: the first counts unless the second settles it."""
    if given is Gives.NO:
        return verdict
    settles = concludes(text)
    on_focus = bool(question.focus & set(stems(text)))
    if verdict is Gives.OTHER and given in (Gives.PLAINLY, Gives.WEAKLY):
        says = question.focus <= set(stems(text)) and on_focus and _IS.search(text) is not None
        return verdict if settles or says or (given is Gives.WEAKLY and last) else given
    if verdict is Gives.PLAINLY:
        return verdict if given in (Gives.WEAKLY, Gives.OPEN) or settles or on_focus else given
    if verdict is Gives.WEAKLY and given in (Gives.OTHER, Gives.OPEN) and settles:
        return verdict
    return given
