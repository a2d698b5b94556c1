"""A few tiny requests at start: is the model there, and what does this server understand?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from posttrain_diag.engines.contract import Prompt
from posttrain_diag.engines.model.files import tokenizer_sha
from posttrain_diag.engines.model.front import Front
from posttrain_diag.engines.openai.http import Body, Connection, Refused
from posttrain_diag.engines.openai.wire import (
    PATHS,
    Dialect,
    Endpoint,
    choices,
    prompt_scores,
    request_body,
    text_prompt,
    top_logprob,
)
from posttrain_diag.errors import EngineError
from posttrain_diag.types import SamplingParams

TEXT = "1 + 1 ="
_SAME = 0.01
"""Nats by which a log-probability may differ between two temperatures and still count as independent of them."""


@dataclass(frozen=True)
class Served:
    """What the server says of the model."""

    model: str
    root: str | None
    context: int | None
    notices: tuple[str, ...] = ()

    def sha(self, front: Front | None) -> str:
        """Hash of what the model is called and of the tokenizer's files; address and key do not enter."""
        named = json.dumps(["openai", self.model, self.root, self.context])
        own = "" if front is None else tokenizer_sha(front.files)
        return hashlib.sha256(f"{named}\n{own}".encode()).hexdigest()


def find_served(connection: Connection, model: str) -> Served:
    """Look the model up in the server's list of models.

    Raises:
        EngineError: the server cannot be reached, wants a key, has no such model, or the address lacks /v1.
    """
    try:
        listed: Any = connection.get("/models", tries=2).get("data")
    except Refused as error:
        if error.status not in (404, 405):
            raise
        if not connection.url.endswith("/v1") and _has_models(connection):
            raise EngineError(
                f"--base-url {connection.url} lacks its /v1: give --base-url {connection.url}/v1"
            ) from error
        return Served(model, None, None, ("the server does not list its models: the run knows the model by name only",))
    entries = [entry for entry in listed or () if isinstance(entry, dict)]
    found = next((entry for entry in entries if entry.get("id") == model), None)
    if found is None:
        names = ", ".join(repr(str(entry.get("id"))) for entry in entries[:12]) or "none"
        raise EngineError(
            f"{connection.url} serves no model {model!r}; it has {names}"
            + (f" and {len(entries) - 12} more" if len(entries) > 12 else "")
            + ": give one of these as MODEL"
        )
    longest = found.get("max_model_len")
    return Served(model, found.get("root"), longest if isinstance(longest, int) else None)


def _has_models(connection: Connection) -> bool:
    try:
        connection.get("/v1/models", tries=1)
    except EngineError:
        return False
    return True


def find_dialect(connection: Connection, model: str, front: Front | None, chat: bool | None) -> Dialect:
    """Find out what the server understands, trying the richest form of request first.

    Args:
        connection: the server.
        model: its name there.
        front: the model's tokenizer, where the user gave it; then prompts are token ids if that works.
        chat: True = chat completions, False = completions, None = chat where the server can.

    Raises:
        EngineError: no request at all was accepted; the message quotes the last refusal.
    """
    endpoints: tuple[Endpoint, ...] = ("chat", "completions")
    if front is not None:
        endpoints = ("completions", "chat")
    elif chat is not None:
        endpoints = ("chat",) if chat else ("completions",)
    refusal: Refused | None = None
    for endpoint in endpoints:
        for takes_ids in (True, False) if front is not None and endpoint == "completions" else (False,):
            for logprobs, extras in ((True, True), (True, False), (False, True), (False, False)):
                dialect = Dialect(endpoint, takes_ids=takes_ids, extras=extras, logprobs=logprobs)
                try:
                    return _details(connection, model, front, *_try(connection, model, front, dialect))
                except Refused as error:
                    if error.status in (401, 403):
                        raise
                    refusal = error
    assert refusal is not None
    raise EngineError(f"no way to draw from {model!r}: {refusal}") from refusal


def _try(connection: Connection, model: str, front: Front | None, dialect: Dialect) -> tuple[Dialect, Body]:
    params = SamplingParams(max_new_tokens=2)
    prompt = _probe_prompt(dialect, front)
    try:
        return dialect, connection.post(PATHS[dialect.endpoint], request_body(dialect, model, prompt, params))
    except Refused as error:
        if "max_completion_tokens" not in str(error):
            raise
    dialect = replace(dialect, max_key="max_completion_tokens")
    return dialect, connection.post(PATHS[dialect.endpoint], request_body(dialect, model, prompt, params))


def _probe_prompt(dialect: Dialect, front: Front | None) -> Body:
    prompt = Prompt(text=TEXT)
    if dialect.takes_ids and front is not None:
        return {"prompt": list(front.codec.prompt_ids(prompt))}
    return text_prompt(dialect.endpoint, prompt, TEXT, None)


def _details(connection: Connection, model: str, front: Front | None, dialect: Dialect, answer: Body) -> Dialect:
    """What one accepted request and two or three more say about log-probabilities and ids."""
    found = choices(answer, dialect)
    told = bool(found) and found[0].logprobs is not None
    dialect = replace(dialect, logprobs=told)
    if told:
        dialect = replace(dialect, raw_logprobs=_raw(connection, model, front, dialect))
    if dialect.takes_ids and front is not None:
        dialect = replace(
            dialect, prompt_logprobs=_scores(connection, model, front.codec.prompt_ids(Prompt(text=TEXT)))
        )
    return dialect


def _raw(connection: Connection, model: str, front: Front | None, dialect: Dialect) -> bool:
    """Whether the likeliest token's log-probability stays when the temperature changes."""
    tops: list[float] = []
    for temperature in (1.0, 0.5):
        body = request_body(
            dialect, model, _probe_prompt(dialect, front), SamplingParams(temperature, max_new_tokens=1)
        )
        body |= {"top_logprobs": 5} if dialect.endpoint == "chat" else {"logprobs": 5}
        try:
            top = top_logprob(connection.post(PATHS[dialect.endpoint], body), dialect.endpoint)
        except Refused:
            return False
        if top is None:
            return False
        tops.append(top)
    return abs(tops[0] - tops[1]) < _SAME


def _scores(connection: Connection, model: str, ids: Sequence[int]) -> bool:
    """Whether prompt_logprobs answers with the log-probability and rank of every prompt token."""
    try:
        answer = connection.post(PATHS["completions"], score_body(model, ids))
        prompt_scores(answer, ids, 1)
    except EngineError:
        return False
    return True


def score_body(model: str, ids: Sequence[int]) -> Body:
    """A request whose prompt is the sequence to score."""
    return {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
