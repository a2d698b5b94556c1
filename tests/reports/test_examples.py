"""The golden reports are of today's templates, whole, offline and free of this machine's paths."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from posttrain_reports.page import MAX_BYTES, look

FOLDER = Path(__file__).parents[2] / "reports" / "examples"
NAMES = sorted(runpy.run_path(str(FOLDER / "make.py"), run_name="examples")["EXAMPLES"])


@pytest.mark.parametrize("name", NAMES)
def test_example_is_of_todays_templates(name: str) -> None:
    page = (FOLDER / f"{name}.html").read_text(encoding="utf-8")
    assert f"look {look()}" in page, "made by other templates: run `make examples` and look at the pages"
    assert len(page.encode()) < MAX_BYTES
    assert not re.search(r"(src|href)=\"(https?:)?//", page), "an example must open without a network"
    assert not re.search(r"/(tmp|home|work|root)/", page), "a path of the machine that made it"
    assert (FOLDER / f"{name}.md").read_text(encoding="utf-8").startswith("# ")


def test_readme_lists_all() -> None:
    listed = re.findall(r"\]\((\w+)\.html\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == NAMES
