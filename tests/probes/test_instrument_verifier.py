"""Verifiers that reject right answers or accept wrong ones: seen in real draws, and never a confident verdict."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from posttrain_probes import acceptance, rejection
from posttrain_probes.synthetic import make_evidence, rollout_row

from .judged import confident, findings, judged, problem, verdict

NUMBERS = [str(100 + 37 * i) for i in range(24)]
NUMERIC = {"type": "numeric"}
Writes = Callable[[str], str]


def half_right(golds: list[str], right: Writes, wrong: Writes, draws: int = 32) -> list[list[str]]:
    """A model that is right half the time and writes so."""
    rng = random.Random(0)
    other = [golds[(i + 6) % len(golds)] for i in range(len(golds))]
    return [
        [right(gold) if rng.random() < 0.5 else wrong(away) for _ in range(draws)]
        for gold, away in zip(golds, other, strict=True)
    ]


def number(gold: str) -> str:
    return gold.split(maxsplit=1)[0].replace(",", "")


CALLABLES = """
import re

def spelling(completion, answer):
    return completion.strip() == answer

def any_number(completion, answer):
    return completion.strip().isdigit()

def right(completion, answer):
    return float(completion) == float(answer)

def result(completion, answer):
    return re.findall(r"result (\\S+) units", completion)[-1:] == [answer]

def total(completion, answer):
    return re.findall(r"^total (\\d+)$", completion)[-1:] == [answer]

def tagged(completion, answer):
    return completion.strip().endswith("answer: " + answer)

def boxed(completion, answer):
    return f"\\\\boxed{{{answer}}}" in completion

def program(completion, problem):
    space = {}
    try:
        exec(completion, space)
        return space["f"](1) == int(problem.id[1:])
    except Exception:
        return False

def same_text(completion, problem):
    return completion == problem.demos[0]
"""


@pytest.fixture
def callables(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    path = tmp_path / "rewards.py"
    path.write_text(CALLABLES)
    return lambda name: {"type": "python", "function": f"{path}:{name}"}


REJECTING: dict[str, tuple[list[str], dict[str, Any] | str, Writes]] = {
    "a unit in the gold": ([f"{n} apples" for n in NUMBERS], {"type": "exact"}, number),
    "the same word in all golds": (
        [f"word{n} please" for n in NUMBERS],
        {"type": "exact"},
        lambda gold: gold.split()[0],
    ),
    "a sentence where the bare answer is compared": (NUMBERS, "spelling", lambda gold: f"so there are {gold} of them"),
    "a fraction for a decimal": (
        [f"{i + 1}/4" for i in range(0, 48, 2)],
        "result",
        lambda gold: f"we get {int(gold.split('/')[0]) / 4}",
    ),
    "a pattern that misses surrounding text": (
        NUMBERS,
        "total",
        lambda gold: f"total {gold}" if int(gold) % 2 else f"the total comes to {gold} euros",
    ),
}


@pytest.mark.parametrize("name", REJECTING)
def test_right_answers_that_are_rejected_break_the_instrument(
    name: str, callables: Callable[[str], dict[str, str]]
) -> None:
    golds, given, right = REJECTING[name]
    verifier = callables(given) if isinstance(given, str) else given
    problems = [problem(i, gold, verifier) for i, gold in enumerate(golds)]
    evidence = judged(problems, half_right(golds, right, right), references={})
    assert ("verifier_inconsistent", "broken") in findings(evidence)
    assert not confident(evidence)


READ_LENIENTLY: dict[str, tuple[list[str], dict[str, Any], Writes]] = {
    "a sentence under exact": (NUMBERS, {"type": "exact"}, lambda gold: f"so there are {gold} of them"),
    "a fraction for a decimal": (
        [f"{i + 1}/4" for i in range(0, 48, 2)],
        {"type": "regex", "pattern": r"result (\S+) units"},
        lambda gold: f"we get {int(gold.split('/')[0]) / 4}",
    ),
    "a regex that misses surrounding text": (
        NUMBERS,
        {"type": "regex", "pattern": r"^total (\d+)$"},
        lambda gold: f"total {gold}" if int(gold) % 2 else f"the total comes to {gold} euros",
    ),
}


@pytest.mark.parametrize("name", READ_LENIENTLY)
def test_right_answers_in_a_sentence_are_read_and_not_rejected(name: str) -> None:
    golds, verifier, right = READ_LENIENTLY[name]
    problems = [problem(i, gold, verifier) for i, gold in enumerate(golds)]
    evidence = judged(problems, half_right(golds, right, right))
    table = evidence.measured
    assert 0.4 < table["lenient"].sum() / table["n"].sum() < 0.6
    assert rejection.rejected_answers(evidence) is None


def test_a_few_rejected_spellings_are_no_finding() -> None:
    """One right answer in thirty is written in words the verifier cannot read."""
    problems = [problem(i, gold, {"type": "exact"}) for i, gold in enumerate(NUMBERS)]
    texts = half_right(NUMBERS, str, str)
    texts = [
        [f"we get {text} here" if j == 0 and i < 8 else text for j, text in enumerate(row)]
        for i, row in enumerate(texts)
    ]
    assert rejection.rejected_answers(judged(problems, texts)) is None


def test_what_the_lenient_reading_passes_is_format() -> None:
    problems = [problem(i, gold, {"type": "exact"}) for i, gold in enumerate(NUMBERS)]
    texts = half_right(NUMBERS, lambda gold: f"The answer is {gold}.", lambda gold: f"The answer is {gold}.")
    assert findings(judged(problems, texts)) == []


def test_wrong_work_that_hits_small_answers_by_coincidence_is_not_right() -> None:
    """Golds 1..4 and long wrong work whose last number is any of them: a quarter hits, on every problem's gold."""
    rng = random.Random(1)
    verifier = {"type": "regex", "pattern": r"#### (\d)"}
    problems = [problem(i, str(1 + i % 4), verifier) for i in range(24)]
    texts = [[f"I think of a number like {rng.randint(1, 4)}" for _ in range(32)] for _ in problems]
    assert rejection.rejected_answers(judged(problems, texts)) is None


