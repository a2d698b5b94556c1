r"""Units: which words and signs are the same unit, and how many of one make another.

    "cm^2"  "square centimeters"  "sq. cm"     one unit, {cm: 2}
    "km/h"  "kilometres per hour"  "kph"       one unit, {km: 1, h: -1}
    "apples"                                   a noun that counts, {apple: 1}

Percent, degree and money are units here too; what a missing one means is decided where answers are compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_F = Fraction
# name: (dimension, how many of the dimension's first unit, spellings)
_TABLE: dict[str, tuple[str, Fraction, str]] = {
    "m": ("length", _F(1), "m meter metre"),
    "mm": ("length", _F(1, 1000), "mm millimeter millimetre"),
    "cm": ("length", _F(1, 100), "cm centimeter centimetre"),
    "dm": ("length", _F(1, 10), "dm decimeter decimetre"),
    "km": ("length", _F(1000), "km kilometer kilometre"),
    "in": ("length", _F(254, 10000), "in inch inches"),
    "ft": ("length", _F(3048, 10000), "ft foot feet"),
    "yd": ("length", _F(9144, 10000), "yd yard"),
    "mi": ("length", _F(1609344, 1000), "mi mile"),
    "g": ("mass", _F(1), "g gram gm"),
    "mg": ("mass", _F(1, 1000), "mg milligram"),
    "kg": ("mass", _F(1000), "kg kilogram kilo"),
    "tonne": ("mass", _F(10**6), "tonne"),
    "lb": ("mass", _F(45359237, 10**5), "lb lbs pound"),
    "oz": ("mass", _F(45359237, 1600000), "oz ounce"),
    "ton": ("mass of a ton", _F(1), "ton"),
    "s": ("time", _F(1), "s sec second"),
    "ms": ("time", _F(1, 1000), "ms millisecond"),
    "min": ("time", _F(60), "min minute"),
    "h": ("time", _F(3600), "h hr hour"),
    "day": ("time", _F(86400), "day"),
    "week": ("time", _F(604800), "week wk"),
    "month": ("months", _F(1), "month"),
    "year": ("months", _F(12), "year yr"),
    "L": ("volume", _F(1), "L l ell liter litre"),
    "mL": ("volume", _F(1, 1000), "mL ml milliliter millilitre"),
    "gallon": ("gallons", _F(4), "gallon gal"),
    "quart": ("gallons", _F(1), "quart qt"),
    "pint": ("gallons", _F(1, 2), "pint pt"),
    "acre": ("acres", _F(1), "acre"),
    "hectare": ("hectares", _F(1), "hectare ha"),
    "dollar": ("dollars", _F(1), "dollar USD buck $"),
    "cent": ("dollars", _F(1, 100), "cent ¢"),
    "euro": ("euros", _F(1), "euro EUR €"),
    "pound sterling": ("pounds sterling", _F(1), "GBP £"),
    "yen": ("yen", _F(1), "yen JPY ¥"),
    "rupee": ("rupees", _F(1), "rupee Rs INR ₹"),
    "percent": ("percent", _F(1), "percent per-cent percentage pct %"),
    "degree": ("angle", _F(1), "degree deg °"),
    "radian": ("angle", _F(1), "radian rad"),
    "celsius": ("celsius", _F(1), "celsius °C"),
    "fahrenheit": ("fahrenheit", _F(1), "fahrenheit °F"),
    "newton": ("force", _F(1), "N newton"),
    "joule": ("energy", _F(1), "J joule"),
    "watt": ("power", _F(1), "W watt"),
    "volt": ("voltage", _F(1), "V volt"),
    "ampere": ("current", _F(1), "A amp ampere"),
    "ohm": ("resistance", _F(1), "ohm Ω"),
    "hertz": ("frequency", _F(1), "Hz hertz"),
    "kelvin": ("temperature", _F(1), "K kelvin"),
    "mole": ("amount", _F(1), "mol mole"),
    "unit": ("units", _F(1), "unit"),
}
_COMPOUND = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "fps": "ft/s", "cc": "cm^3", "sqft": "ft^2"}


def _by_spelling() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, (_, _, spellings) in _TABLE.items():
        for spelling in spellings.split():
            found[spelling] = name
            if len(spelling) > 2:
                found[spelling.casefold()] = name
                found[spelling.casefold() + "s"] = name
    abbreviated = {"hrs": "h", "mins": "min", "secs": "s", "yrs": "year", "lbs": "lb", "gals": "gallon", "yds": "yd"}
    return found | abbreviated


_BY_SPELLING = _by_spelling()
SIGNS = frozenset(s for s in _BY_SPELLING if not s.isalpha() or len(s) == 1)
"""Spellings that are one letter or no word: units only where the writing says so."""
_FILLERS = frozenset({"of", "the", "a", "an", "in", "long", "total", "exactly", "about", "each", "away", "old", "tall"})
_PER = ("per", "a", "an", "each", "every", "pro")
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_PIECE = re.compile(
    r"(?P<word>°\s?[CF](?![a-z])|[^\W\d_]+|[%°$€£¥₹¢])|(?P<power>\^?\{?-?\d\}?)|(?P<slash>/)|(?P<other>\S)"
)


_FOR_ONE = re.compile(r"\bin\s+(?:1|one|an?|each|every)\s+")
_HYPHEN = re.compile(r"(?<=[a-z])-(?=[a-z])")
_NOON = re.compile(r"\b([ap])\.\s?m\b\.?")


@dataclass(frozen=True)
class Unit:
    """A product of powers of units, in alphabetical order."""

    powers: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """The unit as it is spelled here: "km h^-1"."""
        return " ".join(unit if power == 1 else f"{unit}^{power}" for unit, power in self.powers)

    @property
    def known(self) -> bool:
        """Whether all of it stands in the table of units; a noun that counts does not."""
        return all(unit in _TABLE for unit, _ in self.powers)

    def dimension(self) -> tuple[tuple[str, int], ...]:
        """The dimension that it measures, as powers of base units."""
        total: dict[str, int] = {}
        for unit, power in self.powers:
            dimension = _TABLE[unit][0] if unit in _TABLE else unit
            total[dimension] = total.get(dimension, 0) + power
        return tuple(sorted((d, p) for d, p in total.items() if p))

    def in_units_of(self, other: Unit) -> Fraction | None:
        """How many of the other unit one of these is; None where they measure different things."""
        if self.dimension() != other.dimension():
            return None
        return self._factor() / other._factor()

    def _factor(self) -> Fraction:
        factor = Fraction(1)
        for unit, power in self.powers:
            factor *= _TABLE[unit][1] ** power if unit in _TABLE else 1
        return factor


_MONEY = frozenset({"dollars", "euros", "pounds sterling", "yen", "rupees"})


def money(unit: Unit) -> str | None:
    """The currency of an amount of money; None for any other unit."""
    names = [dimension for dimension, _ in unit.dimension() if dimension in _MONEY]
    return names[0] if len(names) == 1 else None


PERCENT, DEGREE, RADIAN = Unit((("percent", 1),)), Unit((("degree", 1),)), Unit((("radian", 1),))


def is_unit_word(word: str) -> bool:
    """Whether a word of two letters or more is a unit or says how one is raised."""
    word = word.rstrip(".")
    return len(word) > 1 and (spelled(word) is not None or word.casefold() in _POWERS or word.casefold() in _COMPOUND)


def spelled(word: str) -> str | None:
    """The name of the unit that a word or sign spells; None for any other word."""
    return _BY_SPELLING.get(word) or (_BY_SPELLING.get(word.casefold()) if len(word) > 2 else None)


@lru_cache(4096)
def unit_of(phrase: str) -> Unit | None:
    """The unit that a phrase names: "square feet", "km per hour", "raffle tickets"; None where it names none."""
    phrase = _HYPHEN.sub(" ", phrase.replace("\\", ""))
    phrase = phrase.replace("per cent", "percent")
    phrase = _NOON.sub(r"\1m", _FOR_ONE.sub(" per ", phrase))
    reader = _Phrase()
    for match in _PIECE.finditer(phrase):
        if not reader.takes(match):
            return None
    reader.close()
    powers = reader.powers
    if any(unit in _TABLE for unit in powers):
        # "square inches of paper" are square inches; "dollars per ticket" are not dollars.
        powers = {unit: power for unit, power in powers.items() if unit in _TABLE or power < 0}
    found = tuple(sorted((unit, power) for unit, power in powers.items() if power))
    return Unit(found) if found else None


class _Phrase:
    """Reads the phrase of a unit piece by piece."""

    def __init__(self) -> None:
        self.powers: dict[str, int] = {}
        self.noun: list[str] = []
        self.last = ""
        """The unit that a power behind it would raise."""
        self.sign = 1
        """-1 behind "per"."""
        self.raised = 0
        """The power that "square" or "cubic" announces."""

    def takes(self, match: re.Match[str]) -> bool:
        """Read the next piece; False where it cannot stand in the phrase of a unit."""
        word = match["word"]
        if match["slash"] or (word in _PER and (self.powers or self.noun)):
            self.close()
            self.sign, self.raised = -1, 0
            return True
        if match["power"]:
            return self.raise_last(int(re.sub(r"[^\d-]", "", match["power"])))
        if match["other"]:
            return match["other"] in ".,·*'"
        return self.takes_word(word)

    def takes_word(self, word: str) -> bool:
        """Read a word: a unit, how it is raised, or a noun that counts."""
        folded = word.casefold()
        name = spelled(word.replace(" ", ""))
        if folded in ("squared", "cubed"):
            return self.raise_last(_POWERS[folded])
        if folded in _POWERS:
            self.raised = _POWERS[folded]
        elif folded in _COMPOUND:
            compound = unit_of(_COMPOUND[folded])
            for unit, power in compound.powers if compound is not None else ():
                self.count(unit, power)
        elif name is not None:
            self.close()
            if name in ("celsius", "fahrenheit"):
                self.powers.pop("degree", None)
            self.count(name, self.raised or 1)
            self.last, self.raised = name, 0
        elif folded not in _FILLERS:
            self.noun.append(_singular(folded))
        return True

    def raise_last(self, power: int) -> bool:
        """Raise the unit that was read last; False where there is none."""
        self.close()
        if self.last:
            self.count(self.last, power - 1)
        self.raised = 0
        return bool(self.last)

    def count(self, unit: str, power: int) -> None:
        """Add a power of a unit to what was read so far."""
        self.powers[unit] = self.powers.get(unit, 0) + power * self.sign

    def close(self) -> None:
        """Count the noun that was gathered."""
        if self.noun:
            self.last, self.noun = " ".join(self.noun), []
            self.count(self.last, self.raised or 1)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 2 and not word.endswith("ss") else word
