"""Every session of every page is run as a reader would run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .doc_sessions import blocks, commands, differs, run_page
from .docs_pages import PAGES, ROOT

SLOW = "<!-- slow: "
RUN = [page for page in PAGES if any(block.language == "console" for block in blocks(page.read_text(encoding="utf-8")))]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=pytest.mark.slow if SLOW in page.read_text(encoding="utf-8") else ())
        for page in RUN
    ],
)
def test_sessions_of_the_page_run_and_print_what_it_shows(page: Path, tmp_path: Path) -> None:
    assert run_page(page.read_text(encoding="utf-8"), tmp_path) > 0


def test_the_pages_that_a_newcomer_follows_are_among_those_that_run() -> None:
    names = {page.name for page in RUN}
    assert {"quickstart.md", "tasks.md", "verifiers.md", "models.md", "formats.md", "python-api.md"} <= names, names
    assert all(page.is_relative_to(ROOT) for page in RUN)


PAGE = """
```text title="a/note.txt"
seven
```

```console
$ cat a/note.txt
seven
$ echo one; echo two;
> echo 12.8% of 3,200
one
...
12.5% of 3,100
$ exit 3  # exit 3
```
"""


def test_a_session_is_run_from_top_to_bottom(tmp_path: Path) -> None:
    assert run_page(PAGE, tmp_path) == 3


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("seven\n$", "eight\n$"),  # another word
        ("12.5%", "17.5%"),  # a number that is too far off
        ("one\n...", "one"),  # a line that is not shown
        ("# exit 3", "# exit 2"),
        ("$ cat a/note.txt", "$ cat a/other.txt"),
    ],
)
def test_a_wrong_page_fails(tmp_path: Path, was: str, now: str) -> None:
    assert was in PAGE
    with pytest.raises(AssertionError):
        run_page(PAGE.replace(was, now), tmp_path)


def test_words_are_compared_without_boxes_and_line_breaks() -> None:
    box = "╭── a ──╮\n│ reshaping-limited: right   │\n│ answers 12 │\n╰───╯"
    assert differs("a\nreshaping-limited: right answers 12", box) == ""
    assert differs("a ... answers 12", box) == ""
    assert differs("a\nreshaping-limited: right answers 13", box) != ""
    assert differs("reshaping-limited: right answers 12", box) != ""


def test_output_before_a_command_is_an_error() -> None:
    with pytest.raises(ValueError, match="begins with a command"):
        commands("hello\n$ echo hello\n")
