"""The real-model benchmark: its tasks are fit, its labels are what a reader would say, its truth follows from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.real.draws import DRAWS, TRUTH, config_of, stored_draws
from benchmarks.real.families import PROBLEMS, own_families
from benchmarks.real.labels import RULES, label
from benchmarks.real.truth import truth_of
from posttrain_diag.settings.analysis import VerdictSettings
from posttrain_diag.tasks import load_problems, verify

FAMILIES = own_families()


@pytest.mark.parametrize("name", FAMILIES)
def test_golds_pass_the_verifier_that_is_chosen(name: str, tmp_path: Path) -> None:
    problems = load_problems(config_of(FAMILIES[name], tmp_path, tmp_path / name)).problems
    assert len({problem.prompt for problem in problems}) >= PROBLEMS - 3
    for problem in problems:
        gold = problem.demos[0] if problem.demos else str(problem.answer)
        said = f"<answer>{gold}</answer>" if name == "tag" else gold
        assert verify(said, problem).strict, (problem.prompt, said)


@pytest.mark.parametrize(
    ("family", "row", "text", "right", "strict"),
    [
        ("sums", {"answer": "27"}, "12 + 15 equals 27 in terms of 11.", True, True),
        ("sums", {"answer": "27"}, "27 is near, but 12 + 15 = 26.", False, False),
        ("word-sums", {"answer": "12"}, "5 + 7 = 12 pens.\nanswer: 12", True, True),
        ("word-sums", {"answer": "12"}, "The answer is: 12", True, False),
        ("capitals", {"answer": "Bogota"}, "The capital of Colombia is Bogotá.", True, True),
        ("capitals-bare", {"answer": "Oslo"}, "The capital of Norway is Oslo.", True, False),
        ("tag", {"answer": "west"}, "The opposite of west is north.", False, False),
        ("tag", {"answer": "cold"}, "It is <answer>cold</answer>.", True, True),
        ("json", {"answer": '{"city": "Rome"}'}, '{"city":"Rome"}', True, True),
        ("json", {"answer": '{"city": "Rome"}'}, "The capital of Italy is Rome.", True, False),
        ("yesno", {"answer": "yes"}, "Yes, it is.", True, False),
        ("dates", {"answer": "2021-03-05"}, "2021-03-05-2021", False, False),
    ],
)
def test_labels(family: str, row: dict[str, str], text: str, right: bool, strict: bool) -> None:
    assert family in RULES
    said = label(family, {"id": "no such problem", "prompt": "", **row}, text)
    assert (said.right, said.strict) == (right, strict)


def test_truth_is_made_of_all_draws() -> None:
    """The letter is asked for alone, the model says the option too, and its letters are guesses."""
    family = FAMILIES["choice"]
    assert all(sum(often for *_, often in draws) == DRAWS for draws in stored_draws("choice").values())
    truth = truth_of(family, VerdictSettings(), cap=128)
    assert truth.guessed and truth.verdict()[0] == "instrument" and truth.pass_at_1 < 0.01 and truth.substance > 0.2
    assert truth_of(family, VerdictSettings(), cap=1).pass_at_1 == 0, "a cap that cuts every draw leaves no pass"
    assert sorted(path.name.removesuffix(".jsonl.gz") for path in TRUTH.iterdir()) == sorted(
        name for name in (*FAMILIES, "gsm8k", "mbpp") if (TRUTH / f"{name}.jsonl.gz").exists()
    )
