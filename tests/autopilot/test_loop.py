"""The state machine of a run, with training and analysing replaced by arithmetic."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from posttrain_diag.autopilot.bill import BudgetSpent, Metered, analysis_tokens
from posttrain_diag.autopilot.journal import Journal
from posttrain_diag.autopilot.judge import judge
from posttrain_diag.autopilot.state import AutopilotState
from posttrain_diag.errors import DiagError, UsageError
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.tasks import load_tasks

from .fake_world import Killed, Model, World, estimate, gains, measured, read_model, tasks_file


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def outcomes(result: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    return [(r["stage"], r["outcome"], r["start"]) for r in result["rounds"]]


def test_checkpoints_are_analysed_under_the_token_cap_of_the_start(world: World) -> None:
    """The start's analysis settles it (8, in this world); another cap would make the runs incomparable."""
    world.effects = {"grpo": gains(0.4)}
    world.run(retain=world.retain)
    assert [config.max_new_tokens for config in world.configs] == [None, 8, 8]


def test_a_run_to_its_target(world: World) -> None:
    world.effects = {"grpo": gains(0.4), "rft": gains(0.4)}
    result = world.run(retain=world.retain)
    assert outcomes(result) == [("grpo", "kept", 0), ("grpo", "kept", 1)]
    assert world.work == [
        "analyze rounds/00-start 64",
        "train rounds/01-grpo/stage",
        "analyze rounds/01-grpo/analysis 64",
        "compare rounds/00-start rounds/01-grpo/analysis",
        "train rounds/02-grpo/stage",
        "analyze rounds/02-grpo/analysis 64",
        "compare rounds/01-grpo/analysis rounds/02-grpo/analysis",
        "compare rounds/00-start rounds/02-grpo/analysis",
    ]
    assert (result["end"], result["checkpoint"]) == ("target", str(world.out / "checkpoint"))
    assert read_model(result["checkpoint"]).skill == 1.0
    assert [result[key]["pass@1"]["value"] for key in ("before", "after")] == [0.2, 1.0]
    assert [r["before"]["pass@1"]["value"] for r in result["rounds"]] == pytest.approx([0.2, 0.6])
    # every measurement is made once: the second stage takes over what the first measured of its checkpoint
    assert [given is None for given in world.given] == [True, False]
    assert world.given[1] == measured(Model(0.6000000000000001), *halves(world))
    assert [r["tokens"]["measured"] for r in result["rounds"]] == [80, 40]
    assert result["tokens"]["total"] == 3 * 1000 + 2 * 510 + 120
    assert result["commands"][1].startswith(f"diag train {world.out}/rounds/00-start --stage grpo")
    chosen = world.told("chosen")[0]
    assert chosen["not_chosen"] == {
        "merge": "no siblings",
        "rft": "comes after grpo: expected gain +0.300 [+0.000, +0.300]",
    }


def halves(world: World) -> tuple[Any, Any]:
    """Held-out and measured retained problems."""
    from posttrain_diag.stages import StageInputs

    retain = load_tasks(world.retain).problems
    return load_tasks(world.tasks).problems, StageInputs("", (), (), (), retain).retained