def test_last_numbers_of_other_shapes_are_not_the_answer() -> None:
    """x = 2, y = 7 is wrong where x = 3, y = 7 is right, though both end alike."""
    problems = [problem(i, f"x = 3, y = {i}", {"type": "exact"}) for i in range(12)]
    texts = [[f"x = 2, y = {i}"] * 8 + [f"x = 3, y = {i}"] * 8 for i in range(12)]
    assert findings(judged(problems, texts)) == []


def test_a_callable_that_compares_spellings(callables: Callable[[str], dict[str, str]]) -> None:
    golds = [f"{n}.50" for n in NUMBERS]
    texts = half_right(golds, lambda gold: gold.removesuffix("0"), lambda gold: gold)
    evidence = judged([problem(i, gold, callables("spelling")) for i, gold in enumerate(golds)], texts)
    assert ("verifier_inconsistent", "broken") in findings(evidence)
    assert not confident(evidence)
    assert findings(judged([problem(i, gold, callables("right")) for i, gold in enumerate(golds)], texts)) == []


def test_the_same_answer_passes_and_fails(callables: Callable[[str], dict[str, str]]) -> None:
    """Without any gold to compare: "12" passes and "12.0" fails on the same problem."""
    problems = [problem(i, None, callables("any_number")) for i in range(12)]
    evidence = judged(problems, [[str(100 + i), f"{100 + i}.0"] * 8 for i in range(12)])
    finding = rejection.rejected_answers(evidence)
    assert finding is not None and finding.severity == "broken"
    assert "passes and" in finding.advice


def test_a_callable_that_accepts_any_number(callables: Callable[[str], dict[str, str]]) -> None:
    rng = random.Random(0)
    texts = [[str(rng.randint(100, 999)) if rng.random() < 0.5 else "none" for _ in range(32)] for _ in NUMBERS]
    loose = judged([problem(i, gold, callables("any_number")) for i, gold in enumerate(NUMBERS)], texts)
    assert {("verifier_error", "broken"), ("guessable", "broken")} <= set(findings(loose))
    assert not confident(loose)
    strict = judged(
        [problem(i, gold, callables("right")) for i, gold in enumerate(NUMBERS)], half_right(NUMBERS, str, str)
    )
    assert findings(strict) == []


