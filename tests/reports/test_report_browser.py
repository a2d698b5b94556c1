"""Every page in a real browser: silent, without sideways scrolling, usable by mouse and by keyboard, accessible."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from posttrain_reports import render_html
from posttrain_reports.autopilot import render_autopilot
from posttrain_reports.comparison import render_comparison
from posttrain_reports.index import render_index
from posttrain_reports.page import embed_json

from posttrain_diag.store.run_index import RunEntry

from .browser import chromium, needs_chromium, opened, overflow, repeated_ids, violations
from .synthetic_pages import make_autopilot, make_comparison
from .synthetic_run import make_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [needs_chromium, pytest.mark.xdist_group("chromium")]

PAGES = ("run", "comparison", "autopilot")
TABLES = ("run", "comparison")
WIDTHS = (400, 1000, 1600)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    texts = {
        "run": render_html(make_run("instrument")),
        "comparison": render_comparison(make_comparison()),
        "autopilot": render_autopilot(make_autopilot(folder)),
    }
    paths = {name: folder / f"{name} page.html" for name in texts}
    for name, text in texts.items():
        paths[name].write_text(text, encoding="utf-8")
    return paths


def payload(page: Page) -> dict[str, Any]:
    return json.loads(page.locator("#data").text_content() or "")


def ids(page: Page) -> list[str]:
    return page.locator("#problem-table tbody .open bdi").all_text_contents()


def column(page: Page, number: int) -> list[str]:
    return page.locator(f"#problem-table tbody tr.row td:nth-child({number})").all_text_contents()


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.id || document.activeElement.textContent")


def shares(cells: list[str]) -> list[float]:
    pairs = [cell.split(" of ") for cell in cells]
    return [int(passed) / int(drawn) for passed, drawn in pairs]


@pytest.mark.parametrize("name", PAGES)
def test_fits_every_width_and_works_without_problems(name: str, browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files[name], width=WIDTHS[0]) as page:
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            if name in TABLES and width == WIDTHS[0]:
                page.locator(".open").first.click()
            for summary in page.locator("summary:visible").all():
                summary.click()
            assert overflow(page) == 0, f"scrolls sideways at {width}"
        assert repeated_ids(page) == []
        assert page.locator("h1").count() == 1
        assert not [
            link
            for link in page.locator("a[href^='#']").all()
            if not page.locator(f"[id='{(link.get_attribute('href') or '')[1:]}']").count()
        ]


@pytest.mark.parametrize("name", PAGES)
def test_themes_follow_the_system_until_the_reader_chooses(name: str, browser: Browser, files: dict[str, Path]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, files[name], color_scheme="light") as page:
        light, button = page.evaluate(ground), page.locator("#theme")
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate(ground)
        assert dark != light
        expect(button).to_have_text("Light theme")
        button.click()
        assert (page.evaluate(ground), button.text_content()) == (light, "Dark theme")
        page.reload()
        assert (page.evaluate(ground), button.text_content()) == (light, "Dark theme"), "the choice is remembered"
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the verdict"
        button.focus()
        page.keyboard.press("Enter")
        assert page.evaluate(ground) == dark


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 400)])
@pytest.mark.parametrize("name", PAGES)
def test_accessible(name: str, theme: str, width: int, browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files[name], width, color_scheme=theme, bypass_csp=True) as page:
        for summary in page.locator("summary:visible").all():
            summary.click()
        if name in TABLES:
            page.locator(".open").first.click()
            page.locator(".chip").first.click()
        assert violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_focus_is_seen_and_motion_is_asked_for(name: str, browser: Browser, files: dict[str, Path]) -> None:
    scrolling = "getComputedStyle(document.documentElement).scrollBehavior"
    with opened(browser, files[name], reduced_motion="reduce") as page:
        assert page.evaluate(scrolling) == "auto"
        page.emulate_media(reduced_motion="no-preference")
        assert page.evaluate(scrolling) == "smooth"
        seen: set[str] = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            tag, width, style = page.evaluate(
                "(() => { const s = getComputedStyle(document.activeElement);"
                "return [document.activeElement.tagName, parseFloat(s.outlineWidth), s.outlineStyle]; })()"
            )
            seen.add(tag)
            assert tag == "BODY" or (width >= 2 and style != "none"), f"{tag}: focus is not drawn"
        assert {"A", "BUTTON"} <= seen


@pytest.mark.parametrize("name", TABLES)
def test_table_sorts_by_mouse_and_by_keyboard(name: str, browser: Browser, files: dict[str, Path]) -> None:
    passed = {"run": "Passed", "comparison": "After"}[name]
    number = {"run": 3, "comparison": 4}[name]
    with opened(browser, files[name]) as page:
        first = ids(page)
        assert len(first) == 25
        head = page.locator("th", has=page.get_by_role("button", name=passed, exact=True))
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        best = shares(column(page, number))
        assert best == sorted(best, reverse=True)
        page.keyboard.press("Enter")
        assert focused(page) == passed, "the button keeps the focus"
        assert head.get_attribute("aria-sort") == "ascending"
        worst = shares(column(page, number))
        assert worst == sorted(worst)
        assert worst[0] < best[0]
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") is None
        assert page.locator("th[aria-sort]").count() == 1
        page.get_by_role("button", name="Problem", exact=True).click()
        assert ids(page) == sorted(ids(page))


@pytest.mark.parametrize("name", TABLES)
def test_table_filters_searches_and_pages(name: str, browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files[name]) as page:
        body, count = payload(page), page.locator("#count")
        total, group = len(body["rows"]), body["columns"].index("group")
        titles = {one["name"]: one["title"] for one in body["groups"]}
        chips = page.locator(".chip")
        chips.first.click()
        assert chips.first.get_attribute("aria-pressed") == "true"
        assert set(column(page, 2)) == {(chips.first.text_content() or "").rstrip("0123456789")}
        chips.nth(1).focus()
        page.keyboard.press("Enter")
        wanted = [row[0] for row in body["rows"] if list(titles).index(row[group]) < 2]
        assert ids(page) == wanted[:25]
        assert f"of {len(wanted)} matching" in (count.text_content() or "")
        for chip in (chips.first, chips.nth(1)):
            chip.click()

        assert page.locator("#previous").is_disabled()
        page.locator("#following").click()
        assert count.text_content() == f"26–50 of {total} matching"
        assert ids(page) == [row[0] for row in body["rows"][25:50]]
        page.locator("#following").focus()
        while not page.locator("#following").is_disabled():
            page.keyboard.press("Enter")
        assert ids(page)[-1] == body["rows"][-1][0]
        page.locator("#previous").click()
        assert len(ids(page)) == 25

        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("/")
        assert focused(page) == "search"
        page.keyboard.type("ARITH-0031")
        assert ids(page) == ["arith-0031"]
        page.keyboard.press("Escape")
        assert page.locator("#search").input_value() == ""
        assert count.text_content() == f"1–25 of {total} matching"
        answer = body["rows"][7][body["columns"].index("answer")]
        page.keyboard.type(answer)
        assert "arith-0007" in ids(page)
        page.locator("#search").fill("found nowhere /")
        assert ids(page) == []
        assert "No embedded problem matches." in (page.locator("#problem-table tbody").text_content() or "")
        assert count.text_content() == "0–0 of 0 matching"


@pytest.mark.parametrize("name", TABLES)
def test_problem_opens_and_shows_what_was_stored(name: str, browser: Browser, files: dict[str, Path]) -> None:
    stored = {
        "run": lambda: {t["text"] for t in make_run("instrument").transcripts if t["problem_id"] == "arith-0003"},
        "comparison": lambda: {t["text"] for side in make_comparison().transcripts.values() for t in side if t["problem_id"] == "arith-0003"},
    }[name]()  # fmt: skip
    with opened(browser, files[name]) as page:
        body = payload(page)
        button = page.locator("#open-3")
        button.click()
        assert focused(page) == "open-3"
        assert button.get_attribute("aria-expanded") == "true"
        detail = page.locator(f"#{button.get_attribute('aria-controls')}")
        prompt, gold = detail.locator(".io .raw").all_text_contents()
        assert prompt == body["rows"][3][body["columns"].index("prompt")]
        assert gold == body["rows"][3][body["columns"].index("answer")]
        texts = detail.locator(".roll pre").all_text_contents()
        assert texts
        assert set(texts) <= stored
        group = body["transcripts"]["3"]
        shown = group if name == "run" else [*group["before"], *group["after"]]
        assert texts == [t["text"] for t in shown]
        assert detail.locator(".roll h4").all_text_contents() == [t["verdict"] for t in shown]

        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert (focused(page), page.locator("tr.detail").count()) == ("open-4", 2)
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Escape")
        assert (focused(page), page.locator("tr.detail").count()) == ("open-3", 1)
        assert page.locator("#open-3").get_attribute("aria-expanded") == "false"
        page.keyboard.press("Escape")
        assert page.locator("tr.detail").count() == 1, "Escape opens nothing"
        page.locator("#open-0").focus()
        page.keyboard.press("ArrowUp")
        assert focused(page) == "open-0"
        page.locator("#open-4").click()
        assert page.locator("tr.detail").count() == 0


def test_findings_jump_to_their_problems(browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files["run"]) as page:
        page.locator(".chip").last.click()
        page.locator("#search").fill("nothing")
        link = page.locator("[data-row]").nth(2)
        link.focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.querySelector('bdi').textContent") == link.text_content()
        assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
        assert page.locator(".chip[aria-pressed=true]").count() == 0
        assert page.locator("#search").input_value() == ""


@pytest.mark.parametrize("name", PAGES)
def test_copy_button(name: str, browser: Browser, files: dict[str, Path]) -> None:
    for allowed in (["clipboard-read", "clipboard-write"], []):
        with opened(browser, files[name], permissions=allowed) as page:
            button = page.locator("[data-copy]").first
            code = page.locator(f"#{button.get_attribute('data-copy')}").text_content() or ""
            button.click()
            expect(button).to_have_text("Copied")
            page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), {id: 'paste'}))")
            page.locator("#paste").focus()
            page.keyboard.press("Control+v")
            assert page.locator("#paste").input_value() == code


def test_token_probabilities(browser: Browser, tmp_path: Path) -> None:
    text = render_html(make_run("support", 10))
    found = re.search(r'(<script type="application/json" id="data">)(.*?)(</script>)', text, re.DOTALL)
    assert found is not None
    body = json.loads(found.group(2))
    rollout = body["transcripts"]["0"][0]
    rollout |= {"text": "<b>ab c", "pieces": [["<b>", -0.1], ["ab", -0.9], [" ", -3.0], ["c", -6.0], ["", None]], "piecesLeft": 1200}  # fmt: skip
    path = tmp_path / "pieces.html"
    path.write_text(text[: found.start(2)] + embed_json(body) + text[found.end(2) :], encoding="utf-8")
    with opened(browser, path) as page:
        page.locator("#open-0").click()
        card = page.locator(".roll").first
        card.get_by_role("button", name="token probabilities").click()
        tokens = card.locator(".tokens span")
        assert tokens.all_text_contents() == ["<b>", "ab", "␣", "c", "", " […1,200 more tokens]"]
        assert [one.get_attribute("class") for one in tokens.all()] == ["", "t1", "t2", "t3", "", "none"]
        assert tokens.nth(1).get_attribute("title") == "p = 0.407, log p = −0.90 nats"
        page.keyboard.press("Enter")
        assert card.locator("pre").text_content() == "<b>ab c"


@pytest.mark.parametrize("name", PAGES)
def test_print_shows_the_sections_and_no_controls(name: str, browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files[name], color_scheme="dark") as page:
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert all(section.is_visible() for section in page.locator("section").all())
        hidden = page.locator("nav, .btn, #theme, #tools, #pager, .skip")
        assert hidden.count()
        assert not [one for one in hidden.all() if one.is_visible()]
        assert not [one for one in page.locator("details:not(.data)").all() if one.get_attribute("open") is None]
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", TABLES)
def test_without_javascript_the_rows_are_there(name: str, browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files[name], java_script_enabled=False) as page:
        assert page.locator("#problem-table tbody tr").count() == 25
        assert not page.locator("#tools").is_visible()
        assert not page.locator("[data-copy]").first.is_visible()


def test_index_of_runs(browser: Browser, tmp_path: Path) -> None:
    entries = [
        RunEntry("analysis", Path("runs/first"), "finished", 1.7e9, "report.html", "zoo:base", "builtin:zoo/S", "reshaping", 0.97,
                 {"value": 0.13, "low": 0.11, "high": 0.15, "label": "measured"}, "ok"),
        RunEntry("comparison", Path("runs/second"), "finished", 1.6e9, "report.html", "zoo:base", None, "expansion"),
        RunEntry("autopilot", Path("runs/<script>alert(1)</script>"), "damaged", 1.5e9, None, note="half a file " * 30),
    ]  # fmt: skip
    path = tmp_path / "index.html"
    path.write_text(render_index(entries, "runs"), encoding="utf-8")
    for theme, width in (("light", 1280), ("dark", 400)):
        with opened(browser, path, width, color_scheme=theme, bypass_csp=True) as page:
            assert overflow(page) == 0
            assert repeated_ids(page) == []
            assert violations(page) == []
    with opened(browser, path) as page:
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(3)
        page.get_by_role("searchbox").fill("expansion")
        expect(page.locator("tbody tr:visible")).to_have_count(1)
