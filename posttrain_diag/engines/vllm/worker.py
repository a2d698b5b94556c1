"""The vLLM side of the `vllm` engine: a script that the interpreter of vLLM's own environment runs.

It may import the standard library and vllm only: posttrain-diag is not installed there. Run it with `python -I`, or its
folder would come first on the search path.

    driver ──stdin──► frames: start, sample, score, abort      (4 bytes of length, then JSON)
    driver ◄──pipe─── frames: ready | failed, draw, scored, done

Standard output is the pipe's; what vLLM prints goes to standard error, which the driver keeps as the log. End of input
means that the driver is gone: the whole process group ends at once, vLLM's own children included.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any, BinaryIO

Frame = dict[str, Any]
Work = tuple[Frame, list[int], Any]
"""(what it is, prompt token ids, vLLM's SamplingParams)."""
AHEAD = 2
"""Requests handed to vLLM beyond those it can run at once, as a multiple: enough that it never waits."""


def main() -> None:
    """Start vLLM as told, then serve until the driver closes the pipe."""
    frames, out = claim_pipes()
    inbox: queue.Queue[Frame] = queue.Queue()
    threading.Thread(target=listen, args=(frames, inbox), daemon=True).start()
    start = inbox.get()
    try:
        server = Server(start, inbox, out)
    except ImportError as error:
        send(out, {"op": "failed", "kind": "import", "error": f"{type(error).__name__}: {error}"})
        raise
    except Exception as error:  # whatever vLLM raises is told to the driver, then ends this process as it would have
        send(out, {"op": "failed", "kind": "start", "error": f"{type(error).__name__}: {error}"})
        raise
    send(out, {"op": "ready", **server.facts()})
    while True:
        server.turn()


def claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """(frames from the driver, frames to the driver); descriptors 0 and 1 are pointed elsewhere for everyone else."""
    frames, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    return frames, out


def send(out: BinaryIO, frame: Frame) -> None:
    """Write one frame."""
    data = json.dumps(frame).encode()
    out.write(struct.pack(">I", len(data)) + data)
    out.flush()


def listen(frames: BinaryIO, inbox: queue.Queue[Frame]) -> None:
    """Put every frame into the inbox; at the end of input end the process group."""
    while head := frames.read(4):
        inbox.put(json.loads(frames.read(struct.unpack(">I", head)[0])))
    os.killpg(os.getpgrp(), signal.SIGKILL)


class Server:
    """One vLLM engine and the work it was given."""

    def __init__(self, start: Frame, inbox: queue.Queue[Frame], out: BinaryIO) -> None:
        self.inbox, self.out = inbox, out
        self.jobs: dict[int, Iterator[Work]] = {}
        """What of each call is not at vLLM yet, made when its turn comes."""
        self.at_work: dict[str, Frame] = {}
        """What each request at vLLM is: {"call", "request", "draw" | "from"}."""
        self.owed: dict[int, int] = {}
        """Answers still owed per call."""
        self.lora: Any = None
        self.engine: Any = self.open_engine(start)
        config = self.engine.vllm_config
        self.window = AHEAD * int(config.scheduler_config.max_num_seqs)
        self.dtype = str(config.model_config.dtype).removeprefix("torch.")
        self.max_model_len = int(config.model_config.max_model_len)

    def open_engine(self, start: Frame) -> Any:
        """VLLM on the model that the driver names."""
        platform: Any = import_module("vllm.platforms").current_platform
        cpu = bool(platform.is_cpu())
        if cpu:
            # In this process: one start instead of three, and nothing to overlap with on the same cores.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(start["kv_cache_gib"]))
        vllm: Any = import_module("vllm")
        self.version = str(vllm.__version__)
        self.device = "cpu" if cpu else str(platform.get_device_name())
        arguments: Frame = {
            "model": start["model"],
            "dtype": start["dtype"] or default_dtype(start["stored_dtype"], platform, cpu),
            "trust_remote_code": start["trust_remote_code"],
            "skip_tokenizer_init": True,
            "generation_config": "vllm",
            "logprobs_mode": "raw_logprobs",
            "disable_log_stats": True,
        }
        if cpu:
            arguments |= {"enforce_eager": True, "block_size": 32}
        if start["max_num_seqs"]:
            arguments["max_num_seqs"] = start["max_num_seqs"]
        if start["adapter"]:
            arguments |= {"enable_lora": True, "max_lora_rank": start["lora_rank"], "max_loras": 1}
            self.lora = import_module("vllm.lora.request").LoRARequest("adapter", 1, start["adapter"])
        return vllm.LLMEngine.from_engine_args(vllm.EngineArgs(**{**arguments, **start["extra"]}))

    def facts(self) -> Frame:
        """What the driver records."""
        return {
            "version": self.version,
            "device": self.device,
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
        }

    def turn(self) -> None:
        """Take in new frames, keep vLLM supplied, do one step, send what is finished."""
        while not self.owed or not self.inbox.empty():
            self.take(self.inbox.get())
        for call in list(self.jobs):
            self.supply(call)
        for output in self.engine.step():
            if output.finished:
                self.answer(output)

    def supply(self, call: int) -> None:
        """Hand requests of a call to vLLM until it has enough."""
        while len(self.at_work) < self.window:
            work = next(self.jobs[call], None)
            if work is None:
                del self.jobs[call]
                return
            note, ids, params = work
            name = "/".join(str(note[key]) for key in ("call", "request", "draw") if key in note)
            self.at_work[name] = note
            self.engine.add_request(name, {"prompt_token_ids": ids}, params, lora_request=self.lora)

    def take(self, frame: Frame) -> None:
        """Begin the work of a frame, or drop the work of an aborted call."""
        call = int(frame["call"])
        if frame["op"] == "abort":
            names = [name for name, note in self.at_work.items() if note["call"] == call]
            self.jobs.pop(call, None)
            self.owed.pop(call, None)
            self.engine.abort_request(names)
            for name in names:
                del self.at_work[name]
            return
        requests = frame["requests"]
        if frame["op"] == "sample":
            self.owed[call] = sum(len(item["seeds"]) for item in requests)
            self.jobs[call] = draws(call, requests, frame["params"], frame["stop_ids"])
        else:
            self.owed[call] = len(requests)
            self.jobs[call] = scores(call, requests)
        self.finish(call)

    def answer(self, output: Any) -> None:
        """Send one finished request."""
        name = str(output.request_id)
        if name not in self.at_work:  # some versions append a random suffix
            name = name.rsplit("-", 1)[0]
        note = self.at_work.pop(name, None)
        if note is None:
            return
        if "from" in note:
            tokens = output.prompt_token_ids[note["from"] :]
            said = [entry[token] for entry, token in zip(output.prompt_logprobs[note["from"] :], tokens, strict=True)]
            values = {"logprobs": [float(one.logprob) for one in said], "ranks": [int(one.rank) - 1 for one in said]}
            send(self.out, {"op": "scored", **note, **values})
        else:
            drawn = output.outputs[0]
            ids = [int(token) for token in drawn.token_ids]
            logprobs = [float(entry[token].logprob) for entry, token in zip(drawn.logprobs, ids, strict=True)]
            send(self.out, {"op": "draw", **note, "ids": ids, "logprobs": logprobs, "finish": drawn.finish_reason})
        self.owed[note["call"]] -= 1
        self.finish(note["call"])

    def finish(self, call: int) -> None:
        """Say so when a call has all its answers."""
        if self.owed.get(call) == 0:
            del self.owed[call]
            self.jobs.pop(call, None)
            send(self.out, {"op": "done", "call": call})


def draws(call: int, requests: list[Frame], params: Frame, stop_ids: list[int]) -> Iterator[Work]:
    """One vLLM request per draw, each with its own seed (vLLM makes the same of n=); only our stop tokens end it."""
    vllm: Any = import_module("vllm")
    final: Any = import_module("vllm.sampling_params").RequestOutputKind.FINAL_ONLY
    for index, item in enumerate(requests):
        for draw, seed in enumerate(item["seeds"]):
            settings = vllm.SamplingParams(
                **params,
                seed=seed,
                stop_token_ids=stop_ids,
                ignore_eos=True,
                logprobs=0,
                detokenize=False,
                output_kind=final,
            )
            yield {"call": call, "request": index, "draw": draw}, item["ids"], settings


def scores(call: int, requests: list[Frame]) -> Iterator[Work]:
    """One vLLM request per sequence, the whole of it as the prompt."""
    vllm: Any = import_module("vllm")
    for index, item in enumerate(requests):
        settings = vllm.SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        yield {"call": call, "request": index, "from": item["from"]}, item["ids"], settings


def default_dtype(stored: str, platform: Any, cpu: bool) -> str:
    """Float32 on a CPU; a 16-bit checkpoint as bfloat16 on a GPU that has it."""
    if cpu or "float16" not in stored:
        return "float32"
    return "bfloat16" if platform.has_device_capability(80) else "float16"


if __name__ == "__main__":
    sys.exit(main())