def test_seven_in_seventeen() -> None:
    golds = [str(i % 9 + 1) for i in range(24)]
    problems = [problem(i, gold, {"type": "regex", "pattern": r"(\d)\b"}) for i, gold in enumerate(golds)]
    texts = half_right(golds, lambda gold: f"it is 1{gold}", lambda gold: "no idea")
    evidence = judged(problems, texts)
    finding = acceptance.accepts_other_answers(evidence)
    assert finding is not None and finding.severity == "broken"
    assert not confident(evidence)
    right = half_right(golds, lambda gold: f"it is {gold}.", lambda gold: "no idea")
    assert acceptance.accepts_other_answers(judged(problems, right)) is None


def test_words_in_longer_words_are_fine() -> None:
    words = ["apple", "house", "river", "stone", "cloud", "plant", "bread", "chair"]
    problems = [problem(i, word, {"type": "contains"}) for i, word in enumerate(words)]
    texts = [[f"two {word}s"] * 8 + ["nothing"] * 8 for word in words]
    assert acceptance.accepts_other_answers(judged(problems, texts)) is None


def test_an_answer_that_strips_to_nothing_is_in_every_text() -> None:
    problems = [problem(i, "..", {"type": "contains", "strip": "."}) for i in range(12)]
    evidence = judged(problems, [["anything"] * 8 + ["else"] * 8] * 12)
    assert ("verifier_error", "broken") in findings(evidence)
    assert not confident(evidence)


def options(p: float, seed: int = 0, letters: str = "ABCD") -> Any:
    """60 questions; the model knows the answer just often enough to pass at rate p."""
    rng = random.Random(seed)
    golds = [rng.choice(letters) for _ in range(60)]
    others = {letter: [other for other in letters if other != letter] for letter in letters}
    problems = [problem(i, gold, {"type": "exact"}) for i, gold in enumerate(golds)]
    texts = [[gold if rng.random() < p else rng.choice(others[gold]) for _ in range(64)] for gold in golds]
    return judged(problems, texts)


@pytest.mark.parametrize(("p", "severity"), [(0.25, "broken"), (0.35, "suspect"), (0.4, "suspect"), (0.6, "note")])
def test_an_edge_over_guessing(p: float, severity: str) -> None:
    evidence = options(p)
    assert ("guessable", severity) in findings(evidence)
    assert confident(evidence) == (severity == "note")


def test_mastered_problems_do_not_hide_that_the_others_are_guessed() -> None:
    rng = random.Random(0)
    golds = [rng.choice("ABCD") for _ in range(60)]
    problems = [problem(i, gold, {"type": "exact"}) for i, gold in enumerate(golds)]
    texts = [[gold if i % 2 else rng.choice("ABCD") for _ in range(64)] for i, gold in enumerate(golds)]
    evidence = judged(problems, texts)
    assert ("guessable", "suspect") in findings(evidence)
    assert not confident(evidence)


@pytest.mark.parametrize(("p", "guessed"), [(0.25, True), (0.6, False)])
def test_guesses_in_another_form(p: float, guessed: bool) -> None:
    """The letter is asked for alone and the model writes a sentence: a format problem only if it knows the letter."""
    rng = random.Random(0)
    golds = [rng.choice("ABCD") for _ in range(60)]
    others = {letter: [other for other in "ABCD" if other != letter] for letter in "ABCD"}
    ask = "Which is red?\nA. sky\nB. tomato\nC. grass\nD. snow\nAnswer with the letter only."
    problems = [replace(problem(i, gold, {"type": "choice"}), prompt=f"{i}. {ask}") for i, gold in enumerate(golds)]
    said = [[gold if rng.random() < p else rng.choice(others[gold]) for _ in range(16)] for gold in golds]
    evidence = judged(problems, [[f"The answer is {letter}." for letter in letters] for letters in said])
    assert (("guessable", "broken") in findings(evidence)) == guessed
    assert verdict(evidence).bottleneck == ("instrument" if guessed else "format")


