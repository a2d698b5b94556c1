"""Forecasts from precedents, the order of a plan, abstention, pilots: on written-down precedents and on shipped ones."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plans import plan_of
from posttrain_probes import BUILTIN
from posttrain_probes.synthetic import make_evidence

from posttrain_diag.diagnose import diagnose
from posttrain_diag.errors import UsageError
from posttrain_diag.recommend import Facts, Resources, recommend
from posttrain_diag.recommend.forecast import chances, forecast
from posttrain_diag.recommend.outcomes import Outcome, apart_from, shipped_outcomes
from posttrain_diag.recommend.pilots import PilotRun, updated
from posttrain_diag.recommend.replan import replan
from posttrain_diag.recommend.rules import forecast_all, plan_from
from posttrain_diag.stages.catalogue import CATALOGUE
from posttrain_diag.store import RunDir


def facts_of(counts: list[tuple[int, int]], **changes: Any) -> Facts:
    evidence = make_evidence(counts)
    return replace(Facts.of(diagnose(evidence, [p.measure(evidence) for p in BUILTIN]), evidence), **changes)


def outcome(stage: str, part: str, after: float, **values: Any) -> Outcome:
    given: dict[str, Any] = {
        "stage": stage, "situation": f"{stage}-{part}", "model": "m", "family": part, "part": part, "demos": 300,
        "tokens": 1e6, "sequences": 1e5, "before": 0.1 if part == "reshaping" else 0.0, "after": after, "kept": 0.0,
        "limited": False, "runs": 1,
    }  # fmt: skip
    return Outcome(**{**given, **values})


RESHAPING, SUPPORT = [(64, 8)] * 30, [(256, 0)] * 30
EVERYTHING = Resources(demos=300, pairs=300, teacher=True, retained=True)


def test_what_was_won_elsewhere_is_won_here_in_proportion_to_the_headroom() -> None:
    facts = facts_of(RESHAPING)
    half = [outcome("grpo", "reshaping", 0.55, situation=f"s{i}") for i in range(20)]  # half of the headroom of .9
    found = forecast("grpo", facts, EVERYTHING, half)
    assert found.gain.value == pytest.approx(0.5 * facts.headroom["reshaping"], abs=0.02)
    assert found.gain.low is not None and found.gain.high is not None
    assert found.gain.low < found.gain.value < found.gain.high < 0.6


def test_a_trained_token_costs_six_flops_per_weight() -> None:
    facts = facts_of(RESHAPING, mean_tokens=10.0, n_parameters=7_000)
    known = [outcome("grpo", "reshaping", 0.9, situation=f"s{i}", sequences=1e5) for i in range(5)]
    (found, *_) = recommend(facts, EVERYTHING, "runs/x", known).proposals
    assert (found.stage, found.cost.tokens, found.cost.flops) == ("grpo", 1_000_000, 6.0 * 7_000 * 1_000_000)
    (counted, *_) = recommend(replace(facts, n_parameters=0), EVERYTHING, "runs/x", known).proposals
    assert (counted.cost.tokens, counted.cost.flops) == (1_000_000, None)  # the size of the model is not known


def test_few_precedents_leave_more_open() -> None:
    facts = facts_of(RESHAPING)
    lows = [
        forecast("grpo", facts, EVERYTHING, [outcome("grpo", "reshaping", 0.99, situation=f"s{i}") for i in range(n)])
        for n in (1, 30)
    ]
    assert lows[0].gain.low is not None and lows[1].gain.low is not None
    assert lows[0].gain.low < 0.6 < lows[1].gain.low


def test_a_stage_without_precedents_is_not_proposed_on_hope() -> None:
    facts = facts_of(SUPPORT)
    plan = recommend(facts, EVERYTHING, "runs/x", [outcome("sft", "reshaping", 0.99)])
    assert plan.proposals == () and "no known situation" in plan.rejected["sft"]


def test_demonstrations_count_on_a_log_scale_between_what_was_measured() -> None:
    facts = facts_of(SUPPORT)
    known = [
        outcome("sft", "support", after, demos=n, situation="s") for n, after in ((16, 0.0), (256, 0.4), (2000, 1.0))
    ]

    def gain(n: int) -> float:
        value = forecast("sft", facts, replace(EVERYTHING, demos=n), known).gain.value
        assert value is not None
        return value

    assert gain(10) < 0.02 and gain(16) < gain(64) < gain(256) < gain(1000) < gain(2000)
    assert gain(64) == pytest.approx(gain(256) / 2, abs=0.03), "64 lies half way between 16 and 256"
    assert gain(9000) == pytest.approx(gain(2000), abs=0.02)


def test_a_small_budget_wins_what_was_won_with_so_many_tokens() -> None:
    facts = facts_of(RESHAPING, mean_tokens=10.0)
    known = [
        outcome("grpo", "reshaping", 0.99, sequences=1e5),
        outcome("grpo", "reshaping", 0.2, sequences=1e4, limited=True),
    ]
    small = forecast("grpo", facts, replace(EVERYTHING, budget_tokens=100_000), known).gain.value
    whole = forecast("grpo", facts, EVERYTHING, known).gain.value
    assert small is not None and whole is not None and small < 0.15 and whole > 0.6


def test_rl_that_sees_no_pass_before_it_stops_wins_nothing() -> None:
    """One problem of 2000 passes now and then: with 6,400 draws a pass is a matter of luck."""
    rare = facts_of(RESHAPING, success={"reshaping": 1e-4, "format": 0.0})
    usual = facts_of(RESHAPING)
    known = [outcome(name, "reshaping", 0.99, situation=f"s{i}") for name in ("grpo", "sft") for i in range(9)]
    low, high = (forecast("grpo", f, EVERYTHING, known).gain.value for f in (rare, usual))
    assert low is not None and high is not None and low == pytest.approx(high * (1 - np.exp(-0.64)), abs=0.05)
    same = forecast("sft", rare, EVERYTHING, known).gain.value
    assert same == pytest.approx(forecast("sft", usual, EVERYTHING, known).gain.value)


def test_what_other_tasks_lose_counts_half() -> None:
    facts = facts_of(RESHAPING)
    known = [
        *(outcome("grpo", "reshaping", 0.9, situation=f"s{i}") for i in range(9)),
        *(outcome("sft", "reshaping", 0.99, situation=f"s{i}", kept=-0.4) for i in range(9)),
    ]
    plan = recommend(facts, EVERYTHING, "runs/x", known)
    assert [p.stage for p in plan.proposals] == ["grpo", "sft"]
    assert plan.proposals[1].retention_risk > 0.9 and plan.proposals[0].retention_risk < 0.1
    assert plan.proposals[0].utility - plan.proposals[1].utility == pytest.approx(0.11, abs=0.05)
    assert plan.proposals[0].chance_best > plan.proposals[1].chance_best


def test_of_stages_that_are_alike_the_cheaper_comes_first() -> None:
    facts = facts_of(RESHAPING)
    known = [
        *(outcome("grpo", "reshaping", 0.97, situation=f"s{i}", sequences=9e5) for i in range(9)),
        *(outcome("rft", "reshaping", 0.965, situation=f"s{i}", sequences=1e5) for i in range(9)),
    ]
    assert [p.stage for p in recommend(facts, EVERYTHING, "r", known).proposals] == ["rft", "grpo"]


def test_a_teacher_gives_what_it_solves() -> None:
    facts = facts_of(SUPPORT)
    known = [outcome("distill-offline", "support", 1.0, situation=f"s{i}") for i in range(9)]
    all_of_it = replace(facts, taught=facts.headroom)
    third = replace(facts, taught={part: room / 3 for part, room in facts.headroom.items()})
    gains = [forecast("distill-offline", f, EVERYTHING, known).gain.value for f in (all_of_it, third)]
    assert gains[0] is not None and gains[1] is not None and gains[1] == pytest.approx(gains[0] / 3, abs=0.02)
    untaught = forecast("distill-offline", facts, replace(EVERYTHING, teacher=False), known)
    assert untaught.gain.value == 0.0


def test_what_is_missing_is_named_only_where_it_would_pay() -> None:
    facts = facts_of(SUPPORT)
    known = [outcome("sft", "support", 0.9), outcome("preference", "support", 0.0)]
    plan = recommend(facts, Resources(retained=True), "r", known)
    assert [p.stage for p in plan.proposals] == ["sft"] and "--demos" in plan.proposals[0].needs[0]
    assert set(plan.rejected) | {"sft"} == {card.name for card in CATALOGUE}


def test_an_open_verdict_proposes_only_what_gains_whatever_it_is() -> None:
    open_ = facts_of([(64, 8)] * 20 + [(256, 0)] * 20, bottleneck="undetermined", instrument="ok")
    both = [outcome("sft", p, 0.9, situation=f"s{i}") for p in ("reshaping", "support", "guided") for i in range(9)]
    unsure = [outcome("grpo", "reshaping", a, situation=f"s{i}") for i, a in enumerate((0.1, 0.1, 0.9, 0.9))]
    assert [p.stage for p in recommend(open_, EVERYTHING, "r", [*both, *unsure]).proposals] == ["sft"]
    assert recommend(open_, EVERYTHING, "r", unsure).proposals == ()
    assert recommend(replace(open_, problems=8), EVERYTHING, "r", both).proposals == ()
    assert recommend(replace(open_, instrument="suspect"), EVERYTHING, "r", both).proposals == ()


def test_chances_count_doing_nothing_as_a_choice() -> None:
    facts = facts_of(RESHAPING)
    harmful = [outcome("grpo", "reshaping", 0.0, situation=f"s{i}", kept=-0.5) for i in range(9)]
    found = {"grpo": forecast("grpo", facts, EVERYTHING, harmful)}
    assert chances(found, 0.02)["grpo"] < 0.05


# ---- what comes with the package


def test_shipped_precedents_cover_every_stage_and_class() -> None:
    known = shipped_outcomes()
    assert {o.stage for o in known} >= {"sft", "grpo", "rft", "guided-rl", "distill-offline", "distill-onpolicy"}
    for part in ("reshaping", "format", "guided", "support"):
        assert len({o.situation for o in known if o.part == part and o.stage == "sft"}) >= 1
    assert all(0 <= o.before <= 1 and 0 <= o.after <= 1 and -1 <= o.kept <= 1 for o in known)
    left = apart_from(known, "zoo:base", ("S",))
    assert left and not any(o.model == "zoo:base" and o.family == "S" for o in left)


def test_rl_is_no_answer_to_missing_support_and_demonstrations_are() -> None:
    evidence = make_evidence(SUPPORT)
    found = diagnose(evidence, [p.measure(evidence) for p in BUILTIN])
    plan = plan_of(found, evidence, demos=2000, retained=True)
    assert found.bottleneck == "support"
    names = [p.stage for p in plan.proposals]
    assert names[0] in {"sft", "filter"} and not {"grpo", "rft", "rloo"} & set(names)
    assert plan.proposals[0].role == "expansion" and "successes" in plan.rejected["grpo"]


# ---- pilots


def pilot(won: float, *, kept: float = 0.0, refused: str = "") -> PilotRun:
    return PilotRun("grpo", 0, 12, 0.1, 0.1 + won, kept, 1000, refused)


def test_a_pilot_moves_the_forecast_towards_what_it_reached() -> None:
    facts = facts_of(RESHAPING)
    known = [outcome("grpo", "reshaping", after, situation=f"s{after}") for after in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)]
    prior = forecast("grpo", facts, EVERYTHING, known)
    strong, none = updated(prior, pilot(0.7), 0.36), updated(prior, pilot(0.0), 0.36)
    assert none.gain.value is not None and prior.gain.value is not None and strong.gain.value is not None
    assert none.gain.value < prior.gain.value - 0.1 and prior.gain.value + 0.2 < strong.gain.value
    harmful = updated(prior, pilot(0.7, kept=-0.5), 0.36)
    assert harmful.kept.value == pytest.approx(prior.kept.value, abs=0.02), "no precedent of such a loss: not invented"
    assert updated(prior, pilot(0.0, refused="none of the draws passed"), 0.1).utility == 0.0


def test_the_plan_chooses_between_what_pilots_left() -> None:
    facts = facts_of(RESHAPING)
    known = [
        outcome(s, "reshaping", a, situation=f"{s}{i}") for s, a in (("grpo", 0.99), ("rft", 0.6)) for i in range(9)
    ]
    found = forecast_all(facts, EVERYTHING, known)
    order = [[p.stage for p in plan_from(found, facts, EVERYTHING, "RUN", first).proposals] for first in ((), ("rft",))]
    assert order[0].index("grpo") < order[0].index("rft") == len(order[0]) - 1
    assert order[1] == ["rft", *(name for name in order[0] if name != "rft")]
    assert plan_from(found, facts, EVERYTHING, "RUN", ("sft",)) == plan_from(found, facts, EVERYTHING, "RUN")


# ---- diag recommend


def stored(path: Path, facts: Facts, has: Resources) -> Path:
    run = RunDir(path, create=True)
    run.write_json("run.json", {})
    run.write_json("facts.json", {**facts.json(), "resources": asdict(has)})
    return path


def test_facts_survive_the_run_directory(tmp_path: Path) -> None:
    facts = facts_of(RESHAPING)
    stored(tmp_path, facts, EVERYTHING)
    data = json.loads((tmp_path / "facts.json").read_text())
    assert Facts.read(data) == facts
    assert Facts.read({**data, "confidence": 0.9}) == facts  # as an earlier version wrote it


def test_other_resources_give_another_plan(tmp_path: Path) -> None:
    path = stored(tmp_path / "run", facts_of(SUPPORT), Resources(demos=2000, retained=True))
    assert replan(path, {})["plan"][0]["stage"] in {"sft", "filter"}
    without = replan(path, {"demos": 0})
    assert all(p["needs"] for p in without["plan"]) and without["resources"]["demos"] == 0


@pytest.mark.parametrize(("changes", "said"), [({"demo": 3}, "no such resource"), ({"demos": "x"}, "a number"),
                                               ({"teacher": 3}, "yes or no"), ({"demos": -1}, "at least 0")])  # fmt: skip
def test_bad_resources_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = stored(tmp_path / "run", facts_of(SUPPORT), Resources())
    with pytest.raises(UsageError, match=said):
        replan(path, changes)


def test_a_run_of_an_older_version_is_told_so(tmp_path: Path) -> None:
    RunDir(tmp_path / "run", create=True).write_json("run.json", {})
    with pytest.raises(UsageError, match=r"facts\.json"):
        replan(tmp_path / "run", {})
