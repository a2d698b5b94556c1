from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from posttrain_diag.engines.contract import Prompt
from posttrain_diag.errors import StoreError, UsageError
from posttrain_diag.rollouts.judge import Judge
from posttrain_diag.rollouts.live import sample_judged
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.stages import STAGES, check_stage, make_stage_config, train_stage
from posttrain_diag.stages.catalogue import default_steps, learning_rate
from posttrain_diag.stages.data.rows import IGNORED, TokenRow, check_lengths, demo_rows, mixed, row_dataset
from posttrain_diag.stages.run import settled_cap
from posttrain_diag.stages.session import session as session_module
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.session.watch import Watcher
from posttrain_diag.stages.trainers import callback as callback_module
from posttrain_diag.stages.trainers.supervised import fit_rows
from posttrain_diag.tasks.problems.split import split_tasks, take_watched
from posttrain_diag.types import Problem, SamplingParams
from posttrain_diag.zoo import problems

from .zoo_stage import TINY, zoo_inputs, zoo_policy, zoo_session


def test_config_errors_name_the_setting_and_what_was_got() -> None:
    with pytest.raises(UsageError, match=r"stage setting batch_size: got 0"):
        make_stage_config(batch_size=0)
    with pytest.raises(UsageError, match=r"stage setting replay: got 1\.0"):
        make_stage_config(replay=1.0)
    with pytest.raises(UsageError, match=r"unknown stage setting 'stepz'.*steps"):
        make_stage_config(stepz=3)


def _problems(n: int) -> list[Problem]:
    return [Problem(f"p{i}", f"q{i}", None, "a", {"type": "exact"}) for i in range(n)]


def test_split_is_disjoint_seeded_and_stable_when_problems_are_added() -> None:
    few, many = _problems(100), _problems(400)
    train, held = split_tasks(few, seed=0)
    assert sorted([*train, *held], key=few.index) == few
    assert 20 <= len(held) <= 40
    assert split_tasks(few, seed=0) == (train, held) != split_tasks(few, seed=1)
    assert {p.id for p in held} == {p.id for p in split_tasks(many, seed=0)[1]} & {p.id for p in few}
    for n in range(4, 12):  # never an empty side
        assert all(split_tasks(_problems(n), seed=n))
    with pytest.raises(UsageError, match="3 problems are too few"):
        split_tasks(_problems(3), seed=0)


def test_watched_problems_leave_the_training_set_and_are_a_fifth_at_most() -> None:
    every = _problems(50)
    train, watched = take_watched(every, 32, seed=0)
    assert (len(train), len(watched)) == (40, 10)
    assert not {p.id for p in train} & {p.id for p in watched}
    assert len(take_watched(every, 3, seed=0)[1]) == 3
    assert take_watched(every, 32, seed=1)[1] != watched


def test_rows_teach_the_response_and_its_end_alone() -> None:
    engine = zoo_policy().engine
    (problem,) = problems("S", 1)
    (row,) = demo_rows(engine, [problem])
    data = row_dataset([row])[0]
    prompt = len(row.prompt_ids)
    assert data["labels"] == [IGNORED] * prompt + data["input_ids"][prompt:]
    assert engine.decode(data["input_ids"][:prompt]) == problem.prompt
    assert engine.decode(data["labels"][prompt:-1]) == problem.demos[0]
    assert data["labels"][-1] in engine.info.stop_token_ids
    with pytest.raises(UsageError, match=f"longer than the model's context of 3 tokens, e.g. problem {problem.id!r}"):
        check_lengths([row], 3)


def test_mixed_rows_hold_the_share_that_was_asked_for() -> None:
    own = [TokenRow(f"own{i}", (1,), (2,)) for i in range(70)]
    kept = [TokenRow(f"kept{i}", (1,), (2,)) for i in range(8)]
    rows = mixed(own, kept, 0.3, seed=0)
    replayed = [row for row in rows if row in kept]
    assert len(replayed) == 30
    assert rows[:70] == own
    assert {replayed.count(row) for row in kept} == {3, 4}
    assert mixed(own, kept, 0.0, seed=0) == own


def _logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits


