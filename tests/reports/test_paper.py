"""Figures for papers: the shapes of the page, painted by the rules of its style sheet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest
from posttrain_reports import charts, paper, write_report
from posttrain_reports.autopilot import autopilot_figures, checkpoints_of, write_autopilot_report
from posttrain_reports.blocks import FigureBlock, figure_blocks
from posttrain_reports.comparison import write_comparison_report
from posttrain_reports.comparison_figures import comparison_figures, waterfall_steps
from posttrain_reports.figdata import Share, class_shares, point_of
from posttrain_reports.palette import cascade, look_of, rules, rules_of
from posttrain_reports.svg import Canvas, Part, Rect, Text
from posttrain_reports.svg import Path as Shape

from posttrain_diag.types import Label

from .synthetic_pages import make_autopilot, make_comparison
from .synthetic_run import HOSTILE, make_run

AS_THEY_ARE = {"tick", "accent", *get_args(Label)}
"""Classes that may have no rule of their own beside the one of their kind."""


def every_sheet(folder: Path) -> Iterator[Canvas]:
    """All figures of all pages, as a page and as a paper shows them."""
    comparison, run = make_comparison(), make_run("mixed", 60)
    points = [point_of(0, {"value": value, "low": 0.0, "high": 0.3}) for value in (0.1, 0.2)]
    forecast = {"stage": "grpo", "points": points, "expected": "", "observed": ""}
    blocks = [*figure_blocks(run)[0], *comparison_figures(comparison.found, comparison.problems, forecast)]
    blocks += autopilot_figures(make_autopilot(folder).result)
    blocks.append(FigureBlock("class_shares", "", "", charts.class_shares(class_shares(run.diagnosis), "")))
    for block in blocks:
        if block.drawing:
            yield from (block.drawing.wide, block.drawing.narrow, paper.on_paper(block, block.drawing.wide))


def element_of(part: Part) -> str:
    if isinstance(part, Shape):
        return "polygon" if part.closed else "polyline"
    return type(part).__name__.lower()


def test_the_style_sheet_paints_every_shape(tmp_path: Path) -> None:
    named = {name for rule in rules() for name in rule.classes} | AS_THEY_ARE
    kinds: set[str] = set()
    for sheet in every_sheet(tmp_path):
        for part in sheet.parts:
            kinds.add(element_of(part))
            assert {"fill", "stroke"} & set(cascade(element_of(part), part.css)), part
            assert set(part.css.split()) <= named, part
    assert kinds == {"line", "polyline", "polygon", "rect", "circle", "text"}


def test_rules_win_by_their_weight_then_by_their_place() -> None:
    white, blue, muted, ink = "#fff", "#0072b2", "#56606d", "#181b20"
    dot, hollow = look_of("circle", "dot estimated"), look_of("circle", "dot side-after hollow")
    assert (dot.fill, dot.stroke, dot.width) == (white, blue, 1.8)
    assert (hollow.fill, hollow.stroke, hollow.width) == (white, blue, 2)
    curve = look_of("polyline", "curve arm-neutral")
    assert (curve.fill, curve.stroke, curve.dash, curve.round_ends) == (None, muted, (1.5, 5), True)
    assert look_of("circle", "dot arm-neutral").stroke == white, "the rule of a part of a class name"
    assert (look_of("text", "tick").fill, look_of("text", "tick strong").fill) == (muted, ink)
    assert (look_of("text", "tick strong").font_weight, look_of("text", "zone-label").font_size) == (600, 11.5)
    assert look_of("polygon", "band accent").attributes("polygon") == f'fill="{blue}" opacity="0.17"'


def test_a_rule_of_more_classes_wins_over_a_later_one() -> None:
    sheet = ":root{--x:#123;--y:var(--x);color-scheme:light}.fig .a.b{fill:var(--y)}.fig .a,.other{fill:#456}.fig g{}"
    assert [(r.element, sorted(r.classes), r.values) for r in rules_of(sheet)] == [
        ("g", [], {}),
        ("", ["a"], {"fill": "#456"}),
        ("", ["a", "b"], {"fill": "#123"}),
    ]


def test_a_paper_has_the_words_of_the_page_with_title_and_legend() -> None:
    data = make_run("mixed", 60)
    files = paper.paper_figures(data)
    for block in figure_blocks(data)[0]:
        if block.drawing is None:
            continue
        words = [
            element.text
            for element in ElementTree.fromstring(files[f"{block.name}.svg"]).iter()
            if element.tag.endswith("}text")
        ]
        shown = [part.words for part in block.drawing.wide.parts if isinstance(part, Text)]
        assert words == [block.title, *shown, *(text for _, text in block.legend)]


def test_the_legend_stays_on_the_sheet() -> None:
    block = FigureBlock(
        "x", "title", "", None, tuple((f"class-{name}", "w" * 30) for name in ("support", "guided", "format"))
    )
    sheet = paper.on_paper(block, Canvas(560, 100))
    places = [part.at for part in sheet.parts if isinstance(part, Text)][1:]
    assert places[0][1] == places[1][1] < places[2][1] < sheet.height
    assert all(part.corner[0] + 6.3 * 30 < sheet.width for part in sheet.parts if isinstance(part, Rect))


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_makes_a_whole_file(text: str) -> None:
    drawing = charts.strict_lenient([Share(text, 0.5, 0.4, 0.6)], text)
    block = FigureBlock("x", text, text, drawing, (("class-support", text),))
    ElementTree.fromstring(paper.drawn([block], ("svg",))["x.svg"])


def test_matplotlib_is_for_png_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "posttrain_reports.paper_png", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_report(make_run("guided", 10), tmp_path)
    assert (tmp_path / "figures" / "pass_at_k.svg").exists()
    with pytest.raises(ImportError):
        write_report(make_run("guided", 10), tmp_path, png=True)


def test_png_has_the_size_and_the_colours_of_the_drawing(tmp_path: Path) -> None:
    import matplotlib.image as mpl_image

    write_report(make_run("mixed", 20), tmp_path, png=True)
    svg = ElementTree.parse(tmp_path / "figures" / "class_shares.svg").getroot()
    pixels = (mpl_image.imread(tmp_path / "figures" / "class_shares.png") * 255).round().astype(int)[..., :3]
    assert abs(pixels.shape[1] - float(svg.attrib["width"]) * 300 / 96) <= 1
    for colour in ("#ffffff", *(look_of("rect", f"class-{name}").fill or "" for name in ("mastered", "support"))):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (abs(pixels - rgb).max(axis=-1) <= 1).mean() > 0.002, colour


def test_comparison_figures_are_written_on_demand(tmp_path: Path) -> None:
    data = make_comparison()
    write_comparison_report(data, tmp_path)
    assert not (tmp_path / "figures").exists()
    write_comparison_report(data, tmp_path, ("svg", "png"))
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{n}.{k}" for n in ("pass_at_k", "decomposition", "before_after") for k in ("svg", "png")}
    for path in (tmp_path / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    first = (tmp_path / "figures" / "decomposition.svg").read_bytes()
    write_comparison_report(data, tmp_path, ("svg",))
    assert (tmp_path / "figures" / "decomposition.svg").read_bytes() == first, "same data, same file"


def test_autopilot_figure(tmp_path: Path) -> None:
    data = make_autopilot(tmp_path)
    write_autopilot_report(data, ("png",))
    assert [path.name for path in (data.folder / "figures").iterdir()] == ["levels.png"]
    assert len(checkpoints_of(data.result)) == 1 + len(data.result["rounds"])


def test_steps_of_the_waterfall_add_up() -> None:
    found = make_comparison().found
    steps = waterfall_steps(found)
    change = sum(s.end - s.start for s in steps if not s.total and s.name != "forgetting")
    first, last = (s for s in steps if s.total)
    assert last.end - first.end == pytest.approx(change)
    assert [s.name for s in steps if s.total] == ["before", "after"]
    assert waterfall_steps({**found, "pass@k": {}}) == []
