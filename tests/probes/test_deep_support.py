"""Deep support: tilted draws weigh exactly, bounds lie below the exact p, and nothing is asked for in vain."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from fake_engine import FakeEngine, make_problems
from posttrain_probes import deep_support
from posttrain_probes.deep_support import ARM, FLOOR, REACH, tilt_towards
from posttrain_probes.synthetic import demonstrated, make_evidence, make_problem, rollout_row

from posttrain_diag.engines.contract import Draw, Prompt, SampleRequest, Tilt
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.engines.hf.random import choose_tilted
from posttrain_diag.errors import EngineError
from posttrain_diag.evidence import MAIN, DrawSpec, Evidence, Settings
from posttrain_diag.rollouts.collect import Collector
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.stored import spans_of
from posttrain_diag.store import RolloutStore
from posttrain_diag.tasks import load_tasks, reference_completions, verify
from posttrain_diag.types import Problem, SamplingParams
from posttrain_diag.zoo import load_truth, resolve_model

PARAMS = SamplingParams(max_new_tokens=32)


@pytest.fixture(scope="module")
def zoo() -> Callable[[str], Any]:
    torch.set_num_threads(1)
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = load_hf_engine(str(resolve_model(f"zoo:{name}")), device="cpu")
        return made[name]

    return get


def tasks(name: str, n: int) -> list[Problem]:
    return list(load_tasks(f"builtin:zoo/{name}").problems[:n])


def exact(model: str, name: str, problem: Problem) -> tuple[float, float]:
    rows = load_truth().set_index(["model", "tasks", "id"])
    low, high = rows.loc[(model, name, problem.id), ["p_low", "p_high"]].to_numpy(float)
    return float(low), float(high)


def request(engine: Any, problem: Problem, n: int, *, tilted: bool = True) -> SampleRequest:
    tilt = tilt_towards((*engine.response_ids(problem.demos[0]), *engine.info.stop_token_ids)) if tilted else None
    key = problem.id if tilted else f"{problem.id} plain"
    return SampleRequest(key, Prompt(problem.prompt), tuple(range(n)), tuple(range(7, 7 + n)), tilt)


def log_q(draw: Draw, tilt: Tilt) -> float:
    """The proposal's log-probability from what the store keeps: token ids and raw log-probabilities."""
    total, following = 0.0, True
    for step, (token, logprob) in enumerate(zip(draw.token_ids, draw.token_logprobs, strict=True)):
        leaning = following and step < len(tilt.token_ids)
        following = leaning and token == tilt.token_ids[step]
        total += np.log((1 - tilt.lean) * np.exp(logprob) + tilt.lean * following) if leaning else logprob
    return float(total)


def test_log_q_follows_from_stored_tokens(zoo: Callable[[str], Any]) -> None:
    engine, problem = zoo("frontier"), tasks("F15", 1)[0]
    asked = request(engine, problem, 300)
    assert asked.tilt is not None
    draws = list(engine.sample([asked], PARAMS))
    for draw in draws:
        assert draw.policy_logprob == pytest.approx(sum(draw.token_logprobs), abs=1e-4)
        assert draw.proposal_logprob == pytest.approx(log_q(draw, asked.tilt), abs=1e-5)
        assert draw.policy_logprob - draw.proposal_logprob <= -np.log1p(-asked.tilt.lean) + 1e-6
    assert 0.4 < np.mean([draw.text == problem.demos[0] for draw in draws]) < 0.65, "REACH is one half"


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.5),
        SamplingParams(temperature=2.0, top_k=3),
        SamplingParams(top_p=0.7),
    ],
)
@pytest.mark.parametrize("target", [0, 3, 6, -1])
def test_one_tilted_step_has_the_law_it_states(params: SamplingParams, target: int) -> None:
    logits = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0, -30.0])
    n, lean = 20_000, 0.75
    grid = (np.arange(n) + 0.5) / n
    found = choose_tilted(torch.tensor(logits).float().repeat(n, 1), grid, params, np.full(n, target), np.full(n, lean))
    pi = np.exp(logits / params.temperature)
    if params.top_k:
        pi[params.top_k :] = 0
    if params.top_p < 1:
        pi[np.cumsum(pi) / pi.sum() - pi / pi.sum() >= params.top_p] = 0
    pi /= pi.sum()
    q = pi if target < 0 else (1 - lean) * pi + lean * np.eye(7)[target]
    tokens = found.tokens_B
    assert np.bincount(tokens, minlength=7) / n == pytest.approx(q, abs=2 / n)
    assert np.exp(found.policy_B) == pytest.approx(pi[tokens], rel=1e-4)
    assert np.exp(found.proposal_B) == pytest.approx(q[tokens], rel=1e-4)
    assert found.logprobs_B == pytest.approx(logits[tokens] - np.log(np.exp(logits).sum()), abs=1e-4)


