"""What goes over the wire to an OpenAI-compatible server, and what its answers say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from posttrain_diag.engines.contract import Prompt
from posttrain_diag.engines.model.stops import Stops
from posttrain_diag.engines.openai.http import Body
from posttrain_diag.errors import EngineError
from posttrain_diag.types import FinishReason, Message, SamplingParams

Endpoint = Literal["completions", "chat"]
PATHS: Mapping[Endpoint, str] = {"completions": "/completions", "chat": "/chat/completions"}
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
}


@dataclass(frozen=True)
class Dialect:
    """What this server understands, as the probe requests at start saw it."""

    endpoint: Endpoint
    takes_ids: bool = False
    """Whether prompts may be token ids."""
    extras: bool = False
    """Whether top_k, min_p, repetition_penalty, stop_token_ids and return_token_ids are taken (vLLM and SGLang do so).
    """
    logprobs: bool = False
    raw_logprobs: bool = False
    """Whether log-probabilities do not depend on the temperature."""
    prompt_logprobs: bool = False
    max_key: str = "max_tokens"


@dataclass(frozen=True)
class Choice:
    """One completion of a server's answer."""

    text: str
    ids: tuple[int, ...]
    """Token ids of the completion; empty where the server does not tell them."""
    logprobs: tuple[float, ...] | None
    finish: FinishReason
    said: str
    """The server's own word for how it ended."""


def request_body(
    dialect: Dialect,
    model: str,
    prompt: Body,
    params: SamplingParams,
    *,
    n: int = 1,
    seed: int | None = None,
    stops: Stops | None = None,
) -> Body:
    """The JSON of one request for n completions.

    Args:
        dialect: what the server understands.
        model: what the server calls the model.
        prompt: the keys that hold the prompt, as `text_prompt` makes them, or token ids.
        params: the sampling law.
        n: completions asked for.
        seed: seed of the first completion; None: the server chooses.
        stops: what ends a draw beside the server's own stop tokens.
    """
    stops = stops or Stops(())
    body: Body = {"model": model, **prompt, "n": n, "temperature": params.temperature, "top_p": params.top_p}
    body[dialect.max_key] = params.max_new_tokens
    if seed is not None:
        body["seed"] = seed
    if dialect.logprobs:
        body["logprobs"] = True if dialect.endpoint == "chat" else 1
    if dialect.extras:
        # Sent even when off: a server may take defaults from the model's generation_config.json.
        body |= {"top_k": params.top_k or -1, "min_p": params.min_p, "repetition_penalty": 1.0}
        body |= {"return_token_ids": True}
        if stops.ids:
            body["stop_token_ids"] = list(stops.ids)
    if stops.texts:
        body["stop"] = list(stops.texts)
    return body


def text_prompt(endpoint: Endpoint, prompt: Prompt, plain: str, system: str | None) -> Body:
    """The keys of a request that hold a prompt as text or as messages.

    Args:
        endpoint: the endpoint that the request goes to.
        prompt: what is asked.
        plain: the same as plain text, template and system prompt applied.
        system: put before messages that carry none.
    """
    if endpoint == "completions":
        return {"prompt": plain}
    messages = [_sent(m) for m in prompt.messages or ({"role": "user", "content": prompt.text or ""},)]
    if system is not None and messages[0].get("role") != "system":
        messages.insert(0, {"role": "system", "content": system})
    return {"messages": messages}


def _sent(message: Message) -> dict[str, Any]:
    """A turn as the protocol has it: the arguments of tool calls are texts there."""
    sent = dict(message)
    if sent.get("tool_calls"):
        sent["tool_calls"] = [
            {
                **call,
                "id": call.get("id", f"call_{at}"),
                "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])},
            }
            for at, call in enumerate(sent["tool_calls"])
        ]
    return sent


def choices(answer: Body, dialect: Dialect) -> list[Choice]:
    """Read the completions out of a server's answer.

    Raises:
        EngineError: the answer has another shape.
    """
    try:
        return [_choice(item, dialect) for item in answer["choices"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(
            f"the server's answer is not an OpenAI completion ({type(error).__name__}: {error}): {str(answer)[:200]}"
        ) from error


def _choice(item: Mapping[str, Any], dialect: Dialect) -> Choice:
    told: Mapping[str, Any] = item.get("logprobs") or {}
    if dialect.endpoint == "chat":
        text = item["message"].get("content") or ""
        values = [entry["logprob"] for entry in told["content"]] if told.get("content") else None
    else:
        text, values = item["text"], told.get("token_logprobs")
    said = str(item.get("finish_reason"))
    ids = tuple(int(token) for token in item.get("token_ids") or ())
    logprobs = None if not dialect.logprobs or values is None else tuple(float(value) for value in values)
    return Choice(str(text), ids, logprobs, _FINISH.get(said, "error"), said)


def top_logprob(answer: Body, endpoint: Endpoint) -> float | None:
    """The likeliest first token's log-probability, where the answer tells it."""
    try:
        told: Any = answer["choices"][0]["logprobs"]
        if endpoint == "chat":
            return max(float(entry["logprob"]) for entry in told["content"][0]["top_logprobs"])
        return max(map(float, told["top_logprobs"][0].values()))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None


def prompt_scores(answer: Body, ids: Sequence[int], start: int) -> tuple[list[float], list[int]]:
    """(log-probabilities, ranks from 0) of the tokens from `start` on.

    Raises:
        EngineError: the answer has no prompt_logprobs of that shape.
    """
    try:
        choice: Mapping[str, Any] = answer["choices"][0]
        entries: Any = choice.get("prompt_logprobs") or answer["prompt_logprobs"]
        said = [entries[place][str(ids[place])] for place in range(start, len(ids))]
        return [float(one["logprob"]) for one in said], [int(one["rank"]) - 1 for one in said]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise EngineError(
            f"the server's answer has no usable prompt_logprobs ({type(error).__name__}: {error}): {str(answer)[:200]}"
        ) from error


def token_counts(answer: Body, found: Sequence[Choice]) -> list[int]:
    """New tokens per completion: ids or log-probabilities where told, else the answer's total shared out by length."""
    usage: Any = answer.get("usage") or {}
    total = int(usage.get("completion_tokens") or 0) if isinstance(usage, dict) else 0
    letters = sum(len(choice.text) + 1 for choice in found)
    return [
        len(choice.ids) or len(choice.logprobs or ()) or round(total * (len(choice.text) + 1) / letters)
        for choice in found
    ]
