import json
import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain_diag.errors import UsageError
from posttrain_diag.zoo import paths, resolve_model
from posttrain_diag.zoo.build import build
from posttrain_diag.zoo.recipes import RECIPES


@pytest.fixture
def nothing_shipped(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "MODELS_DIR", tmp_path / "none")


def test_builds_loads_and_resumes(tmp_path, caplog):
    steps_seen: list[tuple[str, int]] = []

    def progress(name: str, done: int, steps: int, loss: float) -> None:
        steps_seen.append((name, done))

    made = build(["base"], tmp_path, steps=2, progress=progress)
    assert made == {"base": tmp_path / "base"}
    assert steps_seen == [("base", 2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]
    with caplog.at_level(logging.WARNING):
        model = AutoModelForCausalLM.from_pretrained(made["base"])
        tokenizer = AutoTokenizer.from_pretrained(made["base"])
    assert not caplog.records
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert model.dtype == torch.float32

    build(["base"], tmp_path, steps=2, progress=progress)
    assert len(steps_seen) == 1, "a finished model was trained again"
    build(["base"], tmp_path, steps=3, progress=progress)
    assert steps_seen[1:] == [("base", 3)]
    assert json.loads((made["base"] / "build.json").read_text())["schedule"]["steps"] == 3


def test_missing_parents_are_built_and_present_ones_are_used(tmp_path, nothing_shipped):
    trained: list[str] = []

    def progress(name: str, done: int, steps: int, loss: float) -> None:
        trained.append(name)

    assert set(build(["ckB"], tmp_path, steps=1, progress=progress)) == {"ckB"}
    assert trained == ["base", "ckA", "ckB"]
    build(["teacher"], tmp_path, steps=2, progress=progress)
    assert trained[3:] == ["teacher"]


def test_a_failed_build_leaves_nothing(tmp_path):
    def stop(name: str, done: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(["base"], tmp_path, steps=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_does_not_overwrite_what_it_did_not_make(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a zoo model"):
        build(["base"], tmp_path, steps=1)
    assert (tmp_path / "base" / "thesis.txt").read_text() == "mine"


def test_threads_are_restored(tmp_path):
    before = torch.get_num_threads()
    build(["base"], tmp_path, steps=1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("names", "steps", "message"), [(["bass"], None, "base, frontier"), (["base"], 0, "at least 1")]
)
def test_usage(tmp_path, names, steps, message):
    with pytest.raises(UsageError, match=message):
        build(names, tmp_path, steps=steps)


def test_a_model_built_in_the_cache_is_found(tmp_path, monkeypatch, nothing_shipped):
    monkeypatch.setenv("POSTTRAIN_DIAG_HOME", str(tmp_path))
    assert "ckA" in RECIPES
    with pytest.raises(UsageError, match="diag zoo build ckA"):
        resolve_model("zoo:ckA")
    build(["ckA"], paths.cache_dir(), steps=1)
    assert resolve_model("zoo:ckA") == tmp_path / "zoo" / "ckA"


def test_weights_are_saved_in_the_type_the_recipe_says(tmp_path):
    made = build(["stories-chat"], tmp_path, steps=1)["stories-chat"]
    assert AutoModelForCausalLM.from_pretrained(made).dtype == torch.bfloat16
    assert paths.is_chat(made)
    assert sum(file.stat().st_size for file in made.iterdir()) < 500_000
