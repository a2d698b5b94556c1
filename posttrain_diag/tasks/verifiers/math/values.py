"""What expressions are worth, and whether two of them are equal: by value, at points where no accident makes them so.

Rational arithmetic is exact. Everything else is reckoned to `DIGITS` digits with mpmath; two expressions are equal when
they agree to `AGREE` digits at every point. Differences that are not there appear at the last digits only, so nothing
lies between "equal" and "different" but an expression that cannot be reckoned.
"""

from __future__ import annotations

import zlib
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Any

from posttrain_diag.tasks.verifiers.math.arithmetic import NoValue, agree, inexact, mp_context, value_of
from posttrain_diag.tasks.verifiers.math.expressions import Doubt, Expression, parse
from posttrain_diag.tasks.verifiers.math.nodes import Apply, Node, Number, Symbol, operations, variables
from posttrain_diag.tasks.verifiers.math.tokens import Token, Unreadable

POINTS = 5
"""Number of points at which expressions with variables are compared."""
APPROXIMATE_DECIMALS = 6
"""A decimal with at least so many places stands for the number it rounds, where that number has no end."""
_ARITHMETIC = frozenset({"add", "negate", "multiply", "divide", "power", "root"})
_INFINITY = Symbol("infty", constant=True)


def equal(gold: tuple[Token, ...], answer: tuple[Token, ...]) -> bool | None:
    """Whether two expressions have the same value wherever they have one.

    Returns:
        None where the doubtful spellings of either decide (`1/2x`), or where neither has a value that can be reckoned.

    Raises:
        Unreadable: one of them is no expression that is known here.
    """
    first, second = _parsed(gold, frozenset()), _parsed(answer, frozenset())
    doubts = sorted(first.doubts | second.doubts)
    if not doubts:
        return _equal(first.node, second.node)
    found: set[bool | None] = set()
    for size in range(len(doubts) + 1):
        for other in map(frozenset, combinations(doubts, size)):
            try:
                found.add(_equal(_parsed(gold, other).node, _parsed(answer, other).node))
            except Unreadable:
                continue
    return found.pop() if len(found) == 1 else None


@lru_cache(4096)
def _parsed(tokens: tuple[Token, ...], other: frozenset[Doubt]) -> Expression:
    return parse(tokens, other)


def exact_value(tokens: tuple[Token, ...]) -> Fraction | None:
    """The value of a formula without variables that is rational on its face; None for any other."""
    try:
        return _exact(_parsed(tokens, frozenset()).node)
    except Unreadable:
        return None


def is_polynomial_in_one(tokens: tuple[Token, ...]) -> bool:
    """Whether a formula has one variable and no function is applied to it: what an equation would be solved for."""
    try:
        node = _parsed(tokens, frozenset()).node
    except Unreadable:
        return False
    return len(variables(node)) == 1 and not operations(node) - _ARITHMETIC


def proportional(
    gold: tuple[tuple[Token, ...], tuple[Token, ...]],
    answer: tuple[tuple[Token, ...], tuple[Token, ...]],
    *,
    positive: bool,
) -> bool | None:
    """Whether two equations have the same solutions: the differences of their sides are proportional.

    Args:
        gold: left and right side of the gold equation.
        answer: left and right side of the other equation.
        positive: the factor between the two must be positive, as with inequalities.

    Returns:
        None where no value can be computed.

    Raises:
        Unreadable: a side is no expression that is known here.
    """
    first, second = (
        Apply("add", (_parsed(left, frozenset()).node, Apply("negate", (_parsed(right, frozenset()).node,))))
        for left, right in (gold, answer)
    )
    names = sorted({*variables(first), *variables(second)})
    ratios: list[Any] = []
    for point in range(POINTS):
        env = {name: _coordinate(name, point) for name in names}
        try:
            x, y = inexact(value_of(first, env)), inexact(value_of(second, env))
        except NoValue:
            continue
        zero = [agree(value, Fraction(0)) for value in (x, y)]
        if zero[0] != zero[1]:
            return False
        if not zero[0]:
            ratios.append(x / y)
    if not ratios:
        return None
    if not all(agree(ratio, ratios[0]) for ratio in ratios) or not agree(inexact(ratios[0]).imag, Fraction(0)):
        return False
    return ratios[0].real > 0 or not positive


def _exact(node: Node) -> Fraction | None:
    try:
        value = value_of(node, {})
    except (NoValue, KeyError):
        return None
    return value if isinstance(value, Fraction) else None


def _equal(a: Node, b: Node) -> bool | None:
    if a == b:
        return True
    if _is_infinite(a) or _is_infinite(b):
        return False
    exact_a, exact_b = _exact(a), _exact(b)
    if exact_a is not None and exact_b is not None:
        return exact_a == exact_b or _rounds(a, exact_b) or _rounds(b, exact_a)
    names = sorted({*variables(a), *variables(b)})
    pairs: list[tuple[Any, Any]] = []
    for point in range(POINTS if names else 1):
        env = {name: _coordinate(name, point) for name in names}
        try:
            pairs.append((value_of(a, env), value_of(b, env)))
        except NoValue:
            continue
    # Where one side leaves the real numbers (a logarithm of a negative one), its formula does not apply.
    pairs = [pair for pair in pairs if not any(map(_is_complex, pair))] or pairs
    if not pairs:
        return None
    if all(agree(x, y) for x, y in pairs):
        return True
    return not names and (_rounds(a, pairs[0][1]) or _rounds(b, pairs[0][0]))


def _is_infinite(node: Node) -> bool:
    return node == _INFINITY or (isinstance(node, Apply) and node.name == "negate" and node.arguments[0] == _INFINITY)


def _is_complex(value: Any) -> bool:
    return abs(getattr(value, "imag", 0)) > 0


def _coordinate(name: str, point: int) -> Fraction:
    """A value for a variable: positive at the first points, negative at the last, the same at every call."""
    hashed = zlib.crc32(f"{name}/{point}".encode())
    value = Fraction(hashed % 99_991 + 10_007, 45_361)
    return -value if point == POINTS - 1 else value


def _rounds(decimal: Node, value: Any) -> bool:
    """Whether a decimal of many places is the number, rounded or cut, that has no end as a decimal."""
    negative = isinstance(decimal, Apply) and decimal.name == "negate"
    number = decimal.arguments[0] if isinstance(decimal, Apply) and negative else decimal
    if not (isinstance(number, Number) and number.decimal):
        return False
    places = _places(number.value)
    if places is None or places < APPROXIMATE_DECIMALS or (isinstance(value, Fraction) and _places(value) is not None):
        return False
    stated = inexact(-number.value if negative else number.value)
    return bool(abs(stated - inexact(value)) < mp_context().mpf(10) ** -places)


def _places(value: Fraction) -> int | None:
    """How many decimal places a number has; None where it has no end."""
    rest, places = value.denominator, 0
    twos = fives = 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    return places if rest == 1 else None


def is_readable(tokens: tuple[Token, ...]) -> bool:
    """Whether tokens are one expression that is known here."""
    try:
        _parsed(tokens, frozenset())
    except Unreadable:
        return False
    return True