def test_plain_rows_of_a_tilted_batch_are_drawn_as_ever(zoo: Callable[[str], Any]) -> None:
    engine, (one, other) = zoo("frontier"), tasks("F15", 2)
    plain = request(engine, one, 40, tilted=False)
    alone = {draw.sample_idx: draw for draw in engine.sample([plain], PARAMS)}
    together = [
        draw for draw in engine.sample([request(engine, other, 40), plain], PARAMS) if draw.key.endswith("plain")
    ]
    assert len(together) == 40
    for draw in together:
        assert draw.token_ids == alone[draw.sample_idx].token_ids
        assert draw.policy_logprob == pytest.approx(sum(draw.token_logprobs), abs=1e-4)
        assert draw.proposal_logprob is None


@pytest.mark.parametrize(
    ("model", "name", "params"),
    [
        ("base", "S", PARAMS),
        ("frontier", "F15", PARAMS),
        ("base", "H", replace(PARAMS, temperature=1.3, top_k=12)),
    ],
)
def test_weighted_successes_average_to_p(
    model: str, name: str, params: SamplingParams, zoo: Callable[[str], Any]
) -> None:
    engine, problem = zoo(model), tasks(name, 1)[0]
    draws = list(engine.sample([request(engine, problem, 2000)], params))
    passed = np.array([draw.finish_reason == "stop" and verify(draw.text, problem).strict for draw in draws])
    terms = passed * np.exp([draw.policy_logprob - draw.proposal_logprob for draw in draws])
    error = terms.std() / np.sqrt(len(terms))
    if params is PARAMS:
        low, high = exact(model, name, problem)
    else:
        plain = list(engine.sample([request(engine, problem, 2000, tilted=False)], params))
        share = np.mean([draw.finish_reason == "stop" and verify(draw.text, problem).strict for draw in plain])
        low = high = float(share)
        error = np.hypot(error, np.sqrt(share * (1 - share) / 2000))
    assert low - 4 * error < terms.mean() < high + 4 * error
    assert error < 0.1 * terms.mean()


@pytest.mark.parametrize("lean", [0.0, 1.0, -0.5])
def test_a_lean_outside_0_1_is_refused(lean: float, zoo: Callable[[str], Any]) -> None:
    engine = zoo("frontier")
    asked = SampleRequest("x", Prompt("F:abcdefgh="), (0,), (0,), Tilt((5,), lean))
    with pytest.raises(EngineError, match="leans by"):
        list(engine.sample([asked], PARAMS))


def test_greedy_decoding_cannot_be_tilted(zoo: Callable[[str], Any]) -> None:
    engine, problem = zoo("frontier"), tasks("F15", 1)[0]
    with pytest.raises(EngineError, match="temperature 0"):
        list(engine.sample([request(engine, problem, 1)], replace(PARAMS, temperature=0.0)))


def gathered(engine: Any, problems: list[Problem], store: RolloutStore) -> Evidence:
    """Main arm, plan, tilted draws: what `analyze` does, with nothing but this probe."""
    by_id = {problem.id: problem for problem in problems}
    references = {key: reference_completions(problem) for key, problem in by_id.items()}
    collector = Collector(engine, store, by_id, PARAMS)
    owed = collector.owed(DrawSpec(key, MAIN, 64) for key in by_id)
    collector.draw(owed, Progress())
    rollouts = store.rows(engine.info.model_sha, spans_of(owed))
    main = Evidence(by_id, rollouts, (), Settings(PARAMS), engine.info, references)
    owed += (extra := collector.owed(deep_support.plan(main, engine).draws))
    collector.draw(extra, Progress())
    return replace(main, rollouts=store.rows(engine.info.model_sha, spans_of(owed)))


def test_bounds_of_a_hard_family_are_valid_and_tight(zoo: Callable[[str], Any], tmp_path: Path) -> None:
    engine, problems = zoo("frontier"), tasks("F15", 20)
    store = RolloutStore(tmp_path / "rollouts.sqlite")
    evidence = gathered(engine, problems, store)
    assert len(evidence.arm(ARM)) == 16 * 64
    assert evidence.arm(MAIN)["proposal_logprob"].isna().all()
    found = deep_support.measure(evidence)
    low = found.per_problem["deep_support_low"].dropna()
    ratios = [value / exact("frontier", "F15", evidence.problems[str(key)])[0] for key, value in low.items()]
    assert len(low) == 16
    assert 0.3 < np.median(ratios) < 1.0
    assert sum(ratio > 1 for ratio in ratios) <= 3, "each bound holds with 95%"
    assert found.summary[f"certified@{FLOOR:g}"].value == 1.0
    assert found.summary["median_at_least"].value == pytest.approx(float(low.median()))
    again = Collector(engine, store, evidence.problems, PARAMS)
    specs = deep_support.plan(evidence, engine).draws
    assert [item.missing for item in again.owed(specs)] == [()] * 16, "a resumed run draws nothing twice"
    for spec in specs:
        assert spec.tilt is not None
        for other in (Tilt(spec.tilt.token_ids, 0.5), Tilt(spec.tilt.token_ids[:-1], spec.tilt.lean), None):
            (item,) = again.owed([replace(spec, tilt=other)])
            assert len(item.missing) == spec.n, "another proposal is another draw"
    store.close()


