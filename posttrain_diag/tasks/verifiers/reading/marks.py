r"""The answers that a completion marks as its own.

    boxed     \boxed{18}   \fbox{18}   \framebox{18}   \boxed 5
    tag       <answer>18</answer>   [ANSWER]18[/ANSWER]   <|begin_of_box|>18<|end_of_box|>
    hash      #### 18
    phrase    The answer is 18.   **Final Answer:** 18   Answer\n18   La réponse est 18.   答案是18

The text of a mark is what stands there: to the brace or tag that closes it, or to the end of its line. A box or a tag
that never closes has been cut in the middle and says so (`closed`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from posttrain_diag.tasks.verifiers.reading.phrases import phrase_marks
from posttrain_diag.tasks.verifiers.reading.sentences import sentences

Kind = Literal["boxed", "tag", "hash", "phrase"]
MAX_MARKS = 200
"""Marks looked at, from the end: bounds the work on hostile text."""

_BOX = re.compile(r"\\(?:f?boxed|fbox|framebox)(?![A-Za-z])\s*(?:\{|(?=[^\s{]))")
_ONE_TOKEN = re.compile(r"\s*(\\[A-Za-z]+|-?[\d.,/]*\d|[^\s\\{}$])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TAG = re.compile(
    r"<(?P<name>answer|final_answer|final-answer|finalanswer|final|solution|result)>|\[(?P<bracket>ANSWER)\]|"
    r"<\|begin_of_box\|>",
    re.IGNORECASE,
)
_LETTER_FIRST = re.compile(r"[\s*_(]*[A-Z][.)][\s*_)]*(?=\S)")
"""A letter that is marked, as in `The answer is B. Because ...`."""
_HASH = re.compile(r"^[ \t]*####(?!#)[ \t]*(?P<text>[^\n]*)|(?<=\s)####(?!#)[ \t]*(?P<inner>[^\n]*)", re.MULTILINE)


@dataclass(frozen=True)
class Mark:
    """An answer that a completion marks."""

    kind: Kind
    text: str
    """What is marked, without the mark."""
    start: int
    """Where the mark begins in the text it was found in."""
    end: int
    """Where what is marked ends; after it the completion goes on."""
    closed: bool = True
    """False for a box or tag that is never closed: the answer was cut."""


def find_marks(text: str) -> Iterator[Mark]:
    """All marked answers of a text, left to right; a mark inside a box or a tag belongs to that."""
    found: list[Mark] = []
    if "box" in text and "\\" in text:
        found += _boxes(text)
    if "<" in text or "[" in text:
        found += _tags(text)
    if "####" in text:
        found += _hashes(text)
    found += [Mark("phrase", content, start, end) for start, end, content in phrase_marks(text, MAX_MARKS)]
    if len(found) > 1:
        found.sort(key=lambda mark: (mark.start, -mark.end))
    yield from found[-MAX_MARKS:]


def after_mark(text: str, mark: Mark) -> str:
    """What a text says after a marked answer: for a phrase (The answer is 18. It ...) from its second sentence on."""
    rest = text[mark.end :]
    if mark.kind in ("phrase", "hash"):
        parts = sentences(mark.text)
        letter = _LETTER_FIRST.match(mark.text)
        if letter or len(parts) > 1:
            return mark.text[letter.end() if letter else parts[1].start :] + rest
    return rest


def balanced(text: str, start: int) -> str | None:
    """The content of a brace group that opened just before `start`; None when it never closes."""
    depth = 1
    for match in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return text[start : match.start()]
    return None


def _boxes(text: str) -> Iterator[Mark]:
    end = -1
    for match in list(_BOX.finditer(text))[-MAX_MARKS:]:
        if match.start() < end:
            continue  # a box inside a box
        if not match[0].endswith("{"):
            token = _ONE_TOKEN.match(text, match.end())
            if token:
                yield Mark("boxed", token[1], match.start(), token.end())
            continue
        content = balanced(text, match.end())
        if content is None:
            yield Mark("boxed", text[match.end() :], match.start(), len(text), closed=False)
            continue
        end = match.end() + len(content) + 1
        yield Mark("boxed", content, match.start(), end)


def _tags(text: str) -> Iterator[Mark]:
    for match in list(_TAG.finditer(text))[-MAX_MARKS:]:
        closing = f"</{match['name']}>" if match["name"] else "[/ANSWER]" if match["bracket"] else "<|end_of_box|>"
        found = re.compile(re.escape(closing), re.IGNORECASE).search(text, match.end())
        if found:
            yield Mark("tag", text[match.end() : found.start()], match.start(), found.end())
        elif match["name"] is None or match["name"].lower() == "answer":
            yield Mark("tag", text[match.end() :], match.start(), len(text), closed=False)


def _hashes(text: str) -> Iterator[Mark]:
    for match in _HASH.finditer(text):
        content = match["text"] if match["text"] is not None else match["inner"]
        if content.strip():
            yield Mark("hash", content, match.start(), match.end())
