"""The main job as a user runs it: a real model in its own process, killed in the middle, and every other command."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from posttrain_probes import BUILTIN

from posttrain_diag.stages.catalogue import CATALOGUE

ANALYZE = (
    "analyze",
    "zoo:base",
    "--tasks",
    "builtin:zoo/S",
    "--limit",
    "16",
    "--rollouts",
    "48",
    "--allocation",
    "uniform",
)


def start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "posttrain_diag", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def diag(*args: str) -> str:
    process = start(*args)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def stored(run: Path) -> int:
    try:
        with sqlite3.connect(f"file:{run / 'rollouts.sqlite'}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM rollouts").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def rows(run: Path) -> list[tuple[object, ...]]:
    columns = "problem_id, arm, sample_idx, seed, text, verdict"
    with sqlite3.connect(run / "rollouts.sqlite") as db:
        return db.execute(f"SELECT {columns} FROM rollouts ORDER BY {columns}").fetchall()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    (run.parent / "stdout.json").write_text(diag(*ANALYZE, "--out", str(run), "--json"))
    return run


def test_verdict_on_a_shipped_model(finished: Path) -> None:
    data = json.loads((finished.parent / "stdout.json").read_text())
    assert (data["bottleneck"], data["instrument"]["status"]) == ("reshaping", "ok")
    assert data == json.loads((finished / "diagnosis.json").read_text())
    assert data["plan"][0]["role"] == "reshaping"
    page = (finished / "report.html").read_text()
    assert data["plan"][0]["stage"] in page and len(page) < 5_000_000


def test_kill_minus_nine_loses_nothing_and_repeats_nothing(finished: Path, tmp_path: Path) -> None:
    """SIGKILL once some rollouts are stored; the same command then draws exactly the others."""
    run = tmp_path / "run"
    process = start(*ANALYZE, "--out", str(run))
    deadline = time.monotonic() + 120
    while stored(run) < 40 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {tuple(row[:5]) for row in rows(run)}
    assert 40 <= len(before) < 16 * 48, "the kill came too late to mean anything"
    diag(*ANALYZE, "--out", str(run))
    after = rows(run)
    assert before <= {tuple(row[:5]) for row in after}
    assert after == rows(finished)


def test_exact_p_lies_in_the_intervals(finished: Path) -> None:
    truth = json.loads(diag("zoo", "truth", "S", "--json"))
    exact = {row["id"]: (row["p_low"], row["p_high"]) for row in truth if row["model"] in {"base", "zoo:base"}}
    table = pd.read_parquet(finished / "problems.parquet")
    inside = [
        low <= exact[key][1] and exact[key][0] <= high
        for key, low, high in zip(table["id"], table["p_low"], table["p_high"], strict=True)
    ]
    assert sum(inside) >= 0.75 * len(inside)


def test_report_again_without_the_model(finished: Path) -> None:
    (finished / "report.html").unlink()
    diag("report", str(finished))
    assert "reshaping" in (finished / "report.html").read_text()


def test_resume_needs_only_the_run(finished: Path) -> None:
    before = rows(finished)
    assert "reshaping-limited" in diag("analyze", "--resume", "--out", str(finished), "--quiet")
    assert rows(finished) == before


def test_dry_run_keeps_nothing(tmp_path: Path) -> None:
    """zoo:base answers S with 7 to 9 tokens."""
    cost = json.loads(diag(*ANALYZE, "--out", str(tmp_path / "run"), "--dry-run", "--json"))
    assert (cost["problems"], cost["rollouts"], cost["stored"]) == (16, 768, 0)
    assert cost["most_tokens"] == 768 * cost["max_new_tokens"]
    assert 6 * 768 <= cost["tokens"] <= 10 * 768
    assert cost["pilot_rollouts"] == 64 and cost["said"].endswith("four times the longest demonstration")
    assert not (tmp_path / "run").exists()


def test_lists() -> None:
    stages = json.loads(diag("stages", "--json"))
    assert [row["name"] for row in stages] == [card.name for card in CATALOGUE]
    probes = json.loads(diag("probes", "--check", "--json"))
    assert [row["name"] for row in probes] == [probe.card.name for probe in BUILTIN]
    families = json.loads(diag("zoo", "list", "--json"))["families"]
    assert {"S", "T", "F15", "G", "R"} <= set(families)
    assert (families["S"]["model"], families["F15"]["model"]) == ("zoo:base", "zoo:frontier")
    checks = json.loads(diag("doctor", "--json"))
    assert all(check["state"] != "missing" for check in checks)
