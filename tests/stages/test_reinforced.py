"""grpo, rloo, guided-rl, process-rl and interleaved: hints, rewards, credit, companions, stops, restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain_diag.engines.base import Prompt
from posttrain_diag.stages import StageInputs, guided_rl, interleaved, make_stage_config, process_rl, reinforced
from posttrain_diag.stages.draws import Judge, Judged, State, sample_from
from posttrain_diag.stages.guided_rl import LEVEL, Hints
from posttrain_diag.stages.policy import load_policy
from posttrain_diag.stages.process_rl import BranchValues, cuts_of, outcome
from posttrain_diag.stages.registry import STAGES
from posttrain_diag.stages.reinforced import RLPlan, fit_rl
from posttrain_diag.stages.rows import text_row
from posttrain_diag.stages.session import Session
from posttrain_diag.stages.trl import Hooked, Part
from posttrain_diag.types import Problem, SamplingParams
from posttrain_diag.zoo import mastered_problems, problems, resolve_model


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Session]:
    """Opens a session on a shipped zoo model, nothing measured, watched or retained unless asked for."""

    def make(
        family: str,
        *,
        model: str = "base",
        n: int = 8,
        folder: str = "stage",
        cap: int = 24,
        retain: tuple[Problem, ...] = (),
        default_replay: float = 0.0,
        **settings: Any,
    ) -> Session:
        settings = {"steps": 2, "batch_size": 16, "warmup_steps": 0, "learning_rate": 1e-3, **settings}
        config = make_stage_config(**settings)
        train = problems(family, n, split="training")
        inputs = StageInputs(str(resolve_model(f"zoo:{model}")), train, (), (), retain)
        policy = load_policy(inputs.model, config)
        session = Session(
            inputs,
            config,
            policy,
            SamplingParams(1.0, max_new_tokens=cap, seed=config.seed),
            tmp_path / folder,
            steps=config.steps or 2,
            learning_rate=config.learning_rate or 1e-3,
            default_replay=default_replay,
        )
        session.watcher.begin()
        return session

    return make


Opened = Callable[..., Session]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What trainers compute their loss on, batch by batch."""
    seen: list[dict[str, Any]] = []
    compute = Hooked.compute_loss

    def watched(self: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        seen.append(dict(inputs))
        return compute(self, model, inputs, *rest, **more)

    monkeypatch.setattr(Hooked, "compute_loss", watched)
    return seen


def weights(session: Session) -> torch.Tensor:
    """All weights of the policy in one vector."""
    return torch.cat([p.detach().flatten() for p in session.policy.model.parameters()])


def bare_prompt(session: Session, key: str) -> tuple[int, ...]:
    problem = session.problems[key]
    return session.policy.engine.prompt_ids(Prompt(problem.prompt, problem.messages))


def valid(ids: torch.Tensor, mask: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i, kept in zip(ids, mask, strict=True) if kept)


def test_hints_are_part_of_the_prompt_and_never_of_the_loss(opened: Opened, batches: list[dict[str, Any]]) -> None:
    session = opened("F15", model="frontier", steps=1)
    guided_rl.run(session)
    (batch,) = batches
    prompts = {bare_prompt(session, key): key for key in session.problems}
    stop = session.policy.engine.info.stop_token_ids[0]
    for i in range(len(batch["prompt_ids"])):
        given = valid(batch["prompt_ids"][i], batch["prompt_mask"][i])
        drawn = valid(batch["completion_ids"][i], batch["completion_mask"][i])
        (bare,) = [ids for ids in prompts if given[: len(ids)] == ids]
        demo = session.policy.engine.response_ids(session.problems[prompts[bare]].demos[0])
        hint = given[len(bare) :]
        assert 0 < len(hint) < len(demo)
        assert hint == demo[: len(hint)]
        assert len(drawn) <= len(demo) - len(hint) + 6 and (stop not in drawn[:-1])
    assert batch["advantages"].abs().sum() > 0, "from long hints some draws pass"


def test_a_hint_that_passes_by_itself_is_shortened(opened: Opened) -> None:
    session = opened("R", hint_share=0.9)
    problem = session.inputs.train[0]
    hints = Hints(session)
    demo = hints.demo_ids[problem.id]
    answer = problem.demos[0]
    hints.demo_ids[problem.id] = (*demo, *demo)  # a demonstration that goes on after the answer
    session.state.extra[LEVEL] = 0.55
    given = [session.policy.engine.decode(hints.of(problem.id, step)) for step in range(1)]
    assert all(text != answer and answer.startswith(text) for text in given)
    session.params = replace(session.params, max_new_tokens=2)
    assert len(hints.of(problem.id, 0)) <= 1, "a token is left to draw under the cap"
    assert hints.of("unknown", 0) == (), "no demonstration, no hint"


def test_hints_shrink_with_success_and_are_gone_at_the_end_without(opened: Opened) -> None:
    session = opened("F15", model="frontier", steps=20)
    hints = Hints(session)
    first, second = session.inputs.train[:2]

    def group(problem: Problem, *passed: bool) -> list[Judged]:
        return [Judged(problem.id, (), (5,), None, "", "pass" if p else "fail", p, None) for p in passed]

    hints.adapt({first.id: group(first, False, False), second.id: group(second, False, False)})
    assert hints.level == session.config.hint_share, "nothing passed: nothing is taken back"
    hints.adapt({first.id: group(first, True, True), second.id: group(second, False, False)})
    half = hints.level
    assert 0.8 < half < session.config.hint_share
    assert hints.share(first.id, 0) < hints.share(second.id, 0), "the harder problem is given more"
    for _ in range(10):
        hints.adapt({first.id: group(first, True, True), second.id: group(second, True, True)})
    assert hints.level == 0
    assert hints.of(first.id, 0) == hints.of(second.id, 0) == ()
    session.state.extra.clear()
    assert hints.of(first.id, 9) != ()
    assert all(hints.of(first.id, step) == () for step in range(16, 20)), "the last fifth is never guided"


def test_annealing_goes_on_after_a_restart(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"model": "frontier", "steps": 6, "watch_every": 2}
    whole = opened("F15", folder="whole", **settings)
    guided_rl.run(whole)
    adapt, calls = Hints.adapt, [0]

    def killed(self: Hints, groups: Any) -> None:
        calls[0] += 1
        if calls[0] == 6:
            raise KeyboardInterrupt
        adapt(self, groups)

    monkeypatch.setattr(Hints, "adapt", killed)
    cut = opened("F15", folder="cut", **settings)
    with pytest.raises(KeyboardInterrupt):
        guided_rl.run(cut)
    monkeypatch.setattr(Hints, "adapt", adapt)
    resumed = opened("F15", folder="cut", **settings)
    guided_rl.run(resumed)
    assert resumed.state == whole.state
    assert resumed.state.extra[LEVEL] < resumed.config.hint_share
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_draws_depend_on_the_seed_alone(opened: Opened, batches: list[dict[str, Any]], algorithm: Any) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit_rl(opened("S", folder=folder, seed=seed, steps=1), "rl", RLPlan(algorithm))
    a, b, c = (batch["completion_ids"] for batch in batches)
    assert torch.equal(a, b)
    assert a.shape != c.shape or not torch.equal(a, c)


def test_rl_stops_where_nothing_ever_passes(opened: Opened) -> None:
    session = opened("T", steps=8, zero_steps=3)
    fit_rl(session, "grpo", RLPlan("grpo"))
    assert session.state.steps == 3
    assert session.state.stopped is not None and "3 steps" in session.state.stopped


def test_a_right_text_without_its_end_earns_nothing(opened: Opened, batches: list[dict[str, Any]]) -> None:
    seen: list[Judged] = []
    lengths = {len(problem.demos[0]) for problem in problems("R", 40, split="training")}
    session = opened("R", n=40, cap=min(lengths), steps=1)
    plan = RLPlan("grpo", after_step=lambda groups: seen.extend(d for draws in groups.values() for d in draws))
    fit_rl(session, "grpo", plan)
    right = [d for d in seen if d.text == session.problems[d.problem_id].answer]
    assert right, "the cap leaves room for the shortest answers, not for their stop token"
    assert not any(d.passed for d in seen)
    assert session.state.zero_steps == 1
    assert [outcome(d) for d in seen] == [0.0] * len(seen)


def companion(session: Session, weight: float) -> RLPlan:
    engine = session.policy.engine
    rows = [text_row(engine, problem, problem.demos[0]) for problem in session.inputs.train]
    return RLPlan("grpo", companion=lambda: Part(rows, weight))


def test_companion_rows_change_the_gradient_by_their_weight(opened: Opened) -> None:
    # no draw of T passes: the companion is all the gradient there is
    moved: list[float] = []
    for weight in (0.0, 1.0):
        session = opened("T", folder=f"w{weight}", steps=1)
        start = weights(session).clone()
        fit_rl(session, "rl", companion(session, weight))
        moved.append(float((weights(session) - start).norm()))
    assert moved[0] == 0
    assert moved[1] > 0


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_the_companion_weighs_the_same_in_micro_batches(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, algorithm: Any
) -> None:
    norms: list[float] = []
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda *a, **k: pytest.fail("accelerate clips through its own import")
    )
    monkeypatch.undo()
    for micro in (16, 8):
        session = opened("T", folder=f"m{micro}", steps=1, micro_batch=micro)
        row = text_row(session.policy.engine, session.inputs.train[0], session.inputs.train[0].demos[0])
        plan = RLPlan(algorithm, companion=lambda row=row: Part([row], 1.0))
        norms.append(grad_norm(session, plan, monkeypatch))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert norms[0] > 0


def grad_norm(session: Session, plan: RLPlan, monkeypatch: pytest.MonkeyPatch) -> float:
    """Norm of the gradient of the first step, before clipping."""
    found: list[float] = []
    real = reinforced.build

    def build(*args: Any, **more: Any) -> Any:
        trainer = real(*args, **more)
        log = trainer.log
        trainer.args.logging_steps = 1
        trainer.log = lambda logs, *rest, **kw: (found.append(logs["grad_norm"]) if "grad_norm" in logs else None, log(logs, *rest, **kw))
        trainer.state.logging_steps = 1
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(reinforced, "build", build)
        fit_rl(session, "rl", plan)
    return found[0]
