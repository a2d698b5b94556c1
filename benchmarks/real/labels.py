"""What is right, by rules that do not use the product's verifiers, and by eye where rule and verifier differ.

A rule is strict about what it is sure of. Texts on which it differs from the product's verifier were read, the most
frequent first; labels/FAMILY.jsonl holds what the reader said, and it goes before the rule.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.real.families import Row

LABELS = Path(__file__).parent / "labels"
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
NAMED = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
WORDS = {word: n for n, word in enumerate(NAMED.split())} | {"once": 1, "twice": 2, "thrice": 3}


@dataclass(frozen=True)
class Label:
    """What is true of one text."""

    right: bool
    """In substance: it answers with the right value."""
    strict: bool
    """And in the form that the task demands; the same where it demands none."""


def _numbers(text: str) -> list[float]:
    found = [(m.start(), float(m.group().replace(",", ""))) for m in NUMBER.finditer(text)]
    for word, n in WORDS.items():
        found += [(m.start(), float(n)) for m in re.finditer(rf"\b{word}\b", text.lower())]
    return [n for _, n in sorted(found)]


def _last_number(text: str, row: Row) -> bool:
    """The last number is the answer; where a sentence says what "equals" or "is" one, the last of those."""
    gold = float(str(row["answer"]).rpartition("####")[2].replace(",", ""))
    said = re.findall(
        r"(?:=|\bequals?|\bis|\bare|\bhas|\btimes|answer:)\s*(?:only |just |exactly |to )?\**\$?([\w,.]+)", text
    )
    stated = [n for word in said for n in _numbers(word)]
    found = stated or _numbers(text)
    return bool(found) and found[-1] == gold


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _alone(text: str) -> str:
    return text.strip().rstrip(".!").strip().strip("\"'").casefold()


def _named(text: str, row: Row) -> bool:
    """The gold occurs as a word, behind what was asked about, and is not denied; accents do not matter."""
    gold, said = _plain(str(row["answer"])), _plain(text)
    asked = re.search(r"(?:capital|opposite) of (?:the )?['\"]?[a-z]+['\"]?", said)
    said = said if asked is None else said[: asked.start()] + said[asked.end() :]
    return re.search(rf"(?<!not )\b{re.escape(gold)}\b", said) is not None


def _says(text: str, row: Row) -> bool:
    """It begins with the gold word, or holds it and not its opposite."""
    words = re.findall(r"[a-z]+", text.casefold())
    other = "no" if row["answer"] == "yes" else "yes"
    return bool(words) and (words[0] == row["answer"] or (row["answer"] in words and other not in words))


def _letter(text: str, row: Row) -> bool:
    """It begins with the letter, whatever words follow (the letter was asked for); else it says the option's words."""
    options = dict(re.findall(r"^([A-D])\. (.*)$", str(row["prompt"]), re.MULTILINE))
    gold = str(row["answer"])
    found = re.match(r"\W*([A-D])\b[.):]?", text.strip())
    if found:
        return found.group(1) == gold
    said = [letter for letter, words in options.items() if re.search(rf"\b{re.escape(words)}\b", text, re.IGNORECASE)]
    return said == [gold]


def _city(text: str, row: Row) -> bool:
    return _named(text, {"answer": json.loads(row["answer"])["city"]})


def _object(text: str, row: Row) -> bool:
    try:
        return bool(json.loads(text) == json.loads(row["answer"]))
    except ValueError:
        return False


def _date(text: str, row: Row) -> bool:
    return re.search(rf"{row['answer']}(?![-\w])", text) is not None


RULES: dict[str, tuple[Callable[[str, Row], bool], Callable[[str, Row], bool] | None]] = {
    "sums": (_last_number, None),
    "word-sums": (
        _last_number,
        lambda t, r: re.search(rf"answer:\s*{r['answer']}\.?\s*$", t, re.IGNORECASE) is not None,
    ),
    "products": (_last_number, None),
    "letter-count": (_last_number, None),
    "units": (_last_number, None),
    "gsm8k": (_last_number, None),
    "capitals": (_named, None),
    "few-shot": (_named, None),
    "capitals-bare": (_named, lambda t, r: _alone(t) == r["answer"].casefold()),
    "yesno": (_says, lambda t, r: _alone(t) == r["answer"]),
    "choice": (_letter, lambda t, r: re.fullmatch(rf"\W*{r['answer']}\W*", t.strip()) is not None),
    "json": (_city, _object),
    "tag": (_named, lambda t, r: re.search(rf"<answer>\s*{r['answer']}\s*</answer>", t, re.IGNORECASE) is not None),
    "reverse": (_named, lambda t, r: _alone(t) == r["answer"]),
    "dates": (_date, lambda t, r: _alone(t) == r["answer"]),
}
"""Family -> rule of substance, rule of form (None: the task demands none). Code is judged by its own tests."""


@cache
def read_by_eye(family: str) -> dict[tuple[str, str], Label]:
    """(problem, text) -> label, of the texts that were read."""
    path = LABELS / f"{family}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(row["id"], row["text"]): Label(row["right"], row["strict"]) for row in rows}


def label(family: str, row: Row, text: str) -> Label:
    """What is true of a text that answers a row of a family."""
    if (read := read_by_eye(family).get((str(row["id"]), text))) is not None:
        return read
    if family not in RULES:  # code: labels/mbpp.jsonl holds every text that passes its tests
        return Label(right=False, strict=False)
    substance, form = RULES[family]
    right = substance(text, row)
    strict = right if form is None else form(text, row)
    return Label(right or strict, strict)
