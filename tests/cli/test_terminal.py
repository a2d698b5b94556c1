"""What the terminal shows: verdict, plan and comparison at every width, untrusted text harmless, figures in words."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.cli import terminal
from posttrain_diag.cli.classes import LOOKS, cells_of, class_words
from posttrain_diag.cli.comparison_view import print_comparison
from posttrain_diag.cli.recommend_command import print_plan
from posttrain_diag.cli.run_command import show_result
from posttrain_diag.cli.verdict import print_verdict

from .hostile import EVIL, LONG, comparison, diagnosis, estimate, harmless, proposal

BOX = "│╭╮╰╯─┃"
COMMAND = "diag train " + "very-long-folder-name/" * 9 + "run --stage sft"


@pytest.fixture(params=[60, 80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def test_the_box_fits_and_no_command_is_broken(width: int, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = diagnosis(plan=[proposal(stage="sft", command=COMMAND), proposal(stage="rft", needs=["a teacher"])])
    print_verdict(data, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    boxed = [line for line in lines if any(char in line for char in BOX)]
    assert boxed and all(len(line) == min(width, 100) for line in boxed)
    (command,) = [line for line in lines if "diag train" in line]
    assert command.strip() == COMMAND
    assert all(len(line) <= width for line in lines if line.strip() not in (COMMAND, f"report: {tmp_path}/report.html"))
    assert not any(line != line.rstrip() for line in lines)


def test_the_verdict_says_what_to_do_and_what_numbers_rest_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shared = "Give tasks to retain: without them it forgets."
    plan = [proposal(stage=name, why=f"Reason of {name}. {shared}", needs=["the model"]) for name in ("sft", "rft")]
    print_verdict(diagnosis(plan=plan), tmp_path)
    out = " ".join(re.sub(f"[{BOX}]", " ", capsys.readouterr().out).split())
    for said in ("reshaping-limited", "confidence 93.0% (else support 7.0%)", "instrument: suspect", "! truncation",
                 "30.0% mastered", "40.0% reshaping", "20.0% support", "pass@16 >99.9%", "90.0% [80.0, 100] estimated",
                 "+30.0 points [+20.0, +40.0] (model-dependent)", "other tasks −5.0 points", "about 231 k tokens"):  # fmt: skip
        assert said in out, said
    assert out.count(shared) == 1 and f"sft, rft: {shared}" in out
    assert out.count("need the model") == 1


def test_an_empty_plan_ends_with_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_verdict(diagnosis(plan=[], bottleneck="saturated", needed=None), tmp_path)
    assert "Choose harder tasks" in capsys.readouterr().out


def test_comparison_plan_and_autopilot_fit_and_keep_their_figures(
    width: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    print_comparison(comparison(), tmp_path)
    boxed = capsys.readouterr().out
    assert "12.8% → 100%" in boxed and "+87.0 points [+77.0, +97.0]" in boxed and "…" not in boxed
    twice = [proposal(stage="sft-model-aware", command=COMMAND)] * 2
    print_plan({"plan": twice, "not_proposed": {"merge": "needs another"}, "pilots": None})
    plan = capsys.readouterr().out
    assert "80.0% [70.0, 90.0]" in plan and "231 k" in plan and "…" not in plan and COMMAND in plan
    measured = {"pass@1": estimate(0.498), "retention": estimate(0.998)}
    one = {
        "number": 1,
        "stage": "distill-offline",
        "before": measured,
        "after": measured,
        "tokens": {"total": 2_859_911},
        "outcome": "rolled back",
    }
    end = {"pass@1": estimate(), "report": None}
    show_result(
        {
            "tokens": {"start": {"total": 98_165}, "total": 3_357_851},
            "rounds": [one],
            "before": end,
            "after": end,
            "reason": "x",
            "checkpoint": "c",
            "kept": [],
        },
        tmp_path,
    )
    result = capsys.readouterr().out
    assert "49.8% → 49.8%" in result and "2.86 M" in result and "…" not in result


@pytest.mark.parametrize("text", [EVIL, LONG], ids=["evil", "long"])
def test_hostile_text_is_shown_harmless(text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_verdict(diagnosis(text), tmp_path / "run")
    print_comparison(comparison(text), tmp_path)
    print_plan({**diagnosis(text), "pilots": {"runs": [], "tokens": 1, "reason": text}})
    terminal.echo(text)
    terminal.say(text)
    shown = capsys.readouterr()
    harmless(shown.out + shown.err)
    assert len(shown.out + shown.err) < 400_000
    if text is EVIL:
        assert "[bold][link=http://evil]x[/link]" in shown.out  # shown, not read as markup
        assert not any(line.startswith("injected") for line in (shown.out + shown.err).splitlines())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_encoding_ends_a_run(encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    terminal.tolerate_encodings()
    print_verdict(diagnosis("модель 模型 \U0001f600 " + EVIL), tmp_path)
    terminal.say("модель")
    streams[0].flush()
    raw = streams[0].buffer.getvalue()  # type: ignore[attr-defined]
    harmless(raw.decode(encoding))
    assert b"reshaping-limited" in raw


def test_json_is_ascii_and_refuses_nan(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.echo_json({"a": EVIL})
    out = capsys.readouterr().out
    harmless(out)
    assert out.isascii() and json.loads(out) == {"a": EVIL}
    with pytest.raises(ValueError, match="JSON"):
        terminal.echo_json({"a": float("nan")})


@given(st.dictionaries(st.sampled_from(list(LOOKS)), st.floats(0.01, 1e6), min_size=1), st.integers(6, 60))
def test_the_class_bar_is_as_long_as_asked_and_hides_no_class(counts: dict[Any, float], cells: int) -> None:
    found = cells_of(counts, cells)
    assert sum(found.values()) == cells and found.keys() == counts.keys() and min(found.values()) >= 1
    exact = {name: cells * counts[name] / sum(counts.values()) for name in counts}
    assert all(abs(found[name] - exact[name]) <= len(counts) for name in counts)


@given(st.integers(30, 120))
def test_class_words_break_between_classes_only(width: int) -> None:
    counts = {"mastered": 48, "reshaping": 1234, "support": 7, "unresolved": 0.2}
    lines = class_words(counts, width, sampling=True, ascii_only=True).plain.splitlines()  # type: ignore[arg-type]
    assert all(len(line) <= width for line in lines)
    joined = "  ".join(lines)
    assert joined == "# 48 mastered  = 1,234 reshaping  - 7 not reached  . <1 open"
