"""Where no draw passed every surface shows an upper bound, never a measured share above 0."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from posttrain_diag.cli.app import app
from posttrain_diag.stats import Counts, as_bound, fit_mixing_law
from posttrain_diag.types import Estimate


@pytest.mark.parametrize("sizes", [[16] * 40, [8] * 20 + [64] * 20])
def test_terminal_page_markdown_and_json_show_a_bound(tmp_path: Path, sizes: list[int]) -> None:
    """With unequal n the law's posterior mean, .18% or so, used to stand there as measured."""
    rows = [f"p{i},{n},0" for i, n in enumerate(sizes)]
    (tmp_path / "zero.csv").write_text("\n".join(["problem_id,n,c", *rows]))
    shown = CliRunner().invoke(app, ["import", "counts", str(tmp_path / "zero.csv"), "--out", str(tmp_path / "run")])
    assert shown.exit_code == 0, shown.output
    drawn = sum(sizes)
    data = json.loads((tmp_path / "run" / "diagnosis.json").read_text())
    for name in ("pass@1", "pass@16", "pass@256", "coverage", "mixed_groups@8", "expected_successes"):
        found = data["estimates"][name]
        assert (found["label"], found["low"]) == ("bound", 0.0) and found["high"] > 0, name
        assert found["reason"] == f"0 of {drawn:,} draws passed"
    assert data["estimates"]["pass@1"]["value"] == 0.0
    assert data["estimates"]["pass@256"]["value"] is None and data["estimates"]["coverage"]["value"] is None
    terminal = " ".join(shown.output.replace("│", " ").split())
    assert re.search(rf"pass@1 at most \d+(\.\d+)?% \(95%\) 0 of {drawn:,} draws passed", terminal), terminal
    for page in ("report.html", "report.md"):
        text = (tmp_path / "run" / page).read_text()
        assert len(re.findall(r"at most [\d.]+% \(95%\)", text)) >= 5, page
        assert not re.search(r"\| pass@\d+ \| [\d.]+%", text)
    assert not any("expected" in reason and not reason.startswith("At most") for reason in data["reasons"])


def test_a_single_pass_makes_it_an_estimate_again() -> None:
    law = fit_mixing_law(Counts([16] * 40, [1] + [0] * 39), seed=0)
    found = law.pass_at_k(1)
    assert as_bound(found, law.counts, counted=True) is found
    undefined = Estimate.undefined("nothing")
    assert as_bound(undefined, Counts([1], [0]), counted=True) is undefined
