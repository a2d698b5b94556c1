"""A real Chromium for the report tests: pages from file://, watched for anything they should not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (Debian: apt-get install chromium)")

SERIOUS = ("serious", "critical")
SPY = "for (const name of ['alert', 'confirm', 'prompt']) window[name] = () => { window.executed = true; };"


@contextmanager
def chromium() -> Iterator[Browser]:
    """One headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watch:
    """What a page did since it was opened."""

    requests: list[str] = field(default_factory=list[str])
    console: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])


@contextmanager
def opened(browser: Browser, path: Path, width: int = 1280, **context: Any) -> Iterator[Page]:
    """A page from its file in a context of its own; on leaving, it must have been silent.

    Args:
        browser: see `chromium`.
        path: the file.
        width: of the viewport, pixels.
        context: further options of `Browser.new_context`, e.g. color_scheme, bypass_csp.
    """
    own = browser.new_context(viewport={"width": width, "height": 900}, **context)
    own.set_default_timeout(10_000)
    own.add_init_script(SPY)
    page, watch = own.new_page(), Watch()
    page.on("request", lambda request: watch.requests.append(request.url))
    page.on("console", lambda message: watch.console.append(message.text))
    page.on("pageerror", lambda error: watch.errors.append(str(error)))
    try:
        page.goto(path.as_uri())
        yield page
        assert set(watch.requests) == {path.as_uri()}, "the page asked for something else"
        assert watch.console == [], "a console message (a violated policy is one)"
        assert watch.errors == [], "an exception in the page's script"
        assert not page.evaluate("window.executed === true"), "text of the data was executed"
    finally:
        own.close()


def overflow(page: Page) -> int:
    """Pixels by which the document scrolls sideways."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def repeated_ids(page: Page) -> list[str]:
    """Values of `id` that more than one element has."""
    ids: list[str] = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    return sorted({one for one in ids if ids.count(one) > 1})


def violations(page: Page) -> list[str]:
    """Serious and critical findings of axe-core, one line each with the first elements they are about."""
    from axe_core_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]})["violations"]
    return [
        f"{one['id']}: {[node['html'][:120] for node in one['nodes'][:3]]}" for one in found if one["impact"] in SERIOUS
    ]
