"""Run a program a model wrote, in a process that can do little harm, and say whether it ran to its end.

What holds it: CPU, memory, file-size and wall-clock limits; a scratch directory that is removed; an empty environment;
no network and its own process tree where the system allows `unshare`; no writing outside the scratch directory where
the kernel has Landlock (Linux 5.13+). This bounds accidents and ordinary mischief. It is no defence against an
attacker: run tasks whose code you would not run yourself in a container.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

MEMORY_MB = 2048
_MAX_OUTPUT = 2000
_UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--")

# Runs inside the sandbox. It reads a secret and the program from stdin, gives up its rights, runs the program and
# writes the secret: a program that exits early, however cleanly, has not passed.
_DRIVER = r"""
import os, resource, sys
work, cpu_s, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = sys.stdin.buffer.read()
secret, _, program = data.partition(b"\n")
out = os.dup(1)
null = os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
for limit, value in (
    (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, 1 << 24), (resource.RLIMIT_NOFILE, 64),
):
    resource.setrlimit(limit, (value, value))
import ctypes
libc = ctypes.CDLL(None)
# Landlock: handle every kind of writing (ABI 1), then allow it below the scratch directory only.
WRITES = 0x1FF2
handled = (ctypes.c_uint64 * 1)(WRITES)
ruleset = libc.syscall(444, handled, ctypes.c_size_t(8), 0)
if ruleset >= 0:
    class PathBeneath(ctypes.Structure):
        _pack_ = 1
        _fields_ = [("allowed", ctypes.c_uint64), ("fd", ctypes.c_int32)]
    rule = PathBeneath(WRITES, os.open(work, os.O_PATH))
    libc.prctl(38, 1, 0, 0, 0)
    if libc.syscall(445, ruleset, 1, ctypes.byref(rule), 0) == 0:
        libc.syscall(446, ruleset, 0)
    os.close(ruleset)
    os.close(rule.fd)
import random
random.seed(0)
def run(secret, program):
    try:
        exec(compile(program, "completion.py", "exec"), {"__name__": "__completion__"})
    except BaseException as error:
        os.write(out, (type(error).__name__ + ": " + str(error)[:500]).encode("utf-8", "replace"))
        os._exit(1)
    os.write(out, secret)
    os._exit(0)
arguments = [secret, program]
del data, secret, program
run(arguments.pop(0), arguments.pop())
"""


@dataclass(frozen=True)
class ProgramRun:
    """How a program ended: whether it passed, and if not, why."""

    passed: bool
    detail: str
    """Why it did not pass: the exception, "timed out after 10 s", "killed by signal 9", ...; empty when it did."""
    error: str | None = None
    """Why it could not be run at all; then `passed` means nothing."""


def run_program(program: str, *, timeout_s: float = 10.0, memory_mb: int = MEMORY_MB) -> ProgramRun:
    """Run Python source to its end in the sandbox.

    Args:
        program: source text; passing means that its last statement was reached and nothing was raised.
        timeout_s: wall-clock limit, seconds; the CPU limit is the same, rounded up.
        memory_mb: limit on the address space, MiB.
    """
    if os.name != "posix":
        return ProgramRun(
            False, "", error="running code needs a POSIX system (rlimits, process groups); use Linux or macOS"
        )
    secret = secrets.token_hex(16).encode()
    payload = secret + b"\n" + program.encode("utf-8", "surrogatepass")
    with (
        tempfile.TemporaryDirectory(prefix="diag-code-", ignore_cleanup_errors=True) as work,
        tempfile.TemporaryFile() as source,
        tempfile.TemporaryFile() as output,
    ):
        source.write(payload)
        source.seek(0)
        limits = (work, str(int(timeout_s) + 1), str(memory_mb << 20))
        command = [*isolation(), sys.executable, "-s", "-P", "-B", "-c", _DRIVER, *limits]
        try:
            code = _wait(command, work, source, output, timeout_s)
        except OSError as error:
            return ProgramRun(False, "", error=f"the sandbox did not start: {error}")
        output.seek(0)
        said = output.read(_MAX_OUTPUT)
    if code is None:
        return ProgramRun(False, f"timed out after {timeout_s:g} s")
    if said == secret and code == 0:
        return ProgramRun(True, "")
    if said and said != secret:
        return ProgramRun(False, said.decode("utf-8", "replace"))
    return ProgramRun(
        False, f"killed by signal {-code}" if code < 0 else f"ended before its tests did (exit code {code})"
    )


@lru_cache(maxsize=1)
def isolation() -> tuple[str, ...]:
    """The command that takes away the network and the view of other processes; empty where the system forbids it."""
    try:
        done = subprocess.run([*_UNSHARE, sys.executable, "-S", "-c", ""], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return _UNSHARE if done.returncode == 0 else ()


def _wait(command: list[str], work: str, source: IO[bytes], output: IO[bytes], timeout_s: float) -> int | None:
    """The exit code, or None when time ran out. The whole process group is dead when this returns."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": work, "TMPDIR": work, "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
    with subprocess.Popen(
        command,
        stdin=source,
        stdout=output,
        stderr=subprocess.DEVNULL,
        cwd=work,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            return process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill_group(process.pid)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
