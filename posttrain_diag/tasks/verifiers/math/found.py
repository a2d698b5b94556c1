r"""Where the answer of a completion stands: its box, another mark, or the sentence that states it.

    $\boxed{\frac{14}{3}}$                       the last box; boxes joined by "and", "or" or a comma are one list
    \boxed{\frac{14}{3}$                         a brace forgotten before the formula ends: read, but no box
    \boxed{13                                    cut in the middle: no answer
    Therefore the answer is $\frac{14}{3}$ m.    what a phrase announces, to the end of its clause
    So $x = 1 \pm \sqrt{19}$.                    the last formula of the last sentence that holds one
    They cost 37.5 dollars together.             what stands after the verb

Each place offers the texts that may be the answer in it, longest first; the first that can be read as one is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from posttrain_diag.tasks.verifiers.reading import Mark

MAX_MARK_CHARS = 2_000
"""Most characters of the line behind a mark that are read."""
MAX_PROSE_CHARS = 4_000
"""Most characters of a text without marks that are read, from its end."""
MAX_WHOLE_CHARS = 400
"""A longer text is no answer as a whole."""
MAX_WORDS_BESIDE = 1
"""A text with more words beside its formula states an answer in a sentence."""
MAX_SENTENCES = 4
"""Most sentences looked at, from the end, for one that states an answer."""
MAX_VERBS = 12
"""Most verbs of a sentence, the last ones, behind which an answer is looked for, and most ends of clauses, the first
ones."""
MAX_BETWEEN_BOXES = 60

_JOIN = r"(?:and|or|,|;|\\q?quad|&)"
_BETWEEN_BOXES = re.compile(
    rf"[\s$.*]*(?:\\[\])])?[\s,;]*(?:\\text\{{)?\s*{_JOIN}?\s*\}}?[\s,;$*]*(?:\\[\[(])?[\s$*]*"
    r"(?:[A-Za-z](?:_\{?\w\}?)?\s*=)?\s*"
)
_JOINS = re.compile(r"[,;&]|and|or|quad")
_END_OF_FORMULA = re.compile(r"(?<!\\)\$|\\\)|\\\]")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$((?:\\\$|[^$])+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]*_]*\s+(?=[^a-z\s])|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)")
_EXPLAINS = r"because|since|so that|where|which|as|by|when|if|for which|while|but"
_CLAUSE_END = re.compile(
    rf"[.!?](?:\s|$)|\s[–—]\s|(?<!\d)\s-\s|;\s|,?\s+(?:{_EXPLAINS}|after|with)\s|"
    r",\s+(?:so|and|then|thus|not|i\.e\.|that is)\s|\s\(|\n|:\s",
    re.IGNORECASE,
)
_SO = re.compile(
    r"(?:^|[,;]?\s)(?:so|thus|hence|therefore|then|giving|which (?:gives|makes|is|means)|"
    r"we (?:get|have|find|obtain))[,:]?\s",
    re.IGNORECASE,
)
_ASIDE_AFTER = re.compile(rf",?\s+(?:{_EXPLAINS}|not|i\.e\.|that is)[,\s]|\s\(|\s[–—]\s", re.IGNORECASE)
_VERB = re.compile(
    r"(?<!\w)(?:is|are|was|were|be|equals?|equal to|gives?|gets?|obtains?|yields?|takes?|took|costs?|has|have|lasts?|"
    r"makes?|becomes?|needs?|at|to|of|about|there (?:are|is)|\\Rightarrow|\\implies)(?![\w(])\s*|"
    r"(?<=\w)['’]s\s+|(?<!\w)(?:in|on|for)\s+(?=[\[(\]{$])|(?:=>|[=≈→:⇒])\s*",
    re.IGNORECASE,
)
_ASIDE = re.compile(
    r"\s*[\W_]*(?:note|check|remark|verif|this (?:is|means|follows)|explanation|because|since|for example|let me|"
    r"i hope|hope|p\.?s\.?|if you|feel free|here,? )",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(?<![\w)*])(\*\*|__)(?=\S)(.+?)(?<=\S)\1(?![\w(*])", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]{2,}")
_FINAL = re.compile(r"(?:final|the|my|correct)[\s*_]+\Z", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•+]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+(?=\S)")
_MARKUP = re.compile(r"^[\s*_`#>\"'“”]+|[\s*_`\"'“”!?]+$")
_JOINED = re.compile(r"[\s,;]*(?:and|or|und|oder|et|ou)?[\s,;]*")
_QUANTITY = re.compile(
    r"(?<![\w.,])[-−]?(?:\\?[$€£]\s?)?\d[\d,]*(?:\.\d+)?(?:\s\d+/\d+|/\d+|[¼½¾⅓⅔⅛⅜⅝⅞])?"
    r"(?:\s?(?:%|°|[A-Za-z]+(?:[/²³][A-Za-z]*)*))?"
)


@dataclass(frozen=True)
class Place:
    """A place where an answer stands, and the texts that may be it."""

    texts: tuple[str, ...]
    boxed: bool = False
    """Whether it is a box, and the box is closed."""
    prose: bool = False
    """Whether nothing marks it: it is the whole text, or a sentence of it."""


def places(text: str, marks: Sequence[Mark]) -> Iterator[Place]:
    """The places that give the answer, the one that counts first; a further one counts only where it gives none.

    Args:
        text: the final part of a completion.
        marks: the answers that it marks, left to right.
    """
    boxes = [mark for mark in marks if mark.kind == "boxed"]
    if boxes:
        yield from _box(text, boxes)
    elif marks:
        if marks[-1].closed:
            yield Place(tuple(_in_phrase(marks[-1].text)))
    else:
        yield from _unmarked(text)


def later_marks(text: str, marks: Sequence[Mark]) -> Iterator[Place]:
    """Answers that a completion marks in another way after its last box: they must not contradict it."""
    end = max((mark.end for mark in marks if mark.kind == "boxed"), default=len(text))
    for mark in marks:
        final = mark.kind != "phrase" or _FINAL.search(text, 0, mark.start)
        if final and mark.kind != "boxed" and mark.closed and mark.start >= end:
            yield Place(tuple(_in_phrase(mark.text)))


def _box(text: str, boxes: Sequence[Mark]) -> Iterator[Place]:
    last = boxes[-1]
    if last.closed:
        joined = dict.fromkeys(part.strip() for part in _joined_boxes(text, boxes))
        yield Place((", ".join(joined),), boxed=True)
        return
    ended = _END_OF_FORMULA.search(last.text)
    if ended is not None and last.text[: ended.start()].strip():
        yield Place((last.text[: ended.start()].strip(),))


def _joined_boxes(text: str, boxes: Sequence[Mark]) -> list[str]:
    """The last box, and those that a comma or a word joins to it."""
    joined = [boxes[-1].text]
    for before, after in zip(boxes[-2::-1], boxes[:0:-1], strict=True):
        between = text[before.end : after.start]
        if len(between) > MAX_BETWEEN_BOXES or not (before.closed and _JOINS.search(between)):
            break
        if _BETWEEN_BOXES.fullmatch(between) is None:
            break
        joined.insert(0, before.text)
    return joined


def _in_phrase(text: str) -> Iterator[str]:
    """What a phrase announces: all of it, its first clause, its first formula, and what follows a verb in it."""
    text = _MARKUP.sub("", text[:MAX_MARK_CHARS])
    masked = _masked(text)
    yield from _clauses(text, masked)
    formula = _FORMULA.search(text)
    if formula:
        yield _content(formula)
    yield from _after_verb(text, masked)
    yield from _only_quantity(text)


def _unmarked(text: str) -> Iterator[Place]:
    text = _BOLD.sub(r"\2", text[-MAX_PROSE_CHARS:]).strip()
    if not text:
        return
    if len(text) <= MAX_WHOLE_CHARS:
        listed = _bullets(text)
        if listed is not None:
            yield Place((listed,), prose=True)
            return
        if not _FORMULA.search(text) or len(_WORD.findall(_FORMULA.sub(" ", text))) <= MAX_WORDS_BESIDE:
            yield Place((_MARKUP.sub("", text),), prose=True)
    masked = _masked(text)
    at = len(text)
    for sentence in reversed([s for s in _SENTENCE_END.split(masked) if s.strip()][-MAX_SENTENCES:]):
        at = masked.rfind(sentence, 0, at)
        if not _ASIDE.match(sentence) and not sentence.rstrip().endswith("?"):
            yield Place(tuple(_in_sentence(text[at : at + len(sentence)], sentence)), prose=True)


def _in_sentence(text: str, masked: str) -> Iterator[str]:
    formulas = list(_FORMULA.finditer(text))
    if formulas:
        yield from _of_formulas(text, masked, formulas)
        return
    yield from _clauses(text, masked)
    # "There are 5 apples and 3 pears, so we have 8": what counts follows the last "so" ...
    concluded = [match.end() for match in _SO.finditer(masked)]
    start = concluded[-1] if concluded else 0
    # ... and "It is 12 litres, that is 30% of 40" ends where it is explained.
    aside = _ASIDE_AFTER.search(masked, start)
    end = aside.start() if aside is not None and aside.start() > start else len(text)
    yield from _clauses(text[start:end], masked[start:end])
    yield from _after_verb(text[start:end], masked[start:end])
    yield from _only_quantity(text[start:end])
    yield from _after_verb(text, masked)
    yield from _only_quantity(text)


def _of_formulas(text: str, masked: str, formulas: Sequence[re.Match[str]]) -> Iterator[str]:
    """What follows the verb before the last formula, the last formulas that words join, the last formula."""
    verbs = [match.end() for match in _VERB.finditer(masked) if match.end() <= formulas[-1].start()]
    if verbs:
        yield from _clauses(text[verbs[-1] :], masked[verbs[-1] :])
    first = len(formulas) - 1
    while first and _JOINED.fullmatch(text[formulas[first - 1].end() : formulas[first].start()]):
        first -= 1
    yield text[formulas[first].start() : formulas[-1].end()]
    yield _content(formulas[-1])


def _after_verb(text: str, masked: str) -> Iterator[str]:
    """What follows each verb, the last verb first."""
    for match in list(_VERB.finditer(masked))[: -MAX_VERBS - 1 : -1]:
        yield from _clauses(text[match.end() :], masked[match.end() :])


def _clauses(text: str, masked: str) -> Iterator[str]:
    """The text, and each beginning of it that ends where a clause does."""
    yield _MARKUP.sub("", text)
    for match in islice(_CLAUSE_END.finditer(masked), MAX_VERBS):
        if match.start():
            yield _MARKUP.sub("", text[: match.start()])


def _only_quantity(text: str) -> Iterator[str]:
    """The number of a text that holds one only, with the word behind it."""
    found = {match[0] for match in _QUANTITY.finditer(text)}
    if len(found) == 1:
        yield from found


def _bullets(text: str) -> str | None:
    """The items of a text that is a list with bullets or numbers and nothing else."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(_BULLET.match(line) for line in lines):
        return None
    return ", ".join(_MARKUP.sub("", _BULLET.sub("", line)) for line in lines)


def _masked(text: str) -> str:
    """The text with its formulas blanked out, so that no word is looked for in them."""
    return _FORMULA.sub(lambda m: "_" * len(m[0]), text) if "$" in text or "\\" in text else text


def _content(formula: re.Match[str]) -> str:
    return next(group for group in formula.groups() if group)
