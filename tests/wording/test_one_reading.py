"""One run: the same figure reads the same in the terminal, on the page, in Markdown and in the lines of `diag train`."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import make_problems

from posttrain_diag.analysis.report_data import rerender
from posttrain_diag.cli.recommend_command import print_plan
from posttrain_diag.cli.run_command import show_result as show_rounds
from posttrain_diag.cli.train_command import show_result
from posttrain_diag.cli.verdict import print_verdict
from posttrain_diag.recommend.duration import with_times
from posttrain_diag.stages import Measured, StageResult
from posttrain_diag.stages.session.watch import Look
from posttrain_diag.store import RunDir
from posttrain_diag.store.speed import keep_speed, stored_speed
from posttrain_diag.types import Estimate

P = (0.0, 0.02, 0.12, 0.3, 0.99)
"""Success probabilities of the problems, in turn."""


def word(i: int) -> str:
    return "".join("abcdefghij"[(i * 7 + j * j + i // 10) % 10] for j in range(6))


class Run:
    """What one run says in every place."""

    def __init__(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rerender(out)
        self.data: dict[str, Any] = json.loads((out / "diagnosis.json").read_text())
        self.plan = with_times(self.data["plan"], stored_speed(RunDir(out)))
        capsys.readouterr()
        print_verdict({**self.data, "plan": self.plan}, out)
        self.terminal = " ".join(capsys.readouterr().out.replace("│", " ").split())
        print_plan({"plan": self.plan, "pilots": None, "not_proposed": {}})
        self.recommend = capsys.readouterr().out
        self.page = html.unescape((out / "report.html").read_text())
        self.markdown = re.sub(r"\\([^\\])", r"\1", (out / "report.md").read_text())


@pytest.fixture
def run(run_analysis: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    problems = make_problems(40, word)
    law = lambda prompt: {word(i := int(prompt[1:-1])): P[i % 5], "z" + word(i + 1): 1 - P[i % 5]}  # noqa: E731
    analysis = run_analysis(law, problems)
    keep_speed(analysis.run, "hf", "cpu", 20_000, 7.0)
    return Run(analysis.run.path, capsys)


def one(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of the only match, alternatives among them; a figure that is said twice must be said alike."""
    found = {match.groups() for match in re.finditer(pattern, text, re.S)}
    assert len(found) == 1, (pattern, found)
    return found.pop()


SHARE, INTERVAL = r"([<>]?[\d.]+%)", r"(\[[^\]]*\])"


