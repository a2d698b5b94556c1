"""Speaks the vllm worker's protocol without vLLM: draws "ab</s>" or what its behaviour says. Run by sys.executable.

The behaviour comes in DIAG_VLLM_ARGS: {"behave": ...}.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from typing import Any

OUT = os.fdopen(os.dup(1), "wb")
IN = os.fdopen(os.dup(0), "rb")
os.dup2(2, 1)


def send(**frame: Any) -> None:
    data = json.dumps(frame).encode()
    OUT.write(struct.pack(">I", len(data)) + data)
    OUT.flush()


def receive() -> dict[str, Any] | None:
    head = IN.read(4)
    return json.loads(IN.read(struct.unpack(">I", head)[0])) if head else None


def logprob(ids: list[int], place: int, gap: float) -> float:
    """What the tests' stand-in for the hf engine says too: a function of the token and the one before."""
    return -0.01 * ids[place] - 0.001 * ids[place - 1] - gap


def main() -> None:
    start = receive()
    assert start is not None
    extra = start["extra"]
    behave = extra.get("behave")
    sys.stdout.write("noise on standard output\n")
    sys.stdout.flush()
    if behave == "import":
        send(op="failed", kind="import", error="ModuleNotFoundError: No module named 'vllm'")
        sys.exit(1)
    if behave == "memory":
        sys.stderr.write(
            "(EngineCore pid=7) ERROR 11-24 06:17:01 [core.py:1] ValueError: No available memory for the cache blocks.\n"
        )
        send(op="failed", kind="start", error="RuntimeError: Engine core initialization failed")
        sys.exit(1)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    send(
        op="ready",
        version="0",
        device="cpu",
        dtype=start["dtype"] or "float32",
        max_model_len=extra.get("max_model_len", 96),
        child=child.pid,
        start=start,
    )
    while (frame := receive()) is not None:
        if frame["op"] == "abort":
            continue
        serve(frame, behave, extra)
    child.kill()


def serve(frame: dict[str, Any], behave: str | None, extra: dict[str, Any]) -> None:
    call = frame["call"]
    for index, request in enumerate(frame["requests"]):
        if frame["op"] == "score":
            ids, places = request["ids"], range(request["from"], len(request["ids"]))
            values = [logprob(ids, place, 0.0) for place in places]
            send(op="scored", call=call, request=index, logprobs=values, ranks=[ids[place] for place in places])
            continue
        for draw in reversed(range(len(request["seeds"]))):
            if behave == "crash" and draw == 1:
                sys.stderr.write("RuntimeError: the kernel gave up\n")
                sys.stderr.flush()
                os._exit(3)
            if behave == "slow":
                time.sleep(0.2)
            ends = [] if "b" in frame["stop"] else frame["stop_ids"][:1]  # vLLM keeps the tokens of a stop text
            drawn = [4, 5, *ends][: frame["params"]["max_tokens"]]
            whole = [*request["ids"], *drawn]
            values = [logprob(whole, place, extra.get("gap", 0.0)) for place in range(len(request["ids"]), len(whole))]
            if behave == "nan":
                values[0] = float("nan")
            stopped = drawn[-1:] == frame["stop_ids"][:1] or ("b" in frame["stop"] and 5 in drawn)
            finish = "stop" if stopped else "length"
            send(op="draw", call=call, request=index, draw=draw, ids=drawn, logprobs=values, finish=finish)
    send(op="done", call=call)


main()
