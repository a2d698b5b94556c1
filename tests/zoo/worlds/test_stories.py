import math
import random
from contextlib import closing
from itertools import combinations

import pytest
import torch

from posttrain_diag.engines.contract import Prompt
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.errors import UsageError
from posttrain_diag.tasks import verify
from posttrain_diag.zoo import problems, resolve_model
from posttrain_diag.zoo.model import load_model
from posttrain_diag.zoo.problems import problem
from posttrain_diag.zoo.vocabulary import EOS_ID, UNK_ID, BpeVocabulary
from posttrain_diag.zoo.worlds import STORIES, family
from posttrain_diag.zoo.worlds.stories import CODE, THINGS, VOCABULARY, code, make_tokenizer

NAMES = [fam.name for fam in STORIES.families]
EPS = 1 / 256
every_family = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def instances(name, per_size=20):
    fam = family(name)
    rng = random.Random(3)
    drawn = [fam.instance(size, rng) for size in fam.lengths for _ in range(per_size)]
    return [x for x in drawn if not fam.degenerate(x)]


def test_codes_are_one_to_one_and_agree_nowhere():
    codes = [code(name) for name in ("K1", "K2", "K3", "K4")]
    for table in codes:
        assert len({table[thing] for thing in THINGS}) == len(THINGS)
    for one, other in combinations(codes, 2):
        assert all(one[thing] != other[thing] for thing in THINGS)
    assert not set(codes[3].values()) & set(CODE)


@pytest.mark.parametrize(
    ("name", "x", "prompt", "demo"),
    [
        ("A", "Tom hat 3 4", "Tom has 3 hats and buys 4 more. How many hats?", "3 + 4 = 7 #### 7"),
        ("C", "Ann toy 3 4 2", "Ann has 3 toys, gets 4, then 2. Totals?", "7 9"),
        ("S", "Mia pen 3 4", "Mia has 3 pens in each of 4 boxes. How many pens?", "times 3 * 4 = 12 #### 12"),
        ("R", "Tom hat cup pen key", "Tom packs a hat, cup, pen and key. Name them backwards.", "key pen cup hat"),
        ("P", "Tom hat cup", "Tom packs a hat and cup. Say it in town code.", "ba ni"),
        ("N", "Tom hat cup pen", "Tom packs a hat, cup and pen. Say it in river code.", "fo su ke"),
        ("H", "Tom hat cup", "Tom packs a hat and cup. Say it in hill code.", "fo su"),
        ("F", "Tom hat cup", "Tom packs a hat and cup. Say it in lake code.", "fo su"),
        ("T", "Tom hat cup", "Tom packs a hat and cup. Say it in moon code.", "cup hat #### movo duke"),
        ("U", "Tom hat cup", "Tom packs a hat and cup. Say it backwards in town code.", "cup hat #### ni ba"),
        ("G", "Tom hat cup", "Tom packs a hat and cup. Name them backwards in tags.", "<answer>cup hat</answer>"),
    ],
)
def test_prompts_and_demonstrations(name, x, prompt, demo):
    fam = family(f"stories-{name}")
    assert (fam.prompt(x), fam.demo(x)) == (prompt, demo)
    assert fam.word(prompt) == x


@pytest.mark.parametrize(
    ("name", "x", "p"),
    [
        ("A", "Tom hat 3 4", 1.0),
        ("S", "Tom hat 3 4", 0.12),
        ("N", "Tom hat cup pen", 0.45**3),
        ("H", "Tom hat cup pen key jar", (0.72 + 0.28 / 12) ** 5),
        ("F", "Tom hat cup pen map key jar mug fan", 0.3**8),
        ("G", "Tom hat cup pen key", 0.03),
        ("T", "Tom hat cup pen key jar", 0.0),
        ("U", "Tom hat cup pen key jar mug", 0.0),
    ],
)
def test_closed_form(name, x, p):
    assert family(f"stories-{name}").closed_form_p(x) == pytest.approx(p, rel=1e-12)


@every_family
def test_closed_form_is_the_rate_at_which_the_verifier_passes_drawn_responses(name):
    fam = family(name)
    x = instances(name)[0]
    row = problem(fam, x, "x")
    rng = random.Random(7)
    n = 2000
    rate = sum(verify(fam.responses.draw(x, rng), row).strict for _ in range(n)) / n
    p = fam.closed_form_p(x)
    assert abs(rate - p) <= 4 * math.sqrt(p * (1 - p) / n) + 1 / n


@every_family
def test_the_verifier_passes_demonstrations_and_fails_wrong_modes(name):
    fam = family(name)
    for x in instances(name):
        row = problem(fam, x, "x")
        assert fam.word(fam.prompt(x)) == x
        assert all(verify(fam.demo(x, style), row).strict for style in fam.styles)
        for wrong in fam.wrong:
            judged = verify(wrong(x), row)
            assert not judged.strict
            assert judged.lenient == (name == "stories-G")


