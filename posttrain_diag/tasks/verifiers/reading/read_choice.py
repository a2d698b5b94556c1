r"""Which of the listed options does a text choose?

    B    (B)    **B**    B) blue    Option B is correct.    I would pick B.    It must be (B).    so B
    The answer is not A, it is B.    A is wrong, B is wrong and D is wrong. Thus C.
    Carbon dioxide    Plants take in carbon dioxide.    La respuesta correcta es la B.

What is marked comes first, then what a phrase chooses (option_mentions.py), then the option that a sentence about the
question names, then the one that is left when all others are denied. Two that are chosen together are none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from posttrain_diag.tasks.verifiers.reading.marks import Mark, after_mark
from posttrain_diag.tasks.verifiers.reading.option_mentions import (
    NOUN,
    Mention,
    Options,
    mentions_of,
    option_alone,
    stand_together,
)
from posttrain_diag.tasks.verifiers.reading.question import Question, stems
from posttrain_diag.tasks.verifiers.reading.read_truth import read_truth, truth_of
from posttrain_diag.tasks.verifiers.reading.sentences import (
    REFUSES,
    REMARKS,
    Sentence,
    after_correction,
    second_thought,
    sentences,
)
from posttrain_diag.tasks.verifiers.reading.word_forms import plain

_REASON = re.compile(r"\b(?:since|because|as the|for the)\b", re.IGNORECASE)
_CONCLUSION = re.compile(r"\b(?:so|thus|hence|therefore)\b", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[,;:]|\s(?:and|but|while|whereas)\s")
_LABEL = re.compile(r"\s*(?:$|[).:,–—-]|\b(?:because|since|as|for)\b)")
_IN_A_ROW = re.compile(r"\s*(?:,|,?\s(?:and|or|nor)\b|&)\s*[(\[]?[A-Z](?![A-Za-z])")
"""What follows the first of several options: (A), (B) and (C) are ..."""
_ONLY_A_NOUN = re.compile(rf"\b(?:{NOUN}|the|la|el|le|die|l)\b", re.IGNORECASE)
_ASKED_AND_ANSWERED = re.compile(r"(?<!\w)\(?([A-Z])\)?\?\s+(yes|no)\b[\s:,.–—-]*", re.IGNORECASE)
"""`B? Yes, ...`"""
_TICKED = re.compile(r"^[ \t>*_|-]*\(?(?P<letter>[A-Z])[).:*\s][^\n❌✗✘]*[✅✔✓☑][ \t]*\W*$", re.MULTILINE)
"""A line about an option that ends in a tick."""
_LIST_POINT = re.compile(r"(?m)(^|[.!?:;]\s+|[(*])([A-Z])\.(?=\s+\S)")


def read_choice(text: str, marks: Sequence[Mark], options: Options, question: Question) -> str | None:
    """The letter of the option that a final part chooses; None where it chooses none, or several.

    Args:
        text: the final part of a completion.
        marks: the answers it marks, left to right.
        options: the options of the question.
        question: what was asked.
    """
    truths = _truths(tuple(options.texts.items()))
    said = read_truth(text, marks, question) if truths and not options.lettered else None
    if said is not None:
        return truths[said]
    for i in range(len(marks) - 1, -1, -1):
        mark = marks[i]
        if not mark.closed and mark.kind == "boxed":
            return None
        if any(other.start < mark.end for other in marks[i + 1 :]):
            continue
        rest, corrected = after_correction(after_mark(text, mark), answered=True)
        again = rest if corrected else second_thought(rest)
        if again is not None:
            return _in_text(again, options, question)
        decided, letter = _marked(mark.text, options, question)
        if decided or mark.kind in ("boxed", "tag"):
            return letter
    found = _in_text(text, options, question)
    if found is None and truths:
        said = read_truth(text, marks, question)
        return None if said is None else truths[said]
    return found


def _truths(texts: tuple[tuple[str, str], ...]) -> dict[bool, str]:
    """Letters of the options that say yes and no, where the options are just these two."""
    if len(texts) != 2:
        return {}
    found = {truth: letter for letter, text in texts if (truth := truth_of(text)) is not None}
    return found if len(found) == 2 else {}


def _marked(text: str, options: Options, question: Question) -> tuple[bool, str | None]:
    """(whether what is marked decides, the letter it chooses)."""
    text = plain(text)
    alone = option_alone(text, options)
    if alone is not None:
        return True, alone
    parts = sentences(text)
    if not parts or (parts[0].asks and len(parts) == 1):
        return False, None
    head = text if len(parts) == 1 else text[: parts[1].start]
    standing = [mention for mention in mentions_of(_before_reason(head), options, question) if not mention.denied]
    if stand_together(head, standing[:2]):
        return True, None
    letters = [m for m in standing if not m.by_text and (m.chosen or _opens(head, m))]
    if letters:
        return True, (letters[0] if _opens(head, letters[0]) else letters[-1]).letter
    named = {mention.letter for mention in standing if mention.by_text}
    return (True, named.pop()) if len(named) == 1 else (False, None)


def _before_reason(text: str) -> str:
    """The text up to the reason that it gives for its choice."""
    reason = _REASON.search(text, 1)
    return text if reason is None else text[: reason.start()]


def _opens(text: str, mention: Mention) -> bool:
    return not any(char.isalnum() for char in _ONLY_A_NOUN.sub("", text[: mention.start]))


@dataclass
class _Seen:
    """What the sentences of a text say about the options."""

    chosen: str | None = None
    denied: set[str] = field(default_factory=set[str])
    named: set[str] = field(default_factory=set[str])
    weak: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """(words shared with the question, the only option a sentence names)."""


def _in_text(text: str, options: Options, question: Question) -> str | None:
    text, _ = after_correction(plain(text))
    alone = option_alone(text, options)
    if alone is not None:
        return alone
    text = _ASKED_AND_ANSWERED.sub(r"\1: \2. ", text)
    text = _LIST_POINT.sub(r"\1\2)", _without_echo(text, options))  # the point of `B. Penguin` ends no sentence
    seen = _Seen()
    for i, part in enumerate(part for part in sentences(text) if not part.asks):
        if seen.chosen is not None and REMARKS.match(part.text):
            continue  # Explanation: A is ...
        _see(part, options, question, seen, first=i == 0)
    ticked = {line["letter"] for line in _TICKED.finditer(text) if options.named(line["letter"])}
    if seen.chosen is not None or len(ticked) == 1:
        return seen.chosen or ticked.pop()
    spread = len({letter for _, letter in seen.weak}) > 2 and options.texts and seen.named >= set(options.texts)
    if seen.weak and not spread:
        most = max(overlap for overlap, _ in seen.weak)
        best = {letter for overlap, letter in seen.weak if overlap == most}
        if len(best) == 1:
            return best.pop()
    left = set(options.texts) - seen.denied
    return left.pop() if len(seen.denied) >= 2 and len(left) == 1 else None


def _see(part: Sentence, options: Options, question: Question, seen: _Seen, *, first: bool) -> None:
    """Take in what one sentence says."""
    mentions = mentions_of(part.text, options, question)
    standing = [mention for mention in mentions if not mention.denied]
    seen.denied |= {mention.letter for mention in mentions if mention.denied}
    seen.named |= {mention.letter for mention in mentions}
    picked = [m for m in standing if m.chosen] or [m for m in standing if first and _labels(part, m)]
    if picked:
        at = standing.index(picked[-1])
        if stand_together(part.text, standing[max(0, at - 1) : at + 2]):
            seen.chosen, seen.weak = None, []
        else:
            seen.chosen = picked[-1].letter
        return
    if REFUSES.search(part.text):
        return
    letters = {mention.letter for mention in _concluded(part.text, standing)}
    if len(letters) == 1:
        best = letters.pop()
    else:
        best = _clause_with_the_question(part.text, standing, question) if len(letters) == 2 else None
    if best is not None:
        seen.weak.append((len(set(stems(part.text)) & question.words), best))


def _concluded(text: str, mentions: list[Mention]) -> list[Mention]:
    """The options after the last `so` of a sentence, where it has one; else all."""
    cues = list(_CONCLUSION.finditer(text))
    return [mention for mention in mentions if cues and mention.start >= cues[-1].end()] or mentions


def _clause_with_the_question(text: str, mentions: Sequence[Mention], question: Question) -> str | None:
    """Of several options named in a sentence, the one whose clause speaks of what was asked."""
    scored: dict[str, int] = {}
    start = 0
    for end in (*(cut.start() for cut in _CLAUSE_END.finditer(text)), len(text)):
        inside = {m.letter for m in mentions if start <= m.start < end}
        if len(inside) == 1:
            letter = inside.pop()
            scored[letter] = max(scored.get(letter, 0), len(set(stems(text[start:end])) & question.words))
        start = end
    ranked = sorted(scored.items(), key=lambda item: -item[1])
    if ranked and ranked[0][1] > 0 and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
        return ranked[0][0]
    return None


def _labels(part: Sentence, mention: Mention) -> bool:
    """Whether a first sentence begins with the letter as with a label: `B) blue`, `B: because`, `B because`."""
    if mention.by_text or any(char.isalnum() for char in part.text[: mention.start]):
        return False
    after = part.text[mention.end :]
    return _LABEL.match(after) is not None and _IN_A_ROW.match(after) is None


def _without_echo(text: str, options: Options) -> str:
    """A text without the list of options, where it repeats that as the prompt has it."""
    found = [match for letter, option in options.texts.items() if (match := _echo(letter, option).search(text))]
    if len(found) < min(3, len(options.texts)) or not found:
        return text
    before, after = text[: min(m.start() for m in found)], text[max(m.end() for m in found) :]
    return after if after.strip() else "" if before.rstrip().endswith("?") else before


@lru_cache(maxsize=2048)
def _echo(letter: str, option: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\n)\s*\(?{letter}[).:]\s*{re.escape(plain(option))}[ .]*(?=\n|$)", re.IGNORECASE)