def test_killed_at_every_boundary_it_goes_on_to_the_same_end_and_does_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects = {"grpo": gains(0.8, -0.5), "rft": gains(0.8), "rloo": UsageError("no")}
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # what is tested is the order of writes

    def fresh() -> World:
        shutil.rmtree(tmp_path / "w", ignore_errors=True)
        return World(tmp_path / "w", plan=[("rft", 0.3), ("grpo", 0.5), ("rloo", 0.6)], effects=effects)

    def files(world: World) -> Any:
        texts = [(world.out / name).read_text() for name in ("result.json", "state.json")]
        return world.work, world.events(), texts

    world = fresh()
    result = world.run(retain=world.retain, pilot=True)
    assert [row[:2] for row in outcomes(result)] == [
        ("rloo", "failed"), ("grpo", "rolled back"), ("grpo", "rolled back"), ("rft", "kept"),
    ]  # fmt: skip
    whole = files(world)
    save, tell, boundary = AutopilotState.save, Journal.tell, 0
    for at in range(1, 200):
        world, seen = fresh(), [0]

        def count(seen: list[int] = seen, at: int = at) -> None:
            seen[0] += 1
            if seen[0] == at:
                raise Killed

        def killed_save(self: AutopilotState, path: Path, count: Any = count) -> None:
            count()
            save(self, path)

        def killed_tell(self: Journal, *args: Any, count: Any = count, **kwargs: Any) -> None:
            count()
            tell(self, *args, **kwargs)

        monkeypatch.setattr(AutopilotState, "save", killed_save)
        monkeypatch.setattr(Journal, "tell", killed_tell)
        try:
            world.run(retain=world.retain, pilot=True)
        except Killed:
            boundary += 1
            world.run(retain=world.retain, pilot=True)  # the count is past its mark: nothing kills this one
        else:
            break
        assert files(world) == whole, at
    assert boundary > 30


def test_no_gain_is_rolled_back_and_the_next_stage_starts_where_it_did(world: World) -> None:
    world.effects = {"grpo": gains(-0.01), "rft": gains(0.8)}
    result = world.run()
    assert outcomes(result) == [("grpo", "rolled back", 0), ("rft", "kept", 0)]
    assert "not beyond chance" in result["rounds"][0]["reason"]
    assert read_model(result["checkpoint"]).skill == 1.0
    assert world.told("rolled back")[0]["verdict"]["gain"]["value"] == pytest.approx(-0.015625)
    assert world.told("chosen")[1]["not_chosen"]["grpo"] == "rolled back from this checkpoint in round 1"


def test_after_a_kept_stage_a_rolled_back_one_may_be_tried_again(world: World) -> None:
    world.effects = {"grpo": lambda m, _: Model(1.0) if m.skill > 0.5 else m, "rft": gains(0.4)}
    result = world.run()
    assert outcomes(result) == [("grpo", "rolled back", 0), ("rft", "kept", 0), ("grpo", "kept", 2)]
    assert "weights are the start's" in result["rounds"][0]["reason"]
    assert "analyze rounds/01-grpo/analysis 64" not in world.work  # the same weights need no second analysis


def test_nothing_kept_leaves_the_start(world: World) -> None:
    world.effects = {"grpo": gains(0.0), "rft": UsageError("none of 96 draws passed")}
    result = world.run()
    assert outcomes(result) == [("grpo", "rolled back", 0), ("rft", "failed", 0)]
    assert (result["end"], result["checkpoint"]) == ("no gain", str(world.folder / "start"))
    assert not (world.out / "checkpoint").exists()
    assert "grpo: rolled back from this checkpoint in round 1; rft: failed" in result["reason"]
    assert "none of 96 draws passed" in world.told("failed")[0]["text"]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ([("grpo", 0.02)], "expected gain +0.020, not above 0.02"),
        ([("sft", 0.5)], "sft: needs demonstrations"),
        ([], "no siblings"),
    ],
)
def test_without_an_expected_gain_nothing_is_run(world: World, plan: list[tuple[str, float]], reason: str) -> None:
    world.plan = plan
    result = world.run()
    assert (result["end"], result["rounds"]) == ("no gain", [])
    assert reason in result["reason"]


def test_demonstrations_among_the_training_tasks_let_sft_run(world: World) -> None:
    world.plan, world.effects = [("sft", 0.5)], {"sft": gains(0.8)}
    tasks_file(Path(world.train_tasks), 12, demos=True, name="t")
    assert outcomes(world.run()) == [("sft", "kept", 0)]


def forgets(model: Model, config: Any) -> Model:
    """Retention is what is replayed."""
    return Model(1.0, 0.5 if config.replay is None else 0.97 if config.replay >= 0.75 else 0.6)


