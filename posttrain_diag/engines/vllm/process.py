"""The driver's end of the vLLM process: its interpreter, the frames to and from it, its log and its end.

The process leads a group of its own; closing its standard input, which the driver's death does too, ends the group.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain_diag.errors import EngineError, UsageError

WORKER = Path(__file__).with_name("worker.py")
ENVIRONMENT = ".venv-vllm"
"""The folder of the virtual environment that `make vllm-env` builds."""
ARGUMENTS = "DIAG_VLLM_ARGS"
"""Environment variable with further vLLM engine arguments as a JSON object."""
_END_S = 10.0
"""Seconds that the group may take to end before it is killed again."""
_TAIL_BYTES = 20_000
_ERROR_LINE = re.compile(r"\b\w*(?:Error|Exception)\b: \S")
_LOG_PREFIX = re.compile(r"^(?:\(.*?pid=\d+\)\s*)?(?:\[rank\d+\]:\s*)?(?:ERROR \S+ \S+ \[\S+\]\s*)?")
_MEMORY = re.compile(
    r"out of memory|Available memory on node|for the cache blocks|desired GPU memory|can't allocate memory"
    r"|MemoryError|maximum number of tokens that can be stored in KV cache|larger than the available KV cache"
)


def find_python(named: str | None) -> str:
    """Find the interpreter of the environment that has vLLM.

    Args:
        named: the interpreter that --vllm-python names; without it VLLM_PYTHON, .venv-vllm here or beside the package,
            and this interpreter are tried.

    Raises:
        UsageError: none of them is there.
    """
    for source, path in (("--vllm-python", named), ("VLLM_PYTHON", os.environ.get("VLLM_PYTHON"))):
        if path:
            found = shutil.which(str(Path(path).expanduser()))
            if found is None:
                raise UsageError(
                    f"{source} {path!r} is no program that can be run: give the Python of an environment with vLLM, "
                    f"e.g. {ENVIRONMENT}/bin/python after 'make vllm-env'"
                )
            return found
    for folder in (Path.cwd(), Path(__file__).resolve().parents[3]):
        python = folder / ENVIRONMENT / "bin" / "python"
        if python.exists():
            return str(python)
    if importlib.util.find_spec("vllm") is not None:
        return sys.executable
    raise UsageError(
        "the vllm engine needs an environment with vLLM: build one with 'make vllm-env' (or 'python -m venv "
        f"{ENVIRONMENT} && {ENVIRONMENT}/bin/pip install vllm'), or name its Python with --vllm-python or VLLM_PYTHON"
    )


def extra_arguments() -> dict[str, Any]:
    """Further vLLM engine arguments, read from the environment variable DIAG_VLLM_ARGS.

    Raises:
        UsageError: the variable holds no JSON object.
    """
    text = os.environ.get(ARGUMENTS, "")
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{ARGUMENTS}={text!r} is not JSON ({error}): {_EXAMPLE}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{ARGUMENTS}={text!r} is not a JSON object: {_EXAMPLE}")
    return {str(key): item for key, item in value.items()}


_EXAMPLE = f'write e.g. {ARGUMENTS}=\'{{"gpu_memory_utilization": 0.8, "max_model_len": 8192}}\''


class VLLMProcess:
    """A running vLLM process; the frames that answer a call are read with `answers`."""

    def __init__(self, python: str, start: Mapping[str, Any], *, worker: Path = WORKER) -> None:
        """Start the worker and wait until vLLM is ready.

        Args:
            python: interpreter with vLLM.
            start: what the worker is told (see `worker.Server.open_engine`).
            worker: the script; tests give another.

        Raises:
            EngineError: vLLM is not installed there, or does not start on this model.
        """
        self.python = python
        log_fd, log_path = tempfile.mkstemp(prefix="posttrain-diag-vllm-", suffix=".log")
        self.log = Path(log_path)
        self._call = 0
        self._frames: queue.Queue[dict[str, Any] | None] = queue.Queue()
        try:
            self._process = subprocess.Popen(
                [python, "-I", str(worker)],  # -I: the script's folder holds names that would hide vLLM's
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_fd,
                start_new_session=True,
                env=_environment(start),
            )
        except OSError as error:
            self.log.unlink()
            raise EngineError(f"{python!r} cannot be run ({error}): check --vllm-python") from error
        finally:
            os.close(log_fd)
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self._send({"op": "start", **start})
            self.facts = self._first()
        except BaseException:
            self._end()
            raise

    def _first(self) -> dict[str, Any]:
        frame = self._frames.get()
        if frame is not None and frame["op"] == "ready":
            return frame
        if frame is not None and frame["op"] == "failed" and frame["kind"] == "import":
            raise EngineError(
                f"{self.python!r} cannot import vLLM ({frame['error']}): build an environment with 'make vllm-env' and "
                "name its Python with --vllm-python"
            )
        self._process.wait()
        raise EngineError(f"vLLM did not start: {self._why()}")

    def call(self, frame: Mapping[str, Any]) -> int:
        """Send work; returns the number under which its answers come."""
        self._call += 1
        self._send({**frame, "call": self._call})
        return self._call

    def answers(self, call: int) -> Iterator[dict[str, Any]]:
        """The frames of a call, each as soon as it is there; leaving early drops the rest of the work.

        Raises:
            EngineError: the process died.
        """
        done = False
        try:
            while True:
                frame = self._frames.get()
                if frame is None:
                    self._frames.put(None)
                    done = True
                    raise EngineError(
                        f"the vLLM process died while it was drawing: {self._why()}; finished draws are stored, the "
                        "same command goes on (and the hf engine runs any model)"
                    )
                if frame["call"] != call:
                    continue  # what an abandoned call had still under way
                if frame["op"] == "done":
                    done = True
                    return
                yield frame
        finally:
            if not done:
                self._send({"op": "abort", "call": call})

    def close(self) -> None:
        """End the process group, wait for it and delete its log."""
        self._end()
        self.log.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """Process id, which is the group's id too."""
        return self._process.pid

    def _send(self, frame: Mapping[str, Any]) -> None:
        data = json.dumps(frame).encode()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # the reader says that the process is gone, and why
            self._process.stdin.write(struct.pack(">I", len(data)) + data)
            self._process.stdin.flush()

    def _listen(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        while len(head := pipe.read(4)) == 4:
            body = pipe.read(struct.unpack(">I", head)[0])
            try:
                self._frames.put(json.loads(body))
            except ValueError:
                break  # cut off in the middle of a frame
        self._frames.put(None)

    def _end(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        deadline = time.monotonic() + _END_S
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S / 2)
        while _group_lives(self.pid) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            time.sleep(0.02)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _why(self) -> str:
        """Why the process ended: the end of its log as one line, with the way out where it is known."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.poll()
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
        lines = [_LOG_PREFIX.sub("", line).strip() for line in text.splitlines()]
        told = list(dict.fromkeys(line for line in lines if _ERROR_LINE.search(line)))
        shown = " | ".join(told[:2] if told else [line for line in lines if line][-2:])
        ended = f"exit code {code}" if code is None or code >= 0 else f"killed by {signal.Signals(-code).name}"
        parts = [f"{ended}; {shown[:700] or 'its log is empty'}; log: {self.log}"]
        if _MEMORY.search(text) or code == -signal.SIGKILL:
            parts.append(
                f'if memory is short: on a GPU set {ARGUMENTS}=\'{{"gpu_memory_utilization": 0.8, '
                '"max_model_len": 4096}\' (less of one, or of the other), on a CPU VLLM_CPU_KVCACHE_SPACE (GiB)'
            )
        if code == -signal.SIGILL:
            parts.append("this vLLM uses instructions that the processor lacks: try --dtype float32, or the hf engine")
        return "; ".join(parts)


def _environment(start: Mapping[str, Any]) -> dict[str, str]:
    """The driver's environment without what belongs to its own Python; vLLM is not to call home."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    one = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {**(one if start.get("one_thread") else {}), **kept, **quiet}


def _group_lives(group: int) -> bool:
    """Whether any process of the group is left that is not a zombie waiting for its parent."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if not Path("/proc/self/stat").exists():
        return True
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                return True
    return False
