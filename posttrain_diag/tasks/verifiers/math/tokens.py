r"""The tokens of an answer: numbers with their value, commands, letters, words, wrapped texts, single characters.

What a number is worth is settled here once: thousands, decimals, `1e3`, repeating decimals. TeX takes `\frac12` apart
digit by digit, so that a number can be split (`Token.split`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from posttrain_diag.tasks.verifiers.math.spelling import ROW, THIN, THOUSANDS

TokenKind = Literal["number", "command", "word", "text", "sign"]
MAX_DIGITS = 2_000
"""Numbers with more digits have no value: they are compared as text."""

_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up|md|sc|superscript)?|emph|mbox|hbox|mathrm|operatorname\*?|mathsf|mathtt"
    r"|unit|si)(?![a-zA-Z])[\s~]*(?:\{|(?=[^\s{}\\]).)"
)
_FONT_COMMANDS = frozenset(
    {"mathbf", "mathit", "boldsymbol", "bm", "pmb", "mathcal", "mathscr", "underline", "boxed", "fbox", "mathnormal"}
)
_SPACE = re.compile(rf"[\s{THIN}]+")
_NUMBER = re.compile(
    rf"""
    (?P<whole>
        \d{{1,3}}(?:{THOUSANDS}\d{{3}})+(?!\d)
      | [1-9]\d{{0,2}}(?:,\d{{3}})+(?!\d|,\d)
      | [1-9]\d{{0,2}}(?:[ {THIN}]\d{{3}})+(?![\d/]|[ {THIN}]\d)
      | \d+
    )?
    (?: \.(?P<decimals>\d*) (?P<repeat> \\overline\s*(?:\{{\d+\}}|\d) | \\dot\s*(?:\{{\d\}}|\d) | (?<=\.)\(\d+\) )? )?
    (?P<dots>\.\.\.|\\ldots)?
    (?P<exponent>[eE][+-]?\d+(?![\d.A-Za-z]))?
    """,
    re.VERBOSE,
)
_COMMAND = re.compile(r"\\(?:(?:begin|end)\s*\{([a-zA-Z]*\*?)\}|[a-zA-Z]+|.)", re.DOTALL)
_LETTERS = re.compile(r"[^\W\d_]+'*")


@dataclass(frozen=True)
class Token:
    """One token of a text in one spelling (`spelling.one_spelling`)."""

    kind: TokenKind
    text: str
    start: int
    end: int
    spaced: bool = False
    """Whether white space stands before it."""
    value: Fraction | None = None
    """Value of a number; None where it is too long, or cut with dots so that it is not known."""
    flags: frozenset[str] = field(default_factory=frozenset)
    """Properties of a number: `decimal`, `scientific` (1e3), `doubtful` (2e-3 may be a difference), `unended`
    (3.14...)."""

    def is_sign(self, *texts: str) -> bool:
        """Whether it is one of these characters or commands."""
        return self.kind in ("sign", "command") and self.text in texts

    def split(self) -> tuple[Token, Token | None]:
        """The first digit of a whole number, and the rest."""
        if self.kind != "number" or len(self.text) < 2 or not self.text.isdigit():
            return self, None
        middle = self.start + 1
        first = Token("number", self.text[0], self.start, middle, self.spaced, Fraction(self.text[0]))
        return first, Token("number", self.text[1:], middle, self.end, False, Fraction(self.text[1:]))


class Unreadable(Exception):
    """Raised for a text that is no answer which can be read. Internal: never leaves the package."""


def tokens_of(text: str) -> tuple[Token, ...]:
    """The tokens of a text that `one_spelling` returned.

    Raises:
        Unreadable: a group is not closed.
    """
    return tuple(_tokens(text, 0, len(text), wrapped=False))


def _tokens(text: str, at: int, stop: int, *, wrapped: bool) -> Iterator[Token]:
    """The tokens between two places; those in a wrapped text are of the kind "text" where they are letters."""
    spaced = wrapped
    while at < stop:
        space = _SPACE.match(text, at, stop)
        if space is not None:
            at, spaced = space.end(), True
            continue
        group = _wrapped_text(text, at)
        if group is not None:
            yield from _tokens(text, *group, wrapped=True)
            at, spaced = group[1] + (text[group[1] : group[1] + 1] == "}" and text[group[0] - 1] == "{"), False
            continue
        token = _number(text, at, spaced) or _command(text, at, spaced) or _letters(text, at, spaced, wrapped)
        if token is None:
            token = Token("sign", text[at], at, at + 1, spaced)
        if not (wrapped and token.is_sign("{", "}")) and not (
            token.kind == "command" and token.text[1:] in _FONT_COMMANDS
        ):
            yield token
        at, spaced = token.end, False


def _wrapped_text(text: str, at: int) -> tuple[int, int] | None:
    r"""Where the content of `\text{...}` begins and ends; None where none stands."""
    match = _TEXT.match(text, at)
    if match is None:
        return None
    if text[match.end() - 1] != "{":
        return match.end() - 1, match.end()
    return match.end(), group_end(text, match.end() - 1) - 1


def _number(text: str, at: int, spaced: bool) -> Token | None:
    if not (text[at].isdigit() or (text[at] == "." and text[at + 1 : at + 2].isdigit())):
        return None
    match = _NUMBER.match(text, at)
    if match is None or match.end() == at:
        return None
    whole, decimals = re.sub(r"\D", "", match["whole"] or ""), match["decimals"] or ""
    repeat, exponent, end = re.sub(r"\D", "", match["repeat"] or ""), match["exponent"], match.end()
    if text[end - 1] == "." and not match["dots"]:
        end -= 1  # a full stop
    flags = {"decimal"} if decimals else set[str]()
    if match["dots"]:
        flags.add("unended")
        repeat = repeat or _period(decimals)
        while repeat and decimals.endswith(repeat):
            decimals = decimals.removesuffix(repeat)
    value = None if match["dots"] and not repeat else _value(whole, decimals, repeat)
    if exponent:
        flags.add("scientific")
        power = int(exponent[1:])
        value = value * Fraction(10) ** power if value is not None and abs(power) <= MAX_DIGITS else None
        flags |= {"doubtful"} if exponent[0] == "e" and exponent[1] in "+-" and not decimals else set()
    return Token("number", text[at:end], at, end, spaced, value, frozenset(flags))


def _period(decimals: str) -> str:
    """The block that decimals cut with dots repeat; empty where none can be told."""
    for size in range(1, len(decimals) // 2 + 1):
        block = decimals[-size:]
        # "0.1666..." repeats its last digit and "0.33..." too; "2.4422..." may go on in any way.
        if decimals.endswith(block * (3 if size == 1 else 2)) or decimals == block * 2:
            return block
    return ""


def _value(whole: str, decimals: str, repeat: str) -> Fraction | None:
    if len(whole) + len(decimals) + len(repeat) > MAX_DIGITS:
        return None
    value = Fraction(int(whole + decimals or "0"), 10 ** len(decimals))
    if repeat:
        value += Fraction(int(repeat), (10 ** len(repeat) - 1) * 10 ** len(decimals))
    return value


def _command(text: str, at: int, spaced: bool) -> Token | None:
    if text[at] != "\\":
        return None
    match = _COMMAND.match(text, at)
    if match is None:
        raise Unreadable("a backslash stands at the end")
    return Token("command", re.sub(r"\s+", "", match[0]), at, match.end(), spaced)


def group_end(text: str, start: int) -> int:
    """The place where the group that opens at `start` with a brace has been closed.

    Raises:
        Unreadable: it is never closed.
    """
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise Unreadable("a brace is never closed")


def _letters(text: str, at: int, spaced: bool, wrapped: bool) -> Token | None:
    match = _LETTERS.match(text, at)
    return None if match is None else Token("text" if wrapped else "word", match[0], at, match.end(), spaced)


def rendered(tokens: Sequence[Token]) -> str:
    r"""LaTeX that says the same as these tokens, for a reader that knows plain numbers only."""
    return " ".join(map(_rendered, tokens))


def _rendered(token: Token) -> str:
    if token.kind == "text":
        return rf"\text{{{token.text}}}"
    if token.kind != "number" or token.value is None or re.fullmatch(r"\d+(?:\.\d+)?", token.text):
        return token.text
    if token.value.denominator == 1:
        return str(token.value.numerator)
    return rf"\frac{{{token.value.numerator}}}{{{token.value.denominator}}}"


def is_row_break(token: Token) -> bool:
    """Whether the token ends a row of a matrix."""
    return token.kind == "sign" and token.text == ROW
