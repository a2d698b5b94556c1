"""The served models of `benchmarks answers`: their success probabilities hold, and an analysis finds them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("httpx")

from benchmarks.answers import served, worlds


def test_success_probabilities_are_uneven_and_have_the_mean_that_is_said() -> None:
    found = worlds.probabilities(0.6, 40, seed=0)
    assert np.mean(found) == pytest.approx(0.6, abs=0.01)
    assert min(found) < 0.1 and max(found) > 0.9


@pytest.mark.parametrize("name", ["capital", "yesno"])
def test_right_and_wrong_answers_differ_in_what_they_say_alone(name: str) -> None:
    world = worlds.worlds(Path())[name]()
    rng = random.Random(0)
    assert len(world.items) == 40
    for item in world.items:
        right, wrong = item.right(rng), item.wrong(rng)
        assert right != wrong and abs(len(right.split()) - len(wrong.split())) <= 3


@pytest.mark.parametrize(
    ("answer", "spelling"),
    [("\\frac{3}{4}", "0.75"), ("1200", "1{,}200"), ("2\\sqrt{3}", "2\\sqrt 3"), ("\\left(1, 2\\right)", "(1,2)")],
)
def test_equivalent_spellings(answer: str, spelling: str) -> None:
    assert spelling in worlds.equivalents(answer) and answer not in worlds.equivalents(answer)


def test_sentences_although_the_word_alone_was_asked_are_a_matter_of_form(tmp_path: Path) -> None:
    """Every other answer is wrong; no problem is out of support, however seldom it is answered rightly."""
    found = served.run("capital", Path(), tmp_path)
    assert found["substance misread"] == found["unknown"] == 0
    assert found["estimates"]["lenient_pass@1"] == pytest.approx(found["truth"], abs=0.03)
    assert found["verdict"] == "format" and found["confidence"] > 0.9
    assert found["instrument"] == "ok"