def test_a_stage_rolled_back_for_retention_is_tried_once_with_more_replay(world: World) -> None:
    world.effects = {"grpo": forgets, "rft": gains(0.8)}
    result = world.run(retain=world.retain)
    assert outcomes(result) == [("grpo", "rolled back", 0), ("grpo", "kept", 0)]
    assert [dict(r["settings"]) for r in result["rounds"]] == [{}, {"replay": 0.75}]
    assert result["rounds"][1]["retry_of"] == 1
    assert "retention fell below 0.95 of the start's" in result["rounds"][0]["reason"]
    assert "rolled back in round 1 for retention alone" in world.told("chosen")[1]["text"]
    assert "--set replay=0.75" in result["rounds"][1]["commands"][0]


def test_a_second_failure_or_the_users_own_replay_is_not_retried(tmp_path: Path) -> None:
    world = World(tmp_path / "a", effects={"grpo": gains(0.8, -0.5), "rft": gains(0.8)})
    result = world.run(retain=world.retain)
    assert outcomes(result) == [("grpo", "rolled back", 0), ("grpo", "rolled back", 0), ("rft", "kept", 0)]
    world = World(tmp_path / "b", effects={"grpo": forgets, "rft": gains(0.8)})
    result = world.run(retain=world.retain, settings={"replay": 0.6})
    assert outcomes(result) == [("grpo", "rolled back", 0), ("rft", "kept", 0)]
    assert "replay share was set to 0.6 by the user" in world.told("no retry")[0]["text"]


def test_an_undetermined_verdict_draws_more_at_most_twice(world: World) -> None:
    world.needed, world.verdict = 5000, lambda model, rollouts: "undetermined"
    result = world.run()
    assert [config.rollouts for config in world.configs] == [None, 256, 1024]
    assert (result["end"], result["reason"]) == ("undetermined", "draw more")
    assert len(world.told("top up")) == 2


def test_once_decided_it_goes_on_and_the_next_checkpoint_begins_anew(world: World) -> None:
    world.needed = 100
    world.verdict = lambda model, n: "saturated" if model.skill > 0.9 else "reshaping" if n > 99 else "undetermined"
    world.effects = {"grpo": gains(0.4)}
    result = world.run()
    assert outcomes(result) == [("grpo", "kept", 0), ("grpo", "kept", 1)]
    assert [config.rollouts for config in world.configs] == [None, 100, None, 100, None]


def test_a_broken_instrument_ends_the_run(world: World) -> None:
    world.verdict = lambda model, rollouts: "instrument"
    result = world.run()
    assert result["end"] == "instrument"
    assert "mend the golds" in result["reason"]


def test_the_number_of_stages_is_limited(world: World) -> None:
    world.effects = {"grpo": gains(0.1), "rft": gains(0.1)}
    result = world.run(max_stages=2)
    assert (len(result["rounds"]), result["end"]) == (2, "stages")


def test_a_stage_gets_what_is_left_less_what_judging_it_takes(world: World) -> None:
    world.effects = {"grpo": gains(0.3)}
    result = world.run(budget_tokens=20_000)
    first = result["rounds"][0]["settings"]["budget_tokens"]
    per_draw, looks = 1000 / (64 * 8), 1 + 4  # grpo: 100 steps, a look every 25
    aside = 1000 + round(per_draw * (2 * 8 * 64 + looks * 2 * 8))
    assert first == 20_000 - 1000 - aside
    assert result["end"] in ("target", "budget")
    assert result["tokens"]["total"] <= 20_000


def test_a_stage_is_not_begun_with_too_little_left(world: World) -> None:
    result = world.run(budget_tokens=4_000)
    assert (result["end"], result["rounds"]) == ("budget", [])
    assert "3,000 tokens are left of 4,000: grpo: judging it would take about 3,156 tokens" in result["reason"]


def test_a_cheaper_stage_is_run_where_the_first_is_too_dear(world: World) -> None:
    world.costs = {"grpo": 100_000}
    result = world.run(budget_tokens=20_000, max_stages=1)
    assert outcomes(result) == [("rft", "kept", 0)]
    assert "it about 100,000 itself" in world.told("chosen")[0]["not_chosen"]["grpo"]


