"""Probes keep to a multiple of the main arm's tokens, and draw nothing that a broken instrument voids."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_engine import FakeEngine
from posttrain_probes.synthetic import make_evidence

from posttrain_diag.analysis.budget import BROKEN_SHARE, PROBE_SHARE, afford, cost_of, thinned
from posttrain_diag.analysis.follow_up import follow_up
from posttrain_diag.evidence import MAIN, DrawSpec, Evidence, Settings
from posttrain_diag.rollouts.collect import Collector
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.stored import current_evidence
from posttrain_diag.settings.analysis import Effort
from posttrain_diag.store import RolloutStore
from posttrain_diag.types import Problem, SamplingParams


def specs(problems: int, n: int, *, arm: str = "prefix:true:0.500", prefix: int = 0) -> list[DrawSpec]:
    return [DrawSpec(f"p{i}", arm, n, (1,) * prefix) for i in range(problems)]


def ten(spec: DrawSpec) -> float:
    return 10.0 * spec.n


def test_what_fits_is_drawn_whole() -> None:
    found = afford({"a": specs(4, 8), "b": specs(2, 4)}, 400, ten)
    assert sorted(spec.n for spec in found) == [4, 4, 8, 8, 8, 8]


def test_small_wishes_are_served_and_the_large_one_is_thinned() -> None:
    found = afford({"large": specs(40, 64), "small": specs(2, 4)}, 4000, ten)
    assert sum(map(ten, found)) <= 4000
    assert [spec.n for spec in found[:2]] == [4, 4]
    assert {spec.n for spec in found[2:]} == {9} and len(found) == 42
    limited = afford({"large": specs(40, 64)}, 4000, ten, {"large": 0.25})
    assert 800 < sum(map(ten, limited)) <= 1000


def test_few_draws_of_fewer_problems_rather_than_one_of_each() -> None:
    kept = thinned(specs(40, 64), 200, ten)
    assert {spec.n for spec in kept} == {4} and len(kept) == 5
    assert kept[0].problem_id == "p0" and kept[-1].problem_id == "p39"
    assert thinned(specs(40, 64), 30, ten) == []


def test_a_prefix_costs_what_is_left_to_write_and_a_longer_draw_its_cap() -> None:
    main = make_evidence([(10, 5)] * 4)  # four tokens each, cap 64
    cost = cost_of(main)
    assert cost(DrawSpec("p0", "x", 3)) == 12 and cost(DrawSpec("p0", "x", 3, (1, 1, 1))) == 3
    assert cost(DrawSpec("p0", "x", 3, (1,) * 9)) == 3
    assert cost(DrawSpec("p0", "longer", 2, max_new_tokens=256)) == 512


def analysed(tmp_path: Path, effort: Effort, *, shown: str) -> Evidence:
    """15 problems of which none is solved, each with a demonstration that ends with its answer and `shown`."""
    demos = {f"p{i}": f"a long way to go, and so it is x{i}{shown}" for i in range(15)}
    problems = {
        key: Problem(key, f"question {key}", None, f"x{i}", {"type": "regex", "pattern": "(x\\d+)$"}, demos=(demo,))
        for i, (key, demo) in enumerate(demos.items())
    }
    engine = FakeEngine(lambda prompt: {f"{'wrong ' * 3}{'.' * (at + 1)}": 1.0 for at in range(3)})
    params = SamplingParams(max_new_tokens=64)
    base = Evidence(
        problems,
        make_evidence([]).rollouts,
        (),
        Settings(params),
        engine.info,
        {key: (demo,) for key, demo in demos.items()},
    )
    store = RolloutStore(tmp_path / f"{effort}.sqlite")
    collector = Collector(engine, store, problems, params)
    owed = collector.owed([DrawSpec(key, MAIN, 16) for key in problems])
    collector.draw(owed, Progress())
    return follow_up(owed, collector, effort, lambda made: current_evidence(base, store, made), Progress())


@pytest.mark.parametrize("effort", ["quick", "standard", "thorough"])
def test_probes_stay_within_the_multiple_of_the_effort(tmp_path: Path, effort: Effort) -> None:
    found = analysed(tmp_path, effort, shown="")
    own = found.tokens(MAIN)
    probes = found.drawn - int(found.main["drawn"].sum())
    assert probes > 0
    assert found.tokens() - own <= PROBE_SHARE[effort] * own * 1.25
    if effort == "quick":
        assert any("prefix_ladder drew" in note for note in found.notes)


def test_a_broken_instrument_ends_the_drawing(tmp_path: Path) -> None:
    """The demonstrations fail their own verifier: nothing is drawn after the main arm but the instrument's checks."""
    found = analysed(tmp_path, "thorough", shown=" or so")
    assert found.tokens() <= (1 + BROKEN_SHARE) * found.tokens(MAIN)
    assert not found.arms("prefix:") and not found.arms("deep")
    assert any("the instrument is broken" in note for note in found.notes)
