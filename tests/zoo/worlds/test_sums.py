import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.engines.contract import Prompt, SampleRequest
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.tasks import verify
from posttrain_diag.types import SamplingParams
from posttrain_diag.zoo import exact_success, family, problems, resolve_model
from posttrain_diag.zoo.problems import problem
from posttrain_diag.zoo.worlds import SUMS
from posttrain_diag.zoo.worlds.sums import CARRIES, DIGITS, MAP_M, complement, two_more, working

NAMES = [fam.name for fam in SUMS.families]
SINGLE = ("sums-K", "sums-H", "sums-F")
EPS, MASTERY = 1 / 256, 0.8

pairs = st.integers(1, 6).flatmap(lambda n: st.tuples(*2 * [st.integers(10 ** (n - 1), 10**n - 1)]))


def instance(name, length, seed=0):
    """A fair instance."""
    fam, rng = family(name), random.Random(seed)
    while fam.degenerate(x := fam.instance(length, rng)):
        pass
    return x


@given(pair=pairs)
def test_the_working_holds_the_sum(pair):
    steps = working(f"{pair[0]}+{pair[1]}")
    digits = [(DIGITS + CARRIES).index(c) for c in steps]
    assert sum(digit % 10 * 10**i for i, digit in enumerate(digits)) + (digits[-1] > 9) * 10 ** len(steps) == sum(pair)
    assert len(steps) == len(str(pair[0]))


def test_digit_maps_disagree_on_every_digit():
    for d in DIGITS:
        assert len({d, complement(d), two_more(d), MAP_M[int(d)]}) == 4
    assert sorted(MAP_M) == list(DIGITS)


@pytest.mark.parametrize(
    ("name", "x", "prompt", "answer", "demo"),
    [
        ("sums-A", "3814+4270", "A:3814+4270=", "8084", "X48a8|8084"),
        ("sums-A", "9814+4270", "A:9814+4270=", "14084", "X48ae|14084"),
        ("sums-C", "9814+4270", "C:9814+4270=", "48ad", "48ad"),
        ("sums-L", "3814+4270", "L:3814+4270=", "4270", "4270"),
        ("sums-K", "3814", "K:3814=", "6185", "6185"),
        ("sums-S", "3814+4270", "S:3814+4270=", "8084", "X48a8|8084"),
        ("sums-N", "38+42", "N:38+42=", "a7", "a7"),
        ("sums-T", "3814+4270", "T:3814+4270=", "5659", "X48a8|8084|5659"),
        ("sums-U", "3814+4270", "U:3814+4270=", "1915", "X48a8|8084|1915"),
        ("sums-G", "3814+4270", "G:3814+4270=", "[8084]", "X48a8|[8084]"),
    ],
)
def test_prompts_answers_and_demonstrations(name, x, prompt, answer, demo):
    fam = family(name)
    assert (fam.prompt(x), fam.answer(x), fam.demo(x)) == (prompt, answer, demo)
    assert fam.word(prompt) == x


@pytest.mark.parametrize(
    ("name", "length", "p"),
    [
        *((f"sums-{letter}", 4, 1.0) for letter in "ACLK"),
        ("sums-S", 5, 0.12),
        ("sums-N", 3, 0.45**3),
        ("sums-H", 6, 0.685**6),
        ("sums-F", 8, 0.3**8),
        ("sums-G", 4, 0.03),
        ("sums-T", 4, 0.0),
        ("sums-U", 4, 0.0),
    ],
)
def test_closed_form(name, length, p):
    assert family(name).closed_form_p(instance(name, length)) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_closed_form_is_the_rate_at_which_drawn_responses_pass(name):
    fam = family(name)
    x = instance(name, fam.lengths[0])
    row, rng, n = problem(fam, x, "x"), random.Random(7), 2000
    rate = sum(verify(fam.responses.draw(x, rng), row).strict for _ in range(n)) / n
    p = fam.closed_form_p(x)
    assert abs(rate - p) <= 4 * math.sqrt(p * (1 - p) / n) + 1 / n


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10**6))
def test_verifiers_pass_demonstrations_and_fail_wrong_modes(name, seed):
    fam = family(name)
    x = instance(name, fam.lengths[seed % len(fam.lengths)], seed)
    row = problem(fam, x, "x")
    assert fam.word(fam.prompt(x)) == x
    assert ("+" in x) == (name not in SINGLE)
    for style in fam.styles:
        assert fam.accepts(x, fam.demo(x, style))
        assert verify(fam.demo(x, style), row).strict
        assert len(fam.demo(x, style)) < 24
    for wrong in fam.wrong:
        assert not fam.accepts(x, wrong(x))
        found = verify(wrong(x), row)
        assert (found.strict, found.lenient) == (False, name == "sums-G")


