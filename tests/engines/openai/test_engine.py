"""The openai engine against a server with faults: nothing finished is lost, and what cannot be served is said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx")

from benchmarks.openai_server import Server
from posttrain_diag.engines.contract import Draw, Prompt, SampleRequest, ScoreRequest, Tilt
from posttrain_diag.engines.openai.engine import DRAWS_PER_REQUEST, OpenAIEngine, load_openai_engine
from posttrain_diag.engines.openai.http import Patience
from posttrain_diag.engines.openai.wire import Dialect, request_body
from posttrain_diag.errors import EngineError, UsageError
from posttrain_diag.types import SamplingParams

QUICK = Patience(tries=4, first_s=0.01, longest_s=0.3, connect_s=2.0, answer_s=5.0)
OPEN: list[OpenAIEngine] = []
"""Closed after each test."""
PARAMS = SamplingParams(max_new_tokens=8)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []
    OPEN.clear()

    def start(**features: Any) -> Server:
        made.append(Server(**features))
        return made[-1]

    yield start
    for engine in OPEN:
        engine.close()
    for server in made:
        server.close()


def connect(server: Server, **settings: Any) -> OpenAIEngine:
    engine = load_openai_engine("m", **{"base_url": server.url, "patience": QUICK, **settings})
    OPEN.append(engine)
    server.counting = True
    return engine


def request(n: int, key: str = "q", prompt: Prompt | None = None) -> SampleRequest:
    return SampleRequest(key, prompt or Prompt(text="q"), tuple(range(n)), tuple(range(100, 100 + n)))


def draws(engine: OpenAIEngine, *requests: SampleRequest, params: SamplingParams = PARAMS) -> list[Draw]:
    try:
        return sorted(engine.sample(requests, params), key=lambda draw: (draw.key, draw.sample_idx))
    finally:
        engine.close()


@pytest.fixture
def with_tokenizer(serve: Any, model_dir: Callable[[str], Path]) -> Callable[..., tuple[Server, OpenAIEngine]]:
    def start(**features: Any) -> tuple[Server, OpenAIEngine]:
        from engines.tiny_models import make_tokenizer

        tokenizer = make_tokenizer()
        server = serve(encode=lambda text: tokenizer(text, add_special_tokens=False).input_ids, **features)
        return server, connect(server, tokenizer=str(model_dir("llama")))

    return start


def test_draws_of_a_plain_server(serve: Any) -> None:
    server = serve()
    engine = connect(server)
    assert set(engine.info.lacks) == {"tokens", "scores", "prefixes", "tilts"}
    found = draws(engine, request(40, "a"), request(3, "b"))
    assert [(d.key, d.sample_idx) for d in found] == [("a", i) for i in range(40)] + [("b", i) for i in range(3)]
    assert {d.text for d in found} == {"yes", "no"} and all(d.finish_reason == "stop" for d in found)
    assert all(d.n_tokens == len(d.text) + 1 and d.token_ids == () for d in found)
    yes = next(d for d in found if d.text == "yes")
    assert yes.token_logprobs is not None and abs(yes.token_logprobs[0] - np.log(0.7)) < 1e-9
    assert yes.token_policy_logprobs == yes.token_logprobs
    assert sorted(body["n"] for body in server.bodies) == [3, 8, DRAWS_PER_REQUEST, DRAWS_PER_REQUEST]
    assert all(body["top_k"] == -1 and body["repetition_penalty"] == 1.0 for body in server.bodies)


@pytest.mark.parametrize("stops", [True, False], ids=("server that stops", "server that does not"))
@pytest.mark.parametrize("extras", [True, False])
def test_stop_texts_go_to_the_server_and_end_the_text_in_any_case(
    serve: Any, with_tokenizer: Any, stops: bool, extras: bool
) -> None:
    params = replace(PARAMS, stop=("e",))
    server = serve(stops=stops, extras=extras)
    found = draws(connect(server), request(40), params=params)
    assert {body["stop"][0] for body in server.bodies} == {"e"} and len(server.bodies[0]["stop"]) == 1
    assert {(d.text, d.finish_reason) for d in found} == {("y", "stop"), ("no", "stop")}
    server, engine = with_tokenizer(stops=stops, extras=extras)
    found = draws(engine, request(40), params=params)
    assert {(d.text, d.finish_reason) for d in found} == {("y", "stop"), ("no", "stop")}
    if extras and stops:  # then the server tells its tokens: those of the stop text are among them
        assert {d.token_ids for d in found if d.stop_text} == {engine.response_ids("ye")}
        assert {d.text for d in found if d.stop_text} == {"y"}
    assert "stop" not in request_body(Dialect("chat"), "m", {}, PARAMS)


def test_a_server_that_takes_no_token_ids_is_given_the_turn_end_as_a_text(serve: Any, tmp_path: Path) -> None:
    from engines.tiny_models import make_tokenizer

    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + '<|end|>' }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    for extras, key, value in ((False, "stop", ["<|end|>"]), (True, "stop_token_ids", [len(tokenizer) - 1, 2])):
        server = serve(encode=lambda text: [ord(letter) for letter in text], extras=extras, chat=not extras)
        engine = connect(server, tokenizer=str(tmp_path))
        draws(engine, request(2))
        assert server.bodies[0][key] == value
        assert engine.info.warnings and "ends a turn with '<|end|>'" in engine.info.warnings[0]


def test_draws_are_the_tokens_the_server_tells(with_tokenizer: Any) -> None:
    server, engine = with_tokenizer()
    assert set(engine.info.lacks) == {"tilts"} and engine.info.stop_token_ids == (2,)
    prefix = engine.response_ids("ab")
    found = draws(engine, request(4, prompt=Prompt(text="q", response_prefix_ids=prefix)))
    assert server.bodies[0]["prompt"] == list(engine.prompt_ids(Prompt(text="q"))) + list(prefix)
    assert server.bodies[0]["stop_token_ids"] == [2]
    for draw in found:
        assert draw.token_ids == (*engine.response_ids(draw.text), 2) and draw.text in ("yes", "no")


def test_a_draw_cut_at_the_cap(serve: Any) -> None:
    found = draws(connect(serve()), request(8), params=SamplingParams(max_new_tokens=2))
    assert {(d.text, d.finish_reason) for d in found} == {("ye", "length"), ("no", "length")}


@pytest.mark.parametrize("fault", [500, 503, (429, "0.25"), "reset", "malformed"])
def test_a_passing_fault_costs_a_try_and_no_draw(serve: Any, fault: Any) -> None:
    server = serve()
    engine = connect(server)
    server.faults = {0: fault}
    begun = time.monotonic()
    assert len(draws(engine, request(5))) == 5
    assert len(server.bodies) == 2 and server.bodies[0] == server.bodies[1]
    assert time.monotonic() - begun >= (0.25 if isinstance(fault, tuple) else 0.0)


def test_a_silent_server_is_asked_again(serve: Any) -> None:
    server = serve()
    engine = connect(server, patience=replace(QUICK, answer_s=0.2))
    server.faults = {0: "silent"}
    assert len(draws(engine, request(5))) == 5


@pytest.mark.parametrize("fault", [500, "reset", "malformed", "other shape"])
def test_a_lasting_fault_ends_in_an_error_after_all_other_draws(serve: Any, fault: Any) -> None:
    server = serve()
    engine = connect(server, concurrency=4)
    server.delay_s = 0.02
    server.faults = dict.fromkeys(range(1, 40), fault)
    found: list[Draw] = []
    with pytest.raises(EngineError, match=r"tries|not an OpenAI completion"):
        found.extend(engine.sample([request(2, "a"), request(2, "b"), request(2, "c")], PARAMS))
    engine.close()
    assert len(found) == 2 and len({d.key for d in found}) == 1
    assert len(server.bodies) <= 1 + 2 * QUICK.tries


@pytest.mark.parametrize("features", [{"max_n": 4}, {"makes": 1}])
def test_a_server_without_n_is_asked_for_each_draw(serve: Any, features: dict[str, Any]) -> None:
    server = serve(**features)
    engine = connect(server, concurrency=1)
    found = draws(engine, request(40))
    assert [d.sample_idx for d in found] == list(range(40))
    assert any("request of its own" in notice for notice in engine.info.notices)
    assert {body["n"] for body in server.bodies} == {DRAWS_PER_REQUEST, 1} and len(server.bodies) <= 41


def test_requests_in_flight_are_limited(serve: Any) -> None:
    server = serve()
    engine = connect(server, concurrency=3)
    server.delay_s = 0.03
    draws(engine, *[request(1, f"k{i}") for i in range(12)])
    assert server.most_in_flight == 3


def test_log_probabilities_are_optional(serve: Any) -> None:
    engine = connect(serve(logprobs=False))
    assert "logprobs" in engine.info.lacks
    found = draws(engine, request(6))
    assert all(d.token_logprobs is None and d.token_policy_logprobs is None for d in found)
    assert sum(d.n_tokens for d in found) == sum(len(d.text) + 1 for d in found)


@pytest.mark.parametrize("raw", [True, False])
def test_log_probabilities_after_the_temperature_are_not_called_raw(serve: Any, raw: bool) -> None:
    server = serve(raw=raw)
    found = draws(connect(server), request(6), params=SamplingParams(temperature=0.5, max_new_tokens=8))
    assert all((d.token_logprobs is not None) is raw and d.token_policy_logprobs is None for d in found)
    found = draws(connect(server), request(6))
    assert all(d.token_logprobs is not None and d.token_policy_logprobs is not None for d in found)


def test_a_chat_server_gets_messages(serve: Any) -> None:
    server = serve(chat=True, extras=False, max_completion_tokens=True)
    engine = connect(server, system_prompt="Be brief.")
    messages = ({"role": "user", "content": "hi"},)
    assert len(draws(engine, request(3), request(2, "m", Prompt(messages=messages)))) == 5
    system = {"role": "system", "content": "Be brief."}
    sent = sorted((body["messages"] for body in server.bodies), key=str)
    assert sent == [[system, {"role": "user", "content": text}] for text in ("hi", "q")]
    assert all(body["max_completion_tokens"] == 8 and "top_k" not in body for body in server.bodies)
    with pytest.raises(UsageError, match="neither top_k nor min_p"):
        engine.sample([request(1)], SamplingParams(top_k=5, max_new_tokens=8))


def test_a_template_means_plain_completions(serve: Any) -> None:
    server = serve()
    draws(connect(server, template="Q: {prompt}\nA:"), request(1))
    assert server.bodies[0]["prompt"] == "Q: q\nA:"


def test_without_token_prompts_there_are_no_prefixes(with_tokenizer: Any) -> None:
    _, engine = with_tokenizer(ids=False)
    assert set(engine.info.lacks) == {"prefixes", "scores", "tilts"}
    with pytest.raises(EngineError, match="token ids as a prompt"):
        engine.sample([request(1, prompt=Prompt(text="q", response_prefix_ids=(5,)))], PARAMS)
    assert engine.info.renderings == ()
    with pytest.raises(EngineError, match="chooses a template"):
        engine.sample([request(1, prompt=Prompt(text="q", rendering="plain"))], PARAMS)
    with pytest.raises(EngineError, match="cannot score here"):
        engine.score([ScoreRequest("a", Prompt(text="q"), "b")])
    engine.close()


def test_scores_are_the_servers_prompt_logprobs(with_tokenizer: Any) -> None:
    _, engine = with_tokenizer()
    (score,) = engine.score([ScoreRequest("a", Prompt(text="q"), "bc")])
    ids = (*engine.response_ids("bc"), 2)
    assert score.token_ids == ids and score.rank_T.tolist() == list(ids) and np.isnan(score.entropy_T).all()
    assert np.allclose(score.logprob_T, [-0.125 * token for token in ids])
    with pytest.raises(EngineError, match="room for one more"):
        list(engine.score([ScoreRequest("a", Prompt(text="q"), "b" * 62)]))
    engine.close()


def test_a_prompt_beyond_the_context_is_refused_before_anything_is_drawn(with_tokenizer: Any) -> None:
    server, engine = with_tokenizer()
    with pytest.raises(EngineError, match="use --max-new-tokens 63 or less"):
        engine.sample([request(1)], SamplingParams(max_new_tokens=64))
    with pytest.raises(EngineError, match="tilted"):
        engine.sample([replace(request(1), tilt=Tilt((4,), 0.5))], PARAMS)
    assert server.bodies == []
    engine.close()


def test_what_needs_the_tokenizer_says_so(serve: Any) -> None:
    engine = connect(serve())
    for call in (
        lambda: engine.prompt_ids(Prompt(text="q")),
        lambda: engine.response_ids("q"),
        lambda: engine.decode([1]),
    ):
        with pytest.raises(EngineError, match="give --tokenizer"):
            call()
    engine.close()


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(key="sk-secret")
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(EngineError, match=r"401.*environment variable MY_KEY \(that variable is empty\)"):
        connect(server, api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-wrong")
    with pytest.raises(EngineError, match="it was refused") as refused:
        connect(server, api_key_env="MY_KEY")
    assert "sk-wrong" not in str(refused.value)
    monkeypatch.setenv("MY_KEY", "sk-secret")
    engine = connect(server, api_key_env="MY_KEY")
    assert len(draws(engine, request(2))) == 2 and "sk-secret" not in str(engine.info)


def test_the_models_identity_does_not_depend_on_where_it_is_served(serve: Any) -> None:
    shas = {connect(serve(), system_prompt=text).info.model_sha for text in (None, "Be brief.")}
    assert len(shas) == 1
    assert connect(serve(models=["m"], list=False)).info.model_sha not in shas
    prompts = {connect(serve(), system_prompt=text).info.chat_template_sha for text in (None, "Be brief.")}
    assert len(prompts) == 2


def test_errors_at_the_start_say_what_to_do(serve: Any) -> None:
    server = serve(models=["other", "third"])
    with pytest.raises(EngineError, match="serves no model 'm'; it has 'other', 'third'"):
        connect(server)
    with pytest.raises(EngineError, match="lacks its /v1: give --base-url"):
        connect(serve(), base_url=serve().url.removesuffix("/v1"))
    closed = Server()
    closed.close()
    with pytest.raises(EngineError, match="is the server up and the address right"):
        connect(closed)
    for url in (None, "127.0.0.1:8000", "http://user:pw@127.0.0.1/v1"):
        with pytest.raises(UsageError, match="--base-url"):
            load_openai_engine("m", base_url=url)
