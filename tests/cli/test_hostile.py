"""Hostile tasks, model and run directory names through the commands themselves, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .hostile import EVIL, LONG, diagnosis, harmless

NAME = "run\x1b[2J\u202e[bold red]x[link=y]\x9b31m" + os.fsdecode(b"\xff")


def diag(*args: str | Path, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DIAG_DEBUG": "", "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "posttrain_diag", *map(os.fsencode, map(str, args))]
    return subprocess.run(command, capture_output=True, env=environment, check=False)


def shown(done: subprocess.CompletedProcess[bytes], code: int, encoding: str = "utf-8") -> str:
    text = (done.stdout + done.stderr).decode(encoding)  # what is no text in its encoding fails here
    assert done.returncode == code, text
    assert "Traceback" not in text
    harmless(text)
    assert "injected" not in [line.strip() for line in text.splitlines()]
    return text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_hostile_tasks_file(tmp_path: Path, encoding: str) -> None:
    row = {"id": EVIL, "prompt": EVIL, "answer": EVIL, "demos": [EVIL], "verifier": {"type": "exact"}}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "id": "2", "prompt": LONG}) + "\n")
    text = shown(diag("tasks", "check", tmp_path / "t.jsonl", encoding=encoding), 0, encoding)
    assert "[link=http://evil]" in text and len(text) < 50_000
    bad = {**row, "verifier": {"type": EVIL}}
    (tmp_path / "bad.jsonl").write_text(json.dumps(bad) + "\n")
    text = shown(diag("tasks", "check", tmp_path / "bad.jsonl", encoding=encoding), 2, encoding)
    assert text.startswith("diag: ")


def test_a_hostile_model_directory(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / "t.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    shown(diag("analyze", tmp_path / NAME, "--tasks", tmp_path / "t.jsonl", "--out", tmp_path / "out"), 2)


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("utf-8", marks=pytest.mark.slow)])
def test_a_hostile_run_directory(tmp_path: Path, encoding: str) -> None:
    """From counts to recommend, report and compare: a run whose name attacks whoever prints it."""
    (tmp_path / "c.csv").write_text("problem_id,n,c\n" + "".join(f"p{i}\x1b[2J,64,{i % 9}\n" for i in range(20)))
    run = tmp_path / NAME
    shown(diag("import", "counts", tmp_path / "c.csv", "--out", run, encoding=encoding), 0, encoding)
    shown(diag("report", run, encoding=encoding), 0, encoding)
    shown(diag("recommend", run, encoding=encoding), 0, encoding)
    shown(diag("compare", run, run, "--out", tmp_path / "cmp", encoding=encoding), 0, encoding)
    shown(diag("export", run, "--to", "prompts", encoding=encoding), 2, encoding)
    found = json.loads(diag("view", tmp_path, "--json", encoding=encoding).stdout)
    assert {entry["state"] for entry in found} == {"finished"}


def test_quiet_and_json_leave_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("problem_id,n,c\n" + "".join(f"p{i},64,{i % 9}\n" for i in range(20)))
    done = diag("import", "counts", tmp_path / "c.csv", "--out", tmp_path / "run", "--quiet", "--json")
    assert done.returncode == 0 and done.stderr == b"" and json.loads(done.stdout)["bottleneck"]
    done = diag("report", tmp_path / "run", "--json")
    assert json.loads(done.stdout) == {"report": str(tmp_path / "run" / "report.html")}
    assert json.loads(diag("recommend", tmp_path / "run", "--json", "--quiet").stdout)["plan"]


def test_a_run_whose_files_attack(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"model": EVIL, "tasks": EVIL}))
    (run / "diagnosis.json").write_text(json.dumps(diagnosis(EVIL)))
    found = diag("view", tmp_path, "--json")
    assert json.loads(found.stdout)[0]["model"] == EVIL and found.stdout.isascii()
    text = shown(diag("recommend", run), 2)
    assert text.startswith("diag: ")
