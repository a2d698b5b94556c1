"""What the forms of an answer say: names and values of equations, intervals of inequalities, kinds of lists, words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from posttrain_diag.tasks.verifiers.math import values
from posttrain_diag.tasks.verifiers.math.answers import Answer, Group, Matrix, Quantity, Relation, Words
from posttrain_diag.tasks.verifiers.math.nodes import is_known_command
from posttrain_diag.tasks.verifiers.math.tokens import Token, tokens_of

FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "=": "=", "\\ne": "\\ne"}
EQUALITIES = frozenset({"=", "\\approx", "\\equiv", "\\in", "\\sim"})
_SAME_WORDS = {
    **dict.fromkeys(("no solution", "no solutions", "none", "no real solution", "no real solutions"), "no solution"),
    **dict.fromkeys(("empty set", "no real roots", "there are no solutions", "no such x exists"), "no solution"),
    **dict.fromkeys(("all real numbers", "all reals", "every real number", "real numbers"), "all real numbers"),
    **dict.fromkeys(("undefined", "does not exist", "dne", "not defined"), "undefined"),
    **dict.fromkeys(("infinitely many", "infinitely many solutions"), "infinitely many"),
}
_TENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", *_TENS, "twenty")
_ARTICLE = re.compile(r"^(?:the|an?|it is|it's|option|choice|answer)\s+(?=\S)")
_NAMES = re.compile(r"(?:[^\W\d_]'*|\\[A-Za-z]+)(?:_(?:\{[^{}]*\}|[^{}()]))?(?P<applied>\([^()]*\))?")
_MAX_LETTERS = 4


# relations


def is_name(answer: Answer) -> bool:
    """Whether an answer is a name that can be given a value: x, x_1, f(x), a word."""
    if isinstance(answer, Words):
        return True
    if not isinstance(answer, Quantity) or answer.unit is not None:
        return False
    text = joined(answer.tokens)
    return text not in ("\\infty", "\\pi") and _NAMES.fullmatch(text) is not None


def same_name(a: Answer, b: Answer) -> bool:
    """Whether two names are the same; a subscript may be missing, and `f(x)` is also `y`."""
    first, second = name_of(a), name_of(b)
    if first.partition("_")[0] == second.partition("_")[0]:
        return first == second or not ("_" in first and "_" in second)
    applied = [name for name in (first, second) if name.endswith("(x)")]
    return len(applied) == 1 and "y" in (first, second)


def name_of(answer: Answer) -> str:
    """The name that the tokens spell, as text."""
    return (
        answer.text.casefold()
        if isinstance(answer, Words)
        else joined(answer.tokens)
        if isinstance(answer, Quantity)
        else ""
    )


def is_unsolved(side: Answer) -> bool:
    """Whether the left side of an equation still has its one unknown in it: `2x = 10` says no value."""
    return isinstance(side, Quantity) and not is_name(side) and values.is_polynomial_in_one(side.tokens)


def exact_part(relation: Relation) -> Relation:
    r"""A chain without what is only approximately equal: `x = 14/3` of `x = 14/3 \approx 4.67`."""
    signs = list(relation.signs)
    if "\\approx" not in signs:
        return relation
    at = signs.index("\\approx")
    if at == 0 and is_name(relation.sides[0]):
        return replace(relation, signs=("=", *signs[1:]))
    return Relation(relation.sides[: at + 1], tuple(signs[:at]))


def reversed_relation(relation: Relation) -> Relation | None:
    """The same relation read from the right; None where a sign cannot be turned."""
    if not all(sign in FLIPPED for sign in relation.signs):
        return None
    return Relation(relation.sides[::-1], tuple(FLIPPED[sign] for sign in reversed(relation.signs)))


# groups


def kind(group: Group) -> str:
    """What a group is: "list" (no brackets), "set", "vector", or its two brackets, "(" and "]" for a half-open one."""
    if not group.opening:
        return "list"
    if group.opening == "\\{":
        return "set"
    if group.opening in ("\\langle", "<"):
        return "vector"
    return {"]": "("}.get(group.opening, group.opening) + {"[": ")"}.get(group.closing, group.closing)


def by_name(group: Group) -> tuple[Answer, ...] | None:
    """The values of `x = 2, y = 3` in the order of their names; None for other lists."""
    named: dict[str, Answer] = {}
    for item in group.items:
        if not isinstance(item, Relation) or item.signs != ("=",) or not is_name(item.sides[0]):
            return None
        named[name_of(item.sides[0])] = item.sides[1]
    return tuple(named[name] for name in sorted(named)) if len(named) == len(group.items) else None


def as_matrix(group: Group, columns: int) -> Matrix | None:
    """A vector written in a row, or rows in brackets, as the matrix it stands for."""
    rows = [item.items for item in group.items if isinstance(item, Group) and item.opening]
    if len(rows) == len(group.items):
        return Matrix(tuple(rows), "p")
    if columns == 1 and group.opening in ("(", "\\langle", "<", "["):
        return Matrix(tuple((item,) for item in group.items), "p")
    return None


def total(group: Group) -> Quantity | None:
    """`2 hours 30 minutes` as one quantity, in the first unit; None for a list of anything else."""
    parts = [item for item in group.items if isinstance(item, Quantity) and item.unit is not None]
    if (
        group.opening
        or len(parts) < 2
        or len(parts) < len(group.items)
        or len({part.unit for part in parts}) < len(parts)
    ):
        return None
    unit = parts[0].unit
    factors = [part.unit.in_units_of(unit) for part in parts[1:] if part.unit is not None and unit is not None]
    if None in factors:
        return None
    tokens = parts[0].tokens
    for part, factor in zip(parts[1:], factors, strict=True):
        tokens = (*tokens, *tokens_of("+"), *times(part.tokens, factor or Fraction(1)))
    return Quantity(tokens, unit)


def is_decimal_comma(group: Group) -> bool:
    """Whether a bare list is two whole numbers with a comma and no space between: `1,5` may be one number."""
    parts = [item for item in group.items if isinstance(item, Quantity) and item.unit is None]
    tight = len(parts) == 2 == len(group.items) and not group.opening and not group.joined
    return tight and all(is_whole(part.tokens) for part in parts) and not parts[1].tokens[0].spaced


# words and digits


def as_text(answer: Answer) -> str | None:
    """An answer as words: letters as they stand, a small whole number by its name; None for what is no word."""
    if isinstance(answer, Words):
        return answer.text
    if not isinstance(answer, Quantity) or answer.unit is not None:
        return None
    tokens = answer.tokens
    if len(tokens) == 1 and tokens[0].kind == "number":
        value = tokens[0].value
        small = value is not None and value.denominator == 1 and value < len(_NUMBER_WORDS)
        return _NUMBER_WORDS[value.numerator] if small and value is not None else None
    letters = all(token.kind in ("word", "text") for token in tokens)
    return "".join(token.text for token in tokens) if letters and len(tokens) <= _MAX_LETTERS else None


def folded(text: str) -> str:
    """Words without case, articles, and with one way to say "no solution"."""
    text = " ".join(re.sub(r"[^\w\s]", " ", text.casefold()).split())
    text = _ARTICLE.sub("", text)
    return _SAME_WORDS.get(text, text)


def digits(answer: Answer) -> str | None:
    """The digits of a whole number as they stand, letters among them; None for anything else."""
    if isinstance(answer, Words):
        return answer.text.upper() if answer.text.isalnum() else None
    if not isinstance(answer, Quantity):
        return None
    text = re.sub(r"[,\s~\u066c]", "", joined(answer.tokens)).upper()
    return (text.lstrip("0") or "0") if text.isalnum() else None


def is_choice(answer: Quantity) -> bool:
    """Whether an answer is one wrapped capital letter: the letter of an option."""
    first = answer.tokens[0]
    return len(answer.tokens) == 1 and first.kind == "text" and re.fullmatch("[A-J]", first.text) is not None


def option_named(answer: Quantity) -> str | None:
    """The letter that `(C) 5` begins with; None where none does."""
    tokens = [token for i, token in enumerate(answer.tokens) if i or not token.is_sign("(")]
    begins = len(tokens) > 2 and tokens[1].is_sign(")", ".", ":") and re.fullmatch("[A-J]", tokens[0].text)
    return tokens[0].text if begins else None


# numbers


def times(tokens: tuple[Token, ...], factor: Fraction) -> tuple[Token, ...]:
    """A formula multiplied by a number."""
    return multiplied(f"({factor.numerator}/{factor.denominator})", tokens)


def multiplied(factor: str, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """A formula multiplied by another that is given as text."""
    return (*tokens_of(factor + "\\cdot ("), *tokens, *tokens_of(")"))


def is_whole(tokens: Sequence[Token]) -> bool:
    """Whether tokens are one whole number."""
    return len(tokens) == 1 and tokens[0].kind == "number" and tokens[0].text.isdigit()


def value_of(tokens: tuple[Token, ...]) -> Fraction | None:
    """The rational value of a formula without variables; None for any other."""
    return values.exact_value(tokens)


def has_unknown_command(tokens: Sequence[Token]) -> bool:
    """Whether a formula uses what is not known here: sums, integrals, limits, ..."""
    return any(token.kind == "command" and not is_known_command(token.text) for token in tokens)


def letters(tokens: Sequence[Token]) -> set[str]:
    """The single letters of a formula."""
    return {letter for token in tokens if token.kind in ("word", "text") for letter in token.text}


def joined(tokens: Sequence[Token]) -> str:
    """Tokens as text without white space, but for the one that a command needs before a letter."""
    parts = [tokens[0].text] if tokens else []
    for before, token in pairwise(tokens):
        needs_space = before.kind == "command" and token.text[:1].isalpha()
        parts.append(" " * needs_space + token.text)
    return "".join(parts)
