"""Whether an answer that is right in substance keeps the form that its prompt demands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from posttrain_diag.tasks.verifiers.reading.demand import demanded_form, demanded_lead, demanded_tag
from posttrain_diag.tasks.verifiers.reading.marks import Mark
from posttrain_diag.tasks.verifiers.reading.wrapping import without_fence


def keeps_form(
    text: str, marks: Sequence[Mark], prompt: str, *, right: Callable[[str], bool], alone: Callable[[str], bool]
) -> bool:
    """Whether a final part gives its answer in the form that the prompt demands; True where it demands none.

    Args:
        text: the final part.
        marks: the answers it marks.
        prompt: what was asked.
        right: whether a text that is marked is the right answer.
        alone: whether a text is the right answer and nothing else.
    """
    form = demanded_form(prompt)
    if form is None:
        return True
    if form == "bare":
        return alone(text.strip())
    if form == "json":
        return _is_json(without_fence(text))
    if form == "tag":
        return _in_tag(text, demanded_tag(prompt) or "answer", right)
    marked = [mark for mark in marks if mark.kind == form]
    if not marked or not marked[-1].closed or not right(marked[-1].text):
        return False
    lead = demanded_lead(prompt) if form == "phrase" else None
    line = text.rfind("\n", 0, marked[-1].start) + 1
    return lead is None or _leads(text[line : marked[-1].end], lead)


def _leads(line: str, lead: str) -> bool:
    """Whether a marked answer is led by these words: "The answer is 12" is another form than "answer: 12"."""
    said = re.sub(r"[*_`\"']", "", line)
    spaced = r"\s+".join(map(re.escape, lead[:-1].split()))
    return re.search(rf"\b{spaced}\s*:", said, re.IGNORECASE) is not None


def _in_tag(text: str, name: str, right: Callable[[str], bool]) -> bool:
    found = re.findall(rf"<{re.escape(name)}>(.*?)</{re.escape(name)}>", text, re.DOTALL | re.IGNORECASE)
    return bool(found) and right(found[-1])


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except ValueError:
        return False
