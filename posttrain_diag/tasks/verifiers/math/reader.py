r"""From the tokens of a text to the structure of the answer that it is.

A text is split from the outside in: lists, relations, unions, matrices, brackets, `\\pm`, bases, words, quantities. The
first rule that fits is taken. Which letters behind a number are a unit (`5 m`) and which a variable is told by the
variables of the question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from posttrain_diag.tasks.verifiers.math.answers import Answer, Based, Group, Matrix, Quantity, Relation, Union, Words
from posttrain_diag.tasks.verifiers.math.nodes import is_name
from posttrain_diag.tasks.verifiers.math.spelling import CURRENCIES, one_spelling
from posttrain_diag.tasks.verifiers.math.splitting import (
    CLOSING,
    OPENING,
    at_top_level,
    closed_before_end,
    cut,
    trimmed,
)
from posttrain_diag.tasks.verifiers.math.tokens import Token, Unreadable, is_row_break, tokens_of
from posttrain_diag.tasks.verifiers.math.units import SIGNS, Unit, is_unit_word, spelled, unit_of

MAX_CHARS = 2_000
"""Texts longer than this are no answers."""
MAX_DEPTH = 12

_RELATIONS = frozenset(
    {"=", "<", ">", "\\le", "\\ge", "\\ne", "\\in", "\\notin", "\\approx", "\\equiv", "\\sim", "\\mapsto"}
)
_SET_SIGNS = frozenset({"\\cup", "\\cap", "\\setminus", "\\bigcup"})
_SAME_JOINING = {
    **dict.fromkeys(("and", "und", "et", "\\land"), "and"),
    **dict.fromkeys(("or", "oder", "ou", "\\lor"), "or"),
}
_JOINING = frozenset({",", ";", "\\land", "\\lor"})
_STATES = frozenset({"is", "equals", "are"})
_SCALES = {"hundred": "\\cdot 100", "thousand": "\\cdot 1000", "million": "\\cdot 10^6", "billion": "\\cdot 10^9"}
_MODULO = ("\\pmod", "\\bmod", "\\mod", "\\pod", "mod", "modulo")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10} | {
    "eleven": 11,
    "twelve": 12,
    "sixteen": 16,
}
_MATRIX = re.compile(r"\\(begin|end)\{([pbvBV]?)(?:small)?(?:matrix|array)\*?\}")


@lru_cache(8192)
def read(text: str, variables: frozenset[str] = frozenset(), units: frozenset[str] = frozenset()) -> Answer:
    """Read the structure of the answer that a text is.

    Args:
        text: LaTeX or plain text, without anything around the answer.
        variables: letters that are variables here, never units.
        units: letters that are units here, even right behind a number: `3000m`.

    Raises:
        Unreadable: it is no answer that is known here.
    """
    if len(text) > MAX_CHARS:
        raise Unreadable("it is too long")
    return _Reader(variables - units, units).answer(tokens_of(one_spelling(text)))


class _Reader:
    """Reads tokens as an answer, by the first of its rules that fits them.

    A rule returns None where it does not fit, and raises Unreadable where what it fits cannot be read.
    """

    def __init__(self, variables: frozenset[str], units: frozenset[str]) -> None:
        self.variables, self.units = variables, units
        self.depth = 0

    def answer(self, tokens: Sequence[Token]) -> Answer:
        """Read tokens as an answer."""
        tokens = trimmed(tokens)
        if not tokens:
            raise Unreadable("nothing is there")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("it is nested too deeply")
        read_as = next(found for rule in self._rules() if (found := rule(tokens)) is not None)
        self.depth -= 1
        return read_as

    def _rules(self) -> tuple[Callable[[tuple[Token, ...]], Answer | None], ...]:
        return (
            self.bare_list,
            self.spaced_list,
            self.relation,
            self.union,
            self.matrix,
            self.bracketed,
            self.two_values,
            self.based,
            self.words,
            self.quantity,
        )

    def bare_list(self, tokens: tuple[Token, ...]) -> Answer | None:
        """Read a list without brackets, its items separated by commas or words; None where there is no separator."""
        places = [i for i in at_top_level(tokens) if _joins(tokens[i])]
        if not places:
            return None
        pieces = [trimmed(piece) for piece in cut(tokens, places)]
        items = self.items([piece for piece in pieces if piece])
        if len(items) == 1:
            return items[0]
        words = {_SAME_JOINING.get(tokens[i].text.casefold(), ",") for i in places}
        return Group("", items, "", words.pop() if len(words) == 1 and "," not in words else "")

    def spaced_list(self, tokens: tuple[Token, ...]) -> Answer | None:
        """Read a list without separators, `2 4 6 8`, or the parts of `2 hours 30 minutes`; None for anything else."""
        if len(tokens) > 1 and all(t.kind == "number" for t in tokens) and all(t.spaced for t in tokens[1:]):
            return Group("", tuple(self.answer([t]) for t in tokens), "")
        places = [i for i in range(2, len(tokens) - 1) if tokens[i].kind == "number" and _is_word(tokens[i - 1])]
        if not places or not all(_is_word(t) or t.kind == "number" for t in tokens):
            return None
        parts = [self.answer(tokens[a:b]) for a, b in zip([0, *places], [*places, len(tokens)], strict=True)]
        units = [part.unit for part in parts if isinstance(part, Quantity) and part.unit is not None]
        same = len({unit.dimension() for unit in units}) == 1 and len(units) == len(parts)
        return Group("", tuple(parts), "", "and") if same else None

    def items(self, pieces: Sequence[Sequence[Token]]) -> tuple[Answer, ...]:
        r"""The items of a list; `1 \pm \sqrt{5}` among them is two."""
        found: list[Answer] = []
        for piece in pieces:
            item = self.answer(piece)
            two = isinstance(item, Group) and not item.opening and any(token.is_sign("\\pm") for token in piece)
            found += item.items if isinstance(item, Group) and two else [item]
        return tuple(found)

    def relation(self, tokens: tuple[Token, ...]) -> Answer | None:
        """Read sides with signs of equality, inequality or membership between them; None if there is no such sign."""
        places = [i for i in at_top_level(tokens) if tokens[i].is_sign(*_RELATIONS)] or _stated(tokens)
        if not places:
            return None
        sides = [trimmed(side) for side in cut(tokens, places)]
        signs = ["=" if tokens[i].text in (*_STATES, "\\mapsto") else tokens[i].text for i in places]
        if not sides[0] and len(sides) == 2:
            return self.answer(sides[1])  # "= 5"
        if not all(sides):
            raise Unreadable("one side is missing")
        pm = [side for side in sides if any(t.is_sign("\\pm", "\\mp") for t in side)]
        if pm and signs == ["="] and not any(t.is_sign("\\pm", "\\mp") for t in sides[0]):
            both = self.answer(sides[1])
            left = self.answer(sides[0])
            assert isinstance(both, Group)
            return replace(both, items=tuple(Relation((left, item), ("=",)) for item in both.items))
        return Relation(tuple(self.answer(side) for side in sides), tuple(signs))

    def union(self, tokens: tuple[Token, ...]) -> Answer | None:
        """Read sets joined by one sign, as in a union; None where there is no such sign."""
        places = [i for i in at_top_level(tokens) if tokens[i].is_sign(*_SET_SIGNS) or _is_plain_union(tokens, i)]
        if not places:
            return None
        signs = {"\\cup" if tokens[i].kind != "command" else tokens[i].text for i in places}
        if len(signs) > 1 or 0 in places:
            raise Unreadable("unions and intersections are mixed")
        return Union(signs.pop(), tuple(self.answer(part) for part in cut(tokens, places)))

    def matrix(self, tokens: tuple[Token, ...]) -> Answer | None:
        """Read a matrix environment; None where there is none."""
        begin, end = _MATRIX.fullmatch(tokens[0].text), _MATRIX.fullmatch(tokens[-1].text)
        if begin is None or end is None:
            return None
        inner = tokens[1:-1]
        if "array" in tokens[0].text and inner and inner[0].is_sign("{"):
            inner = inner[next(i for i, t in enumerate(inner) if t.is_sign("}")) + 1 :]
        breaks = [i for i in at_top_level(inner) if is_row_break(inner[i])]
        rows: list[tuple[Answer, ...]] = []
        for row in cut(inner, breaks):
            if row:
                cells = cut(row, [i for i in at_top_level(row) if row[i].is_sign("&")])
                rows.append(tuple(self.answer(cell) for cell in cells))
        return Matrix(tuple(rows), begin[2] or "p")

    def bracketed(self, tokens: tuple[Token, ...]) -> Answer | None:
        """Read what stands in one pair of brackets: a set, tuple, interval, matrix, or just an answer; else None."""
        opening, closing = tokens[0], tokens[-1]
        if opening.kind == "word" and opening.text.isupper() and len(tokens) > 4 and tokens[1].is_sign("("):
            point = self.bracketed(tokens[1:])  # a point with its name: "V(2, -5)"
            return point if isinstance(point, Group) else None
        if opening.is_sign("{") and closing.is_sign("}"):
            opening, closing = replace(opening, text="\\{"), replace(closing, text="\\}")
        if not opening.is_sign("(", "[", "]", "\\{", "\\langle", "<") or len(tokens) < 2:
            return None
        if not closing.is_sign(")", "]", "[", "\\}", "\\rangle", ">") or closed_before_end(tokens):
            return None
        inner = tokens[1:-1]
        if opening.is_sign("\\{") and not closing.is_sign("\\}"):
            return None
        if opening.is_sign("\\{"):
            bar = [i for i in at_top_level(inner) if inner[i].is_sign("|", ":")]
            if len(bar) == 1 and any(t.is_sign(*_RELATIONS) for t in inner):
                return self.answer(inner[bar[0] + 1 :])
        if not trimmed(inner):
            return Group(opening.text, (), closing.text)
        matrix = self.matrix(inner)
        if matrix is not None:
            return matrix
        places = [i for i in at_top_level(inner) if inner[i].is_sign(",", ";")]
        if not places and opening.is_sign("("):
            return self.answer(inner)
        if any(t.kind == "text" for t in inner) and not places and opening.is_sign("["):
            return self.answer(inner)
        return Group(opening.text, self.items(cut(inner, places)), closing.text)

    def two_values(self, tokens: tuple[Token, ...]) -> Answer | None:
        """Read an answer with a plus-minus sign as its two values; None where there is no such sign."""
        if not any(token.is_sign("\\pm", "\\mp") for token in tokens):
            return None
        signs = ({"\\pm": "+", "\\mp": "-"}, {"\\pm": "-", "\\mp": "+"})
        both = [
            self.answer([replace(t, kind="sign", text=sign[t.text]) if t.text in sign else t for t in tokens])
            for sign in signs
        ]
        return Group("", tuple(both), "", "or")

    def based(self, tokens: tuple[Token, ...]) -> Answer | None:
        r"""Read a number with its base: `52_8`, `1A_{16}`, `(1011)_2`, `52 \text{ (base 8)}`; None for all else."""
        words = [t.text.casefold() for t in tokens]
        place = next((i for i, t in enumerate(tokens) if i and (t.is_sign("_") or words[i] == "base")), None)
        if place is None:
            return None
        head = [t for t in tokens[:place] if not t.is_sign("(", ")", "{", "}") and t.text.casefold() != "in"]
        tail = [t for t in tokens[place + 1 :] if not t.is_sign("{", "}", ")") and t.text.casefold() != "base"]
        whole = all(t.kind == "number" or t.kind in ("word", "text") for t in head)
        if not head or not whole or len(tail) != 1 or (len(head) == 1 and len(head[0].text) == 1 and _is_word(head[0])):
            return None
        base = int(tail[0].text) if tail[0].text.isdigit() and len(tail[0].text) < 3 else _BASES.get(tail[0].text)
        digits = re.sub(r"\s", "", "".join(t.text for t in head)).upper().lstrip("0") or "0"
        if (
            base is None
            or (base < 11 and digits.isalpha())
            or not 2 <= base <= 36
            or not digits.isalnum()
            or any(int(d, 36) >= base for d in digits)
        ):
            return None
        return Based(digits, base)

    def words(self, tokens: tuple[Token, ...]) -> Answer | None:
        """Read an answer in words; None where the tokens are a formula or a quantity."""
        if "".join(t.text for t in tokens) in ("\\mathbb{R}", "\\Reals", "\\R"):
            return Words("all real numbers")
        if len(tokens) == 1 and tokens[0].is_sign("\\emptyset"):
            return Words("no solution")
        letters = [t for t in tokens if t.kind in ("word", "text")]
        if len(letters) < len(tokens) and not all(
            t.kind in ("word", "text") or t.is_sign("(", ")", "-", ".", ",", "'", ":", "/", "!") for t in tokens
        ):
            return None
        if not letters or (letters[0] is not tokens[0] and len(letters) == 1):
            return None
        if len(letters) == 1:
            if len(letters[0].text) == 1 or is_name(letters[0].text):
                return None
        elif all(len(t.text) == 1 for t in letters):
            return None
        return Words(" ".join(t.text for t in tokens if t.kind in ("word", "text")))

    def quantity(self, tokens: tuple[Token, ...]) -> Answer:
        """Read a number or formula, with its unit where it has one."""
        number, unit = self.without_currency(self.with_plain_unit(_as_quotient(tokens)))
        modulo = next((i for i, t in enumerate(number) if i and t.text in _MODULO), None)
        if modulo is not None:
            modulus = "".join(t.text for t in number[modulo + 1 :] if not t.is_sign("{", "}", "(", ")"))
            value = number[: modulo - 1] if number[modulo - 1].is_sign("(") else number[:modulo]
            return Quantity(trimmed(value), Unit(((f"mod {modulus}", 1),)))
        return self.with_unit(number, unit)

    def with_unit(self, number: tuple[Token, ...], unit: Unit | None) -> Answer:
        """A number apart from the unit, or the word "million", that stands behind it."""
        for i in range(_first_of_unit(number), len(number)):
            if self.begins_unit(number, i):
                scale = _SCALES.get(number[i].text.casefold())
                if scale is not None and i + 1 == len(number):
                    return Quantity((*number[:i], *tokens_of(scale)), unit)
                if scale is not None:
                    return self.quantity((*number[:i], *tokens_of(scale), *number[i + 1 :]))
                named = unit_of(_phrase(number[i:]))
                if named is not None:
                    return Quantity(trimmed(number[:i]), named if unit is None or named == unit else None)
        return Quantity(number, unit)

    def with_plain_unit(self, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        r"""The tokens with a `\frac{m}{s}` behind a number written as `m/s`, where these letters are units."""
        names = [t.text for t in tokens[-7:]]
        if len(tokens) < 8 or names[0] != "\\frac" or "".join(names[i] for i in (1, 3, 4, 6)) != "{}{}":
            return tokens
        if not all(name in self.units or is_unit_word(name) for name in (names[2], names[5])):
            return tokens
        slash = Token("sign", "/", tokens[-4].start, tokens[-4].end)
        return (*tokens[:-7], replace(tokens[-5], spaced=True), slash, replace(tokens[-2], spaced=False))

    @staticmethod
    def without_currency(tokens: tuple[Token, ...]) -> tuple[tuple[Token, ...], Unit | None]:
        """The tokens without a sign of currency at their beginning, and the currency as a unit or None."""
        for i, token in enumerate(tokens[:2]):
            if token.text in CURRENCIES and (i == 0 or tokens[0].is_sign("-", "+")):
                rest = (*tokens[:i], *tokens[i + 1 :])
                if rest:
                    return rest, unit_of(CURRENCIES[token.text])
        return tokens, None

    def begins_unit(self, tokens: Sequence[Token], i: int) -> bool:
        """Whether what stands from here on, which may be one, is a unit of what stands before."""
        token, rest = tokens[i], tokens[i:]
        if token.is_sign("%", "\\%") or token.text in CURRENCIES:
            return True
        if token.is_sign("^"):
            return len(rest) > 1 and (rest[1].is_sign("\\circ") or (rest[1].is_sign("{") and rest[2].is_sign("\\circ")))
        if token.is_sign("\\circ", "\\ell"):
            return _is_number(tokens[:i])
        if token.kind == "text":
            return len(token.text) > 1 or spelled(token.text) is not None or len(rest) > 1
        if token.kind != "word" or tokens[i - 1].is_sign("_", "^", "/", "*", "+", "-"):
            return False
        if len(token.text) == 1:
            stated = token.text in self.units or (token.spaced and token.text in SIGNS)
            return stated and token.text not in self.variables and _is_number(tokens[:i])
        if is_unit_word(token.text):
            return not set(token.text) <= self.variables
        return token.spaced and len(token.text) > 2 and not is_name(token.text) and _is_number(tokens[:i])


def _as_quotient(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """A ratio `3:4` as the quotient it is worth."""
    colons = [
        i for i in at_top_level(tokens) if tokens[i].is_sign(":") or (_is_word(tokens[i]) and tokens[i].text == "to")
    ]
    if len(colons) != 1:
        return tokens
    at = colons[0]
    return (*tokens[:at], replace(tokens[at], kind="sign", text="/"), *tokens[at + 1 :])


def _phrase(tokens: Sequence[Token]) -> str:
    text = "".join(" " * t.spaced + t.text for t in tokens if not t.is_sign("{", "}"))
    return text.replace("^\\circ", "°").replace("\\circ", "°").replace("\\cdot", " ")


def _joins(token: Token) -> bool:
    if token.kind in ("word", "text"):
        return token.text.casefold() in _SAME_JOINING
    return token.is_sign(*_JOINING)


def _is_word(token: Token) -> bool:
    return token.kind in ("word", "text")


def _stated(tokens: Sequence[Token]) -> list[int]:
    """The place of the verb in a text such as "x is 6", between words and a formula."""
    places = [i for i in at_top_level(tokens) if _is_word(tokens[i]) and tokens[i].text in _STATES]
    formula = places and any(not _is_word(token) for token in tokens[places[0] + 1 :])
    return places[:1] if formula and places[0] > 0 else []


def _is_plain_union(tokens: Sequence[Token], i: int) -> bool:
    """Whether `U` stands between two brackets: "(-inf, 2) U (3, inf)"."""
    between = 0 < i < len(tokens) - 1 and tokens[i].text in ("U", "u", "∪")
    return between and tokens[i - 1].is_sign(*CLOSING) and tokens[i + 1].is_sign(*OPENING)


def _is_number(tokens: Sequence[Token]) -> bool:
    """Whether tokens are a number and nothing else, so that a word behind them counts or measures it."""
    signs = ("+", "-", "/", "{", "}", "\\frac", "\\cdot", "\\times", "^", "\\pi", "\\sqrt", "(", ")")
    return any(t.kind == "number" for t in tokens) and all(t.kind == "number" or t.is_sign(*signs) for t in tokens)


def _first_of_unit(tokens: Sequence[Token]) -> int:
    """The first place behind a number from which on every token may belong to a unit."""
    first = len(tokens)
    while first > 1 and _may_be_of_unit(tokens, first - 1):
        first -= 1
    return first


def _may_be_of_unit(tokens: Sequence[Token], k: int) -> bool:
    token = tokens[k]
    if token.kind in ("word", "text"):
        return True
    if token.kind == "number":
        # "cm^2", "cm2", "18 km in 1 hour"
        raises = k > 0 and (not token.spaced or tokens[k - 1].is_sign("^", "{", "-"))
        return token.text.isdigit() and len(token.text) == 1 and (raises or tokens[k - 1].text == "in")
    signs = ("^", "{", "}", "/", "-", "%", "\\%", "\\circ", "\\ell", ".", "\\cdot", "\\$")
    return token.is_sign(*signs) or token.text in CURRENCIES
