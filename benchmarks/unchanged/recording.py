"""Runs the commands with the code of a checkout and keeps what they print and make.

FOLDER/record.json    where, when, of which checkout; per command: the command line, exit code, seconds
FOLDER/printed/       NAME.stdout and NAME.stderr of every command
FOLDER/work/          the folder in which the commands ran, with all that they made
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.unchanged.commands import COMMANDS, FIRST, Command, write_inputs

PACKAGE_FOLDERS = (".", "probes", "reports")
"""Where a checkout keeps its packages."""


def environment(checkout: Path, work: Path) -> dict[str, str]:
    """One thread, no network, no accelerator, no zoo models of the user's own, the packages of the checkout."""
    fixed = {
        "PYTHONPATH": os.pathsep.join(str((checkout / name).resolve()) for name in PACKAGE_FOLDERS),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "POSTTRAIN_DIAG_HOME": str(work / "home"),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "120",
        "TOKENIZERS_PARALLELISM": "false",
    }
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    dropped = ("DIAG_", "RAY_", "FORCE_COLOR", "RANK", "WORLD_SIZE")
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)} | threads | fixed


def slug(name: str) -> str:
    """A command's name as a file name."""
    return "".join(c if c.isalnum() else "-" for c in name)


def state_of(checkout: Path) -> dict[str, Any]:
    """Commit of a checkout, and whether files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return {"commit": git("rev-parse", "HEAD") or None, "changed_files": len(git("status", "--porcelain").splitlines())}


@dataclass(frozen=True)
class Recorder:
    """Runs commands in one folder."""

    checkout: Path
    folder: Path

    @property
    def work(self) -> Path:
        """Where the commands run."""
        return self.folder / "work"

    def check(self) -> None:
        """Stop where Python would not import the packages of the checkout."""
        code = "import posttrain_diag, posttrain_probes, posttrain_reports as r; print(posttrain_diag.__file__, r.__file__)"
        found = self._start([sys.executable, "-c", code])
        paths = found.stdout.split()
        if found.returncode or not all(Path(path).is_relative_to(self.checkout.resolve()) for path in paths):
            raise SystemExit(f"{self.checkout}: its packages cannot be imported: {found.stdout}{found.stderr}")

    def _start(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        settings = environment(self.checkout, self.work.resolve())
        return subprocess.run(command, cwd=self.work, env=settings, capture_output=True, text=True, check=False)

    def run(self, command: Command) -> dict[str, Any]:
        """Run one command; keeps what it prints and returns its entry in record.json."""
        if command.copies is not None:
            source, target = (self.work / name for name in command.copies)
            if source.exists() and not target.exists():
                shutil.copytree(source, target)
        started = time.perf_counter()
        done = self._start([sys.executable, "-m", "posttrain_diag", *shlex.split(command.arguments)])
        wall_s = round(time.perf_counter() - started, 1)
        for stream in ("stdout", "stderr"):
            path = self.folder / "printed" / f"{slug(command.name)}.{stream}"
            path.write_text(getattr(done, stream), encoding="utf-8")
        wrong = "" if done.returncode == command.exit_code else f": exit code {done.returncode}: {done.stderr[-2000:]}"
        sys.stderr.write(f"{wall_s:6.1f} s  {command.name}{wrong}\n")
        return {"command": f"diag {command.arguments}", "exit_code": done.returncode, "wall_s": wall_s}


def chosen(only: Sequence[str]) -> tuple[Command, ...]:
    """Commands of these names and what they read, in their order; all where none is named."""
    known = {command.name: command for command in COMMANDS}
    if unknown := [name for name in only if name not in known]:
        raise SystemExit(f"there is no command {unknown[0]!r}; there are: {', '.join(known)}")
    wanted = list(only or known)
    for name in wanted:  # grows
        wanted += [other for other in known[name].after if other not in wanted]
    return tuple(command for command in COMMANDS if command.name in wanted)


def record(checkout: Path, folder: Path, over: Path | None, jobs: int, only: Sequence[str]) -> bool:
    """Run commands with the code of a checkout.

    Args:
        checkout: root of the checkout.
        folder: where the recording goes; must be new or empty.
        over: another recording, in a copy of which the commands run again: its runs are opened, gone on with and rendered.
        jobs: commands at a time.
        only: names of commands; empty: all.

    Returns:
        Whether every command ended as it should.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder}: not empty; choose another --out or remove it")
    recorder, commands = Recorder(checkout, folder), chosen(only)
    (folder / "printed").mkdir(parents=True)
    if over is None:
        recorder.work.mkdir()
    else:
        shutil.copytree(over / "work", recorder.work)
    recorder.check()
    started = time.perf_counter()
    found = {FIRST.name: recorder.run(FIRST)}
    listing = json.loads((folder / "printed" / f"{slug(FIRST.name)}.stdout").read_text(encoding="utf-8"))
    write_inputs(recorder.work, listing)
    found |= _run_all(recorder, commands, jobs)
    about = {
        **machine.head(machine.command_line("python -m benchmarks unchanged")),
        "checkout": str(checkout.resolve()),
        **state_of(checkout),
        "over": None if over is None else str(over.resolve()),
        "only": list(only),
        "wall_s": round(time.perf_counter() - started, 1),
        "cpu_s": round(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]), 1),
    }
    (folder / "record.json").write_text(
        json.dumps({**about, "work": str(recorder.work.resolve()), "prefix": sys.prefix, "commands": found}, indent=1)
    )
    return all(found[command.name]["exit_code"] == command.exit_code for command in (FIRST, *commands))


def _run_all(recorder: Recorder, commands: Sequence[Command], jobs: int) -> Mapping[str, dict[str, Any]]:
    """Some at a time, in their order; each waits for those whose results it reads, which come before it."""
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[str, Future[dict[str, Any]]] = {}

        def start(command: Command) -> dict[str, Any]:
            for name in command.after:
                running[name].result()
            return recorder.run(command)

        for command in commands:
            running[command.name] = pool.submit(start, command)
        return {name: future.result() for name, future in running.items()}
