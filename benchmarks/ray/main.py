"""The ray engine: a cluster on loopback that loses a node, gains one and loses its driver; and what one driver can take.

    python -m benchmarks ray [--part=cluster|driver]

`cluster` runs `diag analyze` on two Ray nodes of this machine, kills one with SIGKILL midway, lets another join, kills
the driver with SIGKILL, runs the same command again, and compares with an undisturbed run of the hf engine. `driver`
is in one_driver.py. Needs the extra `ray`. Each part keeps the other's last figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil

from benchmarks import machine
from benchmarks.ray import one_driver

BY_NAME_ONLY = "needs the extra ray"

COMMAND = ["zoo:base", "--tasks", "builtin:zoo/N", "--rollouts", "96", "--allocation", "uniform", "--seed", "7"]
COMMAND += ["--batch-rows", "2"]  # slow enough that there is a midway
DRAWS = 9600
KILL_NODE, JOIN_NODE, KILL_DRIVER = 0.15, 0.25, 0.5
"""Shares of the main arm in the store at which things happen."""
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "OMP_NUM_THREADS": "1"}
IGNORED = {"created", "time_s", "engine", "notices", "device", "wall_s", "command", "path"}


def kill_tree(process: subprocess.Popen[bytes]) -> int:
    """SIGKILL a process and all its children; returns how many there were."""
    try:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    process.wait()
    return len(tree)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nodes:
    """Ray nodes of this machine, each its own raylet with one CPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a node; the first is the head."""
        head = ["--head", "--port", self.address.rpartition(":")[2], "--include-dashboard", "false"]
        where = [*head, "--temp-dir", str(self.folder)] if not self.running else ["--address", self.address]
        ray = str(Path(sys.executable).with_name("ray"))
        command = [ray, "start", *where, "--num-cpus", "1", "--object-store-memory", "100000000", "--block"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command, env=os.environ, stdout=log, stderr=log, start_new_session=True
            )

    def wait_for(self, count: int) -> None:
        """Until so many nodes are up."""
        code = (
            f"import ray; ray.init('{self.address}', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
        )
        for _ in range(30):
            done = subprocess.run(
                [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False
            )
            if done.stdout.strip() == str(count):
                return
            time.sleep(1)
        raise SystemExit(f"the cluster did not reach {count} nodes:\n{done.stderr}")

    def samples(self, name: str) -> bool:
        """Does a worker of this node draw just now?"""
        found = psutil.Process(self.running[name].pid).children(recursive=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            return any("Worker.sample" in " ".join(one.cmdline()) for one in found)
        return False


@contextlib.contextmanager
def nodes(folder: Path) -> Generator[Nodes]:
    made = Nodes(folder)
    try:
        yield made
    finally:
        for process in reversed(list(made.running.values())):
            kill_tree(process)


def analyze(out: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "posttrain_diag",
        "analyze",
        *COMMAND,
        "--out",
        str(out),
        "--json",
        "--quiet",
        *flags,
    ]
    with out.with_suffix(".json").open("wb") as stdout, out.with_suffix(".err").open("ab") as stderr:
        return subprocess.Popen(command, env=os.environ, stdout=stdout, stderr=stderr, start_new_session=True)


def rows(out: Path) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Identity -> what was drawn and judged."""
    with contextlib.closing(sqlite3.connect(out / "rollouts.sqlite")) as db:
        found = db.execute(
            "SELECT model_sha, prompt_sha, sampling_sha, sample_idx, seed, text, token_ids, finish_reason, verdict "
            "FROM rollouts"
        ).fetchall()
    return {row[:4]: row[4:] for row in found}