def test_an_analysis_is_cut_off_by_the_budget(world: World) -> None:
    result = world.run(budget_tokens=1000)
    assert (result["end"], result["rounds"]) == ("budget", [])
    assert "was used up while" in result["reason"]
    assert world.work == ["analyze rounds/00-start 64"]
    assert world.run(budget_tokens=1000) == result
    assert world.work == ["analyze rounds/00-start 64"]


def test_metered_stops_its_own_thread_alone() -> None:
    from concurrent.futures import ThreadPoolExecutor

    meter = Metered(Progress(), 10)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(meter.advance, 1, 20).result()
    with pytest.raises(BudgetSpent):
        meter.phase("probe", "")
    Metered(Progress(), None).advance(1, 10**9)


def test_pilots_come_before_the_choice_once_per_checkpoint(world: World) -> None:
    world.effects = {"grpo": gains(0.0), "rft": gains(0.4)}
    result = world.run(pilot=True, max_stages=3)
    assert [row[:2] for row in outcomes(result)] == [("rft", "kept"), ("rft", "kept")]
    assert [name for name in world.work if name.startswith("pilot")] == [
        "pilot rounds/00-start {}",
        "pilot rounds/01-rft/analysis {}",
    ]
    assert world.told("piloted")[0]["pilots"]["reason"] == "two are close"
    assert result["tokens"]["pilot"] == 140


def test_pilots_take_a_share_of_the_budget_or_are_left_out(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    world.run(pilot=True, budget_tokens=101_000, max_stages=1)
    assert "pilot rounds/00-start {'budget_tokens': 4167}" in world.work
    assert world.resources[0] == {"siblings": False, "to_target": True, "budget_tokens": 100_000}
    world = World(tmp_path / "b")
    world.run(pilot=True, budget_tokens=20_000, max_stages=1)
    assert not [name for name in world.work if name.startswith("pilot")]
    assert "for each, which measuring would take" in world.told("no pilots")[0]["text"]


def test_each_stage_gets_of_the_settings_what_it_reads(world: World) -> None:
    settings = {"rounds": 2, "kl": 0.1, "steps": 50}
    world.effects = {"grpo": gains(0.0), "rft": gains(0.8)}
    result = world.run(settings=settings, budget_tokens=10**6)
    assert [r["stage"] for r in result["rounds"]] == ["grpo", "rft"]
    given = [{name: r.settings[name] for name in settings if name in r.settings} for r in world.requests]
    assert given == [{"kl": 0.1, "steps": 50}, {"rounds": 2, "steps": 50}]
    assert ["--set kl=0.1" in c for r in result["rounds"] for c in r["commands"][:1]] == [True, False]
    assert all("budget_tokens" in request.settings for request in world.requests)


def test_a_merge_gets_no_budget_that_it_would_not_read(world: World) -> None:
    world.plan, world.effects = [("merge", 0.3)], {"merge": gains(0.3)}
    world.run(sibling=(str(world.folder / "other"),), budget_tokens=10**6, settings={"merge": "soup"}, max_stages=1)
    assert [request.settings for request in world.requests] == [{"merge": "soup"}]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"steps": 5, "hint_share": 0.5},
            "stage setting hint_share: no stage that this run can choose reads it: guided-rl needs demonstrations: ",
        ),
        (
            {"target": "logits"},
            "setting target: no stage that this run can choose reads it: distill-offline needs a teac",
        ),
    ],
)
def test_a_setting_that_no_stage_of_the_run_reads_is_refused(world: World, settings: dict[str, Any], text: str) -> None:
    assert text in said(world, settings=settings)
    assert not world.out.exists() and not world.work


def test_a_setting_is_taken_where_a_stage_that_reads_it_can_be_chosen(world: World) -> None:
    tasks = tasks_file(world.folder / "shown.jsonl", 12, demos=True, name="t")
    world.run(train_tasks=tasks, settings={"hint_share": 0.5, "loss": "ipo", "merge": "soup"})
    assert [request.settings for request in world.requests] == [{}, {}]


