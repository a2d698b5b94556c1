"""Rules that re-spell formulas, words, quantities, and answers of several values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

_INT = re.compile(r"-?\d+")
_GROUPED = re.compile(r"-?\d{1,3}(?:(?:,\\!\s*|\{,\}|,)\d{3})+")
_FRACTION = re.compile(r"(-?)\s*\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_ROOT = re.compile(r"(-?)(\d*)\s*\\sqrt\s*(?:\{(\d+)\}|(\d))")
_SURD_FRACTION = re.compile(r"(-?)\\[dt]?frac\{\\sqrt\{?(\d+)\}?\}\{?(\d+)\}?")
_DEGREES = re.compile(r"(.*?)\s*(?:\^\{?\\circ\}?|\\text\{ ?degrees\})")
_TEXT = re.compile(r"\\text\{\s*([A-Za-z]+)\s*\}|([A-Za-z]{3,})")
_CHOICE = re.compile(r"\\text\{\(([A-J])\)\}")
_UNIT = re.compile(r"(.*?)\s*\\(?:text|mbox|mathrm)\{\s*([a-z]+)\s*\}(?:\^\{?([23])\}?)?")
_MONEY = re.compile(r"\\?\$(\d[\d,.]*(?:\.\d+)?)")
_PERCENT = re.compile(r"(-?\d+(?:\.\d+)?)\s*\\?%")
_BASE = re.compile(r"(\d+)_\{?(\d{1,2})\}?")
_PM = re.compile(r"([^,(){}\\]+?)\s*\\pm\s*([^,]+)")
_SUM_OVER = re.compile(r"\\[dt]?frac\{([^{}()]+?)([+-])([^{}()+-]+)\}\{(\d+)\}")
_PAIR = re.compile(r"(\\left)?([(\[])(.+?),(.+)(?:\\right)?([)\]])")
_NAMED = re.compile(r"([a-z])\s*=\s*([^=]+)")
_MEMBER = re.compile(r"([a-z])\s*\\in\s*(.+)")
_FORMULA = re.compile(r"[\w\s+\-*/^{}()\\.|!]+")
_SUM_TERM = re.compile(r"\s*([+-]?)\s*")
_UNIT_NAMES = {
    "inches": ("in", "inches"),
    "feet": ("ft", "feet"),
    "cm": ("cm", "centimeters"),
    "m": ("m", "meters"),
    "meters": ("m", "metres"),
    "km": ("km", "kilometers"),
    "miles": ("mi", "miles"),
    "cents": ("cents", "cents"),
    "hours": ("h", "hours"),
    "minutes": ("min", "minutes"),
    "seconds": ("s", "seconds"),
    "grams": ("g", "grams"),
    "kg": ("kg", "kilograms"),
}
_BASE_NAMES = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 16: "sixteen"}


def _root_inside(gold: str) -> Iterator[str]:
    match = _ROOT.fullmatch(gold)
    if match and match[2]:
        yield f"{match[1]}\\sqrt{{{int(match[2]) ** 2 * int(match[3] or match[4])}}}"


def _root_spelled(gold: str) -> Iterator[str]:
    match = _ROOT.fullmatch(gold)
    if match:
        radicand = match[3] or match[4]
        yield f"{match[1]}{match[2]}\\sqrt{{{radicand}}}"
        yield f"{match[1]}{match[2]}√{radicand}"
        yield f"{match[1]}{match[2]}{'*' * bool(match[2])}sqrt({radicand})"
        if match[2]:
            yield f"{match[1]}{match[2]} \\cdot \\sqrt{{{radicand}}}"
            yield f"{match[1]}\\sqrt{{{radicand}}} \\cdot {match[2]}"


def _root_below(gold: str) -> Iterator[str]:
    match = _SURD_FRACTION.fullmatch(gold)
    if match:
        radicand, bottom = int(match[2]), int(match[3])
        if radicand % bottom == 0 or bottom % radicand == 0:
            top, rest = Fraction(radicand, bottom).numerator, Fraction(radicand, bottom).denominator
            below = f"\\sqrt{{{radicand}}}" if rest == 1 else f"{rest}\\sqrt{{{radicand}}}"
            yield f"{match[1]}\\frac{{{top}}}{{{below}}}"


def _pi_spelled(gold: str) -> Iterator[str]:
    if re.fullmatch(r"-?\d*\s*\\pi", gold):
        number = re.sub(r"[^\d-]", "", gold)
        yield f"{number}π"
        if number.lstrip("-"):
            yield from (f"{number} \\cdot \\pi", f"{number}*pi", f"\\pi \\cdot {number}" if number[0] != "-" else gold)


def _terms_turned(gold: str) -> Iterator[str]:
    terms = _terms(gold)
    if terms is not None:
        last, *others = reversed(terms)
        others.reverse()
        yield "".join([last.removeprefix("+"), *others])


def _spaced(gold: str) -> Iterator[str]:
    if _terms(gold) is not None and "\\" not in gold:
        yield re.sub(r"\s*([+-])\s*", r" \1 ", gold[0] + gold[1:]).strip() if gold[0] not in "+-" else gold
        yield re.sub(r"\s+", "", gold)


def _terms(gold: str) -> list[str] | None:
    """The terms of a sum, each with its sign; None for what is not plainly a sum."""
    if not _FORMULA.fullmatch(gold) or "|" in gold or "\\pm" in gold or re.search("text|mbox|begin", gold):
        return None
    terms: list[str] = []
    depth, start = 0, 0
    for i, char in enumerate(gold):
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(char, 0)
        if char in "+-" and depth == 0 and i > 0 and gold[:i].strip() and gold[:i].rstrip()[-1] not in "^*/(":
            terms.append(gold[start:i].strip())
            start = i
    terms.append(gold[start:].strip())
    if len(terms) < 2:
        return None
    signed = [term if term[0] in "+-" else "+" + term for term in terms]
    return [_SUM_TERM.sub(lambda m: m[1], term, count=1) for term in signed]


def _over_each(gold: str) -> Iterator[str]:
    match = _SUM_OVER.fullmatch(gold)
    if match:
        yield f"\\frac{{{match[1].strip()}}}{{{match[4]}}} {match[2]} \\frac{{{match[3].strip()}}}{{{match[4]}}}"
        yield f"({match[1].strip()}{match[2]}{match[3].strip()})/{match[4]}"


def _both_signs(gold: str) -> Iterator[str]:
    match = _PM.fullmatch(gold)
    if match:
        first, second = match[1].strip(), match[2].strip()
        yield f"{first} + {second}, {first} - {second}"
        yield f"x = {first} - {second} \\text{{ or }} x = {first} + {second}"
        yield f"\\{{{first} + {second}, {first} - {second}\\}}"


# words, units


def _degrees(gold: str) -> Iterator[str]:
    match = _DEGREES.fullmatch(gold)
    if match:
        for unit in ("^\\circ", "^{\\circ}", "\\text{ degrees}", "°", " degrees", "^\\circ.", ""):
            yield match[1] + unit


def _wrappers(gold: str) -> Iterator[str]:
    choice = _CHOICE.fullmatch(gold)
    if choice:
        yield from (f"({choice[1]})", choice[1], f"\\textbf{{({choice[1]})}}", f"\\mathrm{{{choice[1]}}}")
        return
    match = _TEXT.fullmatch(gold)
    if match:
        word = match[1] or match[2]
        yield from (
            word,
            f"\\text{{{word}}}",
            f"\\textbf{{{word}}}",
            f"\\mathrm{{{word}}}",
            word.capitalize(),
            word.lower(),
        )


def _units(gold: str) -> Iterator[str]:
    match = _UNIT.fullmatch(gold)
    if match and match[1] and match[2] in _UNIT_NAMES:
        short, long = _UNIT_NAMES[match[2]]
        power = f"^{match[3]}" if match[3] else ""
        word = {"2": "square ", "3": "cubic "}.get(match[3] or "", "")
        yield match[1]
        yield f"{match[1]} \\text{{ {short}}}{power}"
        yield f"{match[1]}\\,\\mathrm{{{short}}}{power}"
        yield f"{match[1]} \\text{{ {word}{long}}}"
        yield f"{match[1]} {word}{long}"


def _money(gold: str) -> Iterator[str]:
    match = _MONEY.fullmatch(gold.replace(",\\!", ","))
    if match:
        plain = match[1].replace(",", "")
        yield from (plain, f"\\${plain}", f"{plain} \\text{{ dollars}}", f"${plain}", f"\\text{{\\${plain}}}")


def _percent(gold: str) -> Iterator[str]:
    match = _PERCENT.fullmatch(gold)
    if match:
        yield from (f"{match[1]}\\%", f"{match[1]} \\%", f"{match[1]}%", f"{match[1]} \\text{{ percent}}", match[1])


def _bases(gold: str) -> Iterator[str]:
    match = _BASE.fullmatch(gold)
    if match:
        yield from (f"{match[1]}_{{{match[2]}}}", match[1], f"({match[1]})_{{{match[2]}}}")
        if int(match[2]) in _BASE_NAMES:
            yield f"{match[1]}_{{\\text{{{_BASE_NAMES[int(match[2])]}}}}}"


# several values


def _brackets(gold: str) -> Iterator[str]:
    bare = gold.replace("\\left", "").replace("\\right", "")
    if bare[:1] in ("(", "[") and bare[-1:] in (")", "]") and "\\cup" not in bare:
        yield bare
        yield f"\\left{bare[:-1]}\\right{bare[-1]}"
        if "{" not in bare:
            yield re.sub(r"\s+", "", bare)
            yield re.sub(r",\s*", ", ", bare)


def _as_inequality(gold: str) -> Iterator[str]:
    r"""`(3, 4]` as `3 < x \le 4`; a pair in two round or two square brackets may be no interval."""
    match = _PAIR.fullmatch(gold)
    if match is None or "," in match[4] or "\\cup" in gold:
        return
    opening, low, high, closing = match[2], match[3].strip(), match[4].replace("\\right", "").strip(), match[5]
    infinite = "\\infty" in low or "\\infty" in high
    if not infinite and (opening, closing) in (("(", ")"), ("[", "]")):
        return
    below, above = "<" if opening == "(" else "\\le", "<" if closing == ")" else "\\le"
    if "\\infty" not in low and "\\infty" not in high:
        yield f"{low} {below} x {above} {high}"
    elif "\\infty" not in low:
        yield f"x > {low}" if below == "<" else f"x \\ge {low}"
    elif "\\infty" not in high:
        yield f"x {above} {high}"


def _items_turned(gold: str) -> Iterator[str]:
    set_of = re.fullmatch(r"\\\{(.+)\\\}", gold)
    inner = set_of[1] if set_of else gold
    items = [item.strip() for item in inner.split(",")]
    if len(items) < 2 or re.search(r"[(\[\]{}]|\\begin", re.sub(r"\\sqrt\{\w+\}|\\frac\{\w+\}\{\w+\}", "", inner)):
        return
    if "\\!" in gold or (not set_of and _GROUPED.fullmatch(gold)):
        return
    turned = ", ".join(reversed(items))
    yield f"\\{{{turned}\\}}" if set_of else turned
    yield ", ".join(items) if set_of else f"\\{{{', '.join(items)}\\}}"
    yield " and ".join([", ".join(items[:-1]), items[-1]])


def _named_value(gold: str) -> Iterator[str]:
    named = _NAMED.fullmatch(gold)
    if named:
        yield named[2].strip()
        yield f"{named[2].strip()} = {named[1]}"
    member = _MEMBER.fullmatch(gold)
    if member:
        yield member[2].strip()
    if _INT.fullmatch(gold) or _FRACTION.fullmatch(gold) or _ROOT.fullmatch(gold):
        yield f"x = {gold}"
        yield f"n={gold}"


def _matrices(gold: str) -> Iterator[str]:
    if gold.startswith("\\begin{pmatrix}") and gold.endswith("\\end{pmatrix}") and gold.count("\\begin") == 1:
        yield gold.replace("pmatrix", "bmatrix")
        yield "\\left(" + gold.replace("pmatrix", "matrix") + "\\right)"
        yield re.sub(r"\s*(\\\\|&)\s*", r"\1", gold)
        yield re.sub(r"(-?)(\d+)/(\d+)", r"\1\\frac{\2}{\3}", gold)


def _unions(gold: str) -> Iterator[str]:
    if "\\cup" in gold and "\\begin" not in gold:
        parts = [part.strip() for part in gold.split("\\cup")]
        yield " \\cup ".join(reversed(parts))
        yield gold.replace("(", "\\left(").replace(")", "\\right)")
        yield gold.replace("\\cup", "∪")


def _dollars(gold: str) -> Iterator[str]:
    if "$" not in gold:
        yield f"${gold}$"
        yield f"\\({gold}\\)"


def _full_stop(gold: str) -> Iterator[str]:
    yield f"{gold}."


RULES: dict[str, Callable[[str], Iterator[str]]] = {
    "factor under the root": _root_inside,
    "spelling of the root": _root_spelled,
    "root in the denominator": _root_below,
    "spelling of pi": _pi_spelled,
    "order of terms": _terms_turned,
    "spaces": _spaced,
    "sum over one denominator": _over_each,
    "plus or minus": _both_signs,
    "degrees": _degrees,
    "text wrapper": _wrappers,
    "unit": _units,
    "money": _money,
    "percent": _percent,
    "base": _bases,
    "brackets": _brackets,
    "interval as inequality": _as_inequality,
    "order of items": _items_turned,
    "left-hand side": _named_value,
    "matrix": _matrices,
    "union": _unions,
    "dollar signs": _dollars,
    "full stop": _full_stop,
}
"""Each kind of spelling with the rule that makes it."""
