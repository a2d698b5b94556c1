"""The pages against the code: commands and flags exist, generated parts are up to date, nothing is missing, the site builds."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from posttrain_probes import all_probes

from posttrain_diag.stages.catalogue import CATALOGUE

from .doc_sessions import FENCE
from .docs_pages import DOCS, PAGES, ROOT

FOREIGN = frozenset(
    {"--entrypoint-num-cpus", "--address", "--head", "--port", "--num-cpus", "--requeue", "--config_file", "--cpu"}
)
"""Flags of other programs (ray, Slurm, accelerate) that the pages name in a sentence."""
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
CALL = re.compile(r"(?:^|[\s(\"'])(?:-m posttrain_diag|diag)(?= |$)")
WORD = re.compile(r"[a-z][a-z-]*")


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def flags(generate: ModuleType) -> dict[str, set[str]]:
    """Full name of every command -> its flags; groups map to theirs."""
    found: dict[str, set[str]] = {}
    for name, command in generate.commands():
        found[name] = {
            "--help",
            "-h",
            *(flag for p in command.params for flag in [*p.opts, *p.secondary_opts] if flag.startswith("-")),
        }
    return found


def wrong_calls(page: str, flags: dict[str, set[str]]) -> list[str]:
    """What a page says of `diag` that is not so: unknown commands, and flags that the command does not have."""
    fenced = [match["body"] for match in FENCE.finditer(page)]
    spans = SPAN.findall(FENCE.sub("", page))
    every = set().union(*flags.values())
    wrong: list[str] = []
    for text in [*fenced, *spans]:
        for line in re.sub(r"\\\n[> ]*", " ", text).splitlines():
            for call in CALL.finditer(line):
                wrong += _wrong_call(line[call.end() :], flags)
    for span in spans:
        flag = re.match(r"--[\w-]+", span)
        if flag and flag[0] not in every | FOREIGN:
            wrong.append(f"no command has {flag[0]}")
    return wrong


def _wrong_call(rest: str, flags: dict[str, set[str]]) -> list[str]:
    rest = re.split(r"\s#|[|;)]|&&|\s>\s", rest)[0]
    words = re.findall(r"'[^']*'|\"[^\"]*\"|\S+", rest)
    name = "diag"
    while words and f"{name} {words[0]}" in flags:
        name = f"{name} {words.pop(0)}"
    groups = {full.rsplit(" ", 1)[0] for full in flags if " " in full}
    if name in groups and words and WORD.fullmatch(words[0]):
        return [f"there is no command {name} {words[0]}"]
    named = [re.match(r"-[-\w]*", word)[0] for word in words if re.match(r"--?[a-z]", word)]  # type: ignore[index]
    return [f"{name} has no {flag}" for flag in named if flag not in flags[name]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_flag_that_a_page_names_exists(page: Path, flags: dict[str, set[str]]) -> None:
    assert wrong_calls(page.read_text(encoding="utf-8"), flags) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```\ndiag analyze M --tasks F --rollout 3\n```\n", "diag analyze has no --rollout"),
        ("```\ndiag analyse M\n```\n", "there is no command diag analyse"),
        ("```console\n$ diag zoo lst\n```\n", "there is no command diag zoo lst"),
        ("Say `diag train RUN --lora 8`.", "diag train has no --lora"),
        ("Say `--tempreature 1`.", "no command has --tempreature"),
        (
            '```\naccelerate launch --config_file "$(diag stages --lunch fsdp2)" -m posttrain_diag train RUN\n```\n',
            "diag stages has no --lunch",
        ),
        ("```\ntorchrun -m posttrain_diag train RUN \\\n  --stagge grpo\n```\n", "diag train has no --stagge"),
    ],
)
def test_a_wrong_command_or_flag_is_seen(text: str, wrong: str, flags: dict[str, set[str]]) -> None:
    assert wrong_calls(text, flags) == [wrong]


def test_generated_parts_are_up_to_date(generate: ModuleType) -> None:
    stale = [path.name for path, text in generate.pages().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run python docs/generate.py"


def test_a_changed_card_and_a_changed_command_are_seen(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "probes.md").read_text(encoding="utf-8")
    question = all_probes()[0].card.question
    assert generate.with_cards(page.replace(question, "Is it so?")) == page
    command = dict(generate.commands())["diag compare"]
    monkeypatch.setattr(command.params[2], "help", "Something else.")
    monkeypatch.setattr(generate, "commands", lambda: iter([("diag compare", command)]))
    assert "Something else." in generate.cli_page()


def test_every_probe_and_every_stage_has_its_section() -> None:
    for page, names in (
        ("probes.md", [probe.card.name for probe in all_probes()]),
        ("stages.md", [card.name for card in CATALOGUE]),
    ):
        text = (DOCS / page).read_text(encoding="utf-8")
        for name in names:
            assert re.search(rf"^### {re.escape(name)}$", text, re.M), f"{page} has no section {name}"
            assert f"<!-- card: {name} -->" in text, f"{page} has no card of {name}"


def test_every_page_is_in_the_navigation() -> None:
    named = yaml.safe_load(re.sub(r"!!\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))["nav"]
    listed = set(_paths(named))
    assert {path.name for path in DOCS.glob("*.md")} <= listed
    assert {path for path in listed if path.startswith("benchmarks/") and not (ROOT / path).is_file()} == set()


def test_the_site_builds_strictly_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list(DOCS.glob("*.md")))
    for page in pages:
        fetched = re.findall(
            r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(https?:|//)[^>]*>|<link\b[^>]*\brel=["']?(?:stylesheet|preconnect|icon|preload)\b[^>]*\bhref=["']?(?:https?:|//)""",
            page.read_text(encoding="utf-8"),
        )
        assert fetched == [], page
    index = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("prefix ladder" in entry["text"].lower() for entry in index["docs"])


def _paths(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [path for entry in entries for path in _paths(entry)]
