"""Exact success where tokens are longer than a character: untrained models, brute force, and the engine's own draws."""

import itertools
import math

import pytest
import torch

from posttrain_diag.engines.contract import Prompt, SampleRequest
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.tasks import verify
from posttrain_diag.types import Problem, SamplingParams
from posttrain_diag.zoo.family import after_last
from posttrain_diag.zoo.model import new_model
from posttrain_diag.zoo.targets import RightResponses
from posttrain_diag.zoo.truth import success_bounds
from posttrain_diag.zoo.vocabulary import EOS_ID, BpeVocabulary, train_bpe

EXACT, NUMERIC = {"type": "exact"}, {"type": "numeric"}
MARKED = {"type": "regex", "pattern": after_last("#")}
CASES = [
    pytest.param("aba", EXACT, "", "strict", id="exact"),
    pytest.param("a b", EXACT, "", "strict", id="exact, two words"),
    pytest.param("ab", MARKED, "#", "strict", id="marked"),
    pytest.param("12", NUMERIC, "", "strict", id="numeric"),
    pytest.param("12", NUMERIC, "", "lenient", id="numeric, lenient"),
    pytest.param("ab", EXACT, "", "lenient", id="exact, lenient"),
    pytest.param("12", EXACT, "", "lenient", id="exact number, lenient"),
]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    train_bpe(["aba ab #ab 12 12 aba#a12 [1]"] * 3, 17, path)
    made = BpeVocabulary(path, context_length=32)
    assert {"ab", "12"} <= set(made.pieces)
    return made


@pytest.fixture(scope="module", params=["gpt2", "qwen3", "llama"])
def model(request, vocabulary):
    torch.set_num_threads(1)
    made = new_model(5, vocabulary, request.param).eval()
    with torch.no_grad():
        made.get_input_embeddings().weight.mul_(3)
    return made


def brute_force(model, vocabulary, prompt_ids, given, problem, reading, max_new_tokens):
    total = 0.0
    others = [i for i in range(len(vocabulary)) if i != EOS_ID]
    for n in range(max_new_tokens):
        heads = list(itertools.product(others, repeat=n))
        texts = [vocabulary.decode([*given, *head]) for head in heads]
        right = [head for head, text in zip(heads, texts, strict=True) if getattr(verify(text, problem), reading)]
        if not right:
            continue
        ids = torch.tensor([[*prompt_ids, *given, *head, EOS_ID] for head in right])
        with torch.no_grad():
            logprob = model(input_ids=ids).logits.double().log_softmax(-1)
        taken = logprob[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
        total += float(taken[:, len(prompt_ids) + len(given) - 1 :].sum(1).exp().sum())
    return total


@pytest.mark.parametrize(("answer", "verifier", "mark", "reading"), CASES)
def test_all_tokenizations_count(model, vocabulary, answer, verifier, mark, reading):
    problem = Problem("p", "ab 1", None, answer, verifier)
    prompt = vocabulary.encode("ab 1")
    expected = brute_force(model, vocabulary, prompt, (), problem, reading, 4)
    one = RightResponses(problem, vocabulary, mark=mark, reading=reading)
    longer = vocabulary.encode("ab 12 aba")  # so that the shorter prompt is padded
    low, high = success_bounds(
        model, vocabulary, [prompt, longer], [one, one], prune=1e-300, width=10**6, max_new_tokens=4
    )
    assert [low[0], high[0]] == pytest.approx([expected] * 2, rel=1e-5)
    low, high = success_bounds(model, vocabulary, [prompt], [one], prune=1e-3, max_new_tokens=4)
    assert 0 < low[0] <= expected * (1 + 1e-5)
    assert high[0] >= expected * (1 - 1e-5)


@pytest.mark.parametrize(("answer", "verifier", "mark", "reading"), CASES[:4])
def test_after_a_prefix(model, vocabulary, answer, verifier, mark, reading):
    """The prefix counts for the text and for the cap; another problem beside it has none."""
    problem, prompt = Problem("p", "ab 1", None, answer, verifier), vocabulary.encode("ab 1")
    given = vocabulary.encode(answer[:1])
    one = RightResponses(problem, vocabulary, mark=mark, reading=reading)
    low, high = success_bounds(
        model,
        vocabulary,
        [prompt, prompt],
        [one, one],
        prune=1e-300,
        width=10**6,
        max_new_tokens=4,
        response_prefix_ids=[given, ()],
    )
    after = brute_force(model, vocabulary, prompt, given, problem, reading, 3)
    without = brute_force(model, vocabulary, prompt, (), problem, reading, 4)
    assert low.tolist() == pytest.approx([after, without], rel=1e-5)
    assert high.tolist() == pytest.approx([after, without], rel=1e-5)


def test_the_engine_draws_as_often(model, vocabulary, tmp_path):
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(eos_token_id=EOS_ID)
    model.save_pretrained(tmp_path)
    vocabulary.tokenizer().save_pretrained(tmp_path)
    problem, n = Problem("p", "ab 1", None, "1", {"type": "regex", "pattern": "(1)"}), 1000
    engine = load_hf_engine(str(tmp_path), device="cpu", dtype="float32")
    given = tuple(vocabulary.encode("1"))
    request = SampleRequest("p", Prompt(text="ab 1", response_prefix_ids=given), tuple(range(n)), tuple(range(n)))
    draws = engine.sample([request], SamplingParams(max_new_tokens=4))
    passed = sum(draw.finish_reason == "stop" and verify("1" + draw.text, problem).strict for draw in draws)
    low, high = success_bounds(
        model,
        vocabulary,
        [vocabulary.encode("ab 1")],
        [RightResponses(problem, vocabulary)],
        prune=1e-5,
        max_new_tokens=5,
        response_prefix_ids=[given],
    )
    error = 4 * math.sqrt(max(high[0], 1 / n) / n)
    assert high[0] - low[0] < 0.05
    assert low[0] - error <= passed / n <= high[0] + error
    assert passed > 5, "nothing passes: the test tests nothing"
