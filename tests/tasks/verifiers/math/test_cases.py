"""Answers as people and models write them, right ones and wrong ones that look like them (cases.jsonl, written for this).

A case is a question with its gold answer; `right` and `wrong` hold answers that are put into a box, `right_completions`
and `wrong_completions` whole completions, `unboxed` completions that are right in substance but have no box.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain_diag.tasks.verifiers.math.respell import RIGHT, WRONG, near_misses, respellings
from posttrain_diag.tasks.verifiers.math.verifier import same_answer
from posttrain_diag.tasks.verifiers.spec import check_verifier, verify
from posttrain_diag.types import Judgement, Problem

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()
]
BOX = "So the final answer is $\\boxed{%s}$."


def problem(case: dict[str, Any]) -> Problem:
    return Problem("case", case["prompt"], None, case["answer"], {"type": "math"})


def judged(case: dict[str, Any], completions: list[str]) -> dict[str, Judgement]:
    return {completion: verify(completion, problem(case)) for completion in completions}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['answer'][:20]} {case['prompt'][:20]}")
def test_right_answers_are_accepted_and_wrong_ones_are_not(case: dict[str, Any]):
    right = judged(case, [*(BOX % text for text in case.get("right", ())), *case.get("right_completions", ())])
    unboxed = judged(case, case.get("unboxed", []))
    wrong = judged(case, [*(BOX % text for text in case.get("wrong", ())), *case.get("wrong_completions", ())])
    assert [text for text, j in right.items() if not j.strict] == []
    assert [text for text, j in unboxed.items() if not j.lenient or j.strict] == []
    assert [text for text, j in wrong.items() if j.lenient] == []
    assert [(text, j.error) for text, j in (right | unboxed | wrong).items() if j.error] == []


def test_there_are_cases_of_both_kinds_in_plenty():
    right = sum(len(case.get("right", ())) + len(case.get("right_completions", ())) for case in CASES)
    wrong = sum(len(case.get("wrong", ())) + len(case.get("wrong_completions", ())) for case in CASES)
    assert (right > 800, wrong > 650) == (True, True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['answer'][:20]} {case['prompt'][:20]}")
def test_golds_pass_and_their_respellings_do_and_their_near_misses_do_not(case: dict[str, Any]):
    gold, prompt = case["answer"], case["prompt"]
    check_verifier(problem(case))
    assert verify(BOX % gold, problem(case)).strict
    spelled = respellings(gold, prompt)
    missed = near_misses(gold, prompt)
    assert [(kind, text) for kind, text in spelled if same_answer(gold, text, prompt).same is not True] == []
    assert [(kind, text) for kind, text in missed if same_answer(gold, text, prompt).same is not False] == []
    assert gold not in {text for _, text in (*spelled, *missed)}


def test_every_kind_of_respelling_and_near_miss_is_made_for_some_gold():
    golds = [(case["answer"], case["prompt"]) for case in CASES]
    extra = [
        ("\\$32,\\!348", ""),
        ("15\\mbox{ cm}^2", ""),
        ("-\\frac{3}{8}", ""),
        ("52_8", ""),
        ("\\text{(C)}", ""),
        ("7\\pi", ""),
    ]
    made = {kind for gold, prompt in golds + extra for kind, _ in respellings(gold, prompt)}
    missed = {kind for gold, prompt in golds + extra for kind, _ in near_misses(gold, prompt)}
    assert set(RIGHT) - made == set()
    assert set(WRONG) - missed == set()


@pytest.mark.parametrize(
    ("gold", "answer", "why"),
    [
        ("1011", "1011_2", "names no base"),
        ("x/2", "1/2x", "read in two ways"),
        ("3", "\\log 1000", "read in two ways"),
        ("0.002", "2e-3", "read in two ways"),
        ("\\pi", "3.14159...", "digits go on unknown"),
        ("1.5", "1,5", "two numbers, or one with a comma"),
        ("5", "9^{9^{9^{9}}}", "too large"),
    ],
)
def test_what_the_spelling_leaves_open_is_no_verdict(gold: str, answer: str, why: str):
    found = verify(BOX % answer, Problem("x", "Compute it in \\boxed{}.", None, gold, {"type": "math"}))
    assert (found.strict, found.lenient) == (False, False)
    assert why in (found.error or "")


@pytest.mark.parametrize(
    ("prompt", "gold", "answer", "right"),
    [
        ("How many percent are that?", "60", "60\\%", True),
        ("What is 2 + 3?", "5", "5\\%", False),
        ("Write $42$ in base 8.", "52", "52_8", True),
        ("How long is it in km?", "5", "5 \\text{ m}", False),
        ("How long is it?", "5 \\text{ km}", "5000 \\text{ m}", True),
        ("How long is it in km?", "5 \\text{ km}", "5000 \\text{ m}", False),
        ("Order them from least to greatest.", "1, 2, 3", "3, 2, 1", False),
        ("Find the roots.", "1, 2, 3", "3, 2, 1", True),
        ("Let $m = 2$. Find $5m$ for any $m$.", "5m", "5 m", True),
    ],
)
def test_the_question_decides_what_may_be_left_out(prompt: str, gold: str, answer: str, right: bool):
    assert same_answer(gold, answer, prompt).same is right


def test_a_formula_of_the_question_is_no_answer_in_prose_but_is_one_in_a_box():
    task = Problem("x", "Simplify $\\sqrt{242}$.", None, "11\\sqrt{2}", {"type": "math"})
    assert not verify("Simplify $\\sqrt{242}$.", task).lenient
    assert not verify("$\\sqrt{242}$", task).lenient
    assert verify("\\boxed{\\sqrt{242}}", task).lenient


def test_thinking_and_the_next_question_are_left_out():
    task = Problem("x", "Solve $x^2=2$ for $x>0$.", None, "\\sqrt{2}", {"type": "math"})
    assert verify("<think>\\boxed{2}</think>\\boxed{\\sqrt2}", task).strict
    assert not verify("<think>\\boxed{\\sqrt2}", task).lenient
    assert verify("The answer is $\\sqrt2$.\n\nQuestion: what is $3^2$? The answer is 9.", task).lenient


def test_equal_answers_are_extracted_alike():
    task = Problem("x", "?", None, "\\frac{1}{2}", {"type": "math"})
    found = {verify(f"\\boxed{{{text}}}", task).extracted for text in ("\\frac12", "0.5", "1/2", "\\dfrac{2}{4}")}
    assert found == {"1/2"}


@pytest.mark.parametrize(
    "answer",
    [
        "(" * 900 + "1" + ")" * 900,
        "\\log " * 250 + "x",
        "2^" * 290 + "2",
        "1000! " * 300,
        "\\exp(\\exp(\\exp(\\exp(10))))",
        "\\sin(10^{9999})",
        "((((9!)!)!)!)",
        "(1+\\sqrt{2})^{99999}",
        "\\pm " * 200 + "1",
        "9" * 1900,
        ",".join(map(str, range(500))),
    ],
)
def test_hostile_answers_are_not_right_and_do_no_harm(answer: str):
    assert not verify(f"\\boxed{{{answer}}}", Problem("x", "?", None, "\\frac{1}{2}", {"type": "math"})).lenient
