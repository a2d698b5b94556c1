"""What an engine must offer: n draws of one prompt, and teacher-forced scores of given completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.types import FinishReason, Message, SamplingParams

Capability = Literal["tokens", "logprobs", "scores", "prefixes", "tilts"]
"""What an engine may lack: a tokenizer at hand (`prompt_ids`, `response_ids`, `decode`), log-probabilities of draws,
teacher-forced scores, draws after a given beginning of the response, draws from a `Tilt`."""

Rendering = Literal["chat", "plain"]
"""How a prompt becomes tokens: "chat" through the tokenizer's chat template; "plain" as text, through the plain-text
template where one was given."""


@dataclass(frozen=True)
class Prompt:
    """What the model is conditioned on, before tokenization.

    The response prefix is part of the *response* side: it is appended after the chat template's generation
    prompt, tokenized so that its ids are a prefix of the full response's ids.
    """

    text: str | None = None
    messages: tuple[Message, ...] | None = None
    response_prefix_ids: tuple[int, ...] = ()
    """Token ids of an already written beginning of the response."""
    rendering: Rendering | None = None
    """How to render this prompt; None: the way the engine was opened with. Another one only where
    `EngineInfo.renderings` names it."""


@dataclass(frozen=True)
class Tilt:
    """A proposal q that leans towards a demonstration for as long as the draw follows it.

    q(a | s) = (1-lean)·pi(a | s) + lean·1{a is the demonstration's next token}; once the draw has left the
    demonstration, or reached its end, q = pi. So pi/q <= 1 along the demonstration and pi/q <= 1/(1-lean) for every
    sequence: whatever the model, weights are bounded and exact.
    """

    token_ids: tuple[int, ...]
    """The demonstration as response tokens; the stop token may be the last."""
    lean: float
    """Share of the demonstration's token in each step, in (0, 1)."""


@dataclass(frozen=True)
class SampleRequest:
    """A request for draws of one prompt: one draw for each entry of `sample_indices`."""

    key: str
    """Names the request in what comes back; unique within one call."""
    prompt: Prompt
    sample_indices: tuple[int, ...]
    seeds: tuple[int, ...]
    """One seed per draw: the draw depends on nothing else that varies between runs."""
    tilt: Tilt | None = None
    """Draw from this proposal instead of the model; an engine that lacks "tilts" raises EngineError."""


@dataclass(frozen=True)
class Draw:
    """One finished draw: what the model wrote after the prompt, and how probable it was."""

    key: str
    sample_idx: int
    seed: int
    text: str
    """Decoded new tokens, special tokens removed, up to a stop text; the response prefix is not included."""
    token_ids: tuple[int, ...]
    """New tokens up to the one that ended the draw: the stop token, or the last one of a stop text, which `text` leaves
    out; empty where a server does not tell them."""
    token_logprobs: tuple[float, ...] | None
    """Raw-model log-probability of each new token, nats; None where the engine lacks "logprobs"."""
    finish_reason: FinishReason
    error: str | None = None
    token_policy_logprobs: tuple[float, ...] | None = None
    """Log-probability of each new token under the declared sampling law (temperature and cuts), nats; None where the
    engine cannot tell it."""
    proposal_logprob: float | None = None
    """log q of a tilted draw, nats; None for other draws."""
    token_count: int | None = None
    """New tokens, where `token_ids` does not hold them."""
    stop_text: bool = False
    """Whether a stop text ended it, which its tokens hold and its text does not."""

    @property
    def n_tokens(self) -> int:
        """New tokens, the stop token included."""
        return len(self.token_ids) if self.token_count is None else self.token_count

    @property
    def policy_logprob(self) -> float | None:
        """Log pi of the draw under the declared sampling law, nats."""
        return None if self.token_policy_logprobs is None else float(sum(self.token_policy_logprobs))


@dataclass(frozen=True)
class ScoreRequest:
    """A completion to be scored after a prompt. Give exactly one of `completion` and `completion_ids`."""

    key: str
    prompt: Prompt
    completion: str | None = None
    completion_ids: tuple[int, ...] | None = None
    append_stop: bool = True
    """Score the stop token after the completion too."""


@dataclass(frozen=True)
class Score:
    """Teacher-forced scores of one completion. Arrays have shape (T,), T = completion tokens (+ stop)."""

    key: str
    token_ids: tuple[int, ...]
    token_texts: tuple[str, ...]
    logprob_T: NDArray[np.float32]
    """log pi(token | everything before), nats; for the stop position: log of the summed mass of all stop tokens."""
    rank_T: NDArray[np.int32]
    """0 = the token is the most likely one."""
    entropy_T: NDArray[np.float32]
    """Entropy of the next-token law, nats; NaN where the engine sees single tokens only (vllm, openai)."""


@dataclass(frozen=True)
class EngineInfo:
    """What the run directory records of the engine and the model behind it."""

    engine: str
    model: str
    """The model as the user named it."""
    model_sha: str
    """Hash over the weights and the tokenizer."""
    architecture: str
    n_parameters: int
    vocab_size: int
    context_length: int | None
    dtype: str
    device: str
    stop_token_ids: tuple[int, ...]
    """Tokens that end a response, first the one that the model itself ends one with; empty when it has none at all."""
    stop_tokens: tuple[str, ...]
    chat_template_sha: str | None
    """Hash of the chat template; None for a model whose prompts are used as they are."""
    renderings: tuple[Rendering, ...] = ()
    """How this engine can render a prompt, the way in use first; empty where it cannot choose."""
    notices: tuple[str, ...] = ()
    """Facts about loading that a reader must know (e.g. a doubled BOS that was removed)."""
    lacks: Mapping[Capability, str] = field(default_factory=dict[Capability, str])
    """What the engine cannot serve, and why; probes that need it are left out, with that as the reason."""
    stop_texts: tuple[str, ...] = ()
    """Texts that end a draw: the chat template's turn end where it is no token."""
    undeclared_stops: tuple[str, ...] = ()
    """What ends a draw though no eos field of the model names it: the chat template's turn end."""
    warnings: tuple[str, ...] = ()
    """What is told at once and stands among the notes of a run: whoever uses the model can mend it."""


class Engine(Protocol):
    """A model that can be sampled from and can score."""

    @property
    def info(self) -> EngineInfo:
        """What the engine has loaded, as the run directory records it."""
        ...

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids the model is conditioned on, response prefix included."""
        ...

    def response_ids(self, completion: str) -> tuple[int, ...]:
        """Token ids of a completion as it would follow a prompt (no special tokens added)."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of response tokens, special tokens removed."""
        ...

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        """Draw all requests; every draw is yielded as soon as it is finished, in any order.

        Raises:
            EngineError: a prompt leaves no room in the context (the message names the request).
            ModelError: the model's outputs are not numbers.
        """
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Score all requests; each score is yielded when its batch is done, in any order."""
        ...

    def close(self) -> None:
        """Free the model's memory; the engine cannot be used afterwards."""
        ...
