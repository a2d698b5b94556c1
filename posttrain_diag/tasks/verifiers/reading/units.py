r"""Units of measure beside a number: `5 km`, `18 kilometres per hour`, `864 \text{ in}^3`, `25 percent`.

Only known units are read; any other word beside a number says what is counted and does not matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

_TABLE: dict[str, str] = {
    # dimension: unit=factor:spelling,spelling ...
    "length": "nm=1e-9:nanometer mm=0.001:millimeter cm=0.01:centimeter dm=0.1:decimeter m=1:meter km=1000:kilometer "
    "inch=0.0254:inches,in ft=0.3048:foot,feet yd=0.9144:yard mi=1609.344:mile",
    "mass": "mg=0.000001:milligram g=0.001:gram,gramme kg=1:kilogram,kilo,kilogramme t=1000:tonne,ton "
    "lb=0.45359237:lbs oz=0.028349523125:ounce",
    "time": "ms=0.001:millisecond s=1:second,sec min=60:minute,mins h=3600:hour,hr,hrs day=86400 week=604800 "
    "month=2629746 year=31556952:yr,yrs decade=315569520 century=3155695200:centuries",
    "volume": "ml=0.001:milliliter cl=0.01:centiliter dl=0.1:deciliter l=1:liter hl=100 gallon=3.785411784:gal "
    "quart=0.946352946:qt pint=0.473176473:pt cup=0.2365882365 tablespoon=0.01478676:tbsp teaspoon=0.00492892:tsp",
    "money": "$=1:dollar,usd,buck cent=0.01:¢",
    "euro": "€=1:euro,eur",
    "yen": "¥=1:yen",
    "rupee": "₹=1:rupee,rs,inr",
    "pound": "pound=1:£,gbp",
    "temperature": "°c=1:celsius,degrees celsius °f=1:fahrenheit,degrees fahrenheit kelvin=1",
    "angle": "degree=1:°,deg rad=1:radian",
    "data": "bit=0.125 byte=1 kb=1000:kilobyte mb=1000000:megabyte gb=1000000000:gigabyte tb=1000000000000:terabyte",
    "energy": "j=1:joule kj=1000:kilojoule kwh=3600000:kilowatt-hour,kilowatt hour cal=4.184:calorie kcal=4184",
    "power": "w=1:watt kw=1000:kilowatt mw=1000000:megawatt",
    "area": "ha=10000:hectare acre=4046.8564224",
    "speed": "mph=0.44704 km/h=0.2777777777777778:kph,kmh,kmph,km/hr kn=0.514444:knot",
    "frequency": "hz=1:hertz khz=1000:kilohertz mhz=1000000:megahertz ghz=1000000000:gigahertz",
    "percent": "percent=1:%,per cent,pct,percentage point,prozent,pour cent,por ciento,per cento",
}
CURRENCIES = frozenset({"money", "euro", "yen", "rupee", "pound"})
"""Dimensions that are money: dollars are no euros."""
_SHORT_ONLY = {"in", "m", "g", "t", "s", "h", "l", "j", "w", "mi", "kn", "rs", "cal", "deg", "rad", "ms", "min", "sec"}
"""Spellings that are words or letters otherwise: read only right beside a number."""
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "lakh": 10**5,
    "crore": 10**7,
}


@dataclass(frozen=True)
class Unit:
    """A unit of measure."""

    name: str
    dimension: str
    factor: float
    """How many base units of its dimension it is."""


def _spellings() -> dict[str, Unit]:
    found: dict[str, Unit] = {}
    for dimension, entries in _TABLE.items():
        for entry in re.findall(r"(\S+?)=([\d.e-]+)(?::((?:[^=]+?)(?=\s\S+?=|\Z)))?", entries):
            unit = Unit(entry[0], dimension, float(entry[1]))
            for name in (entry[0], *(entry[2].split(",") if entry[2] else ())):
                found[name] = unit
                if len(name) > 2 and name.isascii():
                    found.setdefault(f"{name}s", unit)
                    if name.endswith("meter") or name.endswith("liter"):
                        british = f"{name[:-2]}re"
                        found |= {british: unit, f"{british}s": unit}
    return found


UNITS = _spellings()
_NAMES = "|".join(re.escape(name) for name in sorted(UNITS, key=len, reverse=True))
_SCALE = re.compile(r"\s?(?:-\s?)?(hundred|thousand|million|billion|trillion|dozen|lakh|crore)s?\b", re.IGNORECASE)
_OPENING = r"(?:\s|~|\\[,;: ]|\\text\{|\\mathrm\{|\\ |\{|\^|-(?=[a-z]))*"
_AFTER = re.compile(
    rf"{_OPENING}\\?(?P<power>square\s|sq\.?\s|cubic\s|cu\.?\s)?(?P<unit>{_NAMES})(?![A-Za-z])"
    rf"(?P<exponent>[²³]|\}}?\^\{{?[23]\}}?)?"
    rf"(?:\}}?\s?(?:/|per\s|an?\s(?=hour|minute|second|day|week|month|year)|p(?=h\b))\s?(?P<below>{_NAMES})(?![A-Za-z]))?",
    re.IGNORECASE,
)
_LONGEST = 40
"""Characters within which a unit stands."""
_AFTER_CIRC = re.compile(r"^[}\s]*(?:\\(?:mathrm|text)\{)?\s*")
_CIRC = re.compile(r"\^?\{?\s?\\circ\s?\}?|\\degree")
_IN_TEXT = re.compile(
    rf"\b(?:in|into|to|as a|many|much in|of|number of)\s+(?:(?:the\s)?(?:nearest|whole|full|total|square|cubic)\s)?"
    rf"(?P<unit>{_NAMES})(?![A-Za-z])(?:\s?(?:/|per\s)\s?(?P<below>{_NAMES})(?![A-Za-z]))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Measure:
    """A unit as it stands beside a number, e.g. km per h, or inch to the power of 3."""

    unit: Unit
    below: Unit | None
    power: int
    end: int
    """Where it ends in the text."""

    @property
    def dimension(self) -> str:
        """What is measured; a speed is a speed however it is spelled."""
        if self.below is not None:
            made = f"{self.unit.dimension}/{self.below.dimension}"
            return "speed" if made == "length/time" else made
        return self.unit.dimension if self.power == 1 else f"{self.unit.dimension}^{self.power}"

    @property
    def factor(self) -> float:
        """How many base units of its dimension it is."""
        return self.unit.factor**self.power / (1.0 if self.below is None else self.below.factor)

    def same(self, other: Measure) -> bool:
        """Whether both are the same unit, in whatever spelling."""
        if self.dimension == "temperature":
            return self.unit == other.unit
        return self.dimension == other.dimension and abs(self.factor / other.factor - 1) < 1e-6


def scale_after(text: str, at: int) -> tuple[int, int] | None:
    """The scale word right after a number (3.5 million), and where it ends."""
    match = _SCALE.match(text, at)
    return None if match is None else (SCALES[match[1].lower()], match.end())


def measure_after(text: str, at: int) -> Measure | None:
    """The known unit right after a number."""
    found = _measure(text[at : at + _LONGEST])
    return None if found is None else replace(found, end=at + found.end)


@lru_cache(maxsize=8192)
def _measure(text: str) -> Measure | None:
    """The known unit that a text begins with."""
    circ = _CIRC.match(text)
    if circ is not None:
        letter = _AFTER_CIRC.sub("", text[circ.end() :])[:1].lower()
        name = {"c": "°c", "f": "°f"}.get(letter, "degree")
        return Measure(UNITS[name], None, 1, circ.end())
    match = _AFTER.match(text)
    if match is None:
        return None
    name = match["unit"].lower()
    if name == "in" and re.match(r"\s+\w", text[match.end() :]):
        return None  # "5 in total", "42 in a row"
    if len(name) == 1 and name.isalpha() and match["unit"].isupper() and name not in "jwglm":
        return None
    power = {"²": 2, "³": 3}.get(match["exponent"] or "", 0)
    if match["exponent"] and not power:
        power = 2 if "2" in match["exponent"] else 3
    word = (match["power"] or "").lower()
    power = power or (2 if word.startswith("sq") else 3 if word.startswith("cu") else 1)
    below = UNITS[match["below"].lower()] if match["below"] else None
    return Measure(UNITS[name], below, power, match.end())


@lru_cache(maxsize=4096)
def asked_measure(prompt: str) -> Measure | None:
    """The unit that a question asks the answer in: "How fast is that in km/h?"; the last one that is named so."""
    question = prompt[-2000:]
    found: Measure | None = None
    for match in _IN_TEXT.finditer(question):
        name = match["unit"].lower()
        if name in _SHORT_ONLY and match["unit"] not in ("m", "g", "s", "h", "l", "min", "ms"):
            continue
        power = 2 if "square" in match[0].lower() else 3 if "cubic" in match[0].lower() else 1
        below = UNITS[match["below"].lower()] if match["below"] else None
        found = Measure(UNITS[name], below, power, match.end())
    return found


def converted(value: Fraction, source: Measure, target: Measure) -> float | None:
    """The value in another unit of the same dimension; None across dimensions and for temperatures."""
    if source.dimension != target.dimension or source.unit.dimension == "temperature":
        return None
    return float(value) * source.factor / target.factor