def test_luck_on_a_few_problems_is_a_note() -> None:
    """Where most problems never pass, luck on the others decides no verdict."""
    rng = random.Random(0)
    golds = [str(100 + 37 * i) if i < 45 else rng.choice("ABCD") for i in range(60)]
    problems = [problem(i, gold, {"type": "exact"}) for i, gold in enumerate(golds)]
    texts = [[str(rng.randrange(10**6)) if i < 45 else rng.choice("ABCD") for _ in range(64)] for i in range(60)]
    assert ("guessable", "suspect") not in findings(judged(problems, texts))


def test_repeated_golds_are_no_luck() -> None:
    """Seven in eight golds are 1: a permutation called most passes luck, where one in twenty is."""
    rng = random.Random(0)
    golds = ["1" if i % 8 else str(10 + i) for i in range(64)]
    problems = [problem(i, gold, {"type": "exact"}) for i, gold in enumerate(golds)]
    texts = [[g if rng.random() < 0.35 else str(rng.randrange(30)) for _ in range(64)] for g in golds]
    evidence = judged(problems, texts)
    assert evidence.luck is not None and evidence.luck.share.value == pytest.approx(0.06, abs=0.05)
    assert evidence.chance is not None and evidence.chance.floor.value is not None and evidence.chance.floor.value > 0.2
    assert ("guessable", "suspect") not in findings(evidence)


def test_open_problems_that_are_known_are_not_luck() -> None:
    """Answers of one letter in twenty: passes at .3 are knowledge."""
    assert findings(options(0.3, letters="ABCDEFGHIJKLMNOPQRST")) in ([], [("guessable", "note")])


@pytest.mark.parametrize("seed", range(4))
def test_a_slight_edge_over_four_options_is_never_a_confident_verdict(seed: int) -> None:
    assert not confident(options(0.3, seed))


@pytest.mark.parametrize("lenient", [3, 30])
def test_draws_that_are_right_in_substance_alone_need_a_reference_to_tell_why(lenient: int) -> None:
    """None of 32 draws passes: with references that pass it is the model's form, without any nobody knows."""
    counts = [(32 - lenient, 0)] * 10
    extra = [rollout_row(f"p{i}", 100 + j, lenient=True) for i in range(10) for j in range(lenient)]
    assert rejection.passed_only_leniently(make_evidence(counts, extra=extra)) is None
    found = rejection.passed_only_leniently(make_evidence(counts, extra=extra, references={}))
    assert found is not None and (found.kind, found.severity) == ("verifier_inconsistent", "suspect")
    assert "Give one demonstration" in found.advice
    assert rejection.passed_only_leniently(make_evidence([(32, 0)] * 10, references={})) is None


# a wrong form, or a broken verifier


def demonstrated(golds: list[str], verifier: dict[str, str], demo: Writes) -> list[Any]:
    return [problem(i, gold, verifier, demos=(demo(gold),)) for i, gold in enumerate(golds)]