def stored(out: Path) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{out / 'rollouts.sqlite'}?mode=ro", uri=True, timeout=5)) as db:
            return int(db.execute("SELECT COUNT(*) FROM rollouts").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def wait_until(out: Path, share: float, process: subprocess.Popen[bytes]) -> int:
    """Until that share of the main arm is stored; returns the count."""
    while (count := stored(out)) < share * DRAWS:
        if process.poll() is not None:
            raise SystemExit(f"diag analyze ended early:\n{out.with_suffix('.err').read_text()}")
        time.sleep(0.1)
    return count


def differences(left: Any, right: Any, where: str = "") -> Generator[tuple[str, float]]:
    """(place, relative difference) of two JSON values; anything but close numbers counts as infinity."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in left.keys() | right.keys():
            if key not in IGNORED:
                yield from differences(left.get(key), right.get(key), f"{where}.{key}")
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            yield from differences(a, b, f"{where}[{index}]")
    elif isinstance(left, float) and isinstance(right, float):
        if left != right:
            yield where, abs(left - right) / max(abs(left), abs(right))
    elif left != right:
        yield where, float("inf")


def cluster(work: Path) -> dict[str, Any]:
    """The run that loses a node and its driver, beside the undisturbed one."""
    began = time.monotonic()
    log: list[str] = []

    def say(text: str) -> None:
        log.append(f"{time.monotonic() - began:.0f} s: {text}")
        print(log[-1], flush=True)

    undisturbed, out = work / "hf", work / "ray"
    if analyze(undisturbed).wait() != 0:
        raise SystemExit(undisturbed.with_suffix(".err").read_text())
    say(f"undisturbed hf run finished, {stored(undisturbed)} rollouts")
    with nodes(work) as made:
        made.start("head")
        made.wait_for(1)
        made.start("second")
        made.wait_for(2)
        say("two nodes up")
        flags = ("--engine", "ray", "--ray-address", made.address)
        driver = analyze(out, *flags)
        wait_until(out, 0.01, driver)
        while not made.samples("second"):
            time.sleep(0.1)
        count = wait_until(out, KILL_NODE, driver)
        say(f"second node killed: SIGKILL to its {kill_tree(made.running['second'])} processes at {count} rollouts")
        count = wait_until(out, JOIN_NODE, driver)
        made.start("third")
        say(f"third node started at {count} rollouts")
        while not made.samples("third"):
            wait_until(out, 0, driver)
            time.sleep(0.2)
        say(f"third node draws, at {stored(out)} rollouts")
        wait_until(out, KILL_DRIVER, driver)
        kill_tree(driver)
        before = rows(out)
        say(f"driver killed: SIGKILL at {len(before)} rollouts")
        again = analyze(out, *flags)
        if again.wait() != 0:
            raise SystemExit(out.with_suffix(".err").read_text())
        say(f"same command finished, {stored(out)} rollouts")
    found, wanted = rows(out), rows(undisturbed)
    left, right = (json.loads(path.with_suffix(".json").read_text()) for path in (out, undisturbed))
    apart = list(differences(left, right))
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return {
        "log": log,
        "rollouts": len(found),
        "lost": len(wanted.keys() - found.keys()),
        "not_planned": len(found.keys() - wanted.keys()),
        "kept_from_killed_driver": sum(found.get(key) == value for key, value in before.items()) / len(before),
        "unlike_undisturbed": sum(found[key] != wanted[key] for key in wanted.keys() & found.keys()),
        "diagnosis_differs": [where for where, size in apart if size > 1e-4],
        "largest_float_difference": max((size for _, size in apart), default=0.0),
        "bottleneck": [right["bottleneck"], left["bottleneck"]],
        "notices": [event["notices"] for event in events if event["event"] == "engine"],
    }


def cluster_lines(found: dict[str, Any]) -> list[str]:
    return [
        "## Two nodes on loopback, one killed, one late, the driver killed",
        "",
        f"`diag analyze {' '.join(COMMAND)} --engine ray`, {found['rollouts']} rollouts (main arm {DRAWS}).",
        "",
        *[f"- {line}" for line in found["log"]],
        "",
        f"Against the undisturbed hf run with the same seed: {found['lost']} lost, {found['not_planned']} too many, "
        f"{found['unlike_undisturbed']} with another text, token, seed or verdict; verdict {found['bottleneck'][1]} "
        f"({found['bottleneck'][0]}); diagnosis.json differs in {len(found['diagnosis_differs'])} places (engine and "
        f"times left out; floats within {found['largest_float_difference']:.1g}). Of the rollouts the killed driver had "
        f"stored, {found['kept_from_killed_driver']:.0%} are there unchanged.",
        "",
        f"Reported by the second driver: {found['notices'] or 'nothing happened'}.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("cluster", "driver"))
    part = parser.parse_args().part
    results = Path(__file__).parent / "results.json"
    data: dict[str, Any] = {}
    os.environ.update(SETTINGS)
    if part is not None and results.exists():
        data = {key: value for key, value in json.loads(results.read_text()).items() if key in {"cluster", "driver"}}
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        token = Path(folder) / "token"  # these clusters answer to nobody else on this machine
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)})
        if part != "driver":
            data["cluster"] = cluster(Path(folder))
        if part != "cluster":
            data["driver"] = one_driver.measure()
    lines = cluster_lines(data["cluster"]) if "cluster" in data else []
    lines += one_driver.lines(data["driver"]) if "driver" in data else []
    print(machine.write("ray", "The ray engine: deaths, and what one driver can take", data, lines).read_text())
    found = data.get("cluster", {})
    wrong = [key for key in ("lost", "not_planned", "unlike_undisturbed", "diagnosis_differs") if found.get(key)]
    if wrong:
        raise SystemExit(f"not as it should be: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