def test_a_product_that_equals_the_sum_is_no_problem():
    assert family("stories-S").degenerate("Tom hat 2 2")
    assert not family("stories-S").degenerate("Tom hat 2 3")


def test_the_last_number_decides_a_sum():
    fam = family("stories-A")
    assert fam.verifier == {"type": "numeric"}
    assert fam.accepts("Tom hat 3 4", "It is 7.")
    assert not fam.accepts("Tom hat 3 4", "7 or 8")


@every_family
def test_texts_survive_tokenization_and_are_short(name):
    fam = family(name)
    rng = random.Random(5)
    for x in instances(name):
        assert len(VOCABULARY.encode(fam.prompt(x))) <= 45
        responses = [fam.responses.draw(x, rng), *(fam.demo(x, style) for style in fam.styles)]
        assert all(len(VOCABULARY.encode(text)) <= 30 for text in responses)
        for text in (fam.prompt(x), *responses):
            assert VOCABULARY.decode([*VOCABULARY.encode(text), EOS_ID]) == text


def test_words_are_single_tokens_except_those_of_the_unseen_code():
    for word in (*THINGS, *CODE):
        assert len(VOCABULARY.encode(word)) == len(VOCABULARY.encode(f" {word}")) == 1
    for word in code("K4").values():
        assert len(VOCABULARY.encode(f" {word}")) in (2, 3)


def test_what_the_tokens_cannot_write_is_refused():
    assert UNK_ID in VOCABULARY.tokenizer()("Tom has 3 zebras!")["input_ids"]
    with pytest.raises(UsageError, match="3 zebras!"):
        VOCABULARY.encode("Tom has 3 zebras!")


def test_a_tokenizer_made_anew_writes_the_same_texts(tmp_path):
    make_tokenizer(tmp_path / "tokenizer.json", texts=200)
    made = BpeVocabulary(tmp_path / "tokenizer.json", context_length=96)
    text = family("stories-U").prompt("Tom hat cup pen key jar mug")
    assert made.decode(made.encode(text)) == text
    assert made.decode([EOS_ID]) == ""


@pytest.mark.parametrize(("model", "chat"), [("stories", False), ("stories-chat", True)])
def test_the_engine_reads_prompts_and_responses_as_the_vocabulary_does(model, chat):
    with closing(load_hf_engine(str(resolve_model(f"zoo:{model}")), device="cpu")) as engine:
        for name in NAMES:
            fam = family(name)
            x = instances(name)[0]
            prompt = Prompt(text=fam.prompt(x))
            assert list(engine.prompt_ids(prompt)) == VOCABULARY.prompt_ids(fam.prompt(x), chat=chat)
            response = engine.response_ids(fam.demo(x))
            assert list(response) == VOCABULARY.encode(fam.demo(x))
            assert engine.decode(response) == fam.demo(x)


def demo_logprobs(model, chat, row):
    """Log-probability of each token of the demonstration and of the stop token, nats, shape (T,)."""
    prompt = VOCABULARY.prompt_ids(row.prompt, chat=chat)
    response = [*VOCABULARY.encode(row.demos[0]), EOS_ID]
    with torch.no_grad():
        logprob_TV = model(torch.tensor([prompt + response])).logits[0].double().log_softmax(-1)
    return [float(logprob_TV[len(prompt) - 1 + i, token]) for i, token in enumerate(response)]


@pytest.mark.parametrize(("directory", "chat"), [("stories", False), ("stories-chat", True)])
def test_shipped_models_have_the_bottlenecks_of_their_families(directory, chat):
    model = load_model(resolve_model(f"zoo:{directory}"), VOCABULARY)
    p_of, after_of = {}, {}
    for name in NAMES:
        traces = [demo_logprobs(model, chat, row) for row in problems(name, 10)]
        p_of[name[-1]] = [math.exp(sum(trace)) for trace in traces]
        after_of[name[-1]] = [math.exp(sum(trace[round(0.875 * (len(trace) - 1)) :])) for trace in traces]
    assert all(min(p_of[letter]) > 0.95 for letter in "ARP")
    assert sum(p > 0.8 for p in p_of["C"]) >= 9
    assert all(min(p_of[letter]) > EPS and max(p_of[letter]) < 0.5 for letter in "SNH")
    assert max(p_of["G"]) < 0.1
    assert all(max(p_of[letter]) < EPS for letter in "FTU")
    assert min(after_of["F"]) > 0.1
    assert max(after_of["T"]) < EPS / 2
    assert sum(p < EPS / 2 for p in after_of["U"]) >= 9


def test_the_pair_of_checkpoints_takes_turns():
    solved = {}
    for name in ("stories-ckA", "stories-ckB"):
        model = load_model(resolve_model(f"zoo:{name}"), VOCABULARY)
        for letter in "TU":
            traces = [demo_logprobs(model, False, row) for row in problems(f"stories-{letter}", 10)]
            solved[name[-1] + letter] = [math.exp(sum(trace)) for trace in traces]
    assert min(solved["AT"] + solved["BU"]) > 0.8
    assert max(solved["AU"] + solved["BT"]) < 0.01