FORMS: dict[str, tuple[list[str], str, Writes, Writes]] = {
    "numbers": (
        NUMBERS,
        "tagged",
        lambda gold: f"answer: {gold}",
        lambda gold: f"3 + 8 = {gold}, so he has {gold} stamps.",
    ),
    "words": (
        ["Paris", "Rome", "Lima", "Oslo", "Cairo", "Quito", "Accra", "Dhaka", "Hanoi", "Tunis", "Sofia", "Delhi"],
        "tagged",
        lambda gold: f"It lies there. answer: {gold}",
        lambda gold: f"The city is {gold}.",
    ),
    "formulas": (
        [rf"\frac{{{i}}}{{7}}" for i in range(1, 13) if i != 7],
        "boxed",
        lambda gold: rf"So $\boxed{{{gold}}}$",
        lambda gold: f"The answer is ${gold}$.",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_right_answers_in_another_form_than_the_demonstrations_are_format(
    name: str, callables: Callable[[str], dict[str, str]]
) -> None:
    golds, verifier, demo, draw = FORMS[name]
    problems = demonstrated(golds, callables(verifier), demo)
    evidence = judged(problems, half_right(golds, draw, lambda gold: "no idea"))
    assert all(evidence.gold_passes.values())
    assert findings(evidence) == [("verifier_inconsistent", "note")]
    assert evidence.misformed.sum() > 0.4 * evidence.measured["n"].sum()
    found = rejection.rejected_answers(evidence)
    assert found is not None and "another form than the demonstrations" in found.advice
    always = judged(problems, [["Well, " * (j % 8) + draw(gold) for j in range(32)] for gold in golds])
    assert verdict(always).bottleneck == "format"


BROKEN: dict[str, tuple[list[str], str, Writes, Writes]] = {
    "numbers in the demonstrated form": (
        NUMBERS,
        "tagged",
        lambda gold: f"answer: {gold}",
        lambda gold: f"answer: {gold}.0",
    ),
    "numbers in another form and spelling": (
        NUMBERS,
        "tagged",
        lambda gold: f"answer: {gold}",
        lambda gold: f"Altogether that makes {gold}.0",
    ),
    "formulas in another spelling": (
        [rf"\frac{{{i}}}{{7}}" for i in range(1, 13) if i != 7],
        "boxed",
        lambda gold: rf"So $\boxed{{{gold}}}$",
        lambda gold: rf"So $\boxed{{{gold.replace('frac', 'dfrac')}}}$",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_right_answers_that_are_rejected_in_the_demonstrated_form_break_the_instrument(
    name: str, callables: Callable[[str], dict[str, str]]
) -> None:
    golds, verifier, demo, draw = BROKEN[name]
    evidence = judged(demonstrated(golds, callables(verifier), demo), half_right(golds, draw, lambda gold: "no idea"))
    assert all(evidence.gold_passes.values())
    assert ("verifier_inconsistent", "broken") in findings(evidence)
    assert evidence.misformed.sum() == 0
    assert not confident(evidence)


def test_code_in_a_fence_is_form_and_the_same_code_rejected_is_a_fault(
    callables: Callable[[str], dict[str, str]],
) -> None:
    def code(i: int) -> str:
        return f"def f(x):\n    return x + {i - 1}\n"

    def problems(verifier: str) -> list[Any]:
        return [problem(i, None, callables(verifier), demos=(code(i),)) for i in range(12)]

    wrong = "def f(x):\n    return -1\n"
    fenced = [[f"Here you are:\n```python\n{code(i)}```"] * 8 + [wrong] * 8 for i in range(12)]
    form = judged(problems("program"), fenced)
    assert findings(form) == [("verifier_inconsistent", "note")]
    assert form.misformed.tolist() == [8] * 12
    spaced = [[code(i).replace(" + ", "+")] * 8 + [wrong] * 8 for i in range(12)]
    assert ("verifier_inconsistent", "broken") in findings(judged(problems("same_text"), spaced))


def test_right_answers_in_another_spelling_are_no_wrong_golds() -> None:
    """A third of the problems is never solved strictly: the model boxes nothing there, and its answers are right."""
    golds = [str(100 + 37 * i) for i in range(30)]
    verifier = {"type": "regex", "pattern": r"#### (\d+)$"}

    def drawn(i: int, form: str, gold: str) -> list[str]:
        rng = random.Random(i)
        return [form.format(gold) if rng.random() < 0.6 else f"#### {rng.randint(0, 9)}" for _ in range(32)]

    problems = [problem(i, gold, verifier, prompt=f"Question {i * 7 % 30}") for i, gold in enumerate(golds)]
    right = [drawn(i, "#### {}" if i % 3 else "The answer is {}.", gold) for i, gold in enumerate(golds)]
    evidence = judged(problems, right)
    assert sum(evidence.measured["c"] == 0) == 10
    assert "gold_fails" not in dict(findings(evidence))
    wrong = [drawn(i, "#### {}", gold if i % 3 else golds[i - 1]) for i, gold in enumerate(golds)]
    assert "gold_fails" in dict(findings(judged(problems, wrong)))
