import random

import pytest
import torch

from posttrain_diag.zoo.model import new_model
from posttrain_diag.zoo.training import Schedule, collate, train
from posttrain_diag.zoo.vocabulary import EOS_ID, PAD_ID
from posttrain_diag.zoo.worlds.strings import VOCABULARY


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def copies(rng: random.Random) -> tuple[str, str]:
    x = rng.choice(["ab", "cde"])
    return f"R:{x}=", x


def test_collate_trains_on_the_response_and_its_stop_token_only():
    ids, targets = collate([("R:ab=", "ba"), ("R:abc=", "cba")], VOCABULARY)
    assert ids.tolist()[0] == [*VOCABULARY.encode("R:ab=ba"), EOS_ID, PAD_ID, PAD_ID]
    assert targets.tolist()[0] == [-100] * 4 + [*VOCABULARY.encode("ba"), EOS_ID] + [-100, -100]
    assert targets.tolist()[1] == [-100] * 5 + [*VOCABULARY.encode("cba"), EOS_ID]


def test_a_few_steps_lower_the_loss_and_report_progress():
    model = new_model(0, VOCABULARY, "llama")
    reports: list[tuple[str, int, int, float]] = []
    schedule = Schedule(40, batch_size=16, learning_rate=3e-3, warmup_steps=5)
    loss = train(
        model, copies, schedule, VOCABULARY, seed=0, name="toy", progress=lambda *report: reports.append(report)
    )
    assert [report[:3] for report in reports] == [("toy", 20, 40), ("toy", 40, 40)]
    assert loss == reports[-1][3] < 0.5 * reports[0][3]


def test_seeded_and_without_touching_global_randomness():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (new_model(seed, VOCABULARY, "llama") for seed in (1, 1, 2))
    for model in (one, two):
        train(model, copies, Schedule(3, batch_size=4), VOCABULARY, seed=9)
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [dict(m.named_parameters())["model.embed_tokens.weight"] for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
