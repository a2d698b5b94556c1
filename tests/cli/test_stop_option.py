"""`--stop`: from the command line into draws, run directory, report and the stages of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from stages.zoo_stage import zoo_inputs
from typer.testing import CliRunner

from posttrain_diag.cli.analyze_command import default_out, parse_stops
from posttrain_diag.cli.app import app
from posttrain_diag.errors import StoreError
from posttrain_diag.settings.analysis import load_config
from posttrain_diag.stages import make_stage_config
from posttrain_diag.stages.prepare import TrainRequest, prepare
from posttrain_diag.stages.run import _claim
from posttrain_diag.store import RolloutStore


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_line_breaks_can_be_written_in_a_shell() -> None:
    assert parse_stops([r"\n\n", r"a\tb\r", r"\\n", "Q:", r"\q"]) == ("\n\n", "a\tb\r", r"\n", "Q:", r"\q")
    assert parse_stops(None) == ()


def test_the_folder_of_a_command_without_stop_texts_is_the_one_it_always_was() -> None:
    values = {"max_new_tokens": None, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": 0, "template": None}
    law = {**values, "min_p": 0.0}
    before = default_out("m", "t.jsonl", {**law, "stop": ()})
    assert str(before) == "runs/m-t-d334ed"
    stopped = {str(default_out("m", "t.jsonl", {**law, "stop": stop})) for stop in (("a",), ("b", "a"), ("a", "b"))}
    assert len({*stopped, str(before)}) == 3


def test_an_analysis_stops_where_it_is_told_and_its_stages_too(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ("analyze", "zoo:base", "--tasks", "builtin:zoo/S", "--limit", "12", "--rollouts", "4", "--out", str(out))
    assert invoke(*command, "--stop", "A", "--stop", r"\n", "--quiet").exit_code == 0
    assert json.loads((out / "run.json").read_text())["sampling"]["stop"] == ["\n", "A"]
    assert json.loads((out / "diagnosis.json").read_text())["sampling"]["stop"] == ["\n", "A"]
    assert "stop texts" in (out / "report.html").read_text()
    store = RolloutStore(out / "rollouts.sqlite")
    model = json.loads((out / "run.json").read_text())["model_sha"]
    rows = store.rows(model, store.spans(model))
    texts = list(rows.loc[rows["response_prefix"] == "", "text"])
    assert len(texts) > 20 and not any("A" in text for text in texts)
    store.close()
    assert load_config(out / "config.yaml").stop == ("A", "\n")
    assert prepare(TrainRequest(run=out, stage="grpo", out=tmp_path / "s")).config.stop == ("\n", "A")
    own = prepare(TrainRequest(run=out, stage="grpo", out=tmp_path / "s", settings={"stop": ["B"]}))
    assert own.config.stop == ("B",)
    with pytest.raises(StoreError, match="sampling"):
        invoke(*command, "--quiet")  # another law in the same folder


def test_train_and_run_take_stop_texts(tmp_path: Path) -> None:
    more = ("--tasks", "builtin:zoo/S", "--out", str(tmp_path / "o"), "--dry-run", "--json", "--stop", r"\n\n")
    trained = invoke("train", "--model", "zoo:base", "--stage", "grpo", *more)
    assert json.loads(trained.stdout)["config"]["stop"] == ["\n\n"]
    ran = invoke("run", "zoo:base", *more)
    assert json.loads(ran.stdout)["config"]["stop"] == ["\n\n"]


def test_a_stage_folder_of_before_there_were_stop_texts_goes_on(tmp_path: Path) -> None:
    inputs, config = zoo_inputs(n=4), make_stage_config(steps=3)
    _claim(tmp_path, "sft", inputs, config)
    path = tmp_path / "stage.json"
    known = json.loads(path.read_text())
    del known["config"]["stop"]
    path.write_text(json.dumps(known))
    _claim(tmp_path, "sft", inputs, config)
    with pytest.raises(StoreError, match="another config"):
        _claim(tmp_path, "sft", inputs, config.model_copy(update={"stop": ("a",)}))
    assert yaml.safe_load(path.read_text()) == known
