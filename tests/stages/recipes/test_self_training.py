from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_engine import STOP, FakeEngine
from store_rows import judged

from posttrain_diag.errors import UsageError
from posttrain_diag.stages import make_stage_config, train_stage
from posttrain_diag.stages.data.own import balanced, own_rows, passing
from posttrain_diag.stages.data.rows import TokenRow, demo_rows, load_rows
from posttrain_diag.stages.recipes import filter as filter_stage
from posttrain_diag.stages.recipes import replay, rft, search_transfer, sft_model_aware
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import fit_rows
from posttrain_diag.types import Problem, Rollout
from posttrain_diag.zoo import problems
from stages.zoo_stage import TINY, zoo_inputs, zoo_session

Fitted = list[tuple[str, list[TokenRow], dict[str, Any]]]


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Fitted:
    """What the stages would train on; nothing is trained."""
    seen: Fitted = []
    for module in (filter_stage, replay, rft, search_transfer, sft_model_aware):
        monkeypatch.setattr(module, "fit_rows", lambda _, phase, rows, **more: seen.append((phase, list(rows), more)))
    return seen


def _draw(problem_id: str, *ids: int, verdict: str = "pass", text: str = "") -> Rollout:
    return judged(problem_id, ids, verdict, text=text)  # pyright: ignore[reportArgumentType]


def _texts(session: Session, rows: list[TokenRow]) -> dict[str, Counter[str]]:
    out: dict[str, Counter[str]] = {}
    for row in rows:
        assert row.response_ids[-1] in session.policy.engine.info.stop_token_ids
        out.setdefault(row.problem_id, Counter())[session.policy.engine.decode(row.response_ids)] += 1
    return out


def test_every_solved_problem_weighs_alike_however_rare_its_right_draws_are() -> None:
    drawn = {
        "easy": [_draw("easy", 10 + i % 6, STOP) for i in range(30)],
        "hard": [_draw("hard", 9, STOP, verdict="fail")] * 29 + [_draw("hard", 7, STOP)],
        "never": [_draw("never", 1, STOP, verdict="fail"), _draw("never", 2, verdict="truncated")],
    }
    assert [draw.token_ids for draw in passing(drawn["easy"], 4)] == [(i, STOP) for i in (10, 11, 12, 13)]
    rows = balanced(own_rows(FakeEngine(lambda _: {}), drawn, 4))
    assert Counter((row.problem_id, row.response_ids) for row in rows) == {
        ("easy", (10, STOP)): 1,
        ("easy", (11, STOP)): 1,
        ("easy", (12, STOP)): 1,
        ("easy", (13, STOP)): 1,
        ("hard", (7, STOP)): 4,
    }


def test_rft_draws_each_round_from_the_weights_of_the_round_before(tmp_path: Path) -> None:
    inputs = zoo_inputs(n=24)
    config = make_stage_config(**{**TINY, "steps": 40, "rounds": 2, "learning_rate": 1e-3, "watch_every": 20})
    result = train_stage("rft", inputs, config, tmp_path / "out")
    first, second = result.details["rft-1"], result.details["rft-2"]
    assert (first["draws"], first["problems"]) == (192, 24)
    assert first["passed"] < 60  # .12 of them
    assert second["passed"] > 130
    assert second["solved"] > first["solved"]
    assert result.after.estimates["pass@1"].value > 0.7  # pyright: ignore[reportOptionalOperand]
    assert (result.steps, result.rollouts) == (40, 384)
    by_id = {problem.id: problem for problem in inputs.train}
    for row in load_rows(tmp_path / "out" / "rft-1.jsonl"):
        assert row.problem_id in by_id
    earlier = {row.problem_id for row in load_rows(tmp_path / "out" / "rft-1.jsonl")}
    assert earlier <= {row.problem_id for row in load_rows(tmp_path / "out" / "rft-2.jsonl")}


def test_rft_keeps_the_rows_of_problems_that_no_longer_pass(tmp_path: Path, fitted: Fitted) -> None:
    session = zoo_session(tmp_path, zoo_inputs(), rounds=2)
    real = session.own_draws

    def forgetful(tasks: Any, n: int, *, version: str = "") -> Mapping[str, list[Rollout]]:
        drawn = real(tasks, n)
        return drawn if not version else {key: [replace(d, verdict="fail") for d in own] for key, own in drawn.items()}

    session.own_draws = forgetful  # pyright: ignore[reportAttributeAccessIssue]
    rft.run(session)
    (one, rows, first), (two, again, second) = fitted
    assert (one, two, first["steps"] + second["steps"]) == ("rft-1", "rft-2", 4)
    assert again == rows
    assert session.state.extra["rft-2"]["solved"] == 0
    with pytest.raises(UsageError, match="4 steps cannot be shared by 5 rounds"):
        rft.run(zoo_session(tmp_path / "more", zoo_inputs(), rounds=5))