def test_bounds_of_a_hopeless_family_stay_below_any_use(zoo: Callable[[str], Any], tmp_path: Path) -> None:
    store = RolloutStore(tmp_path / "rollouts.sqlite")
    evidence = gathered(zoo("base"), tasks("T", 16), store)
    store.close()
    found = deep_support.measure(evidence)
    for key, low in found.per_problem["deep_support_low"].dropna().items():
        assert low <= exact("base", "T", evidence.problems[str(key)])[0]
    assert found.summary[f"certified@{FLOOR:g}"].value == 0.0


def tilting(**values: Any) -> FakeEngine:
    engine = FakeEngine(lambda prompt: {"x": 1.0})
    engine.info = replace(engine.info, lacks={}, **values)
    return engine


def right(evidence: Evidence) -> Evidence:
    """Every problem with its bare answer as demonstration."""
    return demonstrated(evidence, {key: problem.answer or "" for key, problem in evidence.problems.items()})


def test_only_unsolved_problems_with_a_demonstration_are_probed() -> None:
    evidence = make_evidence([(64, 0)] * 30 + [(64, 2)] * 10 + [(64, 0)] * 10)
    demos = {f"p{i}": f"right-p{i}" for i in range(40)}
    plan = deep_support.plan(demonstrated(evidence, demos), tilting())
    probed = [int(spec.problem_id[1:]) for spec in plan.draws]
    assert len(probed) == 16
    assert max(probed) == 29
    assert {spec.n for spec in plan.draws} == {64}
    tilt = plan.draws[0].tilt
    assert tilt is not None
    assert tilt.token_ids == (*map(ord, "right-p0"), 0)
    assert tilt.lean ** len(tilt.token_ids) == pytest.approx(REACH)


def test_a_problem_with_a_pass_is_not_probed_however_rare_it_is() -> None:
    settings = Settings(SamplingParams(max_new_tokens=64), rollout_budget=4)
    plan = deep_support.plan(right(make_evidence([(64, 2)] * 10 + [(64, 0)] * 2, settings=settings)), tilting())
    assert [spec.problem_id for spec in plan.draws] == ["p10", "p11"]


def test_more_effort_draws_more() -> None:
    settings = Settings(SamplingParams(max_new_tokens=64), ladder_rollouts=32)
    plan = deep_support.plan(right(make_evidence([(64, 0)] * 3, settings=settings)), tilting())
    assert {spec.n for spec in plan.draws} == {128}


def test_the_policy_chooses_among_several_stop_tokens() -> None:
    plan = deep_support.plan(right(make_evidence([(64, 0)] * 3)), tilting(stop_token_ids=(0, 1)))
    tilt = plan.draws[0].tilt
    assert tilt is not None
    assert tilt.token_ids == tuple(map(ord, "right-p0"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"demos": "wrong"}, "3 problems have no demonstration"),
        ({"demos": "right-p0"}, "2 problems have no demonstration"),
        ({"settings": Settings(SamplingParams(max_new_tokens=8))}, "3 problems have no demonstration"),
        ({"settings": Settings(SamplingParams(temperature=0.0, max_new_tokens=64))}, "greedy"),
    ],
)
def test_what_cannot_be_probed_is_said(change: dict[str, Any], said: str) -> None:
    demo = change.get("demos")
    evidence = make_evidence([(64, 0)] * 3, **{key: value for key, value in change.items() if key != "demos"})
    given = right(evidence) if demo is None else demonstrated(evidence, dict.fromkeys(evidence.problems, demo))
    plan = deep_support.plan(given, tilting())
    assert said in " ".join(plan.notes)