def test_the_sampling_model_reads_what_the_optimizer_writes() -> None:
    policy = zoo_policy()
    sampling = policy._sampling_model
    for own, other in zip(policy.model.parameters(), sampling.parameters(), strict=True):
        assert own.data_ptr() == other.data_ptr()
    before = _logits(sampling, [5, 6, 7])
    optimizer = torch.optim.SGD(policy.model.parameters(), lr=0.1)
    policy.model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    optimizer.step()
    after = _logits(sampling, [5, 6, 7])
    assert not torch.equal(before, after)
    assert torch.equal(after, _logits(policy.model.eval(), [5, 6, 7]))
    for parameter in policy.model.parameters():  # as a trainer does that moves the weights
        parameter.data = parameter.data.clone() * 0.9
    policy.sync()
    assert torch.equal(_logits(sampling, [5, 6, 7]), _logits(policy.model, [5, 6, 7]))


def test_merged_adapter_gives_the_logits_of_pefts_own_forward(tmp_path: Path) -> None:
    policy = zoo_policy(lora_rank=4)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
    start = _logits(policy._sampling_model, [5, 6, 7])
    policy.sync()
    merged, own = _logits(policy._sampling_model, [5, 6, 7]), _logits(policy.model.eval(), [5, 6, 7])
    assert (merged - start).abs().max() > 0.1
    torch.testing.assert_close(merged, own, atol=1e-4, rtol=1e-4)
    policy.save(tmp_path / "model")
    torch.testing.assert_close(_logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), [5, 6, 7]), merged)


def test_an_inputs_lack_is_named_before_anything_is_loaded() -> None:
    inputs = zoo_inputs()
    config = make_stage_config()
    bare = replace(inputs, model="nowhere", train=tuple(replace(p, demos=()) for p in inputs.train))
    with pytest.raises(UsageError, match=r"sft needs demonstrations: .*; possible with what is there: .*grpo"):
        check_stage("sft", bare, config)
    with pytest.raises(UsageError, match="replay needs tasks to retain"):
        check_stage("replay", inputs, config)
    with pytest.raises(UsageError, match="for the replay that was asked for"):
        check_stage("sft", inputs, make_stage_config(replay=0.5))
    with pytest.raises(UsageError, match="there is no stage 'ppo'; stages: sft"):
        check_stage("ppo", inputs, config)
    with pytest.raises(UsageError, match="is in two of the training, probe and held-out sets"):
        check_stage("sft", replace(inputs, held_out=inputs.train[:1]), config)
    with pytest.raises(UsageError, match="there are no training problems"):
        check_stage("rft", replace(inputs, train=()), config)


def test_lengths_follow_the_training_problems_where_responses_are_given() -> None:
    sft, rl = STAGES["sft"], STAGES["grpo"]
    lengths = [default_steps(sft, n, 128, 0.5) for n in (16, 300, 1000, 2000, 10**6)]
    assert lengths[:2] == [sft.steps] * 2 and lengths[2] == pytest.approx(13 * 1000 / 64, abs=1)
    assert lengths[3:] == [400, 400]
    assert default_steps(sft, 1000, 128, 0.0) < lengths[2], "replayed rows take a part of each batch"
    assert default_steps(rl, 10**6, 128, 0.5) == rl.steps


def test_learning_rates_fall_with_size_and_rise_for_adapters() -> None:
    rates = [learning_rate(STAGES["sft"], n, lora=False) for n in (10**5, 10**7, 10**9, 10**10)]
    assert rates[0] > rates[1] > rates[2] == rates[3] == pytest.approx(1e-5)
    assert learning_rate(STAGES["sft"], 10**9, lora=True) == pytest.approx(1e-4)


def test_draws_are_judged_with_their_hint_and_a_draw_without_an_end_is_truncated() -> None:
    engine = zoo_policy("frontier").engine
    found = problems("F15", 4, split="training")
    judge = Judge(found)
    hints = {p.id: engine.response_ids(p.demos[0])[:-1] for p in found}
    drawn = sample_judged(engine, judge, found, 16, SamplingParams(max_new_tokens=16), seed_text="x", hints=hints)
    passed = [draw for draws in drawn.values() for draw in draws if draw.passed]
    assert passed
    for draw in passed:
        assert draw.text == next(p for p in found if p.id == draw.problem_id).demos[0]
        assert draw.prompt_ids[-len(hints[draw.problem_id]) :] == hints[draw.problem_id]
    short = sample_judged(engine, judge, found, 2, SamplingParams(max_new_tokens=1), seed_text="x")
    assert {draw.verdict for draws in short.values() for draw in draws} == {"truncated"}
    again = sample_judged(engine, judge, found[:1], 16, SamplingParams(max_new_tokens=16), seed_text="x", hints=hints)
    first = drawn[found[0].id]  # whatever else is drawn beside, but for the last bits of sums over other batches
    assert [draw.token_ids for draw in again[found[0].id]] == [draw.token_ids for draw in first]
    for one, other in zip(again[found[0].id], first, strict=True):
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-5)


