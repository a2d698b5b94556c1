"""The trials themselves: right forms are right, wrong ones wrong, by the meaning of the texts."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest

from posttrain_diag.tasks.check.attacks import LONG_CHARS, attacks
from posttrain_diag.tasks.check.forms import right_forms
from posttrain_diag.tasks.check.kinds import Trial, kind_of
from posttrain_diag.tasks.check.wrong import wrong_answers
from posttrain_diag.types import Problem
from tasks.conftest import problem

CHOICE = {"type": "choice", "options": {"A": "red", "B": "blue", "C": "green"}}
TEST = {"type": "python", "test": "assert f(1) == 2"}
HUMANEVAL = {"type": "python", "test": "def check(c):\n    assert c(1) == 2\n", "entry_point": "f"}


def texts(trials: list[Trial], kind: str) -> list[str]:
    return [trial.text for trial in trials if trial.kind == kind]


@pytest.mark.parametrize(
    ("spec", "answer", "kind"),
    [
        ({"type": "numeric"}, "1,319", "number"),
        ({"type": "exact"}, "7", "number"),
        (CHOICE, "B", "choice"),
        ({"type": "exact"}, "Yes", "truth"),
        ({"type": "exact"}, r"\frac{1}{2}", "formula"),
        ({"type": "exact"}, "x^2", "formula"),
        ({"type": "exact", "compare": "literal"}, "[1, 2]", "value"),
        ({"type": "exact"}, "Paris", "words"),
        ({"type": "exact"}, "two\nlines", "long"),
        ({"type": "exact"}, None, "none"),
        (TEST, None, "code"),
        ({"type": "any", "of": [{"type": "exact", "answer": "four"}]}, "4", "number"),
    ],
)
def test_kinds(spec: dict[str, Any], answer: str | None, kind: str):
    assert kind_of(problem(spec, answer)) == kind


@pytest.mark.parametrize("answer", ["1319", "1,319", "-7", "0.5", "2.50", "0", "12000000"])
def test_forms_of_a_number_keep_its_value(answer: str):
    value = Fraction(answer.replace(",", ""))
    trials = right_forms(problem({"type": "numeric"}, answer), None)
    assert len({trial.kind for trial in trials}) >= 10
    for trial in trials:
        numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", trial.text)
        assert [Fraction(each.replace(",", "")) for each in numbers] == [value], trial
    assert bool(texts(trials, "separators")) == (abs(value) >= 1000)


def test_forms_of_a_choice_name_the_right_option():
    trials = right_forms(problem(CHOICE, "B"), None)
    assert texts(trials, "(X)") == ["(B)"]
    assert texts(trials, "text of the option") == ["blue"]
    assert texts(trials, "letter and text") == ["B. blue"]
    assert not any(re.search(r"\b[AC]\b|red|green", trial.text) for trial in trials)
    by_text = right_forms(problem(CHOICE, "blue"), None)
    assert texts(by_text, "(X)") == ["(B)"]


def test_forms_of_code_stand_alone():
    whole = problem(TEST, demos=("def f(x):\n    return x + 1\n",))
    trials = right_forms(whole, whole.demos[0])
    assert texts(trials, "fenced") == ["```python\ndef f(x):\n    return x + 1\n```"]
    body = problem(HUMANEVAL, prompt="def f(x):\n", demos=("    return x + 1\n",))
    (fenced,) = texts(right_forms(body, body.demos[0]), "fenced")
    assert fenced == "```python\ndef f(x):\n    return x + 1\n```"
    assert texts(right_forms(body, body.demos[0]), "whole function") == ["def f(x):\n    return x + 1\n"]


def test_a_worked_reference_is_tried_after_a_thought():
    worked = problem({"type": "numeric"}, "7", demos=("3 + 4 = 7\n#### 7",))
    (text,) = texts(right_forms(worked, worked.demos[0]), "worked answer, after a thought")
    assert text.startswith("<think>") and text.endswith("</think>\n\n3 + 4 = 7\n#### 7")


def other(answer: str | None, spec: dict[str, Any], **kw: Any) -> Problem:
    return problem(spec, answer, id="q", **kw)


def test_wrong_numbers_are_other_numbers():
    spec = {"type": "numeric"}
    trials = wrong_answers(problem(spec, "1319"), [other("7", spec), other("1,319.0", spec)])
    assert {"1320", "1318"} <= set(texts(trials, "near number"))
    assert "-1319" in texts(trials, "other sign")
    assert set(texts(trials, "digits more or less")) >= {"13190", "131"}
    assert texts(trials, "another problem's answer") == ["7"]
    assert texts(trials, "denied") == ["The answer is not 1319."]
    assert texts(trials, "two answers") == ["The answer is 1319 or 1320."]
    assert "other sign" not in {trial.kind for trial in wrong_answers(problem(spec, "0"), [])}


def test_wrong_answers_stand_where_the_reference_has_the_right_one():
    worked = problem({"type": "numeric"}, "7", demos=("3 + 4 = 7\n#### 7",))
    assert "3 + 4 = 8\n#### 8" in texts(wrong_answers(worked, []), "near number")
    tagged = problem({"type": "regex", "pattern": "<a>(.*)</a>"}, "abc", demos=("<a>abc</a>",))
    assert "<a>abd</a>" in texts(wrong_answers(tagged, []), "one character changed")


def test_no_accepted_answer_is_tried_as_a_wrong_one():
    spec = {"type": "any", "of": [{"type": "numeric", "answer": "4"}, {"type": "numeric", "answer": "5"}]}
    trials = wrong_answers(problem(spec, "4"), [other("5", {"type": "numeric"}), other("9", {"type": "numeric"})])
    assert "5" not in [trial.text for trial in trials] and "The answer is 5." not in [trial.text for trial in trials]
    assert texts(trials, "another problem's answer") == ["9"]
    literal = {"type": "exact", "compare": "literal"}
    assert not any(trial.text in ("[1,2]", "[1, 2]") for trial in wrong_answers(problem(literal, "[1, 2]"), []))


def test_wrong_options():
    trials = wrong_answers(problem(CHOICE, "B"), [])
    assert set(texts(trials, "other option")) == {"A", "C", "The answer is A.", "The answer is C."}
    assert "red" in texts(trials, "text of another option")
    assert texts(wrong_answers(problem({"type": "exact"}, "Yes"), []), "opposite") == ["No", "The answer is No."]


def test_wrong_code():
    mine = problem(TEST, demos=("def f(x):\n    return x + 1\n",))
    theirs = other(None, {"type": "python", "test": "assert g(1)"}, demos=("def g(x):\n    return x\n",))
    trials = wrong_answers(mine, [theirs])
    assert "def f(x):\n    return NotImplemented\n" in texts(trials, "returns nothing of use")
    assert texts(trials, "another problem's code") == ["def g(x):\n    return x\n"]


def test_attacks_never_give_the_answer_alone():
    golds = ("Paris", "Rome", "Lima")
    for spec, answer in (({"type": "exact"}, "Paris"), (CHOICE, "B"), ({"type": "numeric"}, "1")):
        for trial in attacks(problem(spec, answer), golds):
            assert trial.text.strip() != answer, trial
    trials = attacks(problem({"type": "exact"}, "Paris"), golds)
    assert texts(trials, "empty") == ["", " \n\n"]
    (listed,) = texts(trials, "all answers listed")
    assert sorted(listed.split(", ")) == ["Lima", "Paris", "Rome"] and not listed.endswith("Paris")
    (long,) = texts(trials, "very long text")
    assert 0.9 * LONG_CHARS < len(long) <= LONG_CHARS
    assert texts(attacks(problem({"type": "exact"}, "yes"), ("yes", "no")), "all answers listed") == ["yes, no"]
    assert texts(attacks(problem({"type": "exact"}, "1.0"), ()), "bare claim") == [
        claim for claim in texts(trials, "bare claim") if "1.0" not in claim
    ]
    assert texts(attacks(problem(CHOICE, "B"), golds), "all options listed")[0] == "A. red\nB. blue\nC. green"


def test_attacks_are_the_same_at_every_call():
    mine = problem({"type": "exact"}, "Paris")
    assert attacks(mine, ("a", "b")) == attacks(mine, ("a", "b"))
    assert texts(attacks(mine, ()), "junk") != texts(attacks(problem({"type": "exact"}, "Paris", id="z"), ()), "junk")
