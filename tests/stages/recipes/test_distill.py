"""Distillation: whose rows are taught, what the loss is, which teachers are refused, and that a killed run goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from posttrain_diag.tasks.problems.split import take_watched

pytest.importorskip("trl")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.engines.hf.load import quiet
from posttrain_diag.errors import UsageError
from posttrain_diag.stages import StageInputs, StageResult, make_stage_config, train_stage
from posttrain_diag.stages.data.rows import Lesson, TokenRow, load_lessons, text_row
from posttrain_diag.stages.data.teaching import routes
from posttrain_diag.stages.policy.policy import load_policy
from posttrain_diag.stages.recipes.distill_offline import _Written
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.session.watch import Watcher
from posttrain_diag.stages.trainers.distilled import FORWARD_KL, REVERSE_KL, fit_teachers, in_turn
from posttrain_diag.stages.trainers.trl import Companion, Hooked, Hooks, LossPart
from posttrain_diag.tasks import verify
from posttrain_diag.types import SamplingParams
from posttrain_diag.zoo import mastered_problems, problems, resolve_model


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def zoo(name: str) -> str:
    return str(resolve_model(f"zoo:{name}"))


def inputs_of(model: str, families: str, teachers: tuple[str, ...], n: int = 12) -> StageInputs:
    train = [problem for family in families.split("+") for problem in problems(family, n, split="training")]
    train, watched = take_watched(train, 4, seed=0)
    held = tuple(problem for family in families.split("+") for problem in problems(family, 4))
    return StageInputs(zoo(model), train, watched, held, mastered_problems(per_family=4), teachers)


QUICK = {"steps": 2, "batch_size": 16, "own_rollouts": 4, "watch_rollouts": 2, "eval_rollouts": 4, "eval_problems": 4}


def train(stage: str, inputs: StageInputs, out: Path, **values: Any) -> StageResult:
    return train_stage(stage, inputs, make_stage_config(**{**QUICK, **values}), out)


def rows_of(out: Path) -> list[Lesson]:
    return load_lessons(out / "lessons.jsonl")


def session_of(inputs: StageInputs, folder: Path, **values: Any) -> Session:
    config = make_stage_config(**{**QUICK, **values})
    policy = load_policy(inputs.model, config)
    return Session(inputs, config, policy, SamplingParams(max_new_tokens=32), folder, steps=2, learning_rate=1e-3)


# ---- routing


def test_each_problem_goes_to_the_teacher_that_solves_it_best() -> None:
    def lesson(problem: str, teacher: int, c: int, n: int = 8) -> Lesson:
        return Lesson(problem, teacher, n, c, ())

    found = [lesson("a", 0, 7), lesson("a", 1, 8), lesson("b", 0, 3), lesson("b", 1, 0), lesson("c", 0, 0)]
    found += [lesson(f"tie-{i}", teacher, 8) for i in range(40) for teacher in (0, 1)]
    route = routes(found, seed=0)
    assert route["a"] == 1 and route["b"] == 0 and "c" not in route
    shared = [route[f"tie-{i}"] for i in range(40)]
    assert 10 <= sum(shared) <= 30  # equally good teachers share
    assert route == routes(found[::-1][::-1], seed=0) != routes(found, seed=1)


def test_keys_come_round_again_in_a_new_order() -> None:
    order = in_turn(["a", "b", "c", "d", "e"], 12, seed=0)
    assert len(order) == 12 and sorted(order[:5]) == sorted(order[5:10]) == ["a", "b", "c", "d", "e"]
    assert order[:5] != order[5:10] and order == in_turn(["a", "b", "c", "d", "e"], 12, seed=0)


# ---- texts


def test_text_trains_on_passing_texts_of_the_right_teacher(tmp_path: Path) -> None:
    inputs = inputs_of("ckB", "T+U", (zoo("ckA"), zoo("ckB")))
    found = train("distill-offline", inputs, tmp_path / "out", keep_per_problem=2, own_rollouts=6, replay=0.0)
    by_id = {problem.id: problem for problem in inputs.train}
    lessons = rows_of(tmp_path / "out")
    assert len(lessons) == 2 * len(by_id) and all(lesson.n == 6 for lesson in lessons)
    engine = load_hf_engine(zoo("ckB"))
    for lesson in lessons:
        assert len(lesson.response_ids) <= min(2, lesson.c)
        for ids in lesson.response_ids:
            assert ids[-1] == engine.info.stop_token_ids[0]
            assert verify(engine.decode(ids), by_id[lesson.problem_id]).strict
    taught = {(lesson.problem_id[0], lesson.teacher) for lesson in lessons if lesson.c >= 4}
    assert taught == {("T", 0), ("U", 1)}
    assert found.steps == 2 and found.rollouts == 6 * len(lessons)
    assert found.generated_tokens > 4 * found.rollouts and found.trained_tokens > 0


def relabelled(folder: Path) -> str:
    """The zoo's teacher with the token ids of `a` and `b` exchanged: the same model in other tokens."""
    shutil.copytree(zoo("teacher"), folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    a, b = vocab["a"], vocab["b"]
    vocab["a"], vocab["b"] = b, a
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        weight[[a, b]] = weight[[b, a]]
    model.save_pretrained(folder)
    return str(folder)


def test_texts_of_a_teacher_with_other_tokens_become_the_students(tmp_path: Path) -> None:
    inputs = inputs_of("base", "S", (relabelled(tmp_path / "teacher"),))
    with pytest.raises(UsageError, match=r"other token ids in the prompt of problem 'S-train-\d+'; .* target text"):
        train("distill-offline", inputs, tmp_path / "logits", target="logits")
    train("distill-offline", inputs, tmp_path / "text")
    by_id = {problem.id: problem for problem in inputs.train}
    engine = load_hf_engine(zoo("base"))
    written = [(row.problem_id, engine.decode(ids)) for row in rows_of(tmp_path / "text") for ids in row.response_ids]
    assert len(written) >= len(by_id) and any("a" in text for _, text in written)
    assert all(verify(text, by_id[key]).strict for key, text in written)


# ---- refusals


@pytest.mark.parametrize(("stage", "target"), [("distill-offline", "logits"), ("distill-onpolicy", "text")])
def test_a_teacher_with_another_vocabulary_is_refused(tmp_path: Path, stage: str, target: str) -> None:
    inputs = inputs_of("sums", "sums-S", (zoo("teacher"),))
    with pytest.raises(UsageError, match=r"vocabulary has \d+ tokens and the student's \d+; .* target text"):
        train(stage, inputs, tmp_path / "out", target=target)


def test_a_teacher_that_solves_nothing_is_refused(tmp_path: Path) -> None:
    inputs = inputs_of("base", "U", (zoo("teacher"), zoo("base")))
    with pytest.raises(UsageError, match=r"models/base passes on none of the 10 training problems in 4 draws each"):
        train("distill-offline", inputs, tmp_path / "out")


# ---- soft targets


def kl_by_hand(student: str, teacher: str, row: TokenRow, *, forward: bool) -> tuple[float, int]:
    """Summed KL over the response tokens of one row, and their number; each row alone and without padding."""
    laws = []
    for name in (teacher, student) if forward else (student, teacher):
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        with torch.no_grad():
            logits = model(torch.tensor([row.input_ids])).logits[0]
        laws.append(logits[len(row.prompt_ids) - 1 : -1].log_softmax(-1))
    p, q = laws
    return float((p.exp() * (p - q)).sum()), len(row.response_ids)


@pytest.mark.parametrize(
    ("student", "teacher", "families", "beta"),
    [
        ("base", "teacher", "S+T", FORWARD_KL),
        ("base", "teacher", "S+T", REVERSE_KL),
        ("stories", "stories-ckA", "stories-S+stories-T", REVERSE_KL),  # gpt2: absolute positions
    ],
)
def test_loss_is_the_mean_divergence_from_each_rows_own_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, student: str, teacher: str, families: str, beta: float
) -> None:
    names = (zoo(student), zoo(teacher))
    inputs = inputs_of(student, families, names)
    session = session_of(inputs, tmp_path, batch_size=6)
    rows = [
        text_row(session.policy.engine, problem, problem.demos[0])
        for problem in (*inputs.train[:4], *inputs.train[-2:])
    ]
    assert len({len(row.prompt_ids) for row in rows}) > 1
    counted: list[tuple[int, int]] = []
    made: list[Any] = []
    monkeypatch.setattr(session, "phase", lambda _name, make: made.append(make(tmp_path / "trainer")))
    keys = [str(i) for i in range(6)]
    written = _Written(session, rows)
    with quiet():
        fit_teachers(
            session, "x", written, keys, lambda k: int(k) % 2, beta=beta, count_draws=lambda *n: counted.append(n)
        )
    (trainer,) = made
    batch = trainer._generate_and_score_completions([{"prompt": key} for key in keys])
    loss = trainer.compute_loss(trainer.model.train(), batch)
    found = [kl_by_hand(names[0], names[i % 2], row, forward=beta == FORWARD_KL) for i, row in enumerate(rows)]
    assert float(loss.detach()) == pytest.approx(sum(kl for kl, _ in found) / sum(n for _, n in found), rel=1e-4)
    assert counted == [(6, sum(n for _, n in found))]
    assert found[0][0] == 0.0 < found[1][0]  # half of the rows are taught by the student's own copy