def test_pilots_get_the_settings_of_all_stages(world: World) -> None:
    world.run(pilot=True, settings={"rounds": 2, "kl": 0.1}, max_stages=1)
    piloted = [work for work in world.work if work.startswith("pilot ")]
    assert piloted == ["pilot rounds/00-start {'kl': 0.1, 'rounds': 2}"]


def test_pilots_that_were_cut_off_go_on_under_the_same_settings(world: World) -> None:
    world.kill_pilots = 1
    with pytest.raises(Killed):
        world.run(pilot=True, budget_tokens=101_000, max_stages=1)
    world.run(pilot=True, budget_tokens=101_000, max_stages=1)
    assert world.resources[0] == world.resources[1]
    assert [name for name in world.work if name.startswith("pilot")] == [
        "pilot rounds/00-start {'budget_tokens': 4167}"
    ] * 2


def test_a_model_that_is_saturated_below_the_target_is_trained_on(world: World) -> None:
    world.verdict = lambda model, n: "saturated" if model.skill > 0.8 else "reshaping"
    result = world.run()
    assert outcomes(result) == [("grpo", "kept", 0), ("grpo", "kept", 1)]
    assert result["end"] == "target"


def test_a_run_that_ends_at_its_number_of_stages_says_what_would_follow(world: World) -> None:
    world.effects = {"grpo": gains(0.3)}
    result = world.run(max_stages=1)
    assert result["end"] == "stages"
    assert result["reason"].endswith("next would be grpo, expected gain +0.500 [+0.000, +0.500]")


def test_the_plan_is_made_with_what_the_run_has_by_then(world: World) -> None:
    world.effects = {"grpo": gains(0.3)}
    world.run(budget_tokens=50_000, max_stages=2)
    first, second, _ = world.resources  # and what would follow
    assert (first["siblings"], second["siblings"]) == (False, True)
    assert first["budget_tokens"] == 49_000 > second["budget_tokens"]


def test_a_stage_whose_steps_ended_while_it_rose_goes_on_for_longer(world: World) -> None:
    world.effects = {"rft": gains(0.2), "grpo": gains(0.01)}
    world.plan, world.rises = [("rft", 0.5), ("grpo", 0.1)], lambda model: model.skill < 0.5
    result = world.run(max_stages=3, retain=world.retain)
    assert [r["stage"] for r in result["rounds"]] == ["rft"] * 3
    assert [request.settings for request in world.requests] == [{}, {"steps": 100}, {}]
    why = world.told("chosen")[1]["text"]
    assert "it still rose by 0.100 in the last quarter of its 50 steps" in why


def test_a_length_that_the_user_set_and_a_poor_budget_are_not_exceeded(world: World) -> None:
    world.effects, world.rises = {"grpo": gains(0.2), "rft": gains(0.0)}, lambda model: True
    world.run(max_stages=2, settings={"steps": 50})
    assert [request.settings["steps"] for request in world.requests] == [50, 50]


def test_what_is_left_must_do_for_longer(world: World) -> None:
    world.effects, world.rises = {"grpo": gains(0.2), "rft": gains(0.0)}, lambda model: True
    world.run(max_stages=2, budget_tokens=4_500)
    assert len(world.told("not longer")) == 1


def test_the_store_is_read_once_between_two_analyses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(run: Path, problems: Any) -> Any:
        read.append(run.relative_to(world.out).as_posix())
        return analysis_tokens(run, problems)

    monkeypatch.setattr("posttrain_diag.autopilot.run.analysis_tokens", counted)
    world.effects = {"grpo": gains(0.3), "rft": gains(0.0)}
    world.verdict, world.needed = lambda model, rollouts: "undetermined" if rollouts == 64 else "reshaping", 128
    result = world.run(budget_tokens=50_000, max_stages=3)
    assert result["tokens"]["analysis"] == 1000 * sum(name.startswith("analyze") for name in world.work)
    assert len(read) <= 2.5 * sum(name.startswith("analyze") for name in world.work)


