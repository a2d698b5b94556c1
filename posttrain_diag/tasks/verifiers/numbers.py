r"""Numbers in text: where they are, what they are worth, and whether two of them are the same number.

Understood: `1,319`  `1 319`  `1'319`  `12,34,567`  `1.234.567,5`  `$1,319.50`  `-$3`  `50%`  `3/4`  `2 1/2`  `2½`
`\frac{3}{4}`  `2\tfrac12`  `.5`  `1e-3`  `1.5 x 10^{-3}`  `10⁶`  `１２`  `18.`

A minus belongs to a number only where it cannot be a subtraction: `16-3` holds 16 and 3, `= -3` holds -3. What stands
inside a word of running text (`H2O`) is no number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 400
"""Numbers with more digits are compared as text: their value would cost more than it could tell."""

_CURRENCY = r"(?:\\?[$€£¥₹]\s?)"
_MINUS = "-−–"
_SEPARATOR = r"(?:,|\{,\}|\\,|\\ |['’_\u00a0\u2007\u2008\u2009\u202f ])"


def _integer(name: str) -> str:
    """The pattern of a whole number, whose groups of thousands have one separator throughout."""
    return (
        rf"(?:[0-9]{{1,3}}(?P<{name}>{_SEPARATOR})[0-9]{{3}}(?:(?P={name})[0-9]{{3}})*(?![0-9])"
        r"|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9])|[0-9]+)"
    )


_VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺"
_FRAC = r"\\[dtc]?frac\s?"
_NUMBER = re.compile(
    rf"""
    (?=[0-9.\\{_VULGAR}+−–-])(?P<sign>(?<![\w)\]}}])[-+−–]{_CURRENCY}?(?=[0-9.\\{_VULGAR}]))?
    (?:
        (?:(?P<frac_whole>[0-9]+)\s?)?{_FRAC}(?:\{{\s?(?P<latex_num>[-−]?[0-9]+)\s?\}}|(?P<short_num>[0-9]))\s?
            (?:\{{\s?(?P<latex_den>[0-9]+)\s?\}}|(?P<short_den>[0-9]))
      | (?:(?P<vulgar_whole>[0-9]+)\s?)?(?P<vulgar>[{_VULGAR}])
      | (?P<mixed_whole>[0-9]+)(?:[ ]|[ ]and[ ])(?P<mixed_num>[0-9]+)\s?[/⁄](?P<mixed_den>[0-9]+)(?![0-9/])
      | (?P<num>{_integer("above")})\s?[/⁄]\s?(?P<den>{_integer("below")})
      | (?P<european>[0-9]{{1,3}}(?:(?:\.[0-9]{{3}}){{2,}}(?:,[0-9]+)?|(?:\.[0-9]{{3}})+,[0-9]+))(?![0-9.,]*[0-9])
      | (?P<decimal>{_integer("whole")}(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)
        (?: [eE](?P<exp>[-+−]?[0-9]+)(?!\w)
          | \s?(?:×|\\times|\\cdot|⋅|·|x|\*)\s?10(?:(?:\^|\*\*)\{{?\s?(?P<power>[-+−]?[0-9]+)\s?\}}?|
          (?P<raised>[{_SUPERSCRIPT}]+))
          | (?:\^|\*\*)\{{?\s?(?P<exponent>[-+−]?[0-9]+)\s?\}}? | (?P<superscript>[{_SUPERSCRIPT}]+) )?
    )
    (?P<percent>\s?(?:\\?%|[٪％﹪]))?
    """,
    re.VERBOSE,
)
_LONE_PREFIX = re.compile(rf"^\s*{_CURRENCY}?")
_LONE_SUFFIX = re.compile(r"[\s.$€£¥₹]*$")
_NOT_DIGITS = re.compile(r"[^0-9.]")
_RAISED = str.maketrans(_SUPERSCRIPT, "0123456789-+")


@dataclass(frozen=True)
class Number:
    """A number as it stands in a text."""

    text: str
    value: Fraction | None
    """The value; None for one that cannot be compared: a zero denominator, or more than `MAX_DIGITS` digits."""
    percent: bool
    start: int
    end: int


def western_digits(text: str) -> str:
    """The text with the digits of all scripts as 0-9, and full-width signs plain; every character keeps its place."""
    return text if text.isascii() else text.translate(_WESTERN)


class _Western(dict[int, str]):
    """A translation table that is filled as characters are met."""

    def __missing__(self, key: int) -> str:
        char = chr(key)
        digit = unicodedata.decimal(char, None)
        plain = _FULL_WIDTH.get(char, char) if digit is None else str(digit)
        self[key] = plain
        return plain


_FULL_WIDTH = {"．": ".", "，": ",", "－": "-", "＋": "+", "／": "/", "٫": ".", "٬": ",", "＝": "=", "＄": "$"}
_WESTERN = _Western()


def iter_numbers(text: str) -> Iterator[Number]:
    """All numbers in a text, left to right."""
    text = western_digits(text)
    running = " " in text
    for match in _NUMBER.finditer(text):
        start = match.start()
        if running and match["sign"] is None and start and _in_word(text, start):
            continue
        whole = match["mixed_whole"]
        if whole is not None and not _is_proper(match["mixed_num"], match["mixed_den"]):
            # "5 7/2" is the number 5 and the number 7/2, not five and a half-odd.
            sign, middle = match["sign"] or "", match.end("mixed_whole")
            yield Number(text[start:middle], _signed(sign, _fraction(whole)), False, start, middle)
            value = _fraction(match["mixed_num"], match["mixed_den"])
            start = match.start("mixed_num")
            yield Number(text[start : match.end()], value, bool(match["percent"]), start, match.end())
            continue
        yield Number(match[0].strip(), _value(match), bool(match["percent"]), match.start(), match.end())


def lone_number(text: str) -> Number | None:
    """The number that a text consists of (currency, percent sign and a trailing dot aside); None for any other text."""
    if len(text) > 4 * MAX_DIGITS:
        return None
    text = western_digits(text)
    prefix, suffix = _LONE_PREFIX.search(text), _LONE_SUFFIX.search(text)
    start, end = prefix.end() if prefix else 0, suffix.start() if suffix else len(text)
    found = _NUMBER.match(text, start)
    if found is None or found.end() < end:
        return None
    numbers = list(iter_numbers(text[start : found.end()]))
    return numbers[0] if len(numbers) == 1 else None


def same_number(a: Number, b: Number, *, lenient: bool = False) -> bool:
    """Whether two numbers are equal as rationals.

    A percent sign is a unit that may be left out (`50%` equals `50`); the lenient reading also takes `50%` for `0.5`.
    """
    if a.value is None or b.value is None:
        return a.text == b.text
    if a.value == b.value:
        return True
    if lenient and a.percent != b.percent:
        percent, plain = (a.value, b.value) if a.percent else (b.value, a.value)
        return percent / 100 == plain
    return False


def _value(match: re.Match[str]) -> Fraction | None:
    sign = match["sign"] or ""
    top = match["latex_num"] or match["short_num"]
    if top is not None:
        part = _fraction(top, match["latex_den"] or match["short_den"])
        return _signed(sign, _with_whole(match["frac_whole"], part))
    if match["vulgar"] is not None:
        part = Fraction(unicodedata.numeric(match["vulgar"])).limit_denominator(100)
        return _signed(sign, _with_whole(match["vulgar_whole"], part))
    if match["mixed_whole"] is not None:
        return _signed(sign, _with_whole(match["mixed_whole"], _fraction(match["mixed_num"], match["mixed_den"])))
    if match["num"] is not None:
        return _signed(sign, _fraction(match["num"], match["den"]))
    if match["european"] is not None:
        return _signed(sign, _fraction(match["european"].replace(".", "").replace(",", ".")))
    return _signed(sign, _power(match, _fraction(match["decimal"])))


def _power(match: re.Match[str], value: Fraction | None) -> Fraction | None:
    """The value times a power of ten, or to a power."""
    exponent = match["exp"] or match["power"] or _raised(match["raised"])
    own = match["exponent"] or _raised(match["superscript"])
    if value is None or not (exponent or own):
        return value
    text = (exponent or own).replace("−", "-")
    if len(text) > 5 or not text.lstrip("+-").isdigit():
        return None
    power = int(text)
    if exponent:
        return value * Fraction(10) ** power if abs(power) <= MAX_DIGITS else None
    size = len(str(max(abs(value.numerator), value.denominator))) * abs(power)
    return value**power if size <= MAX_DIGITS and (value or power > 0) else None


def _raised(text: str | None) -> str:
    return (text or "").translate(_RAISED)


def _with_whole(whole: str | None, part: Fraction | None) -> Fraction | None:
    """A mixed number; None where the part is no proper fraction, for then it may be a product."""
    if whole is None or part is None:
        return part
    total = _fraction(whole)
    return None if total is None or not 0 < part < 1 else total + part


def _fraction(numerator: str, denominator: str = "1") -> Fraction | None:
    if len(numerator) > MAX_DIGITS or len(denominator) > MAX_DIGITS:
        return None
    top = _exact(numerator)
    top = -top if numerator[0] in _MINUS else top
    if denominator == "1":
        return top
    bottom = _exact(denominator)
    return None if bottom == 0 else top / bottom


def _exact(digits: str) -> Fraction:
    """The exact value of digits with separators and at most one point."""
    if not digits.isdigit():
        digits = _NOT_DIGITS.sub("", digits)
    whole, point, decimals = digits.partition(".")
    return Fraction(int(whole + decimals), 10 ** len(decimals)) if point else Fraction(int(whole))


def _signed(sign: str, value: Fraction | None) -> Fraction | None:
    return -value if value is not None and sign[:1] in tuple(_MINUS) else value


def _is_proper(numerator: str, denominator: str) -> bool:
    if len(numerator) > MAX_DIGITS or len(denominator) > MAX_DIGITS:
        return False
    return int(numerator) < int(denominator)


def _in_word(text: str, start: int) -> bool:
    """Whether digits stand inside a word (H2O, x3). A sign of multiplication, a currency or a command is no word."""
    begin = start
    while begin and (text[begin - 1] == "_" or (text[begin - 1].isascii() and text[begin - 1].isalpha())):
        begin -= 1
    word = text[begin:start]
    if not word or (begin and text[begin - 1] == "\\"):
        return False
    if word == "x" and text[:begin].rstrip()[-1:].isdigit():
        return False
    return word.upper() not in _CURRENCY_CODES


_CURRENCY_CODES = frozenset(
    (
        "USD",
        "EUR",
        "GBP",
        "JPY",
        "INR",
        "CHF",
        "CAD",
        "AUD",
        "CNY",
        "RS",
        "US",
        "R",
        "A",
        "C",
        "HK",
        "NZ",
        "S",
        "RM",
        "KR",
    )
)
