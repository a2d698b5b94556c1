"""Every probe validates itself, and each instrument check sees its fault and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from posttrain_probes import BUILTIN, Probe, boundary, golds, instrument, prefix_ladder, stopping, truncation
from posttrain_probes.synthetic import demonstrated, make_evidence, make_problem, rollout_row

from posttrain_diag.engines.contract import EngineInfo
from posttrain_diag.evidence import Settings
from posttrain_diag.store import ScoreRow
from posttrain_diag.types import Measurement, ProbeFailure, SamplingParams


def info(**values: Any) -> EngineInfo:
    fields: dict[str, Any] = {
        "engine": "fake",
        "model": "m",
        "model_sha": "m",
        "architecture": "a",
        "n_parameters": 1,
        "vocab_size": 1000,
        "context_length": 64,
        "dtype": "float32",
        "device": "cpu",
        "stop_token_ids": (2,),
        "stop_tokens": ("</s>",),
        "chat_template_sha": None,
    }
    return EngineInfo(**{**fields, **values})


def score(index: int, logprobs: list[float]) -> ScoreRow:
    size = len(logprobs)
    zeros = np.zeros(size, np.int32)
    values = np.asarray(logprobs, np.float32)
    return ScoreRow(f"p{index}", "demo:0", "m", "q", f"c{index}", ("x",) * size, zeros, values, zeros, values * 0)


def kinds(found: Measurement) -> list[tuple[str, str]]:
    return [(finding.kind, finding.severity) for finding in found.findings]


@pytest.mark.parametrize("probe", BUILTIN, ids=lambda probe: probe.card.name)
def test_probe_validates(probe: Probe) -> None:
    probe.validate()


@pytest.mark.parametrize("probe", BUILTIN, ids=lambda probe: probe.card.name)
def test_probe_says_undefined_without_rollouts(probe: Probe) -> None:
    found = probe.measure(make_evidence([(0, 0)] * 3))
    assert all(estimate.value is None or estimate.n > 0 for estimate in found.summary.values())


def test_a_raising_probe_is_shown_and_its_siblings_go_on() -> None:
    def broken(_: object) -> Measurement:
        raise KeyError("column")

    failed = boundary(Probe(BUILTIN[0].card, broken, BUILTIN[0].validate), make_evidence([(4, 2)]))
    assert failed == ProbeFailure("instrument", "KeyError: 'column'")


def test_clean_draws_have_no_finding() -> None:
    assert kinds(instrument.measure(make_evidence([(32, 10)] * 20, model=info()))) == []


@pytest.mark.parametrize(("errored", "severity"), [(2, "suspect"), (12, "broken")])
def test_failing_verifier(errored: int, severity: str) -> None:
    extra = [
        rollout_row(f"p{i}", 100 + j, verdict="error", error="ZeroDivisionError")
        for i in range(20)
        for j in range(errored)
    ]
    found = instrument.measure(make_evidence([(32, 10)] * 20, extra=extra))
    assert ("verifier_error", severity) in kinds(found)
    assert "ZeroDivisionError" in found.findings[0].advice


def test_greedy_is_not_sampling() -> None:
    settings = Settings(SamplingParams(temperature=0.0, max_new_tokens=8))
    found = instrument.measure(make_evidence([(8, 8)] * 8, settings=settings))
    assert ("duplicate_draws", "broken") in kinds(found)


def test_confident_model_repeats_itself_rightly() -> None:
    """All draws equal because the model is sure (log-prob -0.01) is not a fault."""
    same = [rollout_row("p12", i, verdict="pass", text="right-p12", logprob=-0.01) for i in range(64)]
    assert kinds(instrument.measure(make_evidence([(16, 8)] * 12 + [(0, 0)], extra=same))) == []


def coin(index: int, side: str, draw: int) -> dict[str, Any]:
    """A yes/no draw, alternately right and wrong."""
    answer = side if draw % 2 else {"yes": "no", "no": "yes"}[side]
    return rollout_row(f"p{index}", draw, verdict="pass" if draw % 2 else "fail", text=answer, extracted=answer)


def test_coin_flips_on_yes_no_are_luck() -> None:
    sides = ["yes", "no"] * 10
    problems = {f"p{i}": make_problem(i, answer=side) for i, side in enumerate(sides)}
    rows = [coin(i, side, draw) for i, side in enumerate(sides) for draw in range(16)]
    found = instrument.measure(make_evidence([(0, 0)] * 20, problems=problems, extra=rows, references={}))
    assert ("guessable", "broken") in kinds(found)


def test_knowing_yes_no_is_not_luck() -> None:
    sides = ["yes", "no"] * 10
    problems = {f"p{i}": make_problem(i, answer=side) for i, side in enumerate(sides)}
    rows = [
        rollout_row(f"p{i}", draw, verdict="pass", text=side, extracted=side, logprob=-0.01)
        for i, side in enumerate(sides)
        for draw in range(16)
    ]
    found = instrument.measure(make_evidence([(0, 0)] * 20, problems=problems, extra=rows, references={}))
    assert kinds(found) == [("guessable", "note")]


def cut(index: int, draw: int) -> dict[str, Any]:
    return rollout_row(f"p{index}", draw, verdict="truncated", finish_reason="length", text="righ")


def test_a_cap_that_cuts_known_answers_breaks_the_instrument() -> None:
    rows = [cut(i, draw) for i in range(12) for draw in range(16)]
    longer = [
        rollout_row(f"p{i}", j, arm=truncation.LONGER_ARM, verdict="pass", n_tokens=99)
        for i in range(12)
        for j in range(4)
    ]
    scores = tuple(score(i, [-0.1] * 8) for i in range(12))
    evidence = make_evidence([(0, 0)] * 12, extra=[*rows, *longer], scores=scores, model=info())
    finding = stopping.truncation(evidence)
    assert finding is not None and finding.severity == "broken"
    assert "48 ended and 48 passed" in finding.advice


def test_a_cap_does_not_matter_to_a_policy_that_knows_nothing() -> None:
    rows = [cut(i, draw) for i in range(12) for draw in range(16)]
    scores = tuple(score(i, [-6.9] * 8) for i in range(12))
    finding = stopping.truncation(make_evidence([(0, 0)] * 12, extra=rows, scores=scores, model=info()))
    assert finding is not None and finding.severity == "note"


def test_no_stop_token_in_the_model_directory() -> None:
    finding = stopping.no_stop_token(make_evidence([(4, 1)] * 4, model=info(stop_token_ids=())))
    assert finding is not None and (finding.kind, finding.severity) == ("no_eos", "broken")
    ended = Settings(SamplingParams(max_new_tokens=64, stop=("\n\n",)))
    for model, settings in ((info(stop_token_ids=(), stop_texts=("### end",)), None), (info(stop_token_ids=()), ended)):
        assert stopping.no_stop_token(make_evidence([(4, 1)] * 4, model=model, settings=settings)) is None


def test_a_stop_token_the_model_never_uses() -> None:
    rows = [cut(i, draw) for i in range(12) for draw in range(16)]
    never = tuple(score(i, [-0.1] * 3 + [-30.0]) for i in range(12))
    finding = stopping.no_stop_token(make_evidence([(0, 0)] * 12, extra=rows, scores=never, model=info()))
    assert finding is not None and finding.kind == "no_eos"
    often = tuple(score(i, [-0.1] * 8) for i in range(12))
    assert stopping.no_stop_token(make_evidence([(0, 0)] * 12, extra=rows, scores=often, model=info())) is None


def test_chat_markup_in_completions() -> None:
    rows = [rollout_row(f"p{i}", j, text="fine <|im_end|>\n<|im_start|>user") for i in range(6) for j in range(8)]
    finding = stopping.template(make_evidence([(0, 0)] * 6, extra=rows, model=info()))
    assert finding is not None and (finding.kind, finding.severity) == ("template", "broken")


def unanimous(index: int, right: bool, draw: int) -> dict[str, Any]:
    text = f"model-{index}"
    return rollout_row(f"p{index}", draw, verdict="pass" if right else "fail", text=text, extracted=text, logprob=-0.01)


def test_wrong_golds_are_seen_without_demonstrations() -> None:
    """The model is unanimous everywhere; on a random 30% the gold says otherwise."""
    wrong = set(np.random.default_rng(0).choice(60, 18, replace=False).tolist())
    rows = [unanimous(i, i not in wrong, draw) for i in range(60) for draw in range(16)]
    finding = golds.unexplained_failures(make_evidence([(0, 0)] * 60, extra=rows))
    assert finding is not None and finding.severity == "broken"
    assert set(finding.problems) == {f"p{i}" for i in wrong}


def test_a_family_the_model_cannot_do_is_not_a_wrong_gold() -> None:
    """Same answer profiles, but the failures share a prompt: they are a kind of problem, not bad golds."""
    hard = set(range(18))
    problems = {f"p{i}": make_problem(i, prompt=f"{'T' if i in hard else 'R'}: item {i}") for i in range(60)}
    rows = [unanimous(i, i not in hard, draw) for i in range(60) for draw in range(16)]
    assert golds.unexplained_failures(make_evidence([(0, 0)] * 60, problems=problems, extra=rows)) is None


def test_hard_problems_with_scattered_answers_are_not_wrong_golds() -> None:
    hard = set(range(0, 60, 3))
    rows = [
        rollout_row(
            f"p{i}", draw, verdict="pass" if i not in hard else "fail", extracted=f"a{draw if i in hard else 0}"
        )
        for i in range(60)
        for draw in range(16)
    ]
    assert golds.unexplained_failures(make_evidence([(0, 0)] * 60, extra=rows)) is None


def test_auc_is_half_on_noise_and_one_on_a_signal() -> None:
    rng = np.random.default_rng(1)
    label = rng.random(200) < 0.4
    noise = rng.standard_normal((200, 3))
    assert abs(golds.cross_validated_auc(noise, label, seed=0) - 0.5) < 0.12
    signal = np.c_[noise, label + 0.1 * rng.standard_normal(200)]
    assert golds.cross_validated_auc(signal, label, seed=0) > 0.98


@pytest.mark.parametrize(("problems", "each"), [(200, 16), (40, 40), (10, 160), (2, 256)])
def test_few_problems_get_more_draws_after_the_prefix_that_helps_most(problems: int, each: int) -> None:
    """A few draws after every prefix come first; only the best is topped up and controlled."""
    from fake_engine import FakeEngine

    engine, name = FakeEngine(lambda _: {"": 1.0}), prefix_ladder.arm_name
    before = prefix_ladder.plan(demonstrated(make_evidence([(256, 0)] * problems)), engine)
    assert {spec.arm.split(":")[1] for spec in before.draws} == {"true"}, "no success asks for no control"
    assert {spec.n for spec in before.draws} == {16}
    drawn = [rollout_row(f"p{i}", 0, arm=spec.arm) for i in range(problems) for spec in before.draws[:3]]
    drawn += [rollout_row("p0", 1, arm=name("true", 0.5), verdict="pass")]
    wanted = prefix_ladder.plan(demonstrated(make_evidence([(256, 0)] * problems, extra=drawn)), engine)
    asked = {(spec.arm, spec.n) for spec in wanted.draws if "true" in spec.arm}
    assert asked == {(spec.arm, each if spec.arm == name("true", 0.5) else 16) for spec in before.draws}
    controls = {(spec.arm, spec.n) for spec in wanted.draws if "true" not in spec.arm}
    assert controls <= {(name(kind, 0.5), 16) for kind in ("permuted", "neutral")} and controls


def test_a_prefix_that_helps_no_more_than_filler_is_no_reach() -> None:
    extra = [
        rollout_row(f"p{i}", j, arm=prefix_ladder.arm_name(kind, 0.75), verdict="pass" if j % 2 else "fail")
        for i in range(20)
        for j in range(16)
        for kind in ("true", "neutral")
    ]
    assert prefix_ladder.reach(make_evidence([(256, 0)] * 20, extra=extra)).max() == 0.0


def test_draws_that_separate_a_zero_from_weak_problems() -> None:
    solved = pd.DataFrame({"n": [64] * 20, "c": [6] * 20})
    draws = golds.separating_draws(solved)
    rate = golds.weak_rate(solved)
    assert (1 - rate) ** draws == pytest.approx(golds.SEPARATED)
    assert 32 < draws < 64
    assert golds.separating_draws(pd.DataFrame({"n": [8], "c": [1]})) == np.inf  # one pass each tells nothing of p
    assert golds.separating_draws(pd.DataFrame({"n": [8], "c": [8]})) == 1.0