def test_the_same_command_after_the_end_changes_nothing(world: World) -> None:
    result = world.run()
    done, events = list(world.work), world.events()
    assert world.run() == result
    assert (world.work, world.events()) == (done, events)
    assert "has ended already" in world.said[-1]


def said(world: World, **values: Any) -> str:
    with pytest.raises(DiagError) as caught:
        world.run(**values)
    return str(caught.value)


def test_another_command_on_the_same_folder_names_what_differs(world: World) -> None:
    world.run()
    text = said(world, target=0.9, settings={"kl": 0.1})
    assert "--target (0.95, now 0.9)" in text
    assert "--config/--set ({}, now {'kl': 0.1})" in text
    tasks_file(Path(world.train_tasks), 13, name="t")
    assert "the training problems have changed" in said(world)


def test_inputs_are_refused_before_anything_is_drawn(world: World, tmp_path: Path) -> None:
    few = tasks_file(tmp_path / "few.jsonl", 5)
    assert "are too few: at least 4 and 6 are needed" in said(world, tasks=few, train_tasks=None)
    assert "12 problems to train on and 5 held out for measuring are too few" in said(world, tasks=few)
    assert "unknown stage setting 'stepz'" in said(world, settings={"stepz": 1})
    assert "--target: got 1.5" in said(world, target=1.5)
    assert "is given twice" in said(world, teacher=("a", "a"))
    demos = tasks_file(tmp_path / "demos.jsonl", 4, demos=True, name="other")
    assert "none of its 4 problem ids" in said(world, demos=demos)
    assert not world.out.exists()
    world.out.mkdir()
    (world.out / "notes.txt").write_text("mine")
    assert "not a folder of `diag run`" in said(world)
    assert world.work == []


def test_the_model_itself_is_a_teacher_only_where_it_is_not_analysed(world: World) -> None:
    world.plan, world.effects = [("distill-offline", 0.5)], {"distill-offline": gains(0.8)}
    start = str(world.folder / "start")
    world.run(teacher=(start, "other"), target=1.0)
    assert [config.teacher for config in world.configs] == [("other",), (start, "other")]
    assert world.requests[0].teachers == (start, "other")


def test_demonstrations_are_merged_into_both_sets(world: World, tmp_path: Path) -> None:
    world.plan, world.effects = [("sft", 0.5)], {"sft": gains(0.8)}
    demos = tasks_file(tmp_path / "demos.jsonl", 4, demos=True, name="t")
    world.run(demos=demos)
    assert sum(bool(p.demos) for p in load_tasks(str(world.out / "tasks" / "train.jsonl")).problems) == 4


def measured_at(rates: list[float], retained: list[float]) -> Any:
    from posttrain_diag.stages import Measured

    counts = [{str(i): (round(rate * 1000), 1000) for i, rate in enumerate(part)} for part in (rates, retained)]
    kept = estimate(sum(retained) / len(retained)) if retained else None
    return Measured({"pass@1": estimate(sum(rates) / len(rates))}, kept, 0.0, *counts)


@pytest.mark.parametrize(
    ("after", "retained", "cause"),
    [
        ([0.9] * 8, [1.0] * 10, ""),
        ([0.9] * 8, [0.96] * 10, ""),
        ([0.9] * 8, [1.0] * 9 + [0.2], "retention"),  # one task of ten: a fall below .95 is likely, not proven
        ([0.9] * 8, [1.0] * 9 + [0.6], ""),
        ([0.9] * 8, [0.8] * 10, "retention"),
        ([0.22] * 8, [0.955] * 10, "retention"),  # above .95, and half of .045 is more than the .02 won
        ([0.9, 0.12] * 4, [1.0] * 10, "gain"),
        ([0.1] * 8, [1.0] * 10, "gain"),
    ],
)
def test_what_is_kept(after: list[float], retained: list[float], cause: str) -> None:
    before = measured_at([0.2] * 8 if after != [0.9, 0.12] * 4 else [0.5] * 8, [1.0] * 10)
    verdict = judge(before, measured_at(after, retained), before, keep=0.95, seed=0)
    assert (verdict.cause, verdict.keep) == (cause, not cause), verdict.reason
