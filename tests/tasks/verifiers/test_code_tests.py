from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

import pytest

from posttrain_diag.tasks import verify
from posttrain_diag.tasks.verifiers.sandbox import isolation, run_program
from tasks.conftest import problem

PROMPT = 'def double(x):\n    """Twice x."""\n'
HUMANEVAL = {
    "type": "python",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
    "entry_point": "double",
}
MBPP = {"type": "python", "test": "assert double(2) == 4\nassert double(-1) == -2"}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the sandbox needs POSIX")


@pytest.mark.parametrize(
    ("completion", "strict", "lenient"),
    [
        ("    return 2 * x\n", True, True),
        ("    return x\n", False, False),
        ("", False, False),
        ("```python\ndef double(x):\n    return 2 * x\n```\nDone.", False, True),
        ("Sure!\n```python\ndef double(x):\n    return x + x\n```", False, True),
        ("```python\ndef double(x):\n    return x\n```", False, False),
        ("    return 2 * x\n\nThis doubles the number.", False, True),
        ("return 2 * x", False, True),
        ("def double(x):\n    return 2 * x\n", True, True),
        ("    import sys; sys.exit(0)\n", False, False),
        ("    import os; os._exit(0)\n", False, False),
        ("\x00", False, False),
        ("    return '\ud800'\n", False, False),
    ],
)
def test_humaneval(completion: str, strict: bool, lenient: bool):
    judgement = verify(completion, problem(HUMANEVAL, prompt=PROMPT))
    assert judgement.error is None
    assert (judgement.strict, judgement.lenient) == (strict, lenient)


@pytest.mark.parametrize(
    ("completion", "strict", "lenient"),
    [
        ("def double(x):\r\n\treturn 2 * x", True, True),
        ("```python\ndef double(x):\n    return 2 * x\n```", False, True),
        ("def triple(x):\n    return 3 * x", False, False),
    ],
)
def test_mbpp(completion: str, strict: bool, lenient: bool):
    judgement = verify(completion, problem(MBPP))
    assert (judgement.strict, judgement.lenient) == (strict, lenient)


def test_setup_comes_before_the_completion():
    spec = {**HUMANEVAL, "setup": "TWO = 2\n"}
    assert verify("def double(x):\n    return TWO * x\n", problem(spec, prompt="Write double.")).strict


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
