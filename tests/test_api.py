"""The Python interface: light to import, honest to type, harmless to show."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.hostile import EVIL, LONG, comparison, diagnosis, harmless

import posttrain_diag as diag
from posttrain_diag.analysis import analyze as analyze_module
from posttrain_diag.api import ComparedRuns, Run
from posttrain_diag.errors import StoreError, UsageError
from posttrain_diag.types import Estimate, Problem

PROBLEMS = [Problem(f"p{i}", f"q{i}", None, "1", {"type": "exact"}) for i in range(12)]


def law(prompt: str) -> dict[str, float]:
    return {"1": 0.4, "2": 0.6}


@pytest.fixture
def made(run_analysis: Callable[..., Any], tmp_path: Path) -> Path:
    run_analysis(law, PROBLEMS, rollouts=24)
    return tmp_path / "run"


def test_importing_the_package_loads_nothing_heavy_and_shadows_no_module() -> None:
    code = (
        "import sys, posttrain_diag as diag\n"
        "assert not {'numpy', 'pandas', 'torch', 'pydantic', 'jinja2', 'typer'} & set(sys.modules)\n"
        "assert diag.evaluate.__module__ == 'posttrain_diag.api' and 'open_run' in dir(diag)\n"
        "assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)\n"
        "from posttrain_diag.analysis.analyze import analyze\n"
        "import posttrain_diag.analysis.analyze, posttrain_diag.compare, posttrain_diag.diagnose\n"
        "assert posttrain_diag.analysis.analyze.analyze is analyze and diag.evaluate is not analyze\n"
        "assert diag.__version__\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = diag.nothing  # type: ignore[attr-defined]


def test_a_run_says_what_its_files_say(made: Path) -> None:
    run = diag.open_run(made)
    assert run.verdict == run.data["bottleneck"] and 0 < run.confidence <= 1
    assert run.instrument in ("ok", "suspect", "broken")
    found = run.estimates["pass@1"]
    assert isinstance(found, Estimate) and found.low is not None and found.value is not None and found.low < found.value
    assert set(run.problems["id"]) == {p.id for p in PROBLEMS} and run.shares["mastered"].value is not None
    assert [p["stage"] for p in run.plan] == [p["stage"] for p in run.data["plan"]]
    assert run.report == made / "report.html"
    assert "\n" not in repr(run) and repr(run).startswith(f"Run('{made}': {run.verdict}, confidence")
    assert sum(run.alternatives.values()) <= 1 and isinstance(run.findings, list)
    (entry,) = diag.list_runs(made.parent)
    assert entry.path == Path("run") and entry.verdict == run.verdict


def test_evaluate_runs_an_analysis(
    run_analysis: Callable[..., Any], made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from fake_engine import FakeEngine

    monkeypatch.setattr(analyze_module, "load_engine", lambda config: FakeEngine(law))
    run = diag.evaluate("fake", tmp_path / "tasks.jsonl", out=tmp_path / "other", rollouts=24, allocation="uniform")
    assert run.data["estimates"] == diag.open_run(made).data["estimates"]
    assert "diag analyze fake --tasks" in (tmp_path / "other" / "events.jsonl").read_text()
    with pytest.raises(UsageError, match="--rollouts"):
        diag.evaluate("fake", tmp_path / "tasks.jsonl", out=tmp_path / "third", rollouts=0)
    found = diag.open_run(made).compare(run)
    assert isinstance(found, ComparedRuns) and found.role == found.data["role"] and len(found.problems) == 12
    assert "\n" not in repr(found) and found.role in found._repr_html_()


def test_what_is_no_finished_run_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        diag.open_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StoreError, match=r"diagnosis\.json"):
        diag.open_run(tmp_path)
    (tmp_path / "diagnosis.json").write_text("{}")
    with pytest.raises(StoreError, match="lacks"):
        diag.open_run(tmp_path)
    with pytest.raises(StoreError, match=r"problems\.parquet"):
        _ = Run(tmp_path, diagnosis()).problems


@pytest.mark.parametrize("text", ["plain", EVIL, LONG], ids=["plain", "evil", "long"])
def test_cards_are_small_and_harmless(text: str) -> None:
    run = Run(Path(text[:1000].replace("\x00", "")), diagnosis(text))
    from posttrain_reports.card import comparison_card

    for card in (run._repr_html_(), comparison_card(comparison(text))):
        harmless(card)
        assert len(card.encode()) < 50_000
        assert not any(bad in card for bad in ("<script", "<img", "<a ", "src=", "href="))
        assert not re.search(r"\son\w+=", card)
        card.encode()
    assert len(repr(run)) < 1000 and repr(run).isprintable()


def test_a_card_holds_verdict_numbers_and_actions() -> None:
    card = Run(Path("runs/x"), diagnosis("m"))._repr_html_()
    for said in (
        "Reshaping",
        "93.0%",
        "50.0%",
        "[40.0, 60.0]",
        "+30.0 points [+20.0, +40.0] (model-dependent)",
        "Mastered 30.0%",
        "needs m",
    ):
        assert said in card, said
    assert "color:inherit" in card and "<style" not in card
