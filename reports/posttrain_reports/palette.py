"""The look of a figure on paper: the rules for figures of the page's style sheet, resolved in its light colours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from posttrain_reports.page import style_sheet

_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_CLASS_PART = re.compile(r"\[class\*=([\w-]+)\]")
_LENGTH = re.compile(r"[\d.]+")


@dataclass(frozen=True)
class Paint:
    """How one element is painted; lengths are in pixels, None stands for no paint."""

    fill: str | None
    stroke: str | None
    width: float
    dash: tuple[float, ...]
    opacity: float
    fill_opacity: float
    round_ends: bool
    font_size: float
    font_weight: int

    def attributes(self, element: str) -> str:
        """The SVG attributes of an element, without those at their default."""
        found = [f'fill="{self.fill or "none"}"']
        if element == "text":
            return f'{found[0]} font-size="{self.font_size:g}" font-weight="{self.font_weight}"'
        if self.stroke:
            found += [f'stroke="{self.stroke}" stroke-width="{self.width:g}"']
        if self.dash:
            found += [f'stroke-dasharray="{" ".join(f"{step:g}" for step in self.dash)}"']
        if self.round_ends:
            found += ['stroke-linecap="round" stroke-linejoin="round"']
        if self.opacity < 1:
            found += [f'opacity="{self.opacity:g}"']
        if self.fill_opacity < 1:
            found += [f'fill-opacity="{self.fill_opacity:g}"']
        return " ".join(found)


@dataclass(frozen=True)
class StyleRule:
    """One rule of the style sheet about elements of a figure."""

    element: str
    """Name of the element; empty for any."""
    classes: frozenset[str]
    """The classes that an element must have."""
    class_part: str
    """A text that one of its classes must contain; empty: there is no such condition."""
    values: dict[str, str]

    @property
    def weight(self) -> tuple[int, int]:
        """The weight of the rule: of two rules for one property the heavier one wins, then the later one.

        This is the specificity of CSS.
        """
        return len(self.classes) + bool(self.class_part), int(bool(self.element))

    def holds(self, element: str, css: str) -> bool:
        """Whether the rule is about this element with these classes."""
        return (
            self.element in ("", element)
            and self.classes <= set(css.split())
            and self.class_part in css
        )  # fmt: skip


@cache
def rules() -> tuple[StyleRule, ...]:
    """The rules for figures in the pages' style sheet, the weakest first."""
    return rules_of(style_sheet())


def rules_of(sheet: str) -> tuple[StyleRule, ...]:
    """The rules `.fig ...` of a style sheet, the weakest first; colours are resolved in the light theme."""
    variables = _declarations(sheet[sheet.index(":root{") + len(":root{") : sheet.index("color-scheme:light")])
    found = [
        _rule(selector.strip().removeprefix(".fig "), _declarations(body), variables)
        for selectors, body in _RULE.findall(sheet)
        for selector in selectors.split(",")
        if selector.strip().startswith(".fig ")
    ]
    return tuple(sorted(found, key=lambda rule: rule.weight))


def _declarations(body: str) -> dict[str, str]:
    pairs = (one.split(":", 1) for one in body.split(";") if ":" in one)
    return {name.strip(): value.strip() for name, value in pairs}


def _resolved(value: str, variables: dict[str, str]) -> str:
    """The value with its references to variables replaced."""
    while value.startswith("var("):
        value = variables[value.removeprefix("var(").removesuffix(")")]
    return value


def _rule(selector: str, values: dict[str, str], variables: dict[str, str]) -> StyleRule:
    part = _CLASS_PART.search(selector)
    element, *classes = _CLASS_PART.sub("", selector).split(".")
    held = {name: _resolved(value, variables) for name, value in values.items()}
    return StyleRule(element, frozenset(classes), part[1] if part else "", held)


def cascade(element: str, css: str) -> dict[str, str]:
    """The declarations that hold for an element, as a browser would apply them."""
    values: dict[str, str] = {}
    for rule in rules():
        if rule.holds(element, css):
            values |= rule.values
    return values


@cache
def look_of(element: str, css: str) -> Paint:
    """The look of an element with these classes, on white paper."""
    values = cascade(element, css)

    def paint(name: str, default: str) -> str | None:
        value = values.get(name, default)
        return None if value == "none" else value

    def lengths(name: str) -> list[float]:
        return [float(one) for one in _LENGTH.findall(values.get(name, ""))]

    def length(name: str, default: float) -> float:
        return next(iter(lengths(name)), default)

    return Paint(
        fill=paint("fill", "#000"),
        stroke=paint("stroke", "none"),
        width=length("stroke-width", 1.0),
        dash=tuple(lengths("stroke-dasharray")),
        opacity=length("opacity", 1.0),
        fill_opacity=length("fill-opacity", 1.0),
        round_ends=values.get("stroke-linecap") == "round",
        font_size=length("font-size", 12.0),
        font_weight=int(length("font-weight", 400)),
    )
