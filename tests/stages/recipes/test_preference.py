"""preference and online-preference: token ids, reference, bill, mined pairs, resume."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_engine import STOP, FakeEngine
from store_rows import judged

from posttrain_diag.errors import UsageError
from posttrain_diag.stages.data.rows import TokenPair, load_pairs, text_pairs
from posttrain_diag.stages.recipes import online_preference, preference
from posttrain_diag.stages.recipes.online_preference import mine_pairs
from posttrain_diag.stages.trainers.callback import StageCallback
from posttrain_diag.stages.trainers.paired import fit_pairs
from posttrain_diag.stages.trainers.trl import Hooked
from posttrain_diag.types import Pair, Problem, Rollout
from posttrain_diag.zoo import mastered_problems, problems
from stages.open_session import log_likelihood, open_session

LOSSES = ("sigmoid+sft", "sigmoid", "ipo", "kto", "simpo", "orpo")
BASE_VOCABULARY = 33


def paired_problems() -> tuple[Problem, ...]:
    """S wants a third letter map behind `X|`; the model mostly copies behind `Z|`."""
    return tuple(
        replace(problem, pairs=(Pair(f"X|{problem.answer}", f"Z|{problem.prompt[2:-1]}"),))
        for problem in problems("S", 12, split="training", seed=0)
    )


def odd_pairs(folder: Path) -> list[TokenPair]:
    """Ids that no text gives: stop and padding tokens inside, and no stop at the end."""
    rows = text_pairs(open_session(folder, paired_problems()).policy.engine, paired_problems())
    rng = torch.Generator().manual_seed(0)
    out: list[TokenPair] = []
    for row in rows:
        chosen, rejected = (torch.randint(0, BASE_VOCABULARY, (n,), generator=rng).tolist() for n in (5, 7))
        out.append(replace(row, chosen_ids=tuple(chosen), rejected_ids=tuple(rejected)))
    return out


class Spy:
    """Keeps what trainers compute their losses from, and the losses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[dict[str, torch.Tensor]] = []
        self.losses: list[float] = []
        own = Hooked.compute_loss

        def compute_loss(trainer: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            loss = own(trainer, model, inputs, *rest, **more)
            self.batches.append(inputs)
            self.losses.append(float(loss))
            return loss

        monkeypatch.setattr(Hooked, "compute_loss", compute_loss)

    def sequences(self) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(prompt, response) of every sequence that was trained on."""
        out: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
        for batch in self.batches:
            for side in ("", "chosen_", "rejected_"):
                if f"{side}input_ids" not in batch:
                    continue
                ids, mask = batch[f"{side}input_ids"], batch[f"{side}attention_mask"].bool()
                trained = batch[f"{side}labels"] != -100 if side else batch["completion_mask"].bool()
                for i in range(len(ids)):
                    out.add((tuple(ids[i][mask[i] & ~trained[i]].tolist()), tuple(ids[i][trained[i]].tolist())))
        return out

    def tokens(self) -> int:
        """Attended ones of all batches."""
        names = ("attention_mask", "chosen_attention_mask", "rejected_attention_mask")
        return sum(int(batch[name].sum()) for batch in self.batches for name in names if name in batch)


@pytest.mark.parametrize("loss", LOSSES)
def test_trains_on_the_ids_given_and_bills_them(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pairs = odd_pairs(tmp_path / "made")
    session, spy = open_session(tmp_path / "run", paired_problems(), loss=loss, steps=2), Spy(monkeypatch)
    fit_pairs(session, "p", pairs)
    wanted = {(pair.prompt_ids, ids) for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)}
    sizes = [
        sum(len(v) for k, v in b.items() if k in ("input_ids", "chosen_input_ids", "rejected_input_ids"))
        for b in spy.batches
    ]
    assert sum(sizes) >= len(wanted) and spy.sequences() == wanted
    assert max(sizes) == 16  # sequences, not pairs
    assert session.state.trained_tokens == spy.tokens() > 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_the_reference_is_the_policy_at_the_start_of_the_phase(
    lora_rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(
        tmp_path, paired_problems(), loss="sigmoid", steps=3, lora_rank=lora_rank, learning_rate=3e-3
    )
    pairs, spy = text_pairs(session.policy.engine, session.inputs.train), Spy(monkeypatch)
    for phase in ("one", "two"):
        spy.losses.clear()
        fit_pairs(session, phase, pairs)
        assert spy.losses[0] == pytest.approx(math.log(2), abs=1e-5)
        assert spy.losses[-1] < 0.69
    if lora_rank:
        assert list(session.policy.model.peft_config) == ["default"]


@pytest.mark.parametrize("loss", LOSSES)
def test_chosen_gains_on_rejected(loss: str, tmp_path: Path) -> None:
    session = open_session(tmp_path, paired_problems(), loss=loss, steps=8, learning_rate=1e-3)
    pairs = text_pairs(session.policy.engine, session.inputs.train)

    def both() -> tuple[float, float]:
        chosen = sum(log_likelihood(session, session.problems[p.problem_id], p.chosen_ids) for p in pairs)
        rejected = sum(log_likelihood(session, session.problems[p.problem_id], p.rejected_ids) for p in pairs)
        return chosen, rejected

    before, _ = both(), preference.run(session)
    after = both()
    assert after[0] - after[1] > before[0] - before[1] + 1.0
    if loss == "sigmoid+sft":
        assert after[0] > before[0]


@pytest.mark.parametrize(("beta", "used"), [(None, 2.0), (5.0, 5.0)])
def test_simpo_wants_half_a_nat_per_token_whatever_its_beta(
    beta: float | None, used: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-log sigmoid(beta x (margin - 0.5)), margin in nats per token: arXiv:2405.14734, eq. 6."""
    session = open_session(tmp_path, paired_problems()[:1], loss="simpo", steps=1, beta=beta)
    pairs, spy = text_pairs(session.policy.engine, session.inputs.train), Spy(monkeypatch)
    problem = session.problems[pairs[0].problem_id]
    chosen, rejected = (
        log_likelihood(session, problem, ids) / len(ids) for ids in (pairs[0].chosen_ids, pairs[0].rejected_ids)
    )
    fit_pairs(session, "p", pairs)
    wanted = math.log1p(math.exp(-used * (chosen - rejected - 0.5)))
    assert spy.losses[0] == pytest.approx(wanted, rel=1e-4)


def test_replay_joins_the_batch(tmp_path: Path) -> None:
    retain = mastered_problems(per_family=8)
    plain = open_session(tmp_path / "plain", paired_problems(), retain=retain, steps=1)
    preference.run(plain)
    session = open_session(tmp_path / "replay", paired_problems(), retain=retain, steps=1, replay=0.5)
    preference.run(session)
    per_row = plain.state.trained_tokens / 16
    assert session.state.trained_tokens > plain.state.trained_tokens + 10 * per_row


def test_kto_needs_more_than_one_sequence_at_once(tmp_path: Path) -> None:
    session = open_session(tmp_path, paired_problems(), loss="kto", micro_batch=1)
    with pytest.raises(UsageError, match="micro_batch"):
        preference.run(session)


def draw(ids: tuple[int, ...], verdict: Any, problem_id: str = "a") -> Rollout:
    return judged(problem_id, ids, verdict)


def test_mined_pairs_join_distinct_right_and_finished_wrong_draws() -> None:
    draws = [draw((5, STOP), "pass")] * 2 + [draw((6, STOP), "pass")] + [draw((7, STOP), "fail")] * 2
    draws += [draw((8,), "truncated"), draw((9,), "error")]
    found = mine_pairs(FakeEngine(lambda _: {}), {"a": draws, "b": draws[:3], "c": draws[3:]}, 4, seed_text="0")
    assert sorted((p.problem_id, p.chosen_ids, p.rejected_ids) for p in found) == [
        ("a", (5, STOP), (7, STOP)),
        ("a", (6, STOP), (7, STOP)),
    ]


def test_mined_pairs_are_bounded_and_seeded() -> None:
    draws = [draw((i, STOP), "pass" if i < 6 else "fail") for i in range(1, 11)]
    found = {seed: mine_pairs(FakeEngine(lambda _: {}), {"a": draws}, 4, seed_text=str(seed)) for seed in (0, 1)}
    assert len(set(found[0])) == 4 and found[0] != found[1]
    assert found[0] == mine_pairs(FakeEngine(lambda _: {}), {"a": draws}, 4, seed_text="0")


def test_rounds_draw_anew_and_resume(tmp_path: Path) -> None:
    train = problems("S", 12, split="training", seed=0)
    settings = {"steps": 5, "rounds": 2, "own_rollouts": 24, "learning_rate": 1e-3}
    session = open_session(tmp_path, train, **settings)
    online_preference.run(session)
    first, second = (load_pairs(tmp_path / f"pairs-{i}.jsonl") for i in (0, 1))
    assert session.state.steps == 5 and session.state.rollouts == 2 * 12 * 24
    assert first and second and set(first) != set(second)
    kept = {name: p.detach().clone() for name, p in session.policy.model.named_parameters()}

    shutil.rmtree(tmp_path / "phases" / "round-1")  # killed before the second round's pairs were written
    (tmp_path / "pairs-1.jsonl").unlink()
    again = open_session(tmp_path, train, **settings)
    online_preference.run(again)
    assert load_pairs(tmp_path / "pairs-1.jsonl") == second
    assert again.state.rollouts == 12 * 24  # the second round's are out of the store
    assert all(torch.equal(p, kept[name]) for name, p in again.policy.model.named_parameters())


class Killed(Exception):
    pass


@pytest.mark.parametrize("loss", ["sigmoid", "kto"])
def test_a_killed_phase_goes_on_to_the_same_weights(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"loss": loss, "steps": 5, "watch_every": 2, "learning_rate": 3e-3}

    def trained(folder: Path) -> dict[str, torch.Tensor]:
        session = open_session(folder, paired_problems(), **settings)
        preference.run(session)
        assert session.state.steps == 5
        return {name: p.detach().clone() for name, p in session.policy.model.named_parameters()}

    whole, own = trained(tmp_path / "whole"), StageCallback.on_step_end

    def kill(callback: StageCallback, args: Any, state: Any, control: Any, **more: Any) -> None:
        own(callback, args, state, control, **more)
        if state.global_step == 3:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(StageCallback, "on_step_end", kill)
        with pytest.raises(Killed):
            trained(tmp_path / "killed")
    again = trained(tmp_path / "killed")
    assert all(torch.equal(value, whole[name]) for name, value in again.items())


def test_nothing_to_mine_says_what_to_do(tmp_path: Path) -> None:
    session = open_session(tmp_path, problems("T", 6, split="training", seed=0), own_rollouts=4)
    with pytest.raises(UsageError, match=r"none of 6 problems has both .*0 have a passing one.*sft"):
        online_preference.run(session)


def test_later_rounds_end_where_nothing_is_left_to_mine(tmp_path: Path) -> None:
    session = open_session(tmp_path, problems("S", 6, split="training", seed=0), steps=4, rounds=2, own_rollouts=16)
    (tmp_path / "pairs-1.jsonl").write_text("")
    (tmp_path / "pairs-1.bill.json").write_text('{"generated_tokens": 0, "rollouts": 0, "extra": {}}')
    online_preference.run(session)
    assert session.state.steps == 2 and "before round 2" in (session.state.stopped or "")
