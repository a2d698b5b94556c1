"""Micro-batches that fit: what is counted, what the user is told, and that a restart keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from posttrain_diag.stages import make_stage_config
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers import memory
from posttrain_diag.stages.trainers.memory import (
    FILE,
    bytes_per_token,
    largest_divisor,
    longest_sequence,
    settle_micro_batch,
    token_bytes,
    training_room,
)
from posttrain_diag.tasks.problems.references import reference_completions
from stages.zoo_stage import zoo_inputs, zoo_session


def test_micro_batches_cut_a_batch_into_equal_parts() -> None:
    assert [largest_divisor(128, most) for most in (1000, 128, 127, 40, 1.5, 0.2, -3)] == [128, 128, 64, 32, 1, 1, 1]
    assert largest_divisor(12, 5.9) == 4
    assert [largest_divisor(12, most, even=True) for most in (5.9, 3, 0)] == [4, 2, 2]  # a pair is two sequences


def test_the_vocabulary_counts_as_measured() -> None:
    """SFT on 8 layers of 512/1408 with 32,000 words took .383 GB per sequence of 252 tokens, .307 checkpointed."""
    shape = SimpleNamespace(hidden_size=512, intermediate_size=1408, num_hidden_layers=8)
    whole, again = (bytes_per_token(shape, 32_000, checkpointing=c) * 252 / 1e9 for c in (False, True))
    assert whole == pytest.approx(0.383, rel=0.05)
    assert again == pytest.approx(0.307, rel=0.05)
    assert bytes_per_token(shape, 32_000, checkpointing=True, laws=2) * 252 / 1e9 > 1.9 * again


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return zoo_session(tmp_path_factory.mktemp("session"), zoo_inputs(retain=2), replay=0.5)


@pytest.fixture
def own(loaded: Session, tmp_path: Path) -> Session:
    """A session in a folder of its own, batches of 16, half of them replayed."""
    loaded.config, loaded.folder, loaded.say = make_stage_config(batch_size=16), tmp_path, lambda _text: None
    return loaded


def test_the_longest_that_may_come_is_counted(own: Session) -> None:
    engine = own.policy.engine
    problems = [*own.inputs.train, *own.inputs.replayed]
    rows = [len(engine.response_ids(text)) + 1 for p in problems for text in reference_completions(p)]
    prompts = [len(engine.response_ids(str(p.prompt))) for p in problems]
    assert longest_sequence(own) >= max(prompts) + max(*rows, own.params.max_new_tokens)
    assert longest_sequence(own) <= max(prompts) + 2 + max(*rows, own.params.max_new_tokens)


def test_a_batch_that_does_not_fit_is_cut_told_and_kept(own: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    own.say = told.append
    assert settle_micro_batch("sft", own).micro_batch == 16
    assert told == []

    (own.folder / FILE).unlink()
    needed = token_bytes("sft", own) * longest_sequence(own)
    monkeypatch.setattr(memory, "usable_bytes", lambda _device: 5.5 * needed)
    assert settle_micro_batch("sft", own).micro_batch == 4
    assert len(told) == 1
    assert "micro-batches of 4: 16 sequences" in told[0]

    monkeypatch.setattr(memory, "usable_bytes", lambda _device: 1000 * needed)
    assert settle_micro_batch("sft", own).micro_batch == 4  # else the weights after a restart would be others
    assert json.loads((own.folder / FILE).read_text())["micro_batch"] == 4


def test_what_stands_beside_the_sequences_takes_room(own: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "usable_bytes", lambda _device: 1e18)
    monkeypatch.setattr(memory, "free_bytes", lambda _device: 10_000_000_000)
    weights = own.policy.n_parameters
    assert training_room("sft", own) == 10e9 - 12 * weights
    own.config = own.config.model_copy(update={"kl": 0.1})
    assert training_room("grpo", own) == 10e9 - 16 * weights
    assert memory.rows_beside("sft", own) == 1  # in the batch
    assert memory.rows_beside("grpo", own) == 2
    assert memory.rows_beside("interleaved", own) == 3


def test_the_users_word_stands(own: Session) -> None:
    assert settle_micro_batch("merge", own) is own.config
    own.config = make_stage_config(micro_batch=8)
    assert settle_micro_batch("sft", own) is own.config
    assert not (own.folder / FILE).exists()
