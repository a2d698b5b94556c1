from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.tasks.problems.golds import boxed
from posttrain_diag.tasks.verifiers.compare import COMPARES
from posttrain_diag.tasks.verifiers.text import fold, marked_answer, peel, same_leniently
from tasks.conftest import FIXED


@pytest.mark.parametrize(
    "text",
    [
        "abc", " ABC ", "[abc]", "(abc)", '"abc"', "“abc”", "'abc'", "`abc`", "**abc**", "*abc*", "__abc__", "$abc$",
        "$$abc$$", "\\(abc\\)", "\\boxed{abc}", "$\\boxed{\\text{abc}}$", "abc.", "abc!", "The answer is abc.",
        "the final answer is: [abc]", "Answer: abc", "**Answer:** abc", "#### abc", "= abc", "<answer>abc</answer>",
        "So the answer is **abc**.", "ａｂｃ", "\u200fabc\u200e", "\ufeffabc", "abc]", "[abc", "[ abc ]", "```abc```",
    ],
)  # fmt: skip
def test_surface_format_is_forgiven(text: str):
    assert peel(text).core == "abc"
    assert same_leniently(text, "abc")
    assert same_leniently("abc", text)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("abc", "abd"), ("abc", "ab"), ("[3]", "(3)"), ("[]", "()"), ("[]", "''"), ("-5", "5"), (".5", "5"), ("5!", "5"),
        ("(3,4]", "[3,4)"), ("(3,4]", "[3,4]"), ("abc", ""), ("abc abc", "abc"), ("(a)(b)", "a)(b"), ("'a' or 'b'", "a"),
        ("not abc", "abc"), ("5%", "5.5"), ("?", "!"),
    ],
)  # fmt: skip
def test_different_answers_stay_different(a: str, b: str):
    assert not same_leniently(a, b)
    assert not same_leniently(b, a)


@pytest.mark.parametrize(
    ("completion", "marked"),
    [
        ("so 13\n#### 13", "13"),
        ("The answer is 13. I am sure.", "13. I am sure."),
        ("The answer is 12. No: the answer is 13", "13"),
        ("thus \\boxed{\\frac{1}{2}} holds", "\\frac{1}{2}"),
        ("The answer is \\boxed{7}.", "7"),
        ("\\boxed{7", None),
        ("\\boxed{6} and \\boxed{7", "6"),
        ("Answer:\n13", "13"),
        ("thirteen", None),
        ("the answers are many", None),
    ],
)
def test_marked_answer(completion: str, marked: str | None):
    assert marked_answer(completion) == marked


def test_first_mark():
    assert marked_answer("answer: 1\nanswer: 2", first=True) == "1"


def last_box(text: str) -> str | None:
    found = boxed(text)
    return None if found is None else found.answer


def test_last_boxed_is_balanced():
    assert last_box("\\boxed{1} \\boxed{\\sqrt{\\frac{a}{b}}} ") == "\\sqrt{\\frac{a}{b}}"
    assert last_box("\\boxed{\\{1\\}}") == "\\{1\\}"
    assert last_box("none") is None


@pytest.mark.parametrize(
    ("how", "a", "b", "same"),
    [
        ("exact", "a", "a", True),
        ("exact", "a", "A", False),
        ("casefold", "a", "A", True),
        ("casefold", "a", "b", False),
        ("numeric", "1,000", "1000.0", True),
        ("numeric", "1000", "1001", False),
        ("numeric", "a", "a", False),
        ("latex", "\\dfrac{14}{3}", "\\frac{14}{3}", True),
        ("latex", "14/3", "\\frac{14}{3}", True),
        ("latex", "\\frac43", "\\frac{4}{3}", True),
        ("latex", "\\frac{4}3", "\\frac43", True),
        ("latex", "-\\frac{\\pi}{6}", "\\frac{-\\pi}{6}", True),
        ("latex", "\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac{\\pi}{2})", True),
        ("latex", "\\text{Evelyn}", "Evelyn", True),
        ("latex", "90^\\circ", "90", True),
        ("latex", "x=5", "5", True),
        ("latex", "11\\sqrt2", "11\\sqrt{2}", True),
        ("latex", "0.50", ".5", True),
        ("latex", "\\$10{,}000", "10000", True),
        ("latex", "\\sqrt{2}", "\\sqrt{3}", False),
        ("latex", "(3,4]", "[3,4]", False),
        ("latex", "x^2", "x2", False),
        ("literal", "[1,2]", "[1, 2]", True),
        ("literal", "'a'", '"a"', True),
        ("literal", "{'a':1,'b':2}", "{'b': 2, 'a': 1}", True),
        ("literal", "1", "True", False),
        ("literal", "[1]", "(1,)", False),
        ("literal", "f(", "f(", True),
        ("literal", "f(", "g(", False),
    ],
)
def test_compare(how: str, a: str, b: str, same: bool):
    assert COMPARES[how](a, b) is same
    assert COMPARES[how](b, a) is same


@FIXED
@given(st.text(max_size=80))
def test_fold_and_peel_are_idempotent_and_total(text: str):
    assert fold(fold(text)) == fold(text)
    core = peel(text).core
    assert peel(core).core == core
    assert same_leniently(text, text)


@FIXED
@given(st.text(alphabet="ab\\boxed{}[]()$*_`'\".,;:!? \nanswer is#<>/0123", max_size=80), st.text(max_size=20))
def test_hostile_text_never_raises(a: str, b: str):
    same_leniently(a, b)
    marked_answer(a)
    boxed(a)
    for compare in COMPARES.values():
        compare(a, b)
