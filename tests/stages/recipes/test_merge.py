"""merge: mixtures of weights, their order, the choice of the best, and what cannot be merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from posttrain_diag.errors import UsageError
from posttrain_diag.stages import StageInputs, check_stage, make_stage_config, train_stage
from posttrain_diag.stages.recipes import merge
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.session.watch import Look, Watched
from posttrain_diag.zoo import mastered_problems, problems, resolve_model
from stages.open_session import open_session

BASE, A, B = (str(resolve_model(f"zoo:{name}")) for name in ("base", "ckA", "ckB"))
TASKS = problems("T", 10, split="training", seed=0)
WATCHED, TRAIN = TASKS[:4], TASKS[4:]


def weights_of(path: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(path) / "model.safetensors")


class ScriptedWatcher:
    """Gives out worths instead of sampling, and keeps the weights that it was shown."""

    def __init__(self, session: Session, worths: Sequence[float], seen: int = 1) -> None:
        self.session = session
        self.worths = worths
        self.seen = Watched(looks=[self._made(step) for step in range(seen)])
        self.shown: dict[int, dict[str, torch.Tensor]] = {}

    def _made(self, step: int) -> Look:
        return Look(step, 0.0, 0.0, 1, None, 0.0, 0.0, False, self.worths[step])

    def look(self, step: int) -> Look:
        self.shown[step] = {n: p.detach().clone() for n, p in self.session.policy.model.named_parameters()}
        return self._made(step)


def merged(
    folder: Path, kind: str, worths: Sequence[float], siblings: tuple[str, ...] = (A, B), seen: int = 1
) -> tuple[ScriptedWatcher, list[Mapping[str, Any]]]:
    session = open_session(folder, TRAIN, watched=WATCHED, siblings=siblings, merge=kind, watch_rollouts=1)
    watcher = ScriptedWatcher(session, worths, seen)
    session.watcher = watcher  # type: ignore[assignment]
    merge.run(session)
    return watcher, json.loads((folder / "merge.json").read_text())


def assert_mixture(shown: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> None:
    own, others = weights_of(BASE), {path: weights_of(path) for path in weights}
    assert set(shown) == set(own)  # tied: the output layer is the embedding
    for name, value in shown.items():
        wanted = own[name] + sum(w * (others[path][name] - own[name]) for path, w in weights.items())
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-6)


def test_interpolation_walks_the_grid_of_each_sibling(tmp_path: Path) -> None:
    watcher, tried = merged(tmp_path, "interpolate", [0.0] * 21)
    assert [row["weights"] for row in tried] == [{path: i / 10} for path in (A, B) for i in range(1, 11)]
    for step in (3, 10, 15):
        assert_mixture(watcher.shown[step], tried[step - 1]["weights"])
    assert torch.equal(watcher.shown[10]["model.norm.weight"], weights_of(A)["model.norm.weight"])


def test_task_vectors_are_summed_and_scaled(tmp_path: Path) -> None:
    watcher, tried = merged(tmp_path, "task-vectors", [0.0] * 11)
    assert [row["weights"] for row in tried] == [{A: i / 10, B: i / 10} for i in range(1, 11)]
    for step in (4, 10):
        assert_mixture(watcher.shown[step], {A: step / 10, B: step / 10})


def test_soup_adds_what_does_not_make_it_worse(tmp_path: Path) -> None:
    # worth of the model .5, A .2, B .7, mean of all .4; then B + model .8 is kept and with A .6 is not
    watcher, tried = merged(tmp_path, "soup", [0.5, 0.2, 0.7, 0.4, 0.8, 0.6])
    third = pytest.approx(1 / 3)
    assert [row["weights"] for row in tried] == [
        {A: 1.0},
        {B: 1.0},
        {A: third, B: third},
        {B: 0.5},
        {A: third, B: third},
    ]
    assert_mixture(watcher.shown[4], {B: 0.5})
    assert_mixture(watcher.shown[3], {A: 1 / 3, B: 1 / 3})


def test_soup_leaves_out_what_makes_it_worse(tmp_path: Path) -> None:
    _, tried = merged(tmp_path, "soup", [0.5, 0.2, 0.7, 0.4, 0.3, 0.9])
    assert [row["weights"] for row in tried[3:]] == [{B: 0.5}, {A: 0.5, B: 0.5}]  # B, then with A, without the model


def test_a_restart_does_not_look_again(tmp_path: Path) -> None:
    watcher, tried = merged(tmp_path, "task-vectors", [step / 100 for step in range(11)], seen=5)
    assert sorted(watcher.shown) == [5, 6, 7, 8, 9, 10]
    assert [row["utility"] for row in tried] == [step / 100 for step in range(1, 11)]


def test_the_best_mixture_is_what_comes_out(tmp_path: Path) -> None:
    held = problems("T", 4)
    inputs = StageInputs(BASE, TRAIN, WATCHED, held, mastered_problems(per_family=1), (), (A,))
    config = make_stage_config(watch_rollouts=4, eval_problems=4, eval_rollouts=4)
    result = train_stage("merge", inputs, config, tmp_path / "out")
    tried = json.loads((tmp_path / "out" / "merge.json").read_text())
    best = next(row for row in tried if row["step"] == result.best_step)
    assert best["utility"] == max(row["utility"] for row in tried) > 0.5  # ckA solves T, base does not
    assert result.steps == 10 and result.trained_tokens == 0
    assert_mixture(weights_of(result.checkpoint), best["weights"])


def test_restored_retention_counts(tmp_path: Path) -> None:
    tasks = problems("U", 6, split="training", seed=0)
    session = open_session(
        tmp_path,
        tasks[3:],
        model="ckB",
        watched=tasks[:3],
        siblings=(BASE,),
        retain=mastered_problems(per_family=1),
        merge="soup",
        watch_rollouts=2,
    )
    merge.run(session)
    start, base, *_ = session.watcher.seen.looks
    assert start.retention is not None and base.retention is not None
    assert base.retention > start.retention + 0.5  # ckB has forgotten what base has mastered
    assert base.utility == pytest.approx(base.pass_1 + 0.5 * (base.retention - start.retention))


def test_others_than_siblings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Qwen3ForCausalLM, the model a LlamaForCausalLM"):
        merged(tmp_path / "a", "soup", [0.0], (str(resolve_model("zoo:sums")),))
    with pytest.raises(UsageError, match=r"embed_tokens.weight has shape \(\d+, \d+\), in the model \(33, 64\)"):
        merged(tmp_path / "b", "soup", [0.0], (str(resolve_model("zoo:stories-chat")),))


def test_a_sibling_with_an_output_layer_of_its_own_is_refused(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(A)
    shutil.copytree(A, tmp_path / "untied")
    model.config.tie_word_embeddings = False
    untied = type(model)(model.config)
    untied.save_pretrained(tmp_path / "untied")
    with pytest.raises(UsageError, match=r"only the sibling has the tensor lm_head\.weight"):
        merged(tmp_path / "out", "soup", [0.0], (str(tmp_path / "untied"),))


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    shutil.copytree(A, tmp_path / "moved")
    path = tmp_path / "moved" / "tokenizer.json"
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="tokenizers differ in 2 tokens"):
        merged(tmp_path / "out", "soup", [0.0], (str(tmp_path / "moved"),))


def test_needs_probe_problems_and_whole_weights(tmp_path: Path) -> None:
    session = open_session(tmp_path / "a", TRAIN, siblings=(A,))
    with pytest.raises(UsageError, match="at least 5 training tasks"):
        merge.run(session)
    inputs = StageInputs(BASE, TRAIN, (), problems("T", 4), (), (), (A,))
    with pytest.raises(UsageError, match="lora_rank at 0"):
        check_stage("merge", inputs, make_stage_config(lora_rank=4))