@pytest.mark.parametrize("run", [rft.run, search_transfer.run])
def test_where_nothing_passes_the_error_names_what_could_work(
    run: Callable[[Session], None], tmp_path: Path, fitted: Fitted
) -> None:
    with pytest.raises(UsageError, match=r"none of 128 draws on 16 problems passed.* use a stage .*: sft, sft-model"):
        run(zoo_session(tmp_path / "demos", zoo_inputs("T")))
    bare = tuple(replace(problem, demos=()) for problem in problems("T", 16, split="training"))
    with pytest.raises(UsageError, match=r"none of 128 draws .* give demonstrations or a teacher"):
        run(zoo_session(tmp_path / "bare", zoo_inputs("T", train=bare)))
    assert not fitted


def test_filter_trains_on_the_demonstrations_that_pass_alone(tmp_path: Path, fitted: Fitted) -> None:
    good = problems("S", 6, split="training")
    wrong = replace(good[0], demos=("X|zz", *good[0].demos))
    lenient = replace(good[1], demos=(f"X|({good[1].answer})",))
    train = (wrong, lenient, replace(good[2], demos=("Y|",)), *good[3:])
    session = zoo_session(tmp_path / "some", zoo_inputs(train=train))
    filter_stage.run(session)
    ((_, rows, _),) = fitted
    kept = [good[0], *good[3:]]
    assert rows == demo_rows(session.policy.engine, kept)
    assert session.state.extra["filter"] == {
        "demonstrations": 7,
        "kept": 4,
        "failed": 3,
        "verifier_errors": 0,
        "problems_left": 4,
    }
    none = tuple(replace(problem, demos=("X|zz",)) for problem in good)
    with pytest.raises(UsageError, match="none of the 6 demonstrations passes the verifier"):
        filter_stage.run(zoo_session(tmp_path / "none", zoo_inputs(train=none)))


def test_demonstrations_are_rewritten_in_the_policys_own_style(tmp_path: Path, fitted: Fitted) -> None:
    own = problems("S", 12, split="training")
    foreign = problems("S", 12, split="training", style="direct")
    session = zoo_session(tmp_path, zoo_inputs(train=foreign), own_rollouts=32)
    sft_model_aware.run(session)
    ((_, rows, _),) = fitted
    texts = _texts(session, rows)
    counts = session.state.extra["sft-model-aware"]
    assert counts["own draws"] >= 10
    assert sum(counts.values()) == len(texts) == 12
    in_style = sum(set(texts[problem.id]) == {problem.demos[0]} for problem in own)
    assert in_style == counts["own draws"]  # S is answered rightly in one style only


def test_what_is_never_drawn_is_continued_from_a_beginning_or_taken_as_it_is(tmp_path: Path, fitted: Fitted) -> None:
    train = problems("F15", 6, split="training")
    session = zoo_session(tmp_path, zoo_inputs(model="frontier", train=train), own_rollouts=24)
    sft_model_aware.run(session)
    ((_, rows, _),) = fitted
    counts = session.state.extra["sft-model-aware"]
    assert set(counts) <= {"continued from 0.25", "continued from 0.50", "continued from 0.75", "demonstration"}
    assert counts["continued from 0.75"] >= 1
    texts = _texts(session, rows)
    by_id = {problem.id: problem for problem in train}
    assert set(texts) == set(by_id)
    for row in rows:
        problem = by_id[row.problem_id]
        assert session.policy.engine.decode(row.prompt_ids) == problem.prompt  # the hint is part of the response
        assert set(texts[problem.id]) == {problem.demos[0]}


