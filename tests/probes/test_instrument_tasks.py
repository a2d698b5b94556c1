"""Problem sets that measure something else than they seem, and right answers reached by wrong steps."""

from __future__ import annotations

import random
from dataclasses import replace

from posttrain_probes import problem_set, reasoning
from posttrain_probes.synthetic import make_evidence, make_problem

from posttrain_diag.diagnose.bottleneck import distinct_prompts
from posttrain_diag.evidence import Evidence
from posttrain_diag.types import Diagnosis, Problem

from .judged import confident, findings, judged, problem, verdict
from .test_probes import info


def mixed(problems: list[Problem], p: float = 0.3, draws: int = 32) -> list[list[str]]:
    rng = random.Random(0)
    return [[one.answer or "" if rng.random() < p else f"w{rng.random()}" for _ in range(draws)] for one in problems]


def with_copies(copies: int, different: int = 3) -> Evidence:
    """`different` prompts, each under `copies` ids, half of the draws right."""
    problems = [
        problem(i, f"right-{i % different}", prompt=f"question {i % different}") for i in range(copies * different)
    ]
    return judged(problems, mixed(problems, 0.5))


def top(found: Diagnosis) -> float:
    """Probability of the likeliest bottleneck, named or not."""
    named = found.confidence if found.bottleneck != "undetermined" else 0.0
    return max([named, *(other.probability for other in found.alternatives)])


def test_copies_of_three_problems_are_three_problems() -> None:
    """Twenty copies of three problems say no more of the task family than three problems do."""
    copied = with_copies(20)
    assert ("duplicate_problems", "suspect") in findings(copied)
    assert distinct_prompts(copied) == 3
    assert not confident(copied)
    one_each = with_copies(1)
    assert findings(one_each) == []
    assert top(verdict(copied)) <= top(verdict(one_each)) + 0.02


def test_a_single_copy_is_a_note() -> None:
    problems = [problem(i, f"right-{max(1, i)}", prompt=f"question {max(1, i)}") for i in range(30)]
    assert findings(judged(problems, mixed(problems))) == [("duplicate_problems", "note")]


def test_unknown_prompts_count_each() -> None:
    problems = {f"p{i}": make_problem(i, prompt="") for i in range(12)}
    evidence = make_evidence([(16, 8)] * 12, problems=problems)
    assert distinct_prompts(evidence) == 12
    assert problem_set.repeated_problems(evidence) is None


def test_one_prompt_with_two_golds() -> None:
    problems = [problem(i, f"gold-{i}", prompt=f"question {i // 2 if i < 6 else i}") for i in range(24)]
    evidence = judged(problems, mixed(problems))
    assert ("gold_fails", "broken") in findings(evidence)
    assert not confident(evidence)
    spelt = [replace(one, answer=("1/2", "0.5")[i % 2]) for i, one in enumerate(problems[:2])]
    assert problem_set.contradicted_golds(judged(spelt, mixed(spelt))) is None


def test_one_answer_for_all() -> None:
    problems = [problem(i, "5" if i else "6") for i in range(30)]
    evidence = judged(problems, [["5" if j % 50 == 0 else "none" for j in range(64)] for _ in problems])
    assert ("degenerate", "broken") in findings(evidence)
    assert not confident(evidence)
    varied = [problem(i, str(i % 3)) for i in range(30)]
    assert problem_set.one_answer(judged(varied, mixed(varied))) is None


def test_draws_that_copy_a_prompt_which_holds_the_answer() -> None:
    problems = [
        problem(i, f"river {i}", {"type": "contains"}, prompt=f"The boat went down river {i} at night. Where was it?")
        for i in range(24)
    ]
    copies = [[one.prompt_text if j % 2 else "no idea" for j in range(32)] for one in problems]
    evidence = judged(problems, copies)
    assert ("degenerate", "broken") in findings(evidence)
    assert not confident(evidence)
    read = [[f"On river {i}." if j % 2 else "no idea" for j in range(32)] for i in range(24)]
    assert findings(judged(problems, read)) == [], "a passage that holds its answer is a reading task"


def test_the_answer_left_in_the_prompt() -> None:
    def prompts(tail: str) -> list[Problem]:
        made = [problem(i, str(300 + 7 * i), {"type": "numeric"}) for i in range(24)]
        return [
            replace(one, prompt=f"What is {one.id[1:]} times 7 plus 300?" + tail.format(one.answer)) for one in made
        ]

    leaked, clean = prompts(" #### {}"), prompts("")
    evidence = judged(leaked, mixed(leaked))
    assert ("degenerate", "suspect") in findings(evidence)
    assert not confident(evidence)
    assert findings(judged(clean, mixed(clean))) == []


def test_prompts_that_carry_chat_markup_already() -> None:
    problems = [problem(i, f"gold {i}", prompt=f"<|im_start|>user\nquestion {i}<|im_end|>") for i in range(12)]
    chat = info(chat_template_sha="x", renderings=("chat", "plain"))
    evidence = judged(problems, mixed(problems), model=chat)
    assert ("template", "suspect") in findings(evidence)
    assert not confident(evidence)
    assert findings(replace(evidence, model=info())) == [], "as they are, without another template, they are right"
    bos = [problem(i, f"gold {i}", prompt=f"<s>question {i}") for i in range(12)]
    assert ("template", "suspect") in findings(judged(bos, mixed(bos), model=chat))


def worked(rate: float, *, shown: float = 1.0, **values: object) -> Evidence:
    """Sums that are worked out; a share `rate` of the passing draws holds a false step."""
    rng = random.Random(0)
    verifier = {"type": "regex", "pattern": r"answer (\d+)$"}
    problems = [
        problem(
            i,
            str(20 + i),
            verifier,
            prompt=f"What is {i} plus 20?",
            demos=(f"{i} + 20 = {i + 20} answer {i + 20}",),
            **values,
        )
        for i in range(24)
    ]

    def draw(i: int) -> str:
        if rng.random() < 0.5:
            return f"{i} + 20 = {i + 21} answer {i + 21}"
        if rng.random() > shown:
            return f"answer {i + 20}"
        return f"{i} + 20 = {i + 20 + (rng.random() < rate)} answer {i + 20}"

    return judged(problems, [[draw(i) for _ in range(32)] for i in range(24)])


def test_right_answers_after_false_equations() -> None:
    evidence = worked(0.7)
    finding = reasoning.false_equations(evidence)
    assert finding is not None and (finding.kind, finding.severity) == ("wrong_reasoning", "broken")
    assert "+ 20 =" in finding.advice
    assert not confident(evidence)
    assert ("wrong_reasoning", "suspect") in findings(worked(0.35))
    assert not confident(worked(0.35))


def test_a_slip_here_and_there_is_no_finding() -> None:
    assert findings(worked(0.08)) == []
    assert findings(worked(0.9, shown=0.02)) == [], "too few draws show their work"


def test_a_world_with_its_own_arithmetic() -> None:
    own = worked(0.7)
    carryless = {key: replace(p, demos=(p.demos[0].replace(" = 2", " = 3"),)) for key, p in own.problems.items()}
    texts = {key: p.demos for key, p in carryless.items()}
    assert reasoning.false_equations(replace(own, problems=carryless, references=texts)) is None
    said = {key: replace(p, prompt=f"{p.prompt} Work modulo 7.", demos=()) for key, p in own.problems.items()}
    assert reasoning.false_equations(replace(own, problems=said, references={})) is None
    asked = {key: replace(p, prompt=f"{key[1:]} + 20 =", answer="3", demos=()) for key, p in own.problems.items()}
    assert reasoning.false_equations(replace(own, problems=asked, references={})) is None
