"""What a question says about the form of its answer: the unit it asks for, percent, a base, an order, its variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from posttrain_diag.tasks.verifiers.math.spelling import one_spelling
from posttrain_diag.tasks.verifiers.math.units import Unit, is_unit_word, money, unit_of

MAX_CHARS = 20_000

_FORMULA = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_VARIABLE = re.compile(r"(?<![A-Za-z\\])([A-Za-z])(?![A-Za-z])")
_TO_WORK_OUT = re.compile(
    r"\b(?:simplif|evaluat|comput|calculat|expand|factor|convert|express|write|rewrite|rationali|reduce|solve|what is|"
    r"find|determine|differentiat|integrat|work out)",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"\\(?:text|mbox|mathrm)\s*\{[^{}]*\}")
_PERCENT = re.compile(
    r"\b(?:what|which|how many|many|as an?|in|the|by)\s+(?:[a-z]+\s+){0,2}?per[\s-]?cent(?:ages?)?\b|percent sign|"
    r"percentage\W*\?|\(in %\)|\bin %",
    re.IGNORECASE,
)
_BASE = re.compile(
    r"\bbase[\s\-$]*(\d{1,2}|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|sixteen)\b", re.IGNORECASE
)
_NAMED_BASE = {"binary": 2, "ternary": 3, "octal": 8, "hexadecimal": 16}
_BASE_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_ORDERED = re.compile(
    r"\b(?:(?:ascending|descending|increasing|decreasing) order|least to greatest|greatest to least|"
    r"smallest to largest|largest to smallest|in (?:this |that |the )?order|arrange|sort(?:ed)?\b|"
    r"ordered (?:pair|triple|list)|sequence|"
    r"respectively)",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"\b(?:in|into|to|how many|number of|nearest|many|as)\s+"
    r"((?:square|cubic|sq\.?|cu\.?)?\s*[A-Za-z°/]+(?:(?:\s+per\s+|/)[A-Za-z]+)?)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Context:
    """What a prompt tells about its answer."""

    variables: frozenset[str] = frozenset()
    """Letters that stand in the prompt's formulas."""
    percent: bool = False
    """Whether it asks for percent."""
    base: int | None = None
    """The base of numbers that it asks for: the only one it names, or the last."""
    ordered: bool = False
    """Whether the order of a list matters."""
    asked: tuple[Unit, ...] = ()
    """The units that it asks for: "in km", "how many metres"."""
    to_work_out: frozenset[str] = frozenset()
    """Formulas that it gives to be worked out, without white space: to repeat one is no answer."""

    def asks_for(self, unit: Unit) -> Unit | None:
        """The unit asked for with which this one must agree: one of the same dimension, or another currency."""
        currency = money(unit)
        for asked in reversed(self.asked):
            squared = [name for name, power in asked.dimension() if power > 1]
            if asked.dimension() == unit.dimension() or (squared and squared == [name for name, _ in unit.dimension()]):
                return asked
            if currency is not None and money(asked) is not None:
                return asked
        return None

    def unit_letters(self) -> frozenset[str]:
        """Single letters that are units here."""
        return frozenset(name for unit in self.asked for name, _ in unit.powers if len(name) == 1)


@lru_cache(2048)
def context_of(prompt: str) -> Context:
    """Read what a prompt says about the form of its answer."""
    prompt = prompt[-MAX_CHARS:]
    formulas = " ".join(next(g for g in m.groups() if g) for m in _FORMULA.finditer(prompt))
    bases = [_base(m[1].lower()) for m in _BASE.finditer(prompt)]
    bases += [base for word, base in _NAMED_BASE.items() if re.search(rf"\b{word}\b", prompt, re.IGNORECASE)]
    return Context(
        variables=frozenset(_VARIABLE.findall(_WRAPPED.sub(" ", formulas))),
        percent=_PERCENT.search(prompt) is not None,
        base=bases[-1] if bases else None,
        ordered=_ORDERED.search(prompt) is not None,
        asked=tuple(_asked(prompt)),
        to_work_out=frozenset(_to_work_out(prompt)) if _TO_WORK_OUT.search(prompt) else frozenset(),
    )


def compact(formula: str) -> str:
    """A formula in one spelling without white space and punctuation at its end."""
    return re.sub(r"\s", "", one_spelling(formula).rstrip(" .,;:?"))


def _to_work_out(prompt: str) -> Iterator[str]:
    for match in _FORMULA.finditer(prompt):
        formula = next(group for group in match.groups() if group)
        yield compact(formula)
        yield from (compact(side) for side in formula.split("="))


def _base(word: str) -> int:
    if word.isdigit():
        return int(word)
    return 16 if word == "sixteen" else _BASE_WORDS.index(word) + 2


def _asked(prompt: str) -> list[Unit]:
    found: list[Unit] = []
    for match in _ASKED.finditer(prompt):
        words = re.split(r"[\s/]+", match[1].strip())
        if not all(is_unit_word(word) or word.lower() in ("per",) for word in words[:1]):
            continue
        unit = unit_of(match[1])
        if unit is not None and unit.known:
            found.append(unit)
    return found
