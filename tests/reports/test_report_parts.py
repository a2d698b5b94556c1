"""Text, selection, figure data, written files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from posttrain_reports import selection, write_report
from posttrain_reports.blocks import fallback_table, token_views
from posttrain_reports.comparison import render_comparison
from posttrain_reports.figdata import demo_scatter, ladder, p_histogram, points
from posttrain_reports.markdown import code_block, escape_markdown

from posttrain_diag.errors import StoreError
from posttrain_diag.wording.text import visible

from .synthetic_pages import make_comparison
from .synthetic_run import CLASSES, make_problems, make_run, make_transcripts


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=50))
def test_histogram_counts_every_problem_once(rows: list[tuple[int, int]]) -> None:
    frame = pd.DataFrame(
        {
            "id": range(len(rows)),
            "n": [max(a, b) for a, b in rows],
            "c": [min(a, b) for a, b in rows],
            "class": "support",
        }
    )
    hist = p_histogram(frame, 1 / 256, 0.8)
    placed = sum(int(k.sum()) for k in hist.counts.values())
    assert placed + sum(hist.zeros.values()) + hist.undefined == len(rows)
    assert sum(hist.zeros.values()) == int(((frame["c"] == 0) & (frame["n"] > 0)).sum())
    assert hist.undefined == int((frame["n"] == 0).sum())


def test_histogram_places_extreme_probabilities_in_the_end_bins() -> None:
    frame = pd.DataFrame(
        {"id": [0, 1], "n": [10**6] * 2, "c": [1, 10**6], "p_mean": [1e-6, 1.0], "class": ["support", "mastered"]}
    )
    hist = p_histogram(frame, 1 / 256, 0.8)
    assert hist.counts["support"][0] == 1
    assert hist.counts["mastered"][-1] == 1


def test_points_leave_gaps_where_undefined() -> None:
    found = points(
        {"k": [4, 1, 2], "value": [0.5, None, float("nan")], "label": ["measured", "measured", "undefined"]}, "k"
    )
    assert [p.x for p in found] == [1, 2, 4]
    assert [p.value for p in found] == [None, None, 0.5]
    assert [p.label for p in found] == ["undefined", "undefined", "measured"]


def test_ladder_drops_arms_without_values() -> None:
    assert list(
        ladder({"rho": [0, 1], "arms": {"true": {"value": [0.1, None]}, "neutral": {"value": [None, None]}}})
    ) == ["true"]


def test_scatter_samples_and_says_how_many_there_were() -> None:
    problems = make_problems("support", 300)
    data = {
        "problem_id": list(problems["id"]),
        "demo_logprob_nats": list(problems["demo_logprob_nats"]),
        "min_token_prob": [*problems["min_token_prob"][:-1], None],
    }
    scatter = demo_scatter(data, problems, limit=50)
    assert (len(scatter.x_P), len(scatter.ids), scatter.total) == (50, 50, 299)


def test_blocking_tokens_are_marked_by_probability() -> None:
    views = token_views(
        [
            {"text": "ok", "logprob": -0.1, "rank": 0},
            {"text": " ", "logprob": -6.0, "rank": 40},
            {"text": "x", "logprob": -12.0},
            {"text": "y", "logprob": None},
        ]
    )
    assert [v["level"] for v in views] == [0, 1, 2, 0]
    assert views[1]["text"] == "␣"
    assert views[1]["title"] == "p = 0.00248, rank 40"
    assert views[3]["title"] == "probability not recorded"


def test_fallback_table_reads_columns_or_pairs() -> None:
    assert fallback_table({"a": [1, 2], "b": [0.5, float("nan")]}).rows == (("1", "0.5"), ("2", "—"))
    assert fallback_table({"a": [1], "b": [1, 2]}).headers == ("name", "value")
    assert fallback_table({"a": list(range(500))}).left_out == 440


def test_rows_keep_rare_classes() -> None:
    problems = make_problems("mixed", 9000)
    problems["class"] = "support"
    problems.loc[17, "class"] = "guided"
    table = selection.choose_rows(problems, limit=300)
    assert len(table.rows) <= 300
    assert 17 in table.positions
    assert table.group_totals["support"] == 8999


def test_transcripts_show_each_verdict_and_near_misses_first() -> None:
    problems = make_problems("format", 12)
    rolls = make_transcripts(problems)
    table = selection.choose_rows(problems)
    choice = selection.choose_transcripts(rolls, table, list(problems["id"]))
    assert choice.given == len(rolls)
    for index, group in choice.by_row.items():
        own = [r for r in rolls if r["problem_id"] == problems["id"].iloc[index]]
        assert {t["verdict"] for t in group} == {r["verdict"] for r in own}
        main = [t["verdict"] for t in group if t["arm"] == "main"]
        assert all(main.count(v) <= selection.PER_VERDICT for v in main)
        if any(r["lenient"] and r["verdict"] == "fail" and r["arm"] == "main" for r in own):
            assert next(t for t in group if t["verdict"] == "fail")["lenient"]


def test_transcript_budget_is_kept() -> None:
    problems = make_problems("format", 12)
    table = selection.choose_rows(problems)
    choice = selection.choose_transcripts(make_transcripts(problems), table, list(problems["id"]), budget=4000)
    assert 0 < selection.encoded_size(list(choice.by_row.values())) <= 4000 + 20
    assert "The rest is in rollouts.sqlite" in choice.note


@given(st.text(max_size=40))
def test_markdown_holds_no_markup_from_data(text: str) -> None:
    shown = escape_markdown(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[<|*_`\[]", shown)
    fence = code_block(text).split("\n")[0]
    assert fence not in visible(text)


def test_report_is_written_whole_and_identically(tmp_path: Path) -> None:
    data = make_run("guided", 25)
    page = write_report(data, tmp_path, png=True)
    assert page == tmp_path / "report.html"
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    figures = [
        "class_shares",
        "demo_likelihood",
        "format",
        "mixed_groups",
        "p_distribution",
        "pass_at_k",
        "prefix_ladder",
    ]
    assert names == sorted(
        [f"figures/{n}.{kind}" for n in figures for kind in ("svg", "png")] + ["report.html", "report.md"]
    )
    assert (tmp_path / "figures" / "pass_at_k.png").read_bytes().startswith(b"\x89PNG")
    before = {name: (tmp_path / name).read_bytes() for name in names if not name.endswith("png")}
    assert all(b"<svg" in before[name] for name in before if name.endswith("svg"))
    write_report(data, tmp_path)
    assert before == {name: (tmp_path / name).read_bytes() for name in before}


def test_report_needs_a_run_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        write_report(make_run("guided", 3), tmp_path / "absent")


def test_figure_titles_may_hold_any_text(tmp_path: Path) -> None:
    data = make_run("support", 5)
    problems = data.problems.assign(prompt="$\\frac{", id=[f"$x_{i}" for i in range(5)])
    write_report(make_run("support", 5, problems=problems, transcripts=[]), tmp_path)


def test_markdown_twin_says_what_the_page_says() -> None:
    from posttrain_reports import render_markdown

    text = render_markdown(make_run("support")).replace("\\", "")
    for words in ("# Right answers lie outside the model's effective support on 71.7% of problems.", "confidence 93.0%", "diag train runs/arith --stage sft",
                  "+31.0 points [+12.0, +47.0] of pass@1", "## Instrument", "| pass@256 |", "Probe selection failed", "zoo:frontier"):  # fmt: skip
        assert words in text


def test_numeric_columns_accept_nullable_types() -> None:
    problems = make_problems("support", 6).convert_dtypes()
    problems.loc[2, "p_mean"] = pd.NA
    table = selection.choose_rows(problems)
    assert table.rows[2][table.columns.index("p_mean")] is None
    assert isinstance(table.rows[0][table.columns.index("n")], int)
    assert np.isfinite(table.rows[0][table.columns.index("p_mean")])


@pytest.mark.parametrize("count", [5, 700, 3001, 20_000])
def test_every_page_shows_some_of_the_candidates(count: int) -> None:
    for bottleneck in ("mixed", "saturated", "instrument"):
        problems = make_problems(bottleneck, count)
        candidates = selection.candidate_ids(problems)
        assert 0 <= min(count, selection.MAX_ROWS) - len(candidates) < len(CLASSES)
        for limit in (1, 5, 29, 150, 601, 750, 899, 1500, 2999, selection.MAX_ROWS):
            shown = problems["id"].iloc[list(selection.choose_rows(problems, limit).positions)]
            assert set(shown) <= set(candidates)


def test_counts_of_a_comparison_are_whole_numbers() -> None:
    table = selection.choose_comparison_rows(make_comparison().problems, 100, 100_000)
    first = table.named()[0]
    assert all(type(first[name]) is int for name in ("n_before", "c_before", "n_after", "c_after"))
    assert "0 of 64.0" not in render_comparison(make_comparison())
