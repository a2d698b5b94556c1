"""The law of the draws: near-greedy sampling, and the prompt's other rendering."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine, make_problems
from posttrain_probes import rendering, repeats
from posttrain_probes.synthetic import make_evidence, rollout_row

from posttrain_diag.engines.contract import Prompt
from posttrain_diag.evidence import Evidence, Settings
from posttrain_diag.types import SamplingParams

from .judged import confident, findings

TEXTS = ("one", "two", "three", "four")
RAW = np.array([0.4, 0.3, 0.2, 0.1])
"""What the model gives each text; on every problem the last one is right."""


def sampled(params: SamplingParams, *, told: bool = True, raw: Any = RAW, draws: int = 32) -> Evidence:
    """Draws of 20 problems under a temperature or top_k = 1."""
    law = np.where(raw == raw.max(), 1.0, 0.0) if params.top_k == 1 else raw ** (1 / params.temperature)
    law = law / law.sum()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(20):
        for j in range(draws):
            k = int(rng.choice(4, p=law))
            policy = float(np.log(law[k])) if told else None
            verdict = "pass" if k == 3 else "fail"
            rows.append(
                rollout_row(
                    f"p{i}", j, text=TEXTS[k], logprob=float(np.log(raw[k])), policy_logprob=policy, verdict=verdict
                )
            )
    return make_evidence([(0, 0)] * 20, extra=rows, settings=Settings(params))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("law", [{"temperature": 0.01}, {"temperature": 0.05}, {"top_k": 1}])
@pytest.mark.parametrize("draws", [8, 32])
def test_near_greedy_laws_break_the_instrument(law: dict[str, Any], told: bool, draws: int) -> None:
    evidence = sampled(SamplingParams(**law), told=told, draws=draws)
    assert ("duplicate_draws", "broken") in findings(evidence)
    assert not confident(evidence)


def test_mastery_under_a_greedy_law_is_an_artefact_too() -> None:
    evidence = sampled(SamplingParams(top_k=1), raw=RAW[::-1])
    assert ("duplicate_draws", "broken") in findings(evidence)
    sharpened = sampled(SamplingParams(temperature=0.2), raw=np.array([0.1, 0.1, 0.2, 0.6]))
    assert repeats.near_greedy(sharpened) is None


@pytest.mark.parametrize("temperature", [0.6, 0.8, 1.0])
def test_usual_temperatures_are_no_fault(temperature: float) -> None:
    evidence = sampled(SamplingParams(temperature=temperature))
    assert repeats.near_greedy(evidence) is None and repeats.duplicate_draws(evidence) is None


def test_a_model_that_is_sure_by_itself_is_no_fault() -> None:
    evidence = sampled(SamplingParams(temperature=0.3), raw=np.array([0.97, 0.01, 0.01, 0.01]))
    assert repeats.near_greedy(evidence) is None


def test_draws_that_the_declared_law_makes_equal_are_not_the_samplers_fault() -> None:
    """At temperature .3 a text of raw probability .8 makes up 99%: equal draws are what was asked for."""
    evidence = sampled(SamplingParams(temperature=0.3), raw=np.array([0.8, 0.1, 0.06, 0.04]), draws=64)
    assert repeats.duplicate_draws(evidence) is None
    assert repeats.near_greedy(evidence) is None


class ChatEngine(FakeEngine):
    """A model that answers better in one rendering of its prompts."""

    def __init__(self, rates: Mapping[str, float], in_use: str = "plain") -> None:
        super().__init__(self._answers)
        other = "chat" if in_use == "plain" else "plain"
        self.info = replace(self.info, renderings=(in_use, other))
        self._rates = rates

    def _answers(self, text: str) -> Mapping[str, float]:
        name = "chat" if text.startswith("<u>") else "plain"
        p = self._rates[name]
        question = text.removeprefix("<u>")
        return {f"a{question[1:-1]}": p, "no": (1 - p) / 2, "none": (1 - p) / 2}

    def _rendered(self, prompt: Prompt) -> Prompt:
        chat = (prompt.rendering or self.info.renderings[0]) == "chat"
        return replace(prompt, text=f"<u>{prompt.text}") if chat else prompt

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        return super().prompt_ids(self._rendered(prompt))

    def _table(self, prompt: Prompt) -> dict[str, float]:
        return super()._table(self._rendered(prompt))


@pytest.mark.parametrize(
    ("in_use", "rates", "advice"),
    [
        ("plain", {"plain": 0.0, "chat": 0.7}, "--no-chat-template and --template out"),
        ("plain", {"plain": 0.2, "chat": 0.7}, "--no-chat-template and --template out"),
        ("chat", {"plain": 0.7, "chat": 0.1}, "Give --no-chat-template"),
    ],
)
def test_the_other_rendering_is_clearly_better(
    run_analysis: Callable[..., Any], in_use: str, rates: dict[str, float], advice: str
) -> None:
    engine, problems = ChatEngine(rates, in_use), make_problems(40, lambda i: f"a{i}")
    found = run_analysis(None, problems, engine=engine, rollouts=32)
    finding = next(f for f in found.diagnosis.instrument.findings if f.kind == "template")
    assert finding.severity == "broken" and advice in finding.advice
    assert found.diagnosis.bottleneck == "instrument"
    assert found.evidence.table(rendering.ARM + engine.info.renderings[1])["n"].sum() == 20 * rendering.DRAWS
    assert found.evidence.main["n"].sum() == 40 * 32, "the other arm is no part of the main one"
    drawn = engine.drawn
    run_analysis(None, problems, engine=engine, rollouts=32)
    assert engine.drawn == drawn, "a second run draws nothing again"


@pytest.mark.parametrize(
    "rates", [{"plain": 0.3, "chat": 0.3}, {"plain": 0.3, "chat": 0.05}, {"plain": 0.9, "chat": 1.0}]
)
def test_the_rendering_in_use_is_as_good(run_analysis: Callable[..., Any], rates: dict[str, float]) -> None:
    found = run_analysis(None, make_problems(40, lambda i: f"a{i}"), engine=ChatEngine(rates), rollouts=32)
    assert [f for f in found.diagnosis.instrument.findings if f.severity != "note"] == []
    if rates["plain"] > 0.5:
        assert found.evidence.arms(rendering.ARM) == [], "nothing is drawn where most draws pass"


def test_engines_that_cannot_choose_are_not_asked(run_analysis: Callable[..., Any]) -> None:
    found = run_analysis(lambda text: {"no": 1.0}, make_problems(12, lambda i: f"a{i}"), rollouts=16)
    assert found.evidence.arms(rendering.ARM) == []


def test_a_sign_test_needs_more_than_a_few_problems() -> None:
    rng = random.Random(0)
    extra = [
        rollout_row(f"p{i}", j, arm="template:chat", verdict="pass" if rng.random() < 0.9 else "fail")
        for i in range(5)
        for j in range(8)
    ]
    assert rendering.other_rendering(make_evidence([(16, 2)] * 5, extra=extra)) is None
    assert rendering.other_rendering(make_evidence([(16, 2)] * 5)) is None