def test_a_chat_model_is_asked_to_rewrite(tmp_path: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    train = problems("stories-S", 2, split="training")
    session = zoo_session(tmp_path, zoo_inputs(model="stories-chat", train=train))
    asked: list[Problem] = []

    def drawn(tasks: list[Problem], n: int, *, arm: str = "main", **_: Any) -> Mapping[str, list[Rollout]]:
        if arm == "rewrite":
            asked.extend(tasks)
        ids = session.policy.engine.response_ids("one.")
        stop = session.policy.engine.info.stop_token_ids[0]
        verdict = "pass" if arm == "rewrite" else "fail"
        return {task.id: [_draw(task.id, *ids, stop, verdict=verdict)] for task in tasks}

    monkeypatch.setattr(session, "own_draws", drawn)
    sft_model_aware.run(session)
    ((_, rows, _),) = fitted
    assert session.state.extra["sft-model-aware"] == {"rewritten": 2}
    for problem, request in zip(train, asked, strict=True):
        assert request.prompt is None
        assert request.messages is not None
        assert str(problem.prompt) in request.messages[-1]["content"]
        assert problem.demos[0] in request.messages[-1]["content"]
    plain = demo_rows(session.policy.engine, train)
    assert [row.prompt_ids for row in rows] == [row.prompt_ids for row in plain]  # the request is not trained on
    assert {session.policy.engine.decode(row.response_ids) for row in rows} == {"one."}


@pytest.mark.parametrize(("style", "loss"), [("probability-weighted", "dft"), ("as-given", "nll")])
def test_demonstrations_can_be_weighted_by_their_probability(
    style: str, loss: str, tmp_path: Path, fitted: Fitted
) -> None:
    session = zoo_session(tmp_path, zoo_inputs(), demo_style=style)
    sft_model_aware.run(session)
    ((_, rows, more),) = fitted
    assert rows == demo_rows(session.policy.engine, session.inputs.train)
    assert more["loss"] == loss


def test_probability_weighting_scales_each_tokens_gradient_by_its_probability(tmp_path: Path) -> None:
    session = zoo_session(tmp_path, zoo_inputs(), steps=1, batch_size=1)
    session.watcher.begin()
    (row,) = demo_rows(session.policy.engine, session.inputs.train[:1])
    model, seen = session.policy.model, []
    ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
    logp_T = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0][labels[0, 1:] != -100]
    expected = torch.autograd.grad(-(logp_T.exp().detach() * logp_T).mean(), model.model.norm.weight)[0]
    hook = model.model.norm.weight.register_hook(lambda grad: seen.append(grad.clone()))
    fit_rows(session, "dft", [row], loss="dft")
    hook.remove()
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-3)


def test_best_of_n_distills_the_likeliest_passing_draw(tmp_path: Path, fitted: Fitted) -> None:
    anything = tuple(replace(p, answer="|", verifier={"type": "contains"}) for p in problems("S", 6, split="training"))
    session = zoo_session(tmp_path, zoo_inputs(train=anything), own_rollouts=16)
    search_transfer.run(session)
    ((_, rows, _),) = fitted
    found = session.state.extra["search-transfer"]
    assert len(rows) == len({row.problem_id for row in rows}) == found["picked"] == found["picked_right"] == 6
    drawn = session.own_draws(session.inputs.train, 16)
    for row in rows:
        passed = {draw.token_ids: draw for draw in drawn[row.problem_id] if draw.passed}
        assert len(passed) > 1
        assert row.response_ids in passed
        logp = {ids: _logprob(session, row.prompt_ids, ids) for ids in passed}
        assert logp[row.response_ids] == pytest.approx(max(logp.values()), abs=1e-4)


def _logprob(session: Session, prompt_ids: tuple[int, ...], ids: tuple[int, ...]) -> float:
    every = torch.tensor([[*prompt_ids, *ids]])
    with torch.no_grad():
        logp = session.policy.model.eval()(every).logits[0, :-1].log_softmax(-1)
    at = range(len(prompt_ids) - 1, every.shape[1] - 1)
    return sum(float(logp[i, every[0, i + 1]]) for i in at)


def test_majority_never_asks_for_the_gold(tmp_path: Path, fitted: Fitted) -> None:
    train = problems("S", 8, split="training")
    for name, tasks in (("gold", train), ("foiled", tuple(replace(p, answer="nonsense") for p in train))):
        session = zoo_session(tmp_path / name, zoo_inputs(train=tasks), own_rollouts=32, search="majority")
        search_transfer.run(session)
    (_, rows, _), (_, blind, _) = fitted
    assert rows == blind
    texts = _texts(session, rows)
    assert any(text[0] == "Y" for own in texts.values() for text in own)  # wrong, and what S draws most
    assert session.state.extra["search-transfer"]["picked_right"] == 0


def _votes(texts: list[str], **verifier: Any) -> tuple[Problem, dict[str, list[Rollout]]]:
    (problem,) = problems("S", 1, split="training")
    task = replace(problem, verifier=verifier or problem.verifier)
    return task, {task.id: [_draw(task.id, i, verdict="fail", text=text) for i, text in enumerate(texts)]}