def test_pass_at_1_with_its_interval(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    block = run.data["estimates"]["pass@1"]
    expected = (f"{100 * block['value']:.1f}%", f"[{100 * block['low']:.1f}, {100 * block['high']:.1f}]")
    assert one(rf"pass@1 +{SHARE} +{INTERVAL}", run.terminal) == expected
    assert one(rf'<div class="what">pass@1</div><div class="big">{SHARE}</div>.*?{INTERVAL}', run.page)[:2] == expected
    assert (
        one(rf'<th scope="row">pass@1</th>\s*<td class="num">{SHARE}</td><td class="nowrap">{INTERVAL}', run.page)
        == expected
    )
    assert one(rf"\| pass@1 \| {SHARE} \| {INTERVAL}", run.markdown) == expected
    show_result(stage_result(run))
    train = capsys.readouterr().out
    assert one(rf"pass@1 +{SHARE} {INTERVAL} → ", train) == expected
    assert str(Look(5, block["value"], 1.0, 16, None, 0.0, 0.0, False, 0.0)).startswith(
        f"step 5: pass@1 {expected[0]},"
    )
    show_rounds(rounds(run), Path("x"))
    told = capsys.readouterr().out
    assert f"held-out pass@1 {' '.join(expected)} → " in told and f"{expected[0]} → " in told.split("held-out")[0]


def test_class_shares(run: Run) -> None:
    told = {"mastered": "Mastered", "reshaping": "Reshaping-limited", "support": "Support-limited"}
    for name, title in told.items():
        value = run.data["shares"][name]["value"]
        expected = (f"{100 * value:.1f}%",)
        assert one(rf"{SHARE} {name}\b", run.terminal) == expected
        assert one(rf"</span>{title}</span><span class=\"num\">{SHARE}</span>", run.page) == expected
        assert one(rf"</span>{title}</th><td class=\"num\">{SHARE}</td>", run.page) == expected
        assert one(rf"\| {title} \| {SHARE} \|", run.markdown) == expected
    if run.data["bottleneck"] == "mixed":
        assert f"on {100 * run.data['shares']['reshaping']['value']:.1f}%" in run.page


def test_expected_gain_tokens_and_time_of_the_first_stage(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    first = run.plan[0]
    gain, stage = first["expected_gain"], first["stage"]
    ends = [f"{100 * gain[key]:+.1f}".replace("-", "−") for key in ("value", "low", "high")]
    expected = f"{ends[0]} points [{ends[1]}, {ends[2]}]"
    at = run.terminal.index(f"1. {stage}")
    assert f"pass@1 {expected}" in run.terminal[at : at + 200]
    assert f"{expected} of pass@1 expected" in run.page  # the headline's next step
    card = run.page[run.page.index(f"stage <code>{stage}</code>") :]
    assert one(r'<div class="big">([^<]*)</div>\s*<div class="small muted">([^<]*) of pass@1</div>', card[:1500]) == (
        f"{ends[0]} points",
        f"[{ends[1]}, {ends[2]}]",
    )
    assert f"Expected gain: {expected} of pass@1" in run.markdown

    tokens = one(r"about ([\d.,]+(?: [kMB])?) tokens", run.terminal[at : at + 300].split("2. ")[0])
    assert re.fullmatch(r"\d{1,3}(\.\d+)? [kM]", tokens[0]), "a stage of this run takes more than 10,000 tokens"
    assert one(r"<dt>tokens</dt><dd>([^<]*)</dd>", card[:3000].split("</dl>")[0]) == tokens
    assert one(r"Cost: tokens ([^,]*),", run.markdown.split("2. **")[0]) == tokens
    time = one(r"tokens, about ([^(]*?) here", run.terminal[at:].split("2. ")[0])
    assert one(r"<dt>time</dt><dd>([^<]*)</dd>", card[:3000].split("</dl>")[0]) == time
    assert one(r"Cost: .*?, time (.*?)\. Needs", run.markdown.split("2. **")[0]) == time
    line = next(line for line in run.recommend.splitlines() if line.startswith(f"{stage} "))
    assert line.rstrip().endswith(tokens[0])
    show_result(stage_result(run))
    train = capsys.readouterr().out
    assert f"  {tokens[0]} tokens generated" in train and f", {time[0]} of CPU time" in train


def test_confidence(run: Run) -> None:
    said = one(rf"confidence {SHARE}", run.terminal)
    assert one(rf'<span class="num first">{SHARE}</span>', run.page) == said
    assert one(rf"confidence {SHARE}", run.markdown) == said


def stage_result(run: Run) -> StageResult:
    """A stage that began with the run's pass@1 and took what the first stage of its plan is expected to take."""
    pass_1 = Estimate(**run.data["estimates"]["pass@1"])
    cost = run.plan[0]["cost"]
    sides = [
        Measured({"pass@1": e}, None, 0.0, {}) for e in (pass_1, Estimate(0.965, 0.948, 0.977, 0.9, 40, "measured"))
    ]
    return StageResult(
        "grpo",
        "checkpoint",
        *sides,
        100,
        75,
        None,
        False,
        cost["tokens"],
        cost["tokens"],
        0,
        13_200,
        cost["time_s"],
        1.0,
    )


def rounds(run: Run) -> dict[str, Any]:
    """result.json of an autopilot run with one round that changed nothing."""
    end = {"pass@1": run.data["estimates"]["pass@1"], "retention": None, "report": None}
    one = {"number": 1, "stage": "grpo", "before": end, "after": end, "tokens": {"total": 99_999}, "outcome": "kept"}
    return {"tokens": {"start": {"total": 1}, "total": 2}, "rounds": [one], "before": end, "after": end, "reason": "x",
            "checkpoint": "c", "kept": []}  # fmt: skip
