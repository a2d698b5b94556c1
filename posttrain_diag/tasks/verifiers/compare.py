r"""How an extracted answer is compared with the gold one: the `compare` option of every verifier.

exact     the same characters                                     "18" = "18"
casefold  the same but for case                                   "Paris" = "paris"
numeric   the same number                                         "1,319.0" = "1319"
latex     the same formula up to spelling                         "\dfrac12" = "\frac{1}{2}"
literal   the same Python value                                   "[1,2]" = "[1, 2]"
"""

from __future__ import annotations

import re
from collections.abc import Callable

from posttrain_diag.tasks.verifiers.numbers import lone_number, same_number
from posttrain_diag.tasks.verifiers.python_values import NotALiteral, same_value, value_of
from posttrain_diag.tasks.verifiers.reading.marks import balanced

Compare = Callable[[str, str], bool]

_DROPPED = re.compile(r"\\left|\\right|\\[!,;: ]|\\displaystyle|\\\$|\$|\\%|%|\^\{?\\circ\}?|\\degree|\s+|~")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|textit)\{")
_SHORT_FRAC = re.compile(r"\\frac(?:(\w)(\w)|(\w)\{|\{([^{}]*)\}(\w))")
_SHORT_SQRT = re.compile(r"\\sqrt(\w)")
_SLASH = re.compile(r"^(-?\w+)/(\w+)$")
_NAMED = re.compile(r"^\w{1,2}(?:\\in|=)")


def exact(found: str, answer: str) -> bool:
    """Whether both texts have the same characters."""
    return found == answer


def casefold(found: str, answer: str) -> bool:
    """Whether both texts have the same characters apart from case."""
    return found.casefold() == answer.casefold()


def numeric(found: str, answer: str) -> bool:
    """Whether both texts are one number each, and it is the same number."""
    a, b = lone_number(found), lone_number(answer)
    return a is not None and b is not None and same_number(a, b)


def latex(found: str, answer: str) -> bool:
    r"""Whether both are the same formula up to spelling.

    Spaces, \left, \dfrac, \text, degree and dollar signs, "x=" and 1/2 for a fraction make no difference.
    """
    a, b = plain_latex(found), plain_latex(answer)
    return a == b or numeric(a, b)


def literal(found: str, answer: str) -> bool:
    """Whether both are Python literals of the same value (see `python_values`), or have the same characters."""
    if found == answer:
        return True
    try:
        return same_value(value_of(found), value_of(answer))
    except NotALiteral:
        return False


def plain_latex(text: str) -> str:
    """One spelling for formulas that differ only in how they were typed."""
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("{,}", ",")
    while (match := _TEXT.search(text)) is not None:
        inner = balanced(text, match.end())
        if inner is None:
            break
        text = text[: match.start()] + inner + text[match.end() + len(inner) + 1 :]
    text = _DROPPED.sub("", text).rstrip(".")
    text = _SHORT_SQRT.sub(r"\\sqrt{\1}", _SHORT_FRAC.sub(_braced, text))
    text = _NAMED.sub("", text) if text.count("=") <= 1 else text
    text = _SLASH.sub(r"\\frac{\1}{\2}", text)
    text = text.replace("\\frac{-", "-\\frac{") if text.startswith("\\frac{-") else text
    return re.sub(r"(?<![0-9])\.([0-9])", r"0.\1", text)


def _braced(match: re.Match[str]) -> str:
    if match[1] is not None:
        return f"\\frac{{{match[1]}}}{{{match[2]}}}"
    if match[3] is not None:
        return f"\\frac{{{match[3]}}}{{"
    return f"\\frac{{{match[4]}}}{{{match[5]}}}"


COMPARES: dict[str, Compare] = {
    "exact": exact,
    "casefold": casefold,
    "numeric": numeric,
    "latex": latex,
    "literal": literal,
}
SYNONYMS: dict[str, str] = {
    **dict.fromkeys(("equal", "equals", "string", "str", "text", "case-sensitive", "case_sensitive"), "exact"),
    **dict.fromkeys(("ignorecase", "ignore-case", "ignore_case", "lower", "lowercase"), "casefold"),
    **dict.fromkeys(("case-insensitive", "case_insensitive"), "casefold"),
    **dict.fromkeys(("number", "float", "num"), "numeric"),
    **dict.fromkeys(("math", "tex"), "latex"),
    **dict.fromkeys(("python", "eval"), "literal"),
}
