"""The `openai` engine: any server with the OpenAI API (vLLM, SGLang, TGI, hosted), near or far.

    probe requests (`probe`) ──► what the server understands ──► requests and answers (`wire`)
                                           retries, back-off, several at once (`http`)

With --tokenizer prompts go as token ids where the server takes them, and draws are the model's own tokens. Without it
the server's template and tokenizer decide, and what needs token ids here is not served: `info.lacks` says what and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from posttrain_diag.engines.contract import Capability, Draw, EngineInfo, Prompt, SampleRequest, Score, ScoreRequest
from posttrain_diag.engines.hf.engine import check_params
from posttrain_diag.engines.hf.random import is_cut
from posttrain_diag.engines.hf.sample import sample_rows
from posttrain_diag.engines.model.front import Front, open_tokenizer
from posttrain_diag.engines.model.prompts import plain_text
from posttrain_diag.engines.model.stops import Stops, cut_at_stop
from posttrain_diag.engines.openai.http import Body, Connection, Patience, Refused
from posttrain_diag.engines.openai.probe import Served, find_dialect, find_served, score_body
from posttrain_diag.engines.openai.wire import (
    PATHS,
    Choice,
    Dialect,
    choices,
    prompt_scores,
    request_body,
    text_prompt,
    token_counts,
)
from posttrain_diag.engines.sequence_scores import Sequenced, SequenceScores
from posttrain_diag.errors import EngineError, UsageError
from posttrain_diag.types import SamplingParams

DRAWS_PER_REQUEST = 16
"""Largest n of one request: an answer comes with its last draw, and what is under way is lost with the driver."""
_NO_TOKENIZER = "the server's tokenizer is not at hand: give --tokenizer"
_NO_TILTS = "a server draws from the model alone, not from a proposal of ours"


@dataclass(frozen=True)
class DrawBatch:
    """Draws of one prompt that go into one request."""

    request: SampleRequest
    prompt: Body
    draws: tuple[tuple[int, int], ...]
    """The draws, each as (sample index, seed)."""


def load_openai_engine(
    model: str,
    *,
    base_url: str | None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 16,
    tokenizer: str | None = None,
    template: str | None = None,
    use_chat_template: bool | None = None,
    system_prompt: str | None = None,
    trust_remote_code: bool = False,
    patience: Patience | None = None,
) -> OpenAIEngine:
    """Connect to a server and find out what it can serve.

    Args:
        model: what the server calls the model.
        base_url: the server's address, /v1 included.
        api_key_env: environment variable that holds the key; a local server needs none.
        concurrency: requests in flight.
        tokenizer: directory or hub id with the model's tokenizer (weights are not needed).
        template: plain-text template with {prompt}, used instead of any chat template.
        use_chat_template: None = where the tokenizer has one, or, without a tokenizer, where the server can chat.
        system_prompt: put before prompts that carry none.
        trust_remote_code: run Python code that comes with the tokenizer.
        patience: tries and time-outs.

    Raises:
        EngineError: the server cannot be reached, refuses the key, or has no such model.
        ModelError: the tokenizer cannot be loaded.
        UsageError: settings that are wrong in themselves.
        MissingExtra: httpx is not installed.
    """
    if base_url is None:
        raise UsageError("--engine openai needs --base-url, the server's address, e.g. http://127.0.0.1:8000/v1")
    if template is not None and (use_chat_template or "{prompt}" not in template):
        raise UsageError(f"--template {template!r} must hold {{prompt}} and excludes --chat-template")
    connection = Connection(base_url, api_key_env, concurrency, patience or Patience())
    try:
        served = find_served(connection, model)
        front = None
        if tokenizer is not None:
            front = open_tokenizer(
                tokenizer,
                template=template,
                use_chat_template=use_chat_template,
                system_prompt=system_prompt,
                trust_remote_code=trust_remote_code,
            )
        chat = False if template is not None else use_chat_template
        dialect = find_dialect(connection, model, front, chat)
    except BaseException:
        connection.close()
        raise
    return OpenAIEngine(connection, served, dialect, front, template, system_prompt)


class OpenAIEngine:
    """An `Engine` on a server; make it with `load_openai_engine`."""

    def __init__(
        self,
        connection: Connection,
        served: Served,
        dialect: Dialect,
        front: Front | None,
        template: str | None,
        system_prompt: str | None,
    ) -> None:
        self._connection, self._served, self._dialect, self._front = connection, served, dialect, front
        self._template, self._system = template, system_prompt
        self._per_request = DRAWS_PER_REQUEST
        self._notices = [*served.notices, f"server's endpoint: {PATHS[dialect.endpoint]}"]
        known = [size for size in (served.context, front.context if front else None) if size is not None]
        self._context = min(known, default=None)

    @property
    def info(self) -> EngineInfo:
        """What is served; notices grow when a request shows something new."""
        front, dialect = self._front, self._dialect
        law = f"{dialect.endpoint}\0{self._template or ''}\0{self._system or ''}"
        notices = tuple(self._notices)
        if front is not None:
            notices += tuple(front.codec.notices)
        return EngineInfo(
            engine="openai",
            model=self._served.model,
            model_sha=self._served.sha(front),
            architecture="unknown",
            n_parameters=0,
            vocab_size=front.n_ids if front else 0,
            context_length=self._context,
            dtype="unknown",
            device="server",
            stop_token_ids=front.stop_ids if front else (),
            stop_tokens=tuple(front.codec.token_text(i) for i in front.stop_ids) if front else (),
            chat_template_sha=front.codec.template_sha if front else hashlib.sha256(law.encode()).hexdigest(),
            renderings=front.codec.renderings if front is not None and dialect.takes_ids else (),
            notices=notices,
            lacks=self._lacks(),
            stop_texts=front.stops.texts if front else (),
            undeclared_stops=front.stops.undeclared if front and dialect.takes_ids else (),
            warnings=front.stops.warnings if front else (),
        )

    def _lacks(self) -> dict[Capability, str]:
        dialect, lacks = self._dialect, dict[Capability, str]()
        if self._front is None:
            lacks["tokens"] = _NO_TOKENIZER
        if not dialect.logprobs:
            lacks["logprobs"] = "the server tells no log-probabilities"
        if not dialect.prompt_logprobs:
            lacks["scores"] = (
                _NO_TOKENIZER if self._front is None else "the server takes no prompt_logprobs (vLLM does)"
            )
        if not dialect.takes_ids:
            lacks["prefixes"] = (
                _NO_TOKENIZER if self._front is None else "the server takes no token ids as a prompt (vLLM, SGLang do)"
            )
        lacks["tilts"] = _NO_TILTS
        return lacks

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids the model is conditioned on.

        Raises:
            EngineError: no --tokenizer was given.
        """
        return self._tokenizer("prompts as token ids").codec.prompt_ids(prompt)

    def response_ids(self, completion: str) -> tuple[int, ...]:
        """Token ids of a completion.

        Raises:
            EngineError: no --tokenizer was given.
        """
        return self._tokenizer("completions as token ids").codec.response_ids(completion)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of response tokens.

        Raises:
            EngineError: no --tokenizer was given.
        """
        return self._tokenizer("token ids as text").codec.decode(token_ids)

    def _tokenizer(self, what: str) -> Front:
        if self._front is None:
            raise EngineError(
                f"{what}: the openai engine has no tokenizer of {self._served.model!r}; give --tokenizer, a directory "
                "or hub id with its files"
            )
        return self._front

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        """Draw all requests, several at once; each answer's draws are yielded when it comes, in any order.

        Raises:
            EngineError: the server refuses, or gives no answer after all tries; what was finished is yielded first.
            UsageError: settings outside their range, or cuts that the server does not know.
        """
        check_params(params)
        if not self._dialect.extras and (params.top_k or params.min_p):
            raise UsageError(
                f"{self._connection.url} takes neither top_k nor min_p: leave --top-k and --min-p out (temperature and "
                "--top-p work)"
            )
        blocks: list[DrawBatch] = []
        for request in requests:
            if request.tilt is not None:
                raise EngineError(f"request {request.key!r} asks for a tilted draw: {_NO_TILTS}; use the hf engine")
            if request.prompt.response_prefix_ids and not self._dialect.takes_ids:
                raise EngineError(f"request {request.key!r} begins the response: {self._lacks()['prefixes']}")
            if request.prompt.rendering is not None and not self._dialect.takes_ids:
                raise EngineError(f"request {request.key!r} chooses a template, and here the server does: leave it out")
        if self._front is not None:  # the same checks, and the same words, as the hf engine's
            sample_rows(requests, self._front.codec, self._front.n_ids, self._context, params.max_new_tokens)
        for request in requests:
            draws = tuple(zip(request.sample_indices, request.seeds, strict=True))
            prompt = self._prompt(request.prompt)
            blocks.extend(
                DrawBatch(request, prompt, draws[at : at + self._per_request])
                for at in range(0, len(draws), self._per_request)
            )
        return self._draws(blocks, params)

    def _draws(self, blocks: Sequence[DrawBatch], params: SamplingParams) -> Iterator[Draw]:
        def work(block: DrawBatch) -> tuple[list[Draw], Sequence[DrawBatch]]:
            return self._ask(block, params)

        for draws in self._connection.all(blocks, work):
            yield from draws

    def _prompt(self, prompt: Prompt) -> Body:
        front, dialect = self._front, self._dialect
        if front is not None and dialect.takes_ids:
            return {"prompt": list(front.codec.prompt_ids(prompt))}
        plain = plain_text(prompt, self._template, self._system)
        return text_prompt(dialect.endpoint, prompt, plain, self._system)

    def _ask(self, block: DrawBatch, params: SamplingParams) -> tuple[list[Draw], Sequence[DrawBatch]]:
        """Send one request; a server that refuses several draws at once is asked for each on its own later."""
        if len(block.draws) > self._per_request:
            return [], _singles(block)
        stops = self._stops(params)
        n, seed = len(block.draws), block.draws[0][1]
        dialect = self._dialect
        body = request_body(dialect, self._served.model, block.prompt, params, n=n, seed=seed, stops=stops)
        try:
            answer = self._connection.post(PATHS[dialect.endpoint], body)
        except Refused as error:
            if n == 1 or error.status in (401, 403, 404):
                raise EngineError(f"request {block.request.key!r}: {error}") from error
            self._one_each(f"the server refused n={n} ({error})")
            return [], _singles(block)
        found = choices(answer, dialect)[:n]
        if not found:
            raise EngineError(f"request {block.request.key!r}: the server's answer holds no completion: {answer}"[:400])
        counts = token_counts(answer, found)
        told = zip(found, counts, strict=True)
        drawn = [self._draw(draw, block, *one, params) for draw, one in zip(block.draws, told, strict=False)]
        rest = block.draws[len(found) :]
        if rest:
            self._one_each(f"the server made {len(found)} of {n} draws asked for at once")
        return drawn, _singles(DrawBatch(block.request, block.prompt, rest))

    def _one_each(self, why: str) -> None:
        if self._per_request > 1:
            self._per_request = 1
            self._notices.append(f"every draw is a request of its own: {why}")

    def _stops(self, params: SamplingParams) -> Stops:
        """What ends a draw here; without a tokenizer the server knows its stop tokens alone."""
        own = self._front.stops if self._front else Stops(())
        if self._dialect.extras:
            return own.with_asked(params.stop)
        texts = dict.fromkeys((*own.texts, *own.undeclared, *params.stop))  # the server takes no token ids to stop at
        return replace(own, texts=tuple(texts))

    def _draw(
        self, draw: tuple[int, int], block: DrawBatch, choice: Choice, count: int, params: SamplingParams
    ) -> Draw:
        front, stops = self._front, self._stops(params)
        text = choice.text
        if front is not None and choice.ids:
            ended = choice.finish == "stop" and choice.ids[-1] in stops.ids
            kept = choice.ids[:-1] if ended else choice.ids
            text = front.codec.continuation(block.request.prompt.response_prefix_ids, kept)
        before_stop = cut_at_stop(text, stops.texts)
        plain_law = params.temperature == 1.0 and not is_cut(params)
        raw = choice.logprobs if self._dialect.raw_logprobs or plain_law else None
        return Draw(
            key=block.request.key,
            sample_idx=draw[0],
            seed=draw[1],
            text=text if before_stop is None else before_stop,
            token_ids=choice.ids if front is not None else (),
            token_logprobs=raw,
            finish_reason=choice.finish if before_stop is None else "stop",
            error=None if choice.finish != "error" else f"the server ended the draw with {choice.said!r}",
            token_policy_logprobs=choice.logprobs if plain_law else None,
            token_count=count,
            stop_text=before_stop is not None,
        )

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Score all requests by prompt_logprobs, several at once; entropies are NaN, a server does not tell them.

        Raises:
            EngineError: the server cannot score, or a completion does not fit into the context.
            ModelError: a log-probability is not a number.
        """
        if requests and "scores" in self._lacks():
            raise EngineError(f"the openai engine cannot score here: {self._lacks()['scores']}")
        if not requests:
            return iter(())
        sequenced = SequenceScores(requests, self._tokenizer("scoring"), self._context, "openai")
        return self._scores(sequenced)

    def _scores(self, sequenced: SequenceScores) -> Iterator[Score]:
        def work(sequence: Sequenced) -> tuple[tuple[Sequenced, Any], Sequence[Sequenced]]:
            answer = self._connection.post(PATHS["completions"], score_body(self._served.model, sequence.ids))
            return (sequence, prompt_scores(answer, sequence.ids, sequence.start)), ()

        yield from sequenced.empty()
        for sequence, part in self._connection.all(sequenced.sequences, work):
            score = sequenced.add(sequence, part)
            if score is not None:
                yield score

    def close(self) -> None:
        """Close the connections; the server goes on."""
        self._connection.close()


def _singles(block: DrawBatch) -> list[DrawBatch]:
    return [DrawBatch(block.request, block.prompt, (draw,)) for draw in block.draws]