@pytest.mark.parametrize(
    ("texts", "won"),
    [
        (["X|ab", "Y|ab", "Z|cd", "Z|ef"], (0, 1)),  # half of them
        (["X|ab", "Y|ab", "Z|cd", "Z|cd"], ()),  # a tie is no majority
        (["X|ab", "Y|ab", "Z|a", "Z|b", "Z|c", "Z|d", "Z|e"], ()),  # two of seven are less than a third
    ],
)
def test_the_answer_of_most_draws_wins(texts: list[str], won: tuple[int, ...], tmp_path: Path) -> None:
    task, drawn = _votes(texts)
    session = zoo_session(tmp_path, zoo_inputs(train=(task,)))
    picked = search_transfer._majority(session, drawn)
    assert tuple(d.token_ids[0] for own in picked.values() for d in own.draws) == won


def test_answers_are_read_without_the_gold() -> None:
    number = Problem("n", "q", None, "7", {"type": "numeric"})
    assert search_transfer.answer_of(number, "7 and then 9") == "9"
    assert search_transfer.answer_of(replace(number, answer="9"), "7 and then 9") == "9"
    anywhere = Problem("r", "q", None, "7", {"type": "regex", "pattern": r"(\d)", "which": "any"})
    assert search_transfer.answer_of(anywhere, "7 and then 9") == "9"
    assert search_transfer.answer_of(Problem("c", "q", None, "7", {"type": "contains"}), "it is 7") is None
    letter = Problem("l", "A) red B) blue", None, "A", {"type": "choice"})
    assert search_transfer.answer_of(letter, "The answer is B") == "B"


def test_the_search_draws_on_where_the_cap_cut_and_what_is_too_long_is_shortened(
    tmp_path: Path, fitted: Fitted
) -> None:
    train = problems("S", 8, split="training")
    longest = max(len(p.answer or "") for p in train)
    session = zoo_session(tmp_path, zoo_inputs(train=train), cap=longest + 1, own_rollouts=32)
    search_transfer.run(session)  # X|answer and its end take two tokens more than the cap of the longest allows
    ((_, rows, _),) = fitted
    found = session.state.extra["search-transfer"]
    assert found["drawn_longer"] >= 1
    assert found["shortened"] >= 1
    assert all(len(row.response_ids) <= longest + 1 for row in rows)
    by_id, texts = {p.id: p for p in train}, _texts(session, rows)
    for key, own in texts.items():
        short = len(by_id[key].answer or "") + 3 > longest + 1
        assert set(own) == {by_id[key].answer if short else by_id[key].demos[0]}


def test_a_long_response_is_entered_after_its_thinking_or_at_a_line() -> None:
    problem = Problem("n", "q", None, "7", {"type": "numeric"})
    text = "<think>3 + 4\nis 7</think>\nSo it is\n7"
    assert list(search_transfer._shorter(problem, text)) == ["is 7</think>\nSo it is\n7", "So it is\n7", "7", "7"]


def test_replay_brings_back_a_forgotten_task_and_keeps_the_new_one(tmp_path: Path, fitted: Fitted) -> None:
    inputs = zoo_inputs(n=8, retain=2)
    session = zoo_session(tmp_path, inputs)
    replay.run(session)
    ((_, rows, more),) = fitted
    retained = {problem.id for problem in inputs.replayed}
    shares = Counter(row.problem_id in retained for row in rows)
    assert shares[True] == shares[False] > 0
    assert {row.problem_id for row in rows} & {p.id for p in inputs.retained} == set()
    assert {row.problem_id for row in rows} - retained <= {p.id for p in inputs.train}
    assert more == {"replay": False}
    shared = zoo_session(tmp_path / "more", inputs, replay=0.8)
    replay.run(shared)
    rows = fitted[-1][1]
    assert sum(row.problem_id in retained for row in rows) == pytest.approx(0.8 * len(rows), abs=1)


@pytest.mark.parametrize("stage", ["sft-model-aware", "filter", "search-transfer", "replay"])
def test_the_stages_run_to_a_checkpoint(stage: str, tmp_path: Path) -> None:
    config = make_stage_config(**{**TINY, "steps": 2, "own_rollouts": 16})
    result = train_stage(stage, zoo_inputs(retain=1), config, tmp_path)
    assert result.steps == 2
    assert stage in result.details
    assert (Path(result.checkpoint) / "model.safetensors").exists()
