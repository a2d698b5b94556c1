"""Pilot draws in a run: they decide the cap once, are kept and counted apart, and tell what a dry run tells."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, Killed, make_problems

from posttrain_diag.analysis import analyze as analyze_module
from posttrain_diag.analysis.analyze import Analysis
from posttrain_diag.analysis.estimate import CostEstimate, estimate_cost
from posttrain_diag.errors import StoreError
from posttrain_diag.rollouts import token_cap as token_cap_module
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.store import RunDir
from posttrain_diag.tasks import write_tasks
from posttrain_diag.types import Problem

Run = Callable[..., Analysis]
N = 16
LONG = "let me think about it " * 4  # 88 characters


def law(prompt: str) -> Mapping[str, float]:
    """Half right, after 88 characters of thought: 92 tokens or so with the answer and the end."""
    i = int(prompt[1:-1])
    return {f"{LONG}{i + 10}": 0.5, f"{LONG}{i + 50}": 0.5}


def answers_only() -> list[Problem]:
    return make_problems(N, lambda i: str(i + 10), verifier={"type": "numeric"}, demos=())


def pilots(analysis: Analysis) -> Any:
    return analysis.evidence.arm("pilot")


def test_a_talkative_model_on_bare_answers_is_not_cut(run_analysis: Run, tmp_path: Path) -> None:
    """Four times the longest reference was 32 tokens: every draw was cut."""
    found = run_analysis(law, answers_only(), rollouts=16)
    assert found.evidence.settings.sampling.max_new_tokens == 160
    assert found.evidence.main["truncated"].sum() == 0
    assert found.diagnosis.bottleneck == "reshaping"
    said = "token cap 160: 16 of 16 pilot draws ended, 95% of them within 91 tokens"
    assert said in found.json["notes"]
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event["said"] for event in events if event["event"] == "token_cap"] == [said]


def test_pilot_draws_are_kept_counted_and_never_pooled(run_analysis: Run) -> None:
    found = run_analysis(law, answers_only(), rollouts=8)
    assert len(pilots(found)) == 16 and set(pilots(found)["n_tokens"]) == {91}
    assert found.evidence.tokens("pilot") == 16 * 91
    assert found.evidence.main["drawn"].tolist() == [8] * N
    assert found.json["samples"]["rollouts"] == 8 * N
    assert found.json["samples"]["rollouts_all_arms"] >= 8 * N + 16
    assert set(pilots(found)["seed"]).isdisjoint(found.evidence.arm("main")["seed"])


def test_every_cap_that_was_tried_is_kept(run_analysis: Run) -> None:
    found = run_analysis(lambda prompt: {"x" * 400: 1.0}, answers_only(), rollouts=4)
    assert sorted(pilots(found)["n_tokens"]) == [256] * 16 + [401] * 16
    assert found.evidence.settings.sampling.max_new_tokens == 608


def test_a_resumed_run_keeps_its_cap_and_makes_no_pilot(run_analysis: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the main arm; other answers and other problems would lead to another cap by now."""
    with pytest.raises(Killed):
        run_analysis(law, answers_only(), engine=FakeEngine(law, die_after=16 + 50), rollouts=16)

    def no_pilot(*_: object) -> None:
        raise AssertionError("a pilot was made")

    monkeypatch.setattr(token_cap_module, "pilot_draws", no_pilot)
    longer = [replace(problem, demos=("so " * 30 + str(problem.answer),)) for problem in answers_only()]
    second = FakeEngine(law)
    found = run_analysis(law, longer, engine=second, rollouts=16)
    assert found.evidence.settings.sampling.max_new_tokens == 160
    main = found.evidence.arm("main")
    assert len(main) == 16 * N and not main.duplicated(["problem_id", "sample_idx"]).any()
    assert len(pilots(found)) == 16
    assert any("pilot draws ended" in note for note in found.json["notes"])
    with pytest.raises(StoreError, match="temperature"):
        run_analysis(law, longer, rollouts=16, temperature=0.5)
    with pytest.raises(StoreError, match="max_new_tokens"):
        run_analysis(law, longer, rollouts=16, max_new_tokens=64)


def test_a_given_cap_and_demonstrations_need_no_pilot(run_analysis: Run, tmp_path: Path) -> None:
    given = run_analysis(law, answers_only(), rollouts=4, max_new_tokens=100, out=tmp_path / "given")
    traces = [replace(problem, demos=(f"{LONG}{problem.answer}",)) for problem in answers_only()]
    shown = run_analysis(law, traces, rollouts=4, out=tmp_path / "shown")
    assert (len(pilots(given)), len(pilots(shown))) == (0, 0)
    assert shown.evidence.settings.sampling.max_new_tokens == 4 * 91
    assert "pilot" not in RunDir(tmp_path / "shown").read_json("run.json")


@pytest.fixture
def dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[CostEstimate, FakeEngine]]:
    def run(problems: list[Problem], **settings: Any) -> tuple[CostEstimate, FakeEngine]:
        engine = FakeEngine(law)
        write_tasks(problems, tmp_path / "tasks.jsonl")
        monkeypatch.setattr(analyze_module, "load_engine", lambda config: engine)
        values = {"rollouts": 16, "out": tmp_path / "run"} | settings
        return estimate_cost(make_config(model="fake", tasks=str(tmp_path / "tasks.jsonl"), **values)), engine

    return run


@pytest.mark.parametrize("given", [None, 100, 50])
def test_a_dry_run_tells_the_tokens_of_the_mean_draw(dry_run: Any, tmp_path: Path, given: int | None) -> None:
    cost, engine = dry_run(answers_only(), max_new_tokens=given)
    cap = given or 160
    made = 64 if given else 64 + 16
    assert (cost.max_new_tokens, cost.pilot_rollouts, engine.drawn) == (cap, made, made)
    assert cost.tokens == 16 * N * min(91, cap) and cost.most_tokens == 16 * N * cap
    assert cost.time_s is not None and cost.time_s > 0
    assert cost.flops == 2 * 10 * (cost.tokens + cost.probe_tokens)
    assert cost.most_probe_tokens == cost.tokens / 2, "bare answers leave the probes nothing but checks"
    assert 0 < cost.probe_tokens < cost.most_probe_tokens
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_the_budget_of_probes_where_there_are_traces(dry_run: Any) -> None:
    traces = [replace(problem, demos=(f"{LONG}{problem.answer}",)) for problem in answers_only()]
    cost, _ = dry_run(traces)
    assert cost.probe_share == 2 and cost.most_probe_tokens == 2 * cost.tokens, "the multiple of --effort standard"


def test_a_dry_run_in_a_run_takes_its_cap_and_its_draws(run_analysis: Run, dry_run: Any, tmp_path: Path) -> None:
    run_analysis(law, answers_only(), rollouts=8)
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    cost, engine = dry_run(answers_only())
    assert (engine.drawn, cost.pilot_rollouts, cost.max_new_tokens) == (0, 0, 160)
    assert (cost.stored, cost.tokens) == (8 * N, 8 * N * 91)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
