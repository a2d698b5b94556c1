r"""The verifier of a row that names none, from its gold answer and its prompt.

gold                          prompt                       verifier
B                             lists options                choice
yes, no, true, false                                       yesno
\frac{14}{3}, x^2, (3, 4]                                  math
18, -3, 7/4                   asks for \boxed{}             math
18, -3, 7/4, 25%, 5 km                                     numeric
{"city": "Rome"}    ["a", "b"]                             json
[1, 4, 9]                     speaks of JSON               json
2, 3, 5, 7    [1, 4, 9]                                    list
Paris, New Delhi, 2021-03-05, March 5, 2021                words
anything longer                                            exact
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from posttrain_diag.tasks.verifiers.choice import prompt_options
from posttrain_diag.tasks.verifiers.json_value import looks_like_json
from posttrain_diag.tasks.verifiers.numeric import gold_quantity
from posttrain_diag.tasks.verifiers.reading.demand import demanded_form
from posttrain_diag.tasks.verifiers.reading.option_mentions import Options, option_alone
from posttrain_diag.tasks.verifiers.reading.read_list import listed
from posttrain_diag.tasks.verifiers.reading.read_truth import truth_of
from posttrain_diag.tasks.verifiers.reading.word_forms import MAX_WORDS

WHY: Mapping[str, str] = {
    "choice": "the prompts list options and the answers name them",
    "yesno": "the answers are yes or no",
    "numeric": "the answers are numbers",
    "math": "the answers are formulas, or the prompts ask for \\boxed{answer}",
    "regex": "the prompts ask for \\boxed{answer}",
    "json": "the answers are JSON",
    "list": "the answers are lists",
    "words": "the answers are words or names",
    "exact": "the answers are longer texts or formulas",
}
"""For each type of verifier what its choice rests on, as the user is told."""
_ALSO_WORDS = ("right", "wrong", "true", "false", "correct", "incorrect")
"""They may be words like others: the opposite of left is right."""
_ASKS_FOR_A_WORD = re.compile(
    r"\b(?:what|which)\b[^.?!]*\b(?:opposite|antonym|synonym|word|direction|side|hand)\b"
    r"|\b(?:antonym|synonym|opposite) (?:of|for)\b",
    re.IGNORECASE,
)
_BOTH_SIDES = re.compile(
    r"\b(?:true|right|correct|yes)\W{0,3}(?:or|/|,)\W{0,3}(?:false|wrong|incorrect|no)\b", re.IGNORECASE
)
_ASKS_FOR_A_LETTER = re.compile(
    r"\b(?:options?|choices?|choose|which of the following|multiple[ -]choice)\b", re.IGNORECASE
)
_LETTER = re.compile(r"\(?[A-J]\)?")
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_CODE = re.compile(
    rf"""\d+(?:-\d+)+ | [A-Za-z]{{2,}}\w*(?:_[A-Za-z0-9]+)+ | https?://\S+
      | (?:{_MONTHS})\s\d{{1,2}}(?:st|nd|rd|th)?,\s\d{{4}}""",
    re.VERBOSE,
)
"""What is said as it stands, though it looks like a formula or a list: dates, ranges, telephone numbers, names of
variables, addresses."""
_INTERVAL = re.compile(r"\([^()\[\]]+,[^()\[\]]+\]|\[[^()\[\]]+,[^()\[\]]+\)")
_FORMULA = re.compile(
    r"\\[A-Za-z]+|[\^_]|(?<![<>=!])=(?!=)|\\pm|√|π|(?<![A-Za-z])[a-z]\s*[-+*/]\s*[a-z\d]|\d[a-z](?![a-z])|\d\s*[-+*]\s*\d|[≤≥<>]"
)


def kind_of(answer: str, prompt: str) -> str:
    """What kind of answer a gold is: the type that reads it best, or "formula" for LaTeX that `math` cannot read."""
    answer = answer.strip()
    texts = prompt_options(prompt)
    if texts and "\n" not in answer and option_alone(answer, Options(texts, lettered=True)) is not None:
        return "choice"
    if not texts and _LETTER.fullmatch(answer) and _ASKS_FOR_A_LETTER.search(prompt):
        return "choice"
    if _is_truth(answer, prompt):
        return "yesno"
    if _CODE.fullmatch(answer) and demanded_form(prompt) != "boxed":
        return "words"
    if _looks_like_math(answer, prompt):
        return "math"
    if gold_quantity(answer) is not None:
        return "numeric"
    boxed = demanded_form(prompt) == "boxed"
    if looks_like_json(answer, prompt):
        return "json"
    if boxed or _INTERVAL.fullmatch(answer) or (_FORMULA.search(answer) and len(answer) <= 200 and "\n" not in answer):
        return "formula"
    if "\n" in answer or len(answer) > 200:
        return "exact"
    if listed(answer) is not None:
        return "list"
    return "words" if len(answer.split()) <= MAX_WORDS else "exact"


def _is_truth(answer: str, prompt: str) -> bool:
    """Whether an answer is a yes or a no, and not a word that the prompt asks for."""
    if truth_of(answer) is None or answer.lower() in ("y", "n", "t", "f", "si", "ne", "da"):
        return False
    word = answer.lower() in _ALSO_WORDS and _ASKS_FOR_A_WORD.search(prompt) is not None
    return not word or _BOTH_SIDES.search(prompt) is not None


def _looks_like_math(answer: str, prompt: str) -> bool:
    from posttrain_diag.tasks.verifiers.math.verifier import looks_like_math

    return looks_like_math(answer, prompt)


def default_verifier(answer: str, prompt: str, *, boxed: Mapping[str, Any]) -> Mapping[str, Any]:
    """The verifier for a row that names none.

    Args:
        answer: the gold answer.
        prompt: what is asked.
        boxed: the verifier for an answer in a box that cannot be read as mathematics.
    """
    kind = kind_of(answer, prompt)
    if kind == "formula":
        return boxed if demanded_form(prompt) == "boxed" else {"type": "exact", "compare": "latex"}
    return {"type": kind}
