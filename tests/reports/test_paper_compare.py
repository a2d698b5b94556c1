from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from posttrain_reports.autopilot import checkpoints_of, write_autopilot_report
from posttrain_reports.comparison import write_comparison_report
from posttrain_reports.comparison_figures import waterfall_steps

from .synthetic_pages import make_autopilot, make_comparison


def test_comparison_figures_are_written_on_demand(tmp_path: Path) -> None:
    data = make_comparison()
    write_comparison_report(data, tmp_path)
    assert not (tmp_path / "figures").exists()
    write_comparison_report(data, tmp_path, ("svg", "png"))
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{n}.{k}" for n in ("pass_at_k", "decomposition", "before_after") for k in ("svg", "png")}
    for path in (tmp_path / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    first = (tmp_path / "figures" / "decomposition.svg").read_bytes()
    write_comparison_report(data, tmp_path, ("svg",))
    assert (tmp_path / "figures" / "decomposition.svg").read_bytes() == first, "same data, same file"


def test_autopilot_figure(tmp_path: Path) -> None:
    data = make_autopilot(tmp_path)
    write_autopilot_report(data, ("png",))
    assert [path.name for path in (data.folder / "figures").iterdir()] == ["levels.png"]
    assert len(checkpoints_of(data.result)) == 1 + len(data.result["rounds"])


def test_steps_of_the_waterfall_add_up() -> None:
    found = make_comparison().found
    steps = waterfall_steps(found)
    change = sum(s.end - s.start for s in steps if not s.total and s.name != "forgetting")
    first, last = (s for s in steps if s.total)
    assert last.end - first.end == pytest.approx(change)
    assert [s.name for s in steps if s.total] == ["before", "after"]
    assert waterfall_steps({**found, "pass@k": {}}) == []
