"""Hostile text in every string of every page: shown harmless, of bounded size, without breaking the layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from posttrain_reports import (
    ReportData,
    render_autopilot,
    render_comparison,
    render_html,
    write_autopilot_report,
    write_comparison_report,
    write_report,
)
from posttrain_reports.autopilot import AutopilotData
from posttrain_reports.comparison import ComparisonData

from .browser import chromium, needs_chromium, opened, overflow
from .synthetic_pages import KEYWORDS, make_autopilot, make_comparison
from .synthetic_run import HOSTILE, RUN_KEYWORDS, make_run, poisoned
from .test_report_html import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LIMIT = 5_000_000
ATTACK = "".join(HOSTILE[:7])
FORBIDDEN = "[\x00-\x08\x0b-\x1f\u202e\u2066\u2028\ufeff\ud800-\udfff]"
SPELLED = "␛[31mred␛[0m␀␇abc⟦U+202E⟧gnp.exe⟦U+2066⟧x⟦U+2069⟧lone ⟦U+D800⟧ surrogate ⟦U+DFFF⟧"


def attacked(frame: pd.DataFrame, text: str) -> pd.DataFrame:
    columns = ("id", "prompt", "answer")
    return frame.assign(**{name: pd.Series([one + text for one in frame[name]], dtype=object) for name in columns})


def rollouts(found: Any, text: str) -> list[dict[str, Any]]:
    """Every string of every rollout; the verdict too, which is a class name in the page."""
    return [{key: f"{value}{text}" if isinstance(value, str) else value for key, value in t.items()} for t in found]


def run_with(text: str) -> ReportData:
    clean = make_run("support", 30)
    return ReportData(
        diagnosis=poisoned(clean.diagnosis, text, RUN_KEYWORDS, fixed={"schema", "bottleneck"}),
        problems=attacked(clean.problems, text),
        measurements=poisoned(list(clean.measurements), text, RUN_KEYWORDS),
        failures=poisoned(list(clean.failures), text, RUN_KEYWORDS),
        transcripts=rollouts(clean.transcripts, text),
        command=text,
        created=text,
        store=text,
    )


def comparison_with(text: str) -> ComparisonData:
    clean = make_comparison(30)
    return ComparisonData(
        found=poisoned(clean.found, text, KEYWORDS),
        problems=attacked(clean.problems, text),
        transcripts={side: rollouts(found, text) for side, found in clean.transcripts.items()},
        command=text,
        created=text,
    )


def autopilot_with(text: str) -> AutopilotData:
    clean = make_autopilot(Path("runs/auto"))
    return AutopilotData(
        poisoned(clean.result, text, KEYWORDS), poisoned(list(clean.events), text, KEYWORDS), clean.folder
    )


PAGES: dict[str, Callable[[str], str]] = {
    "run": lambda text: render_html(run_with(text)),
    "comparison": lambda text: render_comparison(comparison_with(text)),
    "autopilot": lambda text: render_autopilot(autopilot_with(text)),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["comparison", "autopilot"])
def test_hostile_text_stays_text_everywhere(name: str, text: str) -> None:
    page = PAGES[name](text)
    page.encode()
    assert len(page) < LIMIT
    parsed = Page(page)
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert "img" not in {tag for tag, _ in parsed.tags}
    assert not [attr for _, attrs in parsed.tags for attr in attrs if attr.startswith("on")]
    assert not re.search(FORBIDDEN, page)
    assert "49" not in parsed.text.split(), "template syntax in data was evaluated"


@needs_chromium
@pytest.mark.parametrize("name", PAGES)
def test_hostile_page_runs_nothing_and_keeps_its_shape(name: str, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / f"{name} <b>&'\u202e.html"
    path.write_text(PAGES[name](ATTACK), encoding="utf-8")
    with opened(browser, path, width=400) as page:
        if name != "autopilot":
            page.locator(".open").first.click()
            prompt = page.locator(".detail .raw").first.text_content() or ""
            assert "</script><script>alert(1)</script>" in prompt
            assert SPELLED in prompt
            assert SPELLED in (page.locator(".roll pre").first.text_content() or "")
            page.locator("#search").fill("</SCRIPT><script>alert(1)")
            assert page.locator(".open").count() == 25
        for summary in page.locator("summary:visible").all():
            summary.click()
        shown = page.locator("main").inner_text()
        assert SPELLED in shown
        assert "</script><script>alert(1)</script>" in shown
        for width in (400, 1000, 1600):
            page.set_viewport_size({"width": width, "height": 900})
            assert overflow(page) == 0, f"scrolls sideways at {width}"


@pytest.mark.parametrize("name", PAGES)
def test_long_strings_everywhere_leave_the_page_small(name: str) -> None:
    assert len(PAGES[name]("<&" * 75_000).encode()) < LIMIT


@needs_chromium
def test_ten_megabytes_on_one_line(browser: Browser, tmp_path: Path) -> None:
    line, end = "x" * 10_000_000, "the end"
    clean = make_run("instrument", 30)
    long = [{**clean.transcripts[0], "text": line + end}, *clean.transcripts[12:]]
    run = make_run("instrument", 30, problems=clean.problems.assign(prompt=line + end), transcripts=long)
    pair = make_comparison(30)
    pair = make_comparison(
        30, problems=pair.problems.assign(prompt=line + end), transcripts={"before": long, "after": []}
    )
    for name, text in {"run": render_html(run), "comparison": render_comparison(pair)}.items():
        assert len(text.encode()) < LIMIT
        path = tmp_path / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        with opened(browser, path, width=400) as page:
            page.locator(".open").first.click()
            for shown in (page.locator(".detail .raw").first, page.locator(".roll pre").first):
                words = shown.text_content() or ""
                assert words.endswith(end)
                assert "characters left out" in words
            assert overflow(page) == 0


def test_lone_surrogates_are_written_as_utf8(tmp_path: Path) -> None:
    text = "lone \ud800 surrogate \udfff"
    for name in ("run", "comparison", "auto"):
        (tmp_path / name).mkdir()
    auto = autopilot_with(text)
    written = [
        write_report(run_with(text), tmp_path / "run"),
        write_comparison_report(comparison_with(text), tmp_path / "comparison"),
        write_autopilot_report(AutopilotData(auto.result, auto.events, tmp_path / "auto")),
    ]
    for page in written:
        assert "⟦U+D800⟧" in page.read_text(encoding="utf-8")
        assert "⟦U+D800⟧" in page.with_name("report.md").read_text(encoding="utf-8")