def test_logits_train_on_the_teachers_responses(tmp_path: Path) -> None:
    inputs = inputs_of("base", "S", (zoo("teacher"),), n=24)
    inputs = replace(inputs, held_out=problems("S", 16))
    found = train(
        "distill-offline", inputs, tmp_path / "out", target="logits", steps=12, batch_size=32, replay=0.25,
        eval_problems=16, eval_rollouts=8, learning_rate=2e-3,
    )  # fmt: skip
    assert found.rollouts == 4 * len(inputs.train) + 8 * len(inputs.replayed)  # the responses are not counted twice
    assert found.after.estimates["pass@1"].value > found.before.estimates["pass@1"].value + 0.2


# ---- the student's own draws


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "model.safetensors")


def test_on_policy_learns_and_goes_on_after_a_kill_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = inputs_of("base", "S", (zoo("teacher"),))  # fewer problems than a batch has rows
    settings: dict[str, Any] = {"steps": 12, "batch_size": 32, "learning_rate": 2e-3, "watch_every": 5, "replay": 0.25}
    whole = train("distill-onpolicy", inputs, tmp_path / "whole", **settings)
    assert whole.after.estimates["pass@1"].value > whole.before.estimates["pass@1"].value + 0.2
    routing, replay = 8 * len(inputs.train), 8 * len(inputs.replayed)
    assert whole.rollouts == routing + replay + 12 * 32 and whole.steps == 12

    look = Watcher.look

    def killed(self: Watcher, step: int) -> Any:
        if step == 10:
            raise KeyboardInterrupt
        return look(self, step)

    monkeypatch.setattr(Watcher, "look", killed)
    with pytest.raises(KeyboardInterrupt):
        train("distill-onpolicy", inputs, tmp_path / "killed", **settings)
    monkeypatch.setattr(Watcher, "look", look)
    resumed = train("distill-onpolicy", inputs, tmp_path / "killed", **settings)
    assert all(
        torch.equal(value, weights(tmp_path / "killed")[name]) for name, value in weights(tmp_path / "whole").items()
    )
    assert (resumed.rollouts, resumed.generated_tokens) == (whole.rollouts, whole.generated_tokens)


