"""grpo, rloo, guided-rl, process-rl and interleaved: hints, rewards, credit, companions, stops, restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from store_rows import judged

from posttrain_diag.engines.contract import Prompt, ScoreRequest
from posttrain_diag.rollouts.live import Start, sample_from
from posttrain_diag.stages import StageInputs, make_stage_config
from posttrain_diag.stages.catalogue import STAGES
from posttrain_diag.stages.data.rows import text_row
from posttrain_diag.stages.policy.policy import load_policy
from posttrain_diag.stages.recipes import grpo, guided_rl, interleaved, process_rl
from posttrain_diag.stages.recipes.guided_rl import LEVEL, Hints
from posttrain_diag.stages.recipes.process_rl import BranchValues, cuts_of, outcome
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers import reinforced
from posttrain_diag.stages.trainers.reinforced import RLPlan, fit_rl
from posttrain_diag.stages.trainers.trl import Hooked, LossPart
from posttrain_diag.types import Problem, Rollout, SamplingParams
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

    def group(problem: Problem, *passed: bool) -> list[Rollout]:
        return [judged(problem.id, (5,), "pass" if p else "fail") for p in passed]

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
    settings = {"steps": 6, "watch_every": 2}
    whole = opened("S", folder="whole", **settings)
    guided_rl.run(whole)
    adapt, calls = Hints.adapt, [0]

    def killed(self: Hints, groups: Any) -> None:
        calls[0] += 1
        if calls[0] == 6:
            raise KeyboardInterrupt
        adapt(self, groups)

    monkeypatch.setattr(Hints, "adapt", killed)
    cut = opened("S", folder="cut", **settings)
    with pytest.raises(KeyboardInterrupt):
        guided_rl.run(cut)
    monkeypatch.setattr(Hints, "adapt", adapt)
    resumed = opened("S", folder="cut", **settings)
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
    grpo.run(session)
    assert session.state.steps == 3
    assert session.state.stopped is not None and "3 steps" in session.state.stopped


def test_demonstrations_beside_rl_are_a_signal_where_nothing_passes(opened: Opened) -> None:
    session = opened("T", steps=4, zero_steps=2)
    interleaved.run(session)
    assert session.state.steps == 4
    assert session.state.stopped is None


def test_a_right_text_without_its_end_earns_nothing(opened: Opened, batches: list[dict[str, Any]]) -> None:
    seen: list[Rollout] = []
    lengths = {len(problem.demos[0]) for problem in problems("R", 40, split="training")}
    session = opened("R", n=40, cap=min(lengths), steps=1)
    plan = RLPlan(
        "grpo", after_step=lambda groups: seen.extend(d for draws in groups.values() for d in draws), zero_steps=2
    )
    fit_rl(session, "grpo", plan)
    right = [d for d in seen if d.text == session.problems[d.problem_id].answer]
    assert right, "the cap leaves room for the shortest answers, not for their stop token"
    assert not any(d.passed for d in seen)
    assert session.state.zero_steps == 1
    assert [outcome(d) for d in seen] == [0.0] * len(seen)


def test_the_verifier_sees_each_draw_once_whatever_its_length(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from posttrain_diag.rollouts import judge as judge_module

    monkeypatch.setattr(judge_module, "REMEMBERED_CHARS", -1)  # every text is as good as one of 2,500 characters
    seen: list[str] = []
    compiled = judge_module.compile_verifier

    def counting(spec: Any) -> Any:
        verifier = compiled(spec)
        return lambda text, problem: (seen.append(text), verifier(text, problem))[1]

    monkeypatch.setattr(judge_module, "compile_verifier", counting)
    session = opened("S", steps=2)
    fit_rl(session, "grpo", RLPlan("grpo"))
    assert len(seen) == session.state.rollouts == 2 * session.config.batch_size


def companion(session: Session, weight: float) -> RLPlan:
    engine = session.policy.engine
    rows = [text_row(engine, problem, problem.demos[0]) for problem in session.inputs.train]
    return RLPlan("grpo", companion=lambda: LossPart(rows, weight))


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
    for micro in (16, 8):
        session = opened("T", folder=f"m{micro}", steps=1, micro_batch=micro)
        row = text_row(session.policy.engine, session.inputs.train[0], session.inputs.train[0].demos[0])
        plan = RLPlan(algorithm, companion=lambda row=row: LossPart([row], 1.0))
        norms.append(grad_norm(session, plan, monkeypatch))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert norms[0] > 0


def grad_norm(session: Session, plan: RLPlan, monkeypatch: pytest.MonkeyPatch) -> float:
    """Norm of the gradient of the first step, before clipping."""
    found: list[float] = []
    real = reinforced.build

    def build(*args: Any, **more: Any) -> Any:
        trainer = real(*args, **more)
        clip = trainer.accelerator.clip_grad_norm_

        def recorded(*rest: Any, **kwargs: Any) -> Any:
            norm = clip(*rest, **kwargs)
            found.append(float(norm))
            return norm

        trainer.accelerator.clip_grad_norm_ = recorded
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(reinforced, "build", build)
        fit_rl(session, "rl", plan)
    return found[0]


# ---- process-rl


def test_credit_sums_to_the_gain_over_the_group(opened: Opened, batches: list[dict[str, Any]]) -> None:
    session = opened("N", n=4, steps=1, process_branches=3)
    values: list[BranchValues] = []
    real = BranchValues.rewards

    def kept(self: BranchValues, draws: Sequence[Rollout], step: int) -> list[float]:
        values.append(self)
        return real(self, draws, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BranchValues, "rewards", kept)
        process_rl.run(session)
    (found,), (batch,) = values, batches
    credit = found.credit()
    by_problem: dict[str, list[float]] = {}
    for draw in found.draws:
        by_problem.setdefault(draw.problem_id, []).append(outcome(draw))
    for draw, row in zip(found.draws, credit, strict=True):
        start = sum(by_problem[draw.problem_id]) / len(by_problem[draw.problem_id])
        assert len(row) == len(draw.token_ids)
        steps = [row[cut] for cut in (0, *cuts_of(len(row)))]
        assert sum(steps) == pytest.approx(outcome(draw) - start)
    # what the trainer was given, whatever order it put the rows in
    rows = {
        tuple(ids)
        for ids in (valid(i, m) for i, m in zip(batch["completion_ids"], batch["completion_mask"], strict=True))
    }
    assert rows == {draw.token_ids for draw in found.draws}
    given = sorted(float(v) for v in batch["advantages"].sum(1))
    assert given == pytest.approx(sorted(sum(row) for row in credit), abs=1e-5)
    branches = 3 * len(found.value_of)
    assert session.state.rollouts == 16 + branches, "branches are on the bill"
    assert session.state.generated_tokens > sum(len(draw.token_ids) for draw in found.draws) + branches


def test_values_are_what_continuing_the_prefix_gives(opened: Opened) -> None:
    session = opened("R", process_branches=2)  # mastered: a right prefix is worth 1, a wrong one 0
    problem = session.inputs.train[0]
    engine = session.policy.engine
    right = (*engine.response_ids(problem.demos[0]), engine.info.stop_token_ids[0])
    wrong = (right[1], *right[1:])
    draws = [
        judged(problem.id, ids, "pass" if session.judge(problem.id, engine.decode(ids[:-1])).strict else "fail")
        for ids in (right, wrong, right)
    ]
    values = BranchValues(session)
    assert values.rewards(draws, 0) == [1.0, 0.0, 1.0]
    assert len(values.value_of) == 2 * len(cuts_of(len(right))), "a prefix that two draws share is valued once"
    assert all(value == float(ids == right[: len(ids)]) for (_, ids), value in values.value_of.items())
    first = dict(values.value_of)
    assert values.rewards(draws, 0) and values.value_of == first, "the same step draws the same branches"
    good, bad, _ = values.credit()
    assert good == pytest.approx([1 / 3] * cuts_of(len(right))[0] + [0.0] * (len(right) - cuts_of(len(right))[0]))
    assert bad[0] == pytest.approx(-2 / 3)


def test_a_branch_that_passes_is_a_signal(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened("R", n=2, steps=1)
    monkeypatch.setattr(reinforced._Runner, "judged", failed)  # pyright: ignore[reportPrivateUsage]
    process_rl.run(session)
    assert session.state.zero_steps == 0, "the draws failed, their continued prefixes passed"
    plain = opened("R", n=2, folder="plain", steps=1)
    grpo.run(plain)
    assert plain.state.zero_steps == 1


def failed(self: Any, problem_id: str, ids: tuple[int, ...]) -> Rollout:
    return judged(problem_id, ids, "fail")


def test_partial_credit_counts_and_cut_off_draws_do_not() -> None:
    draw = judged("a", (5,), "fail", score=0.4)
    assert outcome(draw) == 0.4
    assert outcome(replace(draw, score=None)) == 0.0
    assert outcome(replace(draw, verdict="truncated")) == 0.0
    assert outcome(replace(draw, verdict="pass")) == 1.0
    assert cuts_of(1) == () and cuts_of(2) == (1,) and cuts_of(8) == (2, 4, 6)


def test_the_cap_holds_for_prefix_and_draw_together(opened: Opened) -> None:
    session = opened("F15", model="frontier")
    engine, problem = session.policy.engine, session.inputs.train[0]
    demo = engine.response_ids(problem.demos[0])
    for cap in (5, 7):
        states = [Start(problem, demo[:length], "x") for length in (0, 2, 4)]
        found = sample_from(engine, session.judge, states, 3, replace(session.params, max_new_tokens=cap))
        assert [len(d.token_ids) for draws in found for d in draws] == [cap] * 3 + [cap - 2] * 3 + [cap - 4] * 3
        assert all(d.verdict == "truncated" for draws in found for d in draws)
        assert all(d.text.startswith(engine.decode(demo[:4])) for d in found[2])


# ---- interleaved and replay


def test_demonstrations_of_unsolved_problems_join_the_loss(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened("S", n=8, steps=3)
    failures: list[set[str]] = []
    groups_of: list[set[str]] = []
    shown: list[tuple[set[str], float]] = []
    parts, note = reinforced._Runner.parts, interleaved.Demonstrations.note  # pyright: ignore[reportPrivateUsage]

    def seen(self: Any) -> list[LossPart]:
        found = parts(self)
        shown.append(({row.problem_id for part in found for row in part.rows}, sum(part.weight for part in found)))
        return found

    def noted(self: interleaved.Demonstrations, groups: reinforced.Groups) -> None:
        groups_of.append(set(groups))
        failures.append({key for key, draws in groups.items() if not any(d.passed for d in draws)})
        note(self, groups)

    monkeypatch.setattr(reinforced._Runner, "parts", seen)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(interleaved.Demonstrations, "note", noted)
    interleaved.run(session)
    assert any(failures), "some group of S has no pass"
    unsolved: set[str] = set()
    for (keys, weight), failed, drawn in zip(shown, failures, groups_of, strict=True):
        unsolved = (unsolved - drawn) | failed
        assert keys <= unsolved
        assert len(keys) == min(len(unsolved), 8 * len(failed))
        assert weight == len(failed) / 2
    assert set(session.state.extra[interleaved.UNSOLVED]) == unsolved


def test_interleaved_teaches_what_no_draw_solves(opened: Opened) -> None:
    session = opened("T", n=4, steps=6, learning_rate=3e-3)
    before = demo_logprob(session)
    interleaved.run(session)
    assert demo_logprob(session) > before + 5


def demo_logprob(session: Session) -> float:
    """Mean log-likelihood of the demonstrations, nats."""
    engine = session.policy.engine
    requests = [
        ScoreRequest(problem.id, Prompt(problem.prompt, problem.messages), problem.demos[0])
        for problem in session.inputs.train
    ]
    scores = [float(score.logprob_T.sum()) for score in engine.score(requests)]
    return sum(scores) / len(scores)


def test_stages_that_forget_replay_by_default(opened: Opened) -> None:
    retain = mastered_problems(per_family=2)
    assert opened("S", folder="a", retain=retain, default_replay=0.3).replay_share == 0.3
    assert opened("S", folder="b", retain=retain, default_replay=0.3, replay=0.0).replay_share == 0.0
    assert opened("S", folder="c", default_replay=0.3).replay_share == 0.0, "there is nothing to replay"
    assert all(STAGES[name].replay > 0 for name in ("grpo", "rloo", "guided-rl", "process-rl", "interleaved"))


def test_replayed_and_measured_tasks_are_halves_of_the_same_kind() -> None:
    retain = mastered_problems()
    inputs = StageInputs("", (), (), (), retain)
    halves = [inputs.replayed, inputs.retained]
    assert {p.id for p in halves[0]}.isdisjoint(p.id for p in halves[1])
    assert sum(map(len, halves)) == len(retain)
    for half in halves:  # lengths take turns in the set: every other problem would be of two lengths only
        kinds = {(p.tags[1], len(p.prompt or "")) for p in half}
        assert len(kinds) >= 0.8 * len({(p.tags[1], len(p.prompt or "")) for p in retain})
