"""What a format problem asks for: a changed prompt, light SFT, a reward for the form; nothing that lives on passes
where nothing passed."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from posttrain_probes import BUILTIN
from posttrain_probes.synthetic import make_evidence

from posttrain_diag.diagnose import diagnose
from posttrain_diag.diagnose.contract import free_json
from posttrain_diag.recommend import Facts, Resources, recommend
from posttrain_diag.recommend.form_first import FORM_WHY
from posttrain_diag.recommend.replan import replan
from posttrain_diag.stages.catalogue import CATALOGUE
from posttrain_diag.store import RunDir

OWN_PASSES = {r.name for r in CATALOGUE if r.learns_from == "own passes" and "pairs" not in r.needs}
NO_DEMOS = Resources(retained=True)


def format_facts(passes: int, **changes: Any) -> Facts:
    """Facts of a model that is right in substance on every problem and passes `passes` of 64 draws of each."""
    evidence = make_evidence([(64, passes)] * 40)
    facts = Facts.of(diagnose(evidence, [p.measure(evidence) for p in BUILTIN]), evidence)
    facts = replace(facts, chat=True)
    room, rate = 1 - facts.pass_1, facts.pass_1
    known = {
        "bottleneck": "format",
        "instrument": "ok",
        "headroom": {**dict.fromkeys(facts.headroom, 0.0), "format": room},
        "success": {**dict.fromkeys(facts.success, 0.0), "format": rate},
    }
    return replace(facts, **{**known, **changes})


def test_facts_count_the_strict_passes() -> None:
    facts = format_facts(2)
    assert (facts.passes, facts.draws) == (80, 40 * 64)


def test_a_format_problem_begins_with_the_prompt() -> None:
    plan = recommend(format_facts(0), NO_DEMOS, "runs/my run")
    (step,) = plan.free
    assert "prompt" in step.title and "few-shot" in step.title
    analyze, compare = step.commands
    assert "--system-prompt" in analyze and "'runs/my run-prompt'" in analyze
    assert compare == "diag compare 'runs/my run' 'runs/my run-prompt'"
    assert free_json(plan)[0]["commands"] == [analyze, compare]
    (plain,) = recommend(format_facts(0, chat=False), NO_DEMOS, "r").free
    assert "--template" in plain.commands[0] and "--system-prompt" not in plain.commands[0], "it has no system turn"


def test_where_nothing_passed_nothing_that_needs_passes_is_proposed() -> None:
    plan = recommend(format_facts(0), NO_DEMOS, "r")
    assert not OWN_PASSES & {p.stage for p in plan.proposals}
    assert plan.proposals[0].stage == "sft" and "--demos" in plan.proposals[0].needs[0]
    assert "reference answer" in plan.proposals[0].why
    for stage in OWN_PASSES:
        assert "none of 2,560 draws passed" in plan.rejected[stage] and "prompt" in plan.rejected[stage]


def test_the_light_repairs_come_first_where_right_answers_in_form_are_drawn() -> None:
    stages = [p.stage for p in recommend(format_facts(2), replace(NO_DEMOS, demos=268), "r").proposals]
    assert stages[0] == "sft"
    assert stages.index("rft") < stages.index("grpo") < stages.index("search-transfer")
    without = recommend(format_facts(2), NO_DEMOS, "r").proposals
    assert without[0].stage == "rft" and not without[0].needs and without[0].why == FORM_WHY["rft"]
    assert [p.needs != () for p in without if p.stage == "sft"] == [True], "light SFT is named, with what it needs"
    (grpo,) = (p for p in without if p.stage == "grpo")
    assert "reward for the form" in grpo.why


@pytest.mark.parametrize("verdict", ["mixed", "undetermined"])
def test_the_largest_open_class_counts_where_the_verdict_names_none(verdict: Any) -> None:
    facts = format_facts(2, bottleneck=verdict)
    assert recommend(facts, NO_DEMOS, "r").free
    turned = replace(facts, headroom={**facts.headroom, "support": 2 * facts.headroom["format"]})
    assert not recommend(turned, NO_DEMOS, "r").free


def test_other_problems_ask_for_no_other_prompt() -> None:
    assert not recommend(format_facts(2, bottleneck="reshaping"), NO_DEMOS, "r").free
    assert not recommend(format_facts(2, instrument="broken"), NO_DEMOS, "r").free
    assert not recommend(format_facts(2, counts_only=True), NO_DEMOS, "r").free


def test_runs_of_earlier_versions_know_no_passes(tmp_path: Path) -> None:
    facts = format_facts(0)
    old = {name: value for name, value in facts.json().items() if name not in ("passes", "draws", "chat")}
    assert Facts.read(old) == replace(facts, passes=None, draws=None, chat=None)
    run = RunDir(tmp_path / "run", create=True)
    run.write_json("run.json", {})
    run.write_json("facts.json", {**facts.json(), "resources": asdict(NO_DEMOS)})
    found = replan(tmp_path / "run", {})
    assert found["before_training"] and found["plan"][0]["stage"] == "sft"
