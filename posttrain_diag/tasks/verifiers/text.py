r"""The lenient reading of text: what is left once surface format is forgiven.

    fold    unicode form, case, invisible characters, runs of white space
    peel    + what surrounds an answer: quotes, brackets, markdown, \boxed{}, "the answer is", final punctuation
    marked  the answer a completion marks as its own: \boxed{18}, "#### 18", "The answer is 18.", <answer>18</answer>

Forgiving format must not become guessing: one completion offers at most its whole text and one marked answer.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from posttrain_diag.tasks.verifiers.numbers import Number, lone_number, same_number
from posttrain_diag.tasks.verifiers.reading.marks import balanced

MAX_CHARS = 20_000
"""Texts longer than this are folded but not peeled: no answer is that long."""
REMEMBERED_CHARS = 200
"""Peeled forms of texts up to this length are remembered."""
MAX_MARKS = 20
"""Most answer marks looked at, from the end (or the start) of a completion: this bounds the work on hostile text."""

_BRACKETS = {"[": "]", "(": ")", "{": "}", "<": ">"}
_PAIRS = (
    *(("```", "```"), ("**", "**"), ("__", "__"), ("~~", "~~"), ("$$", "$$")),
    *(("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"), ("*", "*"), ("_", "_"), ("`", "`"), ('"', '"'), ("'", "'")),
)
_LATEX_WRAPPERS = ("\\boxed{", "\\fbox{", "\\text{", "\\mathrm{", "\\textbf{", "\\mathbf{", "\\mbox{")
_TRANSLATE = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": "'"}
    | dict.fromkeys("−‐‑‒–—", "-")
    | {vulgar: f" {vulgar}" for vulgar in "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
    | {"⁄": "/"}
)
_ANSWER_IS = r"(?:(?:final|correct|right)\s+)?answer\b[\s*_]*(?:is\b|:|=)(?:[*_]+(?=\s))?[\s:=]*"
_LEAD = re.compile(
    rf"[*_]{{0,3}}(?:(?:so|thus|hence|therefore)\b,?\s*)?(?:(?:the|my)\s+)?{_ANSWER_IS}|####\s*|<answer>\s*|=\s*"
)
_MARK = re.compile(rf"{_ANSWER_IS}|####\s*|<answer>\s*|\\(?:boxed|fbox)\s*\{{", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.;](?:\s|$)|</answer>", re.IGNORECASE)
_SPACE_AT_PUNCTUATION = re.compile(r"\s*([,;:()\[\]{}])\s*")


@dataclass(frozen=True)
class Peeled:
    """What remains of an answer, and the outermost bracket that was taken off."""

    core: str
    bracket: str | None


def fold(text: str) -> str:
    """Text without the differences of case, unicode form, invisible characters and white space."""
    text = unicodedata.normalize("NFKC", text.translate(_TRANSLATE)).translate(_TRANSLATE)
    if not text.isascii():
        text = "".join(_plain(char) for char in text)
    return " ".join(text.casefold().split())


def peel(text: str) -> Peeled:
    """Fold a text and take off whatever may surround an answer without being part of it."""
    text = _SPACE_AT_PUNCTUATION.sub(r"\1", fold(text))
    bracket: str | None = None
    if len(text) > MAX_CHARS:
        return Peeled(text, None)
    while True:
        inner, opened = _peel_once(text)
        if not inner or inner == text:
            return Peeled(text, bracket)
        bracket = bracket or opened
        text = inner


def _form(text: str) -> tuple[Peeled, Number | None]:
    """A peeled text and the number that it is; answers come again and again, so short ones are remembered."""
    return _remembered(text) if len(text) <= REMEMBERED_CHARS else _formed(text)


def _formed(text: str) -> tuple[Peeled, Number | None]:
    peeled = peel(text)
    return peeled, lone_number(peeled.core)


_remembered = lru_cache(8192)(_formed)


def same_leniently(found: str, answer: str) -> bool:
    """Whether two texts give the same answer once surface format is forgiven.

    A bracket may be missing on one side, but `[3]` and `(3)`, `[]` and `()` stay different answers.
    """
    (a, number_a), (b, number_b) = _form(found), _form(answer)
    if a.bracket is not None and b.bracket is not None and a.bracket != b.bracket:
        return False
    if a.core == b.core:
        return True
    return number_a is not None and number_b is not None and same_number(number_a, number_b, lenient=True)


def marked_answer(completion: str, *, first: bool = False) -> str | None:
    """The text after the last (or first) answer mark, to the end of its line or box; None without a mark."""
    marks = list(_MARK.finditer(completion))
    for match in marks[:MAX_MARKS] if first else marks[: -MAX_MARKS - 1 : -1]:
        if match[0].endswith("{"):
            content = balanced(completion, match.end())
        else:
            line_end = completion.find("\n", match.end())
            content = completion[match.end() : line_end if line_end >= 0 else None].strip()
        if content:
            return content
    return None


def readings(completion: str, *, first: bool = False) -> tuple[str, ...]:
    """The texts a lenient reading may take for the answer: the whole, and the marked answer (line and sentence)."""
    marked = marked_answer(completion, first=first)
    if marked is None:
        return (completion,)
    return completion, marked, _SENTENCE_END.split(marked, maxsplit=1)[0]


def _plain(char: str) -> str:
    if unicodedata.category(char) == "Cf":
        return ""
    digit = unicodedata.decimal(char, None)
    return char if digit is None else str(digit)


_BRACKET_CHARS = frozenset("[](){}")


def _peel_once(text: str) -> tuple[str, str | None]:
    """A text with one layer taken off, and the bracket that was taken off or None."""
    text = text.strip()
    if text.endswith("</answer>"):
        return text.removesuffix("</answer>"), None
    for opening in _LATEX_WRAPPERS:
        if text.startswith(opening) and balanced(text, len(opening)) == text[len(opening) : -1]:
            return text[len(opening) : -1], None
    for opening, closing in _PAIRS:
        enclosed = text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing)
        inner = text[len(opening) : -len(closing)] if enclosed else ""
        if enclosed and opening not in inner and closing not in inner:
            return inner, None
    lead = _LEAD.match(text)
    if lead and lead.end() < len(text):
        return text[lead.end() :], None
    if text.count("**") == 1 and (text.startswith("**") or text.endswith("**")):
        return text.replace("**", ""), None
    if _is_bracketed(text):
        return text[1:-1], text[0]
    brackets = [] if _BRACKET_CHARS.isdisjoint(text) else [char for char in text if char in _BRACKET_CHARS]
    if len(brackets) == 1 and len(text) > 1:
        # A single stray bracket: the other one was forgotten.
        if text[0] == brackets[0]:
            return text[1:], None
        if text[-1] == brackets[0]:
            return text[:-1], None
    trimmed = text.rstrip(".,;:") if len(text) > 1 else text
    if trimmed == text and len(text) > 1 and text[-1] in "!?" and not text[-2].isdigit():
        trimmed = text[:-1]
    return trimmed, None


def _is_bracketed(text: str) -> bool:
    """Whether the first character opens a bracket that only the last character closes."""
    if len(text) < 3 or text[0] not in _BRACKETS or text[-1] != _BRACKETS[text[0]]:
        return False
    depth = 0
    for i, char in enumerate(text):
        depth += (char == text[0]) - (char == text[-1])
        if depth == 0:
            return i == len(text) - 1
    return False
