r"""Layouts of multiple-choice tasks: the options are listed in the prompt, the gold is a letter.

    mmlu           {"question": "...", "choices": ["red", "blue"], "answer": 1, "subject": "..."}
    mmlu-pro       {"question": "...", "options": ["red", "blue"], "answer": "B", "answer_index": 1}
    medqa          {"question": "...", "options": {"A": "red", "B": "blue"}, "answer": "blue", "answer_idx": "B"}
    arc            {"question": "...", "choices": {"text": ["red", "blue"], "label": ["A", "B"]}, "answerKey": "B"}
    openbookqa     {"question_stem": "...", "choices": {"text": [...], "label": [...]}, "answerKey": "B"}
    ceval          {"question": "...", "A": "red", "B": "blue", "C": "green", "D": "grey", "answer": "B"}
    gpqa           {"Question": "...", "Correct Answer": "blue", "Incorrect Answer 1": "red", ...}
    sciq           {"question": "...", "correct_answer": "blue", "distractor1": "red", ..., "support": "..."}
    truthfulqa     {"question": "...", "mc1_targets": {"choices": ["blue", "red"], "labels": [1, 0]}}
    hellaswag      {"ctx": "...", "endings": ["...", "..."], "label": "1"}
    swag, medqa-hf {"sent1": "...", "sent2": "...", "ending0": "...", ..., "label": 1}
    piqa           {"goal": "...", "sol1": "...", "sol2": "...", "label": 1}
    copa           {"premise": "...", "question": "cause", "choice1": "...", "choice2": "...", "label": 1}
    winogrande     {"sentence": "... _ ...", "option1": "...", "option2": "...", "answer": "2"}
    siqa           {"context": "...", "question": "...", "answerA": "...", ..., "label": "1"}
    medmcqa        {"question": "...", "opa": "...", ..., "opd": "...", "cop": 1}
    aqua           {"question": "...", "options": ["A)21", "B)23"], "correct": "A"}
    logiqa, race   {"context" or "article": "...", "question": "...", "options": [...], "answer" or "label": ...}
    agieval        {"query": "... (A) ... (B) ...", "choices": ["(A) ...", "(B) ..."], "gold": [1]}

A number is an index from 0, but for WinoGrande and Social IQa, which count from 1. Where the right option always comes
first in the file (GPQA, SciQ, TruthfulQA) the order is drawn from a hash of the question: the same in every run.
"""

from __future__ import annotations

import ast
import hashlib
import random
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from posttrain_diag.tasks.problems.cells import Reader, shown
from posttrain_diag.tasks.problems.drafts import Draft, Layout, layout, tags
from posttrain_diag.tasks.problems.rows import is_missing
from posttrain_diag.tasks.verifiers.choice import prompt_options
from posttrain_diag.tasks.verifiers.text import fold
from posttrain_diag.types import Message

LETTERS = string.ascii_uppercase
CONTEXTS = ("context", "passage", "article", "body", "support", "story")
"""Columns whose text belongs before the question."""
_TAGS = ("subject", "category", "subject_name", "topic")
_PREFIX = re.compile(r"\s*\(?([A-Z])\s*[).:]\s*(?=\S)")
_LETTER_GOLD = re.compile(r"\s*\(?([A-Za-z])[).:]?\s*")
_NOTE = "multiple choice: the options are listed in the prompt, the letter is the answer"
_SHUFFLED = f"{_NOTE}; their order is drawn from a hash of the question"