def test_own_draws_are_made_once_and_those_of_later_weights_stay_in_the_folder(tmp_path: Path) -> None:
    inputs = zoo_inputs(n=4)
    session = zoo_session(tmp_path, inputs)
    first = session.own_draws(inputs.train, 4)
    spent = session.state.generated_tokens
    assert (session.state.rollouts, spent) == (16, sum(len(d.token_ids) for own in first.values() for d in own))
    more = session.own_draws(inputs.train, 6)
    assert session.state.rollouts == 24
    assert {key: draws[:4] for key, draws in more.items()} == first
    with torch.no_grad():
        for parameter in session.policy.model.parameters():
            parameter.zero_()
    assert session.own_draws(inputs.train, 4) == first  # of the starting model: nothing is drawn
    assert session.own_draws(inputs.train, 4, version="+zero") != first
    assert (tmp_path / "versions.sqlite").exists()
    hint = session.policy.engine.response_ids("X|")
    hinted = session.own_draws(inputs.train[:1], 2, arm="hinted", hints={inputs.train[0].id: hint})
    assert all(draw.text.startswith("X|") for draws in hinted.values() for draw in draws)


def test_notes_and_bill_of_rows_survive_a_restart(tmp_path: Path) -> None:
    inputs = zoo_inputs(n=4)
    session = zoo_session(tmp_path, inputs)

    def make() -> list[TokenRow]:
        session.own_draws(inputs.train, 2)
        session.state.extra["kept"] = 3
        return [TokenRow("a", (1, 2), (3,))]

    rows = session.rows_once("some", make)
    again = zoo_session(tmp_path, inputs)
    assert again.rows_once("some", lambda: pytest.fail("made twice")) == rows == [TokenRow("a", (1, 2), (3,))]
    assert (again.state.rollouts, again.state.extra) == (8, {"kept": 3})
    assert again.state.generated_tokens == session.state.generated_tokens > 0


@pytest.mark.parametrize(("name", "call"), [("stored_rollouts", 2), ("stored_rollouts", 3), ("save_rows", 2)])
def test_a_kill_right_after_draws_loses_none_of_the_bill(
    name: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = zoo_inputs(n=4)

    def work(folder: Path) -> Session:
        session = zoo_session(folder, inputs)

        def make(*draws: int) -> list[TokenRow]:
            for n in draws:
                session.own_draws(inputs.train, n)
            return [TokenRow("a", (1, 2), (3,))]

        session.rows_once("first", lambda: make(2))
        session.rows_once("second", lambda: make(3, 5))
        return session

    whole = work(tmp_path / "whole")
    real, calls = getattr(session_module, name), count(1)

    def dying(*args: Any, **more: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(session_module, name, dying)
        with pytest.raises(KeyboardInterrupt):
            work(tmp_path / "cut")
    cut, again = work(tmp_path / "cut"), work(tmp_path / "cut")
    assert whole.state.rollouts == 4 * 5
    assert cut.state == again.state == whole.state
    assert not list((tmp_path / "cut").glob("*.owed.json"))


def _scripted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, passes: list[list[int]], retention: list[float]
) -> Watcher:
    """A watcher to which the passes per problem of each look, and the retention, are dictated."""
    watched, params = problems("S", 32, split="training"), SamplingParams(max_new_tokens=4)
    watcher = Watcher(zoo_policy(), watched, watched[:1], params, 8, folder)
    (real,) = sample_judged(watcher.policy.engine, watcher.judge, watched[:1], 1, params, seed_text="").values()
    script, kept = iter(passes), iter(retention)

    def draw(tasks: Any, n: int, name: str) -> Any:
        counts = next(script)
        return {
            p.id: [replace(real[0], verdict="pass" if i < c else "fail") for i in range(n)]
            for p, c in zip(tasks, counts, strict=True)
        }

    monkeypatch.setattr(watcher, "_draw", draw)
    monkeypatch.setattr(watcher, "_retention", lambda: next(kept))
    return watcher


def test_watcher_sees_collapse_and_keeps_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, narrow, wide = [1] * 32, [8, 0] * 16, [4] * 32
    watcher = _scripted(tmp_path, monkeypatch, [start, narrow, wide, narrow], [0.8, 0.8, 0.8, 0.2])
    watcher.begin()
    first, second, third = watcher.look(10), watcher.look(20), watcher.look(30)
    assert (first.pass_1, first.pass_k, first.collapse) == (0.5, 0.5, True)
    assert (second.pass_1, second.pass_k, second.collapse) == (0.5, 1.0, False)
    assert third.utility == pytest.approx(0.5 - 0.5 * 0.6)
    assert watcher.seen.best_step == 10  # the first of equals
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 10, 20, 30]
    again = Watcher(watcher.policy, watcher.probe, (), watcher.params, 8, tmp_path)
    assert again.seen == watcher.seen


