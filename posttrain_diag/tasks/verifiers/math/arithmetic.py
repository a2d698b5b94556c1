"""What the nodes of an expression are worth: exactly where they are rational, else to `DIGITS` digits with mpmath."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from posttrain_diag.tasks.verifiers.math.nodes import Node, Number, Symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DIGITS = 60
AGREE = 35
"""Two inexact values are equal when they agree to so many digits."""
NOISE = 52
"""Values are equal that differ by less than ten to the power of minus this: rounding of terms that cancel."""
MAX_BITS = 20_000
"""Exact powers with more bits are computed to `DIGITS` digits only."""
MAX_POWER = 10_000
MAX_COUNTED = 1_000
"""Factorials and binomials of larger numbers than this have no value here."""
MAX_ARGUMENT = 100_000
"""Functions of larger numbers than this have no value here: exp would fill the memory, sin would need as many digits of
pi."""


class NoValue(Exception):
    """Raised for an expression that has no value at a point, or none that can be computed. Internal."""


def agree(x: Any, y: Any) -> bool:
    """Whether two values (Fraction, or mpmath number) are equal, as far as can be computed."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    ten = mp_context().mpf(10)
    x, y = inexact(x), inexact(y)
    return bool(abs(x - y) <= max(ten**-AGREE * max(abs(x), abs(y)), ten**-NOISE))


@lru_cache(1)
def mp_context() -> Any:
    """A context of mpmath of our own: its precision is nobody else's."""
    import mpmath

    context = mpmath.MPContext()
    context.dps = DIGITS
    return context


def inexact(value: Any) -> Any:
    """A value as an mpmath number."""
    return mp_context().mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def value_of(node: Node, env: Mapping[str, Fraction]) -> Any:
    """The value of an expression's node: a Fraction where it is exact, else an mpmath number.

    Raises:
        NoValue: there is no value, or it is too large.
    """
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Symbol):
        return _symbol(node, env)
    values = [value_of(argument, env) for argument in node.arguments]
    if node.name == "add":
        return _sum(values)
    if all(isinstance(value, Fraction) for value in values):
        found = _exactly(node.name, cast("list[Fraction]", values))
        if found is not None:
            return found
    mp = mp_context()
    try:
        result = _inexactly(node.name, [inexact(value) for value in values])
    except (ZeroDivisionError, OverflowError, ValueError, ArithmeticError, mp.NoConvergence) as error:
        raise NoValue(str(error)) from error
    if not mp.isfinite(result) or abs(result) > mp.mpf(10) ** 10_000:
        raise NoValue("it is too large")
    return result


def _sum(values: list[Any]) -> Any:
    """The sum of the values; everything rational among them is added exactly."""
    exact = sum((value for value in values if isinstance(value, Fraction)), Fraction(0))
    rest = [value for value in values if not isinstance(value, Fraction)]
    return sum(rest, inexact(exact)) if rest else exact


def _symbol(node: Symbol, env: Mapping[str, Fraction]) -> Any:
    if not node.constant:
        return env[node.name]
    if node.name == "infty":
        raise NoValue("infinity has no value")
    mp = mp_context()
    return {"pi": +mp.pi, "e": +mp.e, "i": mp.mpc(0, 1)}[node.name]


def _exactly(name: str, values: list[Fraction]) -> Fraction | None:
    """The operation on rationals where its result is rational; None where it must be computed inexactly."""
    operation = _EXACT.get(name)
    return None if operation is None else operation(values[0], values[-1])


def _power(x: Fraction, y: Fraction) -> Fraction | None:
    if y.denominator != 1:
        root = _root(x, Fraction(y.denominator)) if x >= 0 else None
        return None if root is None else _power(root, Fraction(y.numerator))
    n = y.numerator
    if x == 0:
        if n < 0:
            raise NoValue("division by zero")
        return Fraction(n == 0)
    if abs(n) * max(x.numerator.bit_length(), x.denominator.bit_length()) > MAX_BITS:
        return None
    return x**n