@dataclass(frozen=True)
class ListedOptions:
    """The options of a row in the order in which they are shown."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """What the file calls the options, where it says so: "A", "B", ... or "1", "2", ..."""


def options_of(row: Reader, field: str) -> ListedOptions | None:
    """The options that a cell lists; None (and noted) when it lists none.

    They are a list of texts or of {text, label} objects, {"text": [...], "label": [...]}, or texts by letter; a text
    that is a list as JSON or as Python writes it is read as one.
    """
    value = row.json(field)
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = str(value)
    if isinstance(value, dict):
        return _from_object(row, field, cast("dict[str, Any]", value))
    if not isinstance(value, list):
        row.bad(field, f"expected a list of options, got {shown(row.get(field))}")
        return None
    items = [item for item in cast("list[Any]", value) if not is_missing(item)]
    objects = [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
    if objects and len(objects) == len(items):
        labels = [str(item.get("label", "")) for item in objects]
        return _listed(row, field, [item.get("text") for item in objects], labels if all(labels) else [])
    return _listed(row, field, items, [])


def _from_object(row: Reader, field: str, value: Mapping[str, Any]) -> ListedOptions | None:
    if isinstance(value.get("text"), list):
        labels = [str(label) for label in value.get("label") or value.get("labels") or []]
        return _listed(row, field, cast("list[Any]", value["text"]), labels)
    known = {str(key): text for key, text in value.items() if not is_missing(text)}  # Parquet fills structs with nulls
    return _listed(row, field, list(known.values()), list(known))


def _listed(row: Reader, field: str, texts: Sequence[Any], labels: Sequence[str]) -> ListedOptions | None:
    plain = [str(text).strip() if isinstance(text, (str, int, float)) else "" for text in texts]
    if not 2 <= len(plain) <= len(LETTERS) or not all(plain):
        row.bad(field, f"expected 2 to {len(LETTERS)} options, each a text, got {shown(list(texts))}")
        return None
    if labels and (len(labels) != len(plain) or len(set(labels)) != len(labels)):
        row.bad(field, f"expected one label for each of the {len(plain)} options, got {shown(list(labels))}")
        return None
    prefixes = [_PREFIX.match(text) for text in plain]
    if all(match is not None and match[1] == letter for match, letter in zip(prefixes, LETTERS, strict=False)):
        plain = [text[match.end() :].strip() for text, match in zip(plain, prefixes, strict=True) if match]
    return ListedOptions(tuple(plain), tuple(labels))


def options_in(row: Reader, *fields: str) -> ListedOptions | None:
    """The options that stand in columns of their own; those that are empty are left out at the end."""
    texts = [row.get(field) for field in fields]
    while len(texts) > 2 and texts[-1] is None:
        texts.pop()
    if any(text is None for text in texts):
        row.bad(fields[texts.index(None)], "expected an option, got an empty cell")
        return None
    labels = list(fields[: len(texts)]) if all(len(field) == 1 for field in fields) else []
    return _listed(row, fields[0], texts, labels)


def right_option(row: Reader, field: str, options: ListedOptions, first: int = 0) -> int | None:
    """The position of the right option, from 0; None (and noted) when the cell does not say which one it is.

    Args:
        row: the row with the gold.
        field: a letter or label, a number that counts from `first`, or the text of an option.
        options: what there is to choose from.
        first: the number of the first option.
    """
    value: Any = row.get(field)
    if isinstance(value, list) and len(cast("list[Any]", value)) == 1:
        value = cast("list[Any]", value)[0]
    found, why = _right(value, options, first)
    if found is None:
        row.bad_gold(field, why)
    return found


def _right(value: Any, options: ListedOptions, first: int) -> tuple[int | None, str]:
    """The position of the right option, and why there is none."""
    n = len(options.texts)
    accepted = f"a letter up to {LETTERS[n - 1]}, a number from {first} to {first + n - 1}, or the text of an option"
    if value is None or value in (-1, "-1"):
        return None, f"expected {accepted}, got none: splits for leaderboards hide it, take the validation split"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (str, int)) and str(value).strip() in options.labels:
        return options.labels.index(str(value).strip()), ""
    if isinstance(value, int) and not isinstance(value, bool):
        if first <= value < first + n:
            return value - first, ""
        counted = " (do the numbers count from 1? then give letters)" if value == first + n else ""
        return None, f"expected {accepted}, got {value}{counted}"
    if not isinstance(value, str):
        return None, f"expected {accepted}, got {shown(value)}"
    named = {at for at, text in enumerate(options.texts) if text == value.strip()}
    letter = _LETTER_GOLD.fullmatch(value)
    if letter is not None and LETTERS.index(letter[1].upper()) < n:
        named.add(LETTERS.index(letter[1].upper()))
    if value.strip().isdecimal() and first <= int(value) < first + n:
        named.add(int(value) - first)
    if len(named) == 1:
        return named.pop(), ""
    if named:
        which = " or ".join(LETTERS[at] for at in sorted(named))
        return None, f"{shown(value)} may mean option {which}: give the letter (or a whole number in JSON or Parquet)"
    return None, f"expected {accepted}, got {shown(value)}"


def shuffled(texts: Sequence[str], seed: str) -> tuple[ListedOptions, int]:
    """Options whose first one is right, in an order that depends on `seed` alone; and where the right one stands."""
    order = list(range(len(texts)))
    random.Random(hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()).shuffle(order)
    return ListedOptions(tuple(texts[at] for at in order)), order.index(0)


def asked(
    row: Reader,
    question: str | tuple[Message, ...] | None,
    options: ListedOptions | None,
    right: int | None,
    ask: str = "",
) -> Draft:
    """A question with its options as a draft; they are added to the prompt unless it lists them already.

    Args:
        row: the row, which is read for its tags.
        question: the text before the options, or chat turns; None when it could not be read.
        options: None when they could not be read.
        right: position of the right option.
        ask: what is asked of the options, where the question does not say it.
    """
    if question is None or options is None:
        return Draft(None, None)
    text = question if isinstance(question, str) else str(question[-1]["content"])
    texts = list(options.texts)
    known = list(prompt_options(text).values())
    if sorted(map(fold, known)) == sorted(map(fold, texts)) and len({*map(fold, texts)}) == len(texts):
        if right is not None:
            right = list(map(fold, known)).index(fold(texts[right]))
        texts = known
    elif not _lists(text, texts):
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, texts, strict=False)]
        text = "\n".join([*filter(None, (text.rstrip(), ask)), *lines, "Answer:"])
    return Draft(
        text if isinstance(question, str) else None,
        None if isinstance(question, str) else (*question[:-1], {**question[-1], "content": text}),
        None if right is None else LETTERS[right],
        {"type": "choice", "options": dict(zip(LETTERS, texts, strict=False))},
        tags=tags(row, *_TAGS),
    )


def _lists(prompt: str, texts: Sequence[str]) -> bool:
    r"""Whether a prompt names every option behind its letter: "(A)21 (B)23", "\\textbf{(A) }21"."""
    shown_so_far, folded = 0, fold(prompt)
    for letter, text in zip(LETTERS.lower(), texts, strict=False):
        found = re.compile(rf"(?<!\w)\(?{letter}\s*[).:][\s}}$*]*{re.escape(fold(text))}").search(folded, shown_so_far)
        if found is None:
            return False
        shown_so_far = found.end()
    return True


def with_context(row: Reader, question: str | None) -> str | None:
    """The question after the passage it is about, where the row has one."""
    if question is None:
        return None
    before: list[str] = []
    for field in CONTEXTS:
        value: Any = row.get(field)
        if isinstance(value, list) and all(isinstance(item, str) for item in cast("list[Any]", value)):
            value = "\n\n".join(cast("list[str]", value))
        if isinstance(value, str):
            before.append(value.strip())
        elif value is not None:
            row.bad(field, f"expected a text (or a list of texts) to put before the question, got {shown(value)}")
    return "\n\n".join([*before, question])


def _choice(question: str, options: str, *golds: str, first: int = 0, ask: str = "") -> Callable[[Reader], Draft]:
    """Makes a function that reads rows of one kind.

    Args:
        question: the column of the question.
        options: the column that lists the options, or several columns with one option each.
        *golds: columns that may say which option is right; those that are there must agree.
        first: the number of the first option.
        ask: what is asked of the options, where the question does not say it.
    """

    def read(row: Reader) -> Draft:
        text, messages = row.prompt(question)
        fields = options.split()
        found = options_of(row, fields[0]) if len(fields) == 1 else options_in(row, *fields)
        given = [gold for gold in golds if row.get(gold) is not None] or [golds[0]]
        rights = {gold: right_option(row, gold, found, first) for gold in given} if found is not None else {}
        if len(set(rights.values()) - {None}) > 1:
            said = ", ".join(f"{gold} {row.get(gold)!r}" for gold in rights)
            row.bad_gold(given[0], f"expected columns that name the same option, got {said}")
        right = next((each for each in rights.values() if each is not None), None)
        return asked(row, messages if text is None else with_context(row, text), found, right, ask)

    return read


def _first_is_right(question: str, right: str, *wrong: str) -> Callable[[Reader], Draft]:
    """Makes a function that reads rows whose right option and wrong ones stand in columns of their own."""

    def read(row: Reader) -> Draft:
        text = row.text(question)
        found = options_in(row, right, *wrong)
        if text is None or found is None:
            return Draft(None, None)
        return asked(row, with_context(row, text), *shuffled(found.texts, text))

    return read


def _arc_original(row: Reader) -> Draft:
    asked_of = row.mapping("question", required=True)
    if asked_of is None:
        return Draft(None, None)
    inner = Reader(asked_of, {})
    stem, found = inner.text("stem"), options_of(inner, "choices")
    for field, problem in inner.problems:
        row.bad(f"question.{field}", problem)
    return asked(row, stem, found, None if found is None else right_option(row, "answerKey", found))


def _truthfulqa(row: Reader) -> Draft:
    question, targets = row.text("question"), row.mapping("mc1_targets", required=True)
    if question is None or targets is None:
        return Draft(None, None)
    texts, labels = targets.get("choices", list(targets)), targets.get("labels", list(targets.values()))
    if not isinstance(texts, list) or not isinstance(labels, list) or cast("list[Any]", labels).count(1) != 1:
        row.bad("mc1_targets", f"expected choices and labels of which one is 1, got {shown(targets)}")
        return Draft(None, None)
    right = cast("list[Any]", labels).index(1)
    listed = [str(text) for text in cast("list[Any]", texts)]
    return asked(row, question, *shuffled([listed.pop(right), *listed], question))


def _swag(row: Reader) -> Draft:
    start, more = row.text("sent1"), row.text("sent2", required=False)
    found = options_in(row, "ending0", "ending1", "ending2", "ending3")
    right = None if found is None else right_option(row, "label", found)
    ask = "" if more is None else "Which continuation is the most likely?"
    return asked(row, None if start is None else " ".join(filter(None, (start, more))), found, right, ask)


def _copa(row: Reader) -> Draft:
    premise, kind = row.text("premise"), row.text("question")
    found = options_in(row, "choice1", "choice2")
    right = None if found is None else right_option(row, "label", found)
    asks = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}
    if kind is not None and kind not in asks:
        row.bad("question", f"expected cause or effect, got {kind!r}")
    return asked(row, premise, found, right, asks.get(kind or "", ""))


_CONTEXT = " ".join((*CONTEXTS, *_TAGS))
_PLAUSIBLE = "Which continuation is the most likely?"
CHOICES: dict[str, Layout] = {
    "mmlu": layout("question choices answer", _CONTEXT, _choice("question", "choices", "answer"), _NOTE),
    "mmlu-pro": layout(
        "question options answer",
        f"answer_index answer_idx {_CONTEXT}",
        _choice("question", "options", "answer", "answer_index", "answer_idx"),
        _NOTE,
    ),
    "choices": layout("prompt choices answer", _CONTEXT, _choice("prompt", "choices", "answer"), _NOTE),
    "options": layout("prompt options answer", _CONTEXT, _choice("prompt", "options", "answer"), _NOTE),
    "inspect": layout("input choices target", "", _choice("input", "choices", "target"), _NOTE),
    "arc": layout("question choices answerKey", _CONTEXT, _choice("question", "choices", "answerKey"), _NOTE),
    "arc (original)": layout("question answerKey", "", _arc_original, _NOTE),
    "openbookqa": layout(
        "question_stem choices answerKey", "", _choice("question_stem", "choices", "answerKey"), _NOTE
    ),
    "ceval": layout("question A B C D answer", f"E {_CONTEXT}", _choice("question", "A B C D E", "answer"), _NOTE),
    "gpqa": layout(
        "question correct_answer incorrect_answer_1 incorrect_answer_2 incorrect_answer_3",
        "",
        _first_is_right("question", "correct_answer", "incorrect_answer_1", "incorrect_answer_2", "incorrect_answer_3"),
        _SHUFFLED,
    ),
    "sciq": layout(
        "question correct_answer distractor1 distractor2 distractor3",
        _CONTEXT,
        _first_is_right("question", "correct_answer", "distractor1", "distractor2", "distractor3"),
        _SHUFFLED,
    ),
    "truthfulqa": layout("question mc1_targets", "", _truthfulqa, _SHUFFLED),
    "hellaswag": layout("ctx endings label", "", _choice("ctx", "endings", "label", ask=_PLAUSIBLE), _NOTE),
    "swag": layout("sent1 ending0 ending1 ending2 ending3 label", "sent2", _swag, _NOTE),
    "piqa": layout("goal sol1 sol2 label", "", _choice("goal", "sol1 sol2", "label"), _NOTE),
    "copa": layout("premise question choice1 choice2 label", "", _copa, _NOTE),
    "winogrande": layout(
        "sentence option1 option2 answer",
        "",
        _choice("sentence", "option1 option2", "answer", first=1, ask="What does _ stand for?"),
        _NOTE,
    ),
    "siqa": layout(
        "context question answerA answerB answerC label",
        "",
        _choice("question", "answerA answerB answerC", "label", first=1),
        _NOTE,
    ),
    "medmcqa": layout("question opa opb opc opd cop", _CONTEXT, _choice("question", "opa opb opc opd", "cop"), _NOTE),
    "aqua": layout("question options correct", _CONTEXT, _choice("question", "options", "correct"), _NOTE),
    "logiqa": layout("question options label", _CONTEXT, _choice("question", "options", "label"), _NOTE),
    "agieval": layout("query choices gold", "", _choice("query", "choices", "gold"), _NOTE),
}
"""Layouts of multiple-choice tasks by the data set that is known for each."""
