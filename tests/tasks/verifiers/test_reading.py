"""The parts of the reading layer: sentences, corrections, demanded forms, units, number words, the choice of verifier."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.tasks import verify
from posttrain_diag.tasks.verifiers.choice import prompt_options
from posttrain_diag.tasks.verifiers.defaults import kind_of
from posttrain_diag.tasks.verifiers.reading.demand import demanded_form, demanded_tag
from posttrain_diag.tasks.verifiers.reading.number_words import iter_number_words
from posttrain_diag.tasks.verifiers.reading.question import question_of
from posttrain_diag.tasks.verifiers.reading.sentences import after_correction, second_thought, sentences
from posttrain_diag.tasks.verifiers.reading.units import asked_measure, measure_after
from posttrain_diag.tasks.verifiers.words import only_mentioned
from tasks.conftest import FIXED, problem


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One", "Two", "Three"]),
        ("It is 2.5 m. Yes.", ["It is 2.5 m", "Yes"]),
        ("Dr. Smith came. J. K. Rowling wrote it.", ["Dr. Smith came", "J. K. Rowling wrote it"]),
        ("The answer is A. No, B.", ["The answer is A", "No, B"]),
        ("Mumbai... no, sorry: New Delhi.", ["Mumbai", "no, sorry: New Delhi"]),
        ("- red\n- blue", ["red", "blue"]),
        ("答えは12です。はい。", ["答えは12です", "はい"]),
        ("No. 5 is right", ["No. 5 is right"]),
        ("...", []),
    ],
)
def test_sentences(text: str, parts: list[str]):
    assert [part.text for part in sentences(text)] == parts


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("It is 11. Wait, that is wrong: it is 12.", "it is 12."),
        ("Mumbai... no, sorry: New Delhi.", "New Delhi."),
        ("I first had 5, but I made a slip: 6", "6"),
        ("18. Sorry, 20.", "20."),
        ("That is wrong.", "That is wrong."),
        ("It is 12.", "It is 12."),
    ],
)
def test_a_correction_takes_back_what_was_said_before(text: str, left: str):
    assert after_correction(text)[0] == left


def test_a_second_thought_counts_where_it_states_something_else():
    assert second_thought("Actually, it is 20.") == "it is 20."
    assert second_thought("Actually, let me check: 9 * 2 = 18.") is None
    assert second_thought("I like it.") is None


@pytest.mark.parametrize(
    ("prompt", "form"),
    [
        ("What is 7 + 5?", None),
        ("What is 7 + 5? Answer with the number only.", "bare"),
        ("Is it? Answer yes or no.", "bare"),
        ("Is it? Say yes or no, and explain why.", None),
        ("Give just the letter.", "bare"),
        ("Reply in one word.", "bare"),
        ("Antworte nur mit der Zahl.", "bare"),
        ("Jane gives just two apples to each of only 5 friends. How many apples?", None),
        ("Each answer only gives 3 points. How many for 4?", None),
        ("Put your final answer in \\boxed{}.", "boxed"),
        ("The toys are boxed in a box. How many?", None),
        ("End with '#### NUMBER'.", "hash"),
        ('Finish with "The answer is (X)".', "phrase"),
        ("The last line should be 'Answer: $LETTER'.", "phrase"),
        ("Write the result in <answer> tags.", "tag"),
        ("Reverse abc. Write it as <a>...</a>.", "tag"),
        ("Reply only with JSON.", "json"),
    ],
)
def test_the_form_a_prompt_demands(prompt: str, form: str | None):
    assert demanded_form(prompt) == form


def test_a_tag_of_ones_own():
    assert demanded_tag("Write it as <a>...</a>.") == "a"
    tagged = problem({"type": "words"}, "cba", prompt="Reverse abc. Write the answer as <a>...</a>.")
    assert verify("<a>cba</a>", tagged).strict
    bare = verify("The reverse of abc is cba.", tagged)
    assert (bare.strict, bare.lenient) == (False, True)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("twelve", [12]),
        ("twenty-five apples and five pears", [25, 5]),
        ("one hundred and five", [105]),
        ("two thousand three hundred", [2300]),
        ("two and a half", [Fraction(5, 2)]),
        ("three quarters", [Fraction(3, 4)]),
        ("minus three", [-3]),
        ("twice", [2]),
        ("a dozen", [12]),
        ("one of them, anyone, a four-letter word", []),
    ],
)
def test_numbers_in_words(text: str, values: list[int | Fraction]):
    assert [number.value for number in iter_number_words(text)] == values


def test_units():
    speeds = [measure_after(text, 0) for text in (" km/h", " kilometres per hour", " km per hour", "kmh")]
    first = speeds[0]
    assert first is not None and all(speed is not None and speed.same(first) for speed in speeds)
    volume, mile = measure_after(" cubic inches", 0), measure_after(" mph", 0)
    assert volume is not None and volume.dimension == "length^3"
    assert mile is not None and not mile.same(first) and mile.dimension == first.dimension
    assert measure_after(" in total", 0) is None and measure_after(" apples", 0) is None
    asked = asked_measure("A cyclist rides 36 km in 2 hours. How fast is that in km/h?")
    assert asked is not None and asked.same(first)


@pytest.mark.parametrize(
    ("answer", "prompt", "kind"),
    [
        ("12", "?", "numeric"),
        ("5 km", "?", "numeric"),
        ("3 2/5", "?", "numeric"),
        ("Yes", "?", "yesno"),
        ("False", "?", "yesno"),
        ("B", "Which?\nA) x\nB) y", "choice"),
        ("y", "Which?\nA) x\nB) y", "choice"),
        ("B", "Which of the following is it?", "choice"),
        ("O", "What is the symbol of oxygen?", "words"),
        ("2, 3, 5", "?", "list"),
        ("(2, 3)", "?", "list"),
        ("[2, 5)", "?", "math"),
        ("x^2 + 1", "?", "math"),
        ("\\frac{1}{2}", "?", "math"),
        ("\\frac{\\pi}{2}", "?", "math"),
        ('{"a": 1}', "?", "json"),
        ("New Delhi", "?", "words"),
        ("a text\nof two lines", "?", "exact"),
    ],
)
def test_the_kind_of_a_gold(answer: str, prompt: str, kind: str):
    assert kind_of(answer, prompt) == kind


def test_what_a_question_asks():
    asked = question_of("A hall has 7 rows of 6 seats. What is the number of seats in percent?")
    assert asked.numbers == {7, 6} and asked.asks_percent
    assert question_of("What is the capital of France?").focus == {"capital", "france"}
    assert question_of("Who wrote it?").person and question_of("In which city is it?").place
    assert question_of("Which is NOT a mammal?").negative


def test_of_a_prompt_with_solved_examples_the_last_question_counts():
    shots = "Question: 2 + 3?\nAnswer: 5\n\nQuestion: What is the capital of Peru?\nAnswer:"
    assert question_of(shots).numbers == frozenset() and question_of(shots).words == {"capital", "peru"}
    options = "Q: Which is red?\nA) blood\nB) snow\nAnswer: A\n\nQ: Which is white?\nA) coal\nB) milk\nC) ink\nAnswer:"
    assert prompt_options(options) == {"A": "coal", "B": "milk", "C": "ink"}


def test_a_pass_that_only_names_the_answer_can_be_told():
    asked = problem({"type": "words"}, "Paris", prompt="What is the capital of France?")
    assert only_mentioned("Every tourist in the capital of France sees Paris lights.", asked)
    assert not only_mentioned("It is Paris.", asked)
    assert not only_mentioned("It is Lyon.", asked)


@FIXED
@given(st.text(max_size=80), st.sampled_from(["12", "Paris", "yes", "2, 3", "B"]))
def test_any_text_can_be_read(text: str, gold: str):
    prompt = "Which?\nA) red\nB) blue" if gold == "B" else "What is the capital of France, and is it 12?"
    for kind in (
        "words",
        "exact",
        "contains",
        *{"12": ["numeric"], "yes": ["yesno"], "2, 3": ["list"], "B": ["choice"]}.get(gold, []),
    ):
        judged = verify(text, problem({"type": kind}, gold, prompt=prompt))
        assert judged.lenient or not judged.strict