# ---- rows beside another loss


class Outer:
    """Stands for a TRL trainer whose own loss is 0."""

    loss_is_scaled_for_ga: bool | None = None
    current_gradient_accumulation_steps = 4

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool, num_items_in_batch: Any) -> torch.Tensor:
        return torch.zeros(())


@pytest.mark.parametrize(
    ("scaled", "items", "divided"), [(True, None, 4), (False, None, 1), (None, 7, 4), (None, None, 1)]
)
def test_companion_counts_once_per_optimizer_step(scaled: bool | None, items: int | None, divided: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(zoo("base"), dtype=torch.float32).train()
    row = TokenRow("x", (5, 6), (7, 2))
    trainer: Any = type("Trainer", (Hooked, Outer), {"loss_is_scaled_for_ga": scaled})()
    trainer.model, trainer.accelerator = model, SimpleNamespace(device=torch.device("cpu"))
    trainer.hooks = Hooks(lambda _: None, companion=Companion(lambda: [LossPart([row], 0.5)], 0))
    batch = {"input_ids": torch.tensor([row.input_ids]), "labels": torch.tensor([row.labels])}
    expected = 0.5 * float(model(**batch).loss.detach()) / divided
    assert float(trainer.compute_loss(model, {}, num_items_in_batch=items).detach()) == pytest.approx(expected)
