"""A whole analysis over a server: what it cannot serve is in the notes, and nothing finished is drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")

from fake_engine import make_problems

from benchmarks.openai_server import Server
from posttrain_diag.analysis.analyze import Analysis, analyze
from posttrain_diag.engines.openai import engine as openai_api
from posttrain_diag.engines.openai.http import Patience
from posttrain_diag.errors import EngineError, UsageError
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.tasks import write_tasks


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(openai_api, "Patience", lambda: Patience(tries=2, first_s=0.01))
    made = Server()
    made.counting = True
    yield made
    made.close()


def run(server: Server, tmp_path: Path, **settings: Any) -> Analysis:
    tasks = tmp_path / "tasks.jsonl"
    write_tasks(make_problems(6, lambda i: "yes"), tasks)
    values = {"engine": "openai", "base_url": server.url, "allocation": "uniform", "rollouts": 32} | settings
    return analyze(make_config(model="m", tasks=str(tasks), out=tmp_path / "run", **values))


def drawn(server: Server) -> int:
    return sum(body["n"] for body in server.bodies if body["max_tokens"] == 8)


@pytest.mark.parametrize("logprobs", [True, False])
def test_an_analysis_without_tokenizer(server: Server, tmp_path: Path, logprobs: bool) -> None:
    server.features["logprobs"] = logprobs
    found = run(server, tmp_path, max_new_tokens=8)
    assert not found.diagnosis.failures
    assert abs(found.diagnosis.estimates["pass@1"].value - 0.7) < 0.1
    rows = found.evidence.rollouts
    assert len(rows) == 6 * 32 and rows["logprob"].isna().all() != logprobs
    if "n_tokens" in rows:
        assert (rows["n_tokens"] > 0).all()
    notes = found.json["notes"]
    assert [note.partition(":")[0] for note in notes] == ["likelihood", "prefix_ladder", "deep_support", "format"]
    assert all(note.count("--tokenizer") == 1 for note in notes)
    assert "cannot serve it" in (tmp_path / "run" / "report.html").read_text()
    assert all(stage.cost.flops is None for stage in found.plan.proposals)


def test_the_same_command_goes_on_after_a_failure_and_draws_nothing_twice(server: Server, tmp_path: Path) -> None:
    server.faults = dict.fromkeys(range(11, 60), 500)
    with pytest.raises(EngineError, match="the same command goes on"):
        run(server, tmp_path, max_new_tokens=8, concurrency=1)
    server.faults = {}
    server.bodies.clear()
    run(server, tmp_path, max_new_tokens=8)
    left = drawn(server)
    assert 0 < left < 6 * 32
    server.bodies.clear()
    run(server, tmp_path, max_new_tokens=8)
    assert drawn(server) == 0


@pytest.mark.parametrize("logprobs", [True, False])
def test_the_cap_comes_from_what_the_server_says_of_its_draws(server: Server, tmp_path: Path, logprobs: bool) -> None:
    server.features |= {"context": 4096, "logprobs": logprobs}
    found = run(server, tmp_path)
    assert found.evidence.settings.sampling.max_new_tokens == 32
    assert found.json["notes"][0].startswith("token cap 32: 16 of 16 pilot draws ended, 95% of them within 4 tokens")
    assert found.evidence.table("pilot")["drawn"].sum() == 16


@pytest.mark.parametrize(
    "features",
    [{"context": 64}, {"context": 4096, "logprobs": False, "usage": False, "extras": False}],
    ids=["no room", "no counts"],
)
def test_where_nothing_tells_the_cap_must_be_given(server: Server, tmp_path: Path, features: dict[str, Any]) -> None:
    server.features |= features
    with pytest.raises(UsageError, match=r"cannot count the references' tokens.*give --max-new-tokens"):
        run(server, tmp_path)


def test_the_cut_draws_of_a_server_are_not_drawn_longer_into_the_unknown(server: Server, tmp_path: Path) -> None:
    found = run(server, tmp_path, max_new_tokens=2, rollouts=16)
    assert any("no longer draws" in note for note in found.json["notes"])
    kinds = {finding.kind for finding in found.diagnosis.instrument.findings}
    assert "truncation" in kinds and "no_eos" not in kinds
