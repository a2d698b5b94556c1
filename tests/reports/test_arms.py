"""Tokens by arm with what each decided, how steadily the policy passes, and what to try before training: on the page
and in its Markdown twin."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from posttrain_reports import ReportData
from posttrain_reports.arms import steadiness, tokens_by_arm
from posttrain_reports.html import render_html
from posttrain_reports.markdown import render_markdown

from .synthetic_run import interval, make_run

ARMS = {"main": (640, 60_000), "prefix": (300, 30_000), "longer": (8, 9_000), "pilot": (4, 900), "new": (2, 100)}
STEADY = {"g_pass@16[0.5]": 0.25, "mg_pass@16": 0.125, "bayes@64": 0.375}
STEP = {"title": "Change <the> prompt", "why": "It is free.", "commands": ["diag analyze <MODEL>"]}


def diagnosis(**more: Any) -> dict[str, Any]:
    made = make_run("format").diagnosis
    samples = {
        **made["samples"],
        "rollouts_by_arm": {arm: n for arm, (n, _) in ARMS.items()},
        "tokens_by_arm": {arm: tokens for arm, (_, tokens) in ARMS.items()},
    }
    steady = {name: interval(value, 12) for name, value in {**STEADY, "reach": 0.03}.items()}
    return {**made, "samples": samples, "estimates": {**made["estimates"], **steady}, **more}


def report(**more: Any) -> ReportData:
    return replace(make_run("format"), diagnosis=diagnosis(**more))


def test_every_arm_says_what_it_cost_and_what_it_decided() -> None:
    table = tokens_by_arm(diagnosis())
    assert table is not None
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == list(ARMS), "the dearest first"
    assert rows["main"][:3] == ("640", "60 k", "60.0%") and rows["main"][-1] == "verdict Format, confidence 93.0%"
    assert rows["prefix"][2] == "30.0%" and re.fullmatch(r"reach 3\S* \[.*\] of 12 problems", rows["prefix"][-1])
    assert rows["pilot"][-1] == "token cap 96"
    assert rows["longer"][-1] == "nothing to object: instrument sound here"
    assert rows["new"] == ("2", "100", "0.10%", "", "—"), "an arm that this version does not know is shown all the same"


def test_a_check_names_its_finding() -> None:
    finding = {"kind": "truncation", "severity": "suspect", "share": {}, "problems": [], "advice": ""}
    table = tokens_by_arm(diagnosis(instrument={"status": "suspect", "findings": [finding]}))
    assert table is not None
    (longer,) = (row for row in table.rows if row[0] == "longer")
    assert longer[-1].endswith("(suspect)") and "sound" not in longer[-1]


def test_runs_without_these_numbers_show_no_empty_tables() -> None:
    plain = make_run("format")
    assert tokens_by_arm(plain.diagnosis) is None and steadiness(plain.diagnosis) is None
    assert "Tokens by arm" not in render_html(plain) and "How steadily" not in render_html(plain)
    older = diagnosis()
    del older["samples"]["rollouts_by_arm"]
    table = tokens_by_arm(older)
    assert table is not None and table.rows[0][:3] == ("main", "—", "60 k")


def test_steadiness_stands_beside_pass_at_k() -> None:
    table = steadiness(diagnosis())
    assert table is not None
    titles = [row[0] for row in table.rows]
    assert titles == ["pass@1", "pass@16", "G-pass@16, τ = 0.5", "mG-pass@16", "Bayes@64"]
    assert all(meaning for _, _, meaning in table.rows)
    assert table.rows[2][1].startswith("25")


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_page_and_twin_show_both_tables_and_the_free_step(render: Any) -> None:
    text = render(report(before_training=[STEP]))
    for words in ("Tokens by arm, and what they bought", "How steadily it passes", "mG-pass@16", "token cap 96"):
        assert words in text
    assert "First, without training" in text and "<the>" not in text
    assert text.index("First, without training") < text.index("diag train runs/arith --stage rft")
    assert "Next: change" in text and "(no training), then" in text.replace("\\", "")
