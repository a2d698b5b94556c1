"""The tables of words cover exactly what the tool can find, and nothing says it in words of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import posttrain_reports
import pytest

from posttrain_diag.autopilot.state import End
from posttrain_diag.compare.types import MeasuredRole
from posttrain_diag.stages.catalogue import CATALOGUE
from posttrain_diag.types import CLASSES as RESOLVED
from posttrain_diag.types import Bottleneck, FindingKind, InstrumentStatus, Label, ProblemClass, ShareName
from posttrain_diag.wording import vocabulary as words

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path
    for folder in ("posttrain_diag", "probes/posttrain_probes", "reports/posttrain_reports")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".j2", ".js", ".css") and path.name != "vocabulary.py"
)


def literals(alias: object) -> set[str]:
    return {name for arg in get_args(alias) for name in (get_args(arg) or [arg])}


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (words.CLASSES, literals(ProblemClass)), (words.SHARES, literals(ShareName)), (words.VERDICTS, literals(Bottleneck)),
        (words.ROLES, literals(MeasuredRole)), (words.INSTRUMENT, literals(InstrumentStatus)), (words.FINDINGS, literals(FindingKind)),
        (words.LABELS, literals(Label)), (words.ENDS, literals(End)), (words.STAGES, {card.name for card in CATALOGUE}),
    ],
)  # fmt: skip
def test_a_table_has_a_row_for_everything_that_can_be_found(table: dict[str, object], names: set[str]) -> None:
    assert set(table) == names


def test_classes_are_told_apart_without_colour_and_every_class_has_a_reason() -> None:
    for column in (0, 1):
        assert len({one.cells[column] for one in words.CLASSES.values()}) == len(words.CLASSES)
    assert all(one.cells[1].isascii() and len(one.cells[1]) == 1 for one in words.CLASSES.values())
    assert all(words.CLASSES[name].reason.format(budget=256, mastery=0.8) for name in RESOLVED)
    assert set(words.COUNTED_CLASSES) < set(RESOLVED)
    assert words.CLASSES["reshaping"].reason.format(budget=256, mastery=0.8) == "solved sometimes (1/256 <= p < 0.8)"


def test_every_hue_has_its_colour_on_the_page() -> None:
    style = (Path(posttrain_reports.__file__).parent / "templates" / "report.css").read_text()
    beside = set(re.findall(r"\.hue-([a-z]+)\{", style))
    for name in (*words.VERDICTS, *words.ROLES, *words.ENDS, "unheard of"):
        assert words.hue(name) in {*words.SHARES, *beside}, name
    assert all(one.hue in words.CLASSES for one in words.FATES.values())


def sentences() -> set[str]:
    """Whatever a table says in six words or more, and every colour."""
    said = {text for table in (words.FINDINGS, words.LABELS, words.ENDS, words.STAGES) for text in table.values()}
    for table in (words.SHARES, words.VERDICTS, words.ROLES, words.INSTRUMENT, words.FATES, words.PARTS, words.SUPPORT):
        said |= {text for one in table.values() for text in vars(one).values() if isinstance(text, str)}
    return {text for text in said if text.count(" ") >= 5 or text.startswith("#")}


def test_no_other_file_says_these_words() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in CODE
        for text in sentences()
        if text in " ".join(path.read_text(encoding="utf-8").split())
    }
    assert found == set()


def test_the_readme_lists_every_verdict() -> None:
    table = re.findall(r"^\| (`.*?`) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert {name for row in table for name in re.findall(r"`(\w+)`", row)} >= set(words.VERDICTS)


def test_titles_of_unknown_things_are_their_names() -> None:
    assert (
        words.stage_title("new-stage")
        == words.verdict_title("new-stage")
        == words.role_title("new-stage")
        == "new-stage"
    )
    assert words.estimate_title("coverage") == "Coverage of effective support"
    assert words.estimate_title("coverage", short=True) == "in support"
    assert words.estimate_title("mixed_groups@8") == "Mixed reward groups, G = 8"
    assert words.estimate_title("mixed_groups@8", short=True) == "mixed groups@8"