def test_an_engine_that_cannot_tilt_is_not_asked_and_refuses(tmp_path: Path) -> None:
    engine = FakeEngine(lambda prompt: {"x": 1.0})
    plan = deep_support.PROBE.needs(make_evidence([(64, 0)] * 3), engine)
    assert plan.draws == ()
    assert plan.notes == ("deep_support: the fake engine cannot serve it (it draws from a table)",)
    problems = {problem.id: problem for problem in make_problems(1, lambda _: "a")}
    collector = Collector(engine, RolloutStore(tmp_path / "s.sqlite"), problems, PARAMS)
    owed = collector.owed([DrawSpec("p0", ARM, 2, tilt=Tilt((97, 0), 0.9))])
    with pytest.raises(EngineError, match="fake engine cannot draw"):
        collector.draw(owed, Progress())


def rows(problem: str, logprobs: list[tuple[float, float, str]]) -> list[dict[str, Any]]:
    return [
        rollout_row(problem, i, arm=ARM, verdict=verdict, policy_logprob=policy, proposal_logprob=proposal)
        for i, (policy, proposal, verdict) in enumerate(logprobs)
    ]


def test_unhealthy_weights_give_no_estimate() -> None:
    lone = [(-9.0, -2.0, "pass")] + [(-2.0, -2.0, "fail")] * 63
    spread = [(-20.0 + i / 2, -1.0, "pass") for i in range(32)] + [(-2.0, -2.0, "fail")] * 32
    impossible = [(-0.5, -0.5, "pass")] * 40 + [(-2.0, -2.0, "fail")] * 24
    extra = rows("p0", lone) + rows("p1", spread) + rows("p2", impossible)
    found = deep_support.measure(make_evidence([(64, 0)] * 3, extra=extra))
    assert found.per_problem["deep_support_low"].isna().all()
    assert found.summary["bounded"].value == 0.0
    assert found.summary["median_at_least"].value is None
    assert "effective successes" in found.notes[0]
    assert "contradicts 0 passes in 64" in deep_support.bounds(make_evidence([(64, 0)] * 3, extra=extra))["p2"].reason


@pytest.mark.parametrize("verdict", ["truncated", "error", "fail"])
def test_only_a_pass_is_a_success(verdict: str) -> None:
    extra = rows("p0", [(-15.0, -0.7, "pass")] * 32 + [(-15.0, -0.7, verdict)] * 32)
    estimate = deep_support.bounds(make_evidence([(64, 0)], extra=extra))["p0"]
    assert estimate.value == pytest.approx(np.exp(-14.3) / 2)
    assert estimate.low is not None
    assert 0 < estimate.low < np.exp(-14.3) / 2


def test_without_tilted_draws_everything_is_undefined() -> None:
    found = deep_support.measure(make_evidence([(64, 0)] * 3))
    assert all(estimate.value is None and estimate.reason for estimate in found.summary.values())
    assert found.per_problem["deep_support_low"].isna().all()
    assert make_problem(0).id in found.per_problem.index


V1 = """
CREATE TABLE rollouts (
    model_sha TEXT NOT NULL, prompt_sha TEXT NOT NULL, sampling_sha TEXT NOT NULL, sample_idx INTEGER NOT NULL,
    problem_id TEXT NOT NULL, arm TEXT NOT NULL, seed INTEGER NOT NULL, response_prefix TEXT NOT NULL,
    text TEXT NOT NULL, token_ids BLOB NOT NULL, token_logprobs BLOB NOT NULL, n_tokens INTEGER NOT NULL,
    logprob REAL NOT NULL, finish_reason TEXT NOT NULL, verdict TEXT NOT NULL, strict INTEGER NOT NULL,
    lenient INTEGER NOT NULL,
    extracted TEXT, score REAL, error TEXT, engine TEXT NOT NULL, verifier_sha TEXT NOT NULL,
    PRIMARY KEY (model_sha, prompt_sha, sampling_sha, sample_idx)
) WITHOUT ROWID;
INSERT INTO rollouts VALUES ('m','q','s',0,'p0','main',1,'','old','','',3,-1.5,'stop','pass',1,1,NULL,NULL,NULL,'e','v');
PRAGMA user_version=1;
"""


def test_a_store_of_version_1_is_brought_up_and_keeps_its_rollouts(zoo: Callable[[str], Any], tmp_path: Path) -> None:
    path = tmp_path / "rollouts.sqlite"
    db = sqlite3.connect(path)
    db.executescript(V1)
    db.close()
    store = RolloutStore(path)
    (old,) = store.frame("m").to_dict("records")
    assert (old["text"], old["verdict"]) == ("old", "pass")
    assert np.isnan(float(old["policy_logprob"] or np.nan))
    evidence = gathered(zoo("frontier"), tasks("F15", 3), store)
    assert evidence.arm(ARM)["proposal_logprob"].notna().all()
    store.close()
    again = RolloutStore(path)
    assert len(again.frame("m")) == 1
    again.close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (3,)
    db.close()
