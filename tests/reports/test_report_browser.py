"""The page's script in a real browser (slow: needs chromium)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from posttrain_reports import render_html
from synthetic_run import HOSTILE, make_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]

CHECKS = """
const result = {};
const rows = () => [...document.querySelectorAll("#problem-table tbody tr.row")];
const ids = () => rows().map((row) => row.querySelector("bdi").textContent);
const click = (node) => node.click();
result.errors = window.pageErrors;
result.first = ids()[0];
click([...document.querySelectorAll(".sort")].find((b) => b.textContent === "Passed"));
result.passed = rows().map((row) => Number(row.cells[2].textContent.split(" ")[0]));
result.sorted = document.querySelector("th[aria-sort]").getAttribute("aria-sort");
click(document.querySelector(".chip"));
result.classes = [...new Set(rows().map((row) => row.cells[1].textContent))];
click(document.querySelector(".chip"));
const search = document.getElementById("search");
search.value = "arith-0031"; search.dispatchEvent(new Event("input"));
result.found = ids();
click(document.querySelector(".open"));
result.focus = document.activeElement.id;
result.expanded = document.activeElement.getAttribute("aria-expanded");
result.rollouts = document.querySelectorAll(".detail .roll").length;
result.prompt = document.querySelector(".detail .raw").textContent;
search.value = ""; search.dispatchEvent(new Event("input"));
click(document.getElementById("following"));
result.count = document.getElementById("count").textContent;
const link = document.querySelector("[data-row]");
if (link) { click(link); result.jumped = document.activeElement.querySelector("bdi").textContent; result.link = link.textContent; }
click(document.getElementById("theme"));
result.theme = document.documentElement.dataset.theme;
result.copyVisible = ![...document.querySelectorAll("[data-copy]")].some((b) => b.hidden);
result.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
result.alerted = window.alerted === true;
const out = document.createElement("pre"); out.id = "result"; out.textContent = JSON.stringify(result); document.body.append(out);
"""


def run_page(page: str, tmp_path: Path, size: str) -> dict[str, object]:
    spy = "window.pageErrors=[];window.alert=()=>{window.alerted=true};window.addEventListener('error',(e)=>window.pageErrors.push(e.message));"
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', f"<script>{spy}</script>", page)
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"<script>{CHECKS}</script></body>"), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
               "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}", "--dump-dom", path.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None, "the page's script did not finish"
    return json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.parametrize("size", ["400,900", "1280,900", "1600,900"])
def test_table_sorts_filters_searches_and_opens(size: str, tmp_path: Path) -> None:
    result = run_page(render_html(make_run("instrument")), tmp_path, size)
    assert result["errors"] == []
    assert result["first"] == "arith-0000"
    passed = result["passed"]
    assert isinstance(passed, list)
    assert passed == sorted(passed, reverse=True)
    assert len(passed) == 25
    assert result["sorted"] == "descending"
    assert result["classes"] == ["Mastered"]
    assert result["found"] == ["arith-0031"]
    assert result["focus"] == "open-31"
    assert result["expanded"] == "true"
    assert isinstance(result["rollouts"], int)
    assert result["rollouts"] > 0
    assert result["count"] == "26–50 of 120 matching"
    assert result["jumped"] == result["link"]
    assert result["theme"] in ("dark", "light")
    assert result["copyVisible"] is True
    assert result["overflow"] == 0, "the page scrolls sideways"


def test_hostile_page_runs_nothing(tmp_path: Path) -> None:
    attack = "".join(HOSTILE[:7])
    clean = make_run("instrument", 60)
    rolls = [{**t, "text": f"{t['text']}{attack}", "extracted": attack} for t in clean.transcripts]
    problems = clean.problems.assign(prompt=pd.Series([attack] * 60, dtype=object))
    result = run_page(
        render_html(make_run("instrument", 60, problems=problems, transcripts=rolls)), tmp_path, "1280,900"
    )
    assert result["alerted"] is False
    assert result["errors"] == []
    assert str(result["prompt"]).startswith("</script><script>alert(1)</script>")
