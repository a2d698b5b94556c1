"""Bad input is one line on stderr with the next step, and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain_diag.cli.app import error_text
from posttrain_diag.errors import TaskError

GOOD = '{"prompt": "S:abcde=", "answer": "x"}\n'


def diag(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DIAG_DEBUG": ""}
    return subprocess.run(
        [sys.executable, "-m", "posttrain_diag", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr
    last = [line for line in result.stderr.splitlines() if line.startswith("diag: ")]
    assert len(last) == 1, result.stderr
    for word in words:
        assert word in result.stderr, (word, result.stderr)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text(GOOD)
    return path


def test_missing_model(tasks: Path, tmp_path: Path) -> None:
    refused(diag("analyze", str(tmp_path / "nowhere"), "--tasks", str(tasks), cwd=tmp_path), "nowhere")
    assert not (tmp_path / "runs").exists()


def test_unknown_zoo_model(tasks: Path, tmp_path: Path) -> None:
    refused(diag("analyze", "zoo:dragon", "--tasks", str(tasks), cwd=tmp_path), "zoo:dragon", "zoo:base")


def test_missing_tokenizer(tasks: Path, tmp_path: Path) -> None:
    import shutil

    from posttrain_diag.zoo import resolve_model

    model = tmp_path / "model"
    shutil.copytree(resolve_model("zoo:base"), model)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    refused(diag("analyze", str(model), "--tasks", str(tasks), cwd=tmp_path), "tokenizer")


def test_nan_logits(tasks: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from posttrain_diag.zoo import resolve_model

    model = tmp_path / "model"
    shutil.copytree(resolve_model("zoo:base"), model)
    weights = load_file(model / "model.safetensors")
    save_file({k: v * float("nan") for k, v in weights.items()}, model / "model.safetensors", {"format": "pt"})
    refused(diag("analyze", str(model), "--tasks", str(tasks), cwd=tmp_path), "NaN")


def test_prompt_longer_than_the_context(tmp_path: Path) -> None:
    tasks = tmp_path / "long.jsonl"
    tasks.write_text(json.dumps({"prompt": "S:" + "abcdefghij" * 10 + "=", "answer": "x"}) + "\n")
    refused(diag("analyze", "zoo:base", "--tasks", str(tasks), cwd=tmp_path), "context")


def test_cap_beyond_the_context(tasks: Path, tmp_path: Path) -> None:
    result = diag("analyze", "zoo:base", "--tasks", str(tasks), "--max-new-tokens", "500", cwd=tmp_path)
    refused(result, "--max-new-tokens")


def test_empty_tasks(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    refused(diag("tasks", "check", str(tmp_path / "empty.jsonl")), "empty")


def test_unknown_verifier(tmp_path: Path) -> None:
    row = {"prompt": "a", "answer": "b", "verifier": {"type": "telepathy"}}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    refused(
        diag("analyze", "zoo:base", "--tasks", str(tmp_path / "t.jsonl"), cwd=tmp_path), "telepathy", "exact", "line 1"
    )


def test_every_bad_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(GOOD + "{not json\n" + '{"prompt": "b"}\n')
    refused(diag("tasks", "check", str(tmp_path / "t.jsonl")), "line 2", "line 3")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--rollouts", "0"], "--rollouts"),
        (["--temperature", "-1"], "--temperature"),
        (["--effort", "heroic"], "--effort"),
        (["--map", "prompt"], "FIELD=COLUMN"),
        (["--engine", "abacus"], "--engine"),
        (["--base-url", "http://x"], "--base-url: the engine hf does not read it; engines that do: openai"),
        (
            ["--engine", "vllm", "--device", "cpu"],
            "--device: the engine vllm does not read it; engines that do: hf, ray",
        ),
    ],
)
def test_bad_flag_values(flags: list[str], word: str, tasks: Path, tmp_path: Path) -> None:
    refused(diag("analyze", "zoo:base", "--tasks", str(tasks), *flags, cwd=tmp_path), word)


def test_no_model_says_how(tmp_path: Path) -> None:
    refused(diag("analyze", cwd=tmp_path), "MODEL", "diag analyze zoo:base")


def test_resume_without_a_run(tmp_path: Path) -> None:
    refused(diag("analyze", "--resume", "--out", str(tmp_path / "x")), "config.yaml")


def test_report_of_no_run(tmp_path: Path) -> None:
    refused(diag("report", str(tmp_path)), "not a run directory")


def test_terminal_escapes_in_a_tasks_file_do_not_reach_the_terminal() -> None:
    text = error_text(TaskError("bad \x1b[2J file", ((3, "prompt", "got \x1b]0;owned\x07"),)))
    assert "\x1b" not in text and "\x07" not in text and text.count("\n") == 2


def test_the_command_line_needs_no_torch_until_a_model_is_loaded() -> None:
    code = "import sys, posttrain_diag.cli.app; sys.exit(bool({'torch', 'transformers', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "analyze" in diag("--help").stdout
