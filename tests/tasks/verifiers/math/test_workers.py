"""What no reader here knows is judged by math-verify in worker processes, which must not hang, leak or mix up answers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from posttrain_diag.tasks.verifiers.math import workers
from posttrain_diag.tasks.verifiers.math.compare import Sameness

HANGS = r"\sum_{k=1}^{10^{12}} \sin(k^2)"
FILLS = "9^{9^{9^9}}"


@pytest.fixture
def pool() -> Iterator[workers.Pool]:
    pool = workers.Pool()
    yield pool
    pool.close()


def pids(pool: workers.Pool) -> list[int]:
    return [worker.process.pid for worker in pool.idle]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        (r"\int_0^1 x dx", r"\frac{1}{2}", True),
        (r"\int_0^1 x dx", r"\frac{1}{3}", False),
        ("55", r"\sum_{k=1}^{10} k", True),
        ("1", r"\lim_{x\to 0} \frac{\sin x}{x}", True),
        ("120", r"\prod_{k=1}^{5} k", True),
    ],
)
def test_math_verify_judges_what_is_not_known_here(gold: str, answer: str, same: bool):
    assert workers.decide(gold, answer).same is same


def test_a_formula_that_nobody_knows_is_no_verdict():
    found = workers.decide("1", r"\foo{x}")
    assert found.same is None
    assert "no reader knows the answer" in found.why


def test_a_worker_is_used_again_and_starts_with_the_first_formula(pool: workers.Pool):
    assert pids(pool) == []
    pool.decide("1", r"\prod_{k=1}^{1} k")
    first = pids(pool)
    pool.decide("2", r"\prod_{k=1}^{2} k")
    assert len(first) == 1
    assert pids(pool) == first


@pytest.mark.parametrize("hostile", [HANGS, FILLS])
def test_a_worker_that_overruns_is_ended_and_replaced(
    pool: workers.Pool, hostile: str, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as limit:
        limit.setattr(workers, "LIMIT_S", 1.0)
        pool.decide("1", r"\prod_{k=1}^{1} k")
        (first,) = pids(pool)
        found = pool.decide("1", hostile)
    assert found.same is None
    assert "1 s" in found.why
    assert pids(pool) == []
    assert not is_alive(first)
    assert pool.decide("6", r"\prod_{k=1}^{3} k") == Sameness(True)


def test_a_worker_that_does_not_answer_is_killed(pool: workers.Pool, monkeypatch: pytest.MonkeyPatch):
    pool.decide("1", r"\prod_{k=1}^{1} k")
    (first,) = pids(pool)
    os.kill(first, signal.SIGSTOP)
    monkeypatch.setattr(workers, "WALL_S", 1.0)
    assert pool.decide("1", r"\prod_{k=1}^{2} k").same is None
    assert pids(pool) == []
    assert not is_alive(first)


def test_a_worker_that_was_killed_while_it_waited_is_replaced(pool: workers.Pool):
    pool.decide("1", r"\prod_{k=1}^{1} k")
    (first,) = pids(pool)
    os.kill(first, signal.SIGKILL)
    pool.idle[0].process.wait()
    assert pool.decide("6", r"\prod_{k=1}^{3} k") == Sameness(True)
    assert pids(pool) != [first]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process are told on Linux only")
def test_memory_is_bounded(pool: workers.Pool):
    pool.decide("1", r"\prod_{k=1}^{1} k")
    (worker,) = pids(pool)
    assert resource.prlimit(worker, resource.RLIMIT_AS) == (workers.MEMORY_BYTES, workers.MEMORY_BYTES)


def test_threads_do_not_mix_up_their_answers(pool: workers.Pool):
    found: dict[int, bool | None] = {}

    def ask(n: int) -> None:
        right = n * (n + 1) // 2 + n % 2
        found[n] = pool.decide(str(right), rf"\sum_{{k=1}}^{{{n}}} k").same

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: n % 2 == 0 for n in range(12)}
    assert len(pool.idle) <= workers.MAX_WORKERS


def test_a_forked_child_leaves_the_workers_of_its_parent_alone():
    workers.decide("1", r"\prod_{k=1}^{1} k")
    before = pids(workers.POOL)
    child = os.fork()
    if child == 0:
        right = not workers.POOL.idle and workers.decide("24", r"\prod_{k=1}^{4} k").same is True
        workers.POOL.close()
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert pids(workers.POOL) == before
    assert workers.decide("720", r"\prod_{k=1}^{6} k").same is True


PROGRAM = r"""
import sys
from posttrain_diag.tasks.verifiers.math import workers
workers.LIMIT_S = 2.0
assert workers.decide("6", r"\prod_{k=1}^{3} k").same
print(workers.POOL.idle[0].process.pid, flush=True)
if sys.argv[1:] == ["wait"]:
    sys.stdin.read()
if sys.argv[1:] == ["hang"]:
    workers.decide("1", r"\sum_{k=1}^{10^{12}} \sin(k^2)")
"""


def test_nothing_is_left_when_the_process_ends():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stderr == ""
    assert not is_alive(int(done.stdout))


@pytest.mark.parametrize("meanwhile", ["wait", "hang"])
def test_nothing_is_left_when_the_process_is_killed(meanwhile: str):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, meanwhile], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        time.sleep(0.5)  # a request is under way
        process.kill()
    for _ in range(1200):
        if not is_alive(worker):
            break
        time.sleep(0.05)
    assert not is_alive(worker)


def test_the_memory_of_the_process_that_starts_a_worker_is_not_the_workers():
    """A process that holds a model is large; its workers are not, and go on judging."""
    code = (
        "from posttrain_diag.tasks.verifiers.math import workers\n"
        "held = bytearray(b'x' * (700 << 20))\n"
        "print(workers.decide(r'\\int_0^1 x dx', r'\\frac{1}{3}').same, len(held))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.split() == ["False", str(700 << 20)]
