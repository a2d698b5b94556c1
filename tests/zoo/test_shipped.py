import logging
import warnings

import numpy as np
import pytest
import torch

from posttrain_diag.tasks import load_tasks, verify
from posttrain_diag.zoo import (
    exact_success,
    family_of,
    list_families,
    load_truth,
    problems,
    resolve_model,
    truth_table,
)
from posttrain_diag.zoo.paths import MODELS_DIR
from posttrain_diag.zoo.recipes import RECIPES
from posttrain_diag.zoo.ship import SHIPPED, shipped_tasks

NAMES = [fam.name for fam in list_families()]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", NAMES)
def test_the_tasks_are_what_the_generator_makes(name):
    loaded = load_tasks(f"builtin:zoo/{name}").problems
    made = shipped_tasks()[name]
    assert len(loaded) == 100
    fields = ("id", "prompt", "answer", "verifier", "demos", "tags")
    for one, other in zip(loaded, made, strict=True):
        assert [getattr(one, field) for field in fields] == [getattr(other, field) for field in fields]


@pytest.mark.parametrize("name", NAMES)
def test_the_verifiers_pass_demos_and_fail_wrong_modes(name):
    for row in shipped_tasks()[name]:
        fam = family_of(row)
        x = fam.word(row.prompt)
        assert all(verify(fam.demo(x, style), row).strict for style in fam.styles)
        for wrong in fam.wrong:
            judged = verify(wrong(x), row)
            assert (judged.strict, judged.lenient) == (False, fam.bottleneck == "format")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_models_load_without_a_warning_and_are_small(name, caplog):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = resolve_model(f"zoo:{name}")
    assert path == MODELS_DIR / name
    assert sum(file.stat().st_size for file in path.iterdir()) < 2_000_000
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        model = AutoModelForCausalLM.from_pretrained(path)
        tokenizer = AutoTokenizer.from_pretrained(path)
    assert not caplog.records
    vocabulary = RECIPES[name].world.vocabulary
    assert model.config.vocab_size == len(tokenizer) == len(vocabulary)
    assert model.generation_config.eos_token_id == model.config.eos_token_id == tokenizer.eos_token_id == 2
    row = problems(RECIPES[name].world.families[0].name, 1)[0]
    for text in (row.prompt, row.demos[0]):
        assert tokenizer(text)["input_ids"] == vocabulary.encode(text)
        assert tokenizer.decode([*vocabulary.encode(text), 2], skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("model", "name"),
    [("base", "S"), ("base", "N"), ("base", "G"), ("base", "F"), ("frontier", "F15"), ("teacher", "T"), ("base", "R")],
)
def test_the_stored_truth_is_the_models(model, name):
    stored = load_truth().query("model == @model and tasks == @name").set_index("id")
    rows = shipped_tasks()[name][:5]
    frame = exact_success(resolve_model(f"zoo:{model}"), rows, prune=1e-5).set_index("id")
    own = stored.loc[frame.index]
    assert np.all(frame["p_low"] <= own["p_high"] * (1 + 1e-4))
    assert np.all(frame["p_high"] >= own["p_low"] * (1 - 1e-4))
    assert np.allclose(frame["p_low"], own["p_low"], rtol=0.02)


def test_the_families_are_what_their_names_promise():
    table = truth_table().set_index("tasks")
    assert (table.loc[[*"RPQW", "mastered"], "p_min"] > 0.98).all()
    assert (table.loc[["T", "U"], "p_max"] < 1e-6).all()
    for name, rel in {"S": 0.15, "N": 0.15, "H": 0.15, "F": 0.3, "F15": 0.5}.items():
        assert table.loc[name, "p_mean"] == pytest.approx(table.loc[name, "closed_form_p"], rel=rel)
    assert table.loc["S", "p_max"] < 1.4 * table.loc["S", "p_min"]
    assert 0.015 < table.loc["G", "p_mean"] < 0.045
    assert table.loc["G", "lenient_p"] > 0.98
    teacher = load_truth().query("model == 'teacher'")
    assert (teacher.groupby("tasks")["p_low"].mean() > 0.98).all()
    assert (teacher["p_low"] > 0.8).all()


def test_truth_bounds_are_tight_where_they_matter():
    truth = load_truth()
    assert (truth["p_low"] <= truth["p_high"]).all()
    known = truth[truth["p_low"] > 1e-3]
    width = (known["p_high"] - known["p_low"]) / known["p_low"]
    assert (width < 0.03).all()  # in byte-pair tokens many spellings of wrong answers are cut
    assert (width[known["model"].isin(["base", "frontier", "teacher"])] < 0.005).all()
    assert not truth.duplicated(["model", "tasks", "id"]).any()


def test_the_pair_of_checkpoints_shows_what_consolidation_is_for():
    truth = load_truth().set_index(["model", "tasks"])
    share = {
        (model, name): (truth.loc[(model, name), "class"] == wanted).mean()
        for model, name, wanted in (
            ("ckA", "T", "mastered"),
            ("ckA", "U", "support"),
            ("ckB", "T", "support"),
            ("ckB", "U", "mastered"),
        )
    }
    assert min(share.values()) > 0.9, share
    assert truth.loc[("ckB", "T"), "p_low"].max() < 1e-6
    assert truth.loc["ckA", "closed_form_p"].isna().all()
