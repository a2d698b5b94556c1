"""Rules that make wrong answers which look like a right one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_INT = re.compile(r"-?\d+")
_GROUPED = re.compile(r"-?\d{1,3}(?:(?:,\\!\s*|\{,\}|,)\d{3})+")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))")
_MIXED = re.compile(r"(-?\d+)\s*(\\[dt]?frac\{?\d+\}?\{?\d+\}?)")
_ROOT = re.compile(r"(-?\d*)\s*\\sqrt\{?(\d+)\}?")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_UNIT = re.compile(r"(.*?)\s*\\(?:text|mbox|mathrm)\{\s*([a-z]+)\s*\}(?:\^\{?([23])\}?)?")
_OTHER_UNIT = {"inches": "feet", "cm": "m", "m": "km", "meters": "feet", "km": "miles", "cents": "dollars"} | {
    "degrees": "radians",
    "hours": "minutes",
    "minutes": "hours",
    "feet": "yards",
}
_BASE = re.compile(r"(\d+)_\{?(\d{1,2})\}?")
_NAMED = re.compile(r"([a-z])\s*(=|\\in)\s*(.+)")
_PAIR = re.compile(r"((?:\\left)?)([(\[])(.+)((?:\\right)?)([)\]])")
_CHOICE = re.compile(r"\\text\{\(([A-J])\)\}")
_WORD = re.compile(r"\\text\{([A-Za-z]{2,})\}|([A-Za-z]{3,})")
_OTHER_SIGN = {"\\le": "<", "\\leq": "<", "\\ge": ">", "\\geq": ">", "<": "\\le", ">": "\\ge"}
_SIGN = re.compile(r"\\leq?(?![a-z])|\\geq?(?![a-z])|[<>]")


def _next_number(gold: str) -> Iterator[str]:
    if _INT.fullmatch(gold):
        yield str(int(gold) + 1)


def _sign(gold: str) -> Iterator[str]:
    fraction, root = _FRACTION.fullmatch(gold), _ROOT.fullmatch(gold)
    if fraction or root or (_NUMBER.fullmatch(gold) and float(gold)):
        yield gold[1:] if gold.startswith("-") else f"-{gold}"


def _inverse(gold: str) -> Iterator[str]:
    match = _FRACTION.fullmatch(gold)
    if match:
        top, bottom = match[2] or match[3], match[4] or match[5]
        if top != bottom:
            yield f"{match[1]}\\frac{{{bottom}}}{{{top}}}"


def _as_percent(gold: str) -> Iterator[str]:
    if _NUMBER.fullmatch(gold) and float(gold):
        yield f"{gold}\\%"
    if re.fullmatch(r"\\\$[\d.]+", gold):
        yield f"{gold[2:]}\\%"


def _digits_apart(gold: str) -> Iterator[str]:
    digits = gold.lstrip("-")
    if _INT.fullmatch(gold) and len(digits) == 2:
        yield f"{gold[:-1]} {gold[-1]}"


def _digits_joined(gold: str) -> Iterator[str]:
    if re.fullmatch(r"\d+(?:,\s*\d+)+", gold) and not _GROUPED.fullmatch(gold):
        yield re.sub(r"\D", "", gold)


def _point_for_comma(gold: str) -> Iterator[str]:
    if _GROUPED.fullmatch(gold) and len(re.sub(r"\D", "", gold)) <= 6:
        yield re.sub(r",\\!\s*|\{,\}|,", ".", gold)
        digits = re.sub(r"\D", "", gold)
        yield f"{int(digits[:-1]):,}"


def _last_digit(gold: str) -> Iterator[str]:
    match = re.fullmatch(r"(-?\d*\.\d*?)(\d)", gold)
    if match:
        yield f"{match[1]}{(int(match[2]) + 1) % 10}"


def _mixed_as_product(gold: str) -> Iterator[str]:
    match = _MIXED.fullmatch(gold)
    if match:
        yield f"{match[1]} \\cdot {match[2]}"
        yield match[2]


def _root_lost(gold: str) -> Iterator[str]:
    match = _ROOT.fullmatch(gold)
    if match and match[2] not in ("0", "1"):
        yield f"{match[1]} \\cdot {match[2]}" if match[1].strip("-") else f"{match[1]}{match[2]}"
        yield f"{match[1]}\\sqrt{{{int(match[2]) + 1}}}"


def _another_unit(gold: str) -> Iterator[str]:
    match = _UNIT.fullmatch(gold)
    if match and match[1]:
        power = f"^{match[3]}" if match[3] else ""
        if match[2] in _OTHER_UNIT:
            yield f"{match[1]} \\text{{ {_OTHER_UNIT[match[2]]}}}{power}"
        if match[3]:
            yield f"{match[1]}^{match[3]}"
            yield f"{match[1]} \\text{{ {match[2]}}}^{5 - int(match[3])}"
    if re.fullmatch(r".*\d\^\{?\\circ\}?", gold):
        yield re.sub(r"\^\{?\\circ\}?$", r"\\%", gold)
        yield re.sub(r"(\d)\^\{?\\circ\}?$", r"\g<1>0^\\circ", gold)


def _another_base(gold: str) -> Iterator[str]:
    match = _BASE.fullmatch(gold)
    if match:
        yield f"{match[1]}_{{{int(match[2]) + 1}}}"
        in_ten = int(match[1], int(match[2]))
        if str(in_ten) != match[1]:
            yield str(in_ten)


def _another_variable(gold: str) -> Iterator[str]:
    match = _NAMED.fullmatch(gold)
    if match:
        other = "y" if match[1] != "y" else "x"
        yield f"{other} {match[2]} {match[3]}"
    if "°" in gold:
        return
    letters = set(re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", gold)) - {"e", "i"}
    if len(letters) == 1 and "text" not in gold and "mbox" not in gold and not match and "=" not in gold:
        letter = letters.pop()
        yield re.sub(rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])", letter.swapcase(), gold)


def _sign_of_i(gold: str) -> Iterator[str]:
    match = re.fullmatch(r"(-?\d+)\s*([+-])\s*(\d*i)", gold)
    if match:
        yield f"{match[1]} {'-' if match[2] == '+' else '+'} {match[3]}"


def _sign_in_sum(gold: str) -> Iterator[str]:
    match = re.fullmatch(r"([^=(),{}\\]+?)\s*([+-])\s*([^=(),+\\-]+)", gold)
    if match and match[1].strip() and not match[3].strip().endswith("i") and match[1].strip()[-1] not in "^*/":
        yield f"{match[1].strip()} {'-' if match[2] == '+' else '+'} {match[3].strip()}"


def _exponent(gold: str) -> Iterator[str]:
    match = re.search(r"\^(\d)(?!\d)", gold)
    if match and "text" not in gold and "mbox" not in gold and re.search(r"[a-z]\^", gold):
        yield f"{gold[: match.start()]}^{int(match[1]) + 1}{gold[match.end() :]}"


def _ends(gold: str) -> Iterator[str]:
    match = _PAIR.fullmatch(gold)
    if match is None or match[3].count(",") != 1 or "\\cup" in gold:
        return
    other = {"(": "[", "[": "(", ")": "]", "]": ")"}
    if "\\infty" in match[3]:
        low, high = match[3].split(",")
        opening = match[2] if "\\infty" in low else other[match[2]]
        closing = match[5] if "\\infty" in high else other[match[5]]
        yield f"{opening}{match[3]}{closing}"
    else:
        yield f"{other[match[2]]}{match[3]}{other[match[5]]}"
        yield f"{match[2]}{match[3]}{other[match[5]]}"


def _swapped(gold: str) -> Iterator[str]:
    match = _PAIR.fullmatch(gold)
    if match and "\\infty" not in gold and "\\cup" not in gold and match[2] + match[5] == "()":
        items = [item.strip() for item in match[3].split(",")]
        if len(items) > 1 and items[0] != items[-1]:
            yield f"({', '.join([items[-1], *items[1:-1], items[0]])})"
            yield f"({', '.join([*items[:-1], items[-1][1:] if items[-1].startswith('-') else '-' + items[-1]])})"


def _strictness(gold: str) -> Iterator[str]:
    for match in _SIGN.finditer(gold):
        yield f"{gold[: match.start()]}{_OTHER_SIGN[match[0]]} {gold[match.end() :]}"
        break


def _of_a_list(gold: str) -> Iterator[str]:
    items = [item.strip() for item in gold.split(",")]
    if len(items) < 2 or _GROUPED.fullmatch(gold) or re.search(r"[(\[\]{}=]|\\", gold):
        return
    yield f"({', '.join(items)})"
    yield ", ".join(items[:-1])
    if all(_INT.fullmatch(item) and int(item) for item in items):
        turned = [str(-int(item)) for item in items]
        if sorted(turned) != sorted(items):
            yield ", ".join(turned)


def _one_of_two(gold: str) -> Iterator[str]:
    if "\\pm" in gold and gold.count("\\pm") == 1:
        yield gold.replace("\\pm", "+")
        yield gold.replace("\\pm", "-")


def _option(gold: str) -> Iterator[str]:
    match = _CHOICE.fullmatch(gold)
    if match:
        yield f"\\text{{({'A' if match[1] != 'A' else 'B'})}}"


def _word(gold: str) -> Iterator[str]:
    match = _WORD.fullmatch(gold)
    if match:
        word = match[1] or match[2]
        yield f"\\text{{not {word}}}"
        yield f"\\text{{{word[:-1] + ('b' if word[-1] != 'b' else 'd')}}}"


def _matrix(gold: str) -> Iterator[str]:
    match = re.fullmatch(r"\\begin\{pmatrix\}(.+)\\end\{pmatrix\}", gold)
    if match and "&" not in match[1] and "\\\\" in match[1]:
        rows = [row.strip() for row in match[1].split("\\\\")]
        yield "\\begin{pmatrix} " + " & ".join(rows) + " \\end{pmatrix}"
        if rows[0] != rows[-1]:
            yield "\\begin{pmatrix} " + " \\\\ ".join([rows[-1], *rows[1:-1], rows[0]]) + " \\end{pmatrix}"


def _union(gold: str) -> Iterator[str]:
    if "\\cup" in gold:
        yield gold.split("\\cup", maxsplit=1)[0].strip()
        yield gold.replace("\\cup", "\\cap")


RULES: dict[str, Callable[[str], Iterator[str]]] = {
    "next number": _next_number,
    "sign": _sign,
    "inverse fraction": _inverse,
    "percent of a plain number": _as_percent,
    "digits apart": _digits_apart,
    "digits joined": _digits_joined,
    "point for comma": _point_for_comma,
    "last digit": _last_digit,
    "mixed number as product": _mixed_as_product,
    "root lost": _root_lost,
    "another unit": _another_unit,
    "another base": _another_base,
    "another variable": _another_variable,
    "sign of i": _sign_of_i,
    "sign in a sum": _sign_in_sum,
    "exponent": _exponent,
    "ends of an interval": _ends,
    "coordinates": _swapped,
    "strict for not strict": _strictness,
    "list changed": _of_a_list,
    "one of two values": _one_of_two,
    "another option": _option,
    "another word": _word,
    "matrix turned": _matrix,
    "part of a union": _union,
}
"""Each kind of mistake with the rule that makes it."""
