import itertools
import math

import numpy as np
import pytest
import torch

from posttrain_diag.errors import ModelError, UsageError
from posttrain_diag.tasks import verify
from posttrain_diag.types import Problem
from posttrain_diag.zoo import exact_success, problems, resolve_model
from posttrain_diag.zoo.family import after_last
from posttrain_diag.zoo.model import new_model
from posttrain_diag.zoo.targets import RightResponses
from posttrain_diag.zoo.truth import _WHOLE_RESPONSE, success_bounds
from posttrain_diag.zoo.vocabulary import EOS_ID
from posttrain_diag.zoo.worlds.strings import VOCABULARY

TOKENS_BUT_EOS = [i for i in range(len(VOCABULARY)) if i != EOS_ID]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def toy():
    """An untrained model whose laws are far from uniform: large random embeddings."""
    model = new_model(3, VOCABULARY, "llama").eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(2)
    return model


def brute_force(model, prompt, accepts, max_new_tokens):
    """Sum of pi(y) over every token sequence that stops within the limit and decodes to an accepted text."""
    total = 0.0
    for n in range(max_new_tokens):
        heads = list(itertools.product(TOKENS_BUT_EOS, repeat=n))
        right = [head for head in heads if accepts(VOCABULARY.decode(head))]
        if not right:
            continue
        ids = torch.tensor([[*VOCABULARY.encode(prompt), *head, EOS_ID] for head in right])
        with torch.no_grad():
            logprob = model(input_ids=ids).logits.double().log_softmax(-1)
        taken = logprob[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
        total += float(taken[:, len(VOCABULARY.encode(prompt)) - 1 :].sum(1).exp().sum())
    return total


def verifier_of(mark):
    return {"type": "regex", "pattern": after_last(mark)} if mark else {"type": "exact"}


def target(answer, mark="", reading="strict"):
    return RightResponses(
        Problem("p", "S:ab=", None, answer, verifier_of(mark)), VOCABULARY, mark=mark, reading=reading
    )


def bounds(model, prompt, one, prune, max_new_tokens):
    """Bounds of one prompt; whole responses are pruned at the same mass as the others."""
    own = prune / _WHOLE_RESPONSE if one.small else prune
    low, high = success_bounds(
        model, VOCABULARY, [VOCABULARY.encode(prompt)], [one], prune=own, width=10**6, max_new_tokens=max_new_tokens
    )
    return low[0], high[0]


CASES = [
    pytest.param(("c", "|", "strict"), 4, id="after the bar"),
    pytest.param(("cd", "|", "strict"), 3, id="after the bar, two letters"),
    pytest.param(("cd", "", "strict"), 4, id="whole response"),
    pytest.param(("[c]", "", "strict"), 4, id="brackets"),
    pytest.param(("[c]", "", "lenient"), 4, id="lenient"),
    pytest.param(("cd", "|", "lenient"), 4, id="lenient, after the bar"),
]


@pytest.mark.parametrize(("case", "max_new_tokens"), CASES)
def test_bounds_against_brute_force(toy, case, max_new_tokens):
    one = target(*case)

    def accepts(text):
        if case[0].strip("[]") not in text:  # as every verifier here says, in less time
            return False
        judgement = verify(text, Problem("p", "", None, case[0], verifier_of(case[1])))
        return judgement.strict if case[2] == "strict" else judgement.lenient

    expected = brute_force(toy, "S:ab=", accepts, max_new_tokens)
    rounding = 1e-5  # of float32 log-probabilities
    assert bounds(toy, "S:ab=", one, 1e-300, max_new_tokens) == pytest.approx((expected, expected), rel=rounding)
    widths: list[float] = []
    for prune in (1e-4, 1e-2):
        low, high = bounds(toy, "S:ab=", one, prune, max_new_tokens)
        assert 0 < low <= expected * (1 + rounding)
        assert high >= expected * (1 - rounding)
        widths.append(high - low)
    assert widths == sorted(widths)
    assert widths[-1] > expected, "nothing was pruned: the test tests nothing"


def test_a_narrow_tree_is_bounded_too(toy):
    one, prompt = target("cd", "|"), [VOCABULARY.encode("S:ab=")]
    expected = brute_force(toy, "S:ab=", lambda text: text.split("|")[-1] == "cd", 4)
    low, high = success_bounds(toy, VOCABULARY, prompt, [one], prune=1e-300, max_new_tokens=4, width=5)
    assert 0 < low[0] < expected < high[0]


def test_all_cut_mass_is_in_the_upper_bound(toy):
    """With only the answer's own path grown, what is certainly wrong is to stop with a part of the answer."""
    prompt, one = "S:ab=", target("cd", "|")
    low, high = success_bounds(toy, VOCABULARY, [VOCABULARY.encode(prompt)], [one], prune=0.999, max_new_tokens=4)
    ids = torch.tensor([VOCABULARY.encode(prompt + "cd")])
    with torch.no_grad():
        prob_TV = toy(input_ids=ids).logits.double().softmax(-1)[0, len(prompt) - 1 :]
    reach = [1.0, *np.cumprod([float(prob_TV[t, token]) for t, token in enumerate(VOCABULARY.encode("cd"))])]
    stops = [mass * float(prob_TV[t, EOS_ID]) for t, mass in enumerate(reach)]
    assert low[0] == pytest.approx(stops[2], rel=1e-5)
    assert high[0] == pytest.approx(1 - stops[0] - stops[1], rel=1e-6)


def test_prompts_of_different_lengths_do_not_disturb_each_other(toy):
    prompts = ["S:ab=", "S:abcdefgh=", "P:abc="]
    targets = [target("c", "|"), target("cd", "|"), target("hfb")]
    together = success_bounds(
        toy, VOCABULARY, [VOCABULARY.encode(p) for p in prompts], targets, prune=1e-4, max_new_tokens=4
    )
    for i, (prompt, one) in enumerate(zip(prompts, targets, strict=True)):
        alone = success_bounds(toy, VOCABULARY, [VOCABULARY.encode(prompt)], [one], prune=1e-4, max_new_tokens=4)
        assert [together[0][i], together[1][i]] == pytest.approx([alone[0][0], alone[1][0]], rel=1e-4)


def test_a_rollout_that_cannot_stop_in_time_fails(toy):
    low, high = success_bounds(
        toy, VOCABULARY, [VOCABULARY.encode("S:ab=")], [target("cd")], prune=1e-12, max_new_tokens=2
    )
    assert low[0] == 0.0 == high[0]


def sampled_successes(model_dir, problem, accepts, n):
    """Passing draws out of n, drawn by transformers' own sampler."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir)
    ids = torch.tensor([VOCABULARY.encode(problem.prompt)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        out = model.generate(
            ids, do_sample=True, top_k=0, top_p=1.0, temperature=1.0, num_return_sequences=n, max_new_tokens=32
        )
    return sum(EOS_ID in row and accepts(VOCABULARY.decode(row)) for row in out[:, ids.shape[1] :].tolist())


@pytest.mark.parametrize("name", ["S", "N", "G"])
@pytest.mark.parametrize("n", [1500, pytest.param(12_000, marks=pytest.mark.slow)])
def test_agrees_with_sampling(name, n):
    from posttrain_diag.zoo import family

    problem = problems(name, 1)[0]
    fam = family(name)
    x = fam.word(problem.prompt)
    passed = sampled_successes(resolve_model("zoo:base"), problem, lambda text: fam.accepts(x, text), n)
    row = exact_success(resolve_model("zoo:base"), [problem], prune=1e-5).iloc[0]
    p = (row["p_low"] + row["p_high"]) / 2
    assert abs(passed / n - p) <= 4 * math.sqrt(p * (1 - p) / n) + (row["p_high"] - row["p_low"])


def test_frame():
    rows = problems("F", 3)
    frame = exact_success(resolve_model("zoo:base"), rows)
    assert list(frame.columns) == ["id", "family", "length", "p_low", "p_high", "log10_p", "closed_form_p"]
    assert frame["id"].tolist() == ["F-000", "F-001", "F-002"]
    assert np.allclose(10 ** frame["log10_p"], frame["p_low"])
    assert (frame["length"] == 8).all()


@pytest.mark.parametrize(("setting", "message"), [({"prune": 0.0}, "prune"), ({"max_new_tokens": 0}, "max_new_tokens")])
def test_settings_out_of_range(setting, message):
    with pytest.raises(UsageError, match=message):
        exact_success("nowhere", problems("S", 1), **setting)


def test_another_vocabulary_is_refused(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=40, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="40 tokens"):
        exact_success(tmp_path, problems("S", 1))