@pytest.mark.parametrize("later", [[8, 0] * 16, [6, 0] * 16])
def test_a_fall_of_pass_at_k_without_a_rise_of_pass_1_is_no_collapse(
    later: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = _scripted(tmp_path, monkeypatch, [[4] * 32, later], [0.8] * 2)
    watcher.begin()
    found = watcher.look(10)
    assert found.pass_1 <= 0.5 and found.pass_k == 0.5 and not found.collapse


def test_regained_retention_makes_a_better_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = _scripted(tmp_path, monkeypatch, [[6] * 32] * 2, [0.1, 0.9])
    watcher.begin()
    watcher.look(10)
    assert watcher.seen.best_step == 10


def test_kl_is_the_fall_in_likelihood_of_the_starts_draws(tmp_path: Path) -> None:
    policy, watched = zoo_policy(), problems("S", 4, split="training")
    watcher = Watcher(policy, watched, (), SamplingParams(max_new_tokens=24), 2, tmp_path)
    watcher.begin()
    assert watcher.look(1).kl_nats == pytest.approx(0, abs=1e-4)
    before = [sum(draw.token_logprobs or ()) for draw in watcher.start_draws]
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(0.9)
    now: list[float] = []
    for draw in watcher.start_draws:
        (problem,) = (problem for problem in watched if problem.id == draw.problem_id)
        prompt_ids = policy.engine.prompt_ids(Prompt(problem.prompt, problem.messages))
        ids = [*prompt_ids, *draw.token_ids]
        logp = _logits(policy.model.eval(), ids)[0].log_softmax(-1)
        now.append(sum(float(logp[i - 1, ids[i]]) for i in range(len(prompt_ids), len(ids))))
    expected = sum(a - b for a, b in zip(before, now, strict=True)) / len(before)
    assert expected > 0.1
    assert watcher.look(2).kl_nats == pytest.approx(expected, abs=1e-3)


def test_trained_tokens_are_counted_and_a_budget_stops(tmp_path: Path) -> None:
    inputs = zoo_inputs()
    session = zoo_session(tmp_path / "all", inputs, steps=2, micro_batch=8)
    session.watcher.begin()
    rows = demo_rows(session.policy.engine, inputs.train)
    fit_rows(session, "sft", rows)
    size = sum(len(row.input_ids) for row in rows)
    assert session.state.trained_tokens == 2 * size
    short = zoo_session(tmp_path / "short", inputs, steps=4, budget_tokens=size + 1)
    short.watcher.begin()
    fit_rows(short, "sft", rows)
    assert short.state.steps == 2
    assert "budget" in str(short.state.stopped)
    fit_rows(short, "more", rows)
    assert short.state.steps == 2  # a stage that has stopped starts no further phase


def test_bfloat16_is_computed_over_float32_weights(tmp_path: Path) -> None:
    moved: dict[bool, torch.Tensor] = {}
    for bf16 in (False, True):
        session = zoo_session(tmp_path / str(bf16), zoo_inputs(), steps=2, bf16=bf16)
        session.watcher.begin()
        start = torch.cat([p.detach().flatten().clone() for p in session.policy.model.parameters()])
        fit_rows(session, "sft", demo_rows(session.policy.engine, session.inputs.train))
        now = list(session.policy.model.parameters())
        assert {p.dtype for p in now} == {torch.float32}
        moved[bf16] = torch.cat([p.detach().flatten() for p in now]) - start
    assert not torch.equal(moved[True], moved[False])
    assert torch.nn.functional.cosine_similarity(moved[True], moved[False], dim=0) > 0.9


def _stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process die at the end of a step, as a kill would."""
    real = callback_module.StageCallback.on_step_end

    def die(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        real(self, args, state, control, **more)
        if state.global_step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(callback_module.StageCallback, "on_step_end", die)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoint" / "model.safetensors")


@pytest.mark.parametrize(("stage", "rounds"), [("sft", 1), ("grpo", 1), ("rft", 2)])
def test_a_killed_stage_goes_on_to_the_same_weights(
    stage: str, rounds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = zoo_inputs(retain=1)
    steps = 5 * rounds
    config = make_stage_config(**{**TINY, "steps": steps, "rounds": rounds, "replay": 0.25})
    whole = train_stage(stage, inputs, config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        _stop_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train_stage(stage, inputs, config, tmp_path / "cut")
    resumed: list[Any] = []
    real = Session._resume_from

    def watched(self: Session, checkpoints: Path) -> str | None:
        resumed.append(real(self, checkpoints))
        return resumed[-1]

    monkeypatch.setattr(Session, "_resume_from", watched)
    cut = train_stage(stage, inputs, config, tmp_path / "cut")
    assert str(resumed[0]).endswith("checkpoint-2")
    one, other = _weights(tmp_path / "whole"), _weights(tmp_path / "cut")
    assert all(torch.equal(one[name], other[name]) for name in one)
    same = ("steps", "best_step", "trained_tokens", "generated_tokens", "rollouts", "before", "after", "details")
    assert {k: getattr(whole, k) for k in same} == {k: getattr(cut, k) for k in same}
    assert whole.steps == steps


def test_result_and_checkpoint_read_back_and_the_folder_is_bound(tmp_path: Path) -> None:
    inputs, config = zoo_inputs(retain=1), make_stage_config(**{**TINY, "steps": 2})
    out = tmp_path / "stage"
    result = train_stage("sft", inputs, config, out)
    assert train_stage("sft", inputs, config, out) == result
    loaded = AutoModelForCausalLM.from_pretrained(result.checkpoint)
    policy = zoo_policy()
    policy.load_weights(out / "watch" / "best")
    ids = [5, 6, 7]
    assert torch.equal(_logits(loaded, ids), _logits(policy._sampling_model, ids))
    assert result.before.retention is not None
    assert set(result.after.estimates) == {"pass@1", "pass@4"}
    claim = json.loads((out / "stage.json").read_text())
    claim["config"]["demos"] = claim["config"].pop("demo_style")  # the name that it had at first
    (out / "stage.json").write_text(json.dumps(claim))
    assert train_stage("sft", inputs, config, out) == result
    with pytest.raises(StoreError, match="holds a stage with another config"):
        train_stage("sft", inputs, make_stage_config(**{**TINY, "steps": 3}), out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty and not a stage's folder"):
        train_stage("sft", inputs, config, tmp_path / "other")


def test_an_unset_cap_is_settled_once_and_its_pilot_draws_are_paid_for(tmp_path: Path) -> None:
    """Problems with bare answers: pilot draws decide; a restart reads the file and draws nothing."""
    inputs = zoo_inputs()
    bare = tuple(replace(p, demos=(), verifier={"type": "numeric"}) for p in inputs.train)
    inputs, policy = replace(inputs, train=bare, held_out=()), zoo_policy()
    config = make_stage_config(**TINY)
    cap = settled_cap(config, policy, inputs, tmp_path, Progress())
    assert cap.tokens == 32 and cap.said.startswith("token cap 32: 16 of 16 pilot draws ended")
    assert 16 * 4 <= cap.drawn <= 16 * 16
    policy.engine.sample = None  # type: ignore[method-assign, assignment]
    assert settled_cap(config, policy, inputs, tmp_path, Progress()) == cap
    given = make_stage_config(**{**TINY, "max_new_tokens": 11})
    assert settled_cap(given, policy, inputs, tmp_path, Progress()).tokens == 11
