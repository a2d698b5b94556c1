"""An OpenAI-compatible server in a thread, on this machine only, for tests and benchmarks; its law is written down.

By itself it answers each prompt with "yes" (70%) or "no" (30%), drawn from the request's seed; a `law` of its own makes
it another model: it is given the prompt and a generator of random numbers, and returns what the model writes. Tokens are
characters. `faults` make it show every fault that a real server shows.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TABLE = {"yes": 0.7, "no": 0.3}
STOP = 2
Law = Callable[[str, random.Random], str]
"""(prompt, generator of random numbers) -> what the model writes."""


def yes_or_no(prompt: str, rng: random.Random) -> str:
    """The law of `TABLE`, whatever is asked."""
    del prompt
    return rng.choices(list(TABLE), list(TABLE.values()))[0]


class Server:
    """`faults` maps the number of a draw request (from 0) to what happens instead of an answer."""

    def __init__(self, encode: Callable[[str], list[int]] | None = None, law: Law = yes_or_no, **features: Any) -> None:
        self.law = law
        self.encode = encode or (lambda text: [ord(letter) for letter in text])
        self.features = {"chat": False, "logprobs": True, "ids": True, "extras": True, "max_n": 128, "scores": True}
        self.features |= {"raw": True, "key": None, "models": ["m"], "prefix": "/v1", "list": True, "context": 64}
        self.features |= {"usage": True} | features
        self.faults: dict[int, Any] = {}
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.counting = False
        self.in_flight = self.most_in_flight = 0
        self.delay_s = 0.0
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"server_state": self})
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.httpd.daemon_threads = True
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.httpd.server_port}{self.features['prefix']}"

    def close(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_state: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        return

    def send_json(self, status: int, value: Any, **headers: str) -> None:
        self.send_text(status, json.dumps(value), **headers)

    def send_text(self, status: int, text: str, **headers: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, message: str, **headers: str) -> None:
        self.send_json(status, {"error": {"message": message}}, **headers)

    def authorized(self) -> bool:
        key = self.server_state.features["key"]
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self.refuse(401, "Incorrect API key")
        return False

    def do_GET(self) -> None:
        state = self.server_state
        if not self.authorized():
            return
        if self.path != f"{state.features['prefix']}/models" or not state.features["list"]:
            self.refuse(404, "Not Found")
            return
        models = [
            {"id": name, "root": name, "max_model_len": state.features["context"]} for name in state.features["models"]
        ]
        self.send_json(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        state = self.server_state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.authorized():
            return
        fault = None
        with state.lock:
            state.in_flight += 1
            state.most_in_flight = max(state.most_in_flight, state.in_flight)
            if state.counting:
                fault = state.faults.get(len(state.bodies))
                state.bodies.append(body)
                state.headers.append(dict(self.headers))
        try:
            time.sleep(state.delay_s)
            if fault is None:
                self.answer(body)
            else:
                self.fail(fault)
        finally:
            with state.lock:
                state.in_flight -= 1

    def fail(self, fault: Any) -> None:
        if fault == "reset":
            self.close_connection = True
            self.connection.close()
        elif fault == "malformed":
            self.send_text(200, '{"choices": [')
        elif fault == "other shape":
            self.send_json(200, {"choices": [{"txt": "?"}]})
        elif fault == "silent":
            time.sleep(1.0)
            self.close_connection = True
        elif isinstance(fault, tuple):
            self.refuse(fault[0], "slow down", Retry_After=fault[1])
        else:
            self.refuse(int(fault), "no")

    def answer(self, body: dict[str, Any]) -> None:
        features = self.server_state.features
        chat = self.path.endswith("/chat/completions")
        if chat != bool(features["chat"]):
            return self.refuse(400 if chat else 404, "the model has no chat template")
        if not features["extras"] and {"top_k", "min_p", "return_token_ids", "stop_token_ids"} & body.keys():
            return self.refuse(400, "Unrecognized request argument")
        if not features["ids"] and isinstance(body.get("prompt"), list):
            return self.refuse(422, "prompt must be a string")
        if body.get("n", 1) > features["max_n"]:
            return self.refuse(400, "n is too large")
        if "max_tokens" in body and features.get("max_completion_tokens"):
            return self.refuse(400, "Unsupported parameter: use 'max_completion_tokens'")
        n = min(int(body.get("n", 1)), int(features.get("makes", 128)))
        choices = [self.choice(body, chat, index) for index in range(n)]
        usage = {"completion_tokens": sum(choice.pop("size") for choice in choices)}
        told = {"usage": usage} if features["usage"] else {}
        return self.send_json(200, {"choices": choices, **told})

    def choice(self, body: dict[str, Any], chat: bool, index: int) -> dict[str, Any]:
        features = self.server_state.features
        text = self.server_state.law(_prompt_of(body), random.Random(f"{body.get('seed')}/{index}"))
        cap = body.get("max_tokens", body.get("max_completion_tokens"))
        ids = [*self.server_state.encode(text), STOP]
        cut = len(ids) > cap
        ids, text = ids[:cap], text[:cap] if cut else text
        at = min((place for stop in body.get("stop") or () if (place := text.find(stop)) >= 0), default=None)
        if at is not None and features.get("stops", True):
            ids, text, cut = ids[: at + 1], text[:at], False  # the stop text is one letter
        p = TABLE.get(text, 0.7)
        if not features["raw"]:
            weights = [q ** (1 / max(body["temperature"], 0.01)) for q in (p, 1 - p)]
            p = weights[0] / sum(weights)
        values = [math.log(p), *[0.0] * (len(ids) - 1)]
        choice: dict[str, Any] = {"index": index, "finish_reason": "length" if cut else "stop", "size": len(ids)}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        if body.get("logprobs") and features["logprobs"]:
            if chat:
                top = [{"token": "y", "logprob": math.log(p)}]
                content = [{"token": "?", "logprob": value, "top_logprobs": top} for value in values]
                choice["logprobs"] = {"content": content}
            else:
                best = max(p, 1 - p)
                choice["logprobs"] = {"token_logprobs": values, "top_logprobs": [{"y": math.log(best)}]}
        if body.get("return_token_ids"):
            choice["token_ids"] = ids
        if features["scores"] and "prompt_logprobs" in body:
            prompt = body["prompt"]
            choice["prompt_logprobs"] = [
                None if place == 0 else {str(token): {"logprob": -0.125 * token, "rank": token + 1}}
                for place, token in enumerate(prompt)
            ]
        return choice


def _prompt_of(body: dict[str, Any]) -> str:
    """What is asked: the last message, or the prompt where it is a text."""
    if "messages" in body:
        return str(body["messages"][-1]["content"])
    prompt = body.get("prompt")
    return prompt if isinstance(prompt, str) else ""
