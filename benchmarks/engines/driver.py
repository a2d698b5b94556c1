"""How the engine benchmark runs its contestants: one process each, told what to do line by line, timings kept as they come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class NotRun(Exception):
    """A contestant that could not take part; the message says why."""


@dataclass(frozen=True)
class Contestant:
    """Who takes part, and how."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    prompts: int | None = None
    """Prompts it is given, spread over the lengths; None = all. Only for those whose rate does not depend on it."""
    group: str = ""
    """Of the contestants of one group only the fastest in the tuning round goes on (the first of it always does)."""
    rows: int = 256
    """Rows it decodes together: what the limit beside it is computed for."""
    note: str = ""


@dataclass(frozen=True)
class Machine:
    """Interpreters and threads."""

    threads: int
    vllm_python: str | None
    lmeval_python: str | None
    device: str = "cpu"

    def python(self, kind: str) -> str:
        """The interpreter of a contestant.

        Raises:
            NotRun: none was given.
        """
        wanted = {"vllm": ("--vllm-python", self.vllm_python), "lm-eval": ("--lmeval-python", self.lmeval_python)}
        flag, python = wanted.get(kind, ("", sys.executable))
        if python is None:
            raise NotRun(f"no {flag} was given")
        if not Path(python).exists():
            raise NotRun(f"{flag}: no such interpreter")
        return str(Path(python).absolute())  # the process starts in another folder; a link into a venv stays a link

    def environment(self, python: str, kind: str, folder: Path) -> dict[str, str]:
        """Equal threads for all; vLLM with the libraries it asks for where its environment has them, and unbound like the others."""
        env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "LD_PRELOAD"}}
        env |= {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        env |= {"HF_HOME": str(folder / "hf-home")}
        env |= {"PYTHONPATH": os.pathsep.join(str(p) for p in (ROOT, ROOT / "probes", ROOT / "reports"))}
        if kind == "vllm":
            base = Path(python).parent.parent
            found = [sorted(base.glob(f"lib/**/{name}*.so*")) for name in ("libtcmalloc", "libiomp5")]
            env |= {"LD_PRELOAD": ":".join(str(paths[0]) for paths in found if paths)}
            env |= {"VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
            env |= {"VLLM_LOGGING_LEVEL": "WARNING", "PATH": f"{Path(python).parent}{os.pathsep}{env['PATH']}"}
        return env


class Worker:
    """A contestant's process."""

    def __init__(self, contestant: Contestant, machine: Machine, spec: dict[str, Any], folder: Path) -> None:
        self.contestant = contestant
        python = machine.python(contestant.kind)
        name = "".join(c if c.isalnum() else "-" for c in f"{spec.get('name', '')}-{contestant.name}")
        path = folder / f"{name}.json"
        common = {"threads": machine.threads, "device": machine.device, "options": contestant.options}
        path.write_text(json.dumps({"kind": contestant.kind, **common, **spec}))
        self._log = folder / f"{name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, "-m", "benchmarks.engines.worker", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=machine.environment(python, contestant.kind, folder),
                cwd=folder,
                text=True,
            )
        self.facts: dict[str, Any] = self._answer(1800)["ready"]

    def order(self, do: str, *args: Any, timeout_s: float = 7200) -> dict[str, Any]:
        """Have something done; returns its timings and results.

        Raises:
            NotRun: the process ended or took longer than `timeout_s`.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, "args": args}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise NotRun(self._last_words()) from None
        return self._answer(timeout_s)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        start = time.monotonic()
        timer = threading.Timer(timeout_s, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            self._process.wait()
            late = time.monotonic() - start >= timeout_s
            raise NotRun(f"no answer within {timeout_s:.0f} s" if late else self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line and not line.startswith("File")]
        said = (errors or lines or ["no message"])[-1][:300]
        return f"the process ended: {said}"


class Raw:
    """Timings as JSON lines, one file per part of the benchmark; an interrupted part goes on where it was."""

    def __init__(self, folder: Path, part: str, settings: dict[str, Any]) -> None:
        self.path = folder / f"raw-{part}.jsonl"
        self.rows: list[dict[str, Any]] = []
        self.settings = json.loads(json.dumps(settings))
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        if lines and json.loads(lines[0]).get("settings") == self.settings:
            whole = [line for line in lines[1:] if line.endswith("}")]  # the last may be torn
            self.rows = [json.loads(line) for line in whole]
        lines = [json.dumps(row) for row in ({"settings": self.settings}, *self.rows)]
        self.path.write_text("\n".join(lines) + "\n")

    def add(self, **row: Any) -> dict[str, Any]:
        """Keep a row at once."""
        row = json.loads(json.dumps({**row, "at": time.time(), "load": round(os.getloadavg()[0], 1)}))
        self.rows.append(row)
        with self.path.open("a") as out:
            out.write(json.dumps(row) + "\n")
        shown = {key: value for key, value in row.items() if key not in {"lengths", "at"}}
        print(shown, flush=True)
        return row

    def find(self, **keys: Any) -> list[dict[str, Any]]:
        """Rows whose fields have these values."""
        return [row for row in self.rows if all(row.get(key) == value for key, value in keys.items())]

    def done(self) -> None:
        """The part is complete: the next run of it starts anew."""
        self.path.replace(self.path.with_suffix(".done.jsonl"))


class Team:
    """The workers of one model, each started when it is first needed."""

    def __init__(self, machine: Machine, spec: dict[str, Any], folder: Path, raw: Raw) -> None:
        self._machine, self._spec, self._folder, self._raw = machine, spec, folder, raw
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def run(self, contestant: Contestant, do: str, args: Sequence[Any], **labels: Any) -> dict[str, Any] | None:
        """One timed order, unless it is on file; None where the contestant could not do it (then that is on file)."""
        labels = {"model": self._spec["name"], "contestant": contestant.name, "do": do, **labels}
        known = self._raw.find(**labels)
        if known:
            return None if "not_run" in known[0] else known[0]
        if self._raw.find(model=self._spec["name"], contestant=contestant.name, do=do, failed=True):
            return None
        try:
            if contestant.name not in self._workers:
                worker = Worker(contestant, self._machine, self._spec, self._folder)
                self._workers[contestant.name] = worker
                self._raw.add(model=self._spec["name"], contestant=contestant.name, facts=worker.facts)
            result = self._workers[contestant.name].order(do, *args)
        except NotRun as why:
            gone = self._workers.pop(contestant.name, None)
            if gone is not None:
                gone.close()
            self._raw.add(**labels, failed=True, not_run=str(why))
            return None
        return self._raw.add(**labels, **result)

    def dismiss(self, contestant: Contestant) -> None:
        """End a contestant's process; it is started again when needed."""
        worker = self._workers.pop(contestant.name, None)
        if worker is not None:
            worker.close()


def grouped(contestants: Sequence[Contestant]) -> Iterator[list[Contestant]]:
    """Contestants by their group, in order; those without one alone."""
    seen: set[str] = set()
    for one in contestants:
        if not one.group:
            yield [one]
        elif one.group not in seen:
            seen.add(one.group)
            yield [other for other in contestants if other.group == one.group]
