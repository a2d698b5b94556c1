"""Settings as blocks: how they are built, what each engine reads, and files that older versions wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.engines.openai.engine import load_openai_engine
from posttrain_diag.engines.vllm.engine import load_vllm_engine
from posttrain_diag.errors import UsageError
from posttrain_diag.settings.analysis import AnalyzeConfig, load_config, make_config
from posttrain_diag.settings.autopilot import AutopilotConfig, check_same, make_autopilot_config
from posttrain_diag.settings.block import Block
from posttrain_diag.settings.engine import EngineSettings, HFChoice, RayChoice, read_by
from posttrain_diag.settings.stage import StageConfig, make_stage_config, said_settings

ASKED = {"model": "m", "tasks": "t", "out": Path("o")}


@pytest.mark.parametrize(
    ("make", "values", "said"),
    [
        (make_config, {**ASKED, "rollouts": 0}, "--rollouts: got 0; Input should be greater than or equal to 1"),
        (make_config, {**ASKED, "mapping": 3}, "--map: got 3; Input should be a valid dictionary"),
        (make_config, {"tasks": "t", "out": "o"}, "MODEL is missing"),
        (make_config, {**ASKED, "rolouts": 5}, "unknown setting 'rolouts' (did you mean 'rollouts'?); there are: "),
        (make_autopilot_config, {"model": "m", "tasks": "t", "keep": 2.0}, "--keep: got 2.0; Input should be less"),
        (make_autopilot_config, {"model": "m", "tasks": "t", "temperature": 0}, "--temperature: got 0; "),
        (make_stage_config, {"batch_size": "many"}, "stage setting batch_size: got 'many'; "),
        (make_stage_config, {"loss": "dpo"}, "stage setting loss: got 'dpo'; Input should be 'sigmoid+sft', "),
        (make_stage_config, {"stepz": 3}, "unknown stage setting 'stepz' (did you mean 'steps'?); there are: "),
        (make_stage_config, {"xyz": 3}, "unknown stage setting 'xyz'; there are: "),
    ],
)
def test_a_bad_value_is_one_line_with_its_name_the_value_and_what_is_accepted(
    make: Callable[..., Any], values: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make(**values)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_an_engine_gets_what_it_reads_under_its_own_type() -> None:
    config = make_config(**ASKED, device="cuda:1", batch_rows=4, template="Q: {prompt}")
    assert config.chosen == HFChoice(device="cuda:1", dtype=None, batch_rows=4)
    assert config.reading["template"] == "Q: {prompt}"
    ray = make_config(**ASKED, engine="ray", ray_workers=2, ray_engine="vllm", dtype="bfloat16")
    assert ray.chosen == RayChoice(None, 2, "vllm", None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"base_url": "http://x"},
            "--base-url: the engine hf does not read it; engines that do: openai, ray with --ray-engine openai",
        ),
        (
            {"engine": "openai", "device": "cpu"},
            "--device: the engine openai does not read it; engines that do: hf, ray",
        ),
        (
            {"engine": "vllm", "concurrency": 2},
            "--concurrency: the engine vllm does not read it; engines that do: openai",
        ),
        (
            {"engine": "vllm", "ray_engine": "vllm"},
            "--ray-engine: the engine vllm does not read it; engines that do: ray",
        ),
        (
            {"engine": "ray", "tokenizer": "x"},
            "--tokenizer: the engine ray with hf workers does not read it; engines that do: openai, ray with ",
        ),
    ],
)
def test_a_setting_that_the_chosen_engine_does_not_read_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_config(**ASKED, **given)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "given",
    [
        {"engine": "openai", "base_url": "http://x", "concurrency": 2},
        {"engine": "ray", "ray_engine": "openai", "base_url": "http://x"},
        {"engine": "ray", "batch_rows": 2, "device": "cpu"},
        {"engine": "vllm", "dtype": "float32", "template": "{prompt}", "trust_remote_code": True},
        {"concurrency": 16, "api_key_env": "OPENAI_API_KEY"},
    ],
)
def test_what_an_engine_reads_and_what_is_at_its_default_is_taken(given: dict[str, Any]) -> None:
    assert make_config(**ASKED, **given).model_dump(include=set(given)) == given


def test_the_declared_settings_are_the_arguments_of_the_engines() -> None:
    """A new argument of an engine without a setting, or a setting that no engine takes, would be seen here."""
    other_names = {"vllm_python": "python"}
    reading = set(make_config(**ASKED).reading)
    loaders: dict[Any, Callable[..., Any]] = {
        "hf": load_hf_engine, "vllm": load_vllm_engine, "openai": load_openai_engine,
    }  # fmt: skip
    for engine, load in loaders.items():
        taken = set(inspect.signature(load).parameters) - {"model", "allow_pickle", "check", "patience"}
        assert taken == reading | {other_names.get(name, name) for name in read_by(engine)}, engine
    of_any = read_by("hf") | read_by("vllm") | read_by("openai") | read_by("ray")
    common = {"engine", "template", "chat_template", "system_prompt", "trust_remote_code"}
    assert of_any | common == set(EngineSettings.model_fields)


OLD_ANALYSIS = """\
tasks: builtin:zoo/S
demos: null
mapping: {prompt: question}
verifier: null
allow_code: false
limit: null
model: zoo:base
out: runs/first
engine: hf
vllm_python: null
base_url: http://127.0.0.1:8000/v1
api_key_env: OPENAI_API_KEY
concurrency: 32
tokenizer: null
ray_address: null
ray_workers: null
ray_engine: hf
store: sqlite
effort: quick
rollouts: null
allocation: adaptive
temperature: 0.7
top_p: 1.0
top_k: 0
min_p: 0.0
max_new_tokens: 32
seed: 3
rollout_budget: 256
mastery: 0.8
level: 0.9
teacher: [zoo:teacher]
train_tasks: null
retain: null
template: null
chat_template: null
system_prompt: null
device: null
dtype: null
batch_rows: null
trust_remote_code: false
"""
"""config.yaml as version 0.1 wrote it, with settings of another engine, which were accepted in silence."""


def test_config_files_of_older_runs_open(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(OLD_ANALYSIS)
    config = load_config(path)
    assert config.model_dump(mode="json") == {**yaml.safe_load(OLD_ANALYSIS), "stop": [], "sibling": []}
    assert (config.rollouts_per_problem, config.eps) == (16, 1 / 256)
    assert config.sampling(32).identity()["temperature"] == 0.7
    path.write_text(OLD_ANALYSIS + "rolouts: 3\n")
    with pytest.raises(UsageError, match="unknown setting 'rolouts'"):
        load_config(path)


OLD_RUN = (
    '{"model":"zoo:base","tasks":"ä.jsonl","train_tasks":null,"demos":null,"teacher":["t"],"sibling":[],'
    '"retain":null,"target":0.95,"keep":0.95,"budget_tokens":5,"max_stages":6,"pilot":false,'
    '"settings":{"learning_rate":0.00001,"rounds":2,"report_to":["wandb"]},"effort":"standard","rollouts":null,'
    '"rollout_budget":256,"max_new_tokens":null,"temperature":1.0,"seed":0,"mapping":{"prompt":"q"},'
    '"verifier":null,"allow_code":false,"template":null,"chat_template":null,"system_prompt":null,"device":null,'
    '"trust_remote_code":false}'
)
"""What version 0.1 named the default folder of `diag run` by, and, as YAML, wrote into it."""


def test_a_run_of_an_older_version_is_found_and_gone_on_with(tmp_path: Path) -> None:
    import json

    config = make_autopilot_config(
        model="zoo:base", tasks="ä.jsonl", teacher=("t",), budget_tokens=5, mapping={"prompt": "q"},
        settings={"learning_rate": 1e-5, "report_to": ["wandb"], "rounds": 2},
    )  # fmt: skip
    assert config.identity == OLD_RUN
    stopped = config.model_copy(update={"stop": ("x",)})
    assert stopped.identity == OLD_RUN.removesuffix("}") + ',"stop":["x"]}'
    with pytest.raises(UsageError, match=r"another --stop \(\[\], now \['x'\]\)"):
        check_same(json.loads(OLD_RUN), stopped, tmp_path)
    check_same(json.loads(OLD_RUN), config, tmp_path)
    with pytest.raises(UsageError, match=r"another --max-stages \(6, now 2\) and --config/--set"):
        check_same(json.loads(OLD_RUN), config.model_copy(update={"max_stages": 2, "settings": {}}), tmp_path)


@pytest.mark.parametrize(
    ("before", "now"), [("demos", "as-given"), ("rewritten", "rewritten"), ("probability-weighted",) * 2]
)
def test_the_style_of_demonstrations_under_its_first_name_has_the_same_effect(
    before: str, now: str, tmp_path: Path
) -> None:
    import json

    path = tmp_path / "own.yaml"
    path.write_text(f"rounds: 2\ndemos: {before}\n")
    for said in (said_settings(None, {"rounds": 2, "demos": before}), said_settings(path, {})):
        assert said == {"rounds": 2, "demo_style": now}
        assert make_stage_config(**said) == make_stage_config(rounds=2, demos=before)
    run = make_autopilot_config(model="m", tasks="t", settings={"rounds": 2, "demos": before})
    assert f'"settings":{{"rounds":2,"demos":"{before}"}}' in run.identity
    old = {**run.model_dump(mode="json"), "settings": {"rounds": 2, "demos": before}}
    check_same(old, run, tmp_path)
    with pytest.raises(UsageError, match="another --config/--set"):
        check_same({**old, "settings": {"rounds": 2, "demos": "none"}}, run, tmp_path)
    assert json.loads(run.identity)["settings"] == old["settings"]


def test_two_names_for_the_style_of_demonstrations_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="unknown stage setting 'demos'"):
        make_stage_config(demos="rewritten", demo_style="as-given")
    with pytest.raises(UsageError, match="stage setting demo_style: got 'none'"):
        make_stage_config(demos="none")


def test_the_analyses_of_a_run_get_its_settings(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "retain": "r", "effort": "quick", "rollouts": 3, "rollout_budget": 16, "max_new_tokens": 9, "temperature": 0.5,
        "seed": 4, "stop": ("x", "y"), "template": "{prompt}", "system_prompt": "s", "device": "cpu", "trust_remote_code": True,
    }  # fmt: skip
    run = make_autopilot_config(model="m", tasks="t", verifier="numeric", **given)
    made = run.analysis("other", tmp_path, tmp_path / "out", ("teacher",), rollouts=7)
    assert made.model_dump(include=set(given)) == {**given, "rollouts": 7}
    assert (made.model, made.teacher, made.allow_code) == ("other", ("teacher",), True)
    assert (made.tasks, made.train_tasks) == (str(tmp_path / "held-out.jsonl"), str(tmp_path / "train.jsonl"))


def owners(config: type[Block], name: str) -> set[type]:
    """The classes that declare a setting."""
    return {kind for kind in config.__mro__ if name in inspect.get_annotations(kind)}


def test_a_setting_is_declared_once() -> None:
    """What two configs share comes from one block, but for the temperature that training bounds, and for namesakes."""
    namesakes = {"target", "budget_tokens"}
    for one, other in ((AnalyzeConfig, AutopilotConfig), (AnalyzeConfig, StageConfig), (AutopilotConfig, StageConfig)):
        apart = {"temperature", *(namesakes if other is StageConfig else ())}
        for name in set(one.model_fields) & set(other.model_fields) - apart:
            assert owners(one, name) == owners(other, name), name


def test_stage_settings_of_file_and_command_line(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("steps: 7\nrounds: 2\n")
    assert said_settings(path, {"rounds": 3, "seed": None, "report_to": ("wandb",)}) == {
        "steps": 7, "rounds": 3, "report_to": ["wandb"],
    }  # fmt: skip
    path.write_text("")
    assert said_settings(path, {}) == {}
    path.write_text("- 1\n")
    with pytest.raises(UsageError, match="expected a mapping of settings, got list"):
        said_settings(path, {})
    path.write_text("a: [1\n")
    with pytest.raises(UsageError, match="not valid YAML"):
        said_settings(path, {})
    with pytest.raises(UsageError, match=r"missing\.yaml: no such file; --config takes a YAML file of stage settings"):
        said_settings(tmp_path / "missing.yaml", {})
    with pytest.raises(UsageError, match="stage setting steps: got 0"):
        said_settings(None, {"steps": 0})
