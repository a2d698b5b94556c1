"""Which settings a stage reads: the declaration in its record, held against the code; refusals; a light catalogue."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.stage import StageConfig
from posttrain_diag.stages.catalogue import CATALOGUE, STAGES, readers, refuse_unread, stage_record
from posttrain_diag.stages.record import COMMON, TRAINING, VLLM, StageRecord

STAGES_PACKAGE = "posttrain_diag.stages"
OF_PROPERTIES = {"micro": {"micro_batch", "batch_size"}}
"""Properties of `StageConfig` -> the settings they read."""
UNDER_A_CONDITION = {"kl", "target", *VLLM}
"""Settings of some stages that code of all stages reads where the record says that it is one of them: to count memory,
and to refuse vLLM where it is not installed."""


@cache
def tree_of(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


@cache
def imported_by(module: str) -> frozenset[str]:
    """Modules of the package of stages that a module imports, inside functions too; not those for type checkers."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(STAGES_PACKAGE):
            found.add(str(node.module))
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(tree_of(module))
    return frozenset(found)


def closure(*modules: str) -> set[str]:
    """The modules and everything of the package of stages that they import, directly or not."""
    found, open_now = set[str](), list(modules)
    while open_now:
        module = open_now.pop()
        if module not in found:
            found.add(module)
            open_now += imported_by(module)
    return found


def read_in(modules: set[str]) -> set[str]:
    """Settings read in modules: attributes of `config`, or of `....config`."""
    out: set[str] = set()
    for module in modules:
        for node in ast.walk(tree_of(module)):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value
            if (isinstance(owner, ast.Name) and owner.id == "config") or (
                isinstance(owner, ast.Attribute) and owner.attr == "config"
            ):
                out |= OF_PROPERTIES.get(node.attr, {node.attr} & set(StageConfig.model_fields))
    return out


OF_ALL = closure(f"{STAGES_PACKAGE}.prepare", f"{STAGES_PACKAGE}.run")
"""Modules that every stage goes through, whatever its recipe."""


def of_recipe(record: StageRecord) -> set[str]:
    """The modules that a stage's recipe alone brings in."""
    return closure(f"{STAGES_PACKAGE}.recipes.{record.recipe}") - OF_ALL


@pytest.mark.parametrize("record", CATALOGUE, ids=lambda record: record.name)
def test_a_stage_reads_what_its_record_says_and_nothing_else(record: StageRecord) -> None:
    assert read_in(of_recipe(record)) - {*COMMON, *TRAINING} == set(record.own_settings)
    assert record.settings <= set(StageConfig.model_fields)


def test_what_all_stages_read_is_common_or_of_trainers() -> None:
    assert len(OF_ALL) > 10, "the modules were not found"
    assert read_in(OF_ALL) - {*COMMON, *TRAINING} == UNDER_A_CONDITION
    assert {*COMMON, *TRAINING} - read_in(OF_ALL) == set(), "a common setting that nothing reads"
    assert not {*COMMON} & {*TRAINING}


def test_stages_without_a_trainer_and_with_draws_of_one_are_told_apart() -> None:
    trainers = {f"{STAGES_PACKAGE}.trainers.{name}" for name in ("supervised", "paired", "reinforced", "distilled")}
    for record in CATALOGUE:
        own = of_recipe(record)
        assert bool(own & trainers) is record.trains, record.name
        assert (f"{STAGES_PACKAGE}.trainers.vllm" in own) is record.samples, record.name


def test_every_setting_is_read_by_some_stage() -> None:
    assert {name for record in CATALOGUE for name in record.settings} == set(StageConfig.model_fields)


def test_a_setting_that_the_stage_does_not_read_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError) as caught:
        refuse_unread("sft", {"steps": 5, "loss": "orpo"})
    assert str(caught.value) == "stage sft does not read loss; stages that do: preference, online-preference"
    with pytest.raises(UsageError) as caught:
        refuse_unread("merge", ["merge", "steps", "hint_share"])
    assert str(caught.value) == (
        "stage merge does not read steps; stages that do: all others; nor hint_share; stages that do: guided-rl"
    )
    refuse_unread("preference", ["loss", "beta", "seed", "template"])


def test_an_unknown_stage_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"^there is no stage 'grpoo' \(did you mean 'grpo'\?\); stages: sft, .*merge"):
        stage_record("grpoo")
    with pytest.raises(UsageError, match=r"^there is no stage 'xyzzy'; stages: sft"):
        stage_record("xyzzy")


def test_recipes_exist_and_names_are_unique() -> None:
    assert len(STAGES) == len(CATALOGUE) == 16
    for record in CATALOGUE:
        assert callable(record.runner()), record.name
    assert readers("merge") == ("merge",)


def test_the_catalogue_is_light() -> None:
    code = (
        "import sys\nfrom posttrain_diag.stages.catalogue import CATALOGUE\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "posttrain_diag" in loaded
    assert not loaded & {"pydantic", "numpy", "pandas", "pyarrow", "torch", "transformers", "yaml", "typer", "rich"}