def _root(x: Fraction, degree: Fraction) -> Fraction | None:
    if degree.denominator != 1 or not 1 <= degree.numerator <= 64 or x < 0 or x.numerator.bit_length() > MAX_BITS:
        return None
    top, bottom = _whole_root(x.numerator, degree.numerator), _whole_root(x.denominator, degree.numerator)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _whole_root(n: int, degree: int) -> int | None:
    low, high = 0, 1 << (n.bit_length() // degree + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**degree < n else (low, middle)
    return low if low**degree == n else None


def _factorial(x: Fraction) -> Fraction | None:
    if abs(x) > MAX_COUNTED:
        raise NoValue("a factorial of something large")
    return Fraction(_product(1, x.numerator)) if x.denominator == 1 and x >= 0 else None


def _binomial(x: Fraction, y: Fraction) -> Fraction | None:
    if max(abs(x), abs(y)) > MAX_COUNTED:
        raise NoValue("a binomial of something large")
    if x.denominator != 1 or y.denominator != 1 or x < 0:
        return None
    n, k = x.numerator, y.numerator
    return Fraction(0) if not 0 <= k <= n else Fraction(_product(n - k + 1, n), _product(1, k))


def _divide(x: Fraction, y: Fraction) -> Fraction:
    if y == 0:
        raise NoValue("division by zero")
    return x / y


def _product(first: int, last: int) -> int:
    result = 1
    for factor in range(first, last + 1):
        result *= factor
    return result


_EXACT: dict[str, Callable[[Fraction, Fraction], Fraction | None]] = {
    "negate": lambda x, _: -x,
    "multiply": lambda x, y: x * y,
    "divide": _divide,
    "power": _power,
    "root": _root,
    "abs": lambda x, _: abs(x),
    "floor": lambda x, _: Fraction(x.__floor__()),
    "ceiling": lambda x, _: Fraction(x.__ceil__()),
    "factorial": lambda x, _: _factorial(x),
    "binomial": _binomial,
}
"""The exact operations by name; those with one argument get it twice."""


def _inexactly(name: str, values: list[Any]) -> Any:
    mp = mp_context()
    x, y = values[0], values[-1]
    operation = _INEXACT.get(name)
    if operation is not None:
        return operation(mp, x, y)
    if abs(x) > MAX_ARGUMENT:
        raise NoValue(f"{name} of something large")
    if name == "factorial":
        return mp.gamma(x + 1)
    if name == "binomial":
        return mp.binomial(x, y)
    return getattr(mp, _MPMATH_NAMES.get(name, name))(x)


_INEXACT: dict[str, Callable[[Any, Any, Any], Any]] = {
    "negate": lambda mp, x, y: -x,
    "multiply": lambda mp, x, y: x * y,
    "divide": lambda mp, x, y: x / y,
    "power": lambda mp, x, y: _inexact_power(x, y),
    "root": lambda mp, x, y: _real_root(x, y),
    "abs": lambda mp, x, y: abs(x),
    "floor": lambda mp, x, y: mp.floor(x),
    "ceiling": lambda mp, x, y: mp.ceil(x),
    "degrees": lambda mp, x, y: x * mp.pi / 180,
    "ln": lambda mp, x, y: mp.log(x),
    "lg": lambda mp, x, y: mp.log(x) / mp.log(10),
    "log": lambda mp, x, y: mp.log(x) / mp.log(y),
}
_MPMATH_NAMES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsinh": "asinh"} | {
    "arccosh": "acosh",
    "arctanh": "atanh",
}


def _inexact_power(x: Any, y: Any) -> Any:
    if abs(y) > MAX_POWER:
        raise NoValue("the power is too large")
    return mp_context().power(x, y)


def _real_root(x: Any, degree: Any) -> Any:
    """The real root of an odd degree, else the principal one."""
    mp = mp_context()
    whole = degree == mp.floor(degree.real) if hasattr(degree, "real") else False
    if whole and int(degree.real) % 2 == 1 and getattr(x, "imag", 0) == 0 and x.real < 0:
        return -mp.root(-x.real, int(degree.real))
    if degree == 2:
        return mp.sqrt(x)
    return mp.power(x, 1 / degree)