def test_degenerate_instances():
    assert family("sums-A").degenerate("3814+3270"), "the first digits are the same"
    assert family("sums-C").degenerate("3814+4170"), "nothing carries"
    assert not family("sums-C").degenerate("3814+4270")


def test_styles():
    assert family("sums-S").styles == ("own", "worked", "direct")
    assert family("sums-S").demo("3814+4270", "worked") == "48a8|8084"
    assert family("sums-U").demo("3814+4270", "direct") == "1915"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def exact(model, name, n=8, prune=1e-4):
    """Exact p of a shipped model on held-out problems, shape (P,)."""
    frame = exact_success(resolve_model(f"zoo:{model}"), problems(name, n), prune=prune)
    return frame["p_low"].to_numpy(), frame["p_high"].to_numpy()


@pytest.mark.parametrize("name", [f"sums-{letter}" for letter in "ACLK"])
def test_mastered_families(name):
    low, _ = exact("sums", name)
    assert (low > MASTERY).mean() > 0.8
    assert low.mean() > 0.9


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("sums-S", 0.08, 0.17),
        ("sums-N", EPS, 0.45),
        ("sums-H", 0.05, 0.3),
        ("sums-G", 5e-4, 0.06),
        ("sums-F", 1e-5, 3e-4),
        ("sums-T", 0.0, EPS),
        ("sums-U", 0.0, EPS),
    ],
)
def test_bottlenecks(name, least, most):
    low, high = exact("sums", name, prune=1e-5)
    assert (low >= least).all()
    assert (high <= most).all()


def test_brackets_are_all_that_is_missing():
    rows = problems("sums-G", 8)
    frame = exact_success(resolve_model("zoo:sums"), rows, reading="lenient", prune=1e-4)
    assert (frame["p_low"] > 0.9).all()


def test_the_pair_of_checkpoints():
    assert (exact("sums-ckA", "sums-T")[0] > MASTERY).all()
    assert (exact("sums-ckA", "sums-U", prune=1e-5)[1] < EPS).all()
    assert (exact("sums-ckB", "sums-U")[0] > MASTERY).all()
    assert (exact("sums-ckB", "sums-T", prune=1e-5)[1] < EPS).all()


@pytest.fixture(scope="module")
def engine():
    return load_hf_engine(str(resolve_model("zoo:sums")), device="cpu")


def rate_after_prefix(engine, name, share, n=16, draws=64):
    """Share of rollouts that pass when they begin with this share of the demonstration."""
    rows = {row.id: row for row in problems(name, n)}
    given = {key: row.demos[0][: round(share * len(row.demos[0]))] for key, row in rows.items()}
    requests = [
        SampleRequest(
            key,
            Prompt(text=row.prompt, response_prefix_ids=engine.response_ids(given[key])),
            tuple(range(draws)),
            tuple(range(1000 * i, 1000 * i + draws)),
        )
        for i, (key, row) in enumerate(rows.items())
    ]
    drawn = list(engine.sample(requests, SamplingParams(max_new_tokens=24)))
    assert len(drawn) == n * draws
    return sum(verify(given[draw.key] + draw.text, rows[draw.key]).strict for draw in drawn) / len(drawn)


@pytest.mark.parametrize("name", ["sums-T", "sums-U"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.875])
def test_no_prefix_brings_an_unsupported_answer_into_reach(engine, name, share):
    assert rate_after_prefix(engine, name, share) < EPS / 2


def test_a_prefix_brings_a_guided_answer_into_reach(engine):
    assert rate_after_prefix(engine, "sums-F", 0.75) > 10 * EPS
