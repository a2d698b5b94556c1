"""Answers in the manner of chat models: the marks that the project holds itself to, and the kinds of fault behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.answers.score import by_kind, judge_answers
from posttrain_diag.tasks import verify
from posttrain_diag.tasks.verifiers.defaults import default_verifier
from posttrain_diag.tasks.verifiers.reading import final_part
from posttrain_diag.tasks.verifiers.reading.demand import demanded_form
from posttrain_diag.tasks.verifiers.reading.marks import MAX_MARKS, find_marks
from posttrain_diag.types import Problem

ANSWERS = Path(__file__).parents[3] / "benchmarks" / "answers" / "data"


@pytest.mark.parametrize("name", ["answers", "chat_models"])
def test_labelled_answers_are_read_as_labelled(name: str) -> None:
    tallies = by_kind(judge_answers(ANSWERS / f"{name}.jsonl"))
    total = tallies.pop("all")
    assert total.right_accepted >= 0.97 * total.right and total.wrong_accepted <= 0.02 * total.wrong
    assert total.agree >= 0.95 * total.labelled
    for kind, tally in tallies.items():
        assert tally.right_accepted >= 0.9 * tally.right, kind
        assert tally.wrong_accepted <= 0.08 * max(tally.wrong, 13), kind


@pytest.mark.parametrize(
    "prompt",
    [
        "Pat is to select six cookies from a tray containing only chocolate chip and oatmeal cookies. How many ways?",
        "Tom must give only half of his 40 stamps away. How many does he keep?",
        "Each answer only gives 3 points. How many points do 5 answers give?",
        "Write a function to extract only the rear element of each string.",
        "Write a function to convert a list of integers into a single integer.",
        "How many integers can be written with a single digit?",
        "Convert 0.5 to a fraction without any common divisor.",
    ],
)
def test_a_prompt_that_tells_of_only_demands_no_form(prompt: str) -> None:
    assert demanded_form(prompt) is None


@pytest.mark.parametrize(
    "prompt",
    [
        "What is 2 + 2? Answer only with the number.",
        "What is 2 + 2? You must answer with a single number.",
        "What is 2 + 2? Make sure to output just the result.",
        "What is 2 + 2? Give the number alone.",
        "What is 2 + 2? Write the result, nothing else.",
        "Was ist 2 + 2? Antworte nur mit der Zahl.",
        "Сколько будет 2 + 2? Отвечай только числом.",
    ],
)
def test_orders_demand_the_answer_alone(prompt: str) -> None:
    assert demanded_form(prompt) == "bare"


@pytest.mark.parametrize("box", [r"\boxed{7}", r"\fbox{7}", r"\framebox{7}", r"\boxed 7", r"\fbox 7"])
def test_every_box_is_a_box(box: str) -> None:
    marks = list(find_marks(f"So ${box}$."))
    assert [(mark.kind, mark.text) for mark in marks] == [("boxed", "7")]


def test_of_many_phrases_the_last_ones_are_looked_at() -> None:
    marks = list(final_part("The answer is 5 or so; " * 5000).marks())
    assert len(marks) == MAX_MARKS


def judged(kind: str, prompt: str, answer: str, text: str) -> bool:
    return verify(text, Problem("p", prompt, None, answer, {"type": kind})).lenient


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("No, that is not correct.", "no"),
        ("No, this statement is false.", "no"),
        ("Nope, that's wrong; it has two divisors.", "no"),
        ("Yes, that is correct.", "yes"),
        ("Yes. Wait, that is wrong. No.", "no"),
    ],
)
def test_a_no_may_say_itself_again(text: str, says: str) -> None:
    for gold in ("yes", "no"):
        assert judged("yesno", "Is 57 a prime number?", gold, text) == (gold == says)


def test_a_comparison_of_things_of_one_kind() -> None:
    prompt = "Is a litre of mercury heavier than a litre of water?"
    assert judged("yesno", prompt, "yes", "A litre of mercury is heavier than a litre of water.")
    assert not judged("yesno", prompt, "yes", "A litre of water is heavier than a litre of mercury.")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Nora is **15**. In 6 years she will be 21.", True),
        ("Nora is 15 now and was 7 eight years ago.", True),
        ("Nora is **7** years old. Eight years ago she was 15.", False),
        ("**Step 1**: 2x = 30. **Step 2**: x = 15.", True),
    ],
)
def test_the_number_of_now(text: str, right: bool) -> None:
    prompt = "In 6 years Nora will be three times as old as she was 8 years ago. How old is she now?"
    assert judged("numeric", prompt, "15", text) == right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("A を選びます。B ではありません。", False),
        ("B를 선택합니다. A가 아닙니다.", True),
        ("A? No. B? Yes.", True),
        ("A) red ❌\nB) blue ✅\nC) green ❌", True),
        ("A) red ✅\nB) blue ❌\nC) green ❌", False),
        ("B\n\nExplanation: A is a warm colour.", True),
    ],
)
def test_options_told_apart(text: str, right: bool) -> None:
    assert judged("choice", "Which colour is cold?\nA) red\nB) blue\nC) green", "B", text) == right


def _numeric(prompt: str) -> Problem:
    return Problem(id="a", prompt=prompt, messages=(), answer="12", verifier={"type": "numeric"})


@pytest.mark.parametrize(
    ("said", "strict"),
    [
        ("5 + 7 = 12, so Zoe has 12 pens.\nanswer: 12", True),
        ("**Answer:** 12", True),
        ("Zoe has 5 + 7 = 12 pens now.\nThe answer is: 12", False),
        ("Zoe has 5 + 7 = 12 pens now. The answer is 12.", False),
    ],
)
def test_a_quoted_lead_is_the_form(said: str, strict: bool) -> None:
    """Where the prompt quotes 'answer: N', a sentence that says what the answer is has another form."""
    row = _numeric("How many pens does Zoe have now? End with a line 'answer: N'.")
    judged = verify(said, row)
    assert (judged.strict, judged.lenient) == (strict, True)


def test_a_lead_of_another_name_is_another_form() -> None:
    """The words before the colon count as well."""
    row = _numeric("How many? Finish with 'Final answer: N'.")
    assert verify("Final answer: 12", row).strict
    assert not verify("Result: 12", row).strict


@pytest.mark.parametrize(
    ("prompt", "answer", "kind"),
    [
        ("What is the opposite of left?", "right", "words"),
        ("What is the opposite of true?", "false", "words"),
        ("Give an antonym for wrong.", "right", "words"),
        ("Is the sun a star?", "true", "yesno"),
        ("What is the opposite claim, true or false: all birds fly?", "false", "yesno"),
    ],
)
def test_a_truth_word_may_be_a_word(prompt: str, answer: str, kind: str) -> None:
    """Right is the opposite of left, and no yes."""
    assert default_verifier(answer, prompt, boxed={})["type"] == kind


@pytest.mark.parametrize(
    ("answer", "said", "other"),
    [
        ("2021-03-05", "The date March 5, 2021 is 2021-03-05.", "The date March 5, 2021 is 2021-05-03."),
        ("March 5, 2021", "It happened on March 5, 2021.", "It happened on March 6, 2021."),
        ("555-1234", "Her number is 555-1234.", "Her number is 555-1243."),
        ("max_depth", "The parameter is called `max_depth`.", "The parameter is called `min_depth`."),
    ],
)
def test_dates_and_codes_are_read_in_sentences(answer: str, said: str, other: str) -> None:
    """They look like formulas or lists and are neither."""
    verifier = default_verifier(answer, "Which is it?", boxed={})
    row = Problem(id="a", prompt="Which is it?", messages=(), answer=answer, verifier=verifier)
    assert verify(answer, row).strict and verify(said, row).strict
    assert not verify(other, row).lenient
