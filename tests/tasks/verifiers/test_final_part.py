"""Where a completion answers: after its thinking, before the next question; and what it marks as its answer."""

from __future__ import annotations

import pytest

from posttrain_diag.tasks.verifiers.reading import final_part


@pytest.mark.parametrize(
    ("completion", "said"),
    [
        ("12", "12"),
        ("<think>7 + 5</think>12", "12"),
        ("<thinking>\n7 + 5\n</thinking>\n\n12", "12"),
        ("<reasoning>a</reasoning>\nRome", "Rome"),
        ("7 + 5 is easy</think>\n\n12", "12"),
        ("<think>11</think>\nAgain.\n<think>12</think>\n12", "12"),
        ("[THINK]hm[/THINK]12", "12"),
        ("◁think▷hm◁/think▷12", "12"),
        ("<seed:think>hm</seed:think>12", "12"),
        ("<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>12<|END_RESPONSE|>", "12"),
        (
            "<|channel|>analysis<|message|>11?<|end|><|start|>assistant<|channel|>final<|message|>12<|return|>",
            "12",
        ),
        ("analysisThe user wants 7 + 5.assistantfinal12", "12"),
        ("Here is my thought process:\n11?\nHere is my response:\n12", "12"),
        ("12<think>was that right? yes</think>", "12"),
        ("<think>Monday.</think>\n", ""),
    ],
)
def test_thinking_is_taken_off(completion: str, said: str):
    part = final_part(completion)
    assert (part.text.strip(), part.open_thought) == (said, False)


@pytest.mark.parametrize(
    "completion",
    [
        "<think>\n7 + 5 = 12",
        "12 <think> or",
        "<think>a</think><think>12",
        "[THINK]12",
        "<|channel|>analysis<|message|>12",
        "Here is my thought process:\n12",
    ],
)
def test_an_open_thought_is_no_answer(completion: str):
    part = final_part(completion)
    assert (part.text, part.open_thought) == ("", True)


@pytest.mark.parametrize("text", ["`<think>` opens a thought", "a < b", "[1, 2]", "analysis of variance"])
def test_a_tag_that_is_spoken_of_opens_no_thought(text: str):
    assert final_part(text).text == text


@pytest.mark.parametrize(
    ("completion", "said"),
    [
        ("#### 18\n\nQuestion: How many?\n#### 25", "#### 18"),
        ("Paris\n\nQ: And of Italy?\nA: Rome", "Paris"),
        ("18.\n\n### Instruction:\nWrite a poem", "18."),
        ("18\n\nProblem: next", "18"),
        ("18\nProblem 2: next", "18"),
        ("12\nUser: and 8 + 5?\nAssistant: 13", "12"),
        ("12<|im_end|>\n<|im_start|>user\nmore", "12"),
        ("12</s><s>[INST] more [/INST] 13", "12"),
        ("12<end_of_turn>\n<start_of_turn>user\nmore", "12"),
        ("12\n\nFrage: Und 8 + 5?\nAntwort: 13", "12"),
        ("<|im_start|>assistant\n12", "12"),
        ("Question: 7 + 5?\nAnswer: 12\n\nQuestion: 8 + 5?", "Question: 7 + 5?\nAnswer: 12"),
        ("The problem: it is hard.\nThe question is 12.", "The problem: it is hard.\nThe question is 12."),
        ("```\nQuestion: a\n```\n12", "```\nQuestion: a\n```\n12"),
    ],
)
def test_the_next_question_is_cut_off(completion: str, said: str):
    assert final_part(completion).text.strip() == said


@pytest.mark.parametrize(
    ("completion", "marks"),
    [
        ("so \\boxed{\\frac{1}{2}} holds", [("boxed", "\\frac{1}{2}")]),
        ("\\boxed 5", [("boxed", "5")]),
        ("#### 1,319", [("hash", "1,319")]),
        ("a <answer> b </answer>", [("tag", " b ")]),
        ("[ANSWER]f(1)[/ANSWER]", [("tag", "f(1)")]),
        ("**Answer:** 18 dollars", [("phrase", "18 dollars")]),
        ("**Final Answer**\n\n18", [("phrase", "18")]),
        ("So the correct answer would be (B).", [("phrase", "(B).")]),
        ("La réponse est 12.", [("phrase", "12.")]),
        ("Die Antwort lautet: 12", [("phrase", "12")]),
        ("答案是12", [("phrase", "12")]),
        ("Ответ: 12", [("phrase", "12")]),
        ("Let me see if the answer is 5.", []),
        ("I have no answers", []),
    ],
)
def test_marked_answers(completion: str, marks: list[tuple[str, str]]):
    assert [(mark.kind, mark.text) for mark in final_part(completion).marks()] == marks


def test_a_box_that_never_closes_is_an_answer_cut_in_the_middle():
    one, two = final_part("\\boxed{6} and \\boxed{7").marks()
    assert (one.closed, two.closed) == (True, False)
