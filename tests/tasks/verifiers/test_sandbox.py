"""What holds a program that a model wrote."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

import pytest

from posttrain_diag.tasks.verifiers.sandbox import isolation, run_program

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the sandbox needs POSIX")


def test_endless_loops_are_stopped_with_all_their_children(tmp_path: Path):
    start = time.monotonic()
    run = run_program("import subprocess\nsubprocess.Popen(['sleep', '300'])\nwhile True: pass", timeout_s=1.0)
    assert not run.passed
    assert "timed out" in run.detail or "killed" in run.detail
    assert time.monotonic() - start < 8


def test_memory_is_limited():
    run = run_program("x = bytearray(8 << 30)", timeout_s=10)
    assert not run.passed
    assert "MemoryError" in run.detail


def test_failures_say_why():
    assert run_program("raise ValueError('boom')").detail == "ValueError: boom"
    assert "SyntaxError" in run_program("def (").detail
    assert run_program("pass").passed


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert run_program("import os\nassert 'SECRET_TOKEN' not in os.environ").passed


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Landlock is Linux")
def test_nothing_outside_the_scratch_directory_can_be_written(tmp_path: Path):
    victim = tmp_path / "precious.txt"
    victim.write_text("keep me")
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:
        pytest.skip("this kernel has no Landlock")
    run = run_program(f"import os\nopen('here.txt', 'w').write('x')\nos.remove({str(victim)!r})")
    assert "PermissionError" in run.detail
    assert victim.read_text() == "keep me"


@pytest.mark.skipif(not isolation(), reason="this system does not allow unshare")
def test_no_network():
    code = (
        "import socket\ntry:\n    socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError as e:\n    n = e.errno"
    )
    assert run_program(f"{code}\nimport errno\nassert n == errno.ENETUNREACH, n").passed
